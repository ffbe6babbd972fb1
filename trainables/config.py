"""The settings of one trial: a frozen, validated value that fully determines a training run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trainables.errors import ConfigError, unknown_name

#: Kappa of the published gates, g = sigmoid(kappa * (H - ln(C)/2)).
KAPPAS: Mapping[str, float] = MappingProxyType({"2019": 1.0, "2020": 80.0 / 23.0})

#: Settings of the published runs (GREYC 2019 and 2020), by name.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        name: MappingProxyType(
            {
                "data": "cifar10",
                "split": "published",
                "val_fraction": 0.1,
                "depth": 110,
                "block": "basic",
                "kappa": name.removeprefix("greyc-"),
                "epochs": 333,
                "batch_size": 128,
                "lr": 0.1,
                "schedule": "multistep",
                "milestones": (133, 200),
                "gamma": 0.1,
                "warmup_epochs": 1,
                "warmup_lr": 0.01,
                "lr_gate": 0.01,
                "schedule_gate": "constant",
                "gate_period": 50,
                "gate_gamma": 0.1,
            }
        )
        for name in ("greyc-2019", "greyc-2020")
    }
)

#: An absolute epoch (int >= 1) or a fraction of the trial's epochs (float in (0, 1)).
EpochOrFraction = Annotated[int, Field(ge=1, strict=True)] | Annotated[float, Field(gt=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class TrialConfig(BaseModel):
    """Everything that determines the result of one training run.

    Raises `ConfigError` through `trial_config`; construct it with that function.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Data
    data: str = "digits"  # a registered data set: digits, cifar10, cifar100, npz:PATH, folder:PATH, synthetic
    data_dir: str = "~/.cache/tune-gate"  # where downloaded data sets live
    split: Literal["stratified", "published"] = "stratified"
    split_seed: Annotated[int, Field(ge=0)] = 0  # of the validation split and of the label noise
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1  # unused where the data has its own split
    label_noise: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # fraction of training labels replaced
    augment: Literal["auto", "crop-flip", "crop", "none"] = "auto"  # auto: what the data set recommends

    # Model
    depth: Annotated[int, Field(ge=14)] = 14
    block: Literal["basic", "bottleneck"] = "basic"
    gate: str = "entropy"  # a registered gate; "none" is the plain ResNet, the control
    gate_input: Literal["late", "early"] = "late"
    gate_hidden: Annotated[int, Field(ge=1)] = 512
    kappa: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0  # or the names "2019", "2020"
    init: Literal["scratch", "baseline"] = "scratch"
    baseline: str | None = None  # checkpoint of a plain ResNet, with init="baseline"

    # Optimisation
    epochs: Annotated[int, Field(ge=1)] = 27
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Rate = 0.1
    lr_gate: Rate = 0.01
    gate_iters: Annotated[int, Field(ge=1)] = 1  # the trunk is stepped on every gate_iters-th batch
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1e-4
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0

    # Schedules (trainables.schedules)
    schedule: str = "multistep"
    milestones: tuple[EpochOrFraction, ...] = (0.4, 0.6)
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    decay: EpochOrFraction = 0.2  # length of the last phase of schedule stable-decay
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_lr: Rate = 0.01
    schedule_gate: str = "constant"
    gate_period: EpochOrFraction = 0.15
    gate_gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # initialisation, order of samples, augmentation

    @field_validator("kappa", mode="before")
    @classmethod
    def _named_kappa(cls, value: object) -> object:
        if isinstance(value, str) and value in KAPPAS:
            return KAPPAS[value]
        if isinstance(value, str):
            raise ValueError(f"a number or one of the published names {sorted(KAPPAS)} is wanted")
        return value

    @field_validator("depth", "gate_iters", "batch_size", "epochs", "gate_hidden", mode="before")
    @classmethod
    def _no_bool(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("a whole number is wanted, not true or false")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TrialConfig:
        units = {"basic": 6, "bottleneck": 9}[self.block]
        if (self.depth - 2) % units or self.depth < 2 * units + 2:
            near = units * max(2, round((self.depth - 2) / units)) + 2
            raise ValueError(
                f"depth {self.depth} does not exist for block {self.block!r}: it is {units}n+2 with n >= 2 "
                f"(nearest: {near})"
            )
        if self.init == "baseline" and self.baseline is None:
            raise ValueError("init 'baseline' needs a path in 'baseline'")
        if self.init == "scratch" and self.baseline is not None:
            raise ValueError("'baseline' is given but init is 'scratch'; set init to 'baseline'")
        if list(self.milestones) != sorted(self.milestones, key=self.in_epochs):
            raise ValueError(f"milestones {list(self.milestones)} are not in ascending order")
        return self

    def in_epochs(self, moment: float) -> float:
        """An `EpochOrFraction` of this trial, in epochs (fractions are rounded to the nearest epoch, at least 1)."""
        return moment if isinstance(moment, int) else max(1, round(moment * self.epochs))


def trial_config(settings: Mapping[str, object]) -> TrialConfig:
    """The configuration that `settings` describes; a key `preset` names a base that the others override.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named), or a value is ill-typed or out of range.
    """
    merged = dict(settings)
    preset = merged.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(unknown_name("preset", preset, PRESETS))
        merged = {**PRESETS[str(preset)], **merged}
    for key in merged:
        if key not in TrialConfig.model_fields:
            raise ConfigError(unknown_name("setting", key, TrialConfig.model_fields))
    try:
        return TrialConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    """The first problem of a pydantic error, with the setting's name and the value given."""
    problem = error.errors()[0]
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    return f"setting {problem['loc'][0]!r}: {message[0].lower()}{message[1:]} (given: {problem['input']!r})"
