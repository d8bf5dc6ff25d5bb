import numpy as np
import pytest
import torch
from PIL import Image

from strands_diffusers.errors import RolloutError
from strands_diffusers.pipelines import catalog, contents

RAMP_FHWC = np.linspace(0, 1, 3 * 4 * 6 * 3, dtype=np.float32).reshape(3, 4, 6, 3)
PIXELS_FHWC = (RAMP_FHWC * 255).round().astype(np.uint8)
PIL_F = [Image.fromarray(frame) for frame in PIXELS_FHWC]
TORCH_FCHW = torch.from_numpy(np.moveaxis(RAMP_FHWC, -1, 1).copy())


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (PIL_F, 1),
        ([PIL_F, PIL_F], 2),
        (RAMP_FHWC, 1),
        (RAMP_FHWC[None], 1),
        (np.stack([RAMP_FHWC, RAMP_FHWC]), 2),
        (TORCH_FCHW, 1),
        (torch.stack([TORCH_FCHW, TORCH_FCHW]), 2),
        ([RAMP_FHWC, RAMP_FHWC], 2),
        (list(RAMP_FHWC), 1),
        ([TORCH_FCHW], 1),
        (PIXELS_FHWC, 1),
    ],
)
def test_every_layout_of_frames_gives_the_same_pixels(value, count: int) -> None:
    clips = contents.clips(value)
    assert len(clips) == count
    for clip in clips:
        np.testing.assert_array_equal(clip, PIXELS_FHWC)


def test_a_clip_that_is_as_high_as_it_has_channels_is_not_turned() -> None:
    small = np.zeros((2, 3, 3, 3), np.float32)
    small[0, 0, 1, 2] = 1.0
    assert contents.clips(small)[0][0, 0, 1, 2] == 255
    assert contents.clips(torch.from_numpy(small))[0][0, 1, 2, 0] == 255


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 4, 6, 4), np.float32), "4 channels"),
        (np.full((2, 4, 6, 3), 1.5, np.float32), "from 1.5 to 1.5"),
        (np.full((2, 4, 6, 3), -1.0, np.float32), "from -1 to -1"),
        (np.full((2, 4, 6, 3), np.nan, np.float32), "from nan"),
        (np.zeros((4, 6), np.float32), "shape"),
        ([], "empty"),
        ("clip.mp4", "str"),
    ],
)
def test_what_is_no_clip_is_refused_not_rescaled(value, message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        contents.clips(value)


def test_stills_keep_their_number_and_grey_becomes_rgb() -> None:
    assert contents.stills(PIL_F).shape == (3, 4, 6, 3)
    assert contents.stills(PIL_F[0]).shape == (1, 4, 6, 3)
    assert contents.stills(TORCH_FCHW).shape == (3, 4, 6, 3)
    assert contents.stills(RAMP_FHWC[..., :1]).shape == (3, 4, 6, 3)
    with pytest.raises(RolloutError, match="several sizes"):
        contents.stills([Image.new("RGB", (4, 4)), Image.new("RGB", (5, 4))])


@pytest.mark.parametrize(
    ("value", "name", "shapes"),
    [
        (np.zeros((2, 2, 50), np.float32), "audios", [(50, 2), (50, 2)]),
        (np.zeros((2, 50), np.float32), "audios", [(50, 1), (50, 1)]),
        (torch.zeros(1, 2, 50, dtype=torch.bfloat16), "audio", [(50, 2)]),
        (torch.zeros(2, 50), "sound", [(50, 2)]),
        (np.zeros((2, 1), np.float32), "sound", [(1, 2)]),
        ([np.zeros((1, 50), np.float32)], "audios", [(50, 1)]),
    ],
)
def test_channels_come_from_the_fields_contract_not_from_the_shorter_axis(value, name: str, shapes) -> None:
    assert [samples.shape for samples in contents.sounds(value, name)] == shapes


def test_actions_are_exact_and_chunked() -> None:
    chunk = torch.tensor([[1.031, -2.5], [0.0, 0.25]], dtype=torch.float32)
    np.testing.assert_array_equal(contents.actions([chunk]), chunk.numpy()[None])
    assert contents.actions([chunk.bfloat16(), chunk.bfloat16()]).shape == (2, 2, 2)
    with pytest.raises(RolloutError, match="same \\[T, D\\]"):
        contents.actions([chunk, chunk[:1]])


class Config(dict):
    __getattr__ = dict.__getitem__


class Part:
    def __init__(self, **config) -> None:
        self.config = Config(config)


@pytest.mark.parametrize(
    ("attributes", "rate"),
    [
        ({"vae": Part(sampling_rate=44100)}, 44100),
        ({"vocoder": Part(sampling_rate=16000), "vae": Part(scaling_factor=1.0)}, 16000),
        ({"vocoder": Part(output_sampling_rate=24000, sampling_rate=16000), "vae": Part()}, 24000),
        ({"unet": Part(sample_rate=16000, sample_size=65536)}, 16000),
        ({"sound_tokenizer": Part(sampling_rate=48000)}, 48000),
        ({"sample_rate": 48000, "vae": Part(sampling_rate=1)}, 48000),
        ({"vae": Part(sample_size=32)}, None),
    ],
)
def test_the_sampling_rate_is_what_the_pipeline_states(attributes, rate: int | None) -> None:
    pipe = type("Pipe", (), attributes)()
    assert contents.sampling_rate(pipe) == rate


def test_the_outputs_own_sampling_rate_wins() -> None:
    assert contents.sampling_rate(type("Pipe", (), {"vae": Part(sampling_rate=1)})(), {"sampling_rate": 32000}) == 32000


@pytest.mark.parametrize(
    ("name", "fps"),
    [
        ("WanPipeline", 16),
        ("HunyuanVideoPipeline", 15),
        ("Cosmos3OmniPipeline", 24),
        ("LTXPipeline", 25),
        ("LattePipeline", None),
    ],
)
def test_the_frame_rate_is_what_the_pipeline_states(name: str, fps: float | None) -> None:
    pipe = type(name, (), {})()
    assert contents.fps(pipe, {}) == fps == catalog.stated_fps(name)
    assert contents.fps(pipe, {"fps": 5}) == 5
    assert contents.fps(pipe, {"frame_rate": 7.5}) == 7.5


def test_every_video_pipelines_source_is_covered_by_the_table_of_fields() -> None:
    unknown = {}
    for info in catalog.world_models():
        named = set(catalog.pipeline_info(info.name)["output_fields"])
        if named and not named & set(contents.KINDS):
            unknown[info.name] = named
    assert unknown == {}


def test_no_field_of_an_output_is_lost() -> None:
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import Cosmos3OmniPipelineOutput

    output = Cosmos3OmniPipelineOutput(video=PIL_F)
    assert list(contents.fields(output)) == ["video", "sound", "action"]
    with pytest.raises(RolloutError, match="return_dict"):
        contents.fields((PIL_F,))
