"""A checkpoint that cannot load is found before anything is loaded."""

import json
import shutil
from pathlib import Path

import pytest

from strands_diffusers.config.models import LoraConfig, ModelConfig
from strands_diffusers.errors import ModelError
from strands_diffusers.pipelines import checkpoint

EMBEDDED = checkpoint.ASSETS / "cosmos3_pusht"


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "checkpoint"))


def model(repo) -> ModelConfig:
    return ModelConfig(name="custom", repo=str(repo), lora=LoraConfig())


def test_the_embedded_model_is_whole():
    assert checkpoint.locate(model("asset:cosmos3_pusht")).place == EMBEDDED
    assert checkpoint.locate(model(EMBEDDED)).index["_class_name"] == "Cosmos3OmniPipeline"


def test_a_hub_id_is_handed_on():
    assert checkpoint.locate(model("nvidia/Cosmos3-Nano")).place == "nvidia/Cosmos3-Nano"


@pytest.mark.parametrize(
    ("repo", "message"),
    [
        ("/no/such/folder", "does not exist. Give the folder that holds model_index.json"),
        ("asset:cosmos3_push", "there is asset:cosmos3_pusht. Did you mean 'cosmos3_pusht'?"),
        ("just-a-word", "neither an existing folder nor a Hub id of the form OWNER/NAME"),
    ],
)
def test_a_repo_that_is_nowhere_says_what_it_must_be(repo, message):
    with pytest.raises(ModelError) as caught:
        checkpoint.locate(model(repo))
    assert message in str(caught.value)


def truncate_weights(folder: Path) -> None:
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])


def ruin_header(folder: Path) -> None:
    next((folder / "transformer").glob("*.safetensors")).write_bytes(b"<html>not found</html>")


def drop_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


DAMAGE = {
    "no index": (
        lambda f: (f / "model_index.json").unlink(),
        "is not a diffusers checkpoint: model_index.json is missing",
    ),
    "broken index": (lambda f: (f / "model_index.json").write_text("{"), "is truncated or not JSON"),
    "no vae": (lambda f: shutil.rmtree(f / "vae"), "the folder vae/ (AutoencoderKLWan) is missing"),
    "no config": (lambda f: (f / "transformer" / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda f: next((f / "vae").glob("*.safetensors")).unlink(), "vae/ holds no weights"),
    "no scheduler": (
        lambda f: (f / "scheduler" / "scheduler_config.json").unlink(),
        "scheduler_config.json is missing",
    ),
    "truncated": (truncate_weights, "is damaged: vae/diffusion_pytorch_model.safetensors has"),
    "ruined header": (ruin_header, "and no valid header that fits them"),
    "missing shard": (drop_shard, "00001-of-00002.safetensors is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_file_by_file(folder, damage):
    harm, message = DAMAGE[damage]
    harm(folder)

    with pytest.raises(ModelError) as caught:
        checkpoint.locate(model(folder))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_follows_the_weights_and_not_the_card(folder):
    before = checkpoint.locate(model(folder)).fingerprint
    (folder / "README.md").write_text("another card")
    assert checkpoint.locate(model(folder)).fingerprint == before

    weights = next((folder / "vae").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert checkpoint.locate(model(folder)).fingerprint != before
