"""A conformance kit for plugins: their tests call `check_plugin(my_package)`, or the check of one class.

    from strands_diffusers import testing
    import my_package

    def test_it_conforms():
        testing.check_plugin(my_package)

Every check calls the class as a job would, on small rollouts of every mode (`rollouts`), and raises an
`AssertionError` that says in one line what is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec

import numpy as np

from strands_diffusers import actions, loop
from strands_diffusers.config import compose as composing
from strands_diffusers.config.conditions import ClosedLoopConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import OutputError, StrandsDiffusersError
from strands_diffusers.plugin import choices, guard, manager
from strands_diffusers.plugin.acting import Policy, Score, Setting, Stepped, World
from strands_diffusers.plugin.base import Judgement, Metric, Panel, Serializer, Source, Tracker, Verdict, Visualizer
from strands_diffusers.plugin.guard import Wrong
from strands_diffusers.policies.given import RandomPolicy
from strands_diffusers.records import Record, SampleRecord, file_entry, write_json
from strands_diffusers.results import Artifact, Episode, Mesh, Observation, ObservationRequest, Rollout, RunInfo, Scored

HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "wandb", "imageio_ffmpeg")
"""What a plugin's module must not import: it is imported at every start of the command."""


def rollouts() -> dict[str, Rollout]:
    """Small rollouts of every mode and output type by name: 17 frames of 48 x 64 at 10 Hz, actions of the domain pusht."""
    y, x, frame = np.mgrid[:48, :64, :17].astype(np.float32)
    disc = 150 * np.exp(-((x - 12 - 2 * frame) ** 2 + (y - 24) ** 2) / 72)
    video_FHWC = np.stack([60 + disc, 90 + x, 200 - y], axis=-1).transpose(2, 0, 1, 3).astype(np.uint8)
    rows_TD = np.random.default_rng(0).normal(0, 0.1, (16, 2)).cumsum(axis=0).astype(np.float32).clip(-1, 1)
    seen = Observation(video_FHWC, 10.0, rows_TD, "Push the T block.", "pusht", "testing:one")
    world = Rollout("text", "A disc moves.", 0, video=video_FHWC, fps=10.0)
    acting = replace(
        world, mode="policy", space=actions.space_of("pusht"), observation=seen, action=rows_TD[None] + 0.01
    )
    true = replace(acting, reference_video=video_FHWC, reference_action=rows_TD[None])
    rising = Scored(np.linspace(0, 1, 17), "", "higher")
    chunks_KTD = np.stack([rows_TD, rows_TD])
    videos_KFHWC = np.stack([video_FHWC, video_FHWC])
    episode = Episode("replay", "model", 8, (0, 8), chunks_KTD, videos_KFHWC, {"goal_image": rising}, reference="true")
    episode = replace(episode, seconds=({"policy": 0.1}, {"policy": 0.1}), details=({}, {}))
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]], np.int32)
    tone = np.sin(np.arange(1600, dtype=np.float32) / 9)[:, None]
    return {
        "text": world,
        "text with sound": replace(world, sound=tone, sampling_rate=16000),
        "text to image": replace(world, video=None, fps=None, image=video_FHWC[:2]),
        "image to mesh": replace(world, mode="image", video=None, fps=None, mesh=Mesh(corners, faces)),
        "video": replace(world, mode="video", reference_video=video_FHWC),
        "policy": true,
        "policy without reference": acting,
        "policy of two chunks": replace(acting, action=np.stack([rows_TD, rows_TD])),
        "forward dynamics": replace(true, mode="forward_dynamics", action=None, given_action=rows_TD[None]),
        "inverse dynamics": replace(true, mode="inverse_dynamics"),
        "closed loop": replace(
            acting, mode="closed_loop", action=rows_TD.reshape(2, 8, 2), reference_video=video_FHWC, episode=episode
        ),
    }


def compose(*overrides: str) -> RunConfig:
    """Compose a config as the command line does, with the choices of every installed plugin. Raises: `ConfigError`."""
    choices.prepare()
    return composing.compose(overrides)


def check_plugin(module: ModuleType) -> manager.PluginIndex:
    """Check a plugin's module: that it loads beside the built-ins, quickly, and each of its classes by its own check.

    Others need an address, a setting or a pipeline: see `check_source`, `check_policy`, `check_world`, `check_score`.
    """
    index = manager.build_index([(module.__name__, module)], index=manager.built_ins())
    for problem in index.problems:
        raise AssertionError(problem.message)
    _check_import(module)
    for registration in index.registrations:
        if registration.plugin == module.__name__ and registration.group in _CHECKS:
            _CHECKS[registration.group](registration.value)
    return index


P = ParamSpec("P")


def _check(check: Callable[P, None]) -> Callable[P, None]:
    """A check of a class whose `Wrong`, and whatever the class raises, is an `AssertionError` of one line that names it."""

    @wraps(check)
    def checked(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            guard.run("", getattr(arguments[0], "__name__", ""), lambda: check(*arguments, **options), None)
        except StrandsDiffusersError as error:
            raise AssertionError(str(error)) from error

    return checked


@_check
def check_serializer(cls: type[Serializer], config: Any = None) -> None:
    """Save every rollout that holds what the class needs, twice: files in the folder, all listed, nothing changed.

    An `OutputError` refuses a rollout; one at least must be written.
    """
    written = [_files(cls, cls(config).save, rollout) for rollout in _readable(cls)]
    if not any(written):
        raise Wrong(f"wrote none of the rollouts that hold {', '.join(cls.output_types)}")


@_check
def check_visualizer(cls: type[Visualizer], config: Any = None) -> None:
    """Draw every rollout that holds what the class needs, one by one and as the samples of one job."""
    for rollout in _readable(cls):
        _files(cls, cls(config).draw, rollout)
        _files(cls, cls(config).draw_all, [replace(rollout, sample=index, seed=index) for index in range(2)])


@_check
def check_metric(cls: type[Metric], config: Any = None) -> None:
    """Measure every rollout that holds what the class needs: declared finite numbers, the same when measured again."""
    for rollout in _readable(cls):
        with _untouched([rollout]):
            compute = partial(cls(config).compute, rollout)
            first, again = (guard.metrics("", cls.__name__, compute, cls.measures) for _ in range(2))
        if first != again:
            raise Wrong(f"gave {first}, then {again} for the same rollout")


@_check
def check_tracker(cls: type[Tracker], config: Any = None) -> None:
    """Log a finished job, a failed one and a sweep of both."""
    with _folder() as folder:
        done = _record(folder / "0")
        failed = replace(done, directory=folder / "1", status="failed", error="RolloutError: no", samples=())
        for record in (done, failed):
            tracker = cls(config)
            tracker.start(RunInfo("policy-pusht-seed0", record.directory, record.config, "policy", tags=("policy",)))
            if record is done:
                tracker.log(record, [rollouts()["policy"]])
            tracker.finish(record)
            guard.listed(tracker.notes(), str)
        sweep = RunInfo("sweep", folder, {"jobs": 2}, "sweep", "sweep", id="0123456789abcdef")
        guard.listed(cls(config).summarize(sweep, [done, failed]), str)


@_check
def check_source(
    cls: type[Source], address: str, request: ObservationRequest | None = None, config: Any = None
) -> None:
    """Read `address` (without its scheme) twice: a sound observation, the same each time, no more than asked for.

    An empty address must be refused with a `StrandsDiffusersError`.
    """
    request = request or ObservationRequest(17, None, "pusht", "policy", actions.space_of("pusht"))
    source = guard.GuardedSource("", cls(config))
    first, again = (source.read(source.absolute(address, Path.cwd()), request) for _ in range(2))
    if not (_same(first.frames, again.frames) and _same(first.actions, again.actions)):
        raise Wrong("read other arrays the second time")
    if first.frames is not None and len(first.frames) > (request.num_frames or len(first.frames)):
        raise Wrong(f"read {len(first.frames)} frames of {request.num_frames}")
    try:
        cls(config).read("", request)
    except StrandsDiffusersError:
        return
    raise Wrong("took an empty address; raise ObservationError")


def setting(*overrides: str, observation: Observation | None = None) -> Setting:
    """What an episode of `condition=closed_loop` is, for the three checks below: by default the embedded model's config, two looks of
    8 steps each, from the first frame of `rollouts()["policy"]`.
    """
    config = compose("condition=closed_loop", "condition.num_looks=2", "condition.act_steps=8", *overrides)
    seen, condition = observation or rollouts()["policy"].observation, config.condition
    assert isinstance(condition, ClosedLoopConfig)
    sizes = (condition.chunk_size or 16, condition.act_steps or 16, condition.num_looks)
    space = actions.space_of(config.domain.name, pixel_map=config.model.pixel_map)
    return Setting(config, seen, space, config.prompt or seen.task or "", float(config.domain.fps), *sizes)


@_check
def check_policy(cls: type[Policy], given: Setting | None = None, config: Any = None) -> None:
    """Let it act in two episodes of the same seed: what the loop asks of a chunk, and the same actions each time."""
    given = given or setting()
    assert given.observation.frames is not None
    first, again = _twice(given, cls(config), _Shown(given.observation.frames[:1]), {})
    if not _same(first.action, again.action):
        raise Wrong("gave other actions in an episode of the same seed")


@_check
def check_world(cls: type[World], given: Setting | None = None, config: Any = None) -> None:
    """Act in it by chance, once more from the beginning, and go on from the last look by `restore`: the same frames and states."""
    given, kept = given or setting(), _Kept()
    cast = loop.Cast(given, RandomPolicy(), cls(config), {})
    cast.check()
    seen: list[tuple[Any, Any]] = []
    for after in ("the first time", "reset", "restore"):
        [rollout] = loop.run(cast, kept=None if after == "reset" else kept)
        assert rollout.episode is not None
        seen.append((rollout.video, rollout.episode.states))
        if None in (seen[0][1] or ()):
            raise Wrong("told no state of some frames; give one per frame, or none at all")
        if not _same(seen[-1][0], seen[0][0]) or seen[-1][1] != seen[0][1]:
            raise Wrong(f"gave other frames or states for the same actions after {after}")
        kept.pop(loop.look_name(0, given.num_looks - 1), None)


@_check
def check_score(
    cls: type[Score], given: Setting | None = None, config: Any = None, states: Sequence[Any] | None = None
) -> None:
    """Judge two equal episodes: one number or nan per frame, the same each time, nothing changed."""
    video_FHWC = rollouts()["policy"].video
    assert video_FHWC is not None
    first, again = _twice(given or setting(), RandomPolicy(), _Shown(video_FHWC, states), {cls.name: cls(config)})
    assert first.video is not None
    if not np.array_equal(first.video, video_FHWC[np.arange(len(first.video)) % len(video_FHWC)]):
        raise Wrong("changed the frames; work on a copy")
    values, others = (rollout.episode.scores[cls.name].values for rollout in (first, again) if rollout.episode)
    if not np.array_equal(values, others, equal_nan=True):
        raise Wrong("gave other values the second time")


def _twice(given: Setting, policy: Policy, world: World, scores: dict[str, Score]) -> list[Rollout]:
    """Two episodes of the same seed, with the checks of every job."""
    cast = loop.Cast(given, policy, world, scores)
    cast.check()
    return [*loop.run(cast), *loop.run(cast)]


class _Shown(World):
    """Shows given frames over and over, and tells given states, whatever is done."""

    name = "shown"

    def __init__(self, frames: np.ndarray, states: Sequence[Any] | None = None) -> None:
        super().__init__()
        self._frames, self._states, self._at = frames, states, 0

    def reset(self, setting: Setting, seed: int) -> tuple[np.ndarray, Any]:
        self._at = 0
        return self._frames[0], self._states and self._states[0]

    def step(self, actions: np.ndarray, num_steps: int, progress: Any = None) -> Stepped:
        shown = [(self._at + 1 + n) % len(self._frames) for n in range(num_steps)]
        self._at += num_steps
        return Stepped(self._frames[shown], self._states and [self._states[n] for n in shown])


class _Kept(dict[str, Any]):
    """The finished looks of an episode, by name."""

    load = dict.get

    def keep(self, name: str, arrays: Any, facts: Any) -> None:
        self[name] = arrays, facts


@_check
def check_verdict(cls: type[Verdict]) -> None:
    """Ask for what it needs of the default config, and judge a sweep without a finished job, and one of one job."""
    verdict, config = cls(), compose()
    for text in (verdict.needs(config), verdict.varies([config])):
        if not (text is None or isinstance(text, str)):
            raise Wrong(f"answered {text!r}; say what is missing in words, or None")
    with _folder() as folder:
        for records in ([], [_record(folder)]):
            with suppress(StrandsDiffusersError):
                guard.listed(verdict.judge(records), Judgement)


@_check
def check_panel(cls: type[Panel]) -> None:
    """Show a folder without jobs, and one with one."""
    with _folder() as folder:
        for records in ([], [_record(folder)]):
            guard.panel("", cls.__name__, partial(cls().content, folder, records))


_CHECKS: dict[str, Callable[[Any], None]] = {
    "output": check_serializer,
    "visualizer": check_visualizer,
    "metric": check_metric,
    "tracker": check_tracker,
    "verdict": check_verdict,
    "panel": check_panel,
}


def _files(cls: type, write: Callable[[Any, Path], list[Artifact]], given: Rollout | list[Rollout]) -> bool:
    """Whether it wrote files of what is given into an empty folder; those of a second time take the place of the first."""
    with _folder() as folder, _untouched(given if isinstance(given, list) else [given]):
        for _ in range(2):
            found: list[Artifact] = []
            with suppress(OutputError):
                found = guard.artifacts("", cls.__name__, partial(write, given, folder), folder)
        left = {path for path in folder.rglob("*") if path.is_file()} - {artifact.path for artifact in found}
        if found and left:
            raise Wrong(f"wrote {', '.join(sorted(path.name for path in left))}, which it did not return")
    return bool(found)


def _readable(cls: type[Serializer] | type[Visualizer] | type[Metric]) -> list[Rollout]:
    return [rollout for rollout in rollouts().values() if cls.reads(rollout)]


def _check_import(module: ModuleType) -> None:
    """Import the module in a fresh process and see what came with it."""
    if module.__spec__ is None:  # made in memory
        return
    code = f"import sys, {module.__name__}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    if heavy := done.stdout.strip():
        raise AssertionError(f"{module.__name__} imports {heavy} at its top: do it inside methods.")
    assert not done.returncode, done.stderr


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


def _same(one: Any, other: Any) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


@contextmanager
def _untouched(given: Sequence[Rollout]) -> Iterator[None]:
    """Fail where an array of the rollouts is changed."""
    arrays = [(v, v.copy()) for r in given for v in vars(r).values() if isinstance(v, np.ndarray)]
    yield
    if not all(_same(array, before) for array, before in arrays):
        raise Wrong("changed an array of the rollout; work on a copy")


def _record(folder: Path) -> Record:
    """The record of a finished policy job with one file."""
    folder.mkdir(exist_ok=True)
    rollout = rollouts()["policy"]
    path = write_json(folder / "action.json", rollout.action)
    scores = {"action": {"mse": 0.1}}
    seen: dict[str, Any] = {"source": rollout.observation.source, "task": rollout.observation.task, "details": {}}
    sample = SampleRecord(None, 0, "policy", rollout.prompt, "pusht", rollout.space, 10.0, None, seen, metrics=scores)
    files = (file_entry(Artifact(path, "action"), folder),)
    tree = composing.to_tree(compose())
    return Record(
        folder, config=tree, samples=(sample,), artifacts=files, metrics=scores, seed=0, seconds={"load": 1.0}
    )
