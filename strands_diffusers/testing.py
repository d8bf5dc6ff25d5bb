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
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from strands_diffusers import actions, domains
from strands_diffusers.config import compose as composing
from strands_diffusers.config.conditions import ClosedLoopConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import OutputError, StrandsDiffusersError
from strands_diffusers.plugin import choices, guard, manager
from strands_diffusers.plugin.acting import Look, Policy, Score, Setting, Track, World
from strands_diffusers.plugin.base import Judgement, Metric, Panel, Serializer, Source, Tracker, Verdict, Visualizer
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


def check_serializer(cls: type[Serializer], config: Any = None) -> None:
    """Save every rollout that holds what the class needs, twice: files in the folder, all listed, nothing changed.

    An `OutputError` refuses a rollout; one at least must be written.
    """
    written = [_files(cls, partial(cls(config).save, rollout), [rollout]) for rollout in _readable(cls)]
    if not any(written):
        raise AssertionError(f"{cls.__name__} wrote none of the rollouts that hold {', '.join(cls.output_types)}.")


def check_visualizer(cls: type[Visualizer], config: Any = None) -> None:
    """Draw every rollout that holds what the class needs, one by one and as the samples of one job."""
    for rollout in _readable(cls):
        _files(cls, partial(cls(config).draw, rollout), [rollout])
        samples = [replace(rollout, sample=index, seed=index) for index in range(2)]
        _files(cls, partial(cls(config).draw_all, samples), samples)


def check_metric(cls: type[Metric], config: Any = None) -> None:
    """Measure every rollout that holds what the class needs: declared finite numbers, the same when measured again."""
    for rollout in _readable(cls):
        with _untouched([rollout]):
            compute = partial(cls(config).compute, rollout)
            first, again = (_run(guard.metrics, cls, compute, cls.measures) for _ in range(2))
        if first != again:
            raise AssertionError(f"{cls.__name__}.compute gave {first}, then {again} for the same rollout.")


def check_tracker(cls: type[Tracker], config: Any = None) -> None:
    """Log a finished job, a failed one and a sweep of both."""
    with _folder() as folder:
        done = _record(folder / "0")
        failed = replace(done, directory=folder / "1", status="failed", error="RolloutError: no", samples=())
        for record in (done, failed):
            tracker = cls(config)
            run = RunInfo("policy-pusht-seed0", record.directory, record.config, "policy", tags=("policy",))
            _run(guard.run, cls, partial(tracker.start, run))
            if record is done:
                _run(guard.run, cls, partial(tracker.log, record, [rollouts()["policy"]]))
            _run(guard.run, cls, partial(tracker.finish, record))
            _run(guard.several, cls, tracker.notes, str)
        sweep = RunInfo("sweep", folder, {"jobs": 2}, "sweep", "sweep", id="0123456789abcdef")
        _run(guard.several, cls, partial(cls(config).summarize, sweep, [done, failed]), str)


def check_source(
    cls: type[Source], address: str, request: ObservationRequest | None = None, config: Any = None
) -> None:
    """Read `address` (without its scheme) twice: a sound observation, the same each time, no more than asked for.

    An empty address must be refused with a `StrandsDiffusersError`.
    """
    request = request or ObservationRequest(17, None, "pusht", "policy", actions.space_of("pusht"))
    source = cls(config)
    call = partial(source.read, source.absolute(address, Path.cwd()), request)
    first, again = (_run(guard.observation, cls, call) for _ in range(2))
    if not (_same(first.frames, again.frames) and _same(first.actions, again.actions)):
        raise AssertionError(f"{cls.__name__}.read gave other arrays the second time.")
    if first.frames is not None and len(first.frames) > (request.num_frames or len(first.frames)):
        raise AssertionError(f"{cls.__name__}.read gave {len(first.frames)} frames of {request.num_frames}.")
    if _run(guard.run, cls, partial(source.read, "", request), refusal=StrandsDiffusersError) is not None:
        raise AssertionError(f"{cls.__name__}.read took an empty address; raise ObservationError.")


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


def check_policy(cls: type[Policy], given: Setting | None = None, config: Any = None) -> None:
    """Let it act twice in an episode, and once more from the beginning: finite actions float32 `[T, D]`, the same each time."""
    given, policy = given or setting(), cls(config)
    _run(guard.run, cls, partial(policy.check, given))
    width = domains.get(given.space.domain).width or 0
    frames = np.repeat(_first(given)[None], given.act_steps + 1, axis=0)
    runs: list[list[np.ndarray]] = []
    for _ in range(2):
        _run(guard.run, cls, partial(policy.reset, given, 0))
        rows, runs = np.zeros((0, width), np.float32), [*runs, []]
        for k in range(2):
            seen = Look(k, frames[: len(rows) + 1], rows, given.prompt, k, hold=np.zeros(width, np.float32))
            found = _run(guard.run, cls, partial(policy.act, seen))
            wrong = _not_an_array(getattr(found, "actions", None), np.float32, (given.chunk_size, width))
            if wrong or not np.isfinite(found.actions).all():
                raise AssertionError(f"{cls.__name__}.act gave actions {wrong or 'that are not finite'}.")
            runs[-1].append(found.actions)
            rows = found.actions[: given.act_steps]
    _run(guard.run, cls, policy.close)
    if not all(_same(one, other) for one, other in zip(*runs, strict=True)):
        raise AssertionError(f"{cls.__name__}.act gave other actions in an episode of the same seed.")


def check_world(cls: type[World], given: Setting | None = None, config: Any = None) -> None:
    """Step through two looks, once more from the beginning, and go on from the middle by `restore`: the same frames and states."""
    given, world = given or setting(), cls(config)
    _run(guard.run, cls, partial(world.check, given))
    n = given.act_steps
    rows = (
        np.random.default_rng(0)
        .uniform(-0.5, 0.5, (2 * n, domains.get(given.space.domain).width or 0))
        .astype(np.float32)
    )
    runs: list[tuple[np.ndarray, list[Any]]] = []
    for restored in (False, False, True):
        frame, state = _run(guard.run, cls, partial(world.reset, given, 0))
        if wrong := _not_an_array(frame, np.uint8, (*np.shape(frame)[:2], 3)):
            raise AssertionError(f"{cls.__name__}.reset gave a frame {wrong}.")
        frames, states = [frame[None]], [state]
        for k in range(2):
            part = rows[k * n : k * n + n]
            if restored and k == 0:
                frames, states = [runs[0][0][: n + 1]], runs[0][1][: n + 1]
                _run(guard.run, cls, partial(world.restore, frames[0], part, n))
                continue
            found = _run(guard.run, cls, partial(world.step, part, n))
            if wrong := _not_an_array(getattr(found, "frames", None), np.uint8, (n, *frame.shape)):
                raise AssertionError(f"{cls.__name__}.step gave frames {wrong}.")
            given_states = [None] * n if found.states is None else [*found.states]
            if len(given_states) != n or any((each is None) != (state is None) for each in given_states):
                raise AssertionError(
                    f"{cls.__name__}.step gave {len(given_states)} states; give one per frame, or none at all."
                )
            frames, states = [*frames, found.frames], [*states, *given_states]
        runs.append((np.concatenate(frames), states))
    _run(guard.run, cls, world.close)
    for what, other in (("reset", runs[1]), ("restore", runs[2])):
        if not _same(other[0], runs[0][0]) or other[1] != runs[0][1]:
            raise AssertionError(f"{cls.__name__}: the same actions gave other frames or states after {what}.")


def check_score(
    cls: type[Score], given: Setting | None = None, config: Any = None, states: Sequence[Any] | None = None
) -> None:
    """Judge a small episode twice: one finite number or nan per frame, the same each time, nothing changed."""
    given, score = given or setting(), cls(config)
    _run(guard.run, cls, partial(score.check, given))
    rollout = replace(rollouts()["policy"], observation=given.observation)
    assert rollout.video is not None
    assert rollout.action is not None
    track = Track(rollout.video, rollout.action[0], states)
    found = []
    for _ in range(2):
        _run(guard.run, cls, partial(score.reset, given))
        with _untouched([rollout]):
            found.append(_run(guard.run, cls, partial(score.compute, track)))
        if (wrong := _not_an_array(found[-1], np.float64, (len(track.frames),))) or np.isinf(found[-1]).any():
            raise AssertionError(f"{cls.__name__}.compute gave values {wrong or 'that are infinite'}.")
    _run(guard.run, cls, score.close)
    if not np.array_equal(found[0], found[1], equal_nan=True):
        raise AssertionError(f"{cls.__name__}.compute gave other values the second time.")


def check_verdict(cls: type[Verdict]) -> None:
    """Ask for what it needs of the default config, and judge a sweep without a finished job, and one of one job."""
    verdict, config = cls(), compose()
    for call in (partial(verdict.needs, config), partial(verdict.varies, [config])):
        text = _run(guard.run, cls, call)
        if not (text is None or isinstance(text, str)):
            raise AssertionError(f"{cls.__name__} answered {text!r}; say what is missing in words, or None.")
    with _folder() as folder:
        for records in ([], [_record(folder)]):
            _run(guard.several, cls, partial(verdict.judge, records), Judgement, refusal=StrandsDiffusersError)


def check_panel(cls: type[Panel]) -> None:
    """Show a folder without jobs, and one with one."""
    with _folder() as folder:
        for records in ([], [_record(folder)]):
            _run(guard.panel, cls, partial(cls().content, folder, records))


_CHECKS: dict[str, Callable[[Any], None]] = {
    "output": check_serializer,
    "visualizer": check_visualizer,
    "metric": check_metric,
    "tracker": check_tracker,
    "verdict": check_verdict,
    "panel": check_panel,
}


def _run(check: Any, cls: type, *arguments: Any, refusal: type[StrandsDiffusersError] | None = None) -> Any:
    """What one of the guard's checks returns; None for an error of the plugin's own that may be; else fail."""
    try:
        return check("", cls.__name__, *arguments)
    except StrandsDiffusersError as error:
        if refusal and isinstance(error, refusal) and not isinstance(error, guard.PluginFault):
            return None
        raise AssertionError(str(error)) from error


def _files(cls: type, call: Callable[[Path], list[Artifact]], given: Sequence[Rollout]) -> bool:
    """Whether the call wrote into an empty folder; what it writes the second time takes the place of the first."""
    found: list[Artifact] = []
    with _folder() as folder, _untouched(given):
        for _ in range(2):
            found = _run(guard.artifacts, cls, partial(call, folder), folder, refusal=OutputError) or []
        left = {path for path in folder.rglob("*") if path.is_file()} - {artifact.path for artifact in found}
        if found and left:
            names = ", ".join(sorted(path.name for path in left))
            raise AssertionError(f"{cls.__name__} wrote {names}, which it did not return.")
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
    if done.returncode or done.stdout.strip():
        what = (
            f"imports {done.stdout.strip()} at its top: do it inside methods." if done.stdout.strip() else done.stderr
        )
        raise AssertionError(f"{module.__name__} {what}")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


def _first(given: Setting) -> np.ndarray:
    assert given.observation.frames is not None
    frame: np.ndarray = given.observation.frames[0]
    return frame


def _not_an_array(value: Any, kind: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with a value that must be an array of this type and shape; empty where nothing is."""
    if isinstance(value, np.ndarray) and value.dtype == kind and value.shape == shape:
        return ""
    shown = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
    return f"{shown}; they must be {np.dtype(kind)} {list(shape)}"


def _same(one: Any, other: Any) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


@contextmanager
def _untouched(given: Sequence[Rollout]) -> Iterator[None]:
    """Fail where an array of the rollouts is changed."""
    arrays = [(v, v.copy()) for r in given for v in vars(r).values() if isinstance(v, np.ndarray)]
    yield
    if not all(_same(array, before) for array, before in arrays):
        raise AssertionError("an array of the rollout was changed; work on a copy.")


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
