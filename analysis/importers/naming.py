"""A user's mapping: how the names of runs and of logged values are to be read. See docs/import.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from analysis.importers.foreign import ImportFailed
from analysis.names import unknown_name


@dataclass(frozen=True, slots=True)
class Naming:
    """A scheme of names."""

    pattern: str  # matched against the whole name; its named groups are settings
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # setting → text in the name → value
    settings: Mapping[str, Any] = field(default_factory=dict)  # what all runs share
    tags: Mapping[str, str] = field(default_factory=dict)  # logged name → metric; `val_acc` must be among them
    scale: Mapping[str, float] = field(default_factory=dict)  # metric → factor
    first_step: int = 1  # the step of the first epoch
    val_images: int | None = None

    def decode(self, name: str) -> NamedRun:
        """What the name of a run says.

        Raises:
            ImportFailed: it does not match, or has a text that `values` does not know.
        """
        found = re.fullmatch(self.pattern, name)
        if found is None:
            raise ImportFailed(f"the run {name!r} does not match the mapping's pattern {self.pattern!r}")
        settings = dict(self.settings)
        for setting, text in found.groupdict().items():
            if text is None:
                continue
            known = self.values.get(setting)
            if known is not None and text not in known:
                raise ImportFailed(f"run {name!r}: {setting} is {text!r}, which the mapping's `values` does not know")
            settings[setting] = known[text] if known is not None else _plain(text)
        return NamedRun(settings, {"val": self.val_images} if self.val_images else {}, self.scale)


@dataclass(frozen=True, slots=True)
class NamedRun:
    """What a mapping says of a run."""

    settings: Mapping[str, Any]
    images: Mapping[str, int]
    scale: Mapping[str, float]

    def value_of(self, metric: str, logged: float) -> float:
        """The metric, from the number that was logged."""
        return logged * self.scale.get(metric, 1.0)


def read_naming(path: Path) -> Naming:
    """The mapping in the YAML file at `path`.

    Raises:
        ImportFailed: the file cannot be read or is no mapping of the known keys.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ImportFailed(f"cannot read the mapping {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "pattern" not in content:
        raise ImportFailed(f"{path} is no mapping with a `pattern`")
    known = [part.name for part in fields(Naming)]
    for key in content:
        if key not in known:
            raise unknown_name(f"key in {path}:", key, known)
    try:
        re.compile(content["pattern"])
    except (re.error, TypeError) as error:
        raise ImportFailed(f"{path}: the pattern is no regular expression: {error}") from None
    if "val_acc" not in dict(content.get("tags", {})).values():
        raise ImportFailed(f"{path}: no entry of `tags` names val_acc, by which runs are ranked")
    return Naming(**content)


def _plain(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
