"""One model, many clients: who is answered next, and what is counted of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from strands_diffusers.errors import CancelledError, RolloutError, StrandsDiffusersError
from strands_diffusers.plugin.acting import Progress
from strands_diffusers.plugin.guard import Worker
from strands_diffusers.serve.app import Stopping

T = TypeVar("T")


class Refused(StrandsDiffusersError):  # noqa: N818 - an answer
    """A request that gets no turn. `outcome` is what it is counted as."""

    def __init__(self, outcome: str, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


class Counts:
    """What `/metrics` shows. Seconds are of the stages queue (waiting for a turn), engine, and answer (all of it)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        at: Any = {"registry": self.registry, "namespace": "strands_diffusers"}
        self.requests = Counter(
            "requests", "Requests, by what became of them.", ["endpoint", "outcome"], **at
        )  # ok, wrong, busy, failed, gone, stopping
        self.seconds = Histogram(
            "request_seconds",
            "Seconds of the requests that were answered, by stage.",
            ["endpoint", "stage"],
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
            **at,
        )
        self.sessions = Gauge("sessions", "Clients that are connected.", ["endpoint"], **at)
        self.refused = Counter("sessions_refused", "Clients that found no place.", ["endpoint"], **at)
        self.waiting = Gauge("queue", "Requests that wait for their turn.", **at)


class EngineQueue:
    """Answers one request after the other, in a thread of its own, in the order in which they came.

    A session has one request at a time (the next message is read once its answer is sent), so that the order goes round
    the sessions that want something: nobody is answered twice while another waits.
    """

    def __init__(self, most: int, limit_s: float, counts: Counts, stopping: Stopping) -> None:
        """`most`: requests that may wait. `limit_s`: how long one may take in the model [s]."""
        self._most, self._limit_s, self._counts, self._stopping = most, limit_s, counts, stopping
        self._line: deque[asyncio.Future[None]] = deque()
        self._busy = False
        self._worker = Worker("engine")
        stopping.calls.append(self._send_away)

    async def answer(self, call: Callable[[Progress], T], gone: threading.Event) -> tuple[T, float, float]:
        """What `call` returns in its turn, and the seconds that it waited and took. `gone`: set where nobody waits any more.

        Raises: `Refused` where the queue is full or the server stops, `CancelledError` where `gone` was set, what `call` raises.
        """
        begun = time.perf_counter()
        await self._turn()
        taken = time.perf_counter()
        try:
            if gone.is_set():
                raise CancelledError("the client is gone.")
            found = await self._in_engine(lambda: call(self._watch(gone)))
        finally:
            self._next()
        return found, taken - begun, time.perf_counter() - taken

    async def call(self, call: Callable[[], None]) -> None:
        """Something quick to do in the engine's thread between two answers, which is not refused."""
        with contextlib.suppress(StrandsDiffusersError):
            await self._in_engine(call)

    def _watch(self, gone: threading.Event) -> Progress:
        end = time.monotonic() + self._limit_s

        def progress(what: str, done: int, total: int) -> None:
            if gone.is_set():
                raise CancelledError("the client is gone.")
            if time.monotonic() > end:
                raise RolloutError(f"no answer within serve.answer_s={self._limit_s:g} ({what} {done}/{total}).")

        return progress

    async def _turn(self) -> None:
        if self._stopping.begun:
            raise Refused("stopping", "the server is stopping.")
        if not self._busy:
            self._busy = True
            return
        if len(self._line) >= self._most:
            raise Refused("busy", f"busy: {len(self._line)} requests wait already (serve.max_queue). Ask again later.")
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        self._counts.waiting.set(len(self._line))
        try:
            await place
        except asyncio.CancelledError:
            if place in self._line:
                self._line.remove(place)
            elif place.done() and not place.cancelled():
                self._next()  # the turn was given, and nobody takes it
            raise
        finally:
            self._counts.waiting.set(len(self._line))

    def _next(self) -> None:
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._busy = False

    def _send_away(self) -> None:
        for place in self._line:
            if not place.done():
                place.set_exception(Refused("stopping", "the server is stopping."))
        self._line.clear()

    async def _in_engine(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()
        ended.add_done_callback(lambda each: each.cancelled() or each.exception())  # where nobody waits any more

        def settle(value: Any, error: BaseException | None) -> None:
            if ended.cancelled():
                return
            if error is None:
                ended.set_result(value)
            else:
                ended.set_exception(error)

        def work() -> None:
            value, failure = None, None
            try:
                value = call()
            except StrandsDiffusersError as error:
                failure = error
            except BaseException as error:  # noqa: BLE001 - one answer fails; the thread goes on
                failure = RolloutError(f"{type(error).__name__}: {error}")
            with contextlib.suppress(RuntimeError):  # the server may have ended meanwhile
                loop.call_soon_threadsafe(settle, value, failure)

        self._worker.begin(work)
        return await asyncio.shield(ended)
