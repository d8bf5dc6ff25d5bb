"""The record of a job: written whole, read back as it was, and never trusted."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import records
from strands_diffusers.records import FileEntry, Problem, Record, SampleRecord
from strands_diffusers.results import ActionSpace

DONE = {
    "status": "done",
    "hash": "0123456789abcdef",
    "overrides": ("seed=1",),
    "config": {"prompt": "push", "condition": {"mode": "policy"}},
    "seed": 1,
    "samples": (
        SampleRecord(
            seed=1, mode="policy", prompt="push", space=ActionSpace("pusht"), metrics={"video": {"psnr": 30.0}}
        ),
    ),
    "artifacts": (FileEntry("video.mp4", "video", 12, "ab", {"fps": 10, "shape": [17, 96, 96, 3]}),),
    "metrics": {"video": {"psnr": 30.0}},
    "problems": (Problem("metric jerk", "ValueError: no"),),
    "started": "2026-11-27T10:00:00+00:00",
    "seconds": {"load": 1.0, "stages": {"denoise": 0.5}},
}


def written(directory, **changes):
    directory.mkdir(parents=True, exist_ok=True)
    record = Record(directory, **{**DONE, **changes})
    records.write(record)
    return record


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record = written(tmp_path / "7")

    assert records.read(tmp_path / "7") == record
    assert record.file("video") == tmp_path / "7" / "video.mp4"
    assert (record.name, record.prompt, record.mode, record.total_seconds) == ("7", "push", "policy", 1.0)


def test_a_done_record_takes_the_place_of_a_failure(tmp_path):
    written(tmp_path, status="failed", error="RolloutError: no memory", samples=(), artifacts=(), metrics={})
    assert records.read(tmp_path).error == "RolloutError: no memory"

    written(tmp_path)

    assert records.read(tmp_path).done
    assert not (tmp_path / "failure.json").exists()


def test_a_folder_without_a_record_has_none(tmp_path):
    assert records.read(tmp_path) is None
    assert records.jobs(tmp_path) == []


def test_jobs_come_by_number_and_a_damaged_one_is_among_them(tmp_path):
    for name in ("10", "9", "2"):
        written(tmp_path / name)
    (tmp_path / "9" / "manifest.json").write_text("[" * 100_000)

    found = records.jobs(tmp_path)

    assert [(r.name, r.status) for r in found] == [("2", "done"), ("9", "damaged"), ("10", "done")]
    assert found[1].error.startswith("9/manifest.json cannot be read: ")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_damage_to_a_record_raises(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("job")
    written(directory)
    whole = json.loads((directory / "manifest.json").read_text())
    path = data.draw(st.sampled_from(list(_places(whole))))
    damaged = copy.deepcopy(whole)
    if not path:
        damaged = data.draw(ANYTHING)
    else:
        node = damaged
        for key in path[:-1]:
            node = node[key]
        if data.draw(st.booleans()):
            node[path[-1]] = data.draw(ANYTHING)
        else:
            del node[path[-1]]
    (directory / "manifest.json").write_text(json.dumps(damaged))

    record = records.read(directory)

    assert record.status in ("done", "damaged")
    assert "\n" not in record.error
    assert isinstance(record.total_seconds, float)
    assert isinstance(record.prompt + record.mode + record.observation, str)
    records.swept([record, record])


@pytest.mark.parametrize("text", ["", "null", "[]", '{"schema_version": 1}', "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_no_record_of_this_version_is_damaged(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())

    assert records.read(tmp_path).status == "damaged"


def test_a_record_cannot_name_a_file_outside_of_its_folder(tmp_path):
    written(tmp_path, artifacts=(FileEntry("../../etc/passwd", "video"),))

    assert "outside" in records.read(tmp_path).error


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("jobs", {"status": "done"}),
        ("verdicts", {"name": "seed_spread", "verdict": "seeds matter", "numbers": [1]}),
        ("tables", {"name": "evaluation", "columns": ["value", "mean"], "rows": [["psnr"]]}),
        ("tables", {"name": "evaluation", "columns": ["value"], "rows": ["psnr"]}),
        ("pictures", {"name": "horizon", "path": None}),
    ],
)
def test_an_odd_entry_of_a_sweep_is_left_out_and_named_and_the_others_stay(tmp_path, kind, entry):
    good = {"name": "a", "verdict": "fine", "numbers": {}, "columns": [], "rows": [], "path": "a.png"}
    (tmp_path / "sweep.json").write_text(json.dumps({"schema_version": 2, kind: [entry, good]}))

    found, [note] = records.read_sweep(tmp_path)

    assert found[kind] == [good]
    assert note.startswith(f"sweep.json lists 1 {kind} without ")
