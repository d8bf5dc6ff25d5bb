"""Finished sweeps without a model: real files and records of rollouts that are drawn by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from strands_diffusers import records
from strands_diffusers.outputs.serializers import ActionSerializer, EpisodeSerializer, VideoSerializer
from strands_diffusers.results import ActionSpace, Artifact, Episode, Observation, Rollout, Scored

SPACE = ActionSpace("pusht", pixel_map=True)


def moving_square(path_F2, size=64) -> np.ndarray:
    """A white table with a dark square that is at `path_F2` (row, column) in each frame."""
    frames_FHWC = np.full((len(path_F2), size, size, 3), 240, np.uint8)
    for frame, (row, column) in zip(frames_FHWC, np.rint(path_F2).astype(int), strict=True):
        frame[max(row, 0) : row + 10, max(column, 0) : column + 10] = (40, 60, 90)
    return frames_FHWC


def line(towards, steps=8, start=(27, 27)) -> np.ndarray:
    """A straight path [steps + 1, 2] from `start`, `towards` pixels away at its end."""
    return np.asarray(start) + np.linspace(0, 1, steps + 1)[:, None] * np.asarray(towards)


def episode(scores, act_steps=1, world="model", policy="still") -> Episode:
    """An episode with these scores after each look, by name; nan in between."""
    count = len(next(iter(scores.values())))
    made = {}
    for name, values in scores.items():
        values_F = np.full(count * act_steps + 1, np.nan)
        values_F[act_steps::act_steps] = values
        made[name] = Scored(values_F, "", "higher")
    looks = tuple(range(0, count * act_steps, act_steps))
    actions_KTD = np.zeros((count, act_steps, 2), np.float32)
    return Episode(
        policy, world, act_steps, looks, actions_KTD, scores=made, seconds=({},) * count, details=({},) * count
    )


_encoded: dict[tuple, tuple[Artifact, bytes]] = {}
"""Videos of this process by their frames: the jobs of a sweep that is drawn by hand share most of theirs."""


def _video(rollout: Rollout, folder: Path) -> Artifact:
    key = (*rollout.video.shape, rollout.video.tobytes())
    if key not in _encoded:
        [artifact] = VideoSerializer().save(rollout, folder)
        _encoded[key] = artifact, artifact.path.read_bytes()
    artifact, content = _encoded[key]
    path = folder / artifact.path.name
    path.write_bytes(content)
    return replace(artifact, path=path)


def job(sweep, number, *, overrides=(), seed=0, config=None, samples=None, metrics=None, **facts):
    """Write job `number` of the folder `sweep`. `config`: nodes over the bare ones; `facts`: mode, prompt, observation,
    details, video, action, episode. `samples`: what differs between several samples, as `metrics` and `facts`.
    """
    folder = Path(sweep) / str(number)
    folder.mkdir(parents=True)
    entries, files = [], []
    for index, own in enumerate(samples or [{}]):
        own = {"metrics": metrics or {}} | facts | own
        observation = own.pop("observation", "sample:a")
        tree = {
            "seed": seed,
            "observation": observation,
            "prompt": own.get("prompt", ""),
            "sampler": {"num_samples": 1},
        }
        entry = records.SampleRecord(
            index=index if samples else None,
            seed=seed + index,
            mode=own.get("mode", "policy"),
            prompt=own.get("prompt", ""),
            domain="pusht",
            space=SPACE,
            fps=10.0,
            observation={"source": observation, "details": own.get("details", {})},
            reference_action=own.get("reference_action"),
            metrics=own["metrics"],
        )
        (folder / entry.prefix).mkdir(exist_ok=True)
        rollout = Rollout(
            mode=entry.mode, video=own.get("video"), action=own.get("action"), fps=10.0, space=SPACE,
            episode=own.get("episode"),
            observation=Observation(source=observation),
        )  # fmt: skip
        made = [_video(rollout, folder / entry.prefix)] if rollout.video is not None else []
        made += ActionSerializer().save(rollout, folder / entry.prefix) if rollout.action is not None else []
        made += EpisodeSerializer().save(rollout, folder / entry.prefix) if rollout.episode is not None else []
        files += [records.file_entry(artifact, folder) for artifact in made]
        entries.append(entry)
    records.write(
        records.Record(
            folder, hash=f"{number:016x}", overrides=tuple(overrides), config={**tree, **(config or {})}, seed=seed,
            samples=tuple(entries), artifacts=tuple(files), started=records.now(), finished=records.now(),
            seconds={"generate": 1.0},
        )
    )  # fmt: skip
    return folder
