"""The metrics of a search, as Prometheus scrapes them from the agent of the node that its driver runs on."""

from __future__ import annotations

import os
import re
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
import ray

from tests.tune_gate.test_multi_node import ROOT
from tests.tune_gate.test_on_ray import spec as small_study
from tests.tune_gate.test_on_ray import wait_until
from tune_gate import bridge
from tune_gate.cluster import connected
from tune_gate.on_ray import run_on_ray
from tune_gate.search import Search
from tune_gate.spec import study_spec
from tune_gate.study_dir import create_study

pytest.importorskip("opencensus", reason="Ray's agent, which answers Prometheus, needs ray[default]")

NAMES = ("trials", "epochs", "best", "hours")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_scrape_of_rays_metrics_finds_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    monkeypatch.setattr(bridge, "TELL_SECONDS", 0.2)
    monkeypatch.setattr(bridge, "LOOK_AROUND_SECONDS", 0.1)
    folder = tmp_path / "study"
    spec = create_study(study_spec(small_study("Slow", name="scraped", trials=6)), folder)
    with connected(None, spec.resources), closing(Search(spec, folder)) as search:
        search.begin("host", os.getpid(), {})
        run_on_ray(search, spec, folder)
        search.end()
        (port,) = {node["MetricsExportPort"] for node in ray.nodes()}
        wait_until(lambda: "ray_tune_gate_best" in scrape(port), 60)
        found = values(scrape(port))
    told = sum(value for (name, labels), value in found.items() if name == "trials" and 'study="scraped"' in labels)
    assert 1 <= told <= 6
    assert {name for name, _ in found} == set(NAMES)
    assert any('state="stopped"' in labels for name, labels in found if name == "trials")
    assert any('device="cpu"' in labels for name, labels in found if name == "hours")
    best = max(value for (name, _), value in found.items() if name == "best")
    reported = [r.metrics["val_acc"] for trial in search.trials.values() for r in trial.reports.values()]
    assert any(best == pytest.approx(value, abs=1e-6) for value in reported)


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def values(text: str) -> dict[tuple[str, str], float]:
    """Our gauges by name and labels."""
    pattern = re.compile(r"^ray_tune_gate_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
    return {(name, labels): float(value) for name, labels, value in pattern.findall(text)}
