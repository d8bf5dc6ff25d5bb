"""What is loaded, what is kept warm, and what is refused before a weight is read."""

import dataclasses
import gc
import json
import shutil
import sys
import traceback

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_cosmos3 import build_tiny_cosmos3

from strands_diffusers.config.fields import Dtype, Offload, Scene
from strands_diffusers.config.models import LoraConfig, ModelConfig, Recommended
from strands_diffusers.errors import MissingPackageError, ModelError
from strands_diffusers.pipelines import checkpoint, devices, guardrail, loader, pretrained
from strands_diffusers.pipelines.checkpoint import Checkpoint

FIELDS = {
    "pipeline": st.sampled_from(["Cosmos3OmniPipeline", "WanPipeline", None]),
    "revision": st.sampled_from(["main", "v2", None]),
    "variant": st.sampled_from(["fp16", "ema", None]),
    "offload": st.sampled_from(list(Offload)),
    "scheduler": st.sampled_from(["UniPCMultistepScheduler", "EulerDiscreteScheduler", None]),
    "lora": st.builds(LoraConfig, st.sampled_from(["a/b", None]), st.sampled_from(["x", None]), st.floats(0, 2)),
    "guardrail": st.booleans(),
    "low_cpu_mem_usage": st.booleans(),
}
BESIDE = {
    "name": st.sampled_from(["custom", "mine"]),
    "weights_gb": st.sampled_from([None, 33.0]),
    "pixel_map": st.booleans(),
    "domains": st.sampled_from([None, ["pusht"]]),
    "chunk_sizes": st.sampled_from([None, [16]]),
    "tiers": st.sampled_from([None, [256, 480]]),
    "sound": st.booleans(),
    "scene": st.sampled_from([None, *Scene]),
    "recommended": st.sampled_from([{}, {"policy": Recommended(8)}]),
}


def key(config: ModelConfig, device: str = "cpu", dtype: str = "float32"):
    return loader._key(Checkpoint(config, "owner/name"), device, dtype, {})


def test_every_field_of_the_model_is_known_to_change_the_loaded_object_or_not() -> None:
    others = {"repo", "device", "dtype"}  # in the key as what they resolved to
    assert {field.name for field in dataclasses.fields(ModelConfig)} == set(FIELDS) | set(BESIDE) | others
    assert key(ModelConfig("a", "b/c"), device="cuda:0") != key(ModelConfig("a", "b/c"))
    assert key(ModelConfig("a", "b/c"), dtype="bfloat16") != key(ModelConfig("a", "b/c"))


@settings(derandomize=True, max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries(FIELDS), st.fixed_dictionaries(FIELDS), *[st.fixed_dictionaries(BESIDE)] * 2)
def test_two_models_share_a_warm_one_only_if_nothing_differs_that_changes_it(one, other, beside, beside_other) -> None:
    names = [key(ModelConfig(repo="owner/name", **a, **b)) for a, b in ((one, beside), (other, beside_other))]
    assert (names[0] == names[1]) == (one == other)


def test_a_warm_local_model_is_not_handed_out_for_another_variant(tmp_path) -> None:
    folder = build_tiny_cosmos3(tmp_path / "model")
    from diffusers import Cosmos3OmniTransformer

    transformer = Cosmos3OmniTransformer.from_pretrained(folder / "transformer")
    with torch.no_grad():
        transformer.proj_in.bias.fill_(7.0)
    transformer.save_pretrained(folder / "transformer", variant="ema")
    config = ModelConfig("custom", str(folder), device="cpu", dtype=Dtype.float32)

    plain = loader.load(config)[0].pipe.transformer.proj_in.bias
    ema = loader.load(dataclasses.replace(config, variant="ema"))[0].pipe.transformer.proj_in.bias

    assert (ema == 7.0).all()
    assert not (plain == 7.0).any()
    loader.clear()


def test_models_stay_warm_side_by_side_while_they_fit(tmp_path, monkeypatch) -> None:
    loader.clear()
    folders = [build_tiny_cosmos3(tmp_path / name) for name in ("policy", "world", "third")]
    configs = [ModelConfig("custom", str(folder), device="cpu", dtype=Dtype.float32) for folder in folders]
    first, _ = loader.load(configs[0])
    room = first.bytes / loader.WARM_SHARE_HOST
    assert first.bytes == 4 * sum(checkpoint.locate(configs[0]).numbers.values())

    monkeypatch.setattr(devices, "memory_bytes", lambda device: 2.5 * room)
    second, _ = loader.load(configs[1])
    assert loader.load(configs[0]) == (first, True)
    assert loader.load(configs[1]) == (second, True)
    third, _ = loader.load(configs[2])
    assert loader.warm_models() == [second, third]  # the first was used before the second

    monkeypatch.setattr(devices, "memory_bytes", lambda device: 1.5 * room)
    again, warm = loader.load(configs[0])
    assert not warm
    assert loader.warm_models() == [again]
    loader.clear()


def test_a_lora_that_is_trained_on_is_another_model(tmp_path) -> None:
    lora = tmp_path / "lora.safetensors"
    config = ModelConfig("custom", checkpoint.ASSET + "cosmos3_pusht", lora=LoraConfig(str(lora)))
    lora.write_bytes(b"one")
    before = key(config), checkpoint.locate(config).fingerprint
    lora.write_bytes(b"other")
    after = key(config), checkpoint.locate(config).fingerprint
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A checkpoint as NVIDIA's are: nothing in it says that the checker is off."""
    folder = tmp_path_factory.mktemp("guarded")
    build_tiny_cosmos3(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index.pop("enable_safety_checker")
    (folder / "model_index.json").write_text(json.dumps(index))
    yield folder
    loader.clear()
    shutil.rmtree(folder)


def test_a_modular_cosmos_3_pipeline_runs_with_its_guardrail_switched_off(guarded) -> None:
    config = ModelConfig("custom", str(guarded), pipeline="Cosmos3OmniModularPipeline", device="cpu")
    model, _ = loader.load(config)

    assert model.guardrail == {"requested": False, "effective": False}
    made = model.pipe(
        prompt="a", num_frames=5, height=32, width=32, num_inference_steps=1, output="videos", output_type="np"
    )
    assert made.shape == (5, 32, 32, 3)


def test_a_modular_cosmos_3_pipeline_that_is_guarded_refuses_what_the_checker_refuses(guarded) -> None:
    class Checker(guardrail.NoGuardrail):
        def check_text_safety(self, prompt: str) -> bool:
            return prompt != "Harm."

    config = ModelConfig("custom", str(guarded), pipeline="Cosmos3OmniModularPipeline", device="cpu")
    pipe = loader.load(config)[0].pipe
    pipe.safety_checker = Checker()  # the gated weights are not here: what stands in the checker's place is

    assert guardrail.switch(pipe, wanted=True) == {"requested": True, "effective": True}
    with pytest.raises(ValueError, match="unsafe"):
        pipe(prompt="Harm.", num_frames=5, height=32, width=32, num_inference_steps=1)
    guardrail.switch(pipe, wanted=False)


@pytest.mark.skipif(guardrail.installed(), reason="NVIDIA's package is installed")
@pytest.mark.parametrize(
    "pipeline", ["Cosmos3OmniPipeline", "Cosmos3OmniModularPipeline", "Cosmos2_5_PredictBasePipeline"]
)
def test_a_guardrail_whose_package_is_missing_is_refused_before_the_load(pipeline: str) -> None:
    with pytest.raises(MissingPackageError, match="pip install cosmos_guardrail"):
        pretrained.check(
            checkpoint.locate(ModelConfig("custom", "nvidia/x", pipeline=pipeline, guardrail=True, device="cpu"))
        )


def test_weights_in_8_bits_name_the_package_that_reads_them_before_a_weight_is_fetched(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(devices, "resolve_device", lambda name: "cuda:0")
    monkeypatch.setitem(sys.modules, "modelopt", None)  # as where it is not installed
    with pytest.raises(MissingPackageError, match="pip install nvidia-modelopt"):
        pretrained.check(checkpoint.locate(ModelConfig("cosmos3_nano", "nvidia/Cosmos3-Nano", revision="fp8")))
    pretrained.check(checkpoint.locate(ModelConfig("cosmos3_nano", "nvidia/Cosmos3-Nano")))

    folder = build_tiny_cosmos3(tmp_path / "model")
    pretrained.check(checkpoint.locate(ModelConfig("custom", str(folder))))
    config = folder / "transformer" / "config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "quantization_config": {"quant_method": "modelopt"}})
    )
    with pytest.raises(MissingPackageError, match="pip install nvidia-modelopt"):
        pretrained.check(checkpoint.locate(ModelConfig("custom", str(folder))))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_after_a_load_what_it_was_before(enabled, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(checkpoint, "locate", lambda config: seen.append(gc.isenabled()) or 1 / 0)
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            loader.load(ModelConfig(repo="x"))
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        gc.enable()


def test_a_card_that_others_have_filled_is_one_line_and_holds_no_weights_after_it(tmp_path, monkeypatch) -> None:
    import weakref

    held = []

    def full(pipe, offload, device):
        held.append(weakref.ref(pipe))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 32.00 MiB.\nGPU 0 has 79 GiB in use.")

    monkeypatch.setattr(pretrained, "_place", full)
    config = ModelConfig("custom", str(build_tiny_cosmos3(tmp_path / "model")), device="cpu")
    with pytest.raises(
        ModelError, match=r"no memory is left on cpu for .*Use model\.offload=model or sequential"
    ) as caught:
        loader.load(config)
    assert "\n" not in str(caught.value)
    assert held[0]() is None  # the next job of the sweep has the room


def test_what_a_failed_call_held_is_gone_while_its_error_is_still_being_told() -> None:
    """A card's memory is free for the next attempt only if no frame of the traceback keeps a tensor of the last one."""
    import weakref

    held = []

    def denoise() -> None:
        latents = torch.zeros(8)
        held.append(weakref.ref(latents))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def job() -> None:
        try:
            denoise()
        except torch.OutOfMemoryError as error:
            raise ModelError("out of memory on cuda:0") from error

    try:
        job()
    except ModelError as error:
        assert held[0]() is not None
        devices.release_memory(error)
        assert held[0]() is None
        told = "".join(traceback.format_exception(error))
    assert "in denoise" in told


@pytest.mark.timeout(20)
def test_an_error_whose_causes_go_round_is_let_go_of_all_the_same() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first

    devices.release_memory(first)
