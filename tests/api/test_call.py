import base64
import json
import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers.api.store import STORE
from strands_diffusers.observations.media import read_clip

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' schedulers

UMI = {"mode": "policy", "chunk_size": 4, "domain_name": "umi"}


# ------------------------------------------------------------------------------------------------------ confinement


@pytest.mark.parametrize(
    "target",
    [
        "utils.import_utils.os.system",
        "diffusers.utils.import_utils.os.system",
        "os.system",
        "builtins.eval",
        "builtins",
        "eval",
        "__import__",
        "__builtins__",
        "diffusers.__builtins__",
        "CosmosActionCondition.__class__",
        "CosmosActionCondition.__init__.__globals__",
        "WanPipeline.__init__.__globals__",
        "utils.export_to_video.__globals__",
        "utils.get_class_from_dynamic_module",
        "utils.dynamic_modules_utils.get_class_from_dynamic_module",
        "utils.logging",
        "logging",
        "logging.get_logger",
        "utils.torch_utils.torch",
        "pipelines.pipeline_utils.importlib.import_module",
        "modular_pipelines.modular_pipeline.importlib",
        "pipelines._private",
        "_LazyModule",
        "UniPCMultistepScheduler.step",
        "UniPCMultistepScheduler.from_config.__func__",
        "diffusers",
        "",
        " ",
        "a b",
        "WanPipeline.",
        ".WanPipeline",
        "lambda: 0",
        "WanPipeline;import os",
        "cached:",
        "cached:missing",
    ],
)
def test_call_cannot_leave_diffusers_public_names(refused, target: str, tmp_path: Path) -> None:
    marker = tmp_path / "escaped"
    line = refused("call", target=target, parameters={"command": f"touch {marker}"})
    assert len(line) < 700
    assert not marker.exists()


@pytest.mark.parametrize(
    "target", ["CosmosActionCondition", "diffusers.CosmosActionCondition", "pipelines.CosmosActionCondition"]
)
def test_a_public_name_may_carry_the_submodule_that_exports_it(use, target: str, first_frame: Path) -> None:
    assert use("call", target=target, parameters={**UMI, "image": str(first_frame)})["status"] == "success"


@pytest.mark.parametrize(
    "name", ["_step_index", "__class__", "__dict__", "config.__class__", "step.__func__", "step.__self__"]
)
def test_a_kept_objects_private_attributes_are_closed(use, refused, name: str) -> None:
    use("call", target="UniPCMultistepScheduler", cache_key="scheduler")
    assert "private" in refused("call", target=f"cached:scheduler.{name}")
    parameters = {"trained_betas": f"cached:scheduler.{name}"}
    assert re.search("private|not data", refused("call", target="UniPCMultistepScheduler", parameters=parameters))


def test_methods_that_are_not_diffusers_own_are_closed(use, refused) -> None:
    vae = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [False]}
    use("call", target="AutoencoderKLWan", parameters=vae, cache_key="vae")
    assert "torch.nn" in refused("call", target="cached:vae.apply", parameters={"fn": 1})
    assert "torch.nn" in refused("call", target="cached:vae.load_state_dict", parameters={"state_dict": {}})
    assert use("call", target="cached:vae.enable_tiling")["status"] == "success"
    assert use("call", target="cached:vae.dtype")["data"] == "torch.float32"


@pytest.mark.parametrize(
    "smuggled",
    [
        print,
        os.system,
        json,
        int,
        Path.unlink,
        lambda *_: None,
        "cached:scheduler.step",
        np.save,
        type("Evil", (), {"__call__": print})(),
    ],
)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [{"deep": (value,)}]])
def test_callables_cannot_be_smuggled_through_parameters(use, refused, smuggled, wrap) -> None:
    use("call", target="UniPCMultistepScheduler", cache_key="scheduler")
    line = refused("call", target="CosmosActionCondition", parameters={**UMI, "image": wrap(smuggled)})
    assert "callable" in line


@pytest.mark.parametrize("name", ["custom_pipeline", "trust_remote_code", "Trust_Remote_Code"])
def test_parameters_that_would_run_foreign_code_are_refused(refused, name: str, cosmos3: Path, tmp_path: Path) -> None:
    parameters = {"pretrained_model_name_or_path": str(cosmos3), name: str(tmp_path)}
    assert "run code" in refused("call", target="DiffusionPipeline.from_pretrained", parameters=parameters)
    line = refused(
        "run",
        pipeline="Cosmos3OmniPipeline",
        model=str(cosmos3),
        parameters={"from_pretrained_kwargs": {name: str(tmp_path)}},
    )
    assert "run code" in line


# ------------------------------------------------------------------------------------------------------- references


def test_references_work_at_any_depth(use) -> None:
    use("call", target="UniPCMultistepScheduler", parameters={"flow_shift": 3.0}, cache_key="first")
    reply = use(
        "call",
        target="UniPCMultistepScheduler.from_config",
        parameters={"config": "cached:first.config"},
        cache_key="second",
    )
    assert reply["data"] == {"cached": "second", "type": "UniPCMultistepScheduler"}
    assert STORE["second"].config.flow_shift == 3.0
    nested = {
        "config": {"**": "cached:first.config", "flow_shift": "cached:second.config.flow_shift", "solver_order": 1}
    }
    use("call", target="UniPCMultistepScheduler.from_config", parameters=nested, cache_key="third")
    assert STORE["third"].config.flow_shift == 3.0
    assert STORE["third"].config.solver_order == 1


def test_unpacking_gives_way_to_what_is_written(use) -> None:
    use("call", target="UniPCMultistepScheduler", parameters={"flow_shift": 3.0, "solver_order": 1}, cache_key="first")
    use(
        "call",
        target="UniPCMultistepScheduler",
        parameters={"**": "cached:first.config", "flow_shift": 7.0},
        cache_key="second",
    )
    assert STORE["second"].config.flow_shift == 7.0
    assert STORE["second"].config.solver_order == 1


def test_wrong_references_are_refused(use, refused) -> None:
    use("call", target="UniPCMultistepScheduler", cache_key="scheduler")
    assert "Did you mean 'scheduler'" in refused(
        "call", target="UniPCMultistepScheduler", parameters={"**": "cached:schedule"}
    )
    assert "not a mapping" in refused(
        "call", target="UniPCMultistepScheduler", parameters={"**": "cached:scheduler.timesteps"}
    )
    assert "has no 'confg'" in refused("call", target="cached:scheduler.confg")
    deep: list = []
    for _ in range(60):
        deep = [deep]
    assert "levels deep" in refused("call", target="UniPCMultistepScheduler", parameters={"trained_betas": deep})


def test_a_kept_objects_method_is_called_and_its_data_read(use) -> None:
    use("call", target="UniPCMultistepScheduler", cache_key="scheduler")
    use("call", target="cached:scheduler.set_timesteps", parameters={"num_inference_steps": 3})
    assert use("call", target="cached:scheduler.timesteps")["data"] == [999, 666, 333]
    methods = use("inspect", target="cached:scheduler")["data"]["methods"]
    assert "set_timesteps" in methods
    assert not [name for name in methods if name.startswith("_")]


def test_the_longest_key_wins_where_keys_have_dots(use) -> None:
    use("call", target="UniPCMultistepScheduler", cache_key="a")
    use("call", target="DDIMScheduler", cache_key="a.b")
    assert use("inspect", target="cached:a.b")["data"]["class"] == "DDIMScheduler"


# ------------------------------------------------------------------------------------------------------- arguments


def test_wrong_arguments_are_named_before_anything_runs(refused, first_frame: Path) -> None:
    condition = {"target": "CosmosActionCondition"}
    assert "Did you mean 'image'" in refused("call", **condition, parameters={**UMI, "imag": str(first_frame)})
    assert "missing a required argument: 'chunk_size'" in refused("call", **condition, parameters={"mode": "policy"})
    assert "not JSON" in refused("call", **condition, parameters='{"mode": "policy"')
    assert "object of names" in refused("call", **condition, parameters="[1, 2]")
    assert "object of names" in refused("call", **condition, parameters=[1])
    assert "Unsupported action mode" in refused(
        "call", **condition, parameters={**UMI, "mode": "polic", "image": str(first_frame)}
    )
    assert "device and dtype belong" in refused("call", **condition, parameters=UMI, dtype="bfloat16")
    assert "cache_key" in refused("call", **condition, parameters={**UMI, "image": str(first_frame)}, cache_key="a/b")


def test_parameters_may_be_a_json_string(use, first_frame: Path) -> None:
    text = json.dumps({**UMI, "image": str(first_frame)})
    assert use("call", target="CosmosActionCondition", parameters=text, cache_key="cond")["status"] == "success"
    assert STORE["cond"].image.size == (128, 96)


def test_an_object_that_is_not_kept_is_described_never_a_repr(use, first_frame: Path) -> None:
    data = use("call", target="CosmosActionCondition", parameters={**UMI, "image": str(first_frame)})["data"]
    assert data["class"] == "CosmosActionCondition"
    assert data["fields"]["image"] == {"type": "image", "size": [128, 96]}
    assert data["fields"]["chunk_size"] == 4


def test_unknown_verbs_and_silly_arguments_are_one_line(refused) -> None:
    assert "Did you mean 'pipelines'" in refused("pipeline")
    assert "action" in refused(None)
    assert "fps" in refused("wfm", fps=0)
    assert "fps" in refused("wfm", fps=float("nan"))
    assert "target" in refused("call")
    assert "target" in refused("pipeline_info")


def test_the_media_helpers_of_diffusers_are_open(use, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy.gif"
    reply = use("call", target="utils.export_to_gif", parameters={"image": str(clip), "output_gif_path": str(output)})
    assert reply["artifacts"] == [str(output)]
    assert read_clip(output).frames_FHWC.shape == (17, 96, 128, 3)


def test_an_output_path_that_exists_stays_a_path(use, clip: Path, tmp_path: Path) -> None:
    existing = tmp_path / "existing.gif"
    existing.write_bytes(clip.read_bytes())
    use("call", target="utils.export_to_gif", parameters={"image": str(clip), "output_gif_path": str(existing)})
    assert existing.read_bytes().startswith(b"GIF")


# --------------------------------------------------------------------------------------------------------- threads


def test_many_threads_keep_and_call_at_once(use) -> None:
    wrong: list[str] = []

    def work(index: int) -> None:
        key = f"scheduler_{index}"
        replies = [
            use("call", target="UniPCMultistepScheduler", parameters={"flow_shift": float(index)}, cache_key=key)
        ]
        replies.append(use("call", target=f"cached:{key}.set_timesteps", parameters={"num_inference_steps": 2 + index}))
        replies.append(use("call", target=f"cached:{key}.timesteps"))
        if any(reply["status"] == "error" for reply in replies) or len(replies[-1]["data"]) != 2 + index:
            wrong.append(str(replies))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(use("cache")["data"]) >= 12
    assert use("clear_cache", cache_key="scheduler_3")["data"] == {"freed": 1}
    assert "nothing is kept" in use("clear_cache", cache_key="scheduler_3")["content"][0]["text"]
    use("clear_cache")
    assert use("cache")["data"] == {}


# ------------------------------------------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "\udfff"])
@pytest.mark.parametrize(
    "request_",
    [
        lambda text: ("call", {"target": "CosmosActionCondition", "parameters": {**UMI, "prompt": text}}),
        lambda text: ("call", {"target": text}),
        lambda text: ("run", {"pipeline": "WanPipeline", "model": "a/b", "parameters": {"prompt": [text]}}),
        lambda text: ("rollout", {"parameters": {"prompt": text}}),
        lambda text: ("visualize", {"inputs": [[0.0]], "parameters": {"prompt": text}}),
        lambda text: ("wfm", {"parameters": {text: 1}}),
    ],
)
def test_text_that_nothing_can_hold_is_refused_everywhere(refused, request_, text: str) -> None:
    action, arguments = request_(text)
    assert "zero byte" in refused(action, **arguments)


@pytest.mark.parametrize("action", ["visualize", "call", "rollout"])
def test_a_million_rows_belong_into_a_file(refused, action: str) -> None:
    rows = [[0.0, 0.0]] * 600_000
    started = time.process_time()
    assert "file instead" in refused(action, inputs=rows, target="CosmosActionCondition")
    assert "file instead" in refused(action, target="CosmosActionCondition", parameters={"inputs": rows})
    assert time.process_time() - started < 5


def test_a_small_file_of_very_many_frames_is_refused_before_it_is_decoded(refused, tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    from strands_diffusers.api import media

    monkeypatch.setattr(media, "MAX_FRAMES_MB", 8)
    black, white = (Image.new("RGB", (200, 100), colour) for colour in ("black", "white"))
    path = tmp_path / "bomb.gif"
    with path.open("wb") as stream:
        black.save(stream, "GIF", save_all=True, append_images=[white, black] * 80, loop=0)
    assert path.stat().st_size < 50_000
    data = "data:image/gif;base64," + base64.b64encode(path.read_bytes()).decode()
    for given in (str(path), data):
        line = refused("call", target="CosmosActionCondition", parameters={**UMI, "video": given})
        assert "MB of memory" in line, line


# ------------------------------------------------------------------------------------------------------------- exports


GREY = np.full((4, 32, 32, 3), 200, np.uint8)
"""uint8 frames whose brightness diffusers would wrap: 200 * 255 is 56 modulo 256."""


@pytest.mark.parametrize("frames", [GREY, list(GREY), GREY.tolist(), GREY / 255.0, (GREY / 255.0).tolist()])
def test_exported_frames_keep_their_brightness(use, frames, artifacts: Path) -> None:
    import torch

    arrays = [torch.from_numpy(frames).permute(0, 3, 1, 2)] if isinstance(frames, np.ndarray) else []
    for given in (frames, *arrays):
        reply = use("call", target="utils.export_to_video", parameters={"video_frames": given, "fps": 5})
        [path] = reply["artifacts"]
        assert Path(path).parent == artifacts
        assert abs(int(np.median(read_clip(Path(path)).frames_FHWC)) - 200) <= 3


@pytest.mark.parametrize("frames", [GREY.astype(np.float32), GREY.astype(np.int64) * 2, (GREY * 2.0).tolist()])
def test_frames_that_are_no_pixels_are_not_exported(refused, frames) -> None:
    assert "pixels are 0 to 1" in refused("call", target="utils.export_to_video", parameters={"video_frames": frames})
