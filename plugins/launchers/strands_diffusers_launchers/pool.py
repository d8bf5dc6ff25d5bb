"""`hydra/launcher=pool`: worker processes of this machine, one line to each.

Every worker has its own socket. Pools that share one queue between workers (loky, pebble) stall or break when a worker
is killed while it holds the queue's lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection, wait

from strands_diffusers.errors import ConfigError
from strands_diffusers.runner.sweep import IN_WORKER
from strands_diffusers_launchers.config import AUTO, PoolConfig
from strands_diffusers_launchers.messages import Gone, Job, Message, Sweep
from strands_diffusers_launchers.process import INTERRUPTED

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_END_S = 10.0
"""How long a process may take to end of its own accord [s]."""


def open_pool(settings: PoolConfig, sweep: Sweep, jobs: int) -> tuple[Pool, int]:
    """Return a pool and how many workers it should have for so many jobs."""
    gpus = list(settings.gpus) if settings.gpus is not None else visible_gpus()
    wanted = (len(gpus) or 1) if settings.workers == AUTO else int(settings.workers)
    workers = max(1, min(wanted, jobs))
    return Pool(sweep, gpus, threads(settings.threads_per_worker, cores() / workers)), workers


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return listed[:count] if listed else [str(i) for i in range(count)]


def cores() -> int:
    """The cores that this process may use: a batch system may have bound it to fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(setting: int | str, share: float) -> dict[str, str]:
    """Environment that gives a worker `setting` CPU threads; for auto the user's own, else its share of the cores."""
    if setting == AUTO and os.environ.get(_THREADS[0]):
        return {}
    return dict.fromkeys(_THREADS, str(max(1, int(share)) if setting == AUTO else setting))


class Pool:
    """Starts worker processes and listens to them."""

    def __init__(self, sweep: Sweep, gpus: Sequence[str], environment: Mapping[str, str]) -> None:
        if os.name != "posix":
            raise ConfigError("hydra/launcher=pool needs Linux or macOS. Use hydra/launcher=basic.")
        self._sweep, self._gpus, self._environment = sweep, gpus, environment

    def start(self, slot: int) -> Process:
        """Start the worker of a slot, on the slot's GPU."""
        environment = {**os.environ, **self._environment, IN_WORKER: str(slot)}
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        return Process(slot, self._sweep, environment)

    def wait(self, workers: Sequence[Process], timeout: float | None) -> Iterable[tuple[Process, Message]]:
        """The next messages of the workers."""
        by_line = {worker.line: worker for worker in workers}
        for line in wait(list(by_line), timeout):
            worker = by_line[line]  # type: ignore[index]
            try:
                yield worker, worker.line.recv()
            except (EOFError, ConnectionResetError):
                yield worker, worker.gone()

    def close(self) -> None:
        """Nothing is held."""


class Process:
    """One worker process."""

    def __init__(self, slot: int, sweep: Sweep, environment: Mapping[str, str]) -> None:
        self.slot = slot
        here, there = socket.socketpair()
        command = [sys.executable, "-P", "-u", "-m", "strands_diffusers_launchers.process"]
        with there, sweep.log(slot).open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(there.fileno()), str(os.getpid())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[there.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C goes to the parent alone
            )
        self.line: Connection = Connection(here.detach())
        with contextlib.suppress(OSError):
            self.line.send_bytes(sweep.payload)

    def give(self, job: Job) -> None:
        """Hand it a job."""
        with contextlib.suppress(OSError):
            self.line.send(job)

    def interrupt(self) -> None:
        """Its job sees a KeyboardInterrupt."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it started."""
        self._kill_group()
        self._process.wait()

    def end(self) -> None:
        """Let it go, and see that it went."""
        with contextlib.suppress(OSError):
            self.line.send(None)
        self.gone()

    def gone(self) -> Gone:
        """What became of the process, once it hung up."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._kill_group()
        status = self._process.wait()
        self.line.close()
        if status < 0:
            memory = ", as the kernel does where memory runs out" if -status == signal.SIGKILL else ""
            return Gone(f"was killed by {signal.Signals(-status).name}{memory}")
        if status == INTERRUPTED:
            return Gone("was ended by SIGTERM", recorded=True)
        return Gone(f"ended with exit status {status}")

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
