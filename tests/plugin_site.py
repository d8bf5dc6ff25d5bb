"""A third-party plugin: a folder that on PYTHONPATH is its installed package, or registered in this process."""

import contextlib
import os
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = '''
import os
from pathlib import Path
from strands_diffusers import Artifact, Serializer, errors, hookimpl

class Sometimes(Serializer):
    """Fails for the seeds of UNLUCKY, until the file LUCK is there."""
    name, output_types = "sometimes", ("action",)

    def save(self, rollout, directory):
        unlucky = os.environ.get("UNLUCKY", "2").split(",")
        luck = Path(os.environ.get("LUCK", "/nowhere"))
        if str(rollout.seed) in unlucky and not luck.exists():
            if os.environ.get("LUCK_TURNS"):
                luck.touch()
            raise errors.OutputError(f"seed {rollout.seed} is unlucky")
        (directory / "some.txt").write_text("done")
        return [Artifact(directory / "some.txt", "action")]

@hookimpl
def register_serializers():
    return [Sometimes]
'''


def install(tmp_path: Path, *, broken: bool = False, **modules: str) -> dict[str, str]:
    """Lay the plugin (a broken one, and `modules` by name) below `tmp_path`; return the environment that finds them."""
    site = tmp_path / "site"
    info = site / "sometimes-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    modules |= {"sometimes": PLUGIN} | ({"broken": "1 / 0\n"} if broken else {})
    (info / "entry_points.txt").write_text("[strands_diffusers]\n" + "".join(f"{n} = {n}\n" for n in modules))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sometimes\nVersion: 1.0\n")
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """The plugin among those of this process: what its jobs do needs no process of their own."""
    from hydra.core.config_store import ConfigStore

    from strands_diffusers.plugin.manager import Registration, plugins

    module = types.ModuleType("sometimes")
    exec(PLUGIN, vars(module))
    mine = Registration("register_serializers", "output", "sometimes", "sometimes", module.Sometimes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins(), "registrations", [*plugins().registrations, mine])
        yield
    ConfigStore.instance().repo["output"].pop("sometimes.yaml", None)
