"""Starts with the block in the way are what they are called, and the expert does its task from them; errors are marked."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht.expert import DIRECTIONS, play, progress_px
from strands_diffusers_pusht.simulator import PUSHER_RADIUS_PX, PushT

from .data import ALL_TASKS, DataConfig, Frames, in_the_way, put_in_the_way, record_shard


def record(config: DataConfig, folder: Path) -> Frames:
    record_shard(config, 0, folder)
    return Frames([folder])


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


def test_episodes_with_errors_shake_are_marked_and_leave_the_others_as_they_were(tmp_path: Path) -> None:
    smooth, mixed = (
        record(DataConfig(episodes_per_shard=8, num_steps=10, errors=share), tmp_path / str(share))
        for share in (0, 0.5)
    )

    assert smooth.errs(0, 0) is False
    marked = [mixed.errs(0, 11 * i) for i in range(8)]
    assert 0 < sum(marked) < 8
    for i, errs in enumerate(marked):
        one, other = (frames.actions(0, 11 * i, 10) for frames in (smooth, mixed))
        assert np.array_equal(one, other) != errs
        assert mixed.errs(0, 11 * i + 10) is errs
