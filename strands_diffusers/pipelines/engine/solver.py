"""Stepping latents along the noise schedule, without the host ever waiting for the device.

Cosmos 3 is sampled with UniPC. All that its steps need beside the latents are scalars that depend on the schedule
alone, yet diffusers works them out on the device at each step, solving a small linear system there, which makes the
host wait. `UniPC` works them out beforehand on the host, by the same operations, so its steps give the same numbers.
Any other scheduler steps through diffusers' own code, on a copy.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Schedule:
    """The timesteps of a run and a source of solvers, one per stream; the pipeline's scheduler is only read."""

    def __init__(self, pipe: Any, num_inference_steps: int, device: Any) -> None:
        import numpy as np

        scheduler = copy.deepcopy(pipe.scheduler)
        if pipe.config.use_native_flow_schedule:
            highest = 1.0 - 1.0 / scheduler.config.num_train_timesteps
            sigmas = np.linspace(highest, 0.0, num_inference_steps + 1)[:-1]
            scheduler.set_timesteps(num_inference_steps, device=device, sigmas=sigmas)
        else:
            scheduler.set_timesteps(num_inference_steps, device=device)
        self.scheduler = scheduler
        self.timesteps: list[int] = scheduler.timesteps.tolist()
        self._steps = plan_unipc(scheduler) if can_plan(scheduler) else None

    def solver(self) -> "UniPC | _Stepper":
        """Return a solver of one stream at the first step; its `step` takes velocity and latents, float32 `[B, ...]`."""
        return _Stepper(self.scheduler) if self._steps is None else UniPC(self._steps)


@dataclass(frozen=True)
class Update:
    """Scalars of one UniPC update: `sample * keep - clean * pull - (corrections) * spread`, as tensors of no dimension."""

    keep: Tensor
    pull: Tensor
    spread: Tensor
    ratio: Tensor | None
    """Step-size ratio to the step before; None for a first-order update."""
    weights: tuple[Tensor, ...] = ()
    """Corrector only: weight of the older difference (second order), then of the newest."""


@dataclass(frozen=True)
class Step:
    """One UniPC step: sigma to read the clean latents by, the corrector of the last step, and the predictor."""

    sigma: Tensor
    corrector: Update | None
    predictor: Update


class UniPC:
    """UniPC of first and second order for flow prediction: `UniPCMultistepScheduler.step` with its scalars known."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = iter(steps)
        self._last_sample: Tensor | None = None
        self._clean: list[Tensor] = []

    def step(self, velocity: Tensor, sample: Tensor) -> Tensor:
        """Correct the step before with the new velocity, then predict the next latents."""
        step = next(self._steps)
        clean = sample - step.sigma * velocity
        if (update := step.corrector) is not None and self._last_sample is not None:
            change = update.weights[0] * self._slope(update) + update.weights[-1] * (clean - self._clean[-1])
            sample = self._base(update, self._last_sample) - update.spread * change
        self._last_sample, self._clean = sample, [*self._clean[-1:], clean]
        update, base = step.predictor, self._base(step.predictor, sample)
        return base if update.ratio is None else base - update.spread * (0.5 * self._slope(update))

    def _base(self, update: Update, sample: Tensor) -> Tensor:
        return update.keep * sample - update.pull * self._clean[-1]

    def _slope(self, update: Update) -> Tensor | int:
        """The change of the clean latents from one step to the next; 0 for a first-order update."""
        return 0 if update.ratio is None else (self._clean[-2] - self._clean[-1]) / update.ratio


class _Stepper:
    """Any scheduler through its own `step`. On an accelerator that may make the host wait."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = copy.deepcopy(scheduler)
        self._timesteps = iter(self._scheduler.timesteps)

    def step(self, velocity: Tensor, sample: Tensor) -> Tensor:
        """Step all samples at once; the extra leading dimension is the one that diffusers' loop adds."""
        timestep = next(self._timesteps)
        moved = self._scheduler.step(velocity.unsqueeze(0), timestep, sample.unsqueeze(0), return_dict=False)[0]
        return moved.squeeze(0)


def can_plan(scheduler: Any) -> bool:
    """Tell whether the scalars of this scheduler can be worked out beforehand: UniPC as Cosmos 3 ships it."""
    config, timesteps = scheduler.config, scheduler.timesteps.tolist()
    return (
        type(scheduler).__name__ == "UniPCMultistepScheduler"
        and config.solver_order <= 2
        and config.solver_type in ("bh1", "bh2")
        and config.prediction_type == "flow_prediction"
        and config.use_flow_sigmas
        and not config.thresholding
        and scheduler.predict_x0
        and scheduler.solver_p is None
        and timesteps.count(timesteps[0]) == 1  # else diffusers starts at the second of them
    )


def plan_unipc(scheduler: Any) -> list[Step]:
    """Work out the scalars of all steps, by the operations of `UniPCMultistepScheduler`, on the host in float32."""
    sigmas, config = scheduler.sigmas.cpu(), scheduler.config
    count, order, done = len(scheduler.timesteps), 0, 0
    steps = []
    for i in range(count):
        corrector = None
        if i > 0 and i - 1 not in scheduler.disable_corrector:
            corrector = _update(sigmas, config.solver_type, i, i - 1, order, corrects=True)
        limit = min(config.solver_order, count - i) if config.lower_order_final else config.solver_order
        order = min(limit, done + 1)  # the first step has no history
        steps.append(Step(sigmas[i], corrector, _update(sigmas, config.solver_type, i + 1, i, order, corrects=False)))
        done = min(done + 1, config.solver_order)
    return steps


def _update(sigmas: Tensor, solver_type: str, target: int, source: int, order: int, *, corrects: bool) -> Update:
    """Scalars of the update from `sigmas[source]` to `sigmas[target]`."""

    def signal_and_noise(index: int) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = 1 - sigmas[index], sigmas[index]
        return alpha, sigma, torch.log(alpha) - torch.log(sigma)

    alpha_t, sigma_t, lambda_t = signal_and_noise(target)
    _, sigma_s, lambda_s = signal_and_noise(source)
    h = lambda_t - lambda_s
    rk = (signal_and_noise(source - 1)[2] - lambda_s) / h if order == 2 else None
    rks = torch.stack([torch.ones(())] if rk is None else [rk, torch.ones(())])
    hh = -h
    h_phi_1 = torch.expm1(hh)
    b_h = hh if solver_type == "bh1" else torch.expm1(hh)
    h_phi_k, factorial, rows, b = h_phi_1 / hh - 1, 1, [], []
    for i in range(1, order + 1):
        rows.append(torch.pow(rks, i - 1))
        b.append(h_phi_k * factorial / b_h)
        factorial *= i + 1
        h_phi_k = h_phi_k / hh - 1 / factorial
    weights: tuple[Tensor, ...] = ()
    if corrects:
        half = torch.ones(1) * 0.5
        weights = tuple(half if order == 1 else torch.linalg.solve(torch.stack(rows), torch.stack(b)))
    return Update(sigma_t / sigma_s, alpha_t * h_phi_1, alpha_t * b_h, rk, weights)
