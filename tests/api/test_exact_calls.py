"""The calls of upstream's documentation, exactly as users write them, on a local checkpoint folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers import use_diffusers
from strands_diffusers.api.store import STORE
from strands_diffusers.observations.images import read_image
from strands_diffusers.observations.media import read_clip

pytestmark = [pytest.mark.slow, pytest.mark.contract, pytest.mark.timeout(300)]


@pytest.fixture
def files(data: Path, tmp_path: Path, monkeypatch) -> Path:
    """robot.mp4, observed.mp4 and first_frame.png of a real 480x640 Bridge observation, in the working directory."""
    from PIL import Image

    clip = data / "cosmos3_nano" / "rollout_policy_1.mp4"
    for name in ("robot.mp4", "observed.mp4"):
        shutil.copy(clip, tmp_path / name)
    Image.fromarray(read_clip(clip).frames_FHWC[0]).save(tmp_path / "first_frame.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policy_forward_inverse_visualize_and_wfm(files: Path, cosmos3: Path) -> None:
    reply = use_diffusers(action="call", target="CosmosActionCondition",
                          parameters={"mode": "policy", "chunk_size": 16, "domain_name": "bridge_orig_lerobot", "resolution_tier": 480,
                                      "video": "robot.mp4", "view_point": "ego_view"}, cache_key="cond")  # fmt: skip
    assert reply["data"] == {"cached": "cond", "type": "CosmosActionCondition"}
    reply = use_diffusers(action="run", pipeline="Cosmos3OmniPipeline", model=str(cosmos3),
                          parameters={"prompt": "Put the pot to the left of the purple item.", "action": "cached:cond", "fps": 5,
                                      "num_inference_steps": 2, "guidance_scale": 1.0}, dtype="bfloat16", device="cpu")  # fmt: skip
    assert reply["status"] == "success", reply
    assert "use_system_prompt=false" in reply["notes"][0]
    video, action = reply["data"]["video"], reply["data"]["action"]
    assert reply["data"]["sound"] is None
    assert reply["data"]["__type__"] == "Cosmos3OmniPipelineOutput"
    assert video["shape"] == [17, 480, 640, 3]
    clip = read_clip(Path(video["path"]))
    assert clip.frames_FHWC.shape == (17, 480, 640, 3)
    assert clip.fps == 5
    assert (action["type"], action["chunk_shape"], action["num_chunks"]) == ("action", [16, 10], 1)
    stored = np.float32(json.loads(Path(action["path"]).read_text()))
    assert stored.shape == (1, 16, 10)
    np.testing.assert_array_equal(stored, np.float32(action["data"]))
    assert Path(action["path"]).name.startswith("action_")
    assert Path(action["path"]).suffix == ".json"
    assert set(reply["artifacts"]) == {video["path"], action["path"]}

    action_chunk = action
    reply = use_diffusers(action="visualize", inputs=action_chunk, parameters={"fps": 8})
    assert [Path(path).name.split("_")[0] for path in reply["artifacts"]] == ["timeseries", "trajectory", "animation"]
    assert read_image(Path(reply["artifacts"][0])).shape[1] >= 800
    assert read_clip(Path(reply["artifacts"][2])).fps == 8

    reply = use_diffusers(action="wfm")
    assert "Cosmos3OmniPipeline" in reply["data"]
    assert reply["details"]["Cosmos3OmniPipeline"]["gives"] == ["image", "video", "sound", "action"]


def test_forward_dynamics_takes_nested_lists(files: Path, cosmos3: Path) -> None:
    chunk = np.random.default_rng(0).uniform(-1, 1, (16, 29)).tolist()
    for chunks in (chunk, [chunk]):
        parameters = {"mode": "forward_dynamics", "chunk_size": 16, "domain_name": "agibotworld", "resolution_tier": 480,
                      "image": "first_frame.png", "raw_actions": chunks}  # fmt: skip
        reply = use_diffusers(action="call", target="CosmosActionCondition", parameters=parameters, cache_key="fd")
        assert reply["data"] == {"cached": "fd", "type": "CosmosActionCondition"}
        np.testing.assert_array_equal(STORE["fd"].raw_actions, np.float32(chunk))
    reply = use_diffusers(action="run", pipeline="Cosmos3OmniPipeline", model=str(cosmos3),
                          parameters={"prompt": "Move.", "action": "cached:fd", "fps": 10, "num_inference_steps": 1,
                                      "guidance_scale": 1.0, "use_system_prompt": False}, dtype="bfloat16", device="cpu")  # fmt: skip
    assert reply["data"]["video"]["shape"] == [17, 480, 640, 3]
    assert reply["data"]["action"] is None
    assert "notes" not in reply


def test_inverse_dynamics_takes_a_clip(files: Path, cosmos3: Path) -> None:
    reply = use_diffusers(action="call", target="CosmosActionCondition",
                          parameters={"mode": "inverse_dynamics", "chunk_size": 16, "domain_name": "bridge_orig_lerobot",
                                      "video": "observed.mp4"}, cache_key="id")  # fmt: skip
    assert reply["data"] == {"cached": "id", "type": "CosmosActionCondition"}
    assert len(STORE["id"].video) == 17
    reply = use_diffusers(action="run", pipeline="Cosmos3OmniPipeline", model=str(cosmos3),
                          parameters={"prompt": "", "action": "cached:id", "fps": 5, "num_inference_steps": 1,
                                      "guidance_scale": 1.0, "use_system_prompt": False}, dtype="bfloat16", device="cpu")  # fmt: skip
    assert reply["data"]["action"]["chunk_shape"] == [16, 10]
