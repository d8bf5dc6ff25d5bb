"""What a run logged is in Trackio's database once the job is over, and nobody else's run is touched."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strands_diffusers_trackio
from PIL import Image
from strands_diffusers_trackio import TrackioTracker

from strands_diffusers import Artifact, Rollout, RunInfo, actions, testing, write_mp4
from strands_diffusers.errors import ConfigError
from strands_diffusers.records import FileEntry, Problem, Record, SampleRecord

HOME = Path(os.environ["TRACKIO_DIR"])


@pytest.fixture
def project(request):
    return f"project-{abs(hash(request.node.name)) % 10**8}"


def an_info(folder, **fields) -> RunInfo:
    config = {"seed": 3, "condition": {"mode": "policy", "chunk_size": 16}, "output": {"video": {}}}
    return RunInfo(
        **({"name": "policy-bridge-seed3", "directory": folder, "config": config, "job_type": "policy"} | fields)
    )


def a_rollout(**fields) -> Rollout:
    action = np.random.default_rng(0).normal(size=(2, 4, 10)).astype(np.float32)
    values = {"mode": "policy", "prompt": "Open it.", "seed": 3, "action": action, "space": actions.space_of("bridge")}
    return Rollout(**(values | fields))


def some_files(folder) -> list[Artifact]:
    write_mp4(folder / "video.mp4", np.zeros((3, 16, 16, 3), np.uint8), 5.0)
    Image.new("RGB", (8, 8), "red").save(folder / "timeseries.png")
    (folder / "action.json").write_text("[]")
    kinds = {"video.mp4": "video", "timeseries.png": "timeseries", "action.json": "action"}
    return [Artifact(folder / name, kind) for name, kind in kinds.items()]


def track(project, folder, rollouts, status="done", error="", problems=(), metrics=None, **info):
    tracker = TrackioTracker(TrackioTracker.Config(project=project))
    tracker.start(an_info(folder, **info))
    samples = tuple(
        SampleRecord(rollout.sample, rollout.seed, prompt=rollout.prompt, metrics=measured)
        for rollout, _, measured in rollouts
    )
    files = tuple(FileEntry(str(a.path.relative_to(folder)), a.type) for _, each, _ in rollouts for a in each)
    facts = {"samples": samples, "artifacts": files, "problems": problems, "error": error}
    mean = metrics or (rollouts[0][2] if rollouts else {})
    record = Record(folder, status, seconds={"load": 1.5, "generate": 2.0}, metrics=mean, **facts)
    if record.done:
        tracker.log(record, [rollout for rollout, _, _ in rollouts])
    tracker.finish(record)
    return tracker


def logged(project):
    """`[(run, step, metrics)]` in the order of logging, straight from the database."""
    with sqlite3.connect(HOME / f"{project}.db") as base:
        rows = base.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    return [(run, step, json.loads(metrics)) for run, step, metrics in rows]


def test_it_keeps_the_rules_of_a_plugin():
    testing.check_plugin(strands_diffusers_trackio)


def test_numbers_curves_and_media_are_in_the_database_when_finish_returns(project, tmp_path, capsys):
    rollout = a_rollout()
    measured = {"video": {"psnr": 21.5, "ssim": 0.8}}

    tracker = track(project, tmp_path, [(rollout, some_files(tmp_path), measured)])

    rows = logged(project)
    zero = {key: value for _, step, found in rows if step == 0 for key, value in found.items()}
    assert zero["metrics/video.psnr"] == 21.5
    assert (zero["seconds/load"], zero["status"]) == (1.5, "done")
    curve = {step: found["action/x/predicted"] for _, step, found in rows if "action/x/predicted" in found}
    np.testing.assert_array_equal(np.float32([curve[step] for step in range(8)]), rollout.action.reshape(8, 10)[:, 0])
    video, plot = zero["video"], zero["plots/timeseries"]
    assert video["caption"] == "Open it. · seed 3"
    assert (HOME / "media" / video["file_path"]).read_bytes() == (tmp_path / "video.mp4").read_bytes()
    assert plot["_type"] == "trackio.image"
    assert "action.json" not in str(zero)
    assert tracker.notes() == [f"Trackio: trackio show --project {project}"]
    assert capsys.readouterr().out == ""


def test_trackio_s_own_command_reads_it(project, tmp_path):
    track(project, tmp_path, [(a_rollout(), [], {})], group="sweep-7")

    command = [str(Path(sys.executable).with_name("trackio")), "list", "runs", "--project", project, "--json"]
    runs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["runs"]

    assert len(runs) == 1
    assert runs[0].startswith("policy-bridge-seed3 ")
    with sqlite3.connect(HOME / f"{project}.db") as base:
        [(text,)] = base.execute("SELECT config FROM configs").fetchall()
    config = json.loads(text)
    assert (config["condition.chunk_size"], config["seed"], config["_Group"]) == (16, 3, "sweep-7")
    assert (config["job_type"], config["folder"]) == ("policy", str(tmp_path))


def test_several_samples_are_a_table_their_videos_and_a_curve_each(project, tmp_path):
    true = np.zeros((2, 4, 10), np.float32)
    rollouts = []
    for i in range(2):
        (tmp_path / f"sample_0{i}").mkdir()
        files = some_files(tmp_path / f"sample_0{i}")
        rollouts.append((a_rollout(sample=i, seed=3 + i, reference_action=true), files, {"video": {"psnr": float(i)}}))

    track(project, tmp_path, rollouts, metrics={"video": {"psnr": 0.5}})

    found = {key: value for _, _, each in logged(project) for key, value in each.items()}
    assert found["metrics/video.psnr"] == 0.5  # the mean, as in the manifest
    rows = found["samples"]["_value"]
    assert [(row["sample"], row["seed"], row["video.psnr"]) for row in rows] == [(0, 3, 0.0), (1, 4, 1.0)]
    assert {"video/00", "video/01"} <= set(found)
    assert "plots/timeseries" not in found
    curves = {key.rpartition("/")[2] for key in found if key.startswith("action/x/")}
    assert curves == {"sample_00", "sample_01", "true"}


def test_a_job_that_is_tried_again_continues_its_run(project, tmp_path):
    for status, error in (("failed", "RolloutError: out of memory"), ("done", "")):
        track(project, tmp_path, [(a_rollout(), [], {})], status=status, error=error, id="0123456789abcdef")

    assert {run for run, _, _ in logged(project)} == {"policy-bridge-seed3 01234567"}
    assert [found["status"] for _, _, found in logged(project) if "status" in found] == ["failed", "done"]


def test_problems_are_logged_and_alerts(project, tmp_path):
    track(project, tmp_path, [(a_rollout(), [], {})], problems=(Problem("metric jerk", "ValueError: no"),))

    assert logged(project)[-1][2]["problems"] == "metric jerk: ValueError: no"
    with sqlite3.connect(HOME / f"{project}.db") as base:
        alerts = base.execute("SELECT title, text, level FROM alerts").fetchall()
    assert alerts == [("metric jerk", "ValueError: no", "warn")]


def test_a_failed_job_closes_its_run_with_the_reason(project, tmp_path):
    track(project, tmp_path, [], status="failed", error="RolloutError: out of memory")

    assert logged(project)[-1][2] | {"seconds/load": 0, "seconds/generate": 0} == {
        "status": "failed", "error": "RolloutError: out of memory", "seconds/load": 0, "seconds/generate": 0,
    }  # fmt: skip
    with sqlite3.connect(HOME / f"{project}.db") as base:
        assert base.execute("SELECT title, text, level FROM alerts").fetchall() == [
            ("rollout failed", "RolloutError: out of memory", "error")
        ]


def test_a_run_that_the_caller_has_open_stays_open(project, tmp_path):
    import trackio

    trackio.init(f"{project}-outer", name="mine", auto_log_cpu=False, auto_log_gpu=False)
    theirs = trackio.config

    track(project, tmp_path, [(a_rollout(), [], {})])

    assert trackio.config is theirs
    trackio.log({"loss": 1.0})
    trackio.finish()
    assert [found for _, _, found in logged(f"{project}-outer")] == [{"loss": 1.0}]


def test_a_missing_file_is_noted_and_loses_nothing_else(project, tmp_path):
    missing = Artifact(tmp_path / "gone.png", "timeseries")

    tracker = track(project, tmp_path, [(a_rollout(), [missing], {})])

    assert tracker.notes()[0] == f"Trackio: {tmp_path}/gone.png is not there to be shown."
    assert "action/x/predicted" in {key for _, _, found in logged(project) for key in found}


def test_sending_elsewhere_is_never_silent(project, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9/?write_token=secret")
    tracker = TrackioTracker(TrackioTracker.Config(project=project))

    tracker.start(an_info(tmp_path))
    tracker.finish(Record(tmp_path))

    assert tracker.notes()[0] == "Trackio sends this run to http://127.0.0.1:9/, as TRACKIO_SERVER_URL says."


def test_its_choice_is_typed():
    assert testing.compose("tracker=trackio", "tracker.project=mine").tracker.project == "mine"
    with pytest.raises(ConfigError, match="is not a Trackio project name"):
        testing.compose("tracker=trackio", "tracker.project=a/b")


def test_the_project_of_the_environment_counts_where_none_is_typed(monkeypatch):
    assert TrackioTracker().project == "strands-diffusers"
    monkeypatch.setenv("TRACKIO_PROJECT", "theirs")
    assert TrackioTracker().project == "theirs"


def test_loading_the_plugin_does_not_load_trackio():
    program = "import sys, strands_diffusers_trackio; sys.exit('trackio' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
