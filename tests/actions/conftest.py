"""Real chunks, from the folder that STRANDS_DIFFUSERS_TEST_DATA names; tests that need them skip without it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("strands_diffusers", deadline=None)  # a busy machine is no failure
settings.load_profile("strands_diffusers")


@pytest.fixture
def real_chunk(data: Path) -> Callable[[str], np.ndarray]:
    """Read a real action file as float64, [K, T, D] or [T, D] as stored."""
    return lambda name: np.array(json.loads((data / name).read_text()))


@pytest.fixture(
    params=["rollout_policy_1_action", "rollout_policy_2_action", "rollout_policy_3_action", "cosmos_action_chunk"]
)
def bridge_chunk(request: pytest.FixtureRequest, real_chunk: Callable[[str], np.ndarray]) -> np.ndarray:
    """A chunk [1, 16, 10] that the real Cosmos3-Nano generated in the domain bridge_orig_lerobot."""
    return real_chunk(f"cosmos3_nano/{request.param}.json")
