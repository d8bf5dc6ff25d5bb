"""Plugins are indexed through the hooks; a broken one is left out by name and takes nothing down."""

import inspect
import re
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from strands_diffusers import Metric, Serializer, Source, Tracker, Visualizer, hookimpl
from strands_diffusers.plugin import manager, spec

DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"


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
        setattr(made, name, hookimpl(value) if name.startswith("register") else value)
    return made


def index(plugin, name="third_party") -> manager.PluginIndex:
    return manager.build_index([(name, plugin)], index=manager.PluginIndex(list(manager.plugins().registrations)))


def test_every_built_in_comes_through_the_hooks():
    found = manager.plugins()

    assert set(found.classes("output")) >= {"video", "sound", "action", "image", "mesh"}
    assert set(found.classes("visualizer")) >= {"timeseries", "trajectory", "animation", "comparison"}
    assert set(found.classes("metric")) >= {"video", "action"}
    assert set(found.classes("tracker")) >= {"wandb", "none"}
    assert set(found.classes("source")) >= {"file", "sample", "run", "https"}


def test_a_class_without_options_gets_a_config_of_its_own():
    assert Csv.Config is not Serializer.Config
    assert issubclass(Csv.Config, Serializer.Config)


def test_a_plugin_that_raises_on_import_is_left_out_and_named():
    def load():
        raise RuntimeError("no such GPU\nsecond line")

    found = index(load)

    assert [(p.plugin, p.message) for p in found.problems] == [("third_party", "RuntimeError: no such GPU second line")]
    assert found.registrations == manager.plugins().registrations


def test_a_misspelt_hook_is_named_with_the_near_miss():
    found = index(module(register_serialisers=lambda: [Csv]))

    assert "register_serialisers() is not a hook" in found.problems[0].message
    assert "Did you mean 'register_serializers'?" in found.problems[0].message


def test_a_taken_name_names_both_plugins():
    class Video(Csv):
        """A second video."""

        name = "video"

    found = index(module(register_serializers=lambda: [Csv, Video]))

    assert "output=video is taken by outputs.video; give Video another name." in found.problems[0].message
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
        ("csv", "must return subclasses"),
        (Visualizer, "must return subclasses of strands_diffusers.Serializer"),
    ],
)
def test_an_improper_class_is_refused_with_the_fix(value, message):
    assert message in index(module(register_serializers=lambda: [value])).problems[0].message


def test_a_disabled_plugin_is_not_even_imported(monkeypatch):
    class Entry:
        name = "third_party"

        def load(self):
            pytest.fail("imported")

    monkeypatch.setenv(manager.DISABLE_VARIABLE, "third_party, other")
    monkeypatch.setattr(manager.importlib.metadata, "entry_points", lambda group: [Entry()])
    manager.forget()
    try:
        assert manager.plugins().disabled == ["third_party"]
    finally:
        monkeypatch.undo()
        manager.forget()


# ------------------------------------------------------------------ every hook is documented, and called by a test


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

    def log(self, rollout, artifacts, metrics): ...

    def finish(self, status, error=None, details=None): ...


class Seen(Source):
    """See."""

    scheme = "seen"

    def read(self, address, request): ...


HOOKED = {
    "register_serializers": (Csv, ("output", "csv")),
    "register_visualizers": (Shown, ("visualizer", "shown")),
    "register_metrics": (Measured, ("metric", "measured")),
    "register_trackers": (Tracked, ("tracker", "tracked")),
    "register_sources": (Seen, ("source", "seen")),
    "register_configs": ("pkg://somewhere.conf", None),
}


@pytest.mark.parametrize("hook", manager.HOOKS)
def test_each_hook_registers_what_it_returns(hook):
    value, where = HOOKED[hook]

    found = index(module(**{hook: lambda: [value]}))

    assert not found.problems
    if where:
        assert found.find(*where) is value
    else:
        assert found.config_paths == [("third_party", "pkg://somewhere.conf")]


@pytest.mark.parametrize("hook", manager.HOOKS)
def test_each_hook_is_documented_with_its_signature(hook):
    signature = re.sub(
        r"strands_diffusers\.plugin\.base\.|collections\.abc\.", "", str(inspect.signature(getattr(spec, hook)))
    )

    assert f"### `{hook}{signature}`" in DOCS.read_text()


def test_there_are_six_hooks_and_each_names_a_spec():
    assert set(manager.HOOKS) == {n for n in vars(spec) if n.startswith("register_")}
    assert len(manager.HOOKS) == 6
