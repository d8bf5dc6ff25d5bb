"""The optimiser: Muon on matrices, AdamW on the rest, an average of the weights, and the checkpoint of all that.

The schedule is warm-up, constant, and a linear cool-down to zero at the end ("WSD"): a checkpoint from the constant
part can always be trained on, and a cool-down from it gives weights worth shipping.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from strands_diffusers_training.parallel import Ranks


@dataclass
class Schedule:
    """Learning-rate factor by step: 0 to 1 over `warmup`, 1, then 1 to 0 over the last `cooldown` of `steps`.

    With `minutes` the run ends after so long, at whatever pace, and `cooldown` of `steps` is the share of that time.
    """

    steps: int
    warmup: int
    cooldown: int
    minutes: float = 0.0
    begin: float = field(default_factory=time.monotonic)

    def left(self, step: int) -> float:
        """Share of the run that is left before step number `step` (from 0)."""
        spent = (time.monotonic() - self.begin) / 60 / self.minutes if self.minutes else step / self.steps
        return 1 - spent

    def factor(self, step: int, left: float) -> float:
        """The factor for step number `step` with a share of `left` to go."""
        return max(0.0, min(1.0, (step + 1) / self.warmup, left * self.steps / max(1, self.cooldown)))

    def cooling(self, left: float) -> bool:
        """Whether the cool-down has begun."""
        return left * self.steps <= self.cooldown


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz steps (Jordan et al., 2024) that push all singular values of [N, R, C] towards 1."""
    x = matrices.bfloat16()
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x if wide else x.mT).float()


class Optimizer:
    """Muon for `matrices` (anything viewed as [first dimension, rest]), AdamW for `others`."""

    def __init__(
        self,
        matrices: list[torch.nn.Parameter],
        others: list[torch.nn.Parameter],
        muon_lr: float,
        adam_lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        ranks: Ranks = Ranks(),  # noqa: B008  (frozen)
    ) -> None:
        self.matrices, self.others, self.ranks = matrices, others, ranks
        self.muon_lr, self.adam_lr, self.momentum, self.weight_decay = muon_lr, adam_lr, momentum, weight_decay
        self.adam = torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.buffers = [torch.zeros_like(p) for p in matrices]
        self.groups: dict[tuple[int, int], list[int]] = {}
        for i, p in enumerate(matrices):
            self.groups.setdefault((p.shape[0], p[0].numel()), []).append(i)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Every trained parameter."""
        return self.matrices + self.others

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update with both learning rates times `factor`."""
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * factor
        self.adam.step()
        for p, buffer in zip(self.matrices, self.buffers, strict=True):
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            buffer.lerp_(p.grad, 1 - self.momentum)
        lr = self.muon_lr * factor
        for p, update in zip(self.matrices, self._updates(), strict=True):
            scale = max(1.0, p.shape[0] / p[0].numel()) ** 0.5
            p.mul_(1 - lr * self.weight_decay).add_(update.view_as(p), alpha=-lr * scale)

    def _updates(self) -> list[torch.Tensor]:
        """Muon's direction for every matrix. The ranks share the work, which on a CPU is a sixth of a step."""
        updates = [torch.zeros(()) for _ in self.matrices]
        for (rows, columns), members in self.groups.items():
            mine = members[self.ranks.rank :: self.ranks.world]
            shape = self.matrices[members[0]].new_zeros(rows, columns)
            for i in members:
                updates[i] = shape
            if mine:
                nesterov = [self.matrices[i].grad.lerp(self.buffers[i], self.momentum) for i in mine]
                directions = orthogonalize(torch.stack([n.view(rows, columns) for n in nesterov]))
                for i, direction in zip(mine, directions, strict=True):
                    updates[i] = direction
        return self.ranks.sum(updates)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"adam": self.adam.state_dict(), "buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.adam.load_state_dict(state["adam"])
        for own, saved in zip(self.buffers, state["buffers"], strict=True):
            own.copy_(saved)


def newest(path: Path) -> dict[str, Any] | None:
    """The state of the cool-down of the run that saves to `path`, else that of its constant part; None before either."""
    cooled = path.with_name(f"{path.stem}_cooled.pt")
    for file in (cooled, path):
        if file.exists():
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
            return {"file": file.name, **state}
    return None


class Training:
    """A network, the average of what is trained of it, its optimiser and its step count: what a checkpoint holds.

    `NAME.pt` is the newest state of the constant part, `NAME_cooled.pt` that of the cool-down. Training that is
    started again goes on from the cool-down if it ends at the same step, else from the constant part. A checkpoint holds the
    whole network, or with `trained_only` the parameters that require a gradient.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
        path: Path,
        decay: float,
        trained_only: bool = False,
    ) -> None:
        self.model, self.optimizer, self.schedule, self.path, self.decay = model, optimizer, schedule, path, decay
        self.trained_only = trained_only
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}
        self.step, self.left = 0, 1.0

    def goes_on(self) -> bool:
        """Whether there is something left to do: the same answer on every rank. To be asked before each step."""
        self.left = self.optimizer.ranks.agree(self.schedule.left(self.step))
        return self.left > 0

    @contextlib.contextmanager
    def averaged(self) -> Iterator[torch.nn.Module]:
        """The network with the averaged weights, inside; then it is trained on as it was."""
        self._swap()
        try:
            yield self.model
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, p in self.trained.items():
            mine = p.detach().clone()
            p.copy_(self.average[name])
            self.average[name].copy_(mine)

    @property
    def _cooled(self) -> Path:
        return self.path.with_name(f"{self.path.stem}_cooled.pt")

    def resume(self) -> dict[str, Any] | None:
        """Load the newest state that this schedule can go on from. -> it, None where there was none."""
        for path in (self._cooled, self.path):
            if not path.exists():
                continue
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
            if path == self._cooled and state["steps"] != self.schedule.steps:
                continue
            self.model.load_state_dict(state["model"], strict=not self.trained_only)
            for name, average in self.average.items():
                average.copy_(state["average"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            if state.get("minutes") == self.schedule.minutes:  # cut off, and started again
                self.schedule.begin -= (1 - state["left"]) * self.schedule.minutes * 60
            return state
        return None

    def save(self, **extra: Any) -> None:
        """Write the state, by rename."""
        path = self._cooled if self.schedule.cooling(self.left) else self.path
        own = self.trained if self.trained_only else self.model.state_dict()
        state = {
            "model": {name: value.detach() for name, value in own.items()},
            "average": {name: self.average.get(name, value).detach() for name, value in own.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps": self.schedule.steps,
            "minutes": self.schedule.minutes,
            "left": self.left,
            **extra,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    @torch.no_grad()
    def advance(self) -> None:
        """Update the weights from the gradients, then the average."""
        self.optimizer.step(self.schedule.factor(self.step, self.left))
        self.step += 1
        decay = min(self.decay, (self.step + 1) / (self.step + 10))
        for name, fast in self.trained.items():
            self.average[name].lerp_(fast, 1 - decay)
