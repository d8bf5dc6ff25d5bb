import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines

from strands_diffusers.api.store import STORE
from strands_diffusers.observations.images import read_image
from strands_diffusers.observations.media import read_clip
from strands_diffusers.pipelines import loader

pytestmark = [
    pytest.mark.contract,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture
def run(use, tiny):
    def run(name, **changes):
        parameters = tiny_pipelines.CALLS[name] | changes.pop("parameters", {})
        return use("run", pipeline=name, model=str(tiny(name)), parameters=parameters, device="cpu", **changes)

    return run


# ---------------------------------------------------------------------------------------- every kind of pipeline


@pytest.mark.parametrize(
    ("name", "shape", "fps"), [("WanPipeline", (5, 32, 48, 3), 16), ("HunyuanVideoPipeline", (5, 16, 32, 3), 15)]
)
def test_a_clip_has_the_pipelines_own_rate(run, name: str, shape: tuple[int, ...], fps: int) -> None:
    entry = run(name)["data"]["frames"]
    assert entry["shape"] == list(shape)
    clip = read_clip(Path(entry["path"]))
    assert clip.frames_FHWC.shape == shape
    assert clip.fps == fps == entry["fps"]


@pytest.mark.parametrize("name", ["Cosmos2TextToImagePipeline", "StableDiffusionPipeline"])
def test_images_become_pngs(run, name: str) -> None:
    reply = run(name)
    [entry] = reply["data"]["images"]
    assert entry["size"] == [48, 32]
    assert read_image(Path(entry["path"])).shape == (32, 48, 3)
    assert reply["artifacts"] == [entry["path"]]


def test_sound_becomes_a_float_wav_of_the_right_rate_and_channels(run) -> None:
    import soundfile

    entry = run("StableAudioPipeline")["data"]["audios"]
    assert (entry["type"], entry["samples"], entry["channels"], entry["sampling_rate"]) == ("sound", 1000, 2, 2000)
    samples, rate = soundfile.read(entry["path"], dtype="float32")
    assert samples.shape == (1000, 2)
    assert rate == 2000
    assert soundfile.info(entry["path"]).subtype == "FLOAT"


def test_a_mesh_becomes_a_ply(run, monkeypatch) -> None:
    tiny_pipelines.coarse_meshes(monkeypatch)
    entry = run("ShapEPipeline", parameters={"output_type": "mesh"})["data"]["images"]
    assert entry["type"] == "mesh"
    content = Path(entry["path"]).read_bytes()
    assert content.startswith(b"ply\nformat binary_little_endian")
    header, _, body = content.partition(b"end_header\n")
    assert f"element vertex {entry['num_verts']}".encode() in header
    assert struct.unpack("<fff", body[:12]) != (0.0, 0.0, 0.0)
    assert len(body) == entry["num_verts"] * 12 + entry["num_faces"] * 13


def test_a_turntable_of_shap_e_is_a_clip_not_a_heap_of_stills() -> None:
    from diffusers import ShapEPipeline
    from PIL import Image

    from strands_diffusers.pipelines import contents

    stills = [[Image.new("RGB", (8, 8))] * 20, [Image.new("RGB", (8, 8))] * 20]
    kind, clips = contents.contents(ShapEPipeline.__new__(ShapEPipeline), "images", stills)
    assert (kind, [clip.shape for clip in clips]) == ("video", [(20, 8, 8, 3)] * 2)


def test_every_sample_of_a_batch_is_written(run) -> None:
    videos = run("WanPipeline", parameters={"num_videos_per_prompt": 2})["data"]["frames"]
    assert [entry["shape"] for entry in videos] == [[5, 32, 48, 3]] * 2
    assert len({entry["path"] for entry in videos}) == 2
    assert len(run("StableDiffusionPipeline", parameters={"num_images_per_prompt": 3})["data"]["images"]) == 3


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_pil_numpy_and_torch_give_the_same_clip(run, output_type: str) -> None:
    entry = run("WanPipeline", parameters={"output_type": output_type})["data"]["frames"]
    frames = read_clip(Path(entry["path"])).frames_FHWC
    reference = read_clip(Path(run("WanPipeline")["data"]["frames"]["path"])).frames_FHWC
    np.testing.assert_array_equal(frames, reference)


def test_latents_are_an_array_not_a_clip(run) -> None:
    entry = run("WanPipeline", parameters={"output_type": "latent"})["data"]["frames"]
    assert entry["type"] == "array"
    assert np.load(entry["path"]).shape == tuple(entry["shape"]) == (1, 16, 2, 4, 6)


def test_without_saving_entries_have_no_path(run, artifacts: Path) -> None:
    reply = run("WanPipeline", save_artifacts=False)
    assert reply["artifacts"] == []
    assert "path" not in reply["data"]["frames"]
    assert not artifacts.exists()


# -------------------------------------------------------------------------------------------------- the call itself


def test_parameters_reach_the_call_untouched_and_a_seed_repeats(run) -> None:
    first, again, other = run("WanPipeline"), run("WanPipeline"), run("WanPipeline", parameters={"generator": 1})
    videos = [read_clip(Path(reply["data"]["frames"]["path"])).frames_FHWC for reply in (first, again, other)]
    np.testing.assert_array_equal(videos[0], videos[1])
    assert (videos[0] != videos[2]).any()


@pytest.mark.parametrize(("changes", "fps"), [({}, 16), ({"fps": 12}, 12)])
def test_the_callers_rate_wins_over_the_stated_one(run, changes, fps: float) -> None:
    assert run("WanPipeline", **changes)["data"]["frames"]["fps"] == fps


def test_wrong_parameters_are_refused_before_the_call(run) -> None:
    line = run("WanPipeline", parameters={"num_frame": 5})["content"][0]["text"]
    assert "Did you mean 'num_frames'" in line


def test_what_the_pipeline_itself_refuses_is_one_line(run) -> None:
    line = run("WanPipeline", parameters={"height": 33})["content"][0]["text"]
    assert "divisible by 16" in line


def test_names_and_folders_that_are_wrong(refused, tiny, tmp_path: Path) -> None:
    wan = str(tiny("WanPipeline"))
    assert "Did you mean 'WanPipeline'" in refused("run", pipeline="WanPipelin", model=wan)
    assert "is not a pipeline" in refused("run", pipeline="AutoencoderKLWan", model=wan)
    assert "needs pipeline" in refused("run", model=wan)
    assert "needs model" in refused("run", pipeline="WanPipeline")
    assert "does not exist" in refused("run", pipeline="WanPipeline", model=str(tmp_path / "nothing"))
    assert "not a precision" in refused("run", pipeline="WanPipeline", model=wan, dtype="float3")
    assert "no CUDA device" in refused("run", pipeline="WanPipeline", model=wan, device="cuda:7")


def test_the_second_call_is_warm_and_the_first_stays_callable(run, use) -> None:
    run("WanPipeline", cache_key="pipe")
    before = loader.warm_models()
    run("WanPipeline")
    assert loader.warm_models() == before
    assert use("cache")["data"]["pipe"] == "WanPipeline"
    assert use("run", cache_key="pipe", parameters=tiny_pipelines.CALLS["WanPipeline"])["status"] == "success"
    assert use("call", target="cached:pipe.enable_attention_slicing")["status"] == "success"
    called = use("call", target="cached:pipe", parameters=tiny_pipelines.CALLS["WanPipeline"])
    assert called["data"]["frames"]["shape"] == [5, 32, 48, 3]
    assert use("clear_cache")["data"]["freed"] >= 2
    assert loader.warm_models() == []


def test_from_pretrained_kwargs_reach_the_loader(run, use) -> None:
    use(
        "call",
        target="UniPCMultistepScheduler",
        parameters={"flow_shift": 5.0, "prediction_type": "flow_prediction"},
        cache_key="scheduler",
    )
    reply = run(
        "WanPipeline", parameters={"from_pretrained_kwargs": {"scheduler": "cached:scheduler"}}, cache_key="pipe"
    )
    assert reply["status"] == "success", reply
    assert type(STORE["pipe"].scheduler).__name__ == "UniPCMultistepScheduler"


def test_device_and_dtype_are_part_of_what_is_warm(run) -> None:
    run("WanPipeline", dtype="float32")
    first = loader.warm_models()[-1]
    run("WanPipeline", dtype="bfloat16")
    second = loader.warm_models()[-1]
    assert (first.dtype, second.dtype) == ("float32", "bfloat16")


def test_auto_pipelines_find_the_class_by_themselves(use, tiny) -> None:
    parameters = tiny_pipelines.CALLS["StableDiffusionPipeline"]
    for name in ("DiffusionPipeline", "AutoPipelineForText2Image"):
        reply = use(
            "run", pipeline=name, model=str(tiny("StableDiffusionPipeline")), parameters=parameters, device="cpu"
        )
        assert reply["data"]["__type__"] == "StableDiffusionPipelineOutput"


def test_two_threads_share_one_pipeline(run, tiny) -> None:
    tiny("StableDiffusionPipeline")  # built once, outside the threads
    replies: list[dict] = []
    threads = [
        threading.Thread(target=lambda: replies.append(run("StableDiffusionPipeline", parameters={"generator": 3})))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pictures = [read_image(Path(reply["data"]["images"][0]["path"])) for reply in replies]
    assert len(pictures) == 3
    for picture in pictures:
        np.testing.assert_array_equal(picture, pictures[0])


# ---------------------------------------------------------------------------------------------- Cosmos 3 and modular


def test_cosmos_3_with_sound_gives_a_clip_a_wav_and_no_action(use, cosmos3: Path) -> None:
    parameters = {
        "prompt": "rain", "num_frames": 5, "height": 64, "width": 64, "fps": 5, "num_inference_steps": 1,
        "guidance_scale": 1.0, "enable_sound": True, "generator": 0,
    }  # fmt: skip
    data = use("run", pipeline="Cosmos3OmniPipeline", model=str(cosmos3), parameters=parameters, device="cpu")["data"]
    assert data["video"]["shape"] == [5, 64, 64, 3]
    assert (data["sound"]["channels"], data["sound"]["sampling_rate"]) == (2, 2000)
    assert data["action"] is None


def test_modular_cosmos_3_has_named_outputs(use, cosmos3: Path, first_frame: Path) -> None:
    condition = {
        "mode": "policy", "chunk_size": 4, "domain_name": "bridge_orig_lerobot", "resolution_tier": 256, "image": str(first_frame),
    }  # fmt: skip
    use("call", target="CosmosActionCondition", parameters=condition, cache_key="cond")
    parameters = {
        "prompt": "Move.", "action": "cached:cond", "fps": 5.0, "num_inference_steps": 1, "guidance_scale": 1.0,
        "use_system_prompt": False,
    }  # fmt: skip
    reply = use("run", pipeline="Cosmos3OmniModularPipeline", model=str(cosmos3), parameters=parameters, device="cpu")
    assert reply["data"]["videos"]["num_frames"] == 5
    assert reply["data"]["action"]["chunk_shape"] == [4, 10]
    assert reply["data"]["__type__"] == "Cosmos3OmniModularPipeline"


def test_modular_pipelines_say_what_to_type_instead(refused, tiny) -> None:
    sd = str(tiny("StableDiffusionPipeline"))
    line = refused("run", pipeline="WanModularPipeline", model=sd, parameters={"prompt": "a"}, device="cpu")
    assert "could not load transformer" in line
    assert "pipeline='WanPipeline'" in line
    wan = str(tiny("WanPipeline"))
    line = refused("run", pipeline="WanModularPipeline", model=wan, parameters={"prompts": "a"}, device="cpu")
    assert "Did you mean 'prompt'" in line
    assert "named inputs only" in refused("run", pipeline="WanModularPipeline", model=wan, inputs="a", device="cpu")
