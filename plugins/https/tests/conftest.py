"""The clips of the core's own observation tests."""

import importlib.util
import sys
from pathlib import Path

import pytest
from strands_diffusers_https import HttpsSource

from strands_diffusers.plugin.guard import GuardedSource
from strands_diffusers.plugin.manager import plugins

TESTS = Path(__file__).resolve().parents[3] / "tests"
sys.path.insert(0, str(TESTS))

_spec = importlib.util.spec_from_file_location("observation_fixtures", TESTS / "observations" / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
write_clip = _fixtures.write_clip


@pytest.fixture
def sources():
    return {
        cls.scheme: GuardedSource("", cls())
        for cls in (*map(plugins().classes("source").get, ("file", "run")), HttpsSource)
    }
