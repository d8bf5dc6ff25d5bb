import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strands_diffusers.domains import diffusers_folder
from strands_diffusers.errors import ModelError
from strands_diffusers.pipelines import catalog
from strands_diffusers.pipelines.catalog import cache
from strands_diffusers.pipelines.catalog.reader import Function, Module

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


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "diffusers_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="no __init__"):
        catalog.world_models()


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
    """Continues from an image."""

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


def of_stills(text: str) -> str:
    """A family like Genie's that makes still images, and takes no actions."""
    text = text.replace("Genie", "Etcher").replace("    raw_actions: torch.Tensor\n", "").replace("num_frames", "steps")
    text = text.replace("frames=[], audio=None", "images=[]").replace("    audio: list\n", "")
    return text.replace("frames: list", "images: list")


FAMILIES = {"genie": (GENIE, GENIE_OUTPUT), "etcher": (of_stills(GENIE), of_stills(GENIE_OUTPUT))}


@pytest.fixture
def tomorrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed diffusers as links, with two families more in its import tables, as a release would add them."""
    today, root = diffusers_folder(), tmp_path / "diffusers"
    (root / "pipelines").mkdir(parents=True)
    for source, folder in ((today, root), (today / "pipelines", root / "pipelines")):
        for path in source.iterdir():
            if path.name not in ("__init__.py", "pipelines", "__pycache__"):
                (folder / path.name).symlink_to(path)
    additions = {today: "", today / "pipelines": ""}
    for family, (program, output) in FAMILIES.items():
        names = [f"{family.title()}Pipeline", f"{family.title()}SketchPipeline"]
        additions[today] += f'    _import_structure["pipelines"].extend({names})\n'
        additions[today / "pipelines"] += f'    _import_structure["{family}"] = {names}\n'
        place = root / "pipelines" / family
        place.mkdir()
        (place / f"pipeline_{family}.py").write_text(program)
        (place / "pipeline_output.py").write_text(output)
        (place / "__init__.py").write_text(
            f'_import_structure = {{}}\n_import_structure["pipeline_{family}"] = {names}\n'
        )
    for folder, addition in additions.items():
        head, marker, tail = (folder / "__init__.py").read_text().partition("\nif TYPE_CHECKING")
        place = root / folder.relative_to(today) / "__init__.py"
        place.write_text(f"{head}\ntry:\n    pass\nexcept ImportError:\n    pass\nelse:\n{addition}{marker}{tail}")
    monkeypatch.setattr(catalog, "diffusers_folder", lambda: root)
    return root


@pytest.mark.slow
def test_a_family_added_tomorrow_shows_up_and_one_of_still_images_stays_out(tomorrow: Path) -> None:
    worlds = {info.name: info for info in catalog.world_models()}
    assert set(worlds) - set(WORLDS) == {"GeniePipeline", "GenieSketchPipeline"}
    for name in ("GeniePipeline", "GenieSketchPipeline"):
        assert worlds[name].family == "genie"
        assert worlds[name].module == "diffusers.pipelines.genie.pipeline_genie"
        assert worlds[name].inputs == ("text", "image", "action")
        assert worlds[name].outputs == ("video", "sound")
    assert catalog.pipeline_info("GeniePipeline")["call_params"]["num_frames"]["default"] == "16"
    assert catalog.find("EtcherPipeline").modality == "text+image-to-image"


# ------------------------------------------------------------------------------------- the sources against the imports


@pytest.mark.contract
@pytest.mark.slow
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


def test_signatures_on_one_line_and_over_several_are_read(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    one = "def f(self, a: int, *, b: str = 'x') -> None:\n    return None\n"
    several = "def g(\n    self,\n    a: dict[\n        str, int\n    ] = {'é': 1},\n):\n    return a\n"
    path.write_text(one + several)
    module = Module(path)
    f, g = (Function(module.functions[name], module) for name in "fg")
    assert f.parameters == (("a", "int", "REQUIRED"), ("b", "str", "'x'"))
    assert g.parameters == (("a", "dict[str, int]", "{'é': 1}"),)


def test_every_public_pipeline_class_is_found_in_its_file() -> None:
    assert tuple(info.name for info in catalog.everything()) == catalog.pipelines()


# ------------------------------------------------------------------------------------------------- the cache on disk

SMALL = {
    "__init__.py": '__version__ = "9"\n_import_structure = {"pipelines": ["APipeline"]}\n',
    "pipelines/__init__.py": '_import_structure = {"a": ["APipeline"]}\n',
    "pipelines/a.py": "class AOutput:\n    images: list\n\n\nclass APipeline:\n"
    "    def __call__(self, prompt: str):\n        return AOutput()\n",
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one pipeline, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "small" / "pipelines").mkdir(parents=True)
    for name, text in SMALL.items():
        (tmp_path / "small" / name).write_text(text)
    catalog._read.cache_clear()
    monkeypatch.setattr(catalog, "diffusers_folder", lambda: tmp_path / "small")
    return tmp_path / "small"


def later_process() -> None:
    """Forget what this process knows, as the next one would not know it."""
    catalog._read.cache_clear()


def test_the_second_process_reads_no_source(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = catalog.everything(), catalog.pipeline_info("APipeline")
    later_process()
    monkeypatch.setattr(Module, "__init__", None)  # reading a source would raise
    assert (catalog.everything(), catalog.pipeline_info("APipeline")) == first
    assert first[0][0].modality == "text-to-image"


def test_a_changed_source_file_is_read_anew(small: Path) -> None:
    assert catalog.find("APipeline").modality == "text-to-image"
    path = small / "pipelines" / "a.py"
    path.write_text(path.read_text().replace("images: list", "frames: list"))
    later_process()
    assert catalog.find("APipeline").modality == "text-to-video"


@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=40),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3).map(
            lambda value: json.dumps(value).encode()
        ),
        st.just(b"[" * 100_000),
        st.just(b'{"key": "everything"}'),
        st.just(b'{"key": "another question", "value": []}'),
    )
)
def test_a_damaged_cache_is_ignored_and_written_anew(small: Path, damage: bytes) -> None:
    expected = catalog.everything()
    files = list(cache.folder().glob("*/*.json"))
    for file in files:
        file.write_bytes(damage)
    later_process()
    assert catalog.everything() == expected
    later_process()
    assert catalog.everything() == expected
    assert any(file.read_bytes() != damage for file in files)


def test_a_home_that_cannot_be_written_to_costs_time_only(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = small / "a file"
    place.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    assert catalog.find("APipeline").name == "APipeline"
    assert place.read_text() == ""


@pytest.mark.parametrize("given", ["", "relative/folder"])
def test_a_cache_home_that_is_no_absolute_path_is_not_used(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache.folder().is_absolute()
    assert given not in str(cache.folder()) or not given


def test_an_answer_is_the_callers_own_and_a_refusal_is_not_kept(small: Path) -> None:
    catalog.pipeline_info("APipeline")["inputs"].append("mine")
    assert catalog.pipeline_info("APipeline")["inputs"] == ["text"]
    with pytest.raises(ModelError):
        catalog.describe_name("../../outside")
    assert len(list(cache.folder().glob("*/*"))) == len(list(cache.folder().glob("*/*.json"))) <= 2


def test_only_a_few_states_of_diffusers_are_kept(small: Path) -> None:
    for number in range(cache.STATES_KEPT + 3):
        (small / "pipelines" / "other.py").write_text("#" * number)
        later_process()
        catalog.pipelines()
    assert len(list(cache.folder().iterdir())) <= cache.STATES_KEPT + 1


def test_the_listing_takes_less_than_four_tenths_of_a_second_once_cached() -> None:
    program = (
        "import time\nfrom strands_diffusers.cli import main\ntry: main(['wfm'])\nexcept SystemExit: pass\n"
        "print(time.process_time())"
    )
    run = [sys.executable, "-c", program]
    for _ in range(3):  # once of three times: other work on this machine is no fault of the listing
        seconds = float(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()[-1])
        if seconds < 0.4:
            break
    assert seconds < 0.4
