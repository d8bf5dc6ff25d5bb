"""The summary run of a sweep, read back from its own files."""

import dataclasses
import json
import subprocess

import pytest
from PIL import Image
from wandb_readback import read_runs
from wandb_record import video

from strands_diffusers.records import FileEntry, Problem, Record, SampleRecord
from strands_diffusers.results import RunInfo
from strands_diffusers.trackers.wandb import WandbTracker

FILES = (FileEntry("video.mp4", "video"), FileEntry("timeseries.png", "timeseries"))


def a_job(directory, seed, **fields):
    """A finished job of two, with its files on disk."""
    directory.mkdir(parents=True)
    Image.new("RGB", (40, 30), "teal").save(directory / "timeseries.png")
    video(directory / "video.mp4", shade=50 + seed)
    values = {
        "overrides": (f"seed={seed}", "domain=bridge", "output_dir=sweep"),
        "config": {"prompt": "left", "seed": seed},
    }
    values |= {"samples": (SampleRecord(prompt="left"),), "artifacts": FILES, "seconds": {"generate": 2.5}}
    return Record(directory, **(values | {"metrics": {"video": {"psnr": 30.5 + seed}}} | fields))


@pytest.fixture
def records(tmp_path):
    done = [a_job(tmp_path / "sweep" / str(seed), seed) for seed in (0, 1)]
    fields = {"overrides": ("seed=two", "domain=bridge", "resume=sweep"), "config": {"prompt": "left"}}
    return [*done, Record(tmp_path / "sweep" / "2", "failed", error="RolloutError: out of memory", **fields)]


@pytest.fixture
def info(tmp_path):
    config = {"shared": {"domain": "bridge"}}
    return RunInfo("the sweep summary", tmp_path / "sweep", config, "sweep", "the sweep", id="00112233aabbccdd")


@pytest.fixture
def summary(info, records):
    notes = WandbTracker().summarize(info, records)
    [run] = read_runs(info.directory)
    return run, notes


def test_the_summary_run_stands_in_the_sweeps_group(summary, info):
    run, notes = summary

    assert (run.job_type, run.group, run.name) == ("sweep", "the sweep", "the sweep summary")
    assert run.config["shared"] == {"domain": "bridge"}
    assert run.directory.parent == info.directory / "wandb"
    [note] = notes
    assert note.startswith("W&B runs kept on disk. Upload them with: wandb sync ")


def test_the_sync_line_of_a_sweep_names_the_runs_of_its_jobs_too(info, records):
    for record in records[:2]:
        tracker = WandbTracker()
        tracker.start(dataclasses.replace(info, directory=record.directory, id=""))
        tracker.finish(record)

    [note] = WandbTracker().summarize(info, records)

    command = note.partition("Upload them with: ")[2].replace("wandb sync", "printf '%s\n'")
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    folders = [path.parent for path in info.directory.rglob("run-*.wandb")]
    assert len(folders) == 3
    assert sorted(printed.splitlines()) == sorted(map(str, folders))


def test_a_row_says_what_was_swept_what_came_out_and_what_failed(summary):
    rows = summary[0].table("sweep")

    assert list(rows[0]) == [
        *("job", "status", "seed", "prompt", "video", "timeseries", "video.psnr", "seconds", "problems", "error")
    ]
    assert [(row["job"], row["status"], row["seed"]) for row in rows] == [
        *(("0", "done", 0), ("1", "done", 1), ("2", "failed", "two"))
    ]
    assert [row["video.psnr"] for row in rows] == [30.5, 31.5, None]
    assert [row["error"] for row in rows] == [None, None, "RolloutError: out of memory"]
    assert rows[2]["video"] is None


def test_the_tables_media_lie_in_the_sweeps_folder(summary, records, info):
    for row, record in zip(summary[0].table("sweep")[:2], records, strict=False):
        for name in ("video.mp4", "timeseries.png"):
            copy = row[name.partition(".")[0]]
            assert copy.read_bytes() == (record.directory / name).read_bytes()
            assert copy.is_relative_to(info.directory / "wandb")


def test_the_summary_counts_the_jobs_and_fails_with_them(summary):
    run, _ = summary

    assert (run.summary["jobs/done"], run.summary["jobs/failed"]) == (2, 1)
    assert (run.exit_code, run.summary["status"], run.summary["error"]) == (1, "failed", "1 of 3 jobs failed")


def test_a_resumed_sweep_has_one_summary_run_which_tells_the_latest(summary, info, records):
    WandbTracker().summarize(info, records[:2])

    [run] = read_runs(info.directory)
    assert run.id == summary[0].id == info.id
    assert (run.exit_code, run.summary["status"], run.summary["jobs/done"]) == (0, "done", 2)


def test_a_jobs_problems_are_in_its_row(info, tmp_path):
    jobs = [a_job(tmp_path / "sweep" / "0", 0, problems=(Problem("metric jerk", "ValueError: no"),))]

    WandbTracker().summarize(info, jobs)

    [run] = read_runs(info.directory)
    assert run.table("sweep")[0]["problems"] == "metric jerk: ValueError: no"


def test_a_video_that_is_gone_is_a_note_and_an_empty_cell(info, records):
    gone = records[0].directory / "video.mp4"
    gone.unlink()

    notes = WandbTracker().summarize(info, records)

    assert notes[0] == f"W&B could not show video: {gone} is not there"
    videos = [row["video"] for row in read_runs(info.directory)[0].table("sweep")]
    assert videos[0] is None
    assert videos[1].is_file()


def test_verdicts_and_tables_of_the_sweep_stand_in_its_summary_run(info, records):
    verdict = {"name": "seed_spread", "verdict": "seeds matter", "holds": None, "numbers": {"a": 1.5, "b": {"c": 2}}}
    table = {"name": "evaluation: video", "columns": ["value", "mean"], "rows": [["psnr", 21.5]], "note": ""}
    Image.new("RGB", (40, 30), "teal").save(info.directory / "horizon.png")
    picture = {"name": "error along the horizon", "path": "horizon.png"}
    whole = {"schema_version": 2, "verdicts": [verdict], "tables": [table], "pictures": [picture]}
    (info.directory / "sweep.json").write_text(json.dumps(whole))

    WandbTracker().summarize(info, records)

    [run] = read_runs(info.directory)
    values = {key: run.summary[f"verdict/seed_spread{key}"] for key in ("", "/a", "/b.c")}
    assert values == {"": "seeds matter", "/a": 1.5, "/b.c": 2}
    assert run.table("evaluation/video") == [{"value": "psnr", "mean": 21.5}]
    [shown] = run.media("plots/horizon")
    assert shown.read_bytes() == (info.directory / "horizon.png").read_bytes()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"tables": [{"name": 3}]}', '{"verdicts": {"a": 1}}', '{"pictures": 7}']
)
def test_a_damaged_sweep_json_costs_the_summary_nothing_else(info, records, text):
    (info.directory / "sweep.json").write_text(text)

    notes = WandbTracker().summarize(info, records)

    assert notes[0].startswith("W&B could not log what sweep.json says: ")
    [run] = read_runs(info.directory)
    assert len(run.table("sweep")) == 3
    assert len(notes) == 2
