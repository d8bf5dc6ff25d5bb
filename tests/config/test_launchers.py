"""Launchers outside the core: what installs them, and presets that do not name themselves."""

from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException

from strands_diffusers.config import packages, store
from strands_diffusers.config.explain import explain

PRESETS = sorted((store.conf_dir() / "hydra" / "launcher").glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "line"),
    [("pool", "pip install -e plugins/launchers"), ("submitit_slurm", "pip install hydra-submitit-launcher")],
)
def test_a_launcher_that_is_not_installed_names_its_package(name, line):
    error = HydraException(
        f"Could not find 'hydra/launcher/{name}'\n\nAvailable options in 'hydra/launcher':\n\tbasic\n\tslurm"
    )

    assert str(explain(error)) == f"hydra/launcher={name} is in a package that is not installed: {line}"


def test_every_package_that_is_known_to_bring_something_is_there():
    folders = {
        line.removeprefix("-e ").strip("'").partition("[")[0] for line in packages.PACKAGES if line.startswith("-e")
    }

    assert all((Path(__file__).parents[2] / folder / "pyproject.toml").is_file() for folder in folders)
    assert packages.missing("wandb-workspace").endswith("pip install -e plugins/workspace")
    assert packages.missing("world=gymnasium").endswith("pip install -e plugins/gymnasium")
    assert packages.missing("tracker=trackioo") is None


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_a_preset_extends_a_launcher_of_another_name(path):
    # of the same name, Hydra would include the file in itself for ever
    first, last = yaml.safe_load(path.read_text())["defaults"]

    assert first != path.stem
    assert last == "_self_"
