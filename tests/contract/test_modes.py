"""All three directions on real clips, through real diffusers classes with small random weights."""

import json

import numpy as np
import pytest
from tiny_cosmos3 import build_tiny_cosmos3

from strands_diffusers import rollout
from strands_diffusers.errors import ActionError, ModelError, ObservationError
from strands_diffusers.pipelines import canvas as canvases

pytestmark = [pytest.mark.contract, pytest.mark.timeout(180)]

FAST = (
    "model=custom",
    "sampler.num_inference_steps=1",
    "sampler.guidance_scale=1",
    "tracker=none",
    "metric=[]",
    "visualizer=[]",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return build_tiny_cosmos3(tmp_path_factory.mktemp("tiny") / "cosmos3", vae="wan22")


@pytest.fixture
def run(checkpoint, tmp_path):
    def run(*overrides, **kwargs):
        return rollout(*FAST, f"model.repo={checkpoint}", *overrides, output_dir=tmp_path / "job", **kwargs)

    return run


CLIPS = {
    # domain, clip below the data folder, actions, (H, W) of the rollout
    "bridge": ("cosmos3_nano/rollout_policy_1.mp4", "cosmos3_nano/rollout_policy_1_action.json", (480, 640)),
    "umi": ("nvidia_cosmos/umi.mp4", "nvidia_cosmos/umi.json", (256, 256)),
    "av": ("nvidia_cosmos/av_0.mp4", "nvidia_cosmos/av_traj_left.json", (480, 832)),
}
SMALL = "condition.resolution_tier=256"


@pytest.mark.parametrize("domain", CLIPS)
@pytest.mark.parametrize("mode", ["policy", "forward_dynamics", "inverse_dynamics"])
def test_a_real_clip_gives_frames_and_actions_of_the_contract(run, data, domain, mode):
    clip, actions, _ = CLIPS[domain]
    extra = [f"condition.actions={data / actions}"] if mode == "forward_dynamics" else []

    made = run(
        f"condition={mode}",
        f"domain={domain}",
        f"observation={data / clip}",
        "prompt=move",
        SMALL,
        "condition.chunk_size=4",
        *extra,
    )

    factor, width = 16, {"bridge": 10, "umi": 10, "av": 9}[domain]
    assert made.video.dtype == np.uint8
    assert made.video.shape[0] == 5
    assert made.video.shape[1] % factor == made.video.shape[2] % factor == 0
    if mode != "forward_dynamics":
        assert (made.action.dtype, made.action.shape) == (np.float32, (1, 4, width))
        assert np.isfinite(made.action).all()
    if mode == "forward_dynamics":
        given = np.float32(json.loads((data / actions).read_text())).reshape(-1, width)[:4]
        np.testing.assert_array_equal(made.given_action[0], given)
    assert made.reference_video.shape == made.video.shape


def test_a_480x640_bridge_observation_keeps_its_size(run, data):
    made = run(
        "domain=bridge",
        f"observation={data / CLIPS['bridge'][0]}",
        "prompt=move",
        "output=[video]",
        "condition.chunk_size=4",
    )

    assert made.video.shape == (5, 480, 640, 3)


@pytest.mark.parametrize(
    ("size", "tier"), [((480, 640), 480), ((360, 640), 256), ((720, 1280), 480), ((240, 427), 256), ((96, 96), 256)]
)
def test_the_frame_transform_is_the_pipelines_own(checkpoint, size, tier):
    import torch
    from diffusers import Cosmos3OmniPipeline

    pipe = Cosmos3OmniPipeline.from_pretrained(checkpoint, enable_safety_checker=False)
    frames = np.random.default_rng(0).integers(0, 255, (2, *size, 3), dtype=np.uint8)
    canvas = canvases.canvas_for(*size, tier, pipe.vae_scale_factor_spatial)

    theirs, image_size, height, width = pipe._prepare_action_video_conditioning(
        canvases.to_pil(frames), tier, 2, "cpu", torch.float32
    )

    assert (height, width) == canvas.canvas
    assert tuple(int(v) for v in image_size) == (*canvas.canvas, *canvas.content)
    cells = pipe._remove_action_video_padding_from_latent(torch.zeros(1, 1, 1, height // 16, width // 16), image_size)
    assert (cells.shape[-2] * 16, cells.shape[-1] * 16) == canvas.output
    out_h, out_w = canvas.output
    expected = (
        theirs[0, :, :, :out_h, :out_w]
        .clamp(-1, 1)
        .add(1)
        .mul(127.5)
        .round()
        .to(torch.uint8)
        .permute(1, 2, 3, 0)
        .numpy()
    )
    np.testing.assert_array_equal(canvases.transform(frames, pipe, canvas), expected)


def test_the_default_tier_is_the_smallest_without_downscaling(checkpoint):
    assert [
        canvases.default_tier(*size, 16) for size in ((96, 96), (256, 256), (480, 640), (480, 832), (704, 1280))
    ] == [256, 256, 480, 480, 704]
    assert canvases.default_tier(1080, 1920, 16) == 480
    assert canvases.default_tier(704, 1280, 16, [256, 480]) == 480
    assert canvases.default_tier(704, 1280, 16, [256]) == 256


def test_what_the_checkpoint_cannot_do_is_refused_before_it_loads(tmp_path, data):
    narrow = build_tiny_cosmos3(tmp_path / "narrow", action_dim=4)
    frozen = build_tiny_cosmos3(tmp_path / "frozen", action_dim=None)
    clip = f"observation={data / CLIPS['bridge'][0]}"

    for repo in (narrow, frozen):
        with pytest.raises(ModelError, match="domain bridge needs 10"):
            rollout(*FAST, f"model.repo={repo}", "domain=bridge", clip, "prompt=move", output_dir=tmp_path / "job")
    with pytest.raises(ModelError, match="was saved without sound"):
        rollout(
            *FAST,
            f"model.repo={narrow}",
            "condition=text",
            "condition.sound=true",
            "prompt=sea",
            output_dir=tmp_path / "job",
        )


def test_wrong_actions_are_refused_before_the_load(run, data, tmp_path):
    clip = ("condition=forward_dynamics", "domain=bridge", f"observation={data / CLIPS['bridge'][0]}")
    chunk = json.loads((data / CLIPS["bridge"][1]).read_text())[0]
    bad = {
        "narrow": ([row[:9] for row in chunk], "have 9 columns; domain 'bridge' needs 10"),
        "short": (chunk[:12], "has 12 steps; the rollout needs 16. Use condition.chunk_size=12"),
        "ragged": ([*chunk[:-1], chunk[-1][:3]], "ragged"),
        "empty": ([], "empty"),
    }
    for name, (value, message) in bad.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(value))
        with pytest.raises((ActionError, ObservationError)) as caught:
            run(*clip, f"condition.actions={path}")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "nan.npy", np.full((16, 10), np.nan, np.float32))
    with pytest.raises(ActionError, match="nan"):
        run(*clip, f"condition.actions={tmp_path / 'nan.npy'}")


def test_a_clip_shorter_than_inverse_dynamics_needs_is_refused(run, data):
    with pytest.raises(ObservationError, match="17"):
        run(
            "condition=inverse_dynamics",
            "domain=bridge",
            f"observation={data / CLIPS['bridge'][0]}",
            "condition.chunk_size=20",
        )


@pytest.mark.parametrize("mode", ["text", "image", "video"])
def test_world_generation(run, data, mode):
    clip = [] if mode == "text" else [f"observation={data / CLIPS['umi'][0]}"]

    made = run(
        f"condition={mode}",
        "prompt=a kitchen",
        *clip,
        "condition.num_frames=9",
        "condition.height=64",
        "condition.width=96",
        "condition.fps=20",
    )

    assert made.video.shape == (9, 64, 96, 3)
    assert made.fps == 20
    assert made.action is None


def test_one_frame_is_an_image(run):
    made = run(
        "condition=text", "prompt=a kitchen", "condition.num_frames=1", "condition.height=64", "condition.width=96"
    )

    assert made.video is None
    assert made.image.shape == (1, 64, 96, 3)


def test_sound_comes_with_its_rate(tmp_path):
    noisy = build_tiny_cosmos3(tmp_path / "noisy", sound=True)

    made = rollout(
        *FAST, f"model.repo={noisy}", "condition=text", "prompt=sea", "condition.sound=true", "condition.num_frames=9",
        "condition.height=64", "condition.width=64", "condition.fps=24", output_dir=tmp_path / "job",
    )  # fmt: skip

    assert made.sound.dtype == np.float32
    assert made.sound.ndim == 2
    assert made.sampling_rate > 1000
    assert (tmp_path / "job" / "sound.wav").is_file()


def test_long_rollouts_are_one_video_with_reported_seams(run, data):
    clip, actions, _ = CLIPS["umi"]

    made = run(
        "condition=forward_dynamics",
        "domain=umi",
        f"observation={data / clip}",
        f"condition.actions={data / actions}",
        "condition.num_chunks=2",
        "condition.chunk_size=4",
    )

    assert made.video.shape == (9, 256, 256, 3)
    assert made.given_action.shape == (2, 4, 10)
    assert len(made.details["seams_psnr_db"]) == 1
