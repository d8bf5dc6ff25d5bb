"""What `strands-diffusers adapt` can be told: `KEY=VALUE`, as everywhere; keys of the run config choose model and domain."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, get_args, get_type_hints

from strands_diffusers import domains, errors

STAGES = ("check", "encode", "train", "judge", "export")
"""In order. Each goes on where it was cut off, and is skipped once it is done."""


class Statistics(str, Enum):
    """Whose statistics turn the dataset's actions into model space."""

    auto = "auto"
    own = "own"
    domain = "domain"


class What(str, Enum):
    """What is trained."""

    auto = "auto"
    lora = "lora"
    all = "all"


LORA_FROM = 200_000_000
"""Numbers of a transformer from which on `train.what=auto` trains a LoRA."""

MODES = ("forward_dynamics", "inverse_dynamics", "policy")


@dataclass
class TrainConfig:
    """How the model is trained."""

    what: What = What.auto
    """lora (a LoRA on the generation stream, and the action projections of the domain), all, or auto: all for a transformer
    below 0.2 billion numbers."""

    modes: list[str] = field(default_factory=lambda: list(MODES))
    """Any of forward_dynamics, inverse_dynamics, policy."""

    weights: list[float] | None = None
    """How often each of `modes` is drawn; null: 0.4, 0.15, 0.45 for the three."""

    steps: int = 1000
    """Optimiser steps in all."""

    batch: int = 8
    """Samples per process and pass."""

    accumulate: int = 1
    """Passes per optimiser step."""

    lr: float | None = None
    """Learning rate of AdamW; null: 3e-4 for a LoRA, 3e-4 for all."""

    muon_lr: float = 0.003
    """Learning rate of Muon, which trains the matrices in the layers with what=all."""

    warmup: int = 20
    """Steps of linear rise at the start."""

    cooldown: float = 0.9
    """Share of the steps, at the end, in which the rate falls to zero."""

    rank: int = 16
    """Rank of the LoRA."""

    alpha: float = 16.0
    """Its strength is alpha / rank."""

    prompt_dropout: float = 0.1
    """Chance that a prompt is replaced by the empty one, for guidance."""

    shifts: list[float] = field(default_factory=lambda: [10.0, 10.0, 2.5])
    """Shift of the noise levels of forward dynamics, inverse dynamics and policy; over 1 favours high noise."""

    carried: float | None = None
    """Share of a batch that goes on along the model's own sampling path, where actions and frames decide the answer. null:
    0.375 for a model whose recommended forward dynamics takes at most 4 steps, else 0."""

    action_weight: float = 0.3
    """Weight of the actions' loss beside the video's, each in units of its usual size."""

    ema: float = 0.999
    """Decay of the weight average, which is what is judged and exported."""

    blend: float = 1.0
    """How far from the model's own weights to the trained ones those lie that are judged and exported: 0.5 is half way, which
    forgets less and overfits less (Wortsman et al. 2022, arXiv:2109.01903). A LoRA is as much weaker. Not with statistics of the
    dataset's own: two meanings of an action do not mix. It may be changed after training: delete export/ and judge/ and type
    the command again."""

    checkpointing: bool = False
    """Compute each layer again on the way back: the memory of one layer instead of all."""

    validate_every: int = 100
    """Steps between validations on held-out windows; 0: never."""

    rollouts: int = 1
    """Held-out windows of which each validation also makes a video; 0: none."""

    save_minutes: float = 2.0
    """Minutes between checkpoints: what kill -9 can cost."""

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise errors.ConfigError(
                    f"train.modes holds {mode!r}; there are {', '.join(MODES)}.{errors.near_miss(mode, MODES)}"
                )
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise errors.ConfigError("train.modes names each mode once, and one at least. Type train.modes=[policy].")
        if self.weights is not None and (len(self.weights) != len(self.modes) or min(self.weights) <= 0):
            raise errors.ConfigError(
                f"train.weights={self.weights} must hold a number above 0 for each of {len(self.modes)} modes."
            )
        if len(self.shifts) != len(MODES) or min(self.shifts) <= 0:
            raise errors.ConfigError(
                f"train.shifts={self.shifts} must hold a number above 0 for each of {', '.join(MODES)}."
            )
        for name, least in (
            *((n, 1) for n in ("steps", "batch", "accumulate", "warmup", "rank")),
            ("validate_every", 0),
            ("rollouts", 0),
        ):
            if getattr(self, name) < least:
                raise errors.ConfigError(f"train.{name} must be at least {least}, got {getattr(self, name)}.")
        for name, low, high in (
            ("lr", 1e-9, 1.0), ("muon_lr", 0.0, 1.0), ("cooldown", 0.0, 1.0), ("alpha", 1e-6, 1e6), ("prompt_dropout", 0.0, 1.0),
            ("carried", 0.0, 0.9), ("blend", 0.01, 1.0), ("action_weight", 0.0, 1e3), ("ema", 0.0, 0.99999), ("save_minutes", 0.0, 60.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise errors.ConfigError(f"train.{name} must be from {low:g} to {high:g}, got {value:g}.")


@dataclass
class JudgeConfig:
    """How the model is judged, before and after."""

    windows: int = 8
    """Held-out windows, spread over the held-out episodes; 0: no judgement."""

    original: list[str] | None = None
    """Observations of what the model could do before, in its own domain: what it must not forget. null: the samples that ship,
    for the embedded model; none for any other, which is then said."""

    original_domain: str | None = None
    """Domain of `original`; null: the model's only one, else the dataset's."""

    seed: int = 0
    """Seed of the rollouts."""

    def __post_init__(self) -> None:
        if not 0 <= self.windows <= 10_000:
            raise errors.ConfigError(f"judge.windows must be from 0 to 10000, got {self.windows}.")


@dataclass
class AdaptConfig:
    """One adaptation: a dataset in, a world model out."""

    data: list[str] = field(default_factory=list)
    """Datasets: lerobot:DIR[@key:value]..., run:DIR of a sweep. `data=A data=B` for several."""

    name: str = ""
    """What the model and the domain are called: a-z, 0-9 and _."""

    out: str | None = None
    """Folder of everything; null: adapted/NAME. The same command goes on there."""

    held_out: float = 0.1
    """Share of the episodes that is never trained on; one at least."""

    statistics: Statistics = Statistics.auto
    """own (of the dataset's training episodes), domain (the domain preset's), or auto: own where the domain has none and the
    dataset is not in model space."""

    task: str | None = None
    """Task of every episode, in words; null: each episode's own."""

    stride: int | None = None
    """Steps from one window to the next of an episode; null: half a chunk."""

    disk_gb: float = 50.0
    """The latents may take so much of the disk [GB]."""

    seed: int = 0
    """Seed of everything that is drawn."""

    procs: int = 1
    """Processes on this machine, for CPUs: one a core. On GPUs: accelerate launch -m strands_diffusers adapt ..."""

    until: str = "export"
    """Last stage to run: check, encode, train, judge or export."""

    train: TrainConfig = field(default_factory=TrainConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    def __post_init__(self) -> None:
        if not self.data:
            raise errors.ConfigError("adapt needs a dataset: data=lerobot:DIR, or run:DIR of a sweep.")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise errors.ConfigError(
                f"name={self.name} must be of a-z, 0-9 and _, and begin with a letter. Type name=my_robot."
            )
        if self.name in {known.short for known in domains.all_domains()}:
            raise errors.ConfigError(
                f"name={self.name} is a built-in domain, which the preset would hide. Type name=my_{self.name}."
            )
        if not 0 < self.held_out < 1:
            raise errors.ConfigError(f"held_out must be above 0 and below 1, got {self.held_out:g}. Type held_out=0.1.")
        if self.stride is not None and self.stride < 1:
            raise errors.ConfigError(f"stride must be at least 1, got {self.stride}. Type stride=8.")
        if not 0 < self.disk_gb < 1e6:
            raise errors.ConfigError(f"disk_gb must be above 0, got {self.disk_gb:g}. Type disk_gb=50.")
        if not 1 <= self.procs <= 1024:
            raise errors.ConfigError(f"procs must be from 1 to 1024, got {self.procs}. Type procs=2.")
        if self.until not in STAGES:
            raise errors.ConfigError(
                f"until={self.until} is no stage; they are {', '.join(STAGES)}.{errors.near_miss(self.until, STAGES)}"
            )


def parse(arguments: list[str]) -> tuple[AdaptConfig, list[str]]:
    """The config, and the overrides that are the run config's (`model=`, `domain=`, `tracker=`, ...).

    Text stays as it was typed. Raises: `ConfigError` for a value of another kind, a key given twice, and what is no `KEY=VALUE`.
    """
    values: dict[str, Any] = {}
    rest: list[str] = []
    own = dict(_keys(AdaptConfig))
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise errors.ConfigError(f"{argument!r} is not KEY=VALUE. Type adapt data=lerobot:DIR name=my_robot.")
        if key not in own:
            if key.startswith(("train.", "judge.")):
                raise errors.ConfigError(f"{key} is not a key of adapt.{errors.near_miss(key, own)}")
            rest.append(argument)
            continue
        if key == "data":
            values.setdefault("data", []).append(text)
            continue
        if key in values:
            raise errors.ConfigError(f"{key} is given twice.")
        values[key] = _value(key, own[key], text)
    parts = {
        name: {k.removeprefix(f"{name}."): v for k, v in values.items() if k.startswith(f"{name}.")}
        for name in ("train", "judge")
    }
    plain = {key: value for key, value in values.items() if "." not in key}
    return AdaptConfig(**plain, train=TrainConfig(**parts["train"]), judge=JudgeConfig(**parts["judge"])), rest


def _keys(cls: type, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    hints = get_type_hints(cls)
    for each in dataclasses.fields(cls):
        kind = hints[each.name]
        inner = dataclasses.is_dataclass(kind)
        found += (
            _keys(kind, f"{prefix}{each.name}.") if inner and isinstance(kind, type) else [(prefix + each.name, kind)]
        )
    return found


def _value(key: str, kind: Any, text: str) -> Any:
    kinds = [each for each in get_args(kind) if each is not type(None)] if type(None) in get_args(kind) else [kind]
    if len(kinds) < len(get_args(kind)) and text in ("null", ""):
        return None
    kind = kinds[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [member.value for member in kind]
        if text not in names:
            raise errors.ConfigError(f"{key}={text} is not one of {', '.join(names)}.{errors.near_miss(text, names)}")
        return kind(text)
    if kind is str:
        return text
    if getattr(kind, "__origin__", None) is list:
        inner = text.strip().removeprefix("[").removesuffix("]")
        return [_value(key, get_args(kind)[0], item.strip()) for item in inner.split(",") if item.strip()]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise errors.ConfigError(f"{key} must be true or false, got {text!r}.")
        return text.lower() == "true"
    try:
        number = kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise errors.ConfigError(f"{key} must be {what}, got {text!r}.") from error
    if number != number or number in (float("inf"), float("-inf")):
        raise errors.ConfigError(f"{key} must be a finite number, got {text!r}.")
    return number
