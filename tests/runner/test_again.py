"""Finished jobs are measured and drawn again from their files; what made a rollout is apart from what is made of it."""

import json

import pytest
from bare import bare

from strands_diffusers import records, rollout
from strands_diffusers.cli import main
from strands_diffusers.errors import ConfigError, ReportError
from strands_diffusers.pipelines import loader
from strands_diffusers.runner import again, folders


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        return int(caught.value.code or 0), capfd.readouterr().err

    return run


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.setattr(loader, "load", lambda *a: pytest.fail("a model was loaded"))


def test_a_changed_metric_or_picture_generates_nothing(command, tmp_path, monkeypatch):
    wide = ("output=[video,action]", "seed=0,1")
    assert command("-m", *bare(*wide), "output_dir=sweep")[0] == 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("sweep/*/video.mp4")}
    monkeypatch.setattr(loader, "load", lambda *a: pytest.fail("a model was loaded"))

    more = bare(*wide, "metric=[video,action]", "visualizer=[timeseries]")
    status, err = command("-m", *more, "resume=sweep")

    assert status == 0, err
    assert "sweep: 0 done, 2 skipped" in err
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("sweep/*/video.mp4")} == before
    assert sorted(p.name for p in (tmp_path / "sweep").iterdir() if p.is_dir()) == ["0", "1"]
    for record in records.jobs(tmp_path / "sweep"):
        assert record.metrics["video"]["psnr"] > 5
        assert record.file("timeseries").is_file()
        assert [event["what"] for event in record.history] == ["generated", "measured", "drawn"]
        assert record.whole()


def test_measure_and_redraw_work_on_a_job_and_are_resumable(command, tmp_path):
    rollout(*bare("output=[video,action]"), output_dir=tmp_path / "job")
    rollout(*bare("output=[video,action]", "seed=1"), output_dir=tmp_path / "other")

    status, err = command("measure", "job", "other", "metric=[video]", "--workers", "1")
    assert status == 0
    assert "measure: 2 done" in err
    status, err = command("measure", "job", "--workers", "1", "other", "metric=[video]")  # flags stand anywhere
    assert "measure: 2 skipped" in err
    status, err = command("redraw", "job", "visualizer=[timeseries]", "--workers", "1")
    assert status == 0
    assert (tmp_path / "job" / "timeseries.png").is_file()
    record = records.read(tmp_path / "job")
    assert record.history[1] == {**record.history[1], "what": "measured", "metric": ["video"]}


def test_measuring_again_from_python_loads_no_model(tmp_path, no_model, monkeypatch):
    monkeypatch.undo()
    rollout(*bare("output=[video,action]"), output_dir=tmp_path)
    monkeypatch.setattr(loader, "load", lambda *a: pytest.fail("a model was loaded"))

    [found] = again.measure([tmp_path], "metric=[action]", workers=1)

    assert (found.status, set(found.record.metrics)) == ("done", {"action"})


def test_a_changed_file_is_named_and_the_others_go_on(command, tmp_path):
    for name in ("a", "b"):
        rollout(*bare(f"seed={ord(name)}"), output_dir=tmp_path / name)
    (tmp_path / "a" / "action.json").write_text("[]")

    status, err = command("measure", "a", "b", "metric=[action]", "--workers", "1")

    assert status == 1
    assert "measure: 1 done, 1 failed" in err
    assert "a: " in err
    assert "has changed since the job finished" in err


def test_a_damaged_job_is_named_and_the_others_are_measured(command, tmp_path):
    for name in ("0", "1"):
        rollout(*bare(f"seed={name}"), output_dir=tmp_path / "sweep" / name)
    (tmp_path / "sweep" / "0" / "manifest.json").write_text("{")

    status, err = command("measure", "sweep", "metric=[action]", "--workers", "1")

    assert status == 1
    assert "0/manifest.json cannot be read" in err
    assert "measure: 1 done, 1 failed" in err


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_a_finished_job_is_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError):
        again.measure([tmp_path / folder])


def test_a_wrong_metric_is_refused(tmp_path):
    rollout(*bare(), output_dir=tmp_path)
    with pytest.raises(ConfigError, match="metric=jerk is not a choice"):
        again.measure([tmp_path], "metric=[jerk]")


def test_equal_jobs_of_a_sweep_are_one_rollout_and_two_rows(command, tmp_path):
    status, err = command("-m", *bare("sampler.guidance_scale=1,1.0"), "output_dir=sweep")

    assert status == 0
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["jobs"]
    assert [(row["name"], row["status"], row["same_as"]) for row in rows] == [("0", "done", None), ("1", "done", "0")]
    status, err = command("-m", *bare("sampler.guidance_scale=1,1.0"), "resume=sweep")
    assert status == 0
    assert "not begun" not in err


def test_a_second_sweep_into_a_used_folder_takes_new_numbers(command, tmp_path):
    command("-m", *bare("seed=0,1"), "output_dir=sweep")
    first = records.jobs(tmp_path / "sweep")

    status, err = command("-m", *bare("seed=2"), "output_dir=sweep")

    assert status == 0
    assert "sweep: 1 done, 2 earlier" in err
    assert [record.name for record in records.jobs(tmp_path / "sweep")] == ["0", "1", "2"]
    assert records.jobs(tmp_path / "sweep")[:2] == first


def test_a_resumed_sweep_says_once_how_many_jobs_are_new_and_in_what_one_of_them_differs(command, tmp_path):
    command("-m", *bare("seed=0,1"), "output_dir=sweep")

    status, err = command("-m", *bare("seed=2,3"), "resume=sweep")

    assert status == 0
    [line] = [line for line in err.splitlines() if "differs from" in line]
    assert "2 of 2 jobs are not finished there, and run: job 0 differs" in line
    assert line.endswith("in seed 0 -> 2")


def test_two_sweeps_at_once_do_not_share_a_folder(command, tmp_path):
    with folders.claimed(tmp_path / "sweep", "sweep"):
        status, err = command("-m", *bare("seed=0,1"), "output_dir=sweep")

    assert status == 2
    assert "in use by another sweep (process" in err
    assert not list((tmp_path / "sweep").iterdir())


def test_no_escape_of_a_terminal_comes_out_of_a_record(command, tmp_path, monkeypatch, capfd):
    command("-m", *bare("seed=0,1", "metric=[action]"), "output_dir=sweep")
    evil = "\x1b]0;evil\x07\x9b31m"
    for name in ("0", "1"):
        path = tmp_path / "sweep" / name / "manifest.json"
        value = json.loads(path.read_text())
        value["identity"]["prompt"] = value["overrides"][0] = evil
        value["problems"] = [{"what": f"metric {evil}", "error": evil}]
        path.write_text(json.dumps(value if name == "0" else {**value, "status": evil}))

    said = [
        command(*words)[1]
        for words in (
            ("report", "sweep"), ("measure", "sweep", "--workers", "1"), ("measure", "sweep", "metric=[video]"),
            ("-m", *bare("seed=2"), "resume=sweep"), ("-m", *bare("prompt=Push.", "seed=0"), "resume=sweep"),
        )
    ]  # fmt: skip

    assert "\\x1b]0;evil\\x07" in "".join(said)
    assert not {"\x1b", "\x07", "\x9b"} & {*"".join(said)}


def test_resume_without_m_is_refused(command):
    status, err = command(*bare("resume=last"))

    assert status == 2
    assert "add -m" in err


def test_two_jobs_with_one_folder_do_not_overwrite_each_other(command, tmp_path):
    status, err = command("-m", *bare("seed=0,1"), "hydra.sweep.subdir=same", "output_dir=sweep")

    assert status == 1
    assert "job 1 failed" in err
    assert "holds another finished job" in err
    assert "failure.json" not in err, "there is none: the folder is the first job's"
    assert records.read(tmp_path / "sweep" / "same").seed == 0
