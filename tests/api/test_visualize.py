import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rollouts import moving_frames

from strands_diffusers import records
from strands_diffusers.api.access import Access
from strands_diffusers.api.tool import perform
from strands_diffusers.observations.images import read_image
from strands_diffusers.observations.media import read_clip
from strands_diffusers.outputs.video_file import write_mp4
from strands_diffusers.results import ActionSpace, Artifact

CHUNK_KTD = np.random.default_rng(3).uniform(-0.9, 1.1, (1, 3, 10)).astype(np.float32)
"""As short as it can be: an animation has a frame per step."""


def kinds(reply) -> list[str]:
    return [Path(path).name.split("_")[0] for path in reply["artifacts"]]


@pytest.mark.parametrize(
    "spelling",
    [
        lambda path: CHUNK_KTD.tolist(),
        lambda path: CHUNK_KTD[0].tolist(),
        lambda path: {"type": "action", "data": CHUNK_KTD.tolist(), "num_chunks": 1},
        lambda path: json.dumps(CHUNK_KTD.tolist()),
        lambda path: str(path),
        lambda path: CHUNK_KTD,
    ],
)
def test_every_spelling_is_drawn(use, spelling, tmp_path: Path) -> None:
    path = tmp_path / "action.json"
    path.write_text(json.dumps(CHUNK_KTD.tolist()))
    reply = use("visualize", inputs=spelling(path), parameters={"fps": 8})
    assert kinds(reply) == ["timeseries", "trajectory", "animation"]
    assert reply["data"]["num_chunks"] == 1
    assert reply["data"]["timesteps_per_chunk"] == 3
    assert reply["data"]["action_dim"] == 10
    assert reply["data"]["value_range"] == [float(CHUNK_KTD.min()), float(CHUNK_KTD.max())]
    assert reply["data"]["space"] == "model"
    clip = read_clip(Path(reply["artifacts"][2]))
    assert len(clip.frames_FHWC) == 4
    assert clip.fps == 8


def test_target_serves_too_and_one_row_is_a_chunk_of_one_step(use) -> None:
    reply = use("visualize", target=json.dumps(CHUNK_KTD[0, 0].tolist()))
    assert reply["data"]["timesteps_per_chunk"] == 1


def test_several_chunks_are_one_timeline(use) -> None:
    reply = use("visualize", inputs=np.concatenate([CHUNK_KTD, CHUNK_KTD]).tolist())
    assert (reply["data"]["num_chunks"], reply["data"]["timesteps_per_chunk"]) == (2, 3)


def test_upstreams_parameters_are_accepted(use, tmp_path: Path, artifacts: Path) -> None:
    clip = tmp_path / "world.mp4"
    write_mp4(clip, moving_frames(4, 64, 96), 8)
    parameters = {
        "save_prefix": "reach", "interpret_xyz": True, "gripper_index": -1, "cumulative_xyz": False,
        "world_video": str(clip), "fps": 8, "dim_labels": [f"joint {i}" for i in range(10)],
    }  # fmt: skip
    reply = use("visualize", inputs=CHUNK_KTD.tolist(), parameters=parameters)
    assert all(Path(path).name.startswith("reach_") and Path(path).parent == artifacts for path in reply["artifacts"])
    assert reply["data"]["gripper_index"] == 9
    plain = use("visualize", inputs=CHUNK_KTD.tolist(), parameters={"fps": 8})
    with_clip = read_clip(Path(reply["artifacts"][2])).frames_FHWC
    assert with_clip.shape[1:3] != read_clip(Path(plain["artifacts"][2])).frames_FHWC.shape[1:3]
    assert (read_image(Path(reply["artifacts"][0])) != 0).any()
    assert read_image(Path(reply["artifacts"][0])).shape != read_image(Path(plain["artifacts"][0])).shape


def test_without_interpret_xyz_there_is_no_path(use) -> None:
    reply = use("visualize", inputs=CHUNK_KTD.tolist(), parameters={"interpret_xyz": False})
    assert kinds(reply) == ["timeseries", "animation"]
    assert reply["data"]["has_3d_path"] is False


def test_a_sum_of_model_space_is_not_called_a_path(use) -> None:
    reply = use("visualize", inputs=CHUNK_KTD.tolist(), parameters={"cumulative_xyz": True})
    assert "drifts" in reply["notes"][0]
    decoded = use(
        "visualize", inputs=CHUNK_KTD.tolist(), parameters={"cumulative_xyz": True, "domain": "bridge_orig_lerobot"}
    )
    assert "notes" not in decoded
    assert decoded["data"]["space"] == "physical"
    assert decoded["data"]["gripper_index"] == 9


def test_a_manifest_beside_the_file_gives_domain_rate_and_task(use, tmp_path: Path) -> None:
    path = tmp_path / "sample_01" / "action.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CHUNK_KTD.tolist()))
    space = ActionSpace("bridge_orig_lerobot", "bridge_orig_lerobot", "quantile")
    samples = [
        records.SampleRecord(index, mode="policy", prompt=f"Put pot {index} to the left.", fps=rate, space=space)
        for index, rate in ((0, 4.0), (1, 5.0))
    ]
    files = (records.file_entry(Artifact(path, "action"), tmp_path),)
    records.write(records.Record(tmp_path, hash="0" * 16, samples=tuple(samples), artifacts=files))
    data = use("visualize", inputs=str(path))["data"]
    assert (data["domain"], data["fps"], data["space"]) == ("bridge_orig_lerobot", 5.0, "physical")
    assert use("visualize", inputs=str(path), parameters={"fps": 9})["data"]["fps"] == 9
    (tmp_path / "manifest.json").write_text("{")
    assert "cannot be used" in use("visualize", inputs=str(path))["content"][0]["text"]


def test_a_confined_caller_draws_a_file_that_lies_in_a_root_itself(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "action.json").write_text(json.dumps(CHUNK_KTD.tolist()))
    space = ActionSpace("bridge_orig_lerobot", "bridge_orig_lerobot", "quantile")
    files = (records.file_entry(Artifact(root / "action.json", "action"), tmp_path),)
    outside = records.SampleRecord(None, mode="policy", prompt="secret", fps=5.0, space=space)
    records.write(records.Record(tmp_path, hash="0" * 16, samples=(outside,), artifacts=files))

    reply = perform(Access((root,)), "visualize", inputs=str(root / "action.json"))

    assert reply["status"] == "success", reply
    assert reply["data"]["domain"] is None, "a record outside of the roots is not read"
    (root / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert perform(Access((root,)), "visualize", inputs=str(root / "action.json"))["data"] == {"error": "AccessError"}


def test_the_rate_is_that_of_what_is_drawn(use, refused, tmp_path: Path) -> None:
    """A 5 Hz domain and a 5 fps clip were drawn at 24 Hz."""
    clip, other = tmp_path / "clip.mp4", tmp_path / "other.mp4"
    write_mp4(clip, moving_frames(4, 64, 96), 5)
    write_mp4(other, moving_frames(4, 64, 96), 12)
    chunk = CHUNK_KTD.tolist()
    assert use("visualize", inputs=chunk, parameters={"domain": "bridge"})["data"]["fps"] == 5
    assert use("visualize", inputs=chunk, parameters={"world_video": str(clip)})["data"]["fps"] == 5
    both = {"domain": "bridge", "world_video": str(clip)}
    assert use("visualize", inputs=chunk, parameters=both)["data"]["fps"] == 5
    line = refused("visualize", inputs=chunk, parameters={"domain": "bridge", "world_video": str(other)})
    assert "12 Hz" in line
    assert "5 Hz" in line
    parameters = {"domain": "bridge", "world_video": str(other), "fps": 12}
    assert use("visualize", inputs=chunk, parameters=parameters)["data"]["fps"] == 12
    assert use("visualize", inputs=chunk, fps=7, parameters={"domain": "bridge"})["data"]["fps"] == 7


def test_real_rollouts_are_drawn(use, data: Path, tmp_path: Path) -> None:
    source = data / "cosmos3_nano"
    shutil.copy(source / "rollout_policy_1_action.json", tmp_path / "action.json")
    parameters = {"domain": "bridge_orig_lerobot", "fps": 5, "world_video": str(source / "rollout_policy_1.mp4")}
    reply = use("visualize", inputs=str(tmp_path / "action.json"), parameters=parameters)
    assert kinds(reply) == ["timeseries", "trajectory", "animation"]
    assert len(read_clip(Path(reply["artifacts"][2])).frames_FHWC) == 17


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (None, {}, "needs inputs"),
        ("missing.json", {}, "does not exist"),
        ("[[1, 2", {}, "not JSON"),
        ([[1.0], [2.0, 3.0]], {}, "row 1"),
        ([[float("inf")]], {}, "finite number"),
        (CHUNK_KTD.tolist(), {"fsp": 3}, "Did you mean 'fps'"),
        (CHUNK_KTD.tolist(), {"fps": 0}, "above 0"),
        (CHUNK_KTD.tolist(), {"gripper_index": 10}, "not a column"),
        (CHUNK_KTD.tolist(), {"dim_labels": ["x"]}, "10 texts"),
        (CHUNK_KTD.tolist(), {"domain": "bridge_orig_lerobo"}, "Did you mean"),
        (CHUNK_KTD.tolist(), {"domain": "agibotworld"}, "29"),
        (CHUNK_KTD.tolist(), {"world_video": "missing.mp4"}, "missing.mp4"),
        (CHUNK_KTD.tolist(), {"save_prefix": "../.."}, "not a path"),
        ("cached:nothing", {}, "no object is kept"),
    ],
)
def test_wrong_requests_are_one_line_and_write_nothing(
    refused, artifacts: Path, inputs, parameters, message: str
) -> None:
    assert message in refused("visualize", inputs=inputs, parameters=parameters)
    assert not artifacts.exists() or not list(artifacts.iterdir())


@pytest.mark.parametrize("prefix", ["../../etc/passwd", "a/b", "a\\b", "..", "a\nb", "\x1b[31m", "x" * 300])
def test_a_prefix_that_could_leave_the_folder_is_refused(refused, artifacts: Path, prefix: str) -> None:
    assert "save_prefix" in refused("visualize", inputs=CHUNK_KTD.tolist(), parameters={"save_prefix": prefix})
    assert not artifacts.exists() or not list(artifacts.iterdir())


def test_an_unwritable_folder_is_one_line(refused, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STRANDS_DIFFUSERS_ARTIFACTS", str(tmp_path / "file" / "below"))
    assert "STRANDS_DIFFUSERS_ARTIFACTS" in refused("visualize", inputs=CHUNK_KTD.tolist())
