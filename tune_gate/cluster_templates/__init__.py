"""Ready-to-edit files that bring a Ray cluster up and run a study on it, one per kind of cluster.

A new kind is one file in this folder and one entry in `TEMPLATES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from analysis.names import unknown_name


@dataclass(frozen=True, slots=True)
class Template:
    """A file to be edited: its name in this folder, and how it is used."""

    file: str
    use: str

    @property
    def text(self) -> str:
        """The file's content."""
        return (Path(__file__).parent / self.file).read_text(encoding="utf-8")


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "slurm": Template("slurm.sbatch", "sbatch FILE"),
        "kuberay": Template("kuberay.yaml", "kubectl create -f FILE"),
        "ray-up-aws": Template("ray-up-aws.yaml", "ray up FILE"),
        "ray-up-gcp": Template("ray-up-gcp.yaml", "ray up FILE"),
    }
)


def template(kind: str) -> Template:
    """The template of a kind of cluster.

    Raises:
        UnknownName: there is none; the nearest is named.
    """
    if kind not in TEMPLATES:
        raise unknown_name("kind of cluster", kind, TEMPLATES)
    return TEMPLATES[kind]
