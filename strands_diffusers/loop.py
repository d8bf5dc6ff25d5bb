"""The closed loop: a policy looks, the world steps through the first actions of its chunk, the policy looks again.

Whatever a policy, a world or a score returns is checked here, and named with the look at which it was wrong. Each
finished look is kept, so that an episode that is cut off goes on from there, with the same result.

Letters: K looks, T steps proposed, n steps acted on, D action width, F = K*n + 1 frames, H height, W width.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from strands_diffusers import domains
from strands_diffusers.config.conditions import ClosedLoopConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import (
    CancelledError,
    ConfigError,
    PluginError,
    RequestError,
    RolloutError,
    StrandsDiffusersError,
    one_line,
)
from strands_diffusers.lazy import np
from strands_diffusers.observations import scenes
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.acting import (
    SEED_STEP,
    Acting,
    Look,
    Policy,
    Progress,
    Proposal,
    Score,
    Setting,
    Track,
    World,
    described,
    wrong_actions,
    wrong_values,
)
from strands_diffusers.plugin.caller import Caller
from strands_diffusers.plugin.manager import PluginIndex, plugins
from strands_diffusers.records import plain
from strands_diffusers.results import ActionSpace, Episode, Observation, Rollout, Scored

T = TypeVar("T")

log = logging.getLogger(__name__)


class Kept(Protocol):
    """Where the finished looks of an episode survive the process."""

    def load(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The arrays and facts of a finished look; None where there are none."""

    def keep(self, name: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Keep a look that was just finished."""


@dataclass(frozen=True, eq=False)
class Cast:
    """All that takes part in the episodes of a job, checked."""

    setting: Setting
    policy: Policy
    world: World
    scores: Mapping[str, Score]
    reference: World | None = None
    """Another world, in which the same actions are acted out afterwards."""

    call: Caller = field(default_factory=Caller)
    """Calls whoever takes part, each in one thread."""

    @property
    def everyone(self) -> dict[str, Acting]:
        """Whoever takes part, by what it is called in messages."""
        found: dict[str, Acting] = {f"policy={self.policy.name}": self.policy, f"world={self.world.name}": self.world}
        if self.reference is not None:
            found[f"world.reference={self.reference.name}"] = self.reference
        return found | {f"score={name}": score for name, score in self.scores.items()}

    @property
    def uses_model(self) -> bool:
        """Whether any of them loads the chosen model."""
        return any(each.uses_model for each in self.everyone.values())

    def fingerprints(self) -> dict[str, str]:
        """What decides the episodes beside the options, by name."""
        found = {
            name: self._guarded(name, each, partial(each.fingerprint, self.setting))
            for name, each in self.everyone.items()
        }
        return {name: value for name, value in found.items() if value is not None}

    def check(self) -> None:
        """Have everyone refuse what cannot work. Raises: a `RequestError`."""
        for name, each in self.everyone.items():
            try:
                self._guarded(name, each, partial(each.check, self.setting))
            except RequestError as error:
                if each is not self.reference:
                    raise
                raise type(error)(str(error).replace(f"world={each.name}", name, 1)) from error  # as it was typed

    def close(self) -> None:
        """Have everyone let go of what it holds; one that cannot is of no consequence any more."""
        for name, each in self.everyone.items():
            try:
                self.call(name, each, each.close)
            except StrandsDiffusersError as error:
                log.warning("%s could not be closed: %s", name, one_line(error))
        self.call.leave()

    def _guarded(self, name: str, item: Acting, call: Callable[[], T]) -> T:
        try:
            return self.call(name, item, call)
        except guard.PluginFault as fault:
            raise PluginError(f"{fault}.") from fault


def cast(
    config: RunConfig, observation: Observation, space: ActionSpace, prompt: str, index: PluginIndex | None = None
) -> Cast:
    """Make whoever the config names and have each check the setting; nothing is loaded. Raises: a `RequestError`."""
    index, condition = index or plugins(), config.condition
    assert isinstance(condition, ClosedLoopConfig)
    assert condition.chunk_size is not None
    assert condition.act_steps is not None
    sizes = condition.chunk_size, condition.act_steps, condition.num_looks
    setting = Setting(config, observation, space, prompt, float(config.domain.fps), *sizes)
    world = index.make(index.find("world", config.world.name), config.world)
    reference = None
    if name := getattr(config.world, "reference", None):
        if name == config.world.name:
            raise ConfigError(f"world.reference={name} is the world itself: there is nothing to compare. Name another.")
        reference = index.make(cls := index.find("world", name, "world.reference"), cls.Config(name=name))
    found = Cast(
        setting,
        index.make(index.find("policy", config.policy.name), config.policy),
        world,
        {name: index.make(index.find("score", name), options) for name, options in config.score.items()},
        reference,
        Caller(config.hook_timeout_s),
    )
    found.check()
    return found


def run(taking_part: Cast, progress: Progress | None = None, kept: Kept | None = None) -> list[Rollout]:
    """Run one episode per sample: sample i has the seed of the job plus i.

    Raises: `RolloutError` naming who failed, and at which look; `CancelledError`.
    """
    config = taking_part.setting.config
    count = config.sampler.num_samples
    try:
        episodes = [Running(taking_part, config.seed + i, i, progress, kept).run() for i in range(count)]
    finally:
        taking_part.close()
    return [replace(rollout, sample=i if count > 1 else None) for i, rollout in enumerate(episodes)]


@dataclass(eq=False)
class Running:
    """One sample while it runs; `play` takes its looks one at a time."""

    cast: Cast
    seed: int
    sample: int
    progress: Progress | None
    kept: Kept | None
    frames: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    proposed: np.ndarray | None = None
    """The policy's answer to the look before the first one that is taken here."""

    where: str = ""
    last: tuple[str, int, int] | None = None
    stopped: BaseException | None = None

    def run(self) -> Rollout:
        """All looks, from the first that was not finished before."""
        cast, setting = self.cast, self.cast.setting
        before = self._kept_looks()
        self.where = "start"
        first, states = self.first("world", cast.world)
        self.frames, self.states = [first], plain(states)
        self.call("policy", cast.policy, lambda: cast.policy.reset(setting, self.seed))
        for k, (arrays, facts) in enumerate(before):
            self.where = f"look {k + 1}/{setting.num_looks}"
            if cast.policy.keeps_state:
                self._asked(k)
            self._take(arrays, facts)
        if before:
            past = np.concatenate(self.frames), np.concatenate(self.actions)
            self.call("world", cast.world, lambda: cast.world.restore(*past, setting.act_steps))
        for k in range(len(before), setting.num_looks):
            self.where = f"look {k + 1}/{setting.num_looks}"
            self._report("look", k, setting.num_looks)
            arrays, facts = self.look(k)
            self._take(arrays, facts)
            if self.kept is not None:
                self.kept.keep(look_name(self.sample, k), arrays, facts)
        self.where = "end"
        return self._rollout(len(before))

    def look(self, k: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """One look: what the policy proposed and what the world answered, checked."""
        cast, setting = self.cast, self.cast.setting
        began = time.perf_counter()
        proposal = self._asked(k)
        asked = time.perf_counter()
        step = self._stage("world")
        answer = self.call("world", cast.world, lambda: cast.world.step(proposal.actions, setting.act_steps, step))
        self.check_frames("world", cast.world, getattr(answer, "frames", None), setting.act_steps)
        states = answer.states
        if (states is not None) != bool(self.states) or (states is not None and len(states) != setting.act_steps):
            self._wrong("world", cast.world, "gave states of some frames only; it must give those of all or of none")
        seconds = {"policy": asked - began, "world": time.perf_counter() - asked}
        for who, stages in (("policy", proposal.seconds), ("world", answer.seconds)):
            seconds |= {f"{who}.{stage}": float(value) for stage, value in stages.items()}
        arrays = {"actions": proposal.actions, "frames": answer.frames, "video": proposal.video}
        arrays["alternatives"] = proposal.alternatives
        states = None if states is None else list(states)
        facts = plain({"states": states, "seconds": seconds, "details": proposal.details})
        return {name: value for name, value in arrays.items() if value is not None}, facts

    def _take(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        n = self.cast.setting.act_steps
        own, pictures = arrays.get("video"), arrays.get("alternatives")
        self.proposals.append(Proposal(arrays["actions"], own, dict(facts["seconds"]), facts["details"], pictures))
        self.actions.append(arrays["actions"][:n])
        self.frames.append(arrays["frames"])
        self.states += facts["states"] or []

    def _asked(self, k: int) -> Proposal:
        cast, setting = self.cast, self.cast.setting
        width = self._width()
        look = Look(
            k,
            np.concatenate(self.frames),
            np.concatenate(self.actions) if self.actions else np.zeros((0, width), np.float32),
            setting.prompt,
            self.seed + SEED_STEP * k,
            hold=None if k else self.call("world", cast.world, cast.world.hold),
            proposed=self.proposals[-1].actions if self.proposals else self.proposed,
            state=self.states[-1] if self.states else None,
            progress=self._stage("policy"),
        )
        proposal = self.call("policy", cast.policy, lambda: cast.policy.act(look))
        if not isinstance(proposal, Proposal):
            self._wrong("policy", cast.policy, f"returned {type(proposal).__name__}, not a Proposal")
        if wrong := wrong_actions(proposal.actions, (setting.chunk_size, width)):
            self._wrong("policy", cast.policy, wrong)
        video, T = proposal.video, setting.chunk_size
        if video is not None:
            if not (_is_video(video) and setting.act_steps < len(video) <= T + 1):
                self._wrong(
                    "policy", cast.policy, f"returned a video {described(video)}; it must be uint8 [{T + 1}, H, W, 3]"
                )
            known = self.proposals[-1].video if self.proposals else video
            if known is None or known.shape != video.shape:
                self._wrong("policy", cast.policy, "returned videos of several sizes")
        others = proposal.alternatives
        if others is not None and not (
            _is_video(others)
            and all(p.alternatives is not None and p.alternatives.shape == others.shape for p in self.proposals)
        ):
            self._wrong("policy", cast.policy, f"returned alternatives {described(others)}; they must be uint8 [M, H, W, 3], "
                        "as many of one size at each look")  # fmt: skip
        return proposal

    def _width(self) -> int:
        return domains.get(self.cast.setting.space.domain).width or 0

    def _rollout(self, looks_kept: int) -> Rollout:
        cast, setting = self.cast, self.cast.setting
        frames_FHWC, states = np.concatenate(self.frames), self.states or None
        action_KnD = np.stack(self.actions)
        videos, alternatives = ([getattr(p, name) for p in self.proposals] for name in ("video", "alternatives"))
        began = time.perf_counter()
        scores = self._scored(frames_FHWC, states)
        reference, truth, true_states, true_scores = cast.reference, None, None, {}
        if reference is not None:
            truth, true_states = self._acted_out(reference, action_KnD)
            true_scores = self._scored(truth, true_states)
            truth = self.call("world", cast.world, partial(cast.world.show, truth))
        stages: Counter[str] = Counter()
        for proposal in self.proposals:
            stages.update(proposal.seconds)  # type: ignore[arg-type]
        stages.update({"scores": time.perf_counter() - began})  # type: ignore[dict-item]
        episode = Episode(
            cast.policy.name,
            cast.world.name,
            setting.act_steps,
            tuple(range(0, setting.num_looks * setting.act_steps, setting.act_steps)),
            np.stack([p.actions for p in self.proposals]),
            np.stack(videos) if all(v is not None for v in videos) else None,  # type: ignore[arg-type]
            scores,
            states,
            tuple(p.seconds for p in self.proposals),
            tuple(dict(p.details) for p in self.proposals),
            reference.name if reference else "",
            true_scores,
            true_states,
            np.stack(alternatives) if all(a is not None for a in alternatives) else None,
        )
        details: dict[str, Any] = {"looks_kept": looks_kept} if looks_kept else {}
        if notes := self._notes(frames_FHWC):
            details["warnings"] = notes
        return Rollout(
            "closed_loop",
            setting.prompt,
            self.seed,
            video=frames_FHWC,
            action=action_KnD,
            episode=episode,
            fps=setting.fps,
            space=setting.space,
            observation=setting.observation,
            reference_video=truth,
            seconds=dict(stages),
            details=details,
        )

    def _notes(self, frames_FHWC: np.ndarray) -> list[str]:
        """A line where the episode leaves what the model was trained on."""
        cast, setting = self.cast, self.cast.setting
        model = setting.config.model
        if model.scene is None or not cast.uses_model or scenes.mismatch(model.scene, frames_FHWC[0]):
            return []  # the first frame was warned about before
        for k in range(setting.num_looks):
            if words := scenes.mismatch(model.scene, frames_FHWC[(k + 1) * setting.act_steps]):
                return [
                    f"after look {k + 1} of {setting.num_looks} the frames no longer look like what model={model.name} "
                    f"was trained on ({words}): what follows means little. Use fewer condition.num_looks."
                ]
        return []

    def _acted_out(self, world: World, action_KnD: np.ndarray) -> tuple[np.ndarray, list[Any] | None]:
        """The same actions in another world: frames `[F, H, W, 3]` and its states."""
        setting, n = self.cast.setting, self.cast.setting.act_steps
        first, states = self.first("world.reference", world)
        frames = [first]
        for k, rows in enumerate(action_KnD):
            self.where = f"look {k + 1}/{setting.num_looks}"
            stage = self._stage("reference")
            answer = self.call("world.reference", world, partial(world.step, rows, n, stage))
            self.check_frames("world.reference", world, answer.frames, n, frames[0])
            frames.append(answer.frames)
            states += answer.states or []
        return np.concatenate(frames), states if len(states) == len(action_KnD) * n + 1 else None

    def _scored(self, frames_FHWC: np.ndarray, states: Sequence[Any] | None) -> dict[str, Scored]:
        found, setting = {}, self.cast.setting
        rows = np.concatenate(self.actions)
        for name, score in self.cast.scores.items():
            track = Track(frames_FHWC, rows, states, self.seed, self._stage(f"score {name}"))
            self.call("score", score, partial(score.reset, setting))
            values = self.call("score", score, partial(score.compute, track))
            if wrong := wrong_values(values, len(frames_FHWC)):
                self._wrong("score", score, wrong)
            found[name] = Scored(values.astype(np.float64), score.measure.unit, score.measure.better)
        return found

    # ------------------------------------------------------------------------------------- calls, checked and watched

    def call(self, kind: str, item: Acting, call: Callable[[], T]) -> T:
        """A call of whoever takes part; a plugin's with a time limit, and looked at twice a second. Raises: `RolloutError`."""
        name = f"{kind}={item.name}"
        try:
            return self.cast.call(name, item, call, self._again)
        except CancelledError:
            raise
        except guard.PluginFault as fault:
            raise RolloutError(f"{self.where}: {fault}.") from fault
        except StrandsDiffusersError as error:
            if error is self.stopped:
                raise
            raise RolloutError(f"{name}, {self.where}: {error}") from error

    def _wrong(self, kind: str, item: Acting, what: str) -> NoReturn:
        owner = plugins().owner(type(item))
        raise RolloutError(f"{kind}={item.name}{f' of plugin {owner}' if owner else ''}, {self.where}: it {what}.")

    def first(self, kind: str, world: World) -> tuple[np.ndarray, list[Any]]:
        """Begin a world's episode: its first frame `[1, H, W, 3]`, checked, and its state in a list; empty where it has none."""
        frame, state = self.call(kind, world, lambda: world.reset(self.cast.setting, self.seed))
        frames = np.asarray(frame)[None]
        self.check_frames(kind, world, frames, 1)
        return frames, [] if state is None else [state]

    def check_frames(self, kind: str, world: World, frames: Any, count: int, like: np.ndarray | None = None) -> None:
        """Refuse a world's frames of another kind, count or size than the first ones, or `like`. Raises: `RolloutError`."""
        like = self.frames[0] if like is None and self.frames else like
        if not _is_video(frames) or len(frames) != count:
            self._wrong(kind, world, f"returned frames {described(frames)}; they must be uint8 [{count}, H, W, 3]")
        if like is not None and frames.shape[1:] != like.shape[1:]:
            now, before = (f"{shape[2]}x{shape[1]}" for shape in (frames.shape, like.shape))
            self._wrong(kind, world, f"returned frames of {now} pixels after some of {before}")

    def _stage(self, who: str) -> Progress:
        """Progress within a call, as that of this look: `look 2/12: world denoise 3/8`."""
        return lambda what, done, total: self._report(what if what == "load" else f"{who} {what}", done, total)

    def _report(self, what: str, done: int, total: int) -> None:
        count = self.cast.setting.config.sampler.num_samples
        if what == "look":  # of all samples, so that who watches knows how far the job is
            done, total = self.sample * total + done, count * total
        elif what not in ("load", "wait"):
            what = f"sample {self.sample}, {self.where}: {what}" if count > 1 else f"{self.where}: {what}"
        self.last = (what, done, total)
        self._again()

    def _again(self) -> None:
        """Report where the episode is; whoever watches may end it."""
        try:
            if self.progress is not None and self.last is not None:
                self.progress(*self.last)
        except BaseException as error:
            self.stopped = error
            raise

    def _kept_looks(self) -> list[tuple[dict[str, np.ndarray], dict[str, Any]]]:
        """The looks that were finished before, up to the first that is missing."""
        found: list[tuple[dict[str, np.ndarray], dict[str, Any]]] = []
        while self.kept is not None and len(found) < self.cast.setting.num_looks:
            if (look := self.kept.load(look_name(self.sample, len(found)))) is None:
                break
            found.append(look)
        return found


def look_name(sample: int, look: int) -> str:
    """What a finished look is kept as."""
    return f"look_{sample:03d}_{look:03d}"


def _is_video(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.ndim == 4
        and value.shape[3] == 3
        and value.size > 0
    )
