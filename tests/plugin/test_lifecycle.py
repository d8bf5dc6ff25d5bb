"""The `on_` hooks are called in pluggy's order with what happened; a plugin that fails there is named."""

import threading
import types
from pathlib import Path

import pytest

from strands_diffusers import Record, RunInfo, hookimpl
from strands_diffusers.plugin import manager

JOB = RunInfo("policy", Path("/job"), {}, "policy")
RECORD = Record(Path("/job"))
ARGUMENTS = {
    "on_job_start": {"job": JOB},
    "on_job_end": {"record": RECORD},
    "on_sweep_end": {"directory": Path("/sweep"), "records": [RECORD]},
}


@pytest.fixture
def load():
    """A function that loads modules with the given hooks."""

    def load_all(**plugins):
        made = []
        for name, hooks in plugins.items():
            module = types.ModuleType(name)
            for hook, function in hooks.items():
                setattr(module, hook, function if hasattr(function, "strands_diffusers_impl") else hookimpl(function))
            made.append((name, module))
        index = manager.build_index(made)
        assert not index.problems
        return index

    return load_all


@pytest.mark.parametrize("hook", manager.LIFECYCLE)
def test_each_hook_gets_its_arguments_those_it_asks_for(hook, load):
    seen = []
    names = list(ARGUMENTS[hook])
    function = eval(f"lambda {names[-1]}: seen.append({names[-1]})", {"seen": seen})
    index = load(theirs={hook: function}, other={hook: lambda: seen.append("no arguments")})

    assert index.notify(hook, **ARGUMENTS[hook]) == []
    assert seen == ["no arguments", ARGUMENTS[hook][names[-1]]]


def test_the_order_is_pluggy_s_own(load):
    seen = []

    index = load(
        a={"on_job_start": lambda job: seen.append("a")},
        last={"on_job_start": hookimpl(trylast=True)(lambda job: seen.append("last"))},
        first={"on_job_start": hookimpl(tryfirst=True)(lambda job: seen.append("first"))},
        named={"mine": hookimpl(specname="on_job_start")(lambda job: seen.append("named"))},
    )

    assert index.notify("on_job_start", job=JOB) == []
    assert seen == ["first", "named", "a", "last"] == index.called_at("on_job_start")


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), MemoryError()])
def test_a_plugin_that_raises_is_a_problem_and_the_others_are_called(raised, load):
    seen = []

    def fail(record):
        raise raised

    index = load(
        quiet={"on_job_end": lambda record: seen.append(record)},
        loud={"on_job_end": fail},
        last={"on_job_end": hookimpl(trylast=True)(fail)},
        odd={"on_job_end": lambda record: "what it returns counts for nothing"},
    )

    problems = index.notify("on_job_end", record=RECORD)

    assert seen == [RECORD]
    assert {p.what for p in problems} == {f"on_job_end of plugin {name}" for name in ("loud", "last")}
    assert all(p.error.startswith(type(raised).__name__) for p in problems)


def test_a_plugin_that_never_returns_costs_its_time_limit(load):
    never = threading.Event()
    seen = []
    index = load(quiet={"on_job_end": lambda: seen.append(1)}, stuck={"on_job_end": lambda: never.wait()})

    [problem] = index.notify("on_job_end", limit_s=0.05, record=RECORD)

    assert (problem.what, problem.error) == ("on_job_end of plugin stuck", "TimeoutError: no answer within 0.05 s")
    assert seen == [1]
    never.set()


@pytest.mark.parametrize("kind", ["wrapper", "hookwrapper"])
def test_a_wrapper_is_refused_for_it_has_nothing_to_wrap(kind):
    module = types.ModuleType("old")

    @hookimpl(**{kind: True})
    def on_job_end(record):
        yield

    module.on_job_end = on_job_end
    [problem] = manager.build_index([("old", module)]).problems

    expected = "on_job_end() is a wrapper, and each plugin is called by itself. Use tryfirst or trylast."
    assert problem.message == expected
