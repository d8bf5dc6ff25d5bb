"""One job on the embedded model: real pipeline, real files, a manifest that tells the truth."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers import Observation, records, rollout, rollouts
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError, ObservationError, OutputError, RequestError
from strands_diffusers.pipelines import loader
from strands_diffusers.plugin import manager
from strands_diffusers.plugin.base import Serializer, Tracker, Visualizer
from strands_diffusers.results import Artifact
from strands_diffusers.runner import job, outputs, provenance, run
from strands_diffusers.runner.run import write_failure

FAST = ("sampler.num_inference_steps=2", "sampler.guidance_scale=1", "tracker=none")
BARE = (*FAST, "visualizer=[]", "metric=[]")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The main job with everything it draws, once for this module."""
    directory = tmp_path_factory.mktemp("policy")
    return rollout(*FAST, output_dir=directory), directory


def test_a_policy_rollout_gives_a_video_and_actions_of_the_contract(policy):
    future, _ = policy

    assert (future.video.dtype, future.video.shape) == (np.uint8, (17, 96, 96, 3))
    assert (future.action.dtype, future.action.shape) == (np.float32, (1, 16, 2))
    assert future.fps == 10
    assert future.prompt == "Push the T block to the left."
    assert future.reference_video.shape == future.video.shape
    assert future.reference_action.shape == future.action.shape


def test_the_folder_holds_what_a_person_can_watch(policy):
    _, directory = policy

    names = {p.name for p in directory.iterdir()}
    assert names == {
        "video.mp4", "action.json", "action_physical.json", "timeseries.png", "trajectory.png", "animation.mp4",
        "comparison.mp4", "observation.png", "reference.mp4", "manifest.json",
    }  # fmt: skip


def test_the_pictures_library_is_imported_by_one_thread(tmp_path):
    """Its packages import each other in circles: imported by two threads at once, a first run ended with a deadlock."""
    probe = """
import builtins, sys, threading

seen, original = set(), builtins.__import__

def spy(name, globals=None, *rest, **options):
    fresh = name.split(".")[0] == "matplotlib" and name not in sys.modules
    if fresh and (globals or {}).get("__name__", "").startswith("strands_diffusers"):
        seen.add(threading.current_thread().name)
    return original(name, globals, *rest, **options)

builtins.__import__ = spy
from pathlib import Path
import numpy as np
from strands_diffusers.plugin import manager
from strands_diffusers.results import Rollout
from strands_diffusers.runner.outputs import produce

rollout = Rollout(mode="policy", action=np.zeros((1, 2, 2), np.float32), video=np.zeros((3, 32, 32, 3), np.uint8), fps=5.0)
private = Path(sys.argv[1]) / "private"
private.mkdir()
drawers = [cls() for cls in manager.plugins().classes("visualizer").values()]
made = produce([rollout], private, private.parent, visualizers=drawers)
assert len(made.artifacts) > 1 and not made.problems, made
print(sorted(seen))
"""
    done = subprocess.run([sys.executable, "-c", probe, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['MainThread']"


def test_the_stored_actions_are_the_rollouts_own(policy):
    future, directory = policy

    np.testing.assert_array_equal(np.float32(json.loads((directory / "action.json").read_text())), future.action)


def test_the_manifest_lists_every_file_with_its_hash_and_the_resolved_config(policy):
    _, directory = policy

    record = records.read(directory)
    assert {e.path for e in record.artifacts} == {p.name for p in directory.iterdir()} - {"manifest.json"}
    for entry in record.artifacts:
        content = (directory / entry.path).read_bytes()
        assert entry.bytes == len(content)
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
    assert record.config["sampler"]["num_inference_steps"] == 2
    assert record.config["condition"]["chunk_size"] == 16
    assert record.config["prompt"] == "Push the T block to the left."
    assert record.engine["requested"] == "auto"
    assert record.engine["effective"] in ("exact", "eager")
    assert record.guardrail == {"requested": False, "effective": False}
    assert record.versions["diffusers"]
    assert record.metrics["video"]["psnr"] > 5
    assert set(record.seconds) >= {"check", "load", "generate", "write", "tracker"}


def test_a_second_rollout_is_warm(policy, tmp_path):
    rollout(*BARE, output_dir=tmp_path / "first")  # the fixture's model may have made room for another test's
    before = [id(model) for model in loader.warm_models()]
    rollout(*BARE, output_dir=tmp_path / "second")

    assert records.read(tmp_path / "second").model["warm"] is True
    assert [id(model) for model in loader.warm_models()] == before


def test_the_same_request_gives_the_same_numbers(policy, tmp_path):
    again = rollout(*BARE, output_dir=tmp_path)

    np.testing.assert_array_equal(again.video, policy[0].video)
    np.testing.assert_array_equal(again.action, policy[0].action)


@pytest.mark.parametrize("mode", ["forward_dynamics", "inverse_dynamics"])
def test_the_other_directions(mode, tmp_path):
    future = rollout(f"condition={mode}", *FAST, output_dir=tmp_path)

    assert future.video.shape == (17, 96, 96, 3)
    assert (future.action is None) == (mode == "forward_dynamics")
    assert (future.given_action is None) == (mode == "inverse_dynamics")
    assert (tmp_path / "comparison.mp4").is_file()
    assert ("psnr" in records.read(tmp_path).metrics.get("video", {})) == (mode == "forward_dynamics")


def test_an_observation_from_python(tmp_path):
    frames = np.full((1, 96, 96, 3), 255, np.uint8)

    future = rollout(*BARE, "prompt=Push the T block up.", observation=Observation(frames=frames), output_dir=tmp_path)

    assert future.reference_video is None
    assert future.video.shape == (17, 96, 96, 3)


def test_only_the_outputs_asked_for_are_computed(tmp_path):
    future = rollout(*FAST, "output=[action]", output_dir=tmp_path)

    assert future.action is not None
    assert {p.name for p in tmp_path.iterdir()} >= {"action.json", "timeseries.png", "manifest.json"}
    assert not (tmp_path / "video.mp4").exists()


def test_samples_have_folders_of_their_own_and_seeds_that_count_up(tmp_path):
    futures = rollouts(*BARE, "sampler.num_samples=2", "seed=5", output_dir=tmp_path)

    assert [f.seed for f in futures] == [5, 6]
    assert {p.name for p in tmp_path.iterdir()} == {
        "sample_00", "sample_01", "observation.png", "reference.mp4", "manifest.json",
    }  # fmt: skip
    assert {e.path for e in records.read(tmp_path).artifacts} >= {"sample_00/video.mp4", "sample_01/action.json"}
    with pytest.raises(ConfigError, match=r"call strands_diffusers\.rollouts"):
        rollout(*BARE, "sampler.num_samples=2", output_dir=tmp_path / "other")


def test_several_samples_are_recorded_with_mean_and_spread_and_drawn_together(tmp_path):
    futures = rollouts(
        *FAST, "metric=[]", "visualizer=[timeseries]", "output=[action]", "sampler.num_samples=3", output_dir=tmp_path
    )

    record = records.read(tmp_path)
    spread = record.samples_action
    actions_NKTD = np.stack([future.action for future in futures]).astype(np.float64)
    assert (spread["samples"], spread["shape"], spread["unit"]) == (3, [1, 16, 2], "model space")
    np.testing.assert_array_equal(spread["mean"], actions_NKTD.mean(axis=0))
    np.testing.assert_array_equal(spread["std"], actions_NKTD.std(axis=0, ddof=1))
    assert np.min(spread["std"]) > 0  # different seeds, different futures
    [picture] = [entry for entry in record.artifacts if entry.type == "spread"]
    assert picture.path == "spread.png"
    assert picture.sha256 == hashlib.sha256((tmp_path / "spread.png").read_bytes()).hexdigest()


def test_a_job_of_one_sample_has_no_spread(policy):
    _, directory = policy

    assert not records.read(directory).samples_action
    assert not (directory / "spread.png").exists()


def test_a_run_can_be_the_next_observation(policy, tmp_path):
    _, directory = policy

    future = rollout(*BARE, "condition=inverse_dynamics", f"observation=run:{directory}", output_dir=tmp_path)

    np.testing.assert_array_equal(future.observation.actions, policy[0].action[0])


# ------------------------------------------------------------------------------------------------------- failures


def test_a_refused_request_leaves_nothing(tmp_path):
    target = tmp_path / "job"
    with pytest.raises(ObservationError):
        rollout(*BARE, "observation=missing.mp4", output_dir=target)
    assert not target.exists()


class Refusing(Serializer):
    """Raises while it writes."""

    name = "refusing"
    output_types = ("action",)

    def save(self, rollout, directory):
        (directory / "half.txt").write_text("half")
        raise OutputError("the pencil broke")


class Together(Visualizer):
    """Writes down which samples it was given together; on a full disk where there are three."""

    name = "together"
    output_types = ("action",)

    def draw(self, rollout, directory):
        return []

    def draw_all(self, rollouts, directory):
        if len(rollouts) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        path = directory / "seeds.txt"
        path.write_text(" ".join(str(rollout.seed) for rollout in rollouts))
        return [Artifact(path, self.name)]


class Exploding(Tracker):
    """Raises wherever it can."""

    name = "exploding"
    calls: list = []  # noqa: RUF012

    def start(self, run):
        self.calls.append("start")

    def log(self, record, rollouts):
        raise ConnectionError("server gone")

    def finish(self, record):
        self.calls.append((record.status, record.error))
        raise RuntimeError("still gone")


@pytest.fixture
def extra(monkeypatch):
    """An index with three plugin classes more."""
    index = manager.PluginIndex(list(manager.plugins().registrations))
    index.registrations += [
        manager.Registration("register_serializers", "output", "refusing", "test", Refusing),
        manager.Registration("register_visualizers", "visualizer", "together", "test", Together),
        manager.Registration("register_trackers", "tracker", "exploding", "test", Exploding),
    ]
    for module in (job, outputs):
        monkeypatch.setattr(module, "plugins", lambda: index)
    Exploding.calls.clear()
    return index


def configured(*overrides, **replaced):
    import dataclasses

    return dataclasses.replace(compose.compose([*BARE, *overrides]), **replaced)


def test_a_failed_job_leaves_its_reason_and_no_manifest_and_no_half_file(extra, tmp_path):
    config = configured(output={"refusing": Refusing.Config()}, tracker=Exploding.Config())

    with pytest.raises(OutputError, match="the pencil broke"):
        run.run_job(job.check(config), tmp_path)

    assert {p.name for p in tmp_path.iterdir()} == {"failure.json", "observation.png", "reference.mp4"}
    failure = records.read(tmp_path)
    assert (failure.status, failure.error) == ("failed", "OutputError: the pencil broke")
    assert failure.stage == "write"
    assert "Traceback" in failure.traceback
    assert Exploding.calls == ["start", ("failed", "OutputError: the pencil broke")]


def test_a_visualizer_of_a_plugin_draws_all_samples_together_and_once(extra, tmp_path):
    together = {"visualizer": {"together": Together.Config()}, "tracker": Exploding.Config()}

    result = run.run_job(job.check(configured("sampler.num_samples=2", "seed=8", **together)), tmp_path / "two")
    assert (tmp_path / "two/seeds.txt").read_text() == "8 9"
    assert [e.path for e in result.record.artifacts if e.type == "together"] == ["seeds.txt"]

    result = run.run_job(job.check(configured(**together)), tmp_path / "one")
    assert not (tmp_path / "one/seeds.txt").exists()

    result = run.run_job(job.check(configured("sampler.num_samples=3", **together)), tmp_path / "three")
    assert result.record.status == "done"
    assert str(result.record.problems[0]) == "visualizer together: OSError: [Errno 28] No space left on device"


def test_a_tracker_that_raises_loses_no_rollout(extra, tmp_path):
    result = run.run_job(job.check(configured(tracker=Exploding.Config())), tmp_path)

    assert records.read(tmp_path).done
    assert any("server gone" in note for note in result.notes)


def test_a_good_run_removes_the_failure_of_an_earlier_one(tmp_path):
    write_failure(tmp_path, RuntimeError("earlier"), "generate")

    rollout(*BARE, output_dir=tmp_path)

    assert not (tmp_path / "failure.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(OutputError) as caught:
            rollout(*FAST, output_dir=small / "job")
        assert "\n" not in str(caught.value)
        assert "disk is full" in str(caught.value)
        assert ".partial-" not in str(caught.value), "a path that nobody can look into"
        assert not (small / "job" / "manifest.json").exists()
        assert not list((small / "job").glob("*.mp4"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


# ----------------------------------------------------------------------------------------------------------- hash


def hash_of(*overrides) -> str:
    given = {override.partition("=")[0] for override in overrides}
    own = [override for override in BARE if override.partition("=")[0] not in given]
    return job.check(compose.compose([*own, *overrides])).hash


def test_the_hash_follows_what_changes_the_result_and_nothing_else(tmp_path):
    base = hash_of()

    assert base == hash_of("output_dir=elsewhere", "sweep.retries=3", "tracker=wandb")
    assert base == hash_of("output=[action]") == hash_of("metric=[video]") == hash_of("visualizer=[timeseries]")
    assert base == hash_of("prompt=Push the T block to the left.")
    different = [
        hash_of("seed=1"), hash_of("prompt=Push the T block up."), hash_of("observation=sample:push_up"),
        hash_of("sampler.flow_shift=3"), hash_of("engine=eager"), hash_of("condition=inverse_dynamics"), hash_of("sampler.num_samples=2"),
    ]  # fmt: skip
    assert len({base, *different}) == len(different) + 1


def test_the_hash_knows_an_observation_by_its_content(tmp_path):
    from PIL import Image

    for name, shade in (("a", 10), ("b", 10), ("c", 11)):
        Image.fromarray(np.full((96, 96, 3), shade, np.uint8)).save(tmp_path / f"{name}.png")
    hashes = [hash_of(f"observation={tmp_path / name}.png", "prompt=push") for name in "abc"]

    assert hashes[0] == hashes[1] != hashes[2]


def test_versions_count(monkeypatch):
    before = hash_of()
    monkeypatch.setattr(provenance, "versions", lambda: {"diffusers": "99", "torch": "99"})
    assert hash_of() != before


def test_errors_of_requests_are_request_errors():
    with pytest.raises(RequestError):
        job.check(compose.compose([*BARE, "observation=sample:nowhere"]))


def test_plain_json_has_no_nan(tmp_path):
    records.write_json(tmp_path / "x.json", {"a": np.float32("nan"), "b": np.arange(2), "c": Path("x")})

    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [0, 1], "c": "x"}
