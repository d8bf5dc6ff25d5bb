"""What a report's page holds, without a browser."""

import json
import re
import shutil

import numpy as np
import pytest

from strands_diffusers.errors import OutputError, ReportError, RequestError
from strands_diffusers.report import write_report
from strands_diffusers.report.axes import parsed_overrides
from strands_diffusers.report.entries import address
from strands_diffusers.report.page import inert_json

from .conftest import QUOTES, SCRIPT, copy_job, fail_job


def data_of(page) -> dict:
    """The data inside a page, found as a browser finds them."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_lists_every_job_with_what_was_swept(sweep):
    directory = sweep(24)

    page = write_report(directory)

    data = data_of(page)
    assert page == directory / "index.html"
    assert [job["number"] for job in data["jobs"]] == [str(n) for n in range(24)]
    assert {axis["key"]: axis["values"] for axis in data["axes"]} == {
        "sampler.guidance_scale": ["1", "3"],
        "seed": [str(n) for n in range(12)],
    }
    assert [axis["label"] for axis in data["axes"]] == ["guidance_scale", "seed"]
    assert data["shared"] == [["tracker", "none"]]


def test_only_config_keys_that_differ_are_in_the_page(sweep):
    data = data_of(write_report(sweep(3)))

    assert [difference["key"] for difference in data["differences"]] == ["seed"]
    assert data["jobs"][1]["differs"] == [["seed", "1"]]
    assert "load_seconds" not in json.dumps(data["differences"])


def test_every_artifact_of_the_manifest_is_linked_and_there(sweep):
    directory = sweep(3)

    data = data_of(write_report(directory))

    for job in data["jobs"]:
        artifacts = json.loads((directory / job["number"] / "manifest.json").read_text())["artifacts"]
        linked = {file["href"] for take in job["takes"] for file in take["files"]}
        assert linked == {f"./{job['number']}/{artifact['path']}" for artifact in artifacts}
        assert all((directory / href).is_file() for href in linked)
        assert f"./{job['number']}/manifest.json" in {file["href"] for file in job["links"]}


def test_curves_are_those_of_the_action_file_in_named_columns_and_physical_units(job):
    data = data_of(write_report(job))

    take = data["jobs"][0]["takes"][0]
    [panel] = data["layouts"][take["curves"]["layout"]]["panels"]
    physical = json.loads((job / "action_physical.json").read_text())["action"][0]
    assert (panel["title"], panel["unit"]) == ("target position", "px")
    assert [curve["label"] for curve in panel["curves"]] == ["x", "y"]
    assert take["curves"]["values"][0] == pytest.approx([row[0] for row in physical], rel=1e-3)
    assert take["curves"]["values"][1] == pytest.approx([row[1] for row in physical], rel=1e-3)


def test_the_actions_that_were_given_have_curves_too(driven, job):
    curves = data_of(write_report(driven))["jobs"][0]["takes"][0]["curves"]

    record = json.loads((driven / "manifest.json").read_text())
    pixels = 256 * (np.array(record["rollout"]["given_action"])[0] + 1)
    np.testing.assert_allclose(curves["values"], pixels.T, rtol=1e-3)
    assert curves["given"]
    assert not data_of(write_report(job))["jobs"][0]["takes"][0]["curves"]["given"]


def test_a_picture_that_is_gone_or_lies_elsewhere_is_named_and_left_out(sweep):
    directory = sweep(3)
    (directory / "horizon.png").write_bytes(b"png")
    (directory.parent / "other.png").write_bytes(b"png")
    pictures = [{"name": "error", "path": path} for path in ("horizon.png", "gone.png", "../other.png")]
    (directory / "sweep.json").write_text(
        json.dumps({"schema_version": 1, "jobs": [], "pictures": [*pictures, "what"]})
    )

    data = data_of(write_report(directory))

    assert data["pictures"] == [{"name": "error", "href": "./horizon.png"}]
    assert len(data["notes"]) == 3


def test_metrics_carry_the_direction_and_unit_that_their_classes_declare(job):
    columns = {f"{c['metric']}.{c['value']}": c for c in data_of(write_report(job))["metrics"]}

    assert (columns["video.psnr"]["better"], columns["video.psnr"]["unit"]) == ("higher", "dB")
    assert columns["action.mse"]["better"] == "lower"
    assert columns["video.frames"]["main"] is False
    assert columns["video.psnr_repeat_first_frame"]["of"] == list(columns).index("video.psnr")


def test_a_metric_whose_plugin_is_gone_has_no_best(sweep):
    directory = sweep(3)
    for number in range(3):
        path = directory / str(number) / "manifest.json"
        record = json.loads(path.read_text())
        record["metrics"]["gone"] = {"score": number}
        path.write_text(json.dumps(record))

    [column] = [c for c in data_of(write_report(directory))["metrics"] if c["metric"] == "gone"]

    assert (column["better"], column["main"]) == ("neither", True)


def test_failed_and_lost_jobs_keep_their_reason_and_their_place(sweep, real_job):
    directory = sweep(3)
    fail_job(directory / "3", real_job, 3, "RolloutError: CUDA out of memory.")
    lost = {
        "number": "4",
        "status": "failed",
        "overrides": ["seed=4"],
        "error": "the worker was killed",
        "seconds": None,
        "metrics": {},
    }
    (directory / "sweep.json").write_text(json.dumps({"schema_version": 1, "jobs": [lost]}))

    jobs = data_of(write_report(directory))["jobs"]

    assert [(job["number"], job["status"]) for job in jobs[2:]] == [("2", "done"), ("3", "failed"), ("4", "failed")]
    assert jobs[3]["error"] == "RolloutError: CUDA out of memory."
    assert jobs[3]["stage"] == "generate"
    assert [file["name"] for file in jobs[3]["links"]] == ["failure.json"]
    assert jobs[4]["error"] == "the worker was killed"


def test_a_job_that_a_resumed_sweep_skipped_is_shown_as_such(sweep):
    directory = sweep(3)
    row = {"number": "1", "status": "skipped", "overrides": [], "error": None, "seconds": 1.0, "metrics": {}}
    (directory / "sweep.json").write_text(json.dumps({"schema_version": 1, "jobs": [row]}))

    job = data_of(write_report(directory))["jobs"][1]

    assert job["status"] == "skipped"
    assert job["takes"][0]["files"]


def test_samples_of_one_job_have_their_own_files_and_curves(job):
    directory = job
    path = directory / "manifest.json"
    record = json.loads(path.read_text())
    artifacts = record["artifacts"]
    record["samples"], record["artifacts"] = [], []
    for index in range(2):
        folder = directory / f"sample_{index:02d}"
        folder.mkdir()
        for artifact in artifacts:
            shutil.copy(directory / artifact["path"], folder)
            record["artifacts"].append({**artifact, "path": f"{folder.name}/{artifact['path']}"})
        record["samples"].append({**record["rollout"], "sample": index, "seed": index})
    path.write_text(json.dumps(record))

    takes = data_of(write_report(directory))["jobs"][0]["takes"]

    assert [take["seed"] for take in takes] == [0, 1]
    assert {file["href"].split("/")[1] for file in takes[1]["files"]} == {"sample_01"}
    assert takes[1]["curves"]["values"] == takes[0]["curves"]["values"]


def test_text_of_a_prompt_can_neither_end_the_data_nor_become_markup(real_job, tmp_path):
    directory = tmp_path / "sweep"
    for number, prompt in enumerate((SCRIPT, QUOTES)):
        copy_job(real_job, directory / str(number), number, prompt)

    page = write_report(directory)

    text = page.read_text()
    assert SCRIPT not in text
    assert "onerror=alert" in text  # only inside the data, where the sign before it is escaped
    assert "<img src=x" not in text
    assert text.count("<script") == 2
    assert [job["prompt"] for job in data_of(page)["jobs"]] == [SCRIPT, QUOTES]


@pytest.mark.parametrize("value", ["</script>", "<!--<script>", "]]>", "\u2028", "a\ud800b", "&lt;"])
def test_data_survive_the_escape_and_hold_no_sign_of_markup(value):
    text = inert_json({"key": value})

    assert json.loads(text) == {"key": value}
    assert not set("<>&\u2028\u2029\ud800") & set(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a b.mp4", "./a%20b.mp4"),
        ("100%.mp4", "./100%25.mp4"),
        ("what?#x.mp4", "./what%3F%23x.mp4"),
        ('"quoted"<b>.mp4', "./%22quoted%22%3Cb%3E.mp4"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("é.mp4", "./%C3%A9.mp4"),
    ],
)
def test_addresses_are_relative_and_encoded(name, expected, tmp_path):
    assert address(tmp_path / name, tmp_path) == expected


def test_overrides_are_read_as_hydra_writes_them():
    found = parsed_overrides(
        [
            "+a.b=1",
            "++c=1.0",
            "~d",
            "prompt='it\\'s \"here\"'",
            "observation=sample\\:push_left",
            "output_dir=x",
            "e=null",
        ]
    )

    assert found == {
        "a.b": "1",
        "c": "1",
        "d": "—",
        "prompt": 'it\'s "here"',
        "observation": "sample:push_left",
        "e": "null",
    }


def test_jobs_without_overrides_are_told_apart_by_their_configs(sweep):
    directory = sweep(3)
    for number in range(3):
        path = directory / str(number) / "manifest.json"
        record = json.loads(path.read_text())
        record["overrides"] = []
        path.write_text(json.dumps(record))

    [axis] = data_of(write_report(directory))["axes"]

    assert (axis["key"], axis["values"]) == ("seed", ["0", "1", "2"])


def test_verdicts_and_tables_of_an_evaluation_are_shown_and_wrong_ones_are_named(sweep):
    directory = sweep(3)
    record = {
        "schema_version": 1,
        "jobs": [],
        "verdicts": [{"name": "seed_spread", "verdict": "Seeds agree.", "numbers": {"spread": 1.5}}, {"name": "half"}],
        "tables": [{"name": "psnr", "columns": ["mode", "mean"], "rows": [["policy", 21.5], ["text", None]]}, "what"],
    }
    (directory / "sweep.json").write_text(json.dumps(record))

    data = data_of(write_report(directory))

    assert data["verdicts"] == [{"name": "seed_spread", "verdict": "Seeds agree.", "numbers": [["spread", "1.5"]]}]
    assert data["tables"] == [
        {"name": "psnr", "columns": ["mode", "mean"], "rows": [["policy", 21.5], ["text", ""]], "note": ""}
    ]
    assert len(data["notes"]) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "lacks overrides"),
    ],
)
def test_a_broken_manifest_costs_its_own_job_and_is_named(content, said, sweep):
    directory = sweep(3)
    (directory / "1" / "manifest.json").write_text(content)

    data = data_of(write_report(directory))

    assert [job["number"] for job in data["jobs"]] == ["0", "2"]
    assert any("1/manifest.json" in note and said in note for note in data["notes"])


def test_curves_that_cannot_be_read_are_named_and_the_job_is_shown(sweep):
    directory = sweep(3)
    path = directory / "1" / "action.json"
    path.unlink()
    path.write_text("[[1, 2], [3]]")

    data = data_of(write_report(directory))

    assert data["jobs"][1]["takes"][0]["curves"] is None
    assert any("1/action.json" in note for note in data["notes"])


def test_curves_of_a_domain_whose_own_statistics_are_gone_are_drawn_in_model_space(job, tmp_path):
    path = job / "manifest.json"
    record = json.loads(path.read_text())
    record["rollout"]["space"] |= {"pixel_map": False, "statistics": str(tmp_path / "gone.json")}
    path.write_text(json.dumps(record))

    data = data_of(write_report(job))

    assert data["layouts"][0]["panels"][0]["unit"] == "model space"
    assert any("drawn in model space" in note for note in data["notes"])


def test_a_folder_without_jobs_is_refused_in_one_line(tmp_path):
    with pytest.raises(ReportError, match="holds no finished or failed job") as caught:
        write_report(tmp_path)

    assert isinstance(caught.value, RequestError)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_sweeps_names_the_sweep_inside(sweep):
    directory = sweep(3)

    with pytest.raises(ReportError, match=f"report {directory}"):
        write_report(directory.parent)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ReportError, match="is not a folder"):
        write_report(tmp_path / "none")


def test_a_page_that_cannot_be_written_is_an_output_error_and_leaves_nothing(job):
    (job / "index.html").mkdir()

    with pytest.raises(OutputError, match=r"cannot write .*index\.html"):
        write_report(job)
    assert not [p for p in job.iterdir() if p.name.startswith(".index")]


def test_writing_again_replaces_the_page(sweep):
    directory = sweep(3)
    first = data_of(write_report(directory))
    shutil.rmtree(directory / "2")

    second = data_of(write_report(directory))

    assert (len(first["jobs"]), len(second["jobs"])) == (3, 2)
