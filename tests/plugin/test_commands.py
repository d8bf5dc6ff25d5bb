"""Plugins in a real process: found through entry points, composed by Hydra, run by the command line."""

import json
import re
import subprocess
import sys

import plugin_site
import pytest
from commands import HEAVY, run_all

from strands_diffusers.records import read

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

    wrong, done = run_all(
        (("engine=counted", "engine.factor=two", "--cfg", "job"), env),
        (("engine=counted", "engine.factor=7", "sampler.num_inference_steps=2", "output=[action]", "visualizer=[]",
          "metric=[]", "tracker=none", f"output_dir={out}"), env),
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
    assert "left out: broken: ZeroDivisionError: division by zero" in done.stdout
    assert sorted(line for line in done.stderr.splitlines() if "left out" in line) == [
        "plugin broken was left out: ZeroDivisionError: division by zero",
        "plugin leaves was left out: SystemExit: 0",
    ]


VERBS = """
from strands_diffusers import Command, errors, hookimpl


def greet(arguments):
    if arguments == ["nobody"]:
        raise errors.ConfigError("greet somebody.")
    print("Hello,", 1 // len(arguments), *arguments)
    return 3


@hookimpl
def register_commands():
    return [Command("greet", "Say hello.", greet, ["world", "you"])]
"""


@pytest.mark.slow
def test_a_plugin_s_verb_runs_is_helped_and_completed(tmp_path):
    env = plugin_site.install(tmp_path, verbs=VERBS)

    lines = ("greet ", "greet w", "gr", "", "report ", "see")
    done, refused, broken, misspelt, shown, *completed = run_all(
        *((words, env) for words in (("greet", "world"), ("greet", "nobody"), ("greet",), ("gret",), ("--help",))),
        *((("-sc", "query=bash"), {**env, "COMP_LINE": f"strands-diffusers {line}"}) for line in lines),
    )

    assert (done.returncode, done.stdout) == (3, "Hello, 1 world\n")
    assert (refused.returncode, refused.stderr) == (2, "ConfigError: greet somebody.\n")
    assert broken.returncode == 1
    assert broken.stderr.startswith("PluginFault: command greet of plugin verbs: ZeroDivisionError")
    assert "Traceback" not in broken.stderr
    assert "Did you mean 'greet'?" in misspelt.stderr
    assert re.search(r"^  greet +Say hello\.$", shown.stdout, re.MULTILINE)
    words = dict(zip(lines, (each.stdout.split() for each in completed), strict=True))
    assert words["greet "] == ["world", "you"]
    assert words["greet w"] == ["world"]
    assert "greet" in words["gr"]
    assert {"report", "greet"} <= {*words[""]}
    assert words["report "] == []
    assert "seed=" in words["see"]


MISBEHAVES = '''
import sys, time
from strands_diffusers import Artifact, Measure, Metric, Serializer, Visualizer, hookimpl
from strands_diffusers.records import Record


class Leaves(Metric):
    """Ends the process."""
    name, output_types, measures = "leaves", ("video",), {"a": Measure("", "neither", "A.")}
    def compute(self, rollout):
        sys.exit(0)


class Hangs(Metric):
    """Never returns."""
    name, output_types, measures = "hangs", ("video",), {"a": Measure("", "neither", "A.")}
    def compute(self, rollout):
        time.sleep(10_000)


class Odd(Metric):
    """Is no number."""
    name, output_types, measures = "odd", ("video",), {"a": Measure("", "neither", "A.")}
    def compute(self, rollout):
        return {"a": float("nan")}


class Outside(Visualizer):
    """Names a file of somebody else."""
    name, output_types = "outside", ("video",)
    def draw(self, rollout, directory):
        return [Artifact(directory.parent.parent.parent / "theirs.txt", "outside")]


class Nothing(Visualizer):
    """Returns nothing."""
    name, output_types = "nothing", ("video",)
    def draw(self, rollout, directory):
        pass


@hookimpl
def register_metrics():
    return [Leaves, Hangs, Odd]


@hookimpl
def register_visualizers():
    return [Outside, Nothing]


@hookimpl
def on_job_start(job):
    raise KeyboardInterrupt


@hookimpl
def on_job_end(record):
    assert isinstance(record, Record) and record.done
    (record.directory / "ended.txt").write_text(record.status)


@hookimpl
def on_sweep_end(directory, records):
    (directory / "sweep_ended.txt").write_text(" ".join(r.status for r in records))
'''


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory):
    """A job and a sweep of a plugin that misbehaves: their folder, and how the commands ended."""
    folder = tmp_path_factory.mktemp("misbehaves")
    env = plugin_site.install(folder, misbehaves=MISBEHAVES)
    (folder / "theirs.txt").write_text("not mine")
    job = (
        "sampler.num_inference_steps=2", "output=[video,action]", "visualizer=[outside,nothing]",
        "metric=[leaves,hangs,odd,action]", "tracker=none", f"output_dir={folder / 'job'}", "hook_timeout_s=3",
    )  # fmt: skip
    sweep = (
        "-m", "seed=0,1", "sampler.num_inference_steps=1", "output=[action]", "visualizer=[]", "metric=[]",
        "tracker=none", f"output_dir={folder / 'sweep'}",
    )  # fmt: skip
    return folder, run_all((job, env), (sweep, env), modules=HEAVY)


@pytest.mark.slow
def test_plugins_that_misbehave_cost_their_own_results_only_and_are_named(misbehaved):
    folder, (done, _) = misbehaved
    out = folder / "job"

    record = read(out)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert record.status == "done"
    problems = {p.what: p.error for p in record.problems}
    assert "theirs.txt, which is outside" in problems.pop("visualizer outside")
    assert problems == {
        "metric leaves": "SystemExit: 0",
        "metric hangs": "TimeoutError: no answer within 3 s",
        "metric odd": "it returned a=nan, which is not a finite number",
        "visualizer nothing": "it returned None; it must return a list",
        "on_job_start of plugin misbehaves": "KeyboardInterrupt: KeyboardInterrupt",
    }
    assert record.metrics["action"]
    assert (out / "ended.txt").read_text() == "done"
    assert record.plugins["sometimes"] == "1.0"
    assert all(problem.what in done.stderr for problem in record.problems)


@pytest.mark.slow
def test_a_sweep_s_end_reaches_plugins_with_its_records(misbehaved):
    folder, (_, done) = misbehaved

    assert (folder / "sweep" / "sweep_ended.txt").read_text() == "done done"
    # its on_job_start raises
    assert done.returncode == 1
    assert "2 done (2 with problems)" in done.stderr
    assert done.stderr.count("problem: on_job_start of plugin misbehaves: KeyboardInterrupt") == 2
