"""A session: a tree of moments. Whoever acts at a moment, a person or a policy, makes the next one below it.

Letters: n steps of a moment, T steps of a chunk, D action width, H height, W width, K looks of a branch.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from strands_diffusers import actions, loop, records
from strands_diffusers.config import compose
from strands_diffusers.config.fields import require_text
from strands_diffusers.config.schema import PolicyConfig, RunConfig
from strands_diffusers.errors import ConfigError, RequestError, StrandsDiffusersError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.observations import samples
from strands_diffusers.play.controls import Controls
from strands_diffusers.plugin.acting import Look, Policy, Proposal, Setting
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.policies.given import PersonPolicy
from strands_diffusers.runner import folders, job, run, summary
from strands_diffusers.runner.chunks import FinishedChunks
from strands_diffusers.runner.control import Control

log = logging.getLogger(__name__)

ACT_STEPS = 4
"""Steps of one input where `condition.act_steps` does not say: what the autoencoder decodes at once."""

POLICY_STEPS = 8
"""Steps that a policy acts before it looks again: looking after each input, the model would not keep up with its own clock."""

FIXED = ("condition=closed_loop", f"condition.act_steps={ACT_STEPS}")

PERSON = "person"


@dataclass(frozen=True, eq=False)
class Moment:
    """What follows one input: n steps."""

    id: int
    parent: Moment | None
    by: str
    """`person`, or the policy that chose the actions; empty at the start."""

    task: str
    """What the policy was asked to do."""

    frames: np.ndarray
    """uint8 `[n, H, W, 3]`; of the start its one frame."""

    proposal: np.ndarray | None = None
    """float32 `[T, D]`, of which the first n were acted on."""

    states: Sequence[Any] | None = None
    """The world's, one per frame."""

    truth: np.ndarray | None = None
    """The reference world's frames under the same actions."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    poses: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Where each body is, 4 x 4, seen from where it began; where actions have physical units."""

    @property
    def path(self) -> list[Moment]:
        """From the start to this moment."""
        found: list[Moment] = [self]
        while (parent := found[-1].parent) is not None:
            found.append(parent)
        return found[::-1]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.frames, self.truth, self.proposal)
        return sum(array.nbytes for array in arrays if array is not None)


@dataclass(frozen=True)
class Offered:
    """A policy that a person may hand over to."""

    policy: Policy
    summary: str
    refusal: str
    """Why it cannot act here; empty where it can."""


class Session:
    """One world, the moments that were made in it, and who may act. For one thread at a time.

    The model is loaded by `begin`. Raises everywhere: a `RequestError` for what cannot be, another `StrandsDiffusersError` for
    what failed; the moments stand, whatever happens.
    """

    def __init__(self, overrides: Sequence[str] = (), memory_mb: float = 512) -> None:
        """`overrides` are those of a closed loop, `policy=` that which is handed over to. `memory_mb`: of all moments."""
        given = {each.partition("=")[0] for each in overrides}
        fixed = [each for each in FIXED if each.partition("=")[0] not in given]
        mine = [each for each in overrides if not each.startswith(("policy=", "policy."))]
        self.overrides = (*fixed, *mine)
        if "condition" in given and "condition=closed_loop" not in overrides:
            raise ConfigError("play acts in condition=closed_loop; leave condition= as it is.")
        chosen = compose.compose([*fixed, *overrides])
        checked = job.check(compose.compose([*self.overrides, "policy=random"]))
        assert checked.cast is not None
        if checked.config.sampler.num_samples > 1:
            raise ConfigError("play is one episode at a time: leave out sampler.num_samples.")
        self.config: RunConfig = checked.config
        self.cast: loop.Cast = checked.cast
        self.setting: Setting = checked.cast.setting
        self.notes = checked.request.notes
        self.controls = Controls(self.setting.space)
        self.memory = int(memory_mb * 1e6)
        now = datetime.datetime.now().astimezone()
        self.directory = Path(self.config.output_dir or f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S}-play").absolute()
        self.moments: list[Moment] = []
        self.saved: dict[int, str] = {}
        """Names of the folders of saved branches, by their last moment."""
        self._chosen: PolicyConfig = chosen.policy
        self._offered: dict[str, Offered] = {}
        self._world_at: Moment | None = None
        self._truth_at: Moment | None = None
        self._acting: tuple[Moment, str, str, int] | None = None
        """The moment after a policy's last action, the policy, its task, and the steps since it looked: there it goes on."""

    def begin(self) -> Moment:
        """Load the model and return the start; what was there is forgotten."""
        self._world_at = self._truth_at = self._acting = None
        look, reference = self._episode(self.cast.policy, self.setting, []), self.cast.reference
        frames, states = look.first("world", self.cast.world)
        truth = None if reference is None else look.first("world.reference", reference)[0]
        poses = {pose.name: np.eye(4) for pose in self.controls.domain.poses if self.setting.space.statistics}
        start = Moment(0, None, "", "", frames, None, states or None, truth, {}, poses)
        self.moments, self.saved = [start], {}
        self._world_at = self._truth_at = start
        self._hold = look.call("world", self.cast.world, self.cast.world.hold)
        return start

    def warm(self) -> None:
        """Begin, and act once to no purpose: the first chunk of a model takes twice as long."""
        self.begin()
        with contextlib.suppress(RequestError):  # where nothing says what to hold
            self.act(0, {})
            self.begin()

    def close(self) -> None:
        """Let go of the world and of whoever acted."""
        for name, offered in self._offered.items():
            with contextlib.suppress(StrandsDiffusersError):
                self.cast.call(f"policy={name}", offered.policy, offered.policy.close)
        self.cast.close()

    def act(self, parent: int, given: Mapping[str, Any]) -> Moment:
        """The next moment, a person having done what `given` says (`Controls.rows`)."""
        at, n = self.moment(parent), self.setting.act_steps
        rows = self.controls.rows(given, self.held(at), n)
        chunk = actions.padded(rows, self.setting.chunk_size, self.setting.space)
        return self._step(at, _Chosen(chunk), self.setting, PERSON)

    def hand_over(self, parent: int, name: str, task: str) -> Moment:
        """The next moment, policy `name` acting with a task; it looks again after `POLICY_STEPS`."""
        at, offered = self.moment(parent), self.offered().get(name)
        if offered is None:
            raise ConfigError(f"there is no policy {name!r}; there are {', '.join(self.offered())}.")
        require_text("the task", task)
        setting = replace(self.setting, prompt=task.strip())
        before, self._acting = self._acting, None
        same = before is not None and before[0] is at and before[1:3] == (name, setting.prompt)
        n, policy = setting.act_steps, offered.policy
        if before is not None and same and before[3] + n <= POLICY_STEPS:  # it goes on as it proposed
            assert at.proposal is not None
            policy, done = _Chosen(actions.padded(at.proposal[n:], setting.chunk_size, setting.space)), before[3]
        else:
            if not same:
                self.cast.call(f"policy={name}", policy, partial(policy.check, setting))
                self.cast.call(f"policy={name}", policy, partial(policy.reset, setting, self._seed))
            done = 0
        made = self._step(at, policy, setting, name)
        self._acting = made, name, setting.prompt, done + n
        return made

    def save(self, last: int) -> run.Outcome:
        """Save the branch that ends at a moment as a run of its own: a closed loop of `policy=person`.

        Its looks are those that were seen; what is left is to act them out in the reference world, to judge, write and draw.
        """
        path = self.moment(last).path[1:]
        if not path:
            raise ConfigError("nothing was done yet: there is nothing to save.")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "episode.json")
            file.write_text(
                json.dumps({"proposed_action": [m.proposal.tolist() for m in path if m.proposal is not None]})
            )
            person = PersonPolicy.Config(PERSON, str(file))
            condition = replace(self.config.condition, num_looks=len(path))  # type: ignore[call-arg]
            checked = job.check(replace(self.config, policy=person, condition=condition))
            directory = folders.claim_next(self.directory)
            after = str(directory / "episode.json")
            checked.tree["policy"]["actions"] = after  # where the same numbers are once it is saved
            kept = FinishedChunks(directory, checked.hash)
            for k, moment in enumerate(path):
                kept.keep(loop.look_name(0, k), *_finished(moment))
            overrides = (
                *self.overrides,
                f"condition.num_looks={len(path)}",
                "policy=person",
                f"policy.actions={after}",
            )
            outcome = run.run_job(checked, directory, overrides=overrides, control=Control(), say=log.info)
        outcome.notes[:] = [note for note in outcome.notes if not note.endswith("looks were finished before")]
        outcome.notes.append(summary.page_note(directory))
        self.saved[last] = directory.name
        return outcome

    def held(self, at: Moment) -> np.ndarray | None:
        """The action float32 `[D]` that is held at a moment: the last one, at the start what the world or the observation says."""
        if at.proposal is not None:
            return np.asarray(at.proposal[self.setting.act_steps - 1])
        known = self.setting.observation.actions
        return self._hold if self._hold is not None else known[0] if known is not None and len(known) else None

    def offered(self) -> dict[str, Offered]:
        """The policies that a person may hand over to, the chosen one first."""
        if not self._offered:
            index = plugins()
            classes = index.classes("policy")
            names = [self._chosen.name, *(name for name in classes if name != self._chosen.name)]
            for name in names:
                cls = classes[name]
                if name == PERSON or (cls.reaches_out and name != self._chosen.name):
                    continue
                config = self._chosen if name == self._chosen.name else cls.Config(name=name)
                if hasattr(config, "video"):  # what it generates itself is not shown
                    config = replace(config, video=False)
                policy, refusal = index.make(cls, config), ""
                asked = replace(self.setting, prompt=self.setting.prompt or next(iter(self.tasks()), "Do it."))
                try:
                    self.cast.call(f"policy={name}", policy, partial(policy.check, asked))
                except StrandsDiffusersError as error:
                    refusal = one_line(error)
                summary_line = (cls.__doc__ or "").strip().split("\n")[0]
                self._offered[name] = Offered(policy, summary_line, refusal)
        return self._offered

    def tasks(self) -> list[str]:
        """Tasks to choose from: the session's own, and those of the samples of its domain."""
        own = [self.setting.prompt] if self.setting.prompt else []
        return list(dict.fromkeys([*own, *samples.tasks(self.setting.space.domain)]))

    @property
    def used(self) -> int:
        """Bytes of all moments."""
        return sum(moment.nbytes for moment in self.moments)

    # ------------------------------------------------------------------------------------------------- one step

    @property
    def _seed(self) -> int:
        return self.config.seed

    def moment(self, number: int) -> Moment:
        """The moment of that number; `ConfigError` where there is none."""
        if not 0 <= number < len(self.moments):
            raise ConfigError(f"there is no moment {number}; the session was started over.")
        return self.moments[number]

    def _step(self, at: Moment, policy: Policy, setting: Setting, by: str) -> Moment:
        if self.memory - self.used < max(moment.nbytes for moment in self.moments):
            raise RequestError(
                f"the session holds {self.memory / 1e6:g} MB, its limit. Save the branches that matter and start over, "
                "or start it with play.memory_mb=2000."
            )
        path = at.path
        look = self._episode(policy, setting, path)
        look.proposed = at.proposal if at.by == by else None
        before = np.concatenate(look.frames), np.concatenate(look.actions) if look.actions else None
        if self._world_at is not at:
            self._restore(look, "world", self.cast.world, *before)
        self._world_at = None  # until it has answered
        look.where = f"look {len(path)}"
        arrays, facts = look.look(len(path) - 1)
        truth = None
        if (reference := self.cast.reference) is not None:
            if self._truth_at is not at:
                self._restore(look, "world.reference", reference, *before)
            self._truth_at = None
            answer = look.call(
                "world.reference", reference, lambda: reference.step(arrays["actions"], setting.act_steps)
            )
            look.check_frames("world.reference", reference, answer.frames, setting.act_steps, at.truth)
            truth = answer.frames
        rows = arrays["actions"][: setting.act_steps]
        moved = actions.paths(rows, setting.space)
        poses = {name: at.poses[name] @ moved[name][-1] for name in at.poses}
        made = Moment(
            len(self.moments), at, by, setting.prompt if by != PERSON else "", arrays["frames"], arrays["actions"],
            facts["states"], truth, facts["seconds"], poses,
        )  # fmt: skip
        self.moments.append(made)
        self._world_at = made
        self._truth_at = made if reference is not None else None
        return made

    def _episode(self, policy: Policy, setting: Setting, path: Sequence[Moment]) -> loop.Running:
        """The loop's own episode, at the end of a path: it asks, steps and checks."""
        found = loop.Running(replace(self.cast, policy=policy, setting=setting), self._seed, 0, None, None)
        for moment in path:
            found.frames.append(moment.frames)
            found.states += moment.states or []
            if moment.proposal is not None:
                found.actions.append(moment.proposal[: setting.act_steps])
        return found

    def _restore(self, look: Any, kind: str, world: Any, frames: np.ndarray, done: np.ndarray | None) -> None:
        look.call(kind, world, lambda: world.reset(self.setting, self._seed))
        if done is not None:
            look.call(kind, world, lambda: world.restore(frames, done, self.setting.act_steps))


class _Chosen(Policy):
    """What a person has just done, as the policy that the loop asks."""

    name = PERSON

    def __init__(self, chunk_TD: np.ndarray) -> None:
        super().__init__()
        self._chunk_TD = chunk_TD

    def act(self, look: Look) -> Proposal:
        return Proposal(self._chunk_TD)


def _finished(moment: Moment) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A moment as the loop keeps a finished look."""
    assert moment.proposal is not None
    details = {"by": moment.by} | ({"task": moment.task} if moment.task else {})
    facts = {"states": moment.states, "seconds": dict(moment.seconds), "details": details}
    return {"actions": moment.proposal, "frames": moment.frames}, records.plain(facts)
