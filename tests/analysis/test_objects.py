"""URLs of object stores, and what is said where a store cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from analysis.errors import AnalysisError, StoreError, StudyNotFound
from analysis.objects import is_url, open_store, store_url
from analysis.study import open_study


@pytest.mark.parametrize("given", ["s3://b/x/y?scheme=http&region=eu", "s3://b//x/y/?region=eu&scheme=http"])
def test_a_url_has_one_form(given: str) -> None:
    assert str(store_url(given)) == "s3://b/x/y?region=eu&scheme=http"


def test_a_url_survives_pathlib() -> None:
    url = "s3://bucket/studies/night?endpoint_override=127.0.0.1:9000&scheme=http"
    assert is_url(Path(url))
    assert str(store_url(Path(url))) == url
    assert str(store_url(Path("file:///mnt/x"))) == "file:///mnt/x"


def test_a_folder_is_no_url(tmp_path: Path) -> None:
    assert not is_url(tmp_path)
    assert not is_url("studies/s3:x")
    assert not is_url("C:/studies")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://me:secret@bucket/x", "must not hold credentials"),
        ("s3://bucket/x?access_key=me&secret_key=x", "must not hold credentials"),
        ("s3://bucket/x?endpoint=h:1", "unknown option of a store's URL 'endpoint'; did you mean 'endpoint_override'"),
        ("s3://", "names no bucket"),
        ("ftp://bucket/x", "is no URL of an object store; known are s3://"),
    ],
)
def test_a_wrong_url_is_told(url: str, says: str) -> None:
    with pytest.raises(AnalysisError, match=says.replace("?", r"\?")) as caught:
        store_url(url)
    assert "secret" not in str(caught.value).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "\n" not in str(caught.value)


def test_objects_come_and_go(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/deep/study")
    assert store.objects() == []
    assert store.read("a") is None
    assert store.info("a") is None
    store.write("a", b"1")
    store.write("log/b", b"22")
    (tmp_path / "file").write_bytes(b"333")
    store.upload(tmp_path / "file", "trials/0001/c")
    assert [(entry.key, entry.size) for entry in store.objects()] == [("a", 1), ("log/b", 2), ("trials/0001/c", 3)]
    assert [entry.key for entry in store.files()] == ["a"]
    assert [entry.key for entry in store.objects("trials")] == ["trials/0001/c"]
    store.download("trials/0001/c", tmp_path / "new" / "c")
    assert (tmp_path / "new" / "c").read_bytes() == b"333"
    store.delete(["a", "absent"])
    assert store.read("a") is None


class _Refusing(BaseHTTPRequestHandler):
    """A store that knows nobody."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    do_GET = do_PUT = do_POST = do_HEAD  # noqa: N815  the server's names

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_store_that_refuses_us_is_told_in_words(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=rf"^{refusing} refuses access to 'bucket' \(.*\); set AWS_ACCESS_KEY_ID"):
        open_study(f"s3://bucket/x?endpoint_override={refusing}&scheme=http")


def test_a_store_that_is_away_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.objects.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match=r"^no answer from 127\.0\.0\.1:9 \(.*\); mend endpoint_override"):
        open_study("s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http")


def test_a_store_without_a_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound, match=rf"^no study at file://{tmp_path}/x: it holds no study.json"):
        open_study(f"file://{tmp_path}/x")
