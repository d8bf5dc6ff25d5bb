"""Several processes as one: ranks, the gradient's mean, and progress lines with a time estimate."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is, and where it computes."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @classmethod
    def of_this_process(cls) -> Ranks | None:
        """As `accelerate launch` or `torchrun` started this process; None where neither did."""
        if "LOCAL_RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return None
        from accelerate import PartialState

        state = PartialState(timeout=timedelta(hours=1))
        return cls(state.process_index, state.num_processes, str(state.device))

    @property
    def first(self) -> bool:
        """Whether this process prints and saves."""
        return self.rank == 0

    def mean_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Average `.grad` over ranks with one reduction; a missing gradient counts as zero."""
        if self.world == 1:
            return
        grads = self.sum([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
        for p, g in zip(parameters, grads, strict=True):
            p.grad = g / self.world

    def sum(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Each tensor summed over ranks, all in one reduction."""
        if self.world == 1 or not tensors:
            return tensors
        flat = torch._utils._flatten_dense_tensors(tensors)
        dist.all_reduce(flat)
        return list(torch._utils._unflatten_dense_tensors(flat, tensors))

    def agree(self, value: float) -> float:
        """The largest of the ranks' values, so that all stop, or change their rate, at the same step."""
        if self.world == 1:
            return value
        t = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(t, op=dist.ReduceOp.MAX)
        return float(t)

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on the first; elsewhere an empty list."""
        if self.world == 1:
            return [value]
        found = [None] * self.world if self.first else None
        dist.gather_object(value, found)
        return found or []


class Progress:
    """Lines like `vae 12/80 | 3.1 min, 17.6 min left | ...`, at most one every `every_s` seconds, from rank 0."""

    def __init__(self, name: str, total: float, ranks: Ranks, every_s: float = 20.0, log: Path | None = None) -> None:
        self.name, self.total, self.ranks, self.every_s, self.log = name, total, ranks, every_s, log
        self.begin = time.monotonic()
        self.last = float("-inf")

    def due(self) -> bool:
        """Whether a line would be printed now."""
        return self.ranks.first and time.monotonic() - self.last >= self.every_s

    def line(self, done: float, text: str = "") -> None:
        """Print (and append to the log) how far it is and how long it will take."""
        if not self.due() and done < self.total:
            return
        self.last = time.monotonic()
        spent = (self.last - self.begin) / 60
        left = spent * (self.total - done) / max(done, 1e-9)
        message = f"{self.name} {done:.4g}/{self.total:.4g} | {spent:.1f} min, {left:.1f} min left | {text}"
        if self.ranks.first:
            sys.stdout.write(f"{time.strftime('%H:%M:%S')} {message}\n")
            sys.stdout.flush()
            if self.log:
                with self.log.open("a") as file:
                    file.write(f"{time.strftime('%H:%M:%S')} {message}\n")


def _worker(rank: int, world: int, port: int, device: str, stage: Callable[..., None], args: tuple[Any, ...]) -> None:
    if device != "auto":  # one thread per process beats one process with many threads by far, on a CPU
        torch.set_num_threads(1 if device == "cpu" else max(1, (os.cpu_count() or 1) // 2))
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"tcp://127.0.0.1:{port}",
            rank=rank,
            world_size=world,
            timeout=timedelta(hours=1),
        )
    try:
        stage(*args, Ranks(rank, world, device))
    finally:
        if world > 1:
            dist.destroy_process_group()


def launch(stage: Callable[..., None], *args: Any, world: int, device: str) -> None:
    """Run `stage(*args, ranks)` in `world` processes (this one when it is 1).

    On a CPU one thread per process and one process per core beat one process with many threads by far; a GPU takes
    one process.
    """
    if world == 1:
        _worker(0, 1, 0, device, stage, args)
        return
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the daemons are ended too
    torch.multiprocessing.spawn(_worker, (world, port, device, stage, args), nprocs=world, daemon=True)
