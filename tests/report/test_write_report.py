"""What a report's page holds, without a browser."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import records
from strands_diffusers.errors import OutputError, ReportError, RequestError
from strands_diffusers.plugin import manager
from strands_diffusers.plugin.base import Panel, Table
from strands_diffusers.records import Problem
from strands_diffusers.report import write_report
from strands_diffusers.report.addresses import Shortener, address
from strands_diffusers.report.page import inert_json

from .conftest import QUOTES, SCRIPT, copy_job, fail_job, rewrite, with_samples


def data_of(page) -> dict:
    """The data inside a page, found as a browser finds them."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def write_sweep(directory, **fields) -> None:
    """A `sweep.json` as the runner writes it."""
    (directory / "sweep.json").write_text(json.dumps({"schema_version": 2, "finished": True, "jobs": [], **fields}))


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
        artifacts = records.read(directory / job["number"]).artifacts
        linked = {file["href"] for sample in job["samples"] for file in sample["files"]}
        assert linked == {f"./{job['number']}/{artifact.path}" for artifact in artifacts}
        assert all((directory / href).is_file() for href in linked)
        assert f"./{job['number']}/manifest.json" in {file["href"] for file in job["links"]}


def test_curves_are_those_of_the_action_file_in_named_columns_and_physical_units(job):
    data = data_of(write_report(job))

    sample = data["jobs"][0]["samples"][0]
    [panel] = data["layouts"][sample["curves"]["layout"]]["panels"]
    physical = json.loads((job / "action_physical.json").read_text())["action"][0]
    assert (panel["title"], panel["unit"]) == ("target position", "px")
    assert [curve["label"] for curve in panel["curves"]] == ["x", "y"]
    assert sample["curves"]["values"][0] == pytest.approx([row[0] for row in physical], rel=1e-3)
    assert sample["curves"]["values"][1] == pytest.approx([row[1] for row in physical], rel=1e-3)


def test_the_actions_that_were_given_have_curves_too(driven, job):
    curves = data_of(write_report(driven))["jobs"][0]["samples"][0]["curves"]

    pixels = 256 * (np.array(records.read(driven).samples[0].given_action)[0] + 1)
    np.testing.assert_allclose(curves["values"], pixels.T, rtol=1e-3)
    assert curves["given"]
    assert not data_of(write_report(job))["jobs"][0]["samples"][0]["curves"]["given"]


def test_a_picture_that_is_gone_or_lies_elsewhere_is_named_and_left_out(sweep):
    directory = sweep(3)
    (directory / "horizon.png").write_bytes(b"png")
    (directory.parent / "other.png").write_bytes(b"png")
    pictures = [{"name": "error", "path": path} for path in ("horizon.png", "gone.png", "../other.png")]
    write_sweep(directory, pictures=[*pictures, "what"])

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
        metrics = {"gone": {"score": float(number)}}
        rewrite(directory / str(number), metrics=metrics, sample={"metrics": metrics})

    [column] = [c for c in data_of(write_report(directory))["metrics"] if c["metric"] == "gone"]

    assert (column["better"], column["main"]) == ("neither", True)


def test_failed_and_lost_jobs_keep_their_reason_and_their_place(sweep, real_job):
    directory = sweep(3)
    fail_job(directory / "3", real_job, 3, "RolloutError: CUDA out of memory.")
    lost = {"name": "4", "status": "failed", "overrides": ["seed=4"], "error": "the worker was killed"}
    write_sweep(directory, jobs=[lost])

    jobs = data_of(write_report(directory))["jobs"]

    assert [(job["number"], job["status"]) for job in jobs[2:]] == [("2", "done"), ("3", "failed"), ("4", "failed")]
    assert jobs[3]["error"] == "RolloutError: CUDA out of memory."
    assert jobs[3]["stage"] == "generate"
    assert [file["name"] for file in jobs[3]["links"]] == ["failure.json"]
    assert jobs[4]["error"] == "the worker was killed"


def test_two_jobs_of_one_rollout_are_two_jobs_that_show_it(sweep):
    directory = sweep(3)
    twin = {"name": "3", "status": "done", "overrides": ["seed=1", "sampler.guidance_scale=6.0"], "same_as": "1"}
    write_sweep(directory, jobs=[twin, {"name": "4", "status": "not begun"}, {"name": "9", "status": "done"}, "what"])

    data = data_of(write_report(directory))

    job = data["jobs"][3]
    assert (job["number"], job["status"], job["same_as"]) == ("3", "done", "1")
    assert job["samples"][0]["files"] == data["jobs"][1]["samples"][0]["files"]
    assert data["notes"] == [
        "sweep.json lists 1 jobs without name: left out.",
        "Not begun when this page was made: 4.",
        "sweep.json lists as done, but without a manifest.json now: 9.",
    ]


def test_samples_of_one_job_have_their_own_files_curves_and_scores(job):
    own = records.read(job).metrics["video"]["psnr"]
    with_samples(job, 3)

    data = data_of(write_report(job))

    samples = data["jobs"][0]["samples"]
    place = next(i for i, column in enumerate(data["metrics"]) if column["value"] == "psnr")
    assert [sample["seed"] for sample in samples] == [0, 1, 2]
    files = {file["href"].split("/")[1] for file in samples[1]["files"] if file["type"] != "reference"}
    assert files == {"sample_01"}
    assert samples[1]["curves"]["values"] == samples[0]["curves"]["values"]
    assert [sample["metrics"][place] for sample in samples] == pytest.approx([own, 2 * own, 3 * own])
    assert data["jobs"][0]["metrics"][place] == pytest.approx(2 * own)
    assert data["jobs"][0]["observed"]["href"] == "./observation.png"


def test_the_observed_actions_are_drawn_with_the_predicted_ones(job):
    data = data_of(write_report(job))

    true = 256 * (np.array(records.read(job).samples[0].reference_action)[0] + 1)
    place = data["jobs"][0]["samples"][0]["curves"]["truth"]
    np.testing.assert_allclose(data["truths"][place], true.T, rtol=1e-3)


def test_a_job_says_how_it_was_made_by_which_versions_and_how_to_make_it_again(sweep):
    data = data_of(write_report(sweep(3)))

    facts, settings = dict(data["facts"]), dict(data["settings"])
    assert facts["weights"] == "sha256:abc123"
    assert facts["git"] == "7dfc534"
    assert facts["versions.diffusers"] == "0.39.0"
    assert facts["plugins.strands-diffusers-rerun"] == "0.1.0"
    assert settings["sampler.num_inference_steps"] == "1"
    assert settings["sampler.guidance_scale"] == "1"
    assert "sampler.flow_shift" in settings
    assert data["jobs"][1]["command"] == "strands-diffusers seed=1 tracker=none"
    assert data["jobs"][1]["observed"]["size"] == [96, 96]


def test_a_command_is_quoted_for_the_shell_and_leaves_out_where_the_job_went(job):
    rewrite(
        job,
        overrides=(
            "prompt='it\\'s here'",
            "output_dir=/tmp/x",
            "sweep.verdict=seed_spread",
            "hydra/launcher=pool",
            "seed=1",
        ),
    )

    assert (
        data_of(write_report(job))["jobs"][0]["command"]
        == "strands-diffusers 'prompt='\"'\"'it\\'\"'\"'s here'\"'\"'' seed=1"
    )


def test_problems_of_a_job_stand_with_it_and_it_is_done(sweep):
    directory = sweep(3)
    rewrite(directory / "1", problems=(Problem("metric jerk", "ValueError: no"),))

    job = data_of(write_report(directory))["jobs"][1]

    assert (job["status"], job["problems"]) == ("done", ["metric jerk: ValueError: no"])


def test_no_absolute_path_of_the_author_is_on_the_page_and_different_files_stay_apart(sweep):
    directory = sweep(3)
    for number in range(3):
        seen = f"/home/someone/clips/{'ab'[number % 2]}/clip one.mp4@start:3"
        config = {
            **records.read(directory / str(number)).config,
            "observation": seen,
            "output_dir": "/home/someone/out",
        }
        config["model"] = {**config["model"], "repo": "/home/someone/models/big"}
        rewrite(
            directory / str(number), config=config, overrides=(f"observation='{seen}'",), notes=("see /home/someone/x.",),
            model={"repo": "/home/someone/models/big"}, sample={"observation": {"source": seen}},
        )  # fmt: skip
    fail_job(
        directory / "3", directory / "0", 3, f"OutputError: cannot write {directory}/3/video.mp4: the disk is full."
    )

    page = write_report(directory)

    data = data_of(page)
    assert "/home/" not in page.read_text()
    assert str(directory) not in page.read_text()
    [axis] = [axis for axis in data["axes"] if axis["key"] == "observation"]
    assert axis["values"][:2] == ["a/clip one.mp4@start:3", "b/clip one.mp4@start:3"]
    assert dict(data["settings"])["model.repo"] == "big"
    assert data["jobs"][0]["source"] == "a/clip one.mp4@start:3"
    assert data["jobs"][0]["command"] == "strands-diffusers 'observation='\"'\"'a/clip one.mp4@start:3'\"'\"''"
    assert data["jobs"][3]["error"] == "OutputError: cannot write 3/video.mp4: the disk is full."
    assert data["notes"] == ["Jobs 0, 1, 2: see x."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lerobot:/data/sets/bridge@episode:3", "lerobot:bridge@episode:3"),
        ("https://host/a/b.mp4", "https://host/a/b.mp4"),
        ('["/data/a b/x.png", "/data/y.png"]', '["x.png", "y.png"]'),
        ("1/2 m/step and/or ~/x ./y", "1/2 m/step and/or ~/x ./y"),
        ("/here/3/video.mp4", "3/video.mp4"),
        ("</script> a /m b", "</script> a /m b"),
    ],
)
def test_paths_in_values_are_short_and_nothing_else_changes(text, expected):
    assert Shortener(Path("/here"), [text]).value(text) == expected


def test_best_is_only_among_rollouts_of_one_prompt_observation_and_condition(real_job, tmp_path):
    for number, prompt in enumerate(("left", "left", "right", "right")):
        copy_job(real_job, tmp_path / "sweep" / str(number), number, prompt)
    config = records.read(tmp_path / "sweep" / "3").config
    rewrite(tmp_path / "sweep" / "3", config={**config, "condition": {**config["condition"], "chunk_size": 8}})

    contexts = [job["context"] for job in data_of(write_report(tmp_path / "sweep"))["jobs"]]

    assert contexts[0] == contexts[1]
    assert len(set(contexts)) == 3


def test_scores_stand_against_each_swept_key_with_mean_interval_and_count(sweep):
    directory = sweep(24)
    psnr = [records.read(directory / str(n)).metrics["video"]["psnr"] for n in range(24)]

    data = data_of(write_report(directory))

    place = next(i for i, column in enumerate(data["metrics"]) if column["value"] == "psnr")
    [chart] = [chart for chart in data["charts"] if chart["metric"] == place]
    assert data["axes"][chart["axis"]]["key"] == "sampler.guidance_scale"
    assert chart["over"] == "seeds"
    assert [point["mean"] for point in chart["points"]] == pytest.approx(
        [np.mean(psnr[:12]), np.mean(psnr[12:])], rel=1e-3
    )
    for point in chart["points"]:
        assert point["n"] == 12
        assert point["low"] < point["mean"] < point["high"]
        assert [name for name, _ in point["baselines"]] == ["repeat_first_frame"]


def test_below_five_rollouts_a_mean_has_no_interval(sweep):
    [chart] = [c for c in data_of(write_report(sweep(3)))["charts"] if c["metric"] == 0]

    assert chart["axis"] is None
    assert [(point["n"], point["low"], point["high"]) for point in chart["points"]] == [(3, None, None)]


def test_several_sweeps_are_compared_on_one_page_in_the_folder_that_holds_them(sweep):
    first, second = sweep(3, "base"), sweep(3, "tuned")

    page = write_report(first, second)

    data = data_of(page)
    assert page == first.parent / "comparison.html"
    assert [job["number"] for job in data["jobs"]] == ["base/0", "base/1", "base/2", "tuned/0", "tuned/1", "tuned/2"]
    assert ["base", "tuned"] in [axis["values"] for axis in data["axes"] if axis["key"] == "folder"]
    assert data["title"] == "base and tuned"
    assert data["jobs"][3]["samples"][0]["files"][0]["href"].startswith("./tuned/0/")
    assert data["jobs"][3]["command"] == "strands-diffusers seed=0 tracker=none"
    folder = next(i for i, axis in enumerate(data["axes"]) if axis["key"] == "folder")
    [chart] = [c for c in data["charts"] if c["axis"] == folder and c["metric"] == 0]
    assert [point["n"] for point in chart["points"]] == [3, 3]


def test_folders_without_a_common_one_and_one_folder_twice_are_refused(sweep):
    directory = sweep(3)

    with pytest.raises(ReportError, match="share no folder"):
        write_report(directory, Path("/nowhere"))
    with pytest.raises(ReportError, match="is named twice"):
        write_report(directory, directory)


def test_a_file_that_a_link_leads_out_of_its_folder_is_neither_shown_nor_read(sweep, tmp_path):
    directory = sweep(3)
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps([[[0.123456, 0.654321]] * 16]))
    (directory / "1" / "action.json").unlink()
    (directory / "1" / "action.json").symlink_to(secret)

    page = write_report(directory)

    data = data_of(page)
    assert data["jobs"][1]["samples"][0]["curves"] is None
    assert "action.json" not in [file["name"] for file in data["jobs"][1]["samples"][0]["files"]]
    assert data["notes"] == ["Job 1 lists files outside of its folder: action.json. They are left out."]


def test_panels_of_plugins_stand_on_the_page_and_a_broken_one_is_named(sweep, monkeypatch):
    class Count(Panel):
        """Count jobs."""

        name, title = "count", "How many"

        def content(self, directory, records):
            return Table(["jobs"], [[len(records)]], "Counted.")

    class Markup(Count):
        """HTML."""

        name = "markup"

        def content(self, directory, records):
            return "<b>bold</b>"

    class Broken(Count):
        """Raises."""

        name = "broken"

        def content(self, directory, records):
            raise KeyError("x")

    class Odd(Count):
        """A number."""

        name = "odd"

        def content(self, directory, records):
            return 3

    extra = [
        manager.Registration("register_panels", "panel", cls.name, "extra", cls) for cls in (Count, Markup, Broken, Odd)
    ]
    monkeypatch.setattr(manager.plugins(), "registrations", [*manager.plugins().registrations, *extra])

    data = data_of(write_report(sweep(3)))

    assert data["panels"] == [
        {"title": "How many", "table": {"name": "", "columns": ["jobs"], "rows": [[3]], "note": "Counted."}},
        {"title": "How many", "html": "<b>bold</b>"},
    ]
    assert data["notes"] == [
        "panel broken of plugin extra: KeyError: 'x'",
        "panel odd of plugin extra: it returned 3 where a Table, HTML or None belongs",
    ]


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


def test_jobs_without_overrides_are_told_apart_by_their_configs(sweep):
    directory = sweep(3)
    for number in range(3):
        rewrite(directory / str(number), overrides=())

    [axis] = data_of(write_report(directory))["axes"]

    assert (axis["key"], axis["values"]) == ("seed", ["0", "1", "2"])


def test_verdicts_and_tables_of_an_evaluation_are_shown_and_wrong_ones_are_named(sweep):
    directory = sweep(3)
    write_sweep(
        directory,
        verdicts=[
            {"name": "seed_spread", "verdict": "Seeds agree.", "holds": True, "numbers": {"a": {"spread_px": 1.5}}},
            {"name": "half"},
        ],
        tables=[{"name": "psnr", "columns": ["mode", "mean"], "rows": [["policy", 21.5], ["text", None]]}, "what"],
    )  # fmt: skip

    data = data_of(write_report(directory))

    numbers = [["a: spread px", "1.5"]]
    assert data["verdicts"] == [{"name": "seed_spread", "verdict": "Seeds agree.", "holds": True, "numbers": numbers}]
    assert data["tables"] == [
        {"name": "psnr", "columns": ["mode", "mean"], "rows": [["policy", 21.5], ["text", ""]], "note": ""}
    ]
    assert len(data["notes"]) == 2


@pytest.mark.parametrize(
    "content", ["{", '{"schema_version": 99}', '{"schema_version": 2}', "[" * 100_000, "null", "[]"]
)
def test_a_damaged_manifest_costs_its_own_job_and_is_named(content, sweep):
    directory = sweep(3)
    (directory / "1" / "manifest.json").unlink()
    (directory / "1" / "manifest.json").write_text(content)

    data = data_of(write_report(directory))

    assert [job["number"] for job in data["jobs"]] == ["0", "2"]
    [note] = data["notes"]
    assert note.startswith("1/manifest.json cannot be read: ")
    assert note.endswith("It is left out.")


@pytest.mark.parametrize(
    "content", ["{", '{"schema_version": 1}', "[" * 100_000, "null", "3", '{"schema_version": 2, "jobs": 7}']
)
def test_a_damaged_sweep_record_costs_no_job(content, sweep):
    directory = sweep(3)
    (directory / "sweep.json").write_text(content)

    assert len(data_of(write_report(directory))["jobs"]) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(derandomize=True, max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_record_the_page_is_made(data, real_job, tmp_path_factory):
    """A field of a manifest, of its samples or files, or of `sweep.json`, is of another kind."""
    directory = tmp_path_factory.mktemp("odd") / "sweep"
    copy_job(real_job, directory / "0", 0)
    copy_job(real_job, directory / "1", 1)
    path = directory / "1" / "manifest.json"
    record = json.loads(path.read_text())
    where = data.draw(st.sampled_from([record, record["samples"][0], *record["artifacts"][:3], record["config"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    path.write_text(json.dumps(record))
    keys = st.sampled_from(["jobs", "verdicts", "tables", "pictures", "finished"])
    names = ["name", "status", "overrides", "error", "same_as", "verdict", "numbers", "columns", "rows", "path"]
    row = st.dictionaries(st.sampled_from(names), JSON, max_size=5)
    write_sweep(directory, **data.draw(st.dictionaries(keys, JSON | st.lists(row, max_size=2))))

    jobs = data_of(write_report(directory))["jobs"]

    assert "0" in [job["number"] for job in jobs]


def test_curves_that_cannot_be_read_are_named_and_the_job_is_shown(sweep):
    directory = sweep(3)
    path = directory / "1" / "action.json"
    path.unlink()
    path.write_text("[[1, 2], [3]]")

    data = data_of(write_report(directory))

    assert data["jobs"][1]["samples"][0]["curves"] is None
    assert any("1/action.json" in note for note in data["notes"])


def test_curves_of_a_domain_whose_own_statistics_are_gone_are_drawn_in_model_space(job, tmp_path):
    space = replace(records.read(job).samples[0].space, pixel_map=False, statistics=str(tmp_path / "gone.json"))
    rewrite(job, sample={"space": space})

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


def test_the_verb_takes_one_folder_or_several(sweep, capsys):
    from strands_diffusers.cli.finished import report

    first, second = sweep(3, "base"), sweep(3, "tuned")

    assert report([str(first)]) == 0
    assert report([str(first), str(second)]) == 0

    assert capsys.readouterr().out.split() == [str(first / "index.html"), str(first.parent / "comparison.html")]
