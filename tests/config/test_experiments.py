"""Every experiment composes, and opens with the command that runs it."""

import re
from pathlib import Path

import pytest

from strands_diffusers.config import compose, store
from strands_diffusers.errors import ConfigError

FOLDER = store.conf_dir() / "experiment"
EXPERIMENTS = sorted(p.stem for p in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    given = ["observation=bridge_0.mp4"] if "observation: null" in text else []

    config = compose.compose([f"experiment={name}", *given])

    assert config.model.name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_its_command(name):
    header = (FOLDER / f"{name}.yaml").read_text().split("\n\n")[0]

    assert re.search(rf"#   strands-diffusers .*experiment=(glob\()?\S*{name.rstrip('0123456789')}", header)


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n.startswith(("action_policy", "forward", "inverse"))])
def test_an_experiment_on_large_weights_names_its_twin(name):
    assert f"experiment=pusht_{name}" in (FOLDER / f"{name}.yaml").read_text()
    assert f"pusht_{name}" in EXPERIMENTS


def test_a_missing_observation_says_what_to_add():
    with pytest.raises(ConfigError, match="needs an observation: add observation=FILE"):
        compose.compose(["experiment=action_policy"])


@pytest.mark.parametrize("name", sorted(p.stem for p in (Path(FOLDER).parent / "model").glob("*.yaml")))
def test_every_model_preset_composes_for_each_condition_it_recommends(name):
    import yaml

    preset = yaml.safe_load((FOLDER.parent / "model" / f"{name}.yaml").read_text())
    modes = [m for m in preset.get("recommended", {}) if m != "camera_pose"] or ["text"]
    for mode in modes:
        extra = ["condition.num_frames=1"] if mode == "text_to_image" else []
        condition = "text" if mode == "text_to_image" else mode
        repo = ["model.repo=somebody/something"] if name == "custom" else []
        domain = [f"domain={preset['domains'][0]}"] if preset.get("domains") else []
        assert (
            compose.compose([f"model={name}", f"condition={condition}", "prompt=a", *domain, *repo, *extra]).model.name
            == name
        )
