"""Real wandb, offline: what was logged is read back from the run's own files."""

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from wandb_readback import OfflineRun, read_runs
from wandb_record import record_of, video, write_artifacts

from strands_diffusers import domains
from strands_diffusers.errors import ConfigError
from strands_diffusers.records import Problem
from strands_diffusers.results import Artifact
from strands_diffusers.trackers.wandb import WandbTracker
from strands_diffusers.trackers.wandb.environment import SEAMS

METRICS = {"video": {"psnr": 31.25, "psnr_repeat_first_frame": 28.5}, "action": {"mae": 0.125}}
COLUMNS = [column.name for column in domains.get("bridge").columns]


def track(info, rollouts, artifacts, *, config=None, measured=None, mean=None, **fields) -> tuple[OfflineRun, list]:
    tracker = WandbTracker(config)
    tracker.start(info)
    measured = measured or [METRICS for _ in rollouts]
    record = record_of(info.directory, rollouts, artifacts, measured, mean=mean, **fields)
    if record.done:
        tracker.log(record, rollouts)
    tracker.finish(record)
    [run] = read_runs(info.directory)
    return run, tracker.notes()


def test_a_run_reads_back_with_its_names_and_its_whole_config(info, rollout, artifacts):
    run, _ = track(info, [rollout], artifacts, config=WandbTracker.Config(tags=["mine"], notes="why"))

    assert (run.name, run.group, run.job_type) == (info.name, info.group, "policy")
    assert (run.project, run.notes) == ("strands-diffusers", "why")
    assert set(run.tags) == {"bridge", "demo", "mine"}
    assert {key: value for key, value in run.config.items() if key != "_wandb"} == info.config


def test_long_work_logs_its_numbers_and_videos_step_by_step(info, artifacts):
    tracker = WandbTracker()
    tracker.start(info)
    [shown] = [artifact.path for artifact in artifacts if artifact.path.name == "video.mp4"]
    for step in (100, 200):
        tracker.progress(step, {"held_out/policy/video": 1.0 / step}, {"rollouts/0": shown})
    tracker.finish(record_of(info.directory, [], []))

    [run] = read_runs(info.directory)
    assert [(row["step"], row["held_out/policy/video"]) for row in run.history if "step" in row] == [
        (100, 0.01),
        (200, 0.005),
    ]
    assert len(run.media("rollouts/0")) == 2


def test_the_run_lies_in_the_jobs_wandb_folder_and_nothing_in_the_home_folder(info, rollout, artifacts, home):
    run, _ = track(info, [rollout], artifacts)

    assert run.directory.parent == info.directory / "wandb"
    assert [path for path in home.rglob("*") if path.is_file() and path.suffix != ".log"] == []


def test_videos_pictures_and_sound_stand_under_their_keys_byte_for_byte(info, rollout, artifacts):
    run, _ = track(info, [rollout], artifacts)

    shown = {"video": "video.mp4", "sound": "sound.wav"}
    shown |= {"plots/timeseries": "timeseries.png", "plots/animation": "animation.mp4"}
    for key, name in shown.items():
        [copy] = run.media(key)
        assert copy.read_bytes() == (info.directory / name).read_bytes(), key
        assert not copy.is_symlink()
    assert run.values("video")[0]["caption"] == "Put the pot to the left. · seed 3"


def test_several_images_are_one_gallery(info, rollout, artifacts):
    picture = next(artifact.path for artifact in artifacts if artifact.path.suffix == ".png")

    run, _ = track(info, [rollout], [Artifact(picture, "image"), Artifact(picture, "image")])

    assert len(run.media("image")) == 2
    assert all(path.is_file() for path in run.media("image"))


def test_the_action_table_names_every_dimension_and_keeps_float32_exactly(info, rollout, artifacts):
    run, _ = track(info, [rollout], artifacts)

    rows = run.table("action/table")
    assert list(rows[0]) == ["line", "step", "chunk", *COLUMNS]
    assert [(row["line"], row["step"], row["chunk"]) for row in rows] == [("predicted", t, t // 4) for t in range(8)]
    values = np.float32([[row[column] for column in COLUMNS] for row in rows])
    np.testing.assert_array_equal(values, rollout.action.reshape(8, 10))


def test_predicted_and_true_actions_of_a_column_are_lines_of_one_panel(info, rollout, artifacts):
    run, _ = track(info, [dataclasses.replace(rollout, reference_action=rollout.action[:1] + 1)], artifacts)

    assert set(run.charts) == {f"action/{column}" for column in COLUMNS}
    for column in COLUMNS:
        expected = {"table": "action/table", "preset": "wandb/line/v0", "x": "step", "y": column, "stroke": "line"}
        assert run.charts[f"action/{column}"] == expected
    lines = {line: [r["x"] for r in run.table("action/table") if r["line"] == line] for line in ("predicted", "true")}
    assert lines["predicted"] == rollout.action[..., 0].ravel().tolist()
    assert lines["true"] == (rollout.action[0, :, 0] + 1).tolist()
    assert [key for key in run.keys if key.startswith("action")] == ["action/table"]  # no panel of a single line


def test_a_forward_dynamics_rollout_shows_the_given_actions(info, rollout, artifacts):
    forward = dataclasses.replace(rollout, action=None, given_action=rollout.action)

    run, _ = track(info, [forward], artifacts)

    assert [(row["line"], row["step"]) for row in run.table("action/table")] == [("given", t) for t in range(8)]
    assert "action/gripper" in run.charts


def test_a_job_without_actions_has_no_action_panel(info, rollout, artifacts):
    run, notes = track(info, [dataclasses.replace(rollout, action=None, space=None)], artifacts)

    assert run.charts == {}
    assert "action/table" not in run.keys
    assert len(notes) == 1


def test_metrics_and_seconds_have_a_key_each(info, rollout, artifacts):
    run, _ = track(info, [rollout], artifacts, seconds={"save": 0.5, "stages": {"denoise": 1.5}})

    for source in (run.summary, {key: run.values(key)[0] for key in run.keys}):
        assert source["metrics/video.psnr"] == 31.25
        assert source["metrics/video.psnr_repeat_first_frame"] == 28.5
        assert source["metrics/action.mae"] == 0.125
        assert source["seconds/denoise"] == 1.5
        assert source["seconds/save"] == 0.5


@pytest.fixture
def eight(info, rollout):
    """Eight samples of one job, their files, what was measured of each, and the mean."""
    samples = [dataclasses.replace(rollout, sample=i, seed=3 + i, action=rollout.action + i) for i in range(8)]
    files = [Artifact(video(info.directory / "grid.mp4", 20), "grid")]
    for i in range(8):
        (info.directory / f"sample_{i:02d}").mkdir()
        files += write_artifacts(info.directory / f"sample_{i:02d}", shade=i)
    measured = [{"video": {"psnr": 30.0 + i}} for i in range(8)]
    return samples, files, measured, {"video": {"psnr": 33.5}}


def test_eight_samples_are_one_table_and_one_grid_and_no_key_of_their_own(info, eight):
    samples, files, measured, mean = eight

    run, notes = track(info, samples, files, measured=measured, mean=mean)

    assert run.keys == {"samples", "action/table", "plots/grid", "metrics/video.psnr"}
    rows = run.table("samples")
    assert [(row["sample"], row["seed"], row["video.psnr"]) for row in rows] == [(i, 3 + i, 30.0 + i) for i in range(8)]
    for i, row in enumerate(rows):
        assert row["video"].read_bytes() == (info.directory / f"sample_{i:02d}" / "video.mp4").read_bytes()
    assert len(notes) == 1


def test_the_metrics_of_several_samples_are_the_manifests_mean(info, eight):
    samples, files, measured, mean = eight

    run, _ = track(info, samples, files, measured=measured, mean=mean)

    assert run.values("metrics/video.psnr") == [33.5]


def test_every_sample_is_a_line_of_its_columns_panel_and_the_truth_is_there_once(info, eight):
    true = eight[0][0].action * 0
    samples = [dataclasses.replace(sample, reference_action=true) for sample in eight[0]]

    run, _ = track(info, samples, [])

    lines = [row["line"] for row in run.table("action/table") if row["step"] == 0]
    assert lines == [*(f"sample {i}" for i in range(8)), "true"]


def test_the_manifest_and_the_action_files_are_an_artifact_of_the_run(info, rollout, artifacts):
    (info.directory / "manifest.json").write_text('{"hash": "0123"}')

    run, _ = track(info, [rollout], artifacts, hash="0123")

    [found] = [artifact for artifact in run.artifacts if artifact.type == "rollout"]
    assert found.name == f"rollout-{run.id}"
    assert {name: path.read_text() for name, path in found.files.items()} == {
        "manifest.json": '{"hash": "0123"}',
        "action.json": "[]",
    }
    assert run.summary["hash"] == "0123"


def test_a_runs_problems_are_in_its_summary_and_among_its_tags(info, rollout, artifacts):
    problems = (Problem("metric jerk", "ValueError: no"), Problem("visualizer path", "TypeError: None"))

    run, _ = track(info, [rollout], artifacts, problems=problems)

    assert run.summary["problems"] == ["metric jerk: ValueError: no", "visualizer path: TypeError: None"]
    assert set(run.tags) == {"bridge", "demo", "problems", "failed: metric jerk", "failed: visualizer path"}
    assert (run.exit_code, run.summary["status"]) == (0, "done")


def test_a_run_without_problems_says_so(info, rollout, artifacts):
    run, _ = track(info, [rollout], artifacts)

    assert run.summary["problems"] == []
    assert "problems" not in run.tags


def test_a_job_that_is_tried_again_continues_its_run_and_no_failed_one_stays_beside_it(info, rollout, artifacts):
    again = dataclasses.replace(info, id="0123456789abcdef")
    failed, _ = track(again, [], [], status="failed", error="RolloutError: out of memory")

    run, _ = track(again, [rollout], artifacts)  # reads back one run

    assert failed.id == run.id == "0123456789abcdef"
    assert (run.summary["status"], run.summary["error"]) == ("done", None)


def test_a_finished_job_ends_with_exit_code_0(info, rollout, artifacts):
    run, _ = track(info, [rollout], artifacts)

    assert (run.exit_code, run.summary["status"], run.summary["error"]) == (0, "done", None)


def test_a_failed_job_ends_with_exit_code_1_and_its_error(info):
    run, _ = track(info, [], [], status="failed", error="RolloutError: out of memory")

    assert (run.exit_code, run.summary["status"]) == (1, "failed")
    assert run.summary["error"] == "RolloutError: out of memory"


def test_the_sync_line_can_be_pasted(info, rollout, artifacts):
    run, notes = track(info, [rollout], artifacts)

    assert notes == [f"W&B run kept on disk. Upload it with: wandb sync '{run.directory}'"]  # the folder has a space


def test_eight_jobs_of_one_process_are_eight_closed_runs(another, rollout):
    import wandb

    jobs = [another(f"job_{i}") for i in range(8)]
    for job in jobs:
        run, _ = track(job, [rollout], [])
        assert run.exit_code == 0

    assert len({read_runs(job.directory)[0].id for job in jobs}) == 8
    assert wandb.run is None


def test_the_callers_own_live_run_is_left_alone(info, rollout, artifacts, tmp_path):
    import wandb

    (tmp_path / "own").mkdir()
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    with wandb.init(project="theirs", mode="offline", dir=tmp_path / "own", settings=settings) as own:
        own.log({"loss": 1.0})
        ours, _ = track(info, [rollout], artifacts)
        assert wandb.run is own
        own.log({"loss": 0.5})

    [theirs] = read_runs(tmp_path / "own")
    assert theirs.values("loss") == [1.0, 0.5]
    assert theirs.keys == {"loss"}
    assert "loss" not in ours.keys


def test_it_works_from_a_worker_thread(info, rollout, artifacts):
    results = []
    thread = threading.Thread(target=lambda: results.append(track(info, [rollout], artifacts)))
    thread.start()
    thread.join()

    assert results[0][0].exit_code == 0


def test_jobs_in_threads_keep_their_tables_in_their_own_folders(another, rollout):
    jobs = [another(f"job_{i}") for i in range(4)]
    threads = [threading.Thread(target=track, args=(job, [rollout], [])) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for job in jobs:
        [run] = read_runs(job.directory)
        paths = [path for artifact in run.artifacts for path in artifact.files.values()]
        assert paths
        assert all(path.is_file() and path.is_relative_to(run.directory) for path in paths)


def test_the_environment_is_as_before(info, rollout, artifacts):
    before = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    track(info, [rollout], artifacts)

    assert {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} == before


def test_a_data_folder_that_the_user_chose_is_used(info, rollout, artifacts, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "chosen"))

    run, _ = track(info, [rollout], artifacts)

    paths = [path for artifact in run.artifacts for path in artifact.files.values()]
    assert paths
    assert all(path.is_relative_to(tmp_path / "chosen") for path in paths)


def test_a_picture_that_cannot_be_read_is_noted_and_the_rest_is_logged(info, rollout, artifacts):
    next(artifact.path for artifact in artifacts if artifact.path.suffix == ".png").write_bytes(b"no picture")
    next(artifact.path for artifact in artifacts if artifact.type == "animation").unlink()

    run, notes = track(info, [rollout], artifacts)

    assert {"video", "sound", "action/table", "metrics/video.psnr"} <= run.keys
    assert any(note.startswith("W&B could not show plots/timeseries: ") for note in notes)
    assert any(note.startswith("W&B could not show plots/animation: ") for note in notes)
    assert run.exit_code == 0


def test_an_action_that_is_not_its_domains_is_noted_and_the_rest_is_logged(info, rollout, artifacts):
    run, notes = track(info, [dataclasses.replace(rollout, action=rollout.action[..., :7])], artifacts)

    assert "video" in run.keys
    assert any(note.startswith("W&B could not log the action: ") for note in notes)


def test_a_run_that_cannot_be_opened_is_noted_and_the_job_goes_on(info, rollout, artifacts):
    (info.directory / "wandb").write_text("not a folder")
    tracker = WandbTracker()
    tracker.start(info)
    record = record_of(info.directory, [rollout], artifacts, [METRICS])
    tracker.log(record, [rollout])
    tracker.finish(record)

    assert any(note.startswith("W&B could not open a run: ") for note in tracker.notes())


def test_long_names_are_cut_to_what_the_server_takes(info):
    long = dataclasses.replace(info, name="n" * 300, tags=("t" * 100, ""))

    run, notes = track(long, [], [])

    assert (run.name, run.tags) == ("n" * 128, ["t" * 64])
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"init_timeout_s": 0.0}, "tracker.init_timeout_s must be > 0 seconds"),
        ({"upload_timeout_s": float("nan")}, "tracker.upload_timeout_s must be > 0 seconds"),
        ({"project": "a/b"}, "'a/b' is not a W&B project name"),
        ({"project": ""}, "is not a W&B project name"),
        ({"tags": ["x" * 65]}, "a W&B tag has 1 to 64 characters"),
    ],
)
def test_wrong_options_are_refused(wrong, says):
    with pytest.raises(ConfigError, match=says):
        WandbTracker.Config(**wrong)


def test_the_media_survive_a_move(info, rollout, artifacts, tmp_path):
    track(info, [rollout], artifacts)

    moved = info.directory.rename(tmp_path / "elsewhere")

    [run] = read_runs(moved)
    for key in ("video", "sound", "plots/timeseries", "plots/animation", "action/table"):
        assert all(path.is_file() and path.is_relative_to(moved) for path in run.media(key)), key


def test_importing_the_tracker_leaves_wandb_alone():
    code = "import sys, strands_diffusers.trackers.wandb as m; m.WandbTracker(); sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


@pytest.mark.parametrize("name", SEAMS)
def test_the_name_that_wandbs_reference_does_not_promise_is_still_there(name):
    import importlib

    module, *attributes = name.split(".")
    found = importlib.import_module(module)
    for at, attribute in enumerate(attributes, 1):
        if not hasattr(found, attribute):
            importlib.import_module(".".join([module, *attributes[:at]]))
        found = getattr(found, attribute)
