"""`hydra/launcher=ray`: Ray actors that load the model once and stay warm, on this machine or on a cluster.

Every machine of a cluster needs the same installation and sees the sweep's folder under the same path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import re
import signal
from collections.abc import Iterable, Sequence
from typing import Any

from strands_diffusers.errors import ConfigError, MissingPackageError, SweepError, one_line
from strands_diffusers.runner.sweep import IN_WORKER
from strands_diffusers_launchers.config import AUTO, RayConfig
from strands_diffusers_launchers.messages import Ended, Gone, Job, Message, Stage, Sweep
from strands_diffusers_launchers.pool import threads
from strands_diffusers_launchers.process import watch

_STORE_BYTES = 100_000_000
"""Ray's object store: configs and numbers pass through it, never frames."""


def open_actors(settings: RayConfig, sweep: Sweep, jobs: int) -> tuple[Actors, int]:
    """Connect to Ray, or start it here; return the backend and how many actors it should have.

    Raises: `MissingPackageError` without Ray, `ConfigError` where the cluster is not there or too small.
    """
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        _connect(ray, settings.address)
    there = ray.cluster_resources()
    gpus = settings.gpus_per_worker if settings.gpus_per_worker is not None else min(1.0, there.get("GPU", 0.0))
    cpus = settings.cpus_per_worker or 1.0
    for name, wanted, found in (("gpus", gpus, there.get("GPU", 0.0)), ("cpus", cpus, there.get("CPU", 0.0))):
        if wanted > found:
            if own:
                ray.shutdown()
            raise ConfigError(
                f"hydra.launcher.{name}_per_worker={wanted:g}, but the Ray cluster has {found:g}. "
                f"Type hydra.launcher.{name}_per_worker={found:g}, or add machines to the cluster."
            )
    if settings.workers != AUTO:
        workers = int(settings.workers)
    elif gpus:
        workers = int(there["GPU"] // gpus)
    else:
        workers = int(there["CPU"] // cpus) if settings.cpus_per_worker else 1
    workers = max(1, min(workers, jobs))
    share = cpus if settings.cpus_per_worker else there.get("CPU", 1.0) / workers
    resources = {"num_cpus": cpus, "num_gpus": gpus}
    return Actors(ray, sweep, resources, threads(settings.threads_per_worker, share), own=own), workers


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home; whoever wants that can say so
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingPackageError('hydra/launcher=ray needs Ray: pip install "ray>=2.40"') from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        local = {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_node_ip_address": "127.0.0.1"}
        options |= {"address": "local", **local}
    else:
        options["address"] = address
    kept = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"hydra.launcher.address={address}: {one_line(error, 200)} Start one with `ray start --head`, or leave address out."
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, kept)  # Ray takes it; the command has its own way to end


class Mailbox:
    """An actor that passes on what workers say while they work: a call tells nothing until it ends."""

    def __init__(self) -> None:
        self._letters: list[tuple[int, int, Message]] = []
        self._came = asyncio.Event()

    async def tell(self, slot: int, number: int, message: Message) -> None:
        """A worker says something about a job."""
        self._letters.append((slot, number, message))
        self._came.set()

    async def take(self, *, patient: bool) -> list[tuple[int, int, Message]]:
        """What has come: (slot, job number, message); where nothing has, wait for it if `patient`."""
        if patient:
            await self._came.wait()
        self._came.clear()
        letters, self._letters = self._letters, []
        return letters


class Actor:
    """Runs jobs in an actor's process, one at a time."""

    def __init__(self, sweep: Sweep, slot: int, environment: dict[str, str], mailbox: Any) -> None:
        os.environ.update(environment, **{IN_WORKER: str(slot)})  # before torch is imported
        with sweep.log(slot).open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        watch(os.getppid())  # Ray's own process on this machine, which ends with the sweep: a busy actor notices late
        from strands_diffusers_launchers.work import JobRunner

        self._runner = JobRunner(sweep.payload)
        self._slot, self._mailbox = slot, mailbox

    def do(self, job: Job) -> bytes:
        """Run a job; its `Ended`, pickled here, so that a value that does not pickle is this job's failure."""
        import ray

        def say(message: Message) -> None:
            sent = self._mailbox.tell.remote(self._slot, job.number, message)
            if not isinstance(message, Stage):
                ray.get(sent)  # these must arrive, whatever happens to this process next

        return pickle.dumps(self._runner.do(job, say))


class Actors:
    """Starts actors and listens to them."""

    def __init__(
        self, ray: Any, sweep: Sweep, resources: dict[str, float], environment: dict[str, str], *, own: bool
    ) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # type: ignore[import-not-found]

        self._ray, self._resources, self._environment, self._own = ray, resources, environment, own
        self._sweep = ray.put(sweep)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._letters = self._mailbox.take.remote(patient=True)

    def start(self, slot: int) -> Handle:
        """Start the actor of a slot; Ray places it."""
        make = self._ray.remote(Actor).options(**self._resources, max_restarts=0)
        return Handle(self._ray, slot, make.remote(self._sweep, slot, self._environment, self._mailbox))

    def wait(self, workers: Sequence[Handle], timeout: float | None) -> Iterable[tuple[Handle, Message]]:
        """The next messages of the workers."""
        busy = {worker.call: worker for worker in workers}
        ready, _ = self._ray.wait([self._letters, *busy], num_returns=1, timeout=timeout)
        for call in ready:
            if call == self._letters:
                letters, self._letters = self._letters, self._mailbox.take.remote(patient=True)
                yield from self._opened(letters, workers)
            else:  # what it said before it ended comes first
                yield from self._opened(self._mailbox.take.remote(patient=False), workers)
                yield busy[call], busy[call].result()

    def _opened(self, letters: Any, workers: Sequence[Handle]) -> Iterable[tuple[Handle, Message]]:
        try:
            came = self._ray.get(letters)
        except self._ray.exceptions.RayError as error:
            raise SweepError(f"the Ray cluster is gone: {one_line(error, 200)}") from error
        by_job = {(worker.slot, worker.number): worker for worker in workers}
        return [(by_job[slot, number], message) for slot, number, message in came if (slot, number) in by_job]

    def close(self) -> None:
        """Leave the cluster; end it where it was started here."""
        self._ray.kill(self._mailbox)
        if self._own:
            self._ray.shutdown()


class Handle:
    """One actor."""

    def __init__(self, ray: Any, slot: int, actor: Any) -> None:
        self.slot = slot
        self.number = -1
        """The job that it has."""
        self.call: Any = None
        self._ray, self._actor = ray, actor

    def give(self, job: Job) -> None:
        """Hand it a job."""
        self.number = job.number
        self.call = self._actor.do.remote(job)

    def interrupt(self) -> None:
        """The same as `kill`: Ray has no softer way to stop an actor that is busy."""
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._ray.kill(self._actor)

    def end(self) -> None:
        """Let it go."""
        self.kill()

    def result(self) -> Message:
        """How its job ended, or what became of the actor."""
        try:
            ended: Ended = pickle.loads(self._ray.get(self.call))
        except self._ray.exceptions.RayTaskError as error:  # its constructor, or a value that does not pickle
            self.kill()
            return Gone(f"failed: {one_line(error.cause or error, 200)}")
        except self._ray.exceptions.RayError as error:
            return Gone(f"died: {_why(error)}")
        return ended


def _why(error: Exception) -> str:
    """Ray's many lines on a dead actor, without names and addresses."""
    found = re.search(
        r"(?:exit_detail|Worker exit detail): ?(.*)|The actor died because of (.*)|(was killed .*)", str(error)
    )
    text = next((group for group in found.groups() if group), "") if found else ""
    return one_line(SweepError((text or str(error)).split("Some common causes")[0]), 200)
