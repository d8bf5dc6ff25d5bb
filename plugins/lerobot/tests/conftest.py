import os
import sys
from pathlib import Path

import pytest

from strands_diffusers.runner import sweep

sys.path.insert(0, str(Path(__file__).parent))  # for toy.py


@pytest.fixture(scope="session", autouse=True)
def _configs():
    sweep.prepare()


@pytest.fixture
def droid() -> Path:
    """A real LeRobot v3 dataset: one DROID episode of 722 frames, one of its three cameras."""
    folder = Path(os.environ.get("STRANDS_DIFFUSERS_TEST_DATA", "-"), "nvidia_cosmos", "droid_lerobot_example")
    if not folder.is_dir():
        pytest.skip("STRANDS_DIFFUSERS_TEST_DATA does not name the folder of real clips")
    return folder
