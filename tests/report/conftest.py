"""Folders of jobs to report on: one real rollout of the embedded model, copied and varied."""

import dataclasses
import functools
import os
import random
import shutil
from pathlib import Path

import pytest
from finished_jobs import finish

from strands_diffusers import records, rollout
from strands_diffusers.config.compose import compose, to_tree
from strands_diffusers.metrics.action import ActionMetric
from strands_diffusers.metrics.video import VideoMetric
from strands_diffusers.outputs.animation import AnimationVisualizer
from strands_diffusers.outputs.comparison import ComparisonVisualizer
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer
from strands_diffusers.outputs.trajectory import TrajectoryVisualizer
from strands_diffusers.records import Record

SCRIPT = "<script>alert(1)</script>"
QUOTES = """He said "push" & 'pull' </script><img src=x onerror=alert(2)> {{program}}"""
PICTURES = (TimeseriesVisualizer, TrajectoryVisualizer, AnimationVisualizer, ComparisonVisualizer)
FAST = ("sampler.num_inference_steps=1", "tracker=none")


def real(tmp_path: Path, *overrides: str, drawers=PICTURES) -> Path:
    """The folder of one real rollout: videos, curves, pictures, metrics and a record."""
    config = compose([*FAST, *overrides])
    made = rollout(*FAST, "visualizer=[]", "metric=[]", *overrides, output_dir=tmp_path / "run")
    metrics = {metric.name: found for metric in (VideoMetric(), ActionMetric()) if (found := metric.compute(made))}
    tree = to_tree(config) | {"prompt": made.prompt, "observation": made.observation.source}
    finish(
        tmp_path / "job", [made], metrics=[metrics], drawers=drawers, config=tree, overrides=(*FAST, *overrides),
        versions={"python": "3.12.0", "diffusers": "0.39.0"}, plugins={"strands-diffusers-rerun": "0.1.0"}, git="7dfc534",
        engine={"requested": "auto", "effective": "exact"}, identity={"content": {"weights": "sha256:abc123"}},
    )  # fmt: skip
    return tmp_path / "job"


@pytest.fixture(scope="session")
def real_job(tmp_path_factory) -> Path:
    """A policy's job."""
    return real(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="session")
def driven(tmp_path_factory) -> Path:
    """A forward-dynamics job, without pictures: its actions were given."""
    return real(tmp_path_factory.mktemp("driven"), "condition=forward_dynamics", drawers=())


def rewrite(directory: Path, **fields) -> Record:
    """Write the record of a folder again with other fields; `sample` holds those of its samples."""
    record = records.read(directory)
    assert record is not None
    sample = fields.pop("sample", {})
    samples = tuple(dataclasses.replace(each, **sample) for each in record.samples)
    (directory / records.MANIFEST).unlink(missing_ok=True)  # a link to the file that other jobs have
    record = dataclasses.replace(record, **{"samples": samples, **fields})
    records.write(record)
    return record


def copy_job(source: Path, directory: Path, seed: int, prompt: str | None = None, **sampler) -> None:
    """A job like `source` with another seed, prompt and sampler; metrics vary with the folder's name."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, directory, copy_function=os.link)
    record = records.read(directory)
    prompt_of = {} if prompt is None else {"prompt": prompt}
    config = {**record.config, "seed": seed, **prompt_of, "sampler": {**record.config["sampler"], **sampler}}
    overrides = [f"sampler.{key}={value}" for key, value in sampler.items()]
    overrides += [] if prompt is None else ["prompt='" + prompt.replace("'", "\\'") + "'"]
    wobble = random.Random(directory.name)
    metrics = {m: {k: v * wobble.uniform(0.5, 1.5) for k, v in of.items()} for m, of in record.metrics.items()}
    rewrite(
        directory, seed=seed, config=config, overrides=(*overrides, f"seed={seed}", "tracker=none"), metrics=metrics,
        sample={"seed": seed, "metrics": metrics, **prompt_of},
    )  # fmt: skip


def fail_job(directory: Path, source: Path, seed: int, error: str, prompt: str | None = None) -> None:
    """What the runner leaves of a job that raised."""
    record = records.read(source)
    prompt_of = {} if prompt is None else {"prompt": prompt}
    directory.mkdir(parents=True)
    overrides = [] if prompt is None else [f"prompt='{prompt}'"]
    config = {**record.config, "seed": seed, **prompt_of}
    records.write(
        Record(directory, "failed", error=error, stage="generate", overrides=(*overrides, f"seed={seed}", "tracker=none"),
               config=config, finished=records.now())
    )  # fmt: skip


def with_samples(directory: Path, count: int) -> None:
    """Make a job of several samples of it, whose scores are 1, 2, ... times the job's own."""
    record = records.read(directory)
    own = [file for file in record.artifacts if file.type not in ("observation", "reference")]
    samples, artifacts = [], [file for file in record.artifacts if file not in own]
    for index in range(count):
        folder = directory / f"sample_{index:02d}"
        folder.mkdir()
        for file in own:
            shutil.copy(directory / file.path, folder)
            artifacts.append(dataclasses.replace(file, path=f"{folder.name}/{file.path}"))
        metrics = {m: {k: v * (index + 1) for k, v in of.items()} for m, of in record.metrics.items()}
        samples.append(dataclasses.replace(record.samples[0], index=index, seed=index, metrics=metrics))
    mean = {m: {k: v * (count + 1) / 2 for k, v in of.items()} for m, of in record.metrics.items()}
    rewrite(directory, samples=tuple(samples), artifacts=tuple(artifacts), metrics=mean)


@pytest.fixture
def job(real_job, tmp_path) -> Path:
    """The folder of one job, free to be changed."""
    copy_job(real_job, tmp_path / "job", seed=0)
    return tmp_path / "job"


@pytest.fixture(scope="session")
def swept(real_job, tmp_path_factory):
    """Make a sweep's folder of `count` jobs once: seeds, and from 24 on two guidance scales."""

    @functools.cache
    def make(count: int) -> Path:
        directory = tmp_path_factory.mktemp("swept")
        for number in range(count):
            swept = {"guidance_scale": [1.0, 3.0][number // (count // 2)]} if count >= 24 else {}
            copy_job(real_job, directory / str(number), seed=number % (count // 2) if count >= 24 else number, **swept)
        return directory

    return make


@pytest.fixture
def sweep(swept, tmp_path):
    """Make a folder of such a sweep that is free to be changed; its jobs' records are copies, other files links."""

    def copy(source: str, target: str) -> None:
        (shutil.copy if source.endswith(records.MANIFEST) else os.link)(source, target)

    def make(count: int, name: str = "") -> Path:
        directory = tmp_path / (name or f"sweep_{count}")
        return Path(shutil.copytree(swept(count), directory, copy_function=copy))

    return make
