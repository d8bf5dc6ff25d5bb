"""Stage `check`: what the dataset is, what is made of it, and whether the model can take it. Loads no weights.

Letters: T steps of a chunk, F frames.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import ActionSpace, Observation, ObservationRequest, actions, domains, errors, plugins, read_json
from strands_diffusers.config import compose
from strands_diffusers.config.fields import TIERS, Dtype, Offload
from strands_diffusers.config.models import COSMOS3, ModelConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.observations import resolve
from strands_diffusers.pipelines import canvas, checkpoint, pretrained
from strands_diffusers.pipelines.checkpoint import Checkpoint
from strands_diffusers.pipelines.request import check_checkpoint
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.records import write_json, writing
from strands_diffusers_training.config import AdaptConfig, Statistics
from strands_diffusers_training.network import TEMPORAL

SEGMENT_FRAMES = 256
"""Frames of an episode that are in memory at once, save where one window is longer."""

PART_WINDOWS = 64
"""Windows that are encoded before they are written: what kill -9 can cost, and what is in memory."""


@dataclass(frozen=True)
class EpisodePlan:
    """One episode, or a part of a long one."""

    address: str
    frames: int
    task: str
    held_out: bool
    starts: tuple[int, ...]
    """First frames of its windows of T + 1 frames."""


@dataclass(frozen=True)
class Plan:
    """What all later stages go by; `check.json`."""

    digest: str
    """Of the settings and files that the latents depend on."""

    domain: str
    domain_id: int
    fps: float
    chunk: int
    width: int
    view_point: str
    space: ActionSpace
    tier: int
    canvas: tuple[int, int]
    latent: tuple[int, int, int, int]
    """Channels, frames, height, width of a window's latents."""

    frame: tuple[int, int]
    """Height and width of the dataset's frames."""

    episodes: tuple[EpisodePlan, ...]
    skipped: tuple[str, ...] = ()
    """Episodes shorter than a window."""

    @property
    def window_bytes(self) -> int:
        """Of a window's latents on disk."""
        return 2 * int(np.prod(self.latent))

    def addresses(self, held_out: bool) -> list[str]:
        """The episodes that are trained on, or held out."""
        return list(dict.fromkeys(each.address for each in self.episodes if each.held_out == held_out))

    def windows(self, held_out: bool) -> list[tuple[int, int]]:
        """Episode and row of every window."""
        return [(i, row) for i, e in enumerate(self.episodes) if e.held_out == held_out for row in range(len(e.starts))]

    def observation(self, episode: int, row: int) -> str:
        """The address of a window."""
        plan = self.episodes[episode]
        return f"{plan.address}@start:{plan.starts[row]}"


def run_config(overrides: list[str]) -> RunConfig:
    """The run config that names model, domain, tracker and the options of sources. Raises: `ConfigError`."""
    prepare()
    taken = [
        o for o in overrides if o.partition("=")[0] in ("condition", "observation", "output_dir", "resume", "prompt")
    ]
    if taken:
        raise errors.ConfigError(f"{taken[0]} is no key of adapt, whose dataset is data=. Leave it out.")
    return compose.compose([*overrides, "condition=inverse_dynamics"])


def trainable(run: RunConfig) -> ModelConfig:
    """The model as it is trained: without NVIDIA's safety checker, which has nothing to check here."""
    return dataclasses.replace(run.model, guardrail=False)


def check(config: AdaptConfig, run: RunConfig, out: Path) -> Plan:
    """Read the dataset's facts, refuse what does not fit, and write `check.json` (and the statistics, where they are its own).

    Raises: a `RequestError` of one line, before anything is loaded.
    """
    weights = _checkpoint(run)
    sources = plugins().sources(run.source)
    listed = [each for address in config.data for each in _episodes(address, sources)]
    if len(listed) < 2:
        raise errors.ObservationError(
            f"{config.data[0]} has one episode: one must be held out to judge by, and one is left to train on. Give two or more."
        )
    chunk = run.domain.chunk_size
    if chunk % TEMPORAL:
        raise errors.ConfigError(
            f"domain.chunk_size={chunk} is not a multiple of {TEMPORAL}. Type domain.chunk_size={chunk // 4 * 4 or 4}."
        )
    long = [(address, frames) for address, frames in listed if frames >= chunk + 1]
    if len(long) < 2:
        most = max(frames for _, frames in listed)
        raise errors.ObservationError(
            f"{len(long)} of {len(listed)} episodes have {chunk + 1} frames, the longest has {most}; two are needed. "
            f"Type domain.chunk_size={max(4, (most - 1) // 4 * 4)}."
        )
    digest = _digest(config, run, listed, weights)
    if (known := read_plan(out)) is not None:
        if known.digest == digest:
            return known
        raise errors.ConfigError(
            f"{out} was begun with another dataset, model, domain or other settings of the data. Choose another folder with out=DIR."
        )
    held = _held_out(len(long), config)
    space = _space(config, run, [a for i, (a, _) in enumerate(long) if i not in held], long[0][0], out, sources)
    stride = config.stride or max(1, chunk // 2)
    episodes, shape = [], (0, 0)
    for number, (address, frames) in enumerate(long):
        seen = _read(address, 0, chunk + 1 if number == 0 else 2, run, space, sources)
        assert seen.frames is not None
        if number == 0:
            shape = (seen.frames.shape[1], seen.frames.shape[2])
            if space == run.space:
                _range_note(seen, space)
        elif seen.frames.shape[1:3] != shape:
            here, first = ("x".join(map(str, reversed(each))) for each in (seen.frames.shape[1:3], shape))
            raise errors.ObservationError(
                f"{address} has frames of {here}, and {long[0][0]} of {first}. Give one size."
            )
        task = config.task if config.task is not None else (seen.task or "")
        if not task.strip() and "policy" in config.train.modes:
            raise errors.ObservationError(
                f"{address} names no task, which a policy is asked by. Type task=TEXT, or train.modes=[forward_dynamics,inverse_dynamics]."
            )
        starts = tuple(range(0, frames - chunk, stride))
        for begin in range(0, len(starts), PART_WINDOWS):
            some = starts[begin : begin + PART_WINDOWS]
            episodes.append(EpisodePlan(address, frames, task, number in held, some))
    plan = _plan(run, digest, space, shape, tuple(episodes), tuple(a for a, f in listed if f <= chunk), weights)
    count = sum(len(episode.starts) for episode in episodes)
    _room(config, out, count * plan.window_bytes, count)
    write_json(out / "check.json", dataclasses.asdict(plan))
    return plan


def read_plan(out: Path) -> Plan | None:
    """The plan of an earlier run in `out`. Raises: `ConfigError` for a damaged one."""
    path = out / "check.json"
    if not path.is_file():
        return None
    raw = read_json(path, str(path), errors.ConfigError)
    try:
        episodes = tuple(EpisodePlan(**{**each, "starts": tuple(each["starts"])}) for each in raw["episodes"])
        pairs = {name: tuple(raw[name]) for name in ("canvas", "latent", "frame", "skipped")}
        return Plan(**{**raw, **pairs, "episodes": episodes, "space": ActionSpace(**raw["space"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise errors.ConfigError(
            f"{path} is damaged ({errors.one_line(error, 80)}). Delete it to check again."
        ) from error


def segments(plan: Plan, episode: EpisodePlan, run: RunConfig) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The windows of an episode: first frame, frames uint8 [T + 1, H, W, 3], actions float32 [T, D].

    Read in segments, so that an hour of video takes the memory of seconds.
    """
    sources = plugins().sources(run.source)
    starts = list(episode.starts)
    while starts:
        first = starts[0]
        inside = [s for s in starts if s + plan.chunk < first + max(SEGMENT_FRAMES, plan.chunk + 1)]
        length = inside[-1] - first + plan.chunk + 1
        seen = _read(episode.address, first, length, run, plan.space, sources)
        frames, acted = seen.frames, seen.actions
        if frames is None or acted is None or len(frames) < length or len(acted) < length - 1:
            raise errors.ObservationError(
                f"{episode.address}@start:{first} gives {0 if frames is None else len(frames)} frames and "
                f"{0 if acted is None else len(acted)} actions; {length} and {length - 1} belong there."
            )
        for start in inside:
            at = start - first
            yield start, frames[at : at + plan.chunk + 1], np.asarray(acted[at : at + plan.chunk], np.float32)
        starts = starts[len(inside) :]


def _episodes(address: str, sources: Any) -> list[tuple[str, int]]:
    found = resolve.read_episodes(address, sources)
    if not found:
        raise errors.ObservationError(f"{address} has no episodes.")
    return found


def _read(address: str, start: int, frames: int, run: RunConfig, space: ActionSpace, sources: Any) -> Observation:
    request = ObservationRequest(
        frames,
        run.domain.fps,
        domains.get(run.domain.name).name,
        "inverse_dynamics",
        space,
        run.domain.view_point.value,
    )
    seen = resolve.read_observation(f"{address}@start:{start}", request, sources)
    if seen.frames is None:
        raise errors.ObservationError(f"{address} has no frames.")
    if seen.fps is None:
        raise errors.ObservationError(f"{address} does not say its rate.")
    if seen.actions is None:
        why = seen.details.get("actions") or "it holds none"
        raise errors.ObservationError(f"{address} gives no actions: {why}")
    actions.check_actions(seen.actions, space.domain, space=space)
    return seen


def _space(
    config: AdaptConfig, run: RunConfig, training: list[str], first: str, out: Path, sources: Any
) -> ActionSpace:
    """The space of the domain preset, or one of the training episodes' own statistics, which are written beside the plan."""
    space = run.space
    if config.statistics is Statistics.domain:
        return space
    if config.statistics is Statistics.auto:
        if actions.decodable(space):
            return space
        try:
            _read(first, 0, 2, run, space, sources)
        except errors.ActionError:
            pass  # physical units, and the domain has no statistics to encode them by
        else:
            return space
    width = domains.get(run.domain.name).width
    fit = actions.Fit(width or 0)
    for address in training:
        for piece in resolve.read_action_rows(address, space.domain, sources).pieces:
            fit.add(piece)
    statistics = fit.statistics(space.domain, f"{len(training)} training episodes of {', '.join(config.data)}")
    path = out / "statistics" / f"{config.name}.json"
    with writing(path.parent, "Choose another folder with out=DIR."):
        path.parent.mkdir(parents=True, exist_ok=True)
    record = actions.statistics_record(
        statistics, rows=fit.rows, fps=run.domain.fps, quantiles="exact" if fit.exact else "estimated"
    )
    write_json(path, record)
    return ActionSpace(space.domain, str(path), "quantile", space.gripper, pixel_map=False)


def _range_note(seen: Observation, space: ActionSpace) -> None:
    if seen.actions is not None and (note := actions.range_note(seen.actions, space.domain)):
        raise errors.ActionError(f"{seen.source}: {note}. Choose domain=NAME and @units: for them, or statistics=own.")


def _held_out(count: int, config: AdaptConfig) -> set[int]:
    number = min(count - 1, max(1, round(count * config.held_out)))
    return set(np.random.default_rng([config.seed, 1]).permutation(count)[:number].tolist())


def _checkpoint(run: RunConfig) -> Checkpoint:
    """The weights, once they are known to be a Cosmos 3 with action projections. Nothing is loaded."""
    if run.model.lora.repo:
        raise errors.ConfigError("model.lora: adapt trains a LoRA of its own. Leave model.lora out.")
    if run.model.offload is not Offload.none:
        raise errors.ConfigError(
            f"model.offload={run.model.offload.value} moves weights that training needs in their place. Use model.offload=none."
        )
    if run.model.dtype is Dtype.float16:
        raise errors.ConfigError("model.dtype=float16 is too coarse to train in. Use model.dtype=bfloat16.")
    found = checkpoint.locate(trainable(run))
    if found.in_8_bits:
        raise errors.ModelError(
            f"the weights of {found.place} have 8 bits, which cannot be trained. Use those in bfloat16."
        )
    pretrained.check(found)
    if found.local and found.index.get("_class_name") != COSMOS3:
        raise errors.ModelError(f"{found.place} is no Cosmos 3: adapt trains {COSMOS3} alone.")
    if found.transformer and not found.transformer.get("action_gen"):
        raise errors.ModelError(
            f"the checkpoint {found.place} has no action projections: it was saved without actions."
        )
    check_checkpoint(run, "policy", found)
    return found


def _plan(
    run: RunConfig,
    digest: str,
    space: ActionSpace,
    shape: tuple[int, int],
    episodes: tuple[EpisodePlan, ...],
    skipped: tuple[str, ...],
    weights: Checkpoint,
) -> Plan:
    vae = weights.vae
    factor, channels = int(vae.get("scale_factor_spatial") or 16), int(vae.get("z_dim") or 48)
    known, chunk = domains.get(space.domain), run.domain.chunk_size
    if min(shape) < factor:
        raise errors.ObservationError(
            f"frames of {shape[1]}x{shape[0]} are smaller than one latent cell ({factor}x{factor})."
        )
    condition: Any = run.condition
    tiers = tuple(run.model.tiers) if run.model.tiers else TIERS
    tier = condition.resolution_tier or canvas.default_tier(*shape, factor, tiers)
    fitted = canvas.canvas_for(*shape, tier, factor)
    height, width = (side // factor for side in fitted.output)
    return Plan(
        digest=digest,
        domain=known.name,
        domain_id=known.id,
        fps=float(run.domain.fps),
        chunk=chunk,
        width=known.width or 0,
        view_point=run.domain.view_point.value,
        space=space,
        tier=tier,
        canvas=fitted.canvas,
        latent=(channels, 1 + chunk // TEMPORAL, height, width),
        frame=shape,
        episodes=episodes,
        skipped=skipped,
    )


def _digest(config: AdaptConfig, run: RunConfig, listed: list[tuple[str, int]], weights: Checkpoint) -> str:
    tree = compose.to_tree(run)
    condition: Any = run.condition
    facts = {
        "episodes": listed,
        "adapt": [config.name, config.held_out, config.statistics.value, config.task, config.stride, config.seed],
        "domain": tree["domain"],
        "source": tree["source"],
        "weights": weights.fingerprint,
        "tier": condition.resolution_tier,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _room(config: AdaptConfig, out: Path, needed: int, count: int) -> None:
    if needed > config.disk_gb * 1e9:
        raise errors.ConfigError(
            f"{count:,} windows take {needed / 1e9:.1f} GB as latents; disk_gb={config.disk_gb:g} allows less. "
            f"Type disk_gb={needed / 1e9 + 1:.0f}, or a larger stride=."
        )
    place = next(path for path in (out, *out.parents) if path.exists())
    if needed > 0.95 * (free := shutil.disk_usage(place).free):
        raise errors.ConfigError(
            f"{count:,} windows take {needed / 1e9:.1f} GB as latents, and {place} has {free / 1e9:.1f} GB left. "
            "Choose another disk with out=DIR, or a larger stride=."
        )
