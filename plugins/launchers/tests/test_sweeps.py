"""Real sweeps over the embedded model: what is tried again, what stops them, and what they refuse."""

import json

import pytest


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


@pytest.mark.timeout(120)
def test_a_job_that_can_leave_no_record_is_shown_and_in_the_table(sweep, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "1").write_text("not a folder")

    done = sweep("pool", "seed=0,1,2", "output_dir=sweep")

    assert done.process.returncode == 1, done.err
    assert sorted(done.jobs("manifest")) == ["0", "2"]
    [shown] = [line for line in done.err.splitlines() if line.startswith("job 1 failed at start: ")]
    [row] = [line for line in done.err.splitlines() if line.startswith("     1  failed at start")]
    for line in (shown, row):
        assert "seed=1" in line
        assert "File exists" in line
    [recorded] = [job for job in json.loads((done.folder / "sweep.json").read_text())["jobs"] if job["name"] == "1"]
    assert recorded["error"].startswith("FileExistsError: ")


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


def test_an_empty_list_of_gpus_is_refused(sweep):
    done = sweep("pool", "seed=0,1", "hydra.launcher.gpus=[]")

    assert done.process.returncode == 2
    assert "hydra.launcher.gpus=[] leaves no GPU" in done.err
