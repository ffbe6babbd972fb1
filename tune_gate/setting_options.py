"""Every setting of a trial as an option of a command, made from `TrialConfig` so that none is forgotten."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from trainables.config import KAPPAS, TrialConfig

#: For `app.command`: `--lr_gate` is `--lr-gate`.
CONTEXT_SETTINGS = {"token_normalize_func": lambda token: token.replace("_", "-")}

_METAVARS: Mapping[object, str] = {int: "INT", float: "NUMBER", str: "TEXT"}


def with_settings(names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command whose first parameter is a mapping of settings: it gets those given, by one option each."""
    chosen = tuple(names)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_options(**arguments: Any) -> None:
            texts = {name: arguments.pop(name) for name in chosen}
            settings = {name: parse_setting(name, text) for name, text in texts.items() if text is not None}
            command(settings, **arguments)

        own = list(inspect.signature(command).parameters.values())[1:]
        hints = get_type_hints(command, include_extras=True)
        parameters = [
            *(parameter.replace(annotation=hints[parameter.name]) for parameter in own),
            *(_parameter(name, TrialConfig.model_fields[name]) for name in chosen),
        ]
        with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate


def parse_setting(name: str, text: str) -> Any:
    """The value that `text` means for that setting; what it cannot mean is left to `trial_config` to refuse."""
    kind = TrialConfig.model_fields[name].annotation
    if get_origin(kind) is tuple:
        return [_number(part.strip()) for part in text.strip("[]() ").split(",") if part.strip()]
    if str in _kinds(kind) or (name == "kappa" and text in KAPPAS):
        return text
    return _number(text)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", metavar=_metavar(field.annotation), help=_help(field))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _help(field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(str(part) for part in default)
    known = "" if default is None else f"Default: {default}."
    return f"{field.description} {known}".strip() if field.description else known


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if get_origin(kind) is tuple:
        return "A,B,..."
    kinds = _kinds(kind)
    return _METAVARS[next(known for known in (str, float, int) if known in kinds)]


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The plain types that a setting's annotation admits; a choice of words is text."""
    origin = get_origin(kind)
    if origin is Literal:
        return (str,)
    if origin in (Union, UnionType):
        return tuple(plain for part in get_args(kind) for plain in _kinds(part))
    return _kinds(get_args(kind)[0]) if origin is Annotated else (kind,)


def _number(text: str) -> int | float | str:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
