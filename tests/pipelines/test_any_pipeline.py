"""Pipelines of every kind, reached from the typed config: `model=custom model.pipeline=NAME condition=text`."""

import json
from pathlib import Path

import pytest
import tiny_pipelines

from strands_diffusers import rollout
from strands_diffusers.errors import ConfigError, ModelError, RolloutError
from strands_diffusers.observations.media import read_clip

pytestmark = [
    pytest.mark.contract,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture
def run(tiny, tmp_path):
    def run(name: str, *overrides: str, steps: int = 2):
        fixed = (
            "model=custom",
            f"model.repo={tiny(name)}",
            f"model.pipeline={name}",
            "condition=text",
            "prompt='a cat'",
        )
        quick = (
            "tracker=none",
            "observation=null",
            "visualizer=[]",
            "metric=[]",
            f"sampler.num_inference_steps={steps}",
        )
        return rollout(*fixed, *quick, *overrides, output_dir=tmp_path / "job")

    return run


SIZE = ("condition.height=32", "condition.width=48")


@pytest.mark.parametrize(("name", "fps"), [("WanPipeline", 16), ("HunyuanVideoPipeline", 15)])
def test_text_becomes_a_film_at_the_pipelines_own_rate(run, tmp_path: Path, name: str, fps: float) -> None:
    made = run(name, *SIZE, "condition.num_frames=5", "output=[video]")
    assert made.video.shape == (5, 32, 48, 3)
    assert made.fps == fps
    assert read_clip(tmp_path / "job" / "video.mp4").fps == fps
    manifest = json.loads((tmp_path / "job" / "manifest.json").read_text())
    assert manifest["engine"]["effective"] == "eager"


def test_the_class_may_be_left_to_the_checkpoint(tiny, tmp_path: Path) -> None:
    overrides = (
        "model=custom",
        f"model.repo={tiny('WanPipeline')}",
        "condition=text",
        "prompt=cat",
        "sampler.num_inference_steps=1",
    )
    quick = (
        "tracker=none",
        "observation=null",
        "visualizer=[]",
        "metric=[]",
        *SIZE,
        "condition.num_frames=5",
        "condition.fps=9",
    )
    made = rollout(*overrides, *quick, output_dir=tmp_path / "job")
    assert made.video.shape == (5, 32, 48, 3)
    assert made.fps == 9


@pytest.mark.parametrize("name", ["Cosmos2TextToImagePipeline", "StableDiffusionPipeline"])
def test_text_becomes_an_image(run, tmp_path: Path, name: str) -> None:
    made = run(name, *SIZE, "output=[image]")
    assert made.image.shape == (1, 32, 48, 3)
    assert (tmp_path / "job" / "image_00.png").is_file()


def test_text_becomes_sound(run, tmp_path: Path) -> None:
    made = run("StableAudioPipeline", "output=[sound]")
    assert made.sound.shape[1] == 2
    assert made.sampling_rate == 2000
    assert (tmp_path / "job" / "sound.wav").is_file()


def test_text_becomes_a_mesh(run, tmp_path: Path, monkeypatch) -> None:
    tiny_pipelines.coarse_meshes(monkeypatch)
    made = run("ShapEPipeline", "output=[mesh]", steps=1)
    assert made.mesh.vertices.shape == (6144, 3)
    assert (tmp_path / "job" / "mesh.ply").is_file()


def test_the_guardrail_that_nobody_asked_for_is_recorded_as_off(run, tmp_path: Path) -> None:
    run("Cosmos2TextToImagePipeline", *SIZE, "output=[image]")
    guardrail = json.loads((tmp_path / "job" / "manifest.json").read_text())["guardrail"]
    assert (guardrail["requested"], guardrail["effective"]) == (False, False)


def test_an_output_that_the_pipeline_does_not_make_is_refused(run, tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match=r"asked for \(video\)\. It made image: use output=\[image\]"):
        run("StableDiffusionPipeline", *SIZE, "output=[video]")
    assert not (tmp_path / "job" / "manifest.json").exists()


def test_an_argument_that_the_pipeline_does_not_take_is_refused(run) -> None:
    with pytest.raises(ModelError, match="takes no 'num_frames'"):
        run("StableDiffusionPipeline", *SIZE, "condition.num_frames=5", "output=[image]")


@pytest.mark.parametrize("overrides", [("condition=text", "output=[mesh]"), ("condition=image", "output=[image]")])
def test_cosmos_3_makes_no_meshes_and_no_image_of_an_image(overrides: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="cannot come from"):
        rollout(*overrides, "prompt=x")
