"""Plugins are indexed through the hooks; a broken one is left out by name and takes nothing down."""

import itertools
import signal
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import (
    Command,
    Engine,
    Judgement,
    Measure,
    Metric,
    Panel,
    Policy,
    Score,
    Serializer,
    Source,
    Table,
    Tracker,
    Verdict,
    Visualizer,
    World,
    hookimpl,
)
from strands_diffusers.errors import PluginError
from strands_diffusers.plugin import guard, manager, spec


class Csv(Serializer):
    """Write a csv."""

    name = "csv"
    output_types = ("action",)

    def save(self, rollout, directory):
        return []


def module(**members) -> types.ModuleType:
    """A module whose functions named like hooks are hook implementations."""
    made = types.ModuleType("third_party")
    for name, value in members.items():
        setattr(made, name, hookimpl(value) if name.startswith(("register", "on_")) else value)
    return made


def index(plugin, name="third_party") -> manager.PluginIndex:
    """The built-ins and one plugin, whatever else is installed here."""
    return manager.build_index([(name, plugin)], index=manager.built_ins())


def reason(plugin) -> str:
    """Why the plugin was left out."""
    [problem] = index(plugin).problems
    assert problem.plugin == "third_party"
    return problem.message


def test_every_built_in_comes_through_the_hooks():
    found = manager.plugins()

    assert set(found.classes("output")) >= {"video", "sound", "action", "image", "mesh"}
    assert set(found.classes("visualizer")) >= {"timeseries", "trajectory", "animation", "comparison"}
    assert set(found.classes("metric")) >= {"video", "action"}
    assert set(found.classes("tracker")) >= {"wandb", "none"}
    assert set(found.classes("source")) >= {"file", "sample", "run"}


def test_a_class_without_options_gets_a_config_of_its_own():
    assert Csv.Config is not Serializer.Config
    assert issubclass(Csv.Config, Serializer.Config)


def test_a_plugin_that_raises_on_import_is_left_out_and_named():
    def load():
        raise RuntimeError("no such GPU\nsecond line")

    found = index(load)

    assert [(p.plugin, p.message) for p in found.problems] == [("third_party", "RuntimeError: no such GPU second line")]
    assert "third_party" not in {r.plugin for r in found.registrations}


def test_a_misspelt_hook_is_named_with_the_near_miss():
    found = index(module(register_serialisers=lambda: [Csv]))

    assert "register_serialisers() is not a hook" in found.problems[0].message
    assert "Did you mean 'register_serializers'?" in found.problems[0].message


def test_a_taken_name_names_both_plugins():
    class Video(Csv):
        """A second video."""

        name = "video"

    found = index(module(register_serializers=lambda: [Csv, Video]))

    assert "output=video is taken by outputs.serializers; give Video another name." in found.problems[0].message
    assert "csv" not in found.classes("output"), "a plugin is all or nothing"


class NoDoc(Csv):
    name = "nodoc"


NoDoc.__doc__ = None


class BadTypes(Csv):
    """Bad types."""

    name = "bad"
    output_types = ("movie",)


class Abstract(Serializer):
    """No save."""

    name = "abstract"
    output_types = ("video",)


class Untyped(Csv):
    """A Config that is no dataclass of ours."""

    name = "untyped"

    @dataclass
    class Config:
        """Elsewhere."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NoDoc, "without a docstring"),
        (BadTypes, "output_types=('movie',)"),
        (Abstract, "does not define save()"),
        (Untyped, "Config is not a dataclass derived from Serializer.Config"),
        (type("Null", (Csv,), {"name": "null", "__doc__": "Hydra reads its name as no word."}), "name='null'"),
        (type("Nan", (Csv,), {"name": "nan", "__doc__": "The same."}), "name='nan'"),
        ("csv", "must return subclasses"),
        (Visualizer, "must return subclasses of strands_diffusers.Serializer"),
    ],
)
def test_an_improper_class_is_refused_with_the_fix(value, message):
    assert message in index(module(register_serializers=lambda: [value])).problems[0].message


def test_a_disabled_plugin_is_not_even_imported(monkeypatch):
    class Entry:
        name, dist = "third_party", None

        def load(self):
            pytest.fail("imported")

    monkeypatch.setenv(manager.DISABLE_VARIABLE, "third_party, other")
    monkeypatch.setattr(manager, "_entry_points", lambda: [Entry()])
    manager.forget()
    try:
        assert manager.plugins().disabled == ["third_party"]
    finally:
        monkeypatch.undo()
        manager.forget()


# ------------------------------------------------------------------ every hook is called by a test


class Shown(Visualizer):
    """Draw."""

    name, output_types = "shown", ("video",)

    def draw(self, rollout, directory):
        return []


class Measured(Metric):
    """Measure."""

    name, output_types, measures = "measured", ("video",), {}

    def compute(self, rollout):
        return {}


class Tracked(Tracker):
    """Track."""

    name = "tracked"

    def start(self, run): ...

    def log(self, record, rollouts): ...

    def finish(self, record): ...


class Seen(Source):
    """See."""

    scheme = "seen"

    def read(self, address, request): ...


class Twice(Engine):
    """Run twice."""

    name = "twice"

    def refuse(self, pipe, call): ...

    def run(self, pipe, call, progress=None):
        return []


class Judged(Verdict):
    """Judge."""

    name = "judged"

    def judge(self, records):
        return [Judgement("judged", "fine", True)]


class Shelf(Panel):
    """Show."""

    name, title = "shelf", "A shelf"

    def content(self, directory, records):
        return Table(["a"], [[1]])


class Chosen(Policy):
    """Act."""

    name = "chosen"

    def act(self, look): ...


class Answered(World):
    """Answer."""

    name = "answered"

    def reset(self, setting, seed): ...

    def step(self, actions, num_steps, progress=None): ...


class Scored(Score):
    """Judge frames."""

    name, measure = "scored", Measure("", "higher", "How good.")

    def compute(self, track): ...


VERB = Command("greet", "Say hello.", lambda arguments: 0, ("you",))

HOOKED = {
    "register_serializers": (Csv, "output"),
    "register_visualizers": (Shown, "visualizer"),
    "register_metrics": (Measured, "metric"),
    "register_trackers": (Tracked, "tracker"),
    "register_sources": (Seen, "source"),
    "register_engines": (Twice, "engine"),
    "register_policies": (Chosen, "policy"),
    "register_worlds": (Answered, "world"),
    "register_scores": (Scored, "score"),
    "register_configs": ("pkg://hydra.conf", None),
    "register_verdicts": (Judged, "verdict"),
    "register_panels": (Shelf, "panel"),
    "register_commands": (VERB, None),
}


@pytest.mark.parametrize("hook", manager.HOOKS)
def test_each_hook_registers_what_it_returns(hook):
    value, group = HOOKED[hook]

    found = index(module(**{hook: lambda: [value]}))

    assert not found.problems
    if group:
        assert found.find(group, value.name) is value
        assert found.owner(value) == "third_party"
    elif hook == "register_configs":
        assert found.config_paths == [("third_party", "pkg://hydra.conf")]
    else:
        assert found.commands["greet"] is VERB


def test_an_implementation_with_another_name_is_called_by_its_specname():
    made = types.ModuleType("third_party")
    made.mine = hookimpl(specname="register_serializers")(lambda: [Csv])
    made.register_serializers = hookimpl(lambda: [type("Other", (Csv,), {"name": "other", "__doc__": "Other."})])

    assert set(index(made).classes("output")) >= {"csv", "other"}


@pytest.mark.parametrize(
    "raised", [MemoryError("no"), SystemExit(0), KeyboardInterrupt(), GeneratorExit(), KeyError("x")]
)
@pytest.mark.parametrize("where", ["import", "hook", "iterator"])
def test_whatever_a_plugin_raises_while_it_is_loaded_it_is_left_out_and_named(raised, where):
    def fail():
        raise raised

    def fails():
        yield Csv
        raise raised

    plugin = fail if where == "import" else module(register_serializers=fail if where == "hook" else fails)

    assert reason(plugin).startswith(type(raised).__name__)


returned = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.just(object()), st.just(object),
        st.builds(type, st.just("Made"), st.just((Csv,)), st.dictionaries(
            st.sampled_from(["name", "output_types", "Config", "measures", "title", "__doc__"]),
            st.one_of(st.none(), st.text(), st.integers(), st.just(("video",)), st.just(int)),
        )),
        st.builds(Command, st.one_of(st.text(), st.none()), st.text(), st.none(), st.integers()),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
)  # fmt: skip


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sampled_from([*manager.HOOKS]), returned, st.one_of(st.none(), st.integers(-2, 3), st.text()))
def test_whatever_a_hook_returns_nothing_is_raised_and_what_loads_is_sound(hook, value, api):
    made = module(**{hook: lambda: value}, STRANDS_DIFFUSERS_API=api)

    found = manager.build_index([("third_party", made)])

    assert len(found.problems) + found.hooks.has_plugin("third_party") == 1
    assert all(problem.message.isprintable() and len(problem.message) > 10 for problem in found.problems)
    assert not (found.problems and found.registrations)
    assert all(isinstance(r.name, str) for r in found.registrations)


def test_ctrl_c_while_plugins_load_ends_the_command():
    def load():
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        index(load)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("value", [7, "csv", b"csv", object(), Csv])
def test_a_hook_that_returns_no_list_is_refused(value):
    assert "must return a list" in reason(module(register_serializers=lambda: value))


def test_a_hook_that_returns_nothing_is_fine_and_one_that_never_ends_is_refused():
    assert not index(module(register_metrics=lambda: None)).problems
    assert "more than 1,000 things" in reason(module(register_metrics=lambda: itertools.repeat(Measured)))


def test_a_config_that_cannot_be_composed_leaves_its_plugin_out():
    class Wild(Csv):
        """A field of a type that no config can hold."""

        name = "wild"

        @dataclass
        class Config(Serializer.Config):
            """Options."""

            path: set = field(default_factory=set)

    class Needy(Seen):
        """A source whose option has no default: it would be missing in every config."""

        scheme = "needy"

        @dataclass
        class Config(Source.Config):
            """Options."""

            root: str

    class Broken(Seen):
        """A source that refuses its own defaults."""

        scheme = "broken"

        @dataclass
        class Config(Source.Config):
            """Options."""

            def __post_init__(self):
                self.nothing  # noqa: B018

    assert "Wild, whose Config cannot be composed" in reason(module(register_serializers=lambda: [Wild]))
    assert "Needy, whose Config cannot be composed" in reason(module(register_sources=lambda: [Needy]))
    assert "Broken, whose Config cannot be composed" in reason(module(register_sources=lambda: [Broken]))


def test_a_class_that_cannot_be_made_is_named_and_a_source_costs_only_itself(caplog):
    def fails(self, config=None):
        raise KeyError("x")

    bad_source = type("Bad", (Seen,), {"scheme": "bad", "__doc__": "Bad.", "__init__": fails})
    bad_csv = type("BadCsv", (Csv,), {"name": "bad_csv", "__doc__": "Bad.", "__init__": fails})
    found = index(module(register_sources=lambda: [Seen, bad_source], register_serializers=lambda: [bad_csv]))

    assert "seen" in found.sources({})
    assert "bad" not in found.sources({})
    assert "Bad of plugin third_party cannot be made: KeyError: 'x'." in caplog.text
    with pytest.raises(PluginError, match="BadCsv of plugin third_party cannot be made: KeyError"):
        found.make(bad_csv)


def test_a_serializer_may_require_an_option():
    class Needy(Csv):
        """An option without a default."""

        name = "needy"

        @dataclass
        class Config(Serializer.Config):
            """Options."""

            root: str

    assert not index(module(register_serializers=lambda: [Needy])).problems


def test_a_plugin_for_a_newer_interface_is_left_out_with_the_remedy():
    assert not index(module(STRANDS_DIFFUSERS_API=spec.API)).problems
    newer = module(STRANDS_DIFFUSERS_API=spec.API + 1, register_serializers=lambda: 1 / 0)
    assert reason(newer).startswith(f"it is written for version {spec.API + 1} of the plugin interface")
    assert "Upgrade strands-diffusers" in reason(newer)
    assert "not a whole number" in reason(module(STRANDS_DIFFUSERS_API="one"))


@pytest.mark.parametrize(
    "path", ["pkg://not_there.conf", "file:///not/there", "pkg://../x", "pkg://json.tool", "conf", 7]
)
def test_a_config_folder_that_is_not_there_is_refused(path):
    assert guard.shown(path).strip("'") in reason(module(register_configs=lambda: [path]))


def test_a_config_folder_by_its_path_is_taken(tmp_path):
    assert not index(module(register_configs=lambda: [f"file://{tmp_path}"])).problems


def test_two_plugins_of_one_name_do_not_both_load():
    found = manager.build_index([("twin", module()), ("twin", module(register_serializers=lambda: [Csv]))])

    assert [problem.message[:36] for problem in found.problems] == ["another plugin has the same name; on"]
    assert not found.registrations


def test_a_plugin_that_was_left_out_leaves_no_hook_behind():
    called = []

    found = index(module(register_serializers=lambda: [object], on_sweep_end=lambda directory: called.append(1)))
    found.hooks.hook.on_sweep_end(directory=Path(), records=[])

    assert found.problems
    assert not called


@pytest.mark.parametrize("name", ["report", "plugins", "doctor"])
def test_a_verb_that_is_built_in_is_refused(name):
    command = Command(name, "Mine.", lambda arguments: 0)

    assert f"`strands-diffusers {name}` is built in" in reason(module(register_commands=lambda: [command]))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command("a=b", "Help.", print), "use a-z"),
        (Command("--cfg", "Help.", print), "use a-z"),
        (Command(None, "Help.", print), "use a-z"),
        (Command("greet", "", print), "help is not one line"),
        (Command("greet", "Two\nlines.", print), "help is not one line"),
        (Command("greet", "Help.", None), "must be callable"),
        (Command("greet", "Help.", print, "you"), "a list of words"),
        ("greet", "must return strands_diffusers.Command objects"),
    ],
)
def test_an_improper_command_is_refused_with_the_fix(command, message):
    assert message in reason(module(register_commands=lambda: [command]))


@pytest.mark.parametrize(
    "measures", [None, {"a": 1}, {1: Measure("", "lower", "A.")}, {"a": Measure("", "best", "A.")}, ["a"]]
)
def test_a_metric_must_say_what_its_values_are(measures):
    made = type("Made", (Measured,), {"name": "made", "measures": measures, "__doc__": "Made."})

    assert "without `measures`" in reason(module(register_metrics=lambda: [made]))


def test_a_hook_with_an_argument_that_it_does_not_have_is_refused():
    assert "on_job_end() takes record, not job" in reason(module(on_job_end=lambda job: None))
    assert "register_metrics() takes no arguments, not x" in reason(module(register_metrics=lambda x: []))


def test_every_hook_of_the_specification_is_served():
    assert {*manager.HOOKS} == {n for n in vars(spec) if n.startswith("register_")}
    assert {*manager.LIFECYCLE} == {n for n in vars(spec) if n.startswith("on_")}
