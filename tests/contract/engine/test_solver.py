"""The solver steps as diffusers' scheduler does, bit for bit, and never asks the device for a value."""

import copy
from types import SimpleNamespace

import pytest
import torch

from strands_diffusers.pipelines.engine.solver import Schedule, UniPC

pytestmark = pytest.mark.contract


def unipc(**changes):
    from diffusers import UniPCMultistepScheduler

    settings = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 10.0, **changes}
    return UniPCMultistepScheduler(**settings)


def latents(scheduler, steps, step):
    """Denoise some latents with a made-up velocity, by `step(index, velocity, latents)`."""
    x = torch.randn(1, 4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    seen = []
    for index in range(steps):
        x = step(index, torch.sin(3 * x) + 0.1, x)
        seen.append(x)
    return torch.stack(seen)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 30])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"flow_shift": 3.0},
        {"solver_order": 1},
        {"disable_corrector": [0, 1]},
        {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"final_sigmas_type": "sigma_min", "solver_type": "bh1"},
        {"solver_order": 3},
    ],
    ids=str,
)
def test_it_steps_as_the_scheduler_does(changes, steps):
    scheduler = unipc(**changes)
    pipe = SimpleNamespace(scheduler=scheduler, config=SimpleNamespace(use_native_flow_schedule=False))
    schedule = Schedule(pipe, steps, "cpu")
    solver = schedule.solver()
    theirs = copy.deepcopy(scheduler)
    theirs.set_timesteps(steps, device="cpu")

    def step(index, velocity, x):
        return theirs.step(velocity[None], theirs.timesteps[index], x[None], return_dict=False)[0][0]

    expected = latents(theirs, steps, step)
    found = latents(schedule, steps, lambda _, velocity, x: solver.step(velocity, x))

    assert schedule.timesteps == theirs.timesteps.tolist()
    assert torch.isfinite(expected).all()
    assert torch.equal(expected, found)
    assert isinstance(solver, UniPC) == (changes.get("solver_order") != 3)


def test_a_run_reads_the_scheduler_and_leaves_it(tiny):
    pipe = tiny("nano")
    before = {name: repr(value) for name, value in vars(pipe.scheduler).items()}
    Schedule(pipe, 5, "cpu").solver().step(torch.zeros(1, 2, 3), torch.ones(1, 2, 3))

    assert {name: repr(value) for name, value in vars(pipe.scheduler).items()} == before


def test_a_schedule_that_starts_twice_at_the_same_timestep_is_left_to_diffusers():
    pipe = SimpleNamespace(scheduler=unipc(), config=SimpleNamespace(use_native_flow_schedule=False))

    assert isinstance(Schedule(pipe, 30, "cpu").solver(), UniPC)
    assert not isinstance(Schedule(pipe, 400, "cpu").solver(), UniPC)
