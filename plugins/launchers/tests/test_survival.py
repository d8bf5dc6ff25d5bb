"""Sweeps that everything happens to: 24 jobs on processes and on Ray actors, ended by all means, lose nothing.

CI runs a shortened form. All of it, as the project promises it (some minutes on two cores; the disk that fills is a
tmpfs, so as root on Linux; `-s` shows what the sweeps say at their end):

    STRANDS_DIFFUSERS_SURVIVAL_JOBS=24 pytest -s plugins/launchers/tests/test_survival.py
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

JOBS = int(os.environ.get("STRANDS_DIFFUSERS_SURVIVAL_JOBS", "8"))
"""Jobs of a sweep, 8 and more."""

HAS_RAY = importlib.util.find_spec("ray") is not None
LAUNCHERS = ["pool", pytest.param("ray", marks=pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed"))]
SEEDS = [100 + number for number in range(JOBS)]  # no seed is its job's number: resume goes by content
SWEEP = ("seed=" + ",".join(map(str, SEEDS)), "hydra.launcher.workers=2", "hydra.launcher.threads_per_worker=1")
LIMITS = ("sweep.timeout_s=30", "hydra.launcher.kill_grace_s=2")
pytestmark = [pytest.mark.timeout(120 + 40 * JOBS), pytest.mark.parametrize("launcher", LAUNCHERS)]


@pytest.fixture
def full_disk(tmp_path):
    """Give a job's folder a disk that takes Hydra's files and the actions but no film; returns how to take it away."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root on Linux can mount a small tmpfs")
    mounted = []

    def mount(folder, kilobytes=24):
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a small tmpfs is refused here: {done.stderr.strip()}")
        mounted.append(folder)

    def free():
        while mounted:
            subprocess.run(["umount", str(mounted.pop())], check=True)

    yield mount, free
    with contextlib.suppress(subprocess.CalledProcessError):
        free()


def artifacts(sweep) -> dict[str, str]:
    """Path -> sha256 of every artifact that a manifest lists; each is on disk as it was recorded."""
    found = {}
    for number, manifest in sweep.jobs("manifest").items():
        for entry in manifest["artifacts"]:
            path = sweep.folder / number / entry["path"]
            found[f"{number}/{entry['path']}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            assert found[f"{number}/{entry['path']}"] == entry["sha256"], f"{path} is not what its manifest says"
    return found


def half_written(sweep) -> list[str]:
    """What a reader could take for a file of a job, and is none: private folders, temporary and lone files."""
    left = [*sweep.folder.glob("*/.partial-*"), *sweep.folder.glob("*/.*.json.*"), *sweep.folder.glob("*/half.txt")]
    return sorted(str(path.relative_to(sweep.folder)) for path in left)


def seeds(sweep, name="manifest") -> dict[int, int]:
    """Job -> seed of what is there."""
    if name == "failure":
        return {int(n): SEEDS[int(n)] for n in sweep.jobs("failure")}
    return {int(number): manifest["seed"] for number, manifest in sweep.jobs(name).items()}


def test_four_jobs_die_four_ways_and_twenty_are_done(sweep, full_disk, tmp_path, launcher):
    raises, killed, late, full = unlucky = [1, 2, JOBS // 2, JOBS - 3]
    mount, free = full_disk
    mount(tmp_path / "sweep" / str(full))
    plan = {SEEDS[raises]: "raise", SEEDS[killed]: "kill", SEEDS[late]: "hang"}

    done = sweep(launcher, *SWEEP, *LIMITS, "output=[action,video,unlucky]", "output_dir=sweep", plan=plan)

    sys.stdout.write(f"\n{done.err}\n")
    assert done.process.returncode == 1, done.err
    assert seeds(done) == {n: seed for n, seed in enumerate(SEEDS) if n not in unlucky}
    failures = done.jobs("failure")
    assert sorted(map(int, failures)) == unlucky
    reasons = {
        raises: f"OutputError: seed {SEEDS[raises]} is unlucky",
        killed: "SweepError: its worker ",
        late: "SweepError: its worker hung 2 s beyond sweep.timeout_s=30 and was killed",
        full: "OutputError: cannot write ",
    }
    for number, reason in reasons.items():
        record = failures[str(number)]
        assert record["stage"] == "write"
        assert record["error"].startswith(reason)
        assert f"seed={SEEDS[number]}" in record["overrides"]
        [line] = [line for line in done.err.splitlines() if line.startswith(f"job {number} failed at write: ")]
        assert f"seed={SEEDS[number]}" in line
        assert record["error"].split(": ", 1)[1] in line
    assert "disk is full" in failures[str(full)]["error"]
    assert "in save" in failures[str(late)]["traceback"], "the record does not show where the job hung"
    assert f"{JOBS - 4} done, 4 failed" in done.err
    for noise in ("Traceback", "Error executing job"):
        assert noise not in done.err + done.out
    assert json.loads((done.folder / "0" / "who.json").read_text())["OMP_NUM_THREADS"] == "1"
    assert not half_written(done)
    assert not done.orphans()
    before = artifacts(done)
    assert len({path.split("/")[0] for path in before}) == JOBS - 4

    free()  # the causes are gone
    again = sweep(launcher, *SWEEP, *LIMITS, "output=[action,video,unlucky]", "resume=sweep")

    sys.stdout.write(f"\n{again.err}\n")
    assert again.process.returncode == 0, again.err
    assert f"4 done, {JOBS - 4} skipped" in again.err
    assert seeds(again) == dict(enumerate(SEEDS))
    assert [again.jobs("manifest")[str(n)]["model"]["warm"] for n in unlucky].count(False) <= 2
    assert not again.jobs("failure")
    assert not half_written(again)
    assert {path: digest for path, digest in artifacts(again).items() if path in before} == before
    assert not again.orphans()


def end_process(running) -> None:
    """`kill -9` of the command."""
    os.kill(running.process.pid, signal.SIGKILL)


def end_everything(running) -> None:
    """`kill -9` of all its processes, as a batch system does it, or a power cut."""
    for pid in [running.process.pid, *running.processes()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def interrupt(running) -> None:
    """Ctrl-C."""
    os.kill(running.process.pid, signal.SIGINT)


def terminate(running) -> None:
    """What `kill` and batch systems send first."""
    os.kill(running.process.pid, signal.SIGTERM)


def test_a_sweep_that_is_ended_in_the_middle_goes_on_with_what_is_missing(sweep, tmp_path, launcher):
    """Ended four times, each time with one job before its load, one in mid-write and more of them done; then let go on.

    In the shortened form Ray's sweep is ended twice: Ctrl-C and SIGTERM reach a launcher as the same interrupt.
    """
    ways = {interrupt: 130, terminate: 130, end_process: -9, end_everything: -9}
    if launcher == "ray" and JOBS < 24:
        ways = {interrupt: 130, end_process: -9}
    before: dict[str, str] = {}
    for turn, (end, expected) in enumerate(ways.items()):
        hanging = [n for n in range(JOBS) if n >= (turn + 1) * JOBS // 6][:2]
        place = "resume" if turn else "output_dir"
        plan = {SEEDS[n]: what for n, what in zip(hanging, ("early-hang", "hang"), strict=True)}
        running = sweep(launcher, *SWEEP, f"{place}=sweep", plan=plan, wait=False)
        hangs = [tmp_path / f"hangs-{SEEDS[n]}" for n in hanging]
        until = time.monotonic() + 90
        while not all(path.exists() for path in hangs):
            assert running.process.poll() is None, (turn, running.wait(1), running.err)
            assert time.monotonic() < until, f"turn {turn}: no job got to where it hangs"
            time.sleep(0.1)
        assert len(running.processes()) >= 3

        end(running)
        status = running.wait(30)

        assert status == expected, running.err
        assert not running.orphans()
        assert "Traceback" not in running.err
        assert seeds(running) == dict(list(enumerate(SEEDS))[: hanging[0]])
        now = artifacts(running)
        assert {path: digest for path, digest in now.items() if path in before} == before
        before = now
        if expected == 130:
            reasons = {n: failure["error"] for n, failure in running.jobs("failure").items()}
            assert list(reasons) == [str(n) for n in hanging]
            if launcher == "pool":  # what cannot be interrupted is killed some seconds later
                assert reasons[str(hanging[0])].startswith("KeyboardInterrupt")
                assert "was killed when the sweep was interrupted" in reasons[str(hanging[1])]
            else:
                assert all("its worker died" in reason for reason in reasons.values())
            assert not half_written(running)
        else:
            assert all(path.split("/")[0] in map(str, hanging) for path in half_written(running))
        for path in hangs:
            path.unlink()

    again = sweep(launcher, *SWEEP, "resume=sweep")

    sys.stdout.write(f"\n{again.err}\n")
    assert again.process.returncode == 0, again.err
    done = len({path.split("/")[0] for path in before})
    assert f"{JOBS - done} done, {done} skipped" in again.err
    assert seeds(again) == dict(enumerate(SEEDS))
    assert not again.jobs("failure")
    assert not half_written(again)
    assert {path: digest for path, digest in artifacts(again).items() if path in before} == before
    assert not again.orphans()
