"""A folder that, on PYTHONPATH, is an installed third-party plugin: found through its entry point like any other."""

import os
from pathlib import Path

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


def install(tmp_path: Path, *, broken: bool = False) -> dict[str, str]:
    """Lay the plugin (and a broken one) below `tmp_path` and return the environment that finds it."""
    site = tmp_path / "site"
    info = site / "sometimes-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    entries = "[strands_diffusers]\nsometimes = sometimes\n" + ("broken = broken\n" if broken else "")
    (info / "entry_points.txt").write_text(entries)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sometimes\nVersion: 1.0\n")
    (site / "broken.py").write_text("1 / 0\n")
    (site / "sometimes.py").write_text(PLUGIN)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}
