"""Starts with the block in the way are what they are called, and the expert still does its task from them."""

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht.expert import DIRECTIONS, play, progress_px
from strands_diffusers_pusht.simulator import PUSHER_RADIUS_PX, PushT

from .data import ALL_TASKS, in_the_way, put_in_the_way


@pytest.mark.parametrize("task", DIRECTIONS)
def test_the_block_is_between_the_pusher_and_the_place_to_push_from(task: str) -> None:
    table, rng, moves = PushT(), np.random.default_rng(0), []
    for seed in range(12):
        before = table.start(seed)
        put_in_the_way(table, task, rng)

        assert np.allclose(table.state[2:], before[2:])
        assert table.clearance_px(table.pusher_px) > PUSHER_RADIUS_PX
        if not np.allclose(table.state, before):  # there was room
            away = table.pusher_px - table.block_px
            assert away @ np.array(DIRECTIONS[task]) > 0.8 * np.linalg.norm(away)
            assert in_the_way(table.state, ALL_TASKS.index(task))
            behind = np.array([*(table.block_px - away), *table.state[2:]])
            assert not in_the_way(behind, ALL_TASKS.index(task))
            _, _, states = play(table, task, seed, 30)
            moves.append(progress_px(states, task))

    assert len(moves) > 6
    assert np.median(moves) > 25
