"""A model of one narrow world says so before it dreams on about a photograph of another."""

import json

import numpy as np
import pytest
from bare import BARE, bare
from PIL import Image

from strands_diffusers import Observation, rollout
from strands_diffusers.cli import main

WORDS = "does not look like what model=cosmos3_pusht was trained on"


@pytest.fixture
def kitchen(tmp_path):
    """A photograph's colours: nothing white, wood and steel."""
    rng = np.random.default_rng(0)
    path = tmp_path / "kitchen.jpg"
    Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((128, 96)).save(path)
    return path


def command(capfd, *arguments) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0), capfd.readouterr().err


def test_a_photograph_is_warned_about_in_one_line_before_the_rollout_and_in_the_record(kitchen, tmp_path, capfd):
    out = tmp_path / "job"

    status, err = command(capfd, *BARE, f"observation={kitchen}", "prompt=push", f"output_dir={out}")

    said = [line for line in err.splitlines() if WORDS in line]
    assert status == 0
    assert len(said) == 1
    assert said[0].startswith(f"warning: observation {kitchen}")
    assert err.index(WORDS) < err.index("action.json"), "said before the table of what was written"
    record = json.loads((out / "manifest.json").read_text())
    assert [WORDS in note for note in record["notes"]] == [True]


def test_a_sweep_warns_of_the_job_that_it_concerns_and_its_page_says_so(kitchen, tmp_path, capfd):
    out = tmp_path / "sweep"

    status, err = command(
        capfd, "-m", *bare(f"observation=sample:push_left,{kitchen}", "prompt=push", f"output_dir={out}")
    )

    assert status == 0
    assert err.count(WORDS) == 1
    assert json.loads((out / "0" / "manifest.json").read_text())["notes"] == []
    page = (out / "index.html").read_text()
    assert f"Job 1: observation {kitchen.name} does not look like" in page
    assert str(kitchen) not in page, "a page can be sent to others: it names no folder of this machine"


def test_the_note_comes_with_the_rollout_in_python(tmp_path, caplog):
    frame = np.zeros((1, 96, 96, 3), np.uint8)

    dark = rollout(
        *BARE, "prompt=push", observation=Observation(frames=frame, domain="pusht"), output_dir=tmp_path / "a"
    )
    true = rollout(*BARE, output_dir=tmp_path / "b")

    assert WORDS in dark.details["notes"][0]
    assert [WORDS in message for message in caplog.messages] == [True]
    assert "notes" not in true.details
