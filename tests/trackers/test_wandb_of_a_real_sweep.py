"""A sweep of the command, offline: its W&B folders are read back as `wandb sync` would upload them."""

import hashlib
import json

import pytest
from wandb_readback import isolate_wandb, read_runs

from strands_diffusers.cli import main

pytestmark = pytest.mark.slow

SWEEP = (
    "-m", "seed=3,4,5", "sampler.num_inference_steps=1", "sampler.guidance_scale=1", "tracker.mode=offline",
    "output=[video,action]", "visualizer=[timeseries]", "metric=[action]",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the finished sweep, named by Hydra; the last test changes it."""
    place = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        isolate_wandb(patch, place / "home")
        patch.chdir(place)
        with pytest.raises(SystemExit) as ended:
            main(SWEEP)
    assert not ended.value.code
    [folder] = (place / "multirun").glob("*/*")
    return folder


@pytest.mark.timeout(180)
def test_one_run_a_job_and_a_summary_run_whose_table_has_its_media(folder):
    *jobs, summary = sorted(read_runs(folder), key=lambda run: run.job_type == "sweep")

    assert [(run.job_type, run.exit_code, run.summary["status"]) for run in jobs] == [("policy", 0, "done")] * 3
    assert sorted(run.directory.relative_to(folder).parts[:2] for run in jobs) == [(n, "wandb") for n in "012"]
    assert sorted(run.config["seed"] for run in jobs) == [3, 4, 5]
    group = f"{folder.parent.name}_{folder.name}"
    assert {run.group for run in [*jobs, summary]} == {group} == {run.config["sweep_id"] for run in jobs}
    assert all(run.config["versions"]["torch"] for run in jobs)
    for run in jobs:
        [video] = run.media("video")
        assert video.read_bytes() == (folder / run.directory.relative_to(folder).parts[0] / "video.mp4").read_bytes()

    assert summary.directory.parent == folder / "wandb"
    assert (summary.exit_code, summary.summary["jobs/done"]) == (0, 3)
    rows = {row["job"]: row for row in summary.table("sweep")}
    assert {name: (row["seed"], row["status"]) for name, row in rows.items()} == {
        "0": (3, "done"), "1": (4, "done"), "2": (5, "done"),
    }  # fmt: skip
    for name, row in rows.items():
        record = json.loads((folder / name / "manifest.json").read_text())
        assert row["prompt"] == record["config"]["prompt"]
        assert row["action.mae"] == pytest.approx(record["metrics"]["action"]["mae"])
        assert row["seconds"] > 0
        recorded = {entry["path"]: entry["sha256"] for entry in record["artifacts"]}
        for column, file in (("video", "video.mp4"), ("timeseries", "timeseries.png")):
            copy = row[column]
            assert copy.is_relative_to(folder / "wandb"), "a table's media must travel with the sweep's folder"
            assert hashlib.sha256(copy.read_bytes()).hexdigest() == recorded[file]
    for run in jobs:
        assert run.name == f"seed={run.config['seed']}"
        name = run.directory.relative_to(folder).parts[0]
        [rollout] = [artifact for artifact in run.artifacts if artifact.type == "rollout"]
        assert rollout.files["manifest.json"].read_bytes() == (folder / name / "manifest.json").read_bytes()
        assert rollout.files["action.json"].read_bytes() == (folder / name / "action.json").read_bytes()


@pytest.mark.timeout(240)
def test_a_resumed_sweep_continues_the_failed_jobs_run_and_has_one_summary_run(folder):
    before = {run.directory.relative_to(folder).parts[0]: run.id for run in read_runs(folder)}
    record = json.loads((folder / "1/manifest.json").read_text())
    for path in (folder / "1").iterdir():
        if path.is_file():
            path.unlink()
    failed = record | {"status": "failed", "error": "RolloutError: out of memory", "artifacts": []}
    (folder / "1/failure.json").write_text(json.dumps(failed))

    with pytest.raises(SystemExit) as ended:
        main([*SWEEP, f"resume={folder}"])

    assert not ended.value.code
    after = read_runs(folder)
    assert {run.directory.relative_to(folder).parts[0]: run.id for run in after} == before
    assert len(after) == 4
    assert [run.summary["jobs/done"] for run in after if run.job_type == "sweep"] == [3]
