"""When a run's rate falls, and when it ends."""

import time
from pathlib import Path

import pytest
import torch
from strands_diffusers_training.optim import Optimizer, Schedule, Training


def test_a_run_by_steps_warms_up_and_cools_down_to_zero() -> None:
    schedule = Schedule(steps=100, warmup=10, cooldown=50)
    factors = [schedule.factor(step, schedule.left(step)) for step in (0, 9, 50, 75, 100)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])
    assert [schedule.cooling(schedule.left(step)) for step in (49, 50)] == [False, True]


def test_a_run_by_minutes_ends_in_time_at_whatever_pace() -> None:
    schedule = Schedule(steps=100, warmup=1, cooldown=50, minutes=1000, begin=time.monotonic() - 750 * 60)
    for step in (3, 3000):
        assert schedule.left(step) == pytest.approx(0.25, abs=1e-3)
        assert schedule.factor(step, schedule.left(step)) == pytest.approx(0.5, abs=2e-3)


def _training(path: Path, spent_minutes: float) -> Training:
    model = torch.nn.Linear(2, 2)
    schedule = Schedule(100, 1, 50, minutes=1000, begin=time.monotonic() - spent_minutes * 60)
    return Training(model, Optimizer([model.weight], [model.bias], 0.01, 0.001), schedule, path / "net.pt", 0.9)


def test_a_run_by_minutes_that_was_cut_off_has_only_the_rest_of_its_time(tmp_path: Path) -> None:
    cut_off = _training(tmp_path, spent_minutes=750)
    assert cut_off.goes_on()
    cut_off.save()
    again = _training(tmp_path, spent_minutes=0)
    assert again.resume()
    assert again.goes_on()
    assert again.left == pytest.approx(0.25, abs=1e-3)
    over = _training(tmp_path, spent_minutes=251)
    assert over.resume()
    assert not over.goes_on()
