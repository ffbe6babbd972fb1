"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="NAME=VALUE", help="Only trials with this setting; * and ? are wildcards."),
]
