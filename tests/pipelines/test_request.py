"""What is refused once the observation is read, and before a weight is: by sizes, files and the pipeline's own signature."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cosmos3 import build_tiny_cosmos3

from strands_diffusers import Observation
from strands_diffusers.config.compose import compose
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.errors import ConfigError, ModelError, StrandsDiffusersError
from strands_diffusers.observations.resolve import observation_request
from strands_diffusers.pipelines import checkpoint, loader
from strands_diffusers.pipelines.request import fit_arguments, make_request

FRAMES = Observation(frames=np.zeros((33, 48, 64, 3), np.uint8), fps=10.0, source="clip.mp4")
TEXT = ("condition=text", "prompt=a")


def refusal(*words: str, observation: Observation = FRAMES) -> str:
    with pytest.raises(StrandsDiffusersError) as caught:
        make_request(compose(words), observation)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "instead"), [("height", 17, "16 or 32"), ("width", 31, "16 or 32"), ("height", 130, "128 or 144")]
)
def test_a_canvas_of_no_whole_cells_is_refused_with_the_next_ones(key: str, value: int, instead: str) -> None:
    line = refusal(*TEXT, f"condition.{key}={value}")
    assert f"condition.{key}={value} is not a multiple of 16" in line
    assert f"Use condition.{key}={instead}." in line


def test_the_cell_is_the_checkpoints_own(tmp_path) -> None:
    folder = build_tiny_cosmos3(tmp_path, vae="wan21")  # 8 pixels
    words = (*TEXT, "model=custom", f"model.repo={folder}", "condition.width=64")
    assert make_request(compose([*words, "condition.height=24"]), Observation()).mode == "text"
    assert "not a multiple of 8" in refusal(*words, "condition.height=20")


def test_a_frame_to_condition_on_that_the_video_does_not_reach_is_refused() -> None:
    words = ("condition=video", "prompt=a", "observation=a.mp4", "condition.condition_frames=[0,4]")
    assert "latent frames 0 to 2. Use condition.num_frames=17 or more" in refusal(*words, "condition.num_frames=9")
    assert make_request(compose([*words, "condition.num_frames=17"]), FRAMES).frames_FHWC.shape[0] == 17


@pytest.mark.parametrize(
    ("pipeline", "words", "line"),
    [
        ("WanPipeline", ("condition=image", "observation=a.png"), "WanPipeline takes no 'image'"),
        ("StableDiffusionPipeline", (*TEXT, "condition.num_frames=9"), "StableDiffusionPipeline takes no 'num_frames'"),
        ("WanModularPipeline", TEXT, "is a modular pipeline"),
    ],
)
def test_what_a_pipeline_does_not_take_is_refused_by_its_signature(
    pipeline: str, words: tuple[str, ...], line: str
) -> None:
    assert line in refusal("model=custom", "model.repo=owner/name", f"model.pipeline={pipeline}", "prompt=a", *words)


def test_arguments_take_the_names_of_the_pipeline_and_what_is_optional_is_left_out() -> None:
    given = {"prompt": "a", "fps": 5.0, "num_frames": 1, "image": "an image"}
    assert fit_arguments(given, ["prompt", "frame_rate", "image_reference"], "X", "image") == {
        "prompt": "a", "frame_rate": 5.0, "image_reference": "an image",
    }  # fmt: skip
    with pytest.raises(ModelError, match=r"X takes no 'image'.*of these it takes prompt"):
        fit_arguments(given, ["prompt"], "X", "image")


def test_the_request_holds_chunks_of_the_size_that_was_asked_for() -> None:
    actions = np.linspace(-1, 1, 32 * 2, dtype=np.float32).reshape(32, 2)
    seen = Observation(frames=FRAMES.frames, actions=actions, fps=10.0, task="Push.", source="clip.mp4")
    config = compose(["condition=forward_dynamics", "condition.num_chunks=2", "observation=a.mp4"])
    request = make_request(config, seen)
    assert (request.num_chunks, request.chunk_size, request.prompt) == (2, 16, "Push.")
    np.testing.assert_array_equal(request.given_action_KTD, actions.reshape(2, 16, 2))
    assert observation_request(config).num_frames == 33


# ------------------------------------------------------------------------------------------------- checkpoints' files


def test_a_variant_that_a_folder_does_not_have_is_refused_with_those_it_has(tmp_path) -> None:
    folder = build_tiny_cosmos3(tmp_path)
    words = ["model=custom", f"model.repo={folder}", "model.device=cpu", "domain=bridge"]
    with pytest.raises(ModelError, match=r"model.variant=fp16.*no such weights. Use model.variant=null"):
        loader.load(compose([*words, "model.variant=fp16"]).model)
    (folder / "transformer" / "diffusion_pytorch_model.ema.safetensors").write_bytes(
        (folder / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes()
    )
    with pytest.raises(ModelError, match=r"Use model.variant=ema or null"):
        loader.load(compose([*words, "model.variant=fp16"]).model)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())
DEEP = st.just(b"[" * 100_000)
INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_cosmos3(tmp_path_factory.mktemp("model"))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.sampled_from(["model_index.json", "transformer/config.json", f"vae/{INDEX}"]),
    JSON | DEEP | st.binary(max_size=9),
)
def test_a_checkpoints_json_may_hold_anything_and_costs_no_traceback(folder, name: str, content: bytes) -> None:
    place = folder / name
    before = place.read_bytes() if place.exists() else None
    place.write_bytes(content)
    try:
        with contextlib.suppress(ModelError):
            assert checkpoint.locate(ModelConfig("custom", str(folder))).transformer is not None
    finally:
        place.unlink() if before is None else place.write_bytes(before)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(JSON | DEEP | st.just(b'{"a": {"shape": [2, 3], "data_offsets": [0, 24]}}'))
def test_a_weight_files_header_may_hold_anything(folder, header: bytes) -> None:
    place = folder / "vae" / "diffusion_pytorch_model.safetensors"
    before = place.read_bytes()
    place.write_bytes(len(header).to_bytes(8, "little") + header)
    try:
        with pytest.raises(ModelError, match="is damaged"):
            checkpoint.locate(ModelConfig("custom", str(folder)))
    finally:
        place.write_bytes(before)


def test_the_numbers_of_a_checkpoint_are_counted_from_its_headers(folder) -> None:
    from safetensors.numpy import load_file

    files = [path for path in folder.rglob("*.safetensors") if not path.is_symlink()]
    numbers = checkpoint.locate(ModelConfig("custom", str(folder))).numbers
    assert sum(numbers.values()) == sum(array.size for path in files for array in load_file(path).values())
    assert min(numbers.values()) > 1_000


def test_the_policy_without_a_task_is_asked_for_one() -> None:
    with pytest.raises(ConfigError, match="needs a task"):
        make_request(compose(["observation=a.mp4"]), FRAMES)
