"""Real sweeps over the embedded model end in verdicts: on the terminal, in sweep.json and on the page."""

import json

import numpy as np
import pytest

from strands_diffusers import records
from strands_diffusers.cli import main
from strands_diffusers.config import compose
from strands_diffusers.runner import job

FAST = ("sampler.num_inference_steps=2", "tracker=none", "visualizer=[]")


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["-m", *FAST, *arguments])
        return int(caught.value.code or 0), capfd.readouterr().err

    return run


def test_action_sensitivity_of_the_embedded_model(command, tmp_path):
    status, err = command(
        "experiment=action_sensitivity", "observation=sample:push_up", "sampler.num_samples=2",
        "condition.perturb=none,mirrored", "output_dir=sweep",
    )  # fmt: skip

    assert status == 0, err
    [verdict] = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["verdicts"]
    assert verdict["numbers"]["pairs"] == {"seeds": 1, "mirrored": 2}
    assert verdict["numbers"]["times_seed_noise"]["mirrored"] > 1, "two steps are enough to see where it goes"
    assert f"action_sensitivity: {verdict['verdict']}" in " ".join(err.split())
    assert "the model" in (tmp_path / "sweep" / "index.html").read_text()
    given, true = (records.read(tmp_path / "sweep" / name).samples[0] for name in "10")
    np.testing.assert_array_equal(given.reference_action, true.given_action)
    assert true.reference_action is None


def test_actions_go_round_through_a_film_and_back(command, tmp_path):
    forward = ("condition=forward_dynamics", "observation=sample:push_up,sample:push_left", "output_dir=films")
    assert command(*forward, "metric=[]")[0] == 0

    status, err = command(
        "experiment=cycle_consistency", "visualizer=[]", "observation=run:films/0,run:films/1", "output_dir=back"
    )

    assert status == 0, err
    [verdict] = json.loads((tmp_path / "back" / "sweep.json").read_text())["verdicts"]
    assert verdict["name"] == "cycle_consistency.forward_dynamics"
    assert 0 < verdict["numbers"]["mae"] < 1
    assert (tmp_path / "back" / "evaluation.csv").is_file()


def test_a_sweep_without_a_verdict_holds_none(command, tmp_path):
    assert command("metric=[]", "output=[action]", "seed=0,1", "output_dir=sweep")[0] == 0

    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert record["verdicts"] == []
    assert record["tables"] == []


def test_perturbed_actions_are_given_and_the_true_ones_kept_as_reference():
    forward = ["condition=forward_dynamics", "observation=sample:push_left"]

    plain, changed = (job.check(compose.compose([*forward, f"condition.perturb={k}"])) for k in ("none", "zero"))

    assert plain.request.reference_action_KTD is None
    np.testing.assert_array_equal(changed.request.reference_action_KTD, plain.request.given_action_KTD)
    assert (changed.request.given_action_KTD == plain.request.given_action_KTD[0, 0]).all()
    assert changed.hash != plain.hash
