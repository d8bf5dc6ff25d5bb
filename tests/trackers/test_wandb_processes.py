"""Jobs in child processes, below a parent that has a live run of its own, and jobs whose service process is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_readback import read_runs

pytestmark = pytest.mark.slow

JOB = """
import multiprocessing as mp
import os
import signal
import sys
from pathlib import Path

import numpy as np


def job(directory, before_log=lambda: None):
    from strands_diffusers.records import Record, SampleRecord
    from strands_diffusers.results import ActionSpace, Rollout, RunInfo
    from strands_diffusers.trackers.wandb import WandbTracker

    Path(directory).mkdir()
    tracker = WandbTracker()
    tracker.start(RunInfo("child", Path(directory), {"where": directory}, "policy"))
    before_log()
    action = np.zeros((1, 4, 2), np.float32)
    measured = {"action": {"mae": 0.5}}
    record = Record(Path(directory), samples=(SampleRecord(metrics=measured),), metrics=measured)
    tracker.log(record, [Rollout(mode="policy", action=action, space=ActionSpace("pusht"))])
    tracker.finish(record)
    for line in tracker.notes():
        sys.stdout.write(line + chr(10))
    sys.stdout.flush()
"""

CHILDREN = """
if __name__ == "__main__":
    import wandb

    folder = Path(sys.argv[1])
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    with wandb.init(project="theirs", mode="offline", dir=folder, settings=settings) as own:
        job(str(folder / "parent"))
        for method in ("fork", "spawn"):
            child = mp.get_context(method).Process(target=job, args=(str(folder / method),))
            child.start()
            child.join()
            assert child.exitcode == 0, method
        own.log({"loss": 1.0})
"""

KILLED = """
def kill_service():
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, name, _, parent = stat.read_text().split()[:4]
        except OSError:
            continue  # it has ended meanwhile
        if "wandb-core" in name and int(parent) == os.getpid():
            os.kill(int(pid), signal.SIGKILL)
            return
    sys.exit("there is no service process")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    job(str(folder / "first"))
    job(str(folder / "killed"), kill_service)
    job(str(folder / "later"))
"""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(JOB + script)
    command = [sys.executable, str(folder / "script.py"), str(folder)]
    # A run in an earlier test of this process may have left the address of its own service process there.
    alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=alone)


def test_forked_and_spawned_jobs_have_runs_of_their_own(tmp_path: Path):
    done = run(CHILDREN, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wandb sync") == 3
    for name in ("parent", "fork", "spawn"):
        [child] = read_runs(tmp_path / name)
        assert (child.exit_code, child.summary["metrics/action.mae"]) == (0, 0.5), name
        assert child.config["where"] == str(tmp_path / name)
        assert len(child.table("action/table")) == 4
    [theirs] = read_runs(tmp_path / "wandb")
    assert theirs.values("loss") == [1.0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the service process in /proc")
def test_a_killed_service_process_costs_one_job_its_run_and_no_later_one(tmp_path: Path):
    done = run(KILLED, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "W&B could not " in done.stdout
    assert done.stdout.count("wandb sync") == 3  # a line for each job: all three were opened
    for name in ("first", "later"):
        [closed] = read_runs(tmp_path / name)
        assert (closed.exit_code, closed.summary["status"]) == (0, "done"), name
