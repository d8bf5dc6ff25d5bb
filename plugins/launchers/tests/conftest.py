"""Sweeps of the real command in a process of its own, with a plugin whose jobs raise, die, hang or fill a disk."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

# A shell starts what it puts in the background with Ctrl-C ignored, and a command under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

BARE = (
    "sampler.num_inference_steps=1", "sampler.guidance_scale=1", "tracker=unlucky", "visualizer=[]", "metric=[]",
    "output=[action,unlucky]",
)  # fmt: skip

PLUGIN = '''
"""Jobs go wrong by their seed, as the file named by UNLUCKY says when they run: {"2": "raise"}."""
import json, os, pathlib, signal, time
from strands_diffusers import Artifact, Serializer, Tracker, errors, hookimpl

def plan(seed, early):
    plans = pathlib.Path(os.environ["UNLUCKY"])
    what, _, rest = json.loads(plans.read_text()).get(str(seed), "fine").partition(",")
    if what.startswith("early-") is not early:
        return
    if rest:  # what to do the next time
        plans.write_text(json.dumps({str(seed): rest}))
    what = what.removeprefix("early-")
    if what == "raise":
        raise errors.OutputError(f"seed {seed} is unlucky")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(3)
    if what == "hang":
        plans.with_name(f"hangs-{seed}").write_text(str(os.getpid()))
        time.sleep(600)

class UnluckyTracker(Tracker):
    """Goes wrong before the model is loaded."""
    name = "unlucky"

    def start(self, run):
        plan(run.config["seed"], True)

    def log(self, record, rollouts):
        pass

    def finish(self, record):
        pass

class UnluckySerializer(Serializer):
    """Goes wrong in mid-write; else says which process ran the job."""
    name, output_types = "unlucky", ("action",)

    def save(self, rollout, directory):
        (directory / "half.txt").write_text("half")
        plan(rollout.seed, False)
        (directory / "half.txt").unlink()
        facts = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
        (directory / "who.json").write_text(json.dumps({"pid": os.getpid(), **facts}))
        return [Artifact(directory / "who.json", "action")]

@hookimpl
def register_serializers():
    return [UnluckySerializer]

@hookimpl
def register_trackers():
    return [UnluckyTracker]
'''


@dataclass
class Sweep:
    """A finished or running sweep."""

    process: subprocess.Popen
    folder: Path
    mark: str
    out: str = ""
    err: str = ""

    def wait(self, timeout: float = 300) -> int:
        self.out, self.err = self.process.communicate(timeout=timeout)
        return self.process.returncode

    def jobs(self, name: str) -> dict[str, dict]:
        """The manifests (or failures) by the number of their job."""
        return {p.parent.name: json.loads(p.read_text()) for p in sorted(self.folder.glob(f"*/{name}.json"))}

    def workers(self) -> list[int]:
        """The pid that ran each job, in order."""
        return [json.loads(p.read_text())["pid"] for p in sorted(self.folder.glob("*/who.json"))]

    def processes(self) -> list[int]:
        """Every living process that descends from the command: they inherit its environment."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if f"MARK={self.mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def orphans(self, within: float = 5) -> list[str]:
        """The names of what is still there some time after the command is over, Ray's own agents aside.

        Those hold no model and no job; where Ray was killed, they end when a request to it times out, after 60 s.
        """
        until = time.monotonic() + within
        while (found := self._named()) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def _named(self) -> list[str]:
        names = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if name not in ("ray::DashboardAgent", "ray::RuntimeEnvAgent"):
                    names.append(f"{pid}: {name[:200]}")
        return names


@pytest.fixture
def sweep(tmp_path):
    """Start `strands-diffusers -m` with a plan of what goes wrong; returns a `Sweep`. Nothing of it outlives the test."""
    site = tmp_path / "site"
    (site / "unlucky-1.0.dist-info").mkdir(parents=True)
    (site / "unlucky-1.0.dist-info" / "entry_points.txt").write_text("[strands_diffusers]\nunlucky = unlucky\n")
    (site / "unlucky-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: unlucky\nVersion: 1.0\n")
    (site / "unlucky.py").write_text(PLUGIN)
    started: list[Sweep] = []

    def start(launcher: str, *overrides: str, plan: dict[int, str] | None = None, wait: bool = True) -> Sweep:
        (tmp_path / "plan.json").write_text(json.dumps({str(k): v for k, v in (plan or {}).items()}))
        mark = f"{tmp_path}-{len(started)}"
        environment = {
            **os.environ,
            "MARK": mark,
            "UNLUCKY": str(tmp_path / "plan.json"),
            "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        given = {override.partition("=")[0] for override in overrides}
        bare = [override for override in BARE if override.partition("=")[0] not in given]
        command = [sys.executable, "-m", "strands_diffusers", "-m", *bare, f"hydra/launcher={launcher}", *overrides]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        folder = next((o.split("=")[1] for o in overrides if o.startswith(("output_dir=", "resume="))), "sweep")
        started.append(Sweep(process, tmp_path / folder, mark))
        if wait:
            started[-1].wait()
        return started[-1]

    yield start
    for one in started:
        for pid in one.processes():
            os.kill(pid, 9)
        one.process.communicate()
