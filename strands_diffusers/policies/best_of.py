"""`policy=best_of`: several proposals are predicted by the model, and the best one is acted on.

Letters: N proposals of one round, M proposals of all rounds, T steps of a chunk, t steps that are predicted, D action
width, H height, W width.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import partial
from typing import Any, ClassVar, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from strands_diffusers import actions, domains
from strands_diffusers.config.fields import in_range, require
from strands_diffusers.config.schema import DenoisingConfig, PolicyConfig, PolicySamplerConfig
from strands_diffusers.errors import ConfigError, PluginError, RequestError, RolloutError, near_miss, one_line
from strands_diffusers.lazy import np
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.acting import (
    Acting,
    Look,
    Policy,
    Proposal,
    Score,
    Setting,
    Track,
    wrong_actions,
    wrong_values,
)
from strands_diffusers.plugin.caller import Caller
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.policies.given import StillPolicy
from strands_diffusers.worlds.model import ModelWorld

T = TypeVar("T")

PROPOSAL_STEP = 15_485_863
"""What is added to a seed from one proposal to the next."""


class Choose(str, Enum):
    """How one of the proposals is chosen."""

    best = "best"
    random = "random"


class Over(str, Enum):
    """Which value of a score's frames counts."""

    last = "last"
    mean = "mean"
    best = "best"


@dataclass
class NoiseConfig:
    """Gaussian errors that are added to proposals, by the unit of the columns; 0: none. Nothing is clipped."""

    translation_m: float = 0.0
    """Standard deviation of translations [m per step]."""

    rotation_rad: float = 0.0
    """Standard deviation of a turn about each axis [rad per step]."""

    gripper: float = 0.0
    """Standard deviation of grippers, in the domain's own unit."""

    target_px: float = 0.0
    """Standard deviation of PushT's targets [px of 512]."""

    fingertip_m: float = 0.0
    """Standard deviation of fingertips [m]."""

    every: int = 4
    """An error is drawn for every so many steps and is linear in between; 1: each step has its own."""

    def __post_init__(self) -> None:
        for name, size in self.sizes.items():
            in_range(f"policy.noise.{name}", size, 0, 1e6)
        in_range("policy.noise.every", self.every, 1, 10_000, "steps")

    @property
    def sizes(self) -> dict[str, float]:
        """The standard deviations by name."""
        return {each.name: float(getattr(self, each.name)) for each in fields(self) if each.name != "every"}


@dataclass
class PredictSamplerConfig(DenoisingConfig):
    """The denoising loop that predicts. null: `model.recommended.forward_dynamics`."""

    _prefix: ClassVar[str] = "policy.predict.sampler"


@dataclass
class PredictConfig:
    """Which model predicts, and how far."""

    repo: str | None = None
    """Another checkpoint with the model's own conventions, a folder or a Hub id; null: the chosen model itself."""

    steps: int | None = None
    """How many steps ahead a proposal is judged, 1 to chunk_size; null: the whole chunk."""

    sampler: PredictSamplerConfig = field(default_factory=PredictSamplerConfig)
    """The denoising loop."""

    def __post_init__(self) -> None:
        in_range("policy.predict.steps", self.steps, 1, unit="steps")


class _Prediction(ModelWorld):
    """The model that predicts; never registered."""

    key = "policy.predict.repo"


class BestOfPolicy(Policy):
    """Predict several proposals of another policy by the model, score what is seen, act on the best one.

    Proposals are the base policy's own samples, the first one its very answer; `policy.noise` adds errors to the others.
    With `policy.iterations` above 1 it is the cross-entropy method: in each further round as many proposals are
    drawn from the Gaussian of the best so far (their mean and full covariance). Equal scores: the earlier one is acted on.
    """

    name = "best_of"
    uses_model = True

    @dataclass
    class Config(PolicyConfig):
        """What is proposed, predicted and scored."""

        base: str = "model"
        """The policy that proposes, by its name: model, random, pusht_expert, ..."""

        options: Any = None
        """Options of a base other than `model`, as a mapping: `'policy.options={noise_px: 40}'`."""

        sampler: PolicySamplerConfig = field(default_factory=PolicySamplerConfig)
        """The denoising loop of `base=model`."""

        repo: str | None = None
        """Another checkpoint for `base=model`, as `policy.repo` of policy=model; null: the chosen model itself."""

        proposals: int = 8
        """Proposals N of each round, 1 and more; one alone is the base policy itself, and nothing is predicted."""

        noise: NoiseConfig = field(default_factory=NoiseConfig)
        """Errors that are added to all but the first proposal."""

        rest: bool = False
        """Whether the last of the N proposals is the rest of the chunk that was acted on before, then to stay still: what was once
        found good is carried out unless something better is proposed. At the first look there is none."""

        iterations: int = 1
        """Rounds of N proposals, 1 and more; above 1 it is the cross-entropy method."""

        elite: float = 0.25
        """Share of all proposals so far that the next round is drawn from, above 0 to 1; at least two of them."""

        score: str = ""
        """The score that judges; its options are those of `score.NAME` where `score=[...]` holds it, too."""

        over: Over = Over.last
        """The value of a video: its `last` frame's, the `mean` of its frames, or their `best`."""

        choose: Choose = Choose.best
        """`best`, or as a control `random`: one of the same proposals by chance, nothing is predicted."""

        predict: PredictConfig = field(default_factory=PredictConfig)
        """Which model predicts, and how far."""

        pictures: int = 6
        """Of how many proposals of each look the last predicted frame is kept, from the best to the worst; 0: none."""

        def __post_init__(self) -> None:
            in_range("policy.proposals", self.proposals, 1, 4096)
            in_range("policy.iterations", self.iterations, 1, 1000)
            in_range("policy.pictures", self.pictures, 0, 64)
            require(
                0 < self.elite <= 1, f"policy.elite={self.elite:g} is no share above 0, up to 1. Use policy.elite=0.25."
            )
            require(
                self.options is None or isinstance(self.options, dict),
                f"policy.options={self.options} is no mapping. Use 'policy.options={{noise_px: 40}}'.",
            )
            require(
                self.iterations == 1 or self.proposals > 1,
                f"policy.iterations={self.iterations} draws from the best of at least two. Use policy.proposals=8.",
            )
            require(
                self.base != "best_of",
                "policy.base=best_of: it cannot be its own base. Use policy.base=model and a larger policy.proposals.",
            )

    config: Config

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._base_class: type[Policy] = plugins().find("policy", self.config.base)
        self.keeps_state = self._base_class.keeps_state  # type: ignore[misc]
        self.reaches_out = self._base_class.reaches_out  # type: ignore[misc]
        self._bases, self._still = [self._made()], StillPolicy()
        self._score: Score | None = None
        chosen = self.config.predict
        self._world = _Prediction(_Prediction.Config("model", chosen.sampler, chosen.repo))  # type: ignore[arg-type]
        self._caller = Caller()
        self._poll: Callable[[], None] | None = None

    def check(self, setting: Setting) -> None:
        """Refuse what base, score and model cannot do."""
        self._caller.limit_s = setting.config.hook_timeout_s
        self._guarded(f"policy.base={self.config.base}", self._bases[0], lambda base: base.check(setting))
        try:
            actions.check_noise(self.config.noise.sizes, setting.space)
        except RequestError as error:
            raise ConfigError(f"policy.noise: {error}") from error
        if self.config.rest:
            self._still.check(setting)
        if (steps := self.config.predict.steps) is not None and steps > setting.chunk_size:
            raise ConfigError(
                f"policy.predict.steps={steps} is more than a chunk of {setting.chunk_size}. Use policy.predict.steps=null."
            )
        if self._predicts:
            self._world.check(setting)
            self._guarded(f"policy.score={self.config.score}", self._judge(setting), lambda score: score.check(setting))

    def fingerprint(self, setting: Setting) -> str | None:
        """What decides the base policy, the score and the prediction."""
        found: dict[str, Any] = {
            "base": self._guarded("policy.base", self._bases[0], lambda base: base.fingerprint(setting))
        }
        if self._predicts:
            found["score"] = self._guarded("policy.score", self._judge(setting), lambda each: each.fingerprint(setting))
            found["predict"] = self._world.fingerprint(setting)
        return json.dumps(found, sort_keys=True)

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin an episode."""
        self._setting, self._caller.limit_s = setting, setting.config.hook_timeout_s
        several = self.config.proposals > 1 and self._base_class.answers is Policy.answers
        while len(self._bases) < (self.config.proposals if several else 1):
            self._bases.append(self._made())
        self._still.reset(setting, seed)
        for i, base in enumerate(self._bases):
            self._call("policy.base", base, partial(base.reset, setting, seed + PROPOSAL_STEP * i))
        if self._predicts:
            score = self._judge(setting)
            self._call("policy.score", score, partial(score.reset, setting))
            self._world.open(setting)

    def act(self, look: Look) -> Proposal:
        """Propose, predict, score, choose. Raises: `EngineError`, `RolloutError`."""
        began, rng = time.perf_counter(), np.random.default_rng([look.seed, 7])
        self._poll = partial(look.progress, "choose", 0, 1) if look.progress else None
        count, chosen = self.config.proposals, 0
        if self.config.choose is Choose.random:
            chosen = int(rng.integers(count))
        rows_MTD = np.stack(
            [each.actions for each in self._proposed(look, range(count) if self._predicts else [chosen])]
        )
        seconds = {"propose": time.perf_counter() - began, "predict": 0.0, "score": 0.0}
        values_M, videos = np.zeros(0), []
        for round_ in range(self.config.iterations if self._predicts else 0):
            if round_:
                rows_MTD = np.concatenate([rows_MTD, self._drawn(rows_MTD, values_M, rng)])
            began = time.perf_counter()
            new = self._predicted(rows_MTD[len(values_M) :], look)
            predicted = time.perf_counter()
            values_M = np.concatenate([values_M, self._values(new, rows_MTD[len(values_M) :], look)])
            videos += new
            seconds["predict"] += predicted - began
            seconds["score"] += time.perf_counter() - predicted
        order = self._order(values_M)
        if videos and np.isnan(values_M).all():
            raise RolloutError(f"policy.score={self.config.score} has no value for any of {len(videos)} proposals.")
        if self._predicts:
            chosen = int(order[0])
        details: dict[str, Any] = {
            "base": self.config.base,
            "proposals": len(rows_MTD) if self._predicts else count,
            "predicted": len(videos),
            "chosen": chosen,
            **({"score": self.config.score, "scores": values_M.tolist()} if videos else {}),
        }
        shown = _spread(order, self.config.pictures)
        if len(shown):
            details["pictured"] = shown
        return Proposal(
            rows_MTD[chosen if self._predicts else 0],
            videos[chosen] if videos and len(videos[chosen]) > self._setting.act_steps else None,
            seconds,
            details,
            np.stack([videos[i][-1] for i in shown]) if len(shown) else None,
        )

    def close(self) -> None:
        """Let go of the models and of whatever the base policies hold."""
        for item in (*self._bases, *([self._score] if self._score else []), self._world):
            self._caller(item.name, item, item.close)
        self._caller.leave()

    # ------------------------------------------------------------------------------------------------- proposals

    @property
    def _predicts(self) -> bool:
        return self.config.choose is Choose.best and self.config.proposals * self.config.iterations > 1

    def _made(self) -> Policy:
        cls, config = self._base_class, self.config
        if config.base == "model":
            own: Any = cls.Config("model", config.sampler, config.repo, video=False)  # type: ignore[call-arg]
            require(not config.options, "policy.options are for another base. Use policy.sampler or policy.repo.")
        else:
            known = [each.name for each in fields(cls.Config) if each.name != "name"]
            for name in config.options or {}:
                if name not in known:
                    has = f"has {', '.join(known)}" if known else "has no options"
                    raise ConfigError(f"policy.options.{name}: policy={config.base} {has}.{near_miss(name, known)}")
            try:
                node = OmegaConf.merge(OmegaConf.structured(cls.Config(name=config.base)), config.options or {})
                own = OmegaConf.to_object(node)
            except OmegaConfBaseException as error:
                raise ConfigError(f"policy.options of policy={config.base}: {one_line(error, 200)}") from error
        return plugins().make(cls, own)  # type: ignore[no-any-return]

    def _proposed(self, look: Look, which: Sequence[int]) -> list[Proposal]:
        """Those of the N answers of the base policy: 0 is its own, the others have errors. Raises: `RolloutError`."""
        what, base, count = f"policy.base={self.config.base}", self._bases[0], self.config.proposals
        seeds = [look.seed + PROPOSAL_STEP * i for i in range(count)]
        rest = self.config.rest and look.proposed is not None
        asked = [i for i in which if not (rest and i == count - 1 > 0)]
        found: list[Proposal] = []
        if len(self._bases) == count:  # each is asked at each look, for it may keep a state
            for one, seed in zip(self._bases, seeds, strict=True):
                found.append(self._call("policy.base", one, partial(one.act, replace(look, seed=seed))))
            found = [found[i] for i in asked]
        elif asked:
            answers = self._call("policy.base", base, partial(base.answers, look, [seeds[i] for i in asked]))
            found = answers if isinstance(answers, list) else []
        if len(found) != len(asked) or not all(isinstance(each, Proposal) for each in found):
            raise RolloutError(f"{what}: it returned no {len(asked)} proposals.")
        shape = self._setting.chunk_size, domains.get(self._setting.space.domain).width or 0
        for each in found:
            if wrong := wrong_actions(each.actions, shape):
                raise RolloutError(f"{what}: it {wrong}.")
        if any(self.config.noise.sizes.values()):
            for place, i in enumerate(asked):
                if i:
                    rows_TD = self._noisy(found[place].actions, np.random.default_rng([look.seed, 11, i]))
                    found[place] = replace(found[place], actions=rows_TD)
        return [*found, self._rest(look)] if len(asked) < len(which) else found

    def _rest(self, look: Look) -> Proposal:
        """What is left of the chunk that was acted on before, then no motion."""
        assert look.proposed is not None
        left = look.proposed[self._setting.act_steps :]
        if not len(left):
            return self._still.act(look)
        return Proposal(actions.padded(left, self._setting.chunk_size, self._setting.space))

    def _noisy(self, rows_TD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = self.config.noise
        return actions.noisy(rows_TD, noise.sizes, noise.every, rng, self._setting.space)

    def _drawn(self, rows_MTD: np.ndarray, values_M: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """N proposals from the Gaussian of the best so far, float32 `[N, T, D]`."""
        count = min(len(rows_MTD), max(2, round(self.config.elite * len(rows_MTD))))
        best = rows_MTD[self._order(values_M)[:count]].astype(np.float64)
        middle = best.mean(axis=0)
        weights = rng.normal(size=(self.config.proposals, count)) / np.sqrt(max(1, count - 1))
        drawn = (middle + np.tensordot(weights, best - middle, axes=1)).astype(np.float32)
        drawn = actions.proper(drawn, self._setting.space)
        return np.stack([self._noisy(each, rng) for each in drawn]) if any(self.config.noise.sizes.values()) else drawn

    # ------------------------------------------------------------------------------------------------- prediction

    def _predicted(self, rows_BTD: np.ndarray, look: Look) -> list[np.ndarray]:
        steps = self.config.predict.steps or self._setting.chunk_size

        def progress(what: str, done: int, total: int) -> None:
            if look.progress:
                look.progress(what if what == "load" else f"predict {what}", done, total)

        samples = self._world.imagine(rows_BTD, progress, steps, look.frames[-1:], look.seed)
        return [sample.video[: steps + 1] for sample in samples]

    def _values(self, videos: Sequence[np.ndarray], rows_BTD: np.ndarray, look: Look) -> np.ndarray:
        """The value of each video, float64; nan where a score has none. Raises: `RolloutError`."""
        score, found = self._judge(self._setting), []
        pick = np.nanmax if score.measure.better == "higher" else np.nanmin
        for video, rows_TD in zip(videos, rows_BTD, strict=True):
            track = Track(video, rows_TD[: len(video) - 1], None, look.seed, look.progress)
            values = self._call("policy.score", score, partial(score.compute, track))
            if wrong := wrong_values(values, len(video)):
                raise RolloutError(f"policy.score={score.name}: it {wrong}.")
            if np.isnan(values).all() or self.config.over is Over.last:
                found.append(float(values[-1]))
            else:
                found.append(float(np.nanmean(values) if self.config.over is Over.mean else pick(values)))
        return np.array(found)

    def _order(self, values_M: np.ndarray) -> np.ndarray:
        """Places of the proposals from best to worst; without a value last."""
        sign = -1 if self._score is not None and self._score.measure.better == "higher" else 1
        return np.argsort(sign * values_M, kind="stable")

    def _judge(self, setting: Setting) -> Score:
        if self._score is None:
            name, known = self.config.score, plugins().classes("score")
            if name not in known:
                said = (
                    f"policy.score={name} is not a score.{near_miss(name, known)}"
                    if name
                    else "policy=best_of needs a score."
                )
                raise ConfigError(f"{said} Use policy.score={' or '.join(known)}.")
            made = plugins().make(known[name], setting.config.score.get(name))
            self._score = made
        assert self._score is not None
        return self._score

    # ------------------------------------------------------------------------------------------------- calls

    def _call(self, what: str, item: Acting, call: Callable[[], T]) -> T:
        return self._caller(f"{what}={item.name}", item, call, self._poll)

    def _guarded(self, name: str, item: Any, call: Callable[[Any], T]) -> T:
        try:
            return self._caller(name, item, lambda: call(item))
        except guard.PluginFault as fault:
            raise PluginError(f"{fault}.") from fault


def _spread(order: np.ndarray, count: int) -> list[int]:
    """At most `count` of the places, evenly from the first to the last."""
    if len(order) <= count:
        return [int(i) for i in order]
    return [int(order[i]) for i in np.linspace(0, len(order) - 1, count).round().astype(int)]
