"""Objects in a store, by URL: `s3://bucket/folder?region=…`. The one place that knows pyarrow's file systems.

Credentials come from the environment, as the AWS tools read them; a URL that holds some is refused, since URLs are
printed and written down.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from analysis.errors import StoreAway, StoreError
from analysis.names import unknown_name

#: Seconds for a connection, and how often a request is tried: a store that is away is told within seconds.
CONNECT_SECONDS = 3.0
ATTEMPTS = 3

#: What a URL may say about its store. Everything else, credentials above all, is the environment's.
OPTIONS = ("endpoint_override", "region", "scheme")

#: A path that came through `pathlib` has lost the second slash.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A folder in a store."""

    scheme: str  # s3, file
    path: str  # the bucket and the folder in it: bucket/studies/night; of `file`, an absolute path
    options: Mapping[str, str]

    @property
    def bucket(self) -> str:
        """The first part of the path."""
        return self.path.partition("/")[0]

    def within(self, key: str) -> str:
        """The path of the object `key`."""
        return f"{self.path}/{key}" if key else self.path

    def __str__(self) -> str:
        """The URL in its one canonical form."""
        query = urlencode(sorted(self.options.items()), safe=":")
        return f"{self.scheme}://{self.path}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of a listing."""

    key: str  # below the store's folder
    size: int  # bytes
    time: float  # Unix time of the last change, by the store's clock


def is_url(place: str | Path) -> bool:
    """Whether `place` names a folder in an object store, and not one of this machine."""
    found = _URL.fullmatch(str(place))
    return found is not None and found[1] in OPENERS


def store_url(place: str | Path) -> StoreUrl:
    """The folder that `place`, a URL, names.

    Raises:
        StoreError: it holds credentials, no bucket, or an option that no store has.
    """
    found = _URL.fullmatch(str(place))
    if found is None or found[1] not in OPENERS:
        raise StoreError(
            f"{place} is no URL of an object store; known are {', '.join(f'{name}://' for name in OPENERS)}"
        )
    scheme, rest = found[1], found[2]
    parts = urlsplit(f"{scheme}://{rest}")
    if "@" in parts.netloc or {"access_key", "secret_key", "session_token"} & dict(parse_qsl(parts.query)).keys():
        raise StoreError(
            f"a {scheme}:// URL must not hold credentials: it is printed and written down; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise StoreError(str(unknown_name("option of a store's URL", name, OPTIONS)))
    path = "/".join(part for part in (parts.netloc + parts.path).split("/") if part)
    if not path:
        raise StoreError(f"{place} names no {'folder' if scheme == 'file' else 'bucket'}")
    return StoreUrl(scheme, f"/{path}" if scheme == "file" else path, options)


class ObjectStore:
    """The objects below one folder of a store; a key is a path below it.

    Every method raises `StoreError` where the store cannot be used; the message says what to do.
    """

    def __init__(self, url: StoreUrl, files: Any) -> None:
        self.url = url
        self._files = files

    def read(self, key: str) -> bytes | None:
        """The content of an object; None where there is none."""
        with self._explained():
            try:
                with self._files.open_input_stream(self.url.within(key)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, key: str, data: bytes) -> None:
        """Put an object, whole or not at all; one of that name is replaced."""
        with self._explained(), self._output(key) as stream:
            stream.write(data)

    def upload(self, source: Path, key: str) -> None:
        """Put the content of a file."""
        with self._explained(), source.open("rb") as file, self._output(key) as stream:
            shutil.copyfileobj(file, stream, 1 << 20)

    def download(self, key: str, target: Path) -> None:
        """Write an object to a file, which appears whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        with self._explained():
            try:
                with self._files.open_input_stream(self.url.within(key)) as stream, part.open("wb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    def objects(self, prefix: str = "") -> list[StoredObject]:
        """The objects in the folder `prefix` and below it, by key."""
        return self._list(prefix, recursive=True)

    def files(self) -> list[StoredObject]:
        """The objects in the store's folder itself, by key."""
        return self._list("", recursive=False)

    def _list(self, prefix: str, *, recursive: bool) -> list[StoredObject]:
        from pyarrow.fs import FileSelector  # noqa: PLC0415

        with self._explained():
            entries = self._files.get_file_info(
                FileSelector(self.url.within(prefix), recursive=recursive, allow_not_found=True)
            )
        start = len(self.url.path) + 1
        found = (
            StoredObject(entry.path[start:], entry.size, entry.mtime_ns / 1e9) for entry in entries if entry.is_file
        )
        return sorted(found, key=lambda entry: entry.key)

    def info(self, key: str) -> StoredObject | None:
        """The entry of one object; None where there is none."""
        with self._explained():
            entry = self._files.get_file_info(self.url.within(key))
        return StoredObject(key, entry.size, entry.mtime_ns / 1e9) if entry.is_file else None

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are passed over."""
        for key in keys:
            with self._explained():
                try:
                    self._files.delete_file(self.url.within(key))
                except FileNotFoundError:
                    continue

    def check(self) -> None:
        """Find out whether the store answers, has the bucket, and lets us look into it."""
        from pyarrow.fs import FileType  # noqa: PLC0415

        if self.url.scheme == "file":
            return
        with self._explained():
            if self._files.get_file_info(self.url.bucket).type == FileType.NotFound:
                raise StoreError(
                    f"there is no bucket {self.url.bucket!r} at {_endpoint(self.url)}; make it, or mend the URL"
                )
        self.objects("no/such/folder")  # a right to ask for the bucket is none to look into it

    def _output(self, key: str) -> Any:
        path = self.url.within(key)
        if self.url.scheme == "file":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self._files.open_output_stream(path)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            raise _explanation(self.url, str(error)) from error


def open_store(place: str | Path) -> ObjectStore:
    """The store of `place`, a URL; it was found to answer.

    Raises:
        StoreError: the URL is wrong, or there is no bucket, no right, or no answer.
    """
    return _opened(str(store_url(place)))


@cache
def _opened(text: str) -> ObjectStore:
    url = store_url(text)
    store = ObjectStore(url, OPENERS[url.scheme](url))
    store.check()
    return store


def _open_s3(url: StoreUrl) -> Any:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem  # noqa: PLC0415  not needed for a local study

    options = {"region": "us-east-1", **url.options} if "endpoint_override" in url.options else dict(url.options)
    return S3FileSystem(
        **options,
        connect_timeout=CONNECT_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small object is one request
    )


def _open_folder(_url: StoreUrl) -> Any:
    from pyarrow.fs import LocalFileSystem  # noqa: PLC0415

    return LocalFileSystem()


#: How the file system of each scheme is opened. `file` is a bucket that is mounted as a folder: such mounts neither
#: append nor link, so it is treated as the store that it is.
OPENERS: Mapping[str, Callable[[StoreUrl], Any]] = {"s3": _open_s3, "file": _open_folder}

_REFUSED = re.compile(
    r"AWS Error (ACCESS_DENIED|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|SIGNATURE_DOES_NOT_MATCH|"
    r"MISSING_AUTHENTICATION_TOKEN|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN|INVALID_SIGNATURE)|HTTP Status (401|403)"
)


_BUSY = re.compile(
    r"AWS Error (SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT)|HTTP Status 5"
)


def _explanation(url: StoreUrl, message: str) -> StoreError:
    """What a failed request means, and what to do, in one line."""
    if "NO_SUCH_BUCKET" in message:
        return StoreError(f"there is no bucket {url.bucket!r} at {_endpoint(url)}; make it, or mend the URL")
    if refused := _REFUSED.search(message):
        return StoreError(
            f"{_endpoint(url)} refuses access to {url.bucket!r} ({refused[1] or refused[2]}); set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to what may read and write there"
        )
    if "NETWORK_CONNECTION" in message or "curlCode" in message:
        reason = message.rpartition("curlCode:")[2].partition(";")[0].partition(",")[2].strip() or "no connection"
        return StoreAway(
            f"no answer from {_endpoint(url)} ({reason}); mend endpoint_override in the URL, or the network"
        )
    lines = message.splitlines() or ["no reason given"]
    kind = StoreAway if _BUSY.search(message) else StoreError
    return kind(f"the store {url} failed: {lines[0]}")


def _endpoint(url: StoreUrl) -> str:
    return url.options.get("endpoint_override", f"the {url.scheme} service")
