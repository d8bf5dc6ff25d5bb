"""Plugins in a real process: found through entry points, composed by Hydra, run by the command line."""

import json
import subprocess
import sys

import plugin_site
import pytest

ENGINE = '''
from dataclasses import dataclass
from strands_diffusers import Engine, hookimpl


class Counted(Engine):
    """diffusers' own call, which notes its option."""

    name = "counted"

    @dataclass
    class Config(Engine.Config):
        """Options."""

        factor: int = 2
        """A number."""

    def refuse(self, pipe, call):
        return None

    def run(self, pipe, call, progress=None):
        from strands_diffusers.pipelines.engine import get_engine

        samples = get_engine("eager").run(pipe, call, progress)
        for sample in samples:
            sample.seconds["factor"] = float(self.config.factor)
        return samples


@hookimpl
def register_engines():
    return [Counted]
'''


def run(env, *arguments, flags=()):
    command = [sys.executable, *flags, "-m", "strands_diffusers", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_a_plugin_s_engine_is_a_typed_choice_and_runs(tmp_path):
    env = plugin_site.install(tmp_path, counted=ENGINE)
    out = tmp_path / "out"

    wrong = run(env, "engine=counted", "engine.factor=two", "--cfg", "job")
    done = run(
        env, "engine=counted", "engine.factor=7", "sampler.num_inference_steps=2", "output=[action]", "visualizer=[]",
        "metric=[]", "tracker=none", f"output_dir={out}",
    )  # fmt: skip

    assert wrong.returncode == 2
    assert "engine.factor=two must be a whole number" in wrong.stderr
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "manifest.json").read_text())
    assert record["engine"]["effective"] == "counted"
    assert record["config"]["engine"]["name"] == "counted"
    assert record["seconds"]["stages"]["factor"] == 7


@pytest.mark.slow
def test_a_broken_plugin_is_named_in_one_line_and_without_docstrings_all_others_load(tmp_path):
    env = plugin_site.install(tmp_path, broken=True, leaves="import sys\nsys.exit(0)\n", counted=ENGINE)

    done = run(env, "plugins", "--hook", "register_engines", flags=("-OO",))

    assert done.returncode == 0, done.stderr
    assert "counted" in done.stdout
    assert sorted(line for line in done.stderr.splitlines() if "left out" in line) == [
        "plugin broken was left out: ZeroDivisionError: division by zero",
        "plugin leaves was left out: SystemExit: 0",
    ]
