"""Every Python block of docs/plugins.md is a whole plugin that loads and keeps the rules."""

import inspect
import re
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers import RunInfo, testing
from strands_diffusers.errors import ObservationError, SweepError
from strands_diffusers.plugin import manager, spec
from strands_diffusers.records import Record

TEXT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def run(code: str) -> types.ModuleType:
    module = types.ModuleType("theirs")
    exec(compile(code, "docs/plugins.md", "exec"), vars(module))
    return module


def block(hook: str) -> types.ModuleType:
    """The last block that implements the hook: the one in the reference."""
    return run([code for code in BLOCKS if f"def {hook}(" in code][-1])


@pytest.mark.parametrize(
    "code", BLOCKS, ids=lambda code: (re.findall(r"def ((?:register|on)_\w+)", code) or ["kit"])[-1]
)
def test_a_block_is_a_plugin_that_keeps_the_rules(code, tmp_path, monkeypatch):
    (tmp_path / "my_package" / "conf").mkdir(parents=True)  # what the block on config folders speaks of
    monkeypatch.syspath_prepend(tmp_path)
    testing.check_plugin(run(code))


@pytest.mark.parametrize("hook", [*manager.HOOKS, *manager.LIFECYCLE])
def test_each_hook_is_documented_with_its_signature_and_an_example(hook):
    signature = re.sub(r"(\w+\.)+(?=\w)|'", "", str(inspect.signature(getattr(spec, hook))))

    assert f"### `{hook}{signature}`" in TEXT
    assert any(f"def {hook}(" in code for code in BLOCKS)


def test_the_entry_point_is_the_one_that_is_looked_for():
    [text] = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

    assert [*tomllib.loads(text)["project"]["entry-points"]] == [manager.ENTRY_POINT_GROUP]


def test_the_source_reads_and_refuses_as_it_says():
    module = block("register_sources")

    testing.check_source(module.Black, "64x48")
    with pytest.raises(ObservationError, match="Type observation=black:64x48"):
        module.Black().read("big", None)


def test_the_verdict_judges_as_it_says(tmp_path):
    verdict = block("register_verdicts").AlwaysSharp()
    records = [Record(tmp_path, metrics={"video": {"psnr": value}}) for value in (21.0, 19.0)]

    [judgement] = verdict.judge(records)

    assert (judgement.holds, judgement.numbers["worst"]) == (False, 19.0)
    assert verdict.needs(testing.compose("metric=[]")).endswith("Add metric=[video]")
    with pytest.raises(SweepError):
        verdict.judge([])


def test_the_command_answers_as_it_says(capsys):
    [command] = block("register_commands").register_commands()

    assert command.run(["world"]) == 0
    assert capsys.readouterr().out == "Hello, world!\n"


def test_the_engine_runs_and_puts_the_threads_back():
    import torch

    engine = block("register_engines").Threads()
    seen = []

    class Pipe:
        device = "cpu"

        def __call__(self, **arguments):
            seen.append(torch.get_num_threads())
            return types.SimpleNamespace(frames=np.zeros((1, 2, 4, 4, 3)))

    from strands_diffusers import Call

    before = torch.get_num_threads()
    assert engine.refuse(Pipe(), Call({}, frozenset({"video"}))) is None
    assert engine.refuse(types.SimpleNamespace(device="cuda:0"), Call({}, frozenset())) == "it is for the CPU."
    engine.run(Pipe(), Call({}, frozenset({"video"})))
    assert (seen, torch.get_num_threads()) == ([2], before)


def test_the_lifecycle_writes_what_it_says(tmp_path):
    modules = [("jobs", block("on_job_start")), ("sweeps", block("on_sweep_end"))]
    index = manager.build_index(modules)
    record = Record(tmp_path)

    problems = [
        *index.notify("on_job_start", job=RunInfo("a", tmp_path, {}, "policy")),
        *index.notify("on_job_end", record=record),
        *index.notify("on_sweep_end", directory=tmp_path, records=[record]),
    ]

    assert not problems
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "started.txt": "a", "ended.txt": "done", "done.txt": "1 of 1\n",
    }  # fmt: skip
