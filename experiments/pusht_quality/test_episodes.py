"""The held-out clips are of the kind that training episodes are."""

from __future__ import annotations

import pytest
from strands_diffusers_pusht.simulator import HELD_OUT_SEED, PushT

from experiments.pusht_quality.episodes import clip


@pytest.mark.parametrize("index", [0, 7, 18])  # in their first seeds the expert drives the block through a wall
def test_a_held_out_clip_never_has_the_block_at_a_wall(index: int) -> None:
    simulator = PushT()
    found = clip(simulator, index)
    assert found.seed > HELD_OUT_SEED + 1000 * index
    for state in found.states:
        simulator.state = state
        assert not simulator.block_at_wall
    assert found.frames.shape == (17, 96, 96, 3)
    assert found.actions.shape == (16, 2)
