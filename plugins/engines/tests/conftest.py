"""The tiny pipelines and calls of the core's own engine tests."""

import importlib.util
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[3] / "tests"
sys.path.insert(0, str(TESTS))

_spec = importlib.util.spec_from_file_location("engine_fixtures", TESTS / "contract" / "engine" / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
tiny, fresh, ask, difference, state_of = (
    getattr(_fixtures, name) for name in ("tiny", "fresh", "ask", "difference", "state_of")
)
