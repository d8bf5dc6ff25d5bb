"""The closed-loop evaluation: measures that mean what they say, every policy on the same tables, a command that goes on."""

import json

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht import __main__ as command
from strands_diffusers_pusht import evaluation
from strands_diffusers_pusht.evaluation import Setting, coverages, model_overrides, table
from strands_diffusers_pusht.expert import GOAL_PX
from strands_diffusers_pusht.simulator import PushT

from strands_diffusers import read_clip

pytestmark = pytest.mark.filterwarnings("ignore")  # pygame's and gymnasium's own
FAST = ("sampler.num_inference_steps=1", "sampler.guidance_scale=1")


@pytest.fixture(scope="module")
def simulator():
    return PushT()


def test_a_block_on_the_target_covers_it_and_one_elsewhere_does_not(simulator):
    on = np.array([40.0, 40.0, *GOAL_PX, np.pi / 4])
    beside, away = on + np.array([0, 0, 30, 0, 0]), on + np.array([0, 0, 160, 0, 0])

    full, part, none = coverages(simulator, np.stack([on, beside, away]))

    assert full > 0.97
    assert 0.1 < part < 0.9
    assert none == 0


@pytest.mark.parametrize("name", ["random", "still", "expert"])
def test_every_policy_starts_from_the_same_table_and_acts_as_long(simulator, name):
    values, episode, generated = evaluation.run(simulator, name, 500_001, Setting(num_chunks=2, num_steps=8))

    simulator.start(500_001)
    np.testing.assert_allclose(episode.states[0], simulator.state)
    assert len(episode.frames) == 17
    assert generated is None
    assert values["coverage_max"] >= max(values["coverage_start"], values["coverage_final"])
    if name == "still":
        assert values["progress_px"] == pytest.approx(0, abs=0.01)
        assert np.ptp(episode.states[:, :2], axis=0).max() < 1


def test_the_model_s_video_stands_beside_the_simulator_s(simulator):
    setting = Setting(tuple(model_overrides(FAST)), num_chunks=2, num_steps=3)

    _, episode, generated = evaluation.run(simulator, "model", 500_000, setting)

    assert generated.shape == episode.frames.shape == (7, 96, 96, 3)
    video = evaluation.side_by_side(episode, generated, setting, np.zeros(7))
    assert video.shape == (7, 416, 776, 3)
    np.testing.assert_array_equal(video[5, 32::4, :384:4], episode.frames[5])
    np.testing.assert_array_equal(video[5, 32::4, 392::4], generated[5])


def test_a_folder_is_taken_for_a_checkpoint_like_the_embedded_one():
    assert not any(o.startswith(("model", "sampler")) for o in model_overrides([]))
    found = model_overrides(["model.repo=/weights", "sampler.guidance_scale=3"])
    assert {"model=custom", "model.pixel_map=true", "sampler.flow_shift=1"} <= set(found)
    assert [o for o in found if "guidance" in o] == ["sampler.guidance_scale=3"]


@pytest.mark.parametrize(
    ("episodes", "mean", "gain"), [(4, "0.350", "+0.200"), (5, "0.400 (", "+0.200 (+0.200 to +0.200)")]
)
def test_the_table_compares_episode_by_episode_with_intervals_from_five_on(episodes, mean, gain):
    base = {"coverage_start": 0.1, "reward": 0.0, "solved": 0.0, "progress_px": 0.0}
    results = [
        base | {"policy": name, "seed": seed, "coverage_final": seed / 10 + more, "coverage_max": 0.5}
        for seed in range(episodes)
        for name, more in (("model", 0.2), ("still", 0.0))
    ]
    lines = table(results, Setting()).splitlines()
    assert lines[2].startswith(f"| model | {mean}")
    assert lines[4].startswith(f"| model − still | {gain} |")
    assert f"{episodes} episodes" in lines[-1]


def test_the_command_writes_table_and_video_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    arguments = ["x", "--out", str(tmp_path), "--chunks", "1", "--steps", "4", "--policies", "model,still", *FAST]
    monkeypatch.setattr("sys.argv", [*arguments, "--episodes", "1"])
    assert command.main() == 0
    first = (tmp_path / "results.jsonl").read_text()

    monkeypatch.setattr("sys.argv", [*arguments, "--episodes", "2"])
    assert command.main() == 0

    log = (tmp_path / "results.jsonl").read_text()
    assert log.startswith(first)
    assert [(r["policy"], r["seed"]) for r in map(json.loads, log.splitlines()[1:])] == [
        *(("model", 500_000), ("still", 500_000), ("model", 500_001), ("still", 500_001))
    ]
    assert "2 episodes (tables 500000 to 500001)" in (tmp_path / "table.md").read_text()
    assert len(read_clip(tmp_path / "videos" / "500001.mp4").frames_FHWC) == 5
    assert "2/2 still 500001" in capsys.readouterr().err

    monkeypatch.setattr("sys.argv", [*arguments, "--episodes", "2", "sampler.flow_shift=3"])
    assert command.main() == 2
    assert "holds another evaluation" in capsys.readouterr().err
