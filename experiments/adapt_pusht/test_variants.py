"""The variants differ in what they say, and only in that."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("gym_pusht")

from strands_diffusers_pusht import tracking
from strands_diffusers_pusht.expert import play

from .variants import PUSHER_PX, TABLE_RGB, VARIANTS, at_rest


@pytest.fixture(scope="module")
def played() -> dict[str, Any]:
    found = {}
    for name, cls in VARIANTS.items():
        table = cls()
        table.start(3)
        found[name] = (table, *play(table, "left", 3, 24))
    return found


def test_a_recoloured_table_moves_alike_and_what_moves_is_seen_in_the_same_places(played: dict[str, Any]) -> None:
    (_, frames, _, states), (_, plain, _, expected) = played["recoloured"], played["original"]
    np.testing.assert_array_equal(states, expected)
    np.testing.assert_array_equal(frames[0, 48, 2], TABLE_RGB)
    np.testing.assert_allclose(tracking.block_px(frames), tracking.block_px(plain), atol=2)
    np.testing.assert_allclose(tracking.pusher_px(frames), tracking.pusher_px(plain), atol=2)


def test_with_other_physics_the_pusher_is_larger_and_a_block_that_is_let_go_slides_on(played: dict[str, Any]) -> None:
    sizes = [tracking.pusher_mask(played[name][1][0]).sum() for name in ("physics", "original")]
    assert sizes[0] / sizes[1] == pytest.approx((PUSHER_PX / 15) ** 2, rel=0.2)
    ways = []
    for name in ("physics", "original"):
        table = played[name][0]
        before = table.block_px
        for _ in range(5):
            table.step(table.pusher_px)  # the pusher stays where it is
        ways.append(np.linalg.norm(table.block_px - before))
    assert ways[0] > 5 > ways[1]


def test_relative_actions_lead_where_the_targets_led(played: dict[str, Any]) -> None:
    table, _, targets, states = played["relative"]
    moves = table.recorded(targets, states)
    assert np.abs(moves).max() < 0.6 * np.abs(targets).max()
    table.state = states[0]
    for move in moves[:8]:
        table.act(move)
    np.testing.assert_allclose(table.state[:2], states[8][:2], atol=3)


def test_a_clip_of_a_sliding_block_begins_where_it_rests() -> None:
    states = np.zeros((6, 5))
    states[:, 2] = [0, 0, 5, 9, 9, 12]  # it moves into frames 2, 3 and 5
    assert [at_rest(states, first) for first in range(6)] == [0, 1, 1, 1, 4, 4]
