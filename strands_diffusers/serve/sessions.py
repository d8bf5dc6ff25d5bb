"""The endpoints over websockets: who has a place, what is read and sent, and what becomes of those who leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from strands_diffusers import loop, remote
from strands_diffusers.errors import RequestError, StrandsDiffusersError, one_line
from strands_diffusers.serve.app import Stopping, application
from strands_diffusers.serve.endpoints import ENDPOINTS, Endpoint
from strands_diffusers.serve.engine_queue import Counts, EngineQueue, Refused
from strands_diffusers.serve.options import ServeConfig

log = logging.getLogger(__name__)

GOING_AWAY, POLICY, FAILED = 1001, 1008, 1011
"""Codes of a websocket's close."""


class Sessions:
    """Every session of a server. `app` is the ASGI application."""

    def __init__(self, config: ServeConfig, cast: loop.Cast, stopping: Stopping) -> None:
        """`cast`: of the checked job that is served."""
        self.config, self._cast, self._stopping = config, cast, stopping
        self.counts = Counts()
        self.queue = EngineQueue(config.max_queue, config.answer_s, self.counts, stopping)
        self._open = 0
        routes: list[Any] = [Route("/metrics", self._metrics)]
        routes += [WebSocketRoute(path, self._handler(endpoint)) for path, endpoint in ENDPOINTS.items()]
        self.app = application(routes, config, stopping)

    async def _metrics(self, request: Any) -> Response:
        return Response(generate_latest(self.counts.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    def _handler(self, endpoint: type[Endpoint]) -> Any:
        async def handle(websocket: WebSocket) -> None:
            if self._open >= self.config.max_sessions or self._stopping.begun:
                self.counts.refused.labels(endpoint.name).inc()
                line = f"busy: {self._open} clients are connected already (serve.max_sessions). Come again later.\n"
                line = "the server is stopping.\n" if self._stopping.begun else line
                await websocket.send_denial_response(PlainTextResponse(line, 503, {"retry-after": "10"}))
                return
            self._open += 1
            self.counts.sessions.labels(endpoint.name).inc()
            try:
                with contextlib.suppress(WebSocketDisconnect, ConnectionError):
                    await websocket.accept()
                    try:
                        made = await asyncio.to_thread(endpoint, self.config, self._cast)
                    except StrandsDiffusersError as error:
                        await websocket.close(FAILED, one_line(error, 100))
                    else:
                        await _Session(self, made, websocket).run()
            finally:
                self._open -= 1
                self.counts.sessions.labels(endpoint.name).dec()

        return handle


class _Session:
    """One client. While its message is answered the next one is awaited already, so that one who leaves is noticed."""

    def __init__(self, sessions: Sessions, endpoint: Endpoint, websocket: WebSocket) -> None:
        self._all, self._endpoint, self._websocket = sessions, endpoint, websocket
        self._before_s: float | None = None

    async def run(self) -> None:
        """Answer until the client leaves, is idle for too long, or the server ends."""
        websocket, config = self._websocket, self._all.config
        reading: asyncio.Task[Any] | None = None
        try:
            await self._send(remote.pack(self._endpoint.facts()))
            reading = asyncio.create_task(websocket.receive())
            while True:
                done, _ = await asyncio.wait({reading}, timeout=config.idle_s)
                if not done:
                    await self._leave(f"no message for serve.idle_s={config.idle_s:g} s")
                    return
                message = reading.result()
                if message["type"] == "websocket.disconnect":
                    return
                begun = time.perf_counter()
                reading = asyncio.create_task(websocket.receive())
                with self._all._stopping.answering():
                    answer = await self._answer(message, reading)
                    if answer is None:
                        return
                    await self._send(answer)
                self._before_s = time.perf_counter() - begun
                if isinstance(answer, bytes):
                    self._all.counts.seconds.labels(self._endpoint.name, "answer").observe(self._before_s)
        finally:
            if reading is not None:
                reading.cancel()
            await self._all.queue.call(self._endpoint.close)

    async def _answer(self, message: Any, reading: asyncio.Task[Any]) -> bytes | str | None:
        """The answer to a message, text where it is an error; None where nobody waits for it any more."""
        counts, endpoint = self._all.counts, self._endpoint
        gone = threading.Event()
        try:
            call = endpoint.ask(_content(message))
            turn = asyncio.create_task(self._all.queue.answer(call, gone))
            await asyncio.wait({turn, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done() and reading.result()["type"] == "websocket.disconnect":
                gone.set()  # ends what is being computed, at its next step
                turn.cancel()
                counts.requests.labels(endpoint.name, "gone").inc()
                return None
            found, waited_s, took_s = await turn
        except Refused as refused:
            counts.requests.labels(endpoint.name, refused.outcome).inc()
            return one_line(refused)
        except StrandsDiffusersError as error:
            wrong = isinstance(error, RequestError) or type(error) is remote.WrongBytes
            counts.requests.labels(endpoint.name, "wrong" if wrong else "failed").inc()
            if not wrong:
                log.warning("%s: %s", endpoint.name, one_line(error))
            return one_line(error)
        counts.requests.labels(endpoint.name, "ok").inc()
        counts.seconds.labels(endpoint.name, "queue").observe(waited_s)
        counts.seconds.labels(endpoint.name, "engine").observe(took_s)
        if None in found:
            return remote.pack(found[None])
        stages = {f"{name}_ms": 1000 * float(seconds) for name, seconds in found.pop("stages", {}).items()}
        timing = {"queue_ms": 1000 * waited_s, "infer_ms": 1000 * took_s, **stages}
        if self._before_s is not None:
            timing["prev_total_ms"] = 1000 * self._before_s
        return remote.pack({**found, "server_timing": timing})

    async def _send(self, answer: bytes | str) -> None:
        """Raises: `WebSocketDisconnect` where the client does not take it."""
        sending = self._websocket.send_bytes(answer) if isinstance(answer, bytes) else self._websocket.send_text(answer)
        try:
            await asyncio.wait_for(sending, self._all.config.idle_s)
        except TimeoutError:
            await self._leave("the last answer was not taken")
            raise WebSocketDisconnect(POLICY) from None

    async def _leave(self, why: str) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            await asyncio.wait_for(self._websocket.close(GOING_AWAY, why[:120]), 5)


def _content(message: Any) -> dict[str, Any]:
    if message.get("bytes") is None:
        raise remote.WrongBytes("a text message is no observation: send a msgpack map as one binary message.")
    return remote.mapping(remote.unpack(message["bytes"], "the client"), "the client")
