"""A rollout survives everything around it: metrics, pictures, trackers and hooks that fail cost their own result only."""

import dataclasses
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers import records
from strands_diffusers.config import compose
from strands_diffusers.errors import CancelledError, ConfigError, OutputError, RolloutError
from strands_diffusers.plugin import manager
from strands_diffusers.plugin.base import Measure, Metric, Serializer, Tracker, Visualizer
from strands_diffusers.results import Artifact
from strands_diffusers.runner import control, folders, job, outputs, run

BARE = ("sampler.num_inference_steps=2", "sampler.guidance_scale=1", "tracker=none", "output=[action]")


class Failing(Metric):
    """Does what `how` says."""

    name = "failing"
    output_types = ("action",)
    measures = {"value": Measure("", "higher", "A number.")}  # noqa: RUF012
    how = "raise"

    def compute(self, rollout):
        if self.how == "hang":
            time.sleep(30)
        if self.how == "exit":
            raise SystemExit(0)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "memory":
            raise MemoryError
        if self.how == "raise":
            raise ValueError("a jerk\nof two lines")
        return {"none": None, "text": "nonsense", "nan": {"value": float("nan")}, "array": {"value": np.ones(3)},
                "other": {"unknown": 1.0}}[self.how]  # fmt: skip


class Drawing(Visualizer):
    """Does what `how` says."""

    name = "drawing"
    output_types = ("action",)
    how = "raise"

    def draw(self, rollout, directory):
        if self.how == "raise":
            raise RuntimeError("no ink")
        if self.how == "outside":
            path = directory.parent.parent / "action.json"
            path.write_text("overwritten")
            return [Artifact(path, "drawing")]
        return None


class Half(Serializer):
    """Writes a file and half of another."""

    name = "half"
    output_types = ("action",)

    error: Exception = OSError(28, "No space left on device")

    def save(self, rollout, directory):
        (directory / "half.txt").write_text("half")
        raise self.error


class Gone(Tracker):
    """Raises wherever it can."""

    name = "gone"

    def start(self, run):
        raise ConnectionError("no server")

    def log(self, record, rollouts):
        raise AssertionError("not started")

    def finish(self, record):
        raise AssertionError("not started")


@pytest.fixture
def extra(monkeypatch):
    index = manager.PluginIndex(list(manager.plugins().registrations))
    for hook, group, cls in (
        ("register_metrics", "metric", Failing),
        ("register_visualizers", "visualizer", Drawing),
        ("register_serializers", "output", Half),
        ("register_trackers", "tracker", Gone),
    ):
        index.registrations.append(manager.Registration(hook, group, cls.name, "test", cls))
    for module in (job, outputs, run):
        monkeypatch.setattr(module, "plugins", lambda: index)
    return index


def configured(*overrides, **replaced):
    config = compose.compose([*BARE, "visualizer=[]", "metric=[action]", *overrides])
    return dataclasses.replace(config, **replaced)


METRICS = {
    "raise": "ValueError: a jerk of two lines",
    "none": "None",
    "text": "nonsense",
    "nan": "nan",
    "array": "number",
    "other": "unknown",
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "memory": "MemoryError",
    "hang": "no answer within 0.5 s",
}


@pytest.mark.parametrize("how", METRICS)
def test_a_metric_that_fails_costs_its_own_result(extra, tmp_path, monkeypatch, how):
    monkeypatch.setattr(Failing, "how", how)
    config = configured(hook_timeout_s=0.5 if how == "hang" else 60.0)
    config = dataclasses.replace(config, metric={**config.metric, "failing": Failing.Config()})

    result = run.run_job(job.check(config), tmp_path)

    record = records.read(tmp_path)
    assert record == result.record
    assert record.done
    assert (tmp_path / "action.json").is_file()
    assert "mse" in record.metrics["action"]
    [problem] = record.problems
    assert problem.what == "metric failing"
    assert METRICS[how] in problem.error
    assert "\n" not in problem.error


@pytest.mark.parametrize(("how", "words"), [("raise", "no ink"), ("none", "None"), ("outside", "outside")])
def test_a_visualizer_that_fails_costs_its_own_picture(extra, tmp_path, monkeypatch, how, words):
    monkeypatch.setattr(Drawing, "how", how)

    record = run.run_job(job.check(configured(visualizer={"drawing": Drawing.Config()})), tmp_path).record

    assert record.done
    assert [(p.what, words in p.error) for p in record.problems] == [("visualizer drawing", True)]
    assert (tmp_path / "action.json").read_text() != "overwritten"


def test_a_tracker_that_fails_is_a_problem(extra, tmp_path):
    record = run.run_job(job.check(configured(tracker=Gone.Config())), tmp_path).record

    assert record.done
    assert [p.what for p in records.read(tmp_path).problems] == ["tracker gone"]
    assert "no server" in record.problems[0].error


def test_a_serializer_that_fails_keeps_what_the_others_wrote(extra, tmp_path):
    config = configured()
    config = dataclasses.replace(config, output={**config.output, "half": Half.Config()})

    with pytest.raises(OutputError, match=r"cannot write the rollout: No space left on device\. Free some space"):
        run.run_job(job.check(config), tmp_path)

    failure = records.read(tmp_path)
    assert (failure.status, failure.stage) == ("failed", "write")
    assert "action.json" in {entry.path for entry in failure.artifacts}
    assert (tmp_path / "action.json").is_file()
    assert not (tmp_path / "half.txt").exists()
    assert not (tmp_path / "manifest.json").exists()
    assert failure.versions["diffusers"] == metadata.version("diffusers")
    checkout = Path(__file__).parents[2]
    if (checkout / ".git").exists():
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
        assert failure.git.removesuffix("-dirty") == commit.stdout.strip()


def test_a_serializers_own_fault_names_the_plugin_that_it_comes_from(extra, tmp_path, monkeypatch):
    monkeypatch.setattr(Half, "error", ValueError("three columns"))
    config = configured()
    config = dataclasses.replace(config, output={"half": Half.Config()})

    with pytest.raises(OutputError, match=r"^output half of plugin test: ValueError: three columns$"):
        run.run_job(job.check(config), tmp_path)


# --------------------------------------------------------------------------------------------------------- control


def test_a_cancelled_job_stops_within_a_step_and_leaves_nothing_half_written(tmp_path):
    steps = []
    watch = control.Control(lambda *step: steps.append(step), cancel=lambda: len(steps) > 4)
    checked = job.check(compose.compose(
        ["sampler.num_inference_steps=30", "tracker=none", "output=[action]", "visualizer=[]", "metric=[]"]
    ))  # fmt: skip

    with pytest.raises(CancelledError, match=r"cancelled at denoise \d+/30"):
        run.run_job(checked, tmp_path, control=watch)

    assert len(steps) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"failure.json"}
    assert run.run_job(job.check(configured()), tmp_path / "next").record.done, "the next call is served"


def test_a_deadline_ends_a_call(tmp_path):
    with pytest.raises(RolloutError, match="exceeded timeout_s=1e-06"):
        run.run_job(job.check(configured()), tmp_path, control=control.Control(timeout_s=1e-6))


# --------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("name", ["video.mp4", "action.json", "observation.png"])
def test_a_run_never_overwrites_what_is_not_its_own(tmp_path, name):
    (tmp_path / name).write_text("the user's recording")

    with pytest.raises(ConfigError, match=f"holds {name}, which this job did not write"):
        run.run_job(job.check(configured()), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "the user's recording"


@pytest.mark.parametrize(("name", "free"), [("other_app", False), ("strands-diffusers", True)])
def test_a_hydra_folder_of_another_program_is_not_overwritten(tmp_path, name, free):
    settings = tmp_path / ".hydra" / "hydra.yaml"
    settings.parent.mkdir()
    settings.write_text(f"hydra:\n  help:\n    app_name: {name}\n")

    if free:
        folders.check_free(tmp_path, "0")  # of a job of ours that was killed
        return
    with pytest.raises(ConfigError, match=r"holds the \.hydra folder of another program, which this job did not write"):
        folders.check_free(tmp_path, "0")


def test_workers_that_look_for_a_folder_in_the_same_instant_get_one_each(tmp_path, monkeypatch):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "video.mp4").touch()
    monkeypatch.setattr(folders, "next_number", lambda directory: 4)  # what every one of them saw

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(folders.claim_next, [tmp_path] * 24))

    assert sorted(int(path.name) for path in found) == list(range(4, 28))


def test_the_record_of_an_earlier_run_goes_before_a_new_one_computes(tmp_path):
    run.run_job(job.check(configured()), tmp_path)
    there = {}

    def step(what: str, *_: object) -> None:
        there.setdefault(what, (tmp_path / "manifest.json").exists())

    run.run_job(job.check(configured()), tmp_path, control=control.Control(step))

    assert {"denoise", "write"} <= {*there}
    assert True not in (there["denoise"], there["write"]), "a run killed now would leave the first one's record"


def test_another_jobs_folder_is_refused_and_its_own_is_written_again(tmp_path):
    first = run.run_job(job.check(configured()), tmp_path).record

    with pytest.raises(ConfigError, match="holds another finished job"):
        run.run_job(job.check(configured("seed=1")), tmp_path)
    assert records.read(tmp_path) == first

    again = run.run_job(job.check(configured()), tmp_path).record
    assert again.artifacts == first.artifacts


def test_a_lock_that_its_holder_took_away_meanwhile_holds_nothing(tmp_path, monkeypatch):
    lock = folders._lock

    def late(stream):
        (tmp_path / folders.LOCK).unlink()
        return lock(stream)

    monkeypatch.setattr(folders, "_lock", late)
    with pytest.raises(ConfigError, match="in use by another job"), folders.claimed(tmp_path):
        pass


def test_a_job_that_ended_while_another_waited_for_the_folder_is_kept(tmp_path, monkeypatch):
    begun, seen = run.run_job(job.check(configured()), tmp_path).record, folders.check_free
    calls = []

    def early(directory, digest):
        calls.append(digest)
        if len(calls) > 1:
            seen(directory, digest)

    monkeypatch.setattr(folders, "check_free", early)
    with pytest.raises(ConfigError, match="holds another finished job"):
        run.run_job(job.check(configured("seed=1")), tmp_path)
    assert records.read(tmp_path) == begun


def test_a_folder_in_use_is_refused(tmp_path):
    import subprocess
    import sys

    code = "import sys, time; from strands_diffusers.runner import folders\nfrom pathlib import Path\n"
    code += "with folders.claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"in use by another job \\(process {other.pid} since"):
            run.run_job(job.check(configured()), tmp_path)
        other.kill()
    assert run.run_job(job.check(configured()), tmp_path).record.done, "the lock of a dead process holds nobody up"
