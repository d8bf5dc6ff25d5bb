"""The summary run of a sweep, read back from its own files."""

import json

import pytest
from PIL import Image
from wandb_readback import read_runs

from strands_diffusers.records import Record
from strands_diffusers.trackers.wandb_sweep import SweepRow, log_sweep, rows_of


@pytest.fixture
def rows(tmp_path, film):
    done = []
    for seed in (0, 1):
        job = tmp_path / "jobs" / str(seed)
        job.mkdir(parents=True)
        Image.new("RGB", (40, 30), "teal").save(job / "timeseries.png")
        done.append(
            SweepRow(
                f"job {seed}",
                "done",
                {"seed": seed, "prompt": "left", "domain": "bridge"},
                "left",
                film(job / "video.mp4", shade=50 + seed),
                job / "timeseries.png",
                {"video": {"psnr": 30.5 + seed}},
                seconds=2.5,
            )
        )
    failed = SweepRow("job 2", "failed", {"seed": "two"}, "left", error="RolloutError: out of memory")
    return [*done, failed]


@pytest.fixture
def sweep(tmp_path, rows):
    directory = tmp_path / "2026-11-22" / "10-00-00"
    directory.mkdir(parents=True)
    notes = log_sweep(rows, directory, {"sweep": {"retries": 0}}, group="the sweep")
    [run] = read_runs(directory)
    return run, notes, directory


def content(run):
    """The table as the artifact holds it, with its media; the plain file says only `Video`."""
    [artifact] = run.artifacts
    return json.loads(artifact.files["sweep.table.json"].read_text()), artifact.files


def test_the_summary_run_stands_in_the_sweeps_group(sweep):
    run, notes, directory = sweep

    assert (run.job_type, run.group, run.config["sweep"]) == ("sweep", "the sweep", {"retries": 0})
    assert notes == [f"W&B run kept on disk. Upload it with: wandb sync {run.directory}"]
    assert run.directory.parent == directory / "wandb"


def test_a_row_says_what_was_swept_what_came_out_and_what_failed(sweep):
    run, _, _ = sweep
    table, _ = content(run)

    assert table["columns"] == [
        *("job", "status", "seed", "domain", "prompt", "video", "timeseries", "video.psnr", "seconds", "error")
    ]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["seed"] for row in rows] == [0, 1, "two"]
    assert [row["video.psnr"] for row in rows] == [30.5, 31.5, None]
    assert rows[2]["error"] == "RolloutError: out of memory"
    assert rows[2]["video"] is None


def test_the_tables_media_lie_in_the_sweeps_folder(sweep, rows):
    run, _, directory = sweep
    table, files = content(run)

    for row, expected in zip(table["data"][:2], rows, strict=False):
        cells = dict(zip(table["columns"], row, strict=True))
        for column, path in (("video", expected.video), ("timeseries", expected.timeseries)):
            copy = files[cells[column]["path"]]
            assert copy.read_bytes() == path.read_bytes()
            assert copy.is_relative_to(directory)


def test_a_resumed_sweep_has_no_column_for_its_folder(tmp_path):
    first = Record(tmp_path / "0", overrides=("seed=1", "output_dir=sweep"))
    again = Record(tmp_path / "1", overrides=("seed=2", "resume=sweep"))

    assert [row.overrides for row in rows_of([first, again])] == [{"seed": "1"}, {"seed": "2"}]


def test_the_summary_counts_the_jobs_and_fails_with_them(sweep):
    run, _, _ = sweep

    assert (run.summary["jobs/done"], run.summary["jobs/failed"]) == (2, 1)
    assert (run.exit_code, run.summary["status"], run.summary["error"]) == (1, "failed", "1 of 3 jobs failed")


def test_a_film_that_is_gone_is_a_note_and_an_empty_cell(tmp_path, rows):
    rows[0].video.unlink()
    directory = tmp_path / "sweep"
    directory.mkdir()

    notes = log_sweep(rows, directory, {})

    assert notes[0] == f"W&B could not show video: {rows[0].video} is not there"
    table, _ = content(read_runs(directory)[0])
    films = [row[table["columns"].index("video")] for row in table["data"]]
    assert films[0] is None
    assert films[1]["_type"] == "video-file"


def test_verdicts_and_tables_of_the_sweep_stand_in_its_summary_run(tmp_path, rows):
    directory = tmp_path / "sweep"
    directory.mkdir()
    verdict = {"name": "seed_spread", "verdict": "seeds matter", "holds": None, "numbers": {"a": 1.5, "b": {"c": 2}}}
    table = {"name": "evaluation: video", "columns": ["value", "mean"], "rows": [["psnr", 21.5]], "note": ""}
    Image.new("RGB", (40, 30), "teal").save(directory / "horizon.png")
    picture = {"name": "error along the horizon", "path": "horizon.png"}
    (directory / "sweep.json").write_text(json.dumps({"verdicts": [verdict], "tables": [table], "pictures": [picture]}))

    log_sweep(rows, directory, {})

    [run] = read_runs(directory)
    summary = {key: run.summary[f"verdict/seed_spread{key}"] for key in ("", "/a", "/b.c")}
    assert summary == {"": "seeds matter", "/a": 1.5, "/b.c": 2}
    assert run.summary["evaluation/video"]["_type"] == "table-file"
    shown = run.summary["plots/horizon"]
    assert shown["_type"] == "image-file"
    assert (run.directory / "files" / shown["path"]).read_bytes() == (directory / "horizon.png").read_bytes()
