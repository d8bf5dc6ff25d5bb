"""A rollout as a LeRobot dataset reads back as the rollout it was, here and in LeRobot itself."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from strands_diffusers_lerobot import LeRobotSerializer, LeRobotSource
from strands_diffusers_lerobot.__main__ import main
from strands_diffusers_lerobot.choices import ExportUnits
from strands_diffusers_lerobot.export import REFERENCE, WORLD

from strands_diffusers import ActionSpace, Observation, ObservationRequest, Rollout, actions, read_clip
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError, ObservationError, OutputError

BRIDGE = "bridge_orig_lerobot"


def a_rollout(seed=0, steps=8, **fields) -> Rollout:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 215, (steps + 1, 8, 8, 3), dtype=np.uint8)
    video = np.kron(coarse, np.ones((1, 8, 12, 1), np.uint8))
    action = actions.still_row(actions.space_of("bridge")) + rng.normal(0, 0.3, (1, steps, 10))
    action[..., 9] = rng.choice([-1, 1], (1, steps))
    values = {
        "mode": "policy", "prompt": "Put the pot to the left.", "seed": seed, "video": video, "fps": 5.0,
        "action": action.astype(np.float32), "space": actions.space_of("bridge"), "reference_video": video[::-1].copy(),
    }  # fmt: skip
    return Rollout(**(values | fields))


def export(rollout, folder, **config):
    folder.mkdir(exist_ok=True)
    return LeRobotSerializer(LeRobotSerializer.Config(**config)).save(rollout, folder)


def read(address, num_frames=9, domain=BRIDGE, mode="policy"):
    return LeRobotSource().read(str(address), ObservationRequest(num_frames, 5.0, domain, mode))


def test_what_was_written_is_read_back(tmp_path):
    rollout = a_rollout()

    artifacts = export(rollout, tmp_path)
    seen = read(f"{tmp_path / 'lerobot'}@camera:world")

    np.testing.assert_array_equal(seen.actions, rollout.action[0])
    assert np.abs(seen.frames.astype(int) - rollout.video).mean() < 4  # H.264, crf 12; other frames are 50 away
    assert (seen.task, seen.domain, seen.fps) == (rollout.prompt, BRIDGE, 5.0)
    assert {a.path for a in artifacts} == {p for p in (tmp_path / "lerobot").rglob("*") if p.is_file()}
    reference = read(f"{tmp_path / 'lerobot'}@camera:reference")
    assert np.abs(reference.frames.astype(int) - rollout.reference_video).mean() < 4


def test_the_files_are_laid_out_as_lerobot_does(tmp_path):
    export(a_rollout(), tmp_path)
    root = tmp_path / "lerobot"
    info = json.loads((root / "meta/info.json").read_text())
    data = pq.read_table(root / "data/chunk-000/file-000.parquet")
    [episode] = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    tasks = pq.read_table(root / "meta/tasks.parquet")
    statistics = json.loads((root / "meta/stats.json").read_text())

    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["total_frames"], info["robot_type"]) == (5, 9, "bridge")
    assert info["features"]["action"]["names"][:4] == ["x", "y", "z", "r11"]
    assert info["features"][WORLD]["shape"] == [64, 96, 3]
    assert set(info["features"]) == {*data.schema.names, WORLD, REFERENCE}
    assert str(data.schema.field("action").type) == "fixed_size_list<element: float>[10]"
    assert data["timestamp"].to_pylist() == pytest.approx([t / 5 for t in range(9)])
    assert data["next.done"].to_pylist() == [False] * 8 + [True]
    assert data["action"].to_pylist()[8] == data["action"].to_pylist()[7]
    assert (episode["length"], episode["dataset_to_index"], episode[f"videos/{WORLD}/to_timestamp"]) == (9, 9, 1.8)
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]
    rows = np.array(data["action"].to_pylist())
    for name, value in {"min": rows.min(0), "mean": rows.mean(0), "q99": np.quantile(rows, 0.99, axis=0)}.items():
        np.testing.assert_allclose(statistics["action"][name], value)
        np.testing.assert_allclose(episode[f"stats/action/{name}"], value)
    assert np.shape(statistics[WORLD]["mean"]) == (3, 1, 1)
    assert 0 < statistics[WORLD]["mean"][0][0][0] < 1


def test_the_last_frame_can_be_left_out(tmp_path):
    rollout = a_rollout()

    export(rollout, tmp_path, last_frame=False)
    seen = read(f"{tmp_path / 'lerobot'}@camera:world")

    assert len(seen.frames) == 8
    np.testing.assert_array_equal(seen.actions, rollout.action[0])


def test_physical_actions_come_back_in_model_space(tmp_path):
    rollout = a_rollout(space=ActionSpace(BRIDGE, BRIDGE, gripper="closed_is_1"))

    export(rollout, tmp_path, units=ExportUnits.physical)
    data = pq.read_table(tmp_path / "lerobot/data/chunk-000/file-000.parquet")
    seen = read(f"{tmp_path / 'lerobot'}@camera:world")

    physical = actions.to_physical(rollout.action[0], rollout.space)
    np.testing.assert_allclose(np.array(data["action"].to_pylist())[:8], physical, rtol=1e-6)
    np.testing.assert_allclose(seen.actions, rollout.action[0], atol=1e-5)  # float32 of values near 1


def test_given_actions_are_those_of_forward_dynamics(tmp_path):
    given = a_rollout().action

    export(a_rollout(mode="forward_dynamics", action=None, given_action=given), tmp_path)

    np.testing.assert_array_equal(read(f"{tmp_path / 'lerobot'}@camera:world").actions, given[0])


def test_a_video_without_actions_is_a_dataset_too(tmp_path):
    observation = Observation(task="A red ball rolls.")
    export(
        a_rollout(mode="text", action=None, space=None, reference_video=None, prompt="", observation=observation),
        tmp_path,
    )

    seen = read(tmp_path / "lerobot", domain=None, mode="image")

    assert (seen.task, seen.actions) == ("A red ball rolls.", None)


@pytest.mark.parametrize(
    ("fields", "config", "message"),
    [
        ({"video": None}, {}, "needs a video with a rate"),
        ({"video": np.zeros((5, 16, 16, 3), np.uint8)}, {}, "5 frames and 8 actions do not make an episode"),
        ({"action": np.full((1, 8, 10), np.nan, np.float32)}, {}, "NaN or inf; no dataset was written"),
        (
            {"space": ActionSpace(BRIDGE)},
            {"units": ExportUnits.physical},
            "no statistics here.*output.lerobot.units=model",
        ),
    ],
)
def test_what_cannot_be_written_truthfully_is_refused_and_leaves_nothing(fields, config, message, tmp_path):
    with pytest.raises(OutputError, match=message):
        export(a_rollout(**fields), tmp_path / "job", **config)
    assert not list((tmp_path / "job").iterdir())


def test_an_export_is_refused_in_another_domain_by_what_it_says_of_itself(tmp_path):
    export(a_rollout(), tmp_path)

    assert read(f"{tmp_path / 'lerobot'}@camera:world@actions:none", domain="fractal").domain == BRIDGE
    with pytest.raises(ObservationError, match=r"gives 10 columns; domain pusht has 2"):
        read(f"{tmp_path / 'lerobot'}@camera:world", domain="pusht")


def test_the_datasets_of_a_sweep_become_one(tmp_path, capsys):
    rollouts = [a_rollout(seed, prompt=f"Task {seed % 2}.") for seed in range(3)]
    for rollout in rollouts:
        export(rollout, tmp_path / f"job{rollout.seed}")

    assert main([str(tmp_path / "all"), str(tmp_path)]) == 0

    assert "3 episodes, 27 frames" in capsys.readouterr().out
    for number, rollout in enumerate(rollouts):
        seen = read(f"{tmp_path / 'all'}@episode:{number}@camera:world")
        video = tmp_path / f"job{number}/lerobot/videos/{WORLD}/chunk-000/file-000.mp4"
        np.testing.assert_array_equal(seen.actions, rollout.action[0])
        np.testing.assert_array_equal(seen.frames, read_clip(video).frames_FHWC)
        assert seen.task == rollout.prompt


def test_statistics_of_an_export_leave_the_repeated_row_out(tmp_path):
    rollout = a_rollout()
    physical = actions.to_physical(rollout.action[0], rollout.space)
    physical[:, 3:9] = actions.matrix_to_rot6d(actions.rot6d_to_matrix(physical[:, 3:9]))
    export(
        a_rollout(action=np.float32(actions.to_model(physical, rollout.space))[None]),
        tmp_path,
        units=ExportUnits.physical,
    )
    export(rollout, tmp_path / "model")

    found = LeRobotSource().action_rows(str(tmp_path / "lerobot"), "bridge")

    assert found.fps == 5
    np.testing.assert_allclose(np.concatenate(list(found.pieces)), physical, atol=1e-6)
    with pytest.raises(ObservationError, match="holds actions in model space"):
        LeRobotSource().action_rows(str(tmp_path / "model/lerobot"), "bridge")


def test_only_datasets_of_one_kind_are_joined(tmp_path, capsys):
    export(a_rollout(), tmp_path / "a")
    export(a_rollout(fps=10.0), tmp_path / "b")

    assert main([str(tmp_path / "all"), str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert main([str(tmp_path / "all"), str(tmp_path / "c")]) == 2

    said = capsys.readouterr().err
    assert "different kinds: 10 Hz bridge_orig_lerobot model and 5 Hz" in said
    assert "exists. Choose a new folder." in said
    assert "no export of output=[lerobot]" in said
    assert not (tmp_path / "all").exists()


def test_its_choices_are_typed_hydra_options():
    config = compose.compose(["output=[lerobot]", "output.lerobot.units=physical", "source.lerobot.rotation=rotvec"])

    assert config.output["lerobot"].units is ExportUnits.physical
    assert config.source["lerobot"].rotation.value == "rotvec"
    with pytest.raises(ConfigError, match=r"output\.lerobot\.crf must be 1 to 51, got 60"):
        compose.compose(["output=[lerobot]", "output.lerobot.crf=60"])


def test_loading_the_plugin_loads_neither_numpy_nor_pyarrow():
    program = "import sys, strands_diffusers_lerobot; sys.exit(bool({'numpy', 'pyarrow', 'PIL'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


READ_BACK = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
found = LeRobotDataset("local/job", root=sys.argv[1], video_backend="pyav")
rows = [found[i] for i in range(len(found))]
print(json.dumps({
    "frames": len(rows), "fps": found.fps, "task": rows[0]["task"],
    "action": [row["action"].tolist() for row in rows],
    "pixels": [float(row["observation.images.world"].mean()) * 255 for row in rows],
}))
"""


def test_lerobot_itself_reads_it(tmp_path):
    """Set STRANDS_DIFFUSERS_LEROBOT_PYTHON to the python of an environment with lerobot >= 0.4."""
    python = os.environ.get("STRANDS_DIFFUSERS_LEROBOT_PYTHON")
    if not python:
        pytest.skip("STRANDS_DIFFUSERS_LEROBOT_PYTHON does not name a python with lerobot")
    rollout = a_rollout()
    export(rollout, tmp_path)

    ran = subprocess.run(
        [python, "-c", READ_BACK, str(tmp_path / "lerobot")], capture_output=True, text=True, check=True
    )

    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["frames"], found["fps"], found["task"]) == (9, 5, rollout.prompt)
    np.testing.assert_array_equal(np.float32(found["action"])[:8], rollout.action[0])
    video = read_clip(tmp_path / f"lerobot/videos/{WORLD}/chunk-000/file-000.mp4").frames_FHWC
    np.testing.assert_allclose(found["pixels"], video.reshape(9, -1).mean(1), atol=0.5)
