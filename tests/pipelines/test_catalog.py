import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from strands_diffusers.errors import ModelError
from strands_diffusers.pipelines import catalog, import_tables
from strands_diffusers.pipelines.signatures import parameters, parsed_parameters
from strands_diffusers.pipelines.sources import Sources, installed

WORLDS = {info.name: info for info in catalog.world_models()}


def test_listing_world_models_imports_neither_torch_nor_diffusers() -> None:
    program = (
        "import sys; from strands_diffusers.pipelines import catalog; assert catalog.world_models(); "
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("prefix", ["Cosmos", "Wan", "HunyuanVideo"])
def test_the_whole_family_is_listed(prefix: str) -> None:
    family = {name for name in catalog.pipelines() if name.startswith(prefix)}
    assert len(family) >= 4
    assert family <= set(WORLDS)


def test_no_still_image_only_pipeline_outside_cosmos_is_listed() -> None:
    stills = {info.name: info.family for info in WORLDS.values() if not {"video", "action"} & set(info.outputs)}
    assert stills == {"Cosmos2TextToImagePipeline": "cosmos"}
    assert not any(name.startswith(("HunyuanDiT", "HunyuanImage")) for name in WORLDS)


def test_upscalers_and_decoders_of_video_are_no_world_models() -> None:
    assert not {"LTXLatentUpsamplePipeline", "LTX2VideoDiffusionDecodePipeline"} & set(WORLDS)


@pytest.mark.parametrize("name", ["Cosmos3OmniPipeline", "Cosmos3OmniModularPipeline"])
def test_cosmos_3_takes_and_gives_actions(name: str) -> None:
    info = WORLDS[name]
    assert info.inputs == ("text", "image", "video", "action")
    assert info.outputs == ("image", "video", "sound", "action")
    assert info.modular is ("Modular" in name)


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("WanPipeline", "text-to-video"),
        ("WanImageToVideoPipeline", "text+image-to-video"),
        ("WanVideoToVideoPipeline", "text+video-to-video"),
        ("HunyuanVideoFramepackPipeline", "text+image-to-video"),
        ("LTX2ImageToVideoPipeline", "text+image-to-video+sound"),
        ("LTXConditionPipeline", "text+image+video-to-video"),
        ("SanaWMPipeline", "text+image+action-to-video"),
        ("Cosmos2_5_TransferPipeline", "text+image+video-to-video"),
        ("StableVideoDiffusionPipeline", "image-to-video"),
        ("TextToVideoZeroPipeline", "text-to-video"),
        ("Wan22ModularPipeline", "text-to-video"),
        ("HunyuanVideo15ModularPipeline", "text+image-to-video"),
        ("StableDiffusionPipeline", "text-to-image"),
        ("StableAudioPipeline", "text+sound-to-sound"),
        ("ShapEPipeline", "text-to-image+mesh"),
        ("DDPMPipeline", "noise-to-image"),
    ],
)
def test_what_a_pipeline_takes_and_gives(name: str, modality: str) -> None:
    assert catalog.find(name).modality == modality


def test_pipeline_info_holds_the_defaults_and_components() -> None:
    details = catalog.pipeline_info("WanPipeline")
    assert details["call_params"]["num_frames"] == {"default": "81", "annotation": "int"}
    assert details["components"]["vae"] == "AutoencoderKLWan"
    assert details["output_fields"] == {"frames": "torch.Tensor"}
    assert "text-to-video" in details["doc"]
    json.dumps(details)


def test_pipeline_info_of_a_modular_pipeline_comes_from_its_blocks() -> None:
    details = catalog.pipeline_info("Cosmos3OmniModularPipeline")
    assert details["blocks"] == "Cosmos3OmniBlocks"
    assert details["call_params"]["action"] == {"default": "None", "annotation": "CosmosActionCondition"}
    assert details["call_params"]["condition_frame_indexes_vision"]["default"] == "(0, 1)"
    assert details["call_params"]["prompt"]["default"] == "REQUIRED"
    assert set(details["output_fields"]) == {"videos", "sound", "sampling_rate", "action"}
    assert details["components"]["transformer"] == "Cosmos3OmniTransformer"


def test_an_unknown_name_is_refused_with_a_near_miss() -> None:
    with pytest.raises(ModelError, match="Did you mean 'WanPipeline'"):
        catalog.pipeline_info("WanPipelin")
    with pytest.raises(ModelError, match="is not a pipeline"):
        catalog.find("AutoencoderKLWan")


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no __init__"):
        catalog.world_models(tmp_path)


# ------------------------------------------------------------------------------- a family that diffusers adds tomorrow

GENIE = '''
from dataclasses import dataclass

import PIL.Image
import torch

from ..pipeline_utils import DiffusionPipeline
from .pipeline_output import GeniePipelineOutput

LONG = """
class GeniePipeline: text in column 0 of a string must not end a class
"""


@dataclass
class GenieCondition:
    image: PIL.Image.Image
    raw_actions: torch.Tensor


class GeniePipeline(DiffusionPipeline):
    """Dreams on from an image."""

    def __call__(
        self,
        prompt: str,
        condition: GenieCondition | None = None,
        num_frames: int = 16,
    ):
        text = """
column 0 again
"""
        return GeniePipelineOutput(frames=[], audio=None)


class GenieSketchPipeline(GeniePipeline):
    pass
'''
GENIE_OUTPUT = """
from dataclasses import dataclass

from ...utils import BaseOutput


@dataclass
class GeniePipelineOutput(BaseOutput):
    frames: list
    audio: list
"""


@pytest.fixture
def tomorrow(tmp_path: Path) -> Path:
    """The installed diffusers as links, with one family more in its import tables, as a release would add it."""
    today, root = installed(), tmp_path / "diffusers"
    (root / "pipelines").mkdir(parents=True)
    for source, folder in ((today, root), (today / "pipelines", root / "pipelines")):
        for path in source.iterdir():
            if path.name not in ("__init__.py", "pipelines", "__pycache__"):
                (folder / path.name).symlink_to(path)
    names = '["GeniePipeline", "GenieSketchPipeline"]'
    for folder, addition in (
        (today, f'    _import_structure["pipelines"].extend({names})\n'),
        (today / "pipelines", ""),
    ):
        text = (folder / "__init__.py").read_text()
        addition = addition or f'    _import_structure["genie"] = {names}\n'
        head, marker, tail = text.partition("\nif TYPE_CHECKING")
        place = root / folder.relative_to(today) / "__init__.py"
        place.write_text(f"{head}\ntry:\n    pass\nexcept ImportError:\n    pass\nelse:\n{addition}{marker}{tail}")
    genie = root / "pipelines" / "genie"
    genie.mkdir()
    (genie / "pipeline_genie.py").write_text(GENIE)
    (genie / "pipeline_output.py").write_text(GENIE_OUTPUT)
    (genie / "__init__.py").write_text(f'_import_structure = {{}}\n_import_structure["pipeline_genie"] = {names}\n')
    return root


def test_a_family_added_tomorrow_shows_up(tomorrow: Path) -> None:
    worlds = {info.name: info for info in catalog.world_models(tomorrow)}
    assert set(worlds) - set(WORLDS) == {"GeniePipeline", "GenieSketchPipeline"}
    for name in ("GeniePipeline", "GenieSketchPipeline"):
        assert worlds[name].family == "genie"
        assert worlds[name].module == "diffusers.pipelines.genie.pipeline_genie"
        assert worlds[name].inputs == ("text", "image", "action")
        assert worlds[name].outputs == ("video", "sound")
    assert catalog.pipeline_info("GeniePipeline", tomorrow)["call_params"]["num_frames"]["default"] == "16"


def test_a_still_image_family_added_tomorrow_stays_out(tomorrow: Path) -> None:
    genie = tomorrow / "pipelines" / "genie"
    (genie / "pipeline_genie.py").write_text(
        GENIE.replace("frames=[], audio=None", "images=[]").replace("num_frames", "steps")
    )
    (genie / "pipeline_output.py").write_text(
        GENIE_OUTPUT.replace("frames: list", "images: list").replace("    audio: list\n", "")
    )
    no_actions = (genie / "pipeline_genie.py").read_text().replace("    raw_actions: torch.Tensor\n", "")
    (genie / "pipeline_genie.py").write_text(no_actions)
    assert catalog.find("GeniePipeline", tomorrow).modality == "text+image-to-image"
    assert {info.name for info in catalog.world_models(tomorrow)} == set(WORLDS)


# ------------------------------------------------------------------------------------- the sources against the imports


@pytest.mark.contract
def test_the_names_are_those_that_diffusers_exports() -> None:
    import diffusers

    exported = {name for names in diffusers._import_structure.values() for name in names}
    assert set(catalog.pipelines()) == {name for name in exported if name.endswith("Pipeline")}
    own = {name for group, names in diffusers._import_structure.items() if "dummy" not in group for name in names}
    classes = {name: getattr(diffusers, name) for name in own if name[0].isupper() and not name.endswith("Pipeline")}
    models = {
        name for name, each in classes.items() if isinstance(each, type) and issubclass(each, diffusers.ModelMixin)
    }
    assert set(catalog.models()) == models - {"ModelMixin"} | {"AutoModel"}
    assert set(catalog.schedulers()) == {name for name in exported if name.endswith("Scheduler")}


@pytest.mark.contract
def test_the_tasks_are_those_of_auto_pipeline() -> None:
    from diffusers.pipelines import auto_pipeline

    tasks = catalog.tasks()
    for task, table in (("text-to-image", "TEXT2IMAGE"), ("inpainting", "INPAINT"), ("text-to-audio", "TEXT2AUDIO")):
        imported = getattr(auto_pipeline, f"AUTO_{table}_PIPELINES_MAPPING")
        in_source = {name: cls for name, cls in tasks[task].items() if not name.startswith("kolors")}
        assert in_source == {name: cls.__name__ for name, cls in imported.items() if not name.startswith("kolors")}


@pytest.mark.contract
@pytest.mark.parametrize(
    "name",
    [
        "Cosmos3OmniPipeline",
        "Cosmos2VideoToWorldPipeline",
        "WanPipeline",
        "HunyuanVideoPipeline",
        "ShapEPipeline",
        "SanaWMPipeline",
    ],
)
def test_a_signature_read_as_text_is_the_imported_one(name: str) -> None:
    import diffusers

    imported_class = getattr(diffusers, name)
    imported = inspect.signature(imported_class.__call__).parameters
    details = catalog.pipeline_info(name)["call_params"]
    assert list(details) == [each for each in imported if each != "self"]
    for each, parameter in imported.items():
        if each != "self" and parameter.default is inspect.Parameter.empty:
            assert details[each]["default"] == "REQUIRED"
        elif isinstance(parameter.default, int | float):
            names = vars(sys.modules[imported_class.__module__])
            assert eval(details[each]["default"], names) == parameter.default


def test_signatures_on_one_line_and_over_several_are_read() -> None:
    one = "def f(self, a: int, *, b: str = 'x') -> None:\n    return None\n"
    several = "def f(\n    self,\n    a: dict[\n        str, int\n    ] = {'é': 1},\n):\n    return a\n"
    assert [(item.name, item.annotation, item.default) for item in parameters(one)] == [
        ("a", "int", "REQUIRED"),
        ("b", "str", "'x'"),
    ]
    assert [(item.name, item.annotation, item.default) for item in parameters(several)] == [
        ("a", "dict[str, int]", "{'é': 1}")
    ]


def test_the_quick_reading_of_tables_and_signatures_is_the_parsers() -> None:
    quick, slow = Sources(), Sources()
    for name in catalog.pipelines():
        call = quick.inherited(quick.locate(name), "__call__")
        if call:
            ours, parsed = parameters(call[1]), parsed_parameters(call[1], call[1])
            assert [each.name for each in ours] == [each.name for each in parsed], name
            for one, other in zip(ours, parsed, strict=True):
                assert [re.sub("[\"' ]", "", str(text)) for text in one] == [
                    re.sub("[\"' ]", "", str(text)) for text in other
                ], (name, one, other)
    for init, table in quick._tables.items():
        head, _, _ = slow.text(init).partition("\nif TYPE_CHECKING")
        parsed = {}
        for key, names in import_tables.parsed(head):
            parsed.setdefault(key, []).extend(names)
        assert table == parsed, init


def test_every_public_pipeline_class_is_found_in_its_file() -> None:
    sources = Sources()
    missing = [name for name in catalog.pipelines() if sources.locate(name) is None]
    assert missing == []
