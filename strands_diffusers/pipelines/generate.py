"""Run the pipeline and turn what it returns into `Rollout`s: the only place where shapes are converted."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from strands_diffusers.config.conditions import ActionConditionConfig, WorldConditionConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import MissingPackageError, ModelError, RolloutError, StrandsDiffusersError, one_line
from strands_diffusers.pipelines import arguments, contents, loader
from strands_diffusers.pipelines import canvas as canvases
from strands_diffusers.pipelines.engine import Call, Sample, choose
from strands_diffusers.pipelines.loader import WorldModel
from strands_diffusers.pipelines.request import Request
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.acting import SEED_STEP, Progress
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.results import OUTPUT_TYPES, Rollout

EXPORT_FPS = 10.0
"""Rate [Hz] of a video whose pipeline states none: the default of diffusers' own `export_to_video`."""


class Kept(Protocol):
    """Where the finished chunks of a long rollout survive the process, for the same request to go on from."""

    def read(self, chunk: int, wanted: frozenset[str]) -> tuple[list[Sample], dict[str, Any]] | None:
        """The samples of a chunk that was finished before, and the facts of the engine; None where there are none."""

    def write(self, chunk: int, wanted: frozenset[str], samples: list[Sample], engine: dict[str, Any]) -> None:
        """Keep a chunk that was just finished."""


def generate(
    model: WorldModel,
    config: RunConfig,
    request: Request,
    wanted: frozenset[str],
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> list[Rollout]:
    """Produce `sampler.num_samples` rollouts of one request.

    `wanted` holds the output types that some serializer, visualizer or metric needs; nothing else is computed where
    the engine can help it. Rollouts of several chunks go on from those that `kept` has.

    Raises: `EngineError` where the chosen engine cannot hold, `RolloutError` where the pipeline call fails.
    """
    seeds = tuple(config.seed + i for i in range(config.sampler.num_samples))
    with model.held(progress), _scheduler(model, config), peak_memory(model.device) as peak:
        if isinstance(config.condition, ActionConditionConfig):
            rollouts = _action_rollouts(model, config, request, wanted, seeds, progress, kept)
        else:
            rollouts = _world_rollouts(model, config, request, wanted, seeds, progress)
    return [
        dataclasses.replace(
            rollout,
            prompt=request.prompt,
            seed=seeds[i],
            observation=request.observation,
            sample=i if len(seeds) > 1 else None,
            details={**rollout.details, "peak_memory_mb": peak},
        )
        for i, rollout in enumerate(rollouts)
    ]


def draw(model: WorldModel, config: RunConfig, call: Call, progress: Progress | None = None) -> list[Sample]:
    """One call by itself, as one batch where the engine takes several action chunks. Raises: as `generate`."""
    with model.held(progress), _scheduler(model, config):
        return _run(model, config, call, _share(progress, 0, 1, 1))[0]


def _run(
    model: WorldModel, config: RunConfig, call: Call, report: Callable[[int, int], None] | None
) -> tuple[list[Sample], dict[str, Any]]:
    """One engine run; returns its samples and what the manifest says about the engine."""
    engine, reason = choose(config.engine.name, model.pipe, call, config.engine)
    facts = {"requested": config.engine.name, "effective": engine.name, **({"reason": reason} if reason else {})}
    loader.note_engine(facts)
    stopped: list[BaseException] = []

    def step(done: int, total: int) -> None:
        try:
            report(done, total)  # type: ignore[misc]
        except BaseException as error:
            stopped.append(error)
            raise

    try:
        samples = []
        for each in [call] if engine.takes_actions or call.actions is None else arguments.one_by_one(call):
            samples += engine.run(model.pipe, each, progress=step if report else None)
    except StrandsDiffusersError:
        raise
    except Exception as error:
        if error in stopped:
            raise  # whoever watches ended the call
        hint = "Use model.offload=model, a smaller condition.resolution_tier, or fewer sampler.num_samples."
        raise failure(error, model, hint) from error
    if owner := plugins().owner(type(engine)):
        samples = guard.samples(owner, f"engine {engine.name}", samples, len(call.seeds))
    return samples, facts


def failure(error: Exception, model: WorldModel, hint: str) -> StrandsDiffusersError:
    """The one line for what a pipeline's call raised; `hint` says what to type where it ran out of memory."""
    name = model.pipeline
    if isinstance(error, NameError) and error.name:  # diffusers imports optional packages only where they are
        package = {"transforms": "torchvision"}.get(error.name, error.name)
        return MissingPackageError(f"{name} needs the package {package}, in a build that fits this torch.")
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
        return RolloutError(f"{name} ran out of memory on {model.device}: {one_line(error, 200)} {hint}")
    return RolloutError(f"{name} failed: {type(error).__name__}: {one_line(error, 300)}")


def _share(progress: Progress | None, finished: int, count: int, every: int) -> Callable[[int, int], None] | None:
    """The progress of one call that makes `count` of `every` chunks, after `finished` ones, as that of the whole job."""
    if progress is None:
        return None

    def report(done: int, total: int) -> None:
        steps = total * every // count
        progress("denoise", round(steps * (finished + count * done / total) / every), steps)

    return report


def _action_rollouts(
    model: WorldModel,
    config: RunConfig,
    request: Request,
    wanted: frozenset[str],
    seeds: tuple[int, ...],
    progress: Progress | None,
    kept: Kept | None,
) -> list[Rollout]:
    """Action modes: K chunks one after the other, each starting from the last frame of the one before."""
    frames_FHWC = request.frames_FHWC
    assert frames_FHWC is not None
    long = request.num_chunks > 1
    chained = long and request.mode != "inverse_dynamics"
    chunk_wanted = wanted & {"video", "action"} | ({"video"} if chained else frozenset())
    canvas = canvases.canvas_of(config, frames_FHWC, int(model.pipe.vae_scale_factor_spatial))
    details: dict[str, Any] = {"resolved": canvas.facts}
    done: list[list[Sample]] = [[] for _ in seeds]
    for k in range(request.num_chunks):
        if kept and long and (before := kept.read(k, chunk_wanted)):
            samples, details["engine"] = before
            details["chunks_kept"] = k + 1
        else:
            starts: list[tuple[np.ndarray | None, tuple[int, ...]]] = [(None, seeds)]
            if chained and k:  # each sample goes on from its own last frame, so that it takes a call of its own
                ends = (np.asarray(chunks[-1].video)[-1] for chunks in done)
                starts = [(frame_HWC, (seed + SEED_STEP * k,)) for frame_HWC, seed in zip(ends, seeds, strict=True)]
            samples = []
            for frame_HWC, call_seeds in starts:
                call = arguments.chunk_call(config, request, canvas, k, frame_HWC, chunk_wanted, call_seeds)
                finished = k * len(seeds) + len(samples)
                report = _share(progress, finished, len(call_seeds), request.num_chunks * len(seeds))
                drawn, details["engine"] = _run(model, config, call, report)
                samples += drawn
            if kept and long:
                kept.write(k, chunk_wanted, samples, details["engine"])
        for chunks, sample in zip(done, samples, strict=True):
            chunks.append(sample)
    if request.reference_note:
        details["reference"] = request.reference_note
    reference = canvases.transform(frames_FHWC, model.pipe, canvas) if len(frames_FHWC) > 1 else None
    whole = Rollout(
        mode=request.mode,
        fps=float(config.domain.fps),
        space=request.space,
        given_action=request.given_action_KTD,
        reference_video=reference,
        reference_action=request.reference_action_KTD,
        details=details,
    )
    return [_joined(whole, chunks) for chunks in done]


def _joined(whole: Rollout, chunks: list[Sample]) -> Rollout:
    """The chunks of one sample as one rollout: a later chunk's first frame is the last one of the chunk before."""
    videos = [c.video for c in chunks if c.video is not None]
    actions = [c.action for c in chunks if c.action is not None]
    seams = {"seams_psnr_db": [_psnr(a[-1], b[0]) for a, b in itertools.pairwise(videos)]} if len(videos) > 1 else {}
    seconds: Counter[str] = Counter()
    for chunk in chunks:
        seconds.update(chunk.seconds)  # type: ignore[arg-type]
    return dataclasses.replace(
        whole,
        video=np.concatenate([videos[0], *(v[1:] for v in videos[1:])]) if videos else None,
        action=np.stack(actions).astype(np.float32) if actions else None,
        seconds=dict(seconds),
        details={**whole.details, **seams},
    )


def _psnr(a: np.ndarray, b: np.ndarray) -> float | None:
    """PSNR [dB] of the handed-over frame against its round trip; None where they are equal."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return None if error == 0 else 10 * float(np.log10(255**2 / error))


def _world_rollouts(
    model: WorldModel,
    config: RunConfig,
    request: Request,
    wanted: frozenset[str],
    seeds: tuple[int, ...],
    progress: Progress | None,
) -> list[Rollout]:
    """Text, image or video to world, through Cosmos 3 or any other pipeline."""
    world = config.condition
    assert isinstance(world, WorldConditionConfig)
    if world.num_frames == 1 and "image" in wanted:
        wanted |= {"video"}  # Cosmos 3 returns the image as a video of one frame
    call = arguments.world_call(config, request, model, wanted, seeds)
    samples, facts = _run(model, config, call, _share(progress, 0, 1, 1))
    fps = world.fps or contents.fps(model.pipe, call.arguments) or EXPORT_FPS
    rate = getattr(getattr(getattr(model.pipe, "sound_tokenizer", None), "config", None), "sampling_rate", None)
    rollouts = []
    for sample in samples:
        started = time.perf_counter()
        arrays = {name: value for name in ("video", "sound", "action") if (value := getattr(sample, name)) is not None}
        if sample.raw is not None:
            arrays = contents.arrays(model.pipe, sample.raw)
        if world.num_frames == 1 and len(arrays.get("video", ())) == 1:
            arrays["image"] = arrays.pop("video")
        if not wanted & set(arrays):
            made = ", ".join(name for name in OUTPUT_TYPES if name in arrays)
            asked = ", ".join(sorted(wanted))
            instead = f" It made {made}: use output=[{made}]." if made else ""
            raise RolloutError(f"{model.pipeline} made none of the outputs that were asked for ({asked}).{instead}")
        sound = arrays.pop("sampling_rate", None) or rate
        seconds = {**sample.seconds, "convert": time.perf_counter() - started}
        details = {"engine": facts, "resolved": {}}
        rollouts.append(Rollout(request.mode, fps=fps, sampling_rate=sound, seconds=seconds, details=details, **arrays))
    return rollouts


@contextlib.contextmanager
def _scheduler(model: WorldModel, config: RunConfig) -> Iterator[None]:
    """The checkpoint's scheduler with the asked flow shift, for this run only: the warm pipeline is given back as it was."""
    shift, pipe = config.sampler.flow_shift, model.pipe
    if shift is None:
        yield
        return
    kept = pipe.scheduler
    key = next((name for name in ("flow_shift", "shift") if name in kept.config), None)
    if key is None:
        raise ModelError(
            f"sampler.flow_shift={shift:g}: {type(kept).__name__} has no such setting. Use sampler.flow_shift=null."
        )
    changes: dict[str, Any] = {key: shift}
    if "use_karras_sigmas" in kept.config:
        changes["use_karras_sigmas"] = False  # a shifted flow schedule and Karras sigmas exclude each other
    pipe.scheduler = type(kept).from_config(kept.config, **changes)
    try:
        yield
    finally:
        pipe.scheduler = kept


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[dict[str, float]]:
    """Filled at the end with the peak memory [MB]: of the process so far, and in the body of the CUDA device."""
    import torch

    cuda, peak = device.startswith("cuda"), dict[str, float]()
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    yield peak
    unit = 1024**2 if sys.platform == "darwin" else 1024
    peak["host"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    if cuda:
        peak["cuda"] = round(torch.cuda.max_memory_allocated(device) / 1024**2, 1)
