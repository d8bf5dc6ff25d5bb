"""Folders of jobs to report on: one real rollout of the embedded model, copied and varied; and a browser to look."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

SCRIPT = "<script>alert(1)</script>"
QUOTES = """He said "push" & 'pull' </script><img src=x onerror=alert(2)> {{program}}"""


@pytest.fixture(scope="session")
def real_job(tmp_path_factory) -> Path:
    """The folder of one real job: films, curves, pictures, metrics and the runner's own manifest."""
    from strands_diffusers import rollout

    directory = tmp_path_factory.mktemp("real") / "job"
    rollout("sampler.num_inference_steps=1", "tracker=none", output_dir=directory)
    return directory


@pytest.fixture(scope="session")
def driven(tmp_path_factory) -> Path:
    """The folder of a real forward-dynamics job: its actions were given."""
    from strands_diffusers import rollout

    directory = tmp_path_factory.mktemp("driven") / "job"
    rollout("condition=forward_dynamics", "sampler.num_inference_steps=1", "tracker=none", output_dir=directory)
    return directory


def copy_job(source: Path, directory: Path, seed: int, prompt: str | None = None, **config) -> None:
    """A job like `source` with another seed, prompt and config; metrics vary with the seed."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, directory, copy_function=os.link)
    record = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").unlink()
    record["seed"] = record["config"]["seed"] = record["rollout"]["seed"] = seed
    record["overrides"] = [f"seed={seed}", "tracker=none"]
    if prompt is not None:
        record["config"]["prompt"] = record["rollout"]["prompt"] = prompt
        record["overrides"].insert(0, "prompt='" + prompt.replace("'", "\\'") + "'")
    for key, value in config.items():
        record["config"]["sampler"][key] = value
        record["overrides"].insert(0, f"sampler.{key}={value}")
    wobble = random.Random(directory.name)
    for values in record["metrics"].values():
        for name in values:
            values[name] *= wobble.uniform(0.5, 1.5)
    (directory / "manifest.json").write_text(json.dumps(record))


def fail_job(directory: Path, source: Path, seed: int, error: str, prompt: str | None = None) -> None:
    """What the runner leaves of a job that raised."""
    config = json.loads((source / "manifest.json").read_text())["config"]
    config["seed"] = seed
    overrides = [f"seed={seed}", "tracker=none"]
    if prompt is not None:
        config["prompt"] = prompt
        overrides.insert(0, f"prompt='{prompt}'")
    record = {
        "schema_version": 1,
        "status": "failed",
        "error": error,
        "stage": "generate",
        "overrides": overrides,
        "traceback": "Traceback ...",
        "finished": "2026-01-01T00:00:00+00:00",
        "hash": "0" * 16,
        "config": config,
        "seconds": {},
    }
    directory.mkdir(parents=True)
    (directory / "failure.json").write_text(json.dumps(record))


@pytest.fixture
def job(real_job, tmp_path) -> Path:
    """The folder of one job, free to be changed."""
    copy_job(real_job, tmp_path / "job", seed=0)
    return tmp_path / "job"


@pytest.fixture
def sweep(real_job, tmp_path):
    """Make a sweep's folder of `count` jobs: seeds, and from 24 on two guidance scales."""

    def make(count: int) -> Path:
        directory = tmp_path / f"sweep_{count}"
        for number in range(count):
            swept = {"guidance_scale": [1.0, 3.0][number // (count // 2)]} if count >= 24 else {}
            copy_job(real_job, directory / str(number), seed=number % (count // 2) if count >= 24 else number, **swept)
        return directory

    return make
