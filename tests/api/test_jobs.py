import shutil
from pathlib import Path

import pytest

from strands_diffusers import records
from strands_diffusers.api.access import Access
from strands_diffusers.api.tool import perform, use_diffusers

pytestmark = [pytest.mark.timeout(240)]

QUICK = {"condition": "policy", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The artifacts' folder of a process that made one job, without metrics or pictures."""
    folder = tmp_path_factory.mktemp("made") / "artifacts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRANDS_DIFFUSERS_ARTIFACTS", str(folder))
        reply = use_diffusers("rollout", parameters=QUICK)
    assert reply["status"] == "success", reply
    return folder


@pytest.fixture
def job(made: Path, artifacts: Path) -> Path:
    """The job's folder, free to be changed."""
    shutil.copytree(made, artifacts)
    [manifest] = artifacts.rglob("manifest.json")
    return manifest.parent


def test_a_rollout_is_logged_nowhere_unless_a_tracker_is_named(job: Path) -> None:
    assert not records.read(job).config["tracker"]
    assert not list(job.parent.rglob("wandb"))


def test_a_finished_job_is_measured_redrawn_and_reported_without_a_model(use, refused, job: Path, monkeypatch) -> None:
    from strands_diffusers.pipelines import loader

    monkeypatch.setattr(loader, "load", None)  # a call would raise
    measured = use("measure", inputs=str(job), parameters={"metric": ["video"]})
    assert measured["status"] == "success", measured
    [row] = measured["data"]
    assert row["status"] == "done"
    assert "video" in row["metrics"]
    assert records.read(job).metrics.keys() == row["metrics"].keys()
    again = use("measure", inputs=str(job), parameters={"metric": "video"})
    assert again["data"][0]["status"] == "skipped"
    drawn = use("redraw", inputs=[str(job)], parameters={"visualizer": ["timeseries"]})
    assert drawn["data"] == [{"directory": str(job), "status": "done"}]
    assert records.read(job).file("timeseries").is_file()
    page = use("report", inputs=str(job))
    [path] = page["artifacts"]
    assert Path(path).parent == job
    assert "Did you mean 'metric'" in refused("measure", inputs=str(job), parameters={"metrics": ["video"]})


@pytest.mark.parametrize("verb", ["measure", "redraw", "report"])
def test_what_is_no_job_is_one_line(refused, tmp_path: Path, verb: str) -> None:
    assert "inputs=FOLDER" in refused(verb)
    assert "inputs=FOLDER" in refused(verb, inputs=[])
    assert "inputs=FOLDER" in refused(verb, inputs={"a": 1})
    assert "is no folder" in refused(verb, inputs=str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused(verb, inputs=str(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["no_such", "video,x", "[x]", "${oc.env:HOME}", "a=b", 3])
def test_names_of_metrics_are_names(refused, job: Path, name) -> None:
    assert "metric" in refused("measure", inputs=str(job), parameters={"metric": [name]})


def test_a_confined_caller_measures_jobs_below_the_artifacts_only(job: Path, tmp_path: Path) -> None:
    reply = perform(Access((tmp_path,)), "measure", inputs=str(job), parameters={"metric": ["video"]})
    assert reply["status"] == "success", reply
    outside = tmp_path / "job"
    job.rename(outside)
    for verb in ("measure", "redraw", "report"):
        before = sorted(path.name for path in outside.iterdir())
        assert perform(Access((tmp_path,)), verb, inputs=str(outside))["data"] == {"error": "AccessError"}
        assert sorted(path.name for path in outside.iterdir()) == before
