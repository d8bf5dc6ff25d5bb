"""Sweeps survive: they resume by hash, try again, keep time limits, and leave folders that go on after any death."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import plugin_site
import pytest
from bare import bare

from strands_diffusers import records
from strands_diffusers.cli import main


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["-m", *bare(*arguments)])
        return int(caught.value.code or 0), capfd.readouterr().err

    return run


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("action.json")}


def complete(folder: Path) -> list[str]:
    return sorted(p.parent.name for p in folder.glob("*/manifest.json"))


def test_resume_runs_only_what_is_missing_and_touches_nothing_else(command, tmp_path):
    sweep = tmp_path / "sweep"
    assert command("seed=0,1", "output_dir=sweep")[0] == 0
    before = hashes(sweep)

    status, err = command("seed=1,0,2", f"resume={sweep}")

    assert status == 0
    assert "2 skipped" in err
    assert "1 done" in err
    assert "differs" not in err, "a job that never ran did not change"
    assert complete(sweep) == ["0", "1", "2"]
    assert {k: v for k, v in hashes(sweep).items() if k in before} == before


def test_a_changed_job_runs_beside_the_old_one_and_says_in_what_it_differs(command, tmp_path):
    sweep = tmp_path / "sweep"
    command("seed=0", "output_dir=sweep")
    before = hashes(sweep)

    status, err = command("seed=0", "sampler.flow_shift=4", f"resume={sweep}")

    assert status == 0
    names = complete(sweep)
    assert names == ["0", "1"]
    assert hashes(sweep)["0/action.json"] == before["0/action.json"]
    assert "sampler.flow_shift 1 -> 4" in err


def test_a_job_whose_file_is_gone_runs_again(command, tmp_path):
    sweep = tmp_path / "sweep"
    command("seed=0", "output_dir=sweep")
    (sweep / "0" / "action.json").unlink()

    command("seed=0", f"resume={sweep}")

    assert (sweep / "0" / "action.json").is_file()


def test_resume_last_means_the_latest_sweep(command, tmp_path):
    command("seed=0")
    [folder] = tmp_path.glob("multirun/*/*")

    status, err = command("seed=0,1", "resume=last")

    assert status == 0
    assert "1 skipped" in err
    assert complete(folder) == ["0", "1"]


@pytest.mark.parametrize("value", ["last", "nowhere"])
def test_resume_of_nothing_is_refused(command, value):
    status, err = command("seed=0", f"resume={value}")

    assert status == 2
    assert len(err.strip().splitlines()) == 1


def test_a_time_limit_ends_a_job_with_its_stage(command, tmp_path):
    status, err = command("seed=0", "sweep.timeout_s=0.0001", "output_dir=sweep")

    assert status == 1
    assert "exceeded sweep.timeout_s=0.0001" in err
    assert err.count("job 0 failed at ") == 1
    assert "Error executing job" not in err, "Hydra tells the failure a second time"
    assert "exceeded" in records.read(tmp_path / "sweep" / "0").error


def test_a_job_whose_folder_is_taken_fails_alone_and_resumes(command, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "1").write_text("not a folder")

    status, err = command("seed=0,1,2", "output_dir=sweep")

    assert status == 1
    assert "job 1 failed at check" in err
    assert "sweep/1 is a file" in err
    assert (tmp_path / "sweep" / "1").read_text() == "not a folder"
    assert complete(tmp_path / "sweep") == ["0", "2"]

    (tmp_path / "sweep" / "1").unlink()
    status, err = command("seed=0,1,2", "resume=sweep")
    assert status == 0
    assert "sweep: 1 done, 2 skipped" in err


@pytest.mark.parametrize("content", ["", "[" * 100_000], ids=["empty", "deep"])
def test_a_damaged_job_is_named_and_left_and_its_rollout_is_made_beside_it(command, tmp_path, content):
    command("seed=0,1", "output_dir=sweep")
    (tmp_path / "sweep" / "0" / "manifest.json").write_text(content)

    status, err = command("seed=0,1", "resume=sweep")

    assert status == 0
    assert "0/manifest.json cannot be read" in err
    assert [(r.name, r.status) for r in records.jobs(tmp_path / "sweep")] == [
        ("0", "damaged"),
        ("1", "done"),
        ("2", "done"),
    ]
    assert (tmp_path / "sweep" / "0" / "manifest.json").read_text() == content
    status, err = command("seed=0,1", "resume=sweep")
    assert (status, "2 skipped" in err) == (0, True)


@pytest.fixture
def sometimes(tmp_path, monkeypatch):
    """A serializer that fails for seed 2, the first time."""
    monkeypatch.setenv("LUCK", str(tmp_path / "luck"))
    with plugin_site.registered():
        yield


@pytest.mark.usefixtures("sometimes")
def test_retries_try_a_failed_job_again(command, tmp_path, monkeypatch):
    monkeypatch.setenv("LUCK_TURNS", "1")

    status, err = command("output=[sometimes]", "seed=2", "sweep.retries=1", "output_dir=sweep")

    assert status == 0, err
    assert complete(tmp_path / "sweep") == ["0"]
    assert not (tmp_path / "sweep" / "0" / "failure.json").exists()


@pytest.mark.usefixtures("sometimes")
def test_fail_fast_stops_at_the_first_failure(command, tmp_path):
    status, err = command("output=[sometimes]", "seed=1,2,3", "sweep.fail_fast=true", "output_dir=sweep")

    assert status == 1
    assert complete(tmp_path / "sweep") == ["0"]
    assert not (tmp_path / "sweep" / "2").exists()
    assert "stopped at the first failure" in err
    assert "job 1 failed at write" in err


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_sweep_that_dies_in_the_middle_goes_on_where_it_was(command, tmp_path, how):
    sweep = tmp_path / "sweep"
    words = [sys.executable, "-m", "strands_diffusers", "-m", *bare("seed=range(8)"), "output_dir=sweep"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while len(complete(sweep)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, how)
    out, _ = process.communicate(timeout=300)

    assert process.returncode != 0, out
    done, before = complete(sweep), hashes(sweep)
    assert 2 <= len(done) < 8, out
    for folder in sweep.iterdir():
        if (folder / "manifest.json").exists():
            for entry in json.loads((folder / "manifest.json").read_text())["artifacts"]:
                assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    if how is not signal.SIGKILL:
        assert not list(sweep.glob("*/.partial-*"))
        assert "Traceback" not in out

    status, err = command("seed=range(8)", f"resume={sweep}")

    assert status == 0, err
    assert f"{len(done)} skipped" in err
    assert len(complete(sweep)) == 8
    assert not list(sweep.glob("*/.partial-*"))
    assert {k: v for k, v in hashes(sweep).items() if k.split("/")[0] in done} == before


def test_a_sweep_composes_what_its_jobs_share_once(command, tmp_path, monkeypatch):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    composed, load = [], ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "load_sweep_config",
        lambda self, master, overrides: composed.append(overrides) or load(self, master, overrides),
    )

    assert command("seed=0,1,2", "output_dir=sweep")[0] == 0

    assert len(composed) == 1


def test_a_sweeper_that_chooses_as_it_goes_is_left_to_it(command, tmp_path, monkeypatch):
    """Such as Optuna's: its ranges are not jobs that could be checked before."""
    status, err = command("seed=0", "hydra/sweeper=basic", "output_dir=sweep")

    assert status == 0
    assert "jobs checked" not in err
    assert complete(tmp_path / "sweep") == ["0"]
