"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from tune_gate.cli import app
from tune_gate.spec import study_spec

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_study_is_valid(block: str) -> None:
    study_spec(yaml.safe_load(block))


def test_the_rungs_are_where_it_says() -> None:
    assert study_spec(yaml.safe_load(blocks("yaml")[0])).milestones == (9, 27)


def commands() -> set[str]:
    return set(re.findall(r"tune-gate ([a-z]+)", "\n".join(blocks("console"))))


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_exists(name: str) -> None:
    assert name in typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_python_example_compiles_and_its_names_exist() -> None:
    import tune_gate

    (example,) = blocks("python")
    compile(example, "README", "exec")
    for name in re.findall(r"import (.+)", example)[0].split(", "):
        assert callable(getattr(tune_gate, name))


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^\$ make ([\w-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_picture_and_file_exists() -> None:
    for path in re.findall(r"!\[.*?\]\((.+?)\)", README) + re.findall(r"tests/benchmarks/\w+\.py", README):
        assert (ROOT / path).is_file()
