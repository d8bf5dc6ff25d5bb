"""Real chunks, from the folder that STRANDS_DIFFUSERS_TEST_DATA names; tests that need them skip without it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    folder = os.environ.get("STRANDS_DIFFUSERS_TEST_DATA")
    if not folder:
        pytest.skip("STRANDS_DIFFUSERS_TEST_DATA names no folder with real data")
    return Path(folder)


@pytest.fixture(scope="session")
def real_chunk(data: Path) -> Callable[[str], np.ndarray]:
    """Return a real action file as float64, [K, T, D] or [T, D] as stored."""
    return lambda name: np.array(json.loads((data / name).read_text()))


BRIDGE_CHUNKS = [
    "cosmos3_nano/rollout_policy_1_action.json",
    "cosmos3_nano/rollout_policy_2_action.json",
    "cosmos3_nano/rollout_policy_3_action.json",
    "cosmos3_nano/cosmos_action_chunk.json",
]
"""Chunks that the real Cosmos3-Nano generated in the domain bridge_orig_lerobot."""
