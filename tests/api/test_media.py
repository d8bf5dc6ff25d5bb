import base64
import json
from pathlib import Path

import numpy as np
import pytest
from diffusers import UniPCMultistepScheduler

from strands_diffusers.api import media, wants
from strands_diffusers.api.access import Access
from strands_diffusers.api.store import STORE
from strands_diffusers.api.tool import perform
from strands_diffusers.errors import AccessError, ActionError, ConfigError, ObservationError
from strands_diffusers.observations.images import read_image

OPEN = Access()
CHUNK_TD = np.linspace(-1.2, 1.2, 160, dtype=np.float32).reshape(16, 10)


def coerced(name, value, annotation="", access=OPEN):
    return media.coerce(value, name, wants.wish(name, annotation), access)


def uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


# ------------------------------------------------------------------------------------------- what a parameter wants


@pytest.mark.parametrize(
    ("name", "annotation", "kinds"),
    [
        ("image", "Image.Image | np.ndarray | torch.Tensor | None", {"image"}),
        ("video", "list | np.ndarray | torch.Tensor | None", {"video"}),
        ("raw_actions", "torch.Tensor | None", {"action"}),
        ("action", "CosmosActionCondition | None", {"any"}),
        ("prompt", "str | list[str]", {"text"}),
        ("negative_prompt", "str | None", {"text"}),
        ("num_frames", "int", {"name"}),
        ("video_frames", "list[np.ndarray] | list[PIL.Image.Image]", {"video"}),
        ("output_video_path", "str", {"path"}),
        ("save_directory", "str | os.PathLike", {"path"}),
        ("controls", "PipelineImageInput | List[PipelineImageInput]", {"image", "video"}),
        ("mask", "list[PipelineImageInput]", {"image", "video"}),
        ("reference_images", "list[PipelineImageInput] | None", {"image"}),
        ("latents", "torch.Tensor | None", {"tensor"}),
        ("generator", "torch.Generator | list[torch.Generator] | None", {"generator"}),
        ("dtype", "torch.dtype", {"dtype"}),
        ("initial_audio_waveforms", "torch.Tensor | None", {"sound"}),
        ("domain_name", "str", {"name"}),
    ],
)
def test_what_a_parameter_wants_is_read_off_its_name_and_type(name: str, annotation: str, kinds: set[str]) -> None:
    assert wants.wish(name, annotation) == kinds


def test_text_that_is_a_files_name_stays_text(clip: Path) -> None:
    assert coerced("prompt", str(clip), "str | list[str]") == str(clip)
    assert coerced("label", str(clip), "str") == str(clip)


# ---------------------------------------------------------------------------------------------------- pictures, videos


def test_a_path_and_a_data_uri_become_the_same_image(first_frame: Path) -> None:
    from_path, from_uri = coerced("image", str(first_frame)), coerced("image", uri(first_frame, "image/png"))
    np.testing.assert_array_equal(np.asarray(from_path), read_image(first_frame))
    np.testing.assert_array_equal(np.asarray(from_uri), read_image(first_frame))


def test_a_clip_becomes_its_frames(clip: Path) -> None:
    frames = coerced("video", clip)
    assert len(frames) == 17
    assert frames[0].size == (128, 96)
    assert len(coerced("video", uri(clip, "video/mp4"))) == 17


def test_lists_and_mappings_keep_their_shape(first_frame: Path, clip: Path) -> None:
    assert [image.size for image in coerced("video", [str(first_frame)] * 3)] == [(128, 96)] * 3
    controls = coerced("control_videos", {"edge": str(clip)}, "dict")
    assert len(controls["edge"]) == 17


def test_objects_are_handed_on_untouched(first_frame: Path) -> None:
    array = np.zeros((4, 4, 3), np.uint8)
    assert coerced("image", array) is array
    assert coerced("latents", None, "torch.Tensor | None") is None
    assert coerced("anything", {"a": [1, "b"]}, "") == {"a": [1, "b"]}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image", "missing.png", "does not exist"),
        ("image", "robot.mp4", "is a clip"),
        ("video", "first_frame.png", "is a still image"),
        ("image", ".", "is not a file"),
        ("image", "https://example.org/a.png", "is not fetched|pip install -e plugins/https"),
        ("image", "data:image/png,notbase64", "looks like"),
        ("image", "data:image/png;base64,@@@", "not base64"),
        ("image", "data:application/x-python;base64,AAAA", "is not read"),
        ("image", "data:image/png;base64,AAAA", "not an image"),
        ("image", "data:;base64,AAAA", "type none"),
        ("video", "data:video/mp4;base64,AAAA", "video"),
        ("sound", "first_frame.png", "not a sound file"),
    ],
)
def test_what_cannot_become_what_is_wanted_is_one_clear_error(
    name: str, value: str, message: str, first_frame: Path, clip: Path, monkeypatch
) -> None:
    monkeypatch.chdir(clip.parent)
    with pytest.raises(ObservationError, match=message) as caught:
        coerced(name, value)
    assert len(str(caught.value)) < 400


def test_data_uris_have_a_size_limit(monkeypatch, first_frame: Path) -> None:
    monkeypatch.setenv("STRANDS_DIFFUSERS_MAX_DATA_URI_MB", "0.001")
    with pytest.raises(ObservationError, match=r"more than 0[.]001 MB"):
        coerced("image", uri(first_frame, "image/png") + "A" * 4000)
    monkeypatch.setenv("STRANDS_DIFFUSERS_MAX_DATA_URI_MB", "lots")
    with pytest.raises(ConfigError, match="number of megabytes"):
        coerced("image", uri(first_frame, "image/png"))


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    "spelling",
    [
        lambda path: CHUNK_TD.tolist(),
        lambda path: [CHUNK_TD.tolist()],
        lambda path: json.dumps(CHUNK_TD.tolist()),
        lambda path: json.dumps([CHUNK_TD.tolist()]),
        lambda path: CHUNK_TD,
        lambda path: CHUNK_TD[None],
        lambda path: {"type": "action", "data": [CHUNK_TD.tolist()]},
        lambda path: str(path),
        lambda path: path,
    ],
)
def test_every_spelling_of_an_action_becomes_the_tensor_that_diffusers_wants(spelling, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "action.json"
    path.write_text(json.dumps([CHUNK_TD.tolist()]))
    tensor = coerced("raw_actions", spelling(path), "torch.Tensor | None")
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.numpy(), CHUNK_TD)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0, 2.0], [3.0]], "row 1"),
        ([], "shape"),
        ("[[1, 2", "truncated or not JSON"),
        ([[float("nan")] * 3], "holds nan in row 0, column 0"),
        ([[["a"]]], "'a' in .*row 0, column 0: not a number"),
        ({"chunk": [1.0]}, "no chunk"),
        ([[[1.0, 2.0]], [[3.0, 4.0]]], "one chunk"),
        (5.0, "shape"),
    ],
)
def test_wrong_actions_are_refused(value, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        coerced("raw_actions", value, "torch.Tensor | None")


def test_a_whole_number_becomes_a_seeded_generator() -> None:
    import torch

    generator = coerced("generator", 7, "torch.Generator | None")
    assert isinstance(generator, torch.Generator)
    assert generator.initial_seed() == 7
    assert [each.initial_seed() for each in coerced("generator", [1, 2], "list[torch.Generator]")] == [1, 2]
    with pytest.raises(ConfigError, match="not a seed"):
        coerced("generator", -1, "torch.Generator")


def test_nested_numbers_and_npy_files_become_tensors(tmp_path: Path) -> None:
    import torch

    np.save(tmp_path / "latents.npy", np.ones((2, 3), np.float32))
    assert coerced("latents", [[1.0, 2.0]], "torch.Tensor").shape == (1, 2)
    assert torch.equal(coerced("latents", str(tmp_path / "latents.npy"), "torch.Tensor | None"), torch.ones(2, 3))
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ObservationError, match="no array"):
        coerced("latents", str(tmp_path / "evil.npy"), "torch.Tensor")


def test_dtype_names_become_dtypes() -> None:
    import torch

    assert coerced("dtype", "bfloat16", "torch.dtype") is torch.bfloat16
    with pytest.raises(ConfigError, match="not a precision"):
        coerced("dtype", "int3", "torch.dtype")


@pytest.mark.parametrize(
    ("documented", "shape"), [("`(batch_size, num_channels, n)`", (1, 2, 400)), ("`[channels, n]`", (2, 400))]
)
def test_a_sound_file_gets_the_axes_that_the_documentation_asks_for(documented: str, shape, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros((400, 2), np.float32), 2000, subtype="FLOAT")
    wish = wants.wish("audio", "torch.Tensor", documented)
    assert tuple(media.coerce(str(tmp_path / "a.wav"), "audio", wish, OPEN).shape) == shape


# ------------------------------------------------------------------------------------------------------------- access


@pytest.fixture
def confined(tmp_path: Path) -> Access:
    (tmp_path / "open").mkdir()
    return Access((tmp_path / "open",))


def test_a_confined_caller_reads_below_its_roots_only(confined: Access, tmp_path: Path, first_frame: Path) -> None:
    inside = tmp_path / "open" / "inside.png"
    inside.write_bytes(first_frame.read_bytes())
    assert coerced("image", str(inside), access=confined).size == (128, 96)
    (tmp_path / "open" / "link.png").symlink_to(first_frame)
    for outside in (first_frame, tmp_path / "open" / ".." / first_frame.name, tmp_path / "open" / "link.png"):
        with pytest.raises(AccessError, match="--root"):
            coerced("image", str(outside), access=confined)


@pytest.mark.parametrize(
    ("name", "value", "annotation"),
    [
        ("video", "/etc/hostname", ""),
        ("raw_actions", "/etc/hostname", "torch.Tensor"),
        ("latents", "/etc/hostname", "torch.Tensor"),
        ("audio", "/etc/hostname", "torch.Tensor"),
        ("config", {"deep": ["/etc/hostname"]}, "dict"),
        ("pretrained_model_name_or_path", "/etc", "str | os.PathLike"),
        ("anything", "~/secret", "str"),
        ("anything", "../secret", "str"),
        ("anything", "file:///etc/hostname", "str"),
        ("anything", "https://example.org", "str"),
        ("output_video_path", "/etc/clip.mp4", "str"),
        ("save_directory", "/tmp", "str"),
    ],
)
def test_no_parameter_of_a_confined_caller_names_a_place_outside(confined: Access, name, value, annotation) -> None:
    with pytest.raises(AccessError):
        coerced(name, value, annotation, confined)


def test_a_confined_caller_writes_below_the_artifacts_only(confined: Access, artifacts: Path) -> None:
    inside = str(artifacts / "clip.mp4")
    assert coerced("output_video_path", inside, "str", confined) == inside
    assert coerced("prompt", "/etc/hostname is a file", "str", confined).startswith("/etc")


def test_the_environment_confines_plain_calls_too(monkeypatch, refused, first_frame: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("STRANDS_DIFFUSERS_ROOTS", str(tmp_path / "elsewhere"))
    parameters = {"mode": "policy", "chunk_size": 4, "domain_name": "umi", "image": str(first_frame)}
    assert "may not be read" in refused("call", target="CosmosActionCondition", parameters=parameters, cache_key="c")
    assert "c" not in STORE


def test_a_function_that_writes_gets_no_path_of_a_readable_root(
    confined: Access, tmp_path: Path, artifacts: Path
) -> None:
    def call(target: str, **parameters):
        return perform(confined, "call", target=target, parameters=parameters)

    STORE["scheduler"] = UniPCMultistepScheduler()
    for target, name in (
        ("save_config", "save_directory"),
        ("to_json_file", "json_file_path"),
        ("save_pretrained", "save_directory"),
    ):
        reply = call(f"cached:scheduler.{target}", **{name: str(tmp_path / "open" / "written")})
        assert reply["data"] == {"error": "AccessError"}, target
        assert not (tmp_path / "open" / "written").exists()
    assert call("cached:scheduler.save_config", save_directory=str(artifacts / "kept"))["status"] == "success"
    assert "reach the Hub" in call("cached:scheduler.push_to_hub", repo_id="a/b")["content"][0]["text"]
