"""Real clips and actions through every stage, on a tiny random checkpoint; and a training that is killed, in earnest."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from squares import dataset, episode
from strands_diffusers_lerobot.writer import EpisodeData, write_dataset
from strands_diffusers_training import judge
from strands_diffusers_training.command import adapt

from strands_diffusers import ObservationRequest, actions, domains, plugins, read_clip
from strands_diffusers.observations.action_files import read_actions
from strands_diffusers.observations.resolve import read_observation
from strands_diffusers.pipelines import loader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DATA = Path(os.environ.get("STRANDS_DIFFUSERS_TEST_DATA") or "/nowhere")
COLUMNS = "@actions:observation.state.cartesian_position+action.gripper_position@units:poses@rotation:euler_xyz"
DROID = f"{COLUMNS}@gripper:closed_is_1@body:0+0+0+0+0+90"


def bridge():
    """Three clips that Cosmos3-Nano made of a Bridge scene, at half their size, and its actions, in model space, with their rate."""
    for number in (1, 2, 3):
        place = DATA / "cosmos3_nano" / f"rollout_policy_{number}"
        clip, acted = read_clip(place.with_suffix(".mp4")), read_actions(Path(f"{place}_action.json"))
        yield clip.frames_FHWC[:17, ::2, ::2], acted.reshape(-1, 10)[:16], 5.0


def droid():
    """Three windows of the DROID example episode, its poses as actions in model space."""
    for start in (120, 300, 480):
        request = ObservationRequest(9, 15.0, domains.get("droid").name, "inverse_dynamics", actions.space_of("droid"))
        root = DATA / "nvidia_cosmos" / "droid_lerobot_example"
        seen = read_observation(f"lerobot:{root}@start:{start}{DROID}", request, plugins().sources({}))
        yield seen.frames, seen.actions, 15.0


@pytest.mark.parametrize("kind", ["bridge", "droid"])
def test_real_windows_pass_every_stage_and_their_loss_falls(kind, tmp_path, monkeypatch):
    if not DATA.is_dir():
        pytest.skip("STRANDS_DIFFUSERS_TEST_DATA names no folder")
    from tiny_cosmos3 import build_tiny_cosmos3

    episodes, fps = [], 0.0
    for frames, acted, rate in {"bridge": bridge, "droid": droid}[kind]():
        rows = np.concatenate([acted, acted[-1:]]).astype(np.float32)
        episodes.append(EpisodeData("Put the pot to the left.", {"observation.images.top": frames}, {"action": rows}))
        fps = rate
    name = domains.get(kind).name
    marker = {"domain": name, "units": "model", "last_row_repeats": True}
    write_dataset(tmp_path / "set", episodes, fps, robot_type=kind, marker=marker)
    model = build_tiny_cosmos3(tmp_path / "tiny", vae="wan22", layers=1)
    out = tmp_path / "out"

    def shorter(folder, name, overrides, say):  # two steps instead of diffusers' 35, no pictures: nobody looks at them
        kept = [word for word in overrides if not word.startswith("visualizer=")]
        fast = ["visualizer=[]", "sampler.num_inference_steps=2", "sampler.guidance_scale=1"]
        return sweep(folder, name, [*kept, *fast], say)

    sweep = judge._sweep
    monkeypatch.setattr(judge, "_sweep", shorter)
    monkeypatch.setattr(judge, "SENSITIVITY_WINDOWS", 1)
    loader.clear()
    words = [f"data=lerobot:{tmp_path}/set", "name=my_arm", f"out={out}", "stride=4", "tracker=none"]
    words += [
        "model=custom",
        f"model.repo={model}",
        f"domain={kind}",
        "domain.chunk_size=4",
        "condition.resolution_tier=256",
    ]
    words += ["train.what=lora", "train.steps=40", "train.lr=0.01", "train.batch=4", "train.validate_every=20"]
    status = adapt([*words, "train.rollouts=0", f"judge.windows={int(kind == 'bridge')}"])

    assert status == 0
    curve = [json.loads(line) for line in (out / "train" / "curve.jsonl").read_text().splitlines()]
    assert curve[1]["train/video"] < curve[0]["train/video"]
    assert (out / "export" / "weights" / "pytorch_lora_weights.safetensors").is_file()
    card = (out / "export" / "README.md").read_text()
    assert "Held out, never trained on" in card
    if kind == "bridge":
        judgement = json.loads((out / "judge" / "judgement.json").read_text())
        rows = {(row["mode"], row["measure"]) for row in judgement["parts"][0]["rows"]}
        assert {
            ("forward_dynamics", "video.psnr"),
            ("inverse_dynamics", "action.mae"),
            ("policy", "action.mae"),
        } <= rows
        assert "forgetting is not known" in card
        assert (out / "judge" / "held_out" / "index.html").is_file()


def test_an_adaptation_killed_while_it_encodes_and_while_it_trains_writes_the_same_weights(tmp_path):
    from tiny_cosmos3 import build_tiny_cosmos3

    model = build_tiny_cosmos3(tmp_path / "tiny", vae="wan22", layers=1)
    data = dataset(tmp_path / "set", [episode(number) for number in range(3)])

    def words(out):
        return [
            f"data={data}", "name=my_square", f"out={out}", "until=train", "model=custom", f"model.repo={model}", "domain=pusht",
            "domain.chunk_size=4", "tracker=none", "train.steps=20", "train.batch=4", "train.carried=0.5", "train.save_minutes=0",
            "train.validate_every=1", "train.rollouts=0",
        ]  # fmt: skip

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    loader.clear()  # training changes the model that is warm
    assert adapt(words(whole)) == 0
    program = "import sys; from strands_diffusers_training.command import adapt; sys.exit(adapt(sys.argv[1:]))"
    curve = cut / "train" / "curve.jsonl"
    for reached in (
        lambda: any((cut / "latents").glob("0*")),
        lambda: curve.is_file() and curve.read_text().count("\n") > 5,
    ):
        command = [sys.executable, "-c", program, *words(cut)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not reached():
            time.sleep(0.02)
        assert process.poll() is None, "it was quicker than the kill"
        process.kill()
        process.wait()
    loader.clear()
    assert adapt(words(cut)) == 0
    weights = Path("export/weights/transformer/diffusion_pytorch_model.safetensors")
    assert (cut / weights).read_bytes() == (whole / weights).read_bytes()
