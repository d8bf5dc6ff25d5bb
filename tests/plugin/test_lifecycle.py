"""The `on_` hooks are called in pluggy's order with what happened; a plugin that fails there is named."""

import threading
import types
from pathlib import Path

import pytest

from strands_diffusers import Record, RunInfo, hookimpl
from strands_diffusers.plugin import lifecycle, manager

JOB = RunInfo("policy", Path("/job"), {}, "policy")
RECORD = Record(Path("/job"))
ARGUMENTS = {
    "on_job_start": {"job": JOB},
    "on_job_end": {"record": RECORD},
    "on_sweep_end": {"directory": Path("/sweep"), "records": [RECORD]},
}


@pytest.fixture
def load(monkeypatch):
    """A function that makes modules with the given hooks the loaded plugins."""

    def load_all(**plugins):
        made = []
        for name, hooks in plugins.items():
            module = types.ModuleType(name)
            for hook, function in hooks.items():
                setattr(module, hook, function if hasattr(function, "strands_diffusers_impl") else hookimpl(function))
            made.append((name, module))
        index = manager.build_index(made)
        assert not index.problems
        monkeypatch.setattr(lifecycle, "plugins", lambda: index)

    return load_all


@pytest.mark.parametrize("hook", manager.LIFECYCLE)
def test_each_hook_gets_its_arguments_those_it_asks_for(hook, load):
    seen = []
    names = list(ARGUMENTS[hook])
    function = eval(f"lambda {names[-1]}: seen.append({names[-1]})", {"seen": seen})
    load(theirs={hook: function}, other={hook: lambda: seen.append("no arguments")})

    assert lifecycle.call(hook, **ARGUMENTS[hook]) == []
    assert seen == ["no arguments", ARGUMENTS[hook][names[-1]]]


def test_the_order_is_pluggy_s_own_and_wrappers_wrap(load):
    seen = []

    @hookimpl(wrapper=True)
    def around(job):
        seen.append("before")
        result = yield
        seen.append("after")
        return result

    load(
        a={"on_job_start": lambda job: seen.append("a")},
        last={"on_job_start": hookimpl(trylast=True)(lambda job: seen.append("last"))},
        wrapped={"on_job_start": around},
        first={"on_job_start": hookimpl(tryfirst=True)(lambda job: seen.append("first"))},
        named={"mine": hookimpl(specname="on_job_start")(lambda job: seen.append("named"))},
    )

    assert lifecycle.call("on_job_start", job=JOB) == []
    assert seen == ["before", "first", "named", "a", "last", "after"]


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), MemoryError()])
def test_a_plugin_that_raises_is_a_problem_and_the_others_are_called(raised, load):
    seen = []

    def fail(record):
        raise raised

    @hookimpl(wrapper=True)
    def fail_before(record):
        raise raised
        yield

    @hookimpl(wrapper=True)
    def fail_after(record):
        yield
        raise raised

    load(
        quiet={"on_job_end": lambda record: seen.append(record)},
        loud={"on_job_end": fail},
        early={"on_job_end": fail_before},
        late={"on_job_end": fail_after},
        odd={"on_job_end": lambda record: "what it returns counts for nothing"},
    )

    problems = lifecycle.call("on_job_end", record=RECORD)

    assert seen == [RECORD]
    assert {p.what for p in problems} == {f"on_job_end of plugin {name}" for name in ("loud", "early", "late")}
    assert all(p.error.startswith(type(raised).__name__) for p in problems)


def test_a_plugin_that_never_returns_costs_its_time_limit(load):
    never = threading.Event()
    seen = []
    load(quiet={"on_job_end": lambda: seen.append(1)}, stuck={"on_job_end": lambda: never.wait()})

    [problem] = lifecycle.call("on_job_end", limit_s=0.05, record=RECORD)

    assert (problem.what, problem.error) == ("on_job_end of plugin stuck", "TimeoutError: no answer within 0.05 s")
    assert seen == [1]
    never.set()


def test_an_old_style_wrapper_is_refused_with_the_new_form():
    module = types.ModuleType("old")

    @hookimpl(hookwrapper=True)
    def on_job_end(record):
        yield

    module.on_job_end = on_job_end
    [problem] = manager.build_index([("old", module)]).problems

    assert problem.message == "on_job_end() is an old-style wrapper. Use @hookimpl(wrapper=True)."
