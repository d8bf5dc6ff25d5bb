"""What the runner knows of trackers: names and ids of runs, and trackers that go wrong."""

import threading
import time

import pytest

from strands_diffusers.plugin.base import Tracker
from strands_diffusers.records import Problem, Record
from strands_diffusers.results import RunInfo
from strands_diffusers.runner.tracking import SafeTracker, group_name, run_id, run_name, sweep_info

ENDLESS = threading.Event()


class Faulty(Tracker):
    """Goes wrong in one call: it raises, or never answers."""

    name = "faulty"
    limit_s = 0.2

    def __init__(self, where, error):
        super().__init__()
        self.where, self.error, self.calls = where, error, []

    def _call(self, name):
        self.calls.append(name)
        if name == self.where:
            if self.error is None:
                ENDLESS.wait()
            raise self.error

    def start(self, run):
        self._call("start")

    def log(self, record, rollouts):
        self._call("log")

    def finish(self, record):
        self._call("finish")

    def notes(self):
        self._call("notes")
        return ["a note"]


def track(where, error, tmp_path):
    tracker = Faulty(where, error)
    safe = SafeTracker(tracker)
    started = time.monotonic()
    safe.start(RunInfo("name", tmp_path, {}, "policy"))
    safe.log(Record(tmp_path), [])
    safe.finish(Record(tmp_path))
    notes = safe.notes()
    assert time.monotonic() - started < 5
    return tracker.calls, safe.problems, notes


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(0), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("start", ["start", "notes"]),
        ("log", ["start", "log", "finish", "notes"]),
        ("finish", ["start", "log", "finish", "notes"]),
    ],
)
def test_whatever_a_tracker_raises_is_a_problem_and_nothing_more(where, calls, error, tmp_path):
    made, problems, notes = track(where, error, tmp_path)

    assert made == calls
    [problem] = problems
    assert problem.what == "tracker faulty"
    assert problem.error.startswith(f"could not {where}: {type(error).__name__}")
    assert notes == [str(problem), "a note"]


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("start", ["start", "notes"]),
        ("log", ["start", "log", "notes"]),
        ("finish", ["start", "log", "finish", "notes"]),
    ],
)
def test_a_tracker_that_hangs_costs_its_limit_and_is_not_called_again(where, calls, tmp_path):
    made, problems, _ = track(where, None, tmp_path)

    assert made == calls
    assert problems == [Problem("tracker faulty", f"could not {where}: TimeoutError: no answer within 0.2 s")]


def test_notes_that_raise_are_a_problem_too(tmp_path):
    _, [problem], notes = track("notes", ValueError("no"), tmp_path)

    assert notes == [str(problem)]


def sweep(tmp_path, *given):
    import json

    (tmp_path / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": list(given)}}}))
    return tmp_path / "3"


@pytest.mark.parametrize(
    ("given", "own", "name"),
    [
        (["sampler.num_inference_steps=4,8", "sampler.guidance_scale=1,3", "seed=0"],
         ["sampler.num_inference_steps=8", "sampler.guidance_scale=3", "seed=0"], "steps=8 guidance=3"),
        (["seed=range(0,3)", "prompt='push, left'"], ["seed=2", "prompt='push, left'"], "seed=2"),
        (["observation=lerobot:a/b@episode:1,lerobot:a/b@episode:2"], ["observation=lerobot:a/b@episode:2"],
         "observation=b@episode:2"),
        (["prompt='a','b'"], ["prompt='Push the T block to the goal, then wait there.'"],
         "prompt=Push the T block to the goal, then wait…"),
        (["prompt='a','b'"], ["prompt='a\n  b'"], "prompt=a b"),
        (["model.width=1,2", "domain.width=3,4"], ["model.width=2", "domain.width=3"], "model.width=2 domain.width=3"),
        ([], ["seed=1"], "seed=1"),  # varied by the sweeper's own parameters
        (["seed=1", "output_dir=x"], ["seed=1", "resume=x"], None),
    ],
)  # fmt: skip
def test_a_run_is_named_by_what_its_sweep_varies(given, own, name, tmp_path):
    assert run_name(sweep(tmp_path, *given), own) == name


@pytest.mark.parametrize("text", [None, "", "[", "hydra: 3", "a: &a [*a]", "hydra: {overrides: {task: [1]}}"])
def test_without_a_readable_multirun_file_a_run_has_no_name_of_that_kind(text, tmp_path):
    if text is not None:
        (tmp_path / "multirun.yaml").write_text(text)

    assert run_name(tmp_path / "0", ["seed=1"]) is None


def test_a_job_has_the_same_id_in_its_folder_and_another_in_any_other(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"

    first = run_id(one, "0123")

    assert run_id(one, "0123") == first
    assert run_id(one, "4567") != first
    assert run_id(other, "0123") != first
    moved = one.rename(tmp_path / "moved")
    assert run_id(moved, "0123") == first


def test_workers_that_begin_at_once_agree_on_the_id(tmp_path):
    found, barrier = [], threading.Barrier(8)

    def work():
        barrier.wait()
        found.append(run_id(tmp_path / "sweep", "0123"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_summary_run_is_in_the_group_of_the_jobs_and_says_what_they_share(tmp_path):
    folder = tmp_path / "2026-11-27" / "12-00-00"
    records = [Record(folder / str(i), overrides=(f"seed={i}", "domain=pusht")) for i in range(2)]

    info = sweep_info(folder, records)

    assert info.group == group_name(folder) == "2026-11-27_12-00-00"
    assert (info.job_type, info.directory, info.config["shared"]) == ("sweep", folder, {"domain": "pusht"})
    assert info.id == sweep_info(folder, []).id != run_id(folder, "0123")
