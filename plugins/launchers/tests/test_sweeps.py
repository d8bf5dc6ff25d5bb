"""Real sweeps over the embedded model, whose jobs raise, are killed, and hang: on processes and on Ray actors."""

import importlib.util
import json
import os
import signal
import time

import pytest

HAS_RAY = importlib.util.find_spec("ray") is not None
LAUNCHERS = ["pool", pytest.param("ray", marks=pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed"))]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_that_raise_die_and_hang_take_nothing_else_down(sweep, launcher):
    done = sweep(
        launcher, "seed=7,1,2,3,4,0", "output_dir=sweep", "hydra.launcher.workers=2", "sweep.timeout_s=4",
        "hydra.launcher.kill_grace_s=2", "hydra.launcher.threads_per_worker=1", plan={1: "raise", 2: "kill", 4: "hang"},
    )  # fmt: skip

    assert done.process.returncode == 1, done.err
    manifests = done.jobs("manifest")
    assert {number: m["seed"] for number, m in manifests.items()} == {"0": 7, "3": 3, "5": 0}
    failures = done.jobs("failure")
    assert sorted(failures) == ["1", "2", "4"]
    assert failures["1"]["error"] == "OutputError: seed 1 is unlucky"
    assert failures["2"]["error"].startswith("SweepError: its worker ")
    assert "hung 2 s beyond sweep.timeout_s=4" in failures["4"]["error"]
    assert [failures[n]["stage"] for n in "124"] == ["write"] * 3
    assert "seed=2" in failures["2"]["overrides"]
    assert "in save" in failures["4"]["traceback"], "the record does not show where the job hung"
    assert not list(done.folder.glob("*/.partial-*")), "half-written files of a dead worker are still there"
    for number, failure in failures.items():  # each was told on a line of its own
        [line] = [line for line in done.err.splitlines() if line.startswith(f"job {number} failed at write")]
        assert f"{number}/failure.json" in line
        assert failure["error"].split(": ", 1)[1] in line
    assert "Traceback" not in done.err + done.out
    assert json.loads((done.folder / "3" / "who.json").read_text())["OMP_NUM_THREADS"] == "1"
    assert not done.orphans()

    # the causes are gone: exactly the failed jobs run, one load a worker, and no finished file changes
    before = {p: p.read_bytes() for n in "035" for p in (done.folder / n).glob("*.json")}
    again = sweep(launcher, "seed=7,1,2,3,4,0", "resume=sweep", "hydra.launcher.workers=2")

    assert again.process.returncode == 0, again.err
    assert "3 done, 3 skipped" in again.err
    manifests = again.jobs("manifest")
    assert [manifests[n]["seed"] for n in "012345"] == [7, 1, 2, 3, 4, 0]
    assert [manifests[n]["model"]["warm"] for n in "124"].count(False) <= 2
    assert not again.jobs("failure")
    assert {p: p.read_bytes() for p in before} == before
    assert not again.orphans()


@pytest.mark.timeout(120)
def test_a_lost_job_is_tried_again_as_often_as_asked(sweep):
    done = sweep("pool", "seed=7", "output_dir=sweep", "sweep.retries=1", plan={7: "early-kill,early-exit,fine"})

    assert done.process.returncode == 1, done.err
    assert "its worker was killed by SIGKILL" in done.err
    assert "tried again, attempt 2 of 2" in done.err
    assert done.jobs("failure")["0"]["error"] == "SweepError: its worker ended with exit status 3"


@pytest.mark.timeout(120)
def test_fail_fast_starts_no_job_after_a_lost_one(sweep):
    done = sweep("pool", "seed=0,1,2", "output_dir=sweep", "sweep.fail_fast=true", plan={0: "early-kill"})

    assert done.process.returncode == 1, done.err
    assert [p.name for p in done.folder.iterdir() if p.is_dir()] == ["0"]
    assert "stopped at the first failure" in done.err


@pytest.mark.timeout(300)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_that_is_ended_leaves_no_process_and_a_folder_that_resumes(sweep, tmp_path, launcher):
    jobs = (launcher, "seed=1,2,3", "hydra.launcher.workers=2")
    for number, place in ((signal.SIGINT, "output_dir"), (signal.SIGTERM, "resume"), (signal.SIGKILL, "resume")):
        running = sweep(*jobs, f"{place}=sweep", plan={1: "early-hang", 2: "early-hang"}, wait=False)
        started = [tmp_path / "hangs-1", tmp_path / "hangs-2"]
        until = time.monotonic() + 60
        while not all(p.exists() for p in started) and time.monotonic() < until:
            time.sleep(0.1)
        assert len(running.processes()) >= 3

        os.kill(running.process.pid, number)
        status = running.wait(15)

        assert status == (-9 if number is signal.SIGKILL else 130), running.err
        assert not running.orphans()
        if number is not signal.SIGKILL:
            reason = {"pool": "KeyboardInterrupt", "ray": "its worker died"}[launcher]
            assert reason in running.jobs("failure")["0"]["error"]
        assert not running.jobs("manifest")
        for path in started:
            path.unlink()

    again = sweep(*jobs, "resume=sweep")
    assert again.process.returncode == 0, again.err
    assert sorted(again.jobs("manifest")) == ["0", "1", "2"]
    assert not again.jobs("failure")


@pytest.mark.timeout(120)
def test_workers_that_cannot_start_end_the_sweep_with_the_reason(sweep, tmp_path):
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\nif os.environ.get('STRANDS_DIFFUSERS_WORKER'):\n    sys.exit('the disk is on fire')\n"
    )
    done = sweep("pool", "seed=0,1,2,3", "output_dir=sweep")

    assert done.process.returncode == 1
    assert "workers cannot start: 3 in a row" in done.out + done.err
    assert "the disk is on fire" in done.out + done.err


def test_a_wrong_setting_is_one_line_and_runs_nothing(sweep, tmp_path):
    done = sweep("pool", "seed=0,1", "output_dir=sweep", "hydra.launcher.workers=two")

    assert done.process.returncode == 2
    assert "hydra.launcher.workers=two must be auto or a whole number from 1" in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("sweep/*/manifest.json"))
