"""A rollout of several chunks that is cut off goes on from its last finished chunk, with the same result."""

import json

import numpy as np
import pytest

from strands_diffusers.config import compose
from strands_diffusers.errors import OutputError
from strands_diffusers.runner import chunks, job, sweep
from strands_diffusers.runner.control import Control
from strands_diffusers.runner.run import run_job

LONG = (
    "condition.num_chunks=3",
    "sampler.num_inference_steps=1",
    "sampler.guidance_scale=1",
    "tracker=none",
    "metric=[]",
)
SAMPLES = (*LONG, "visualizer=[]", "sampler.num_samples=2")


def run(overrides, directory, stop_before=None):
    """Run a job; -> its result and how many denoising calls it took. Ctrl-C before call `stop_before`."""
    sweep.prepare()
    begun = []

    def progress(what, done, total):
        if what == "denoise" and done:
            begun.append(what)
            if len(begun) == stop_before:
                raise KeyboardInterrupt

    checked = job.check(compose.compose(overrides))
    return run_job(checked, directory, control=Control(progress)), len(begun)


@pytest.mark.parametrize("overrides", [(*LONG, "visualizer=[]"), SAMPLES], ids=["one sample", "two samples"])
def test_an_interrupted_rollout_goes_on_and_ends_as_an_uninterrupted_one(tmp_path, overrides):
    whole, calls = run(overrides, tmp_path / "whole")
    assert not list((tmp_path / "whole").glob(".chunks-*"))

    with pytest.raises(KeyboardInterrupt):
        run(overrides, tmp_path / "cut", stop_before=calls)
    assert [p.name for p in sorted((tmp_path / "cut").glob(".chunks-*/*"))] == ["chunk_000.npz", "chunk_001.npz"]

    rest, later = run(overrides, tmp_path / "cut")

    assert later < calls
    for one, other in zip(rest.rollouts, whole.rollouts, strict=True):
        np.testing.assert_array_equal(one.video, other.video)
        np.testing.assert_array_equal(one.action, other.action)
        assert one.details["seams_psnr_db"] == other.details["seams_psnr_db"]
    assert rest.record.hash == whole.record.hash
    assert "2 of 3 chunks were finished before" in rest.notes
    assert not list((tmp_path / "cut").glob(".chunks-*"))
    assert not (tmp_path / "cut" / "failure.json").exists()


def test_an_interrupted_closed_loop_of_two_samples_says_how_many_looks_it_had(tmp_path):
    sweep.prepare()
    acting = ("condition=closed_loop", "policy=random", "condition.num_looks=2", "condition.act_steps=4")
    checked = job.check(compose.compose([*acting, *LONG[3:], "visualizer=[]", "sampler.num_samples=2"]))

    def progress(what, done, total):
        if "look 2/2" in what and len(list((tmp_path / "cut").glob(".chunks-*/look_001_000*"))):
            raise KeyboardInterrupt

    whole = run_job(checked, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_job(checked, tmp_path / "cut", control=Control(progress))
    rest = run_job(checked, tmp_path / "cut")

    assert "3 of 4 looks were finished before" in rest.notes
    for one, other in zip(rest.rollouts, whole.rollouts, strict=True):
        np.testing.assert_array_equal(one.video, other.video)


def test_chunks_of_another_job_are_not_taken(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run((*LONG, "visualizer=[]"), tmp_path, stop_before=3)

    other, calls = run((*LONG, "visualizer=[]", "seed=5"), tmp_path)

    assert calls == 3
    assert "chunks_kept" not in other.rollouts[0].details


def test_a_chunk_that_is_not_whole_is_drawn_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run((*LONG, "visualizer=[]"), tmp_path, stop_before=3)
    (second,) = tmp_path.glob(".chunks-*/chunk_001.npz")
    second.write_bytes(second.read_bytes()[:1000])

    result, calls = run((*LONG, "visualizer=[]"), tmp_path)

    assert calls == 2
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "done"
    assert result.rollouts[0].details["chunks_kept"] == 1


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chunks.np, "savez", full)

    with pytest.raises(OutputError, match=r"cannot keep chunk 0 .*No space left on device\. Free some space"):
        run((*LONG, "visualizer=[]"), tmp_path)
