"""What the README shows is what there is."""

from __future__ import annotations

import importlib
import re
import shlex
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


def command_lines() -> list[list[str]]:
    lines = re.findall(r"^\$ (?:\S*/)?tune-gate (.+)$", "\n".join(blocks("console")), re.MULTILINE)
    return [shlex.split(line.split(" > ")[0], comments=True) for line in lines]


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_command_has_the_options_it_is_shown_with(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("example", blocks("python"))
def test_the_python_examples_compile_and_their_names_exist(example: str) -> None:
    compile(example, "README", "exec")
    for module, names in re.findall(r"from (\w+) import (.+)", example):
        for name in names.split(", "):
            assert callable(getattr(importlib.import_module(module), name))


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^\$ make ([\w-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_picture_and_file_exists() -> None:
    for path in re.findall(r"\[.*?\]\((.+?)\)", README) + re.findall(r"tests/benchmarks/\w+\.py", README):
        assert (ROOT / path).is_file()
