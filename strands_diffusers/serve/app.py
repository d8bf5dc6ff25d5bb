"""The base of every server of this package: who may connect, where it listens, how it ends.

    config = PlayConfig(port=0)              # a subclass of `options.WebConfig`
    config.require_packages()                # one line where the extra is missing; before this module is imported
    stopping = Stopping()
    app = application([Route("/", page), WebSocketRoute("/live", live)], config, stopping)
    server = Server(app, config, stopping)   # binds; `ConfigError` where it cannot
    say(f"listening at {server.address}")    # "http://127.0.0.1:43127"
    server.run()                             # until SIGTERM or Ctrl-C

In tests, in a thread: `with Server(app, config, stopping) as server: ...`.

`application` puts `Gate` before the routes and adds `/healthz`. Routes are Starlette's, and send and receive as Starlette does.
Work that must not be cut off is done in `with stopping.answering():`; at SIGTERM no new connection is taken, `stopping.begun` turns
True, each `stopping.calls` is called, and the sockets are closed once nothing is answering, after `stop_s` at the latest.

Messages over `max_message_mb` close their websocket with code 1009; clients that vanish are noticed by pings. A handler that
raises closes its own connection and leaves one line on standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from strands_diffusers.errors import ConfigError, one_line
from strands_diffusers.serve.options import WebConfig, of_this_machine

REQUEST_S = 10.0
"""How long a connection may take to say what it wants [s]."""

PING_S, PONG_S = 20.0, 60.0
"""How often a websocket is pinged, and how long the answer may take before the client counts as gone [s]."""

CONNECTIONS = 512
"""More connections than this at once are answered with status 503."""

COOKIE = "strands_diffusers_token"


class Stopping:
    """Whether the server is about to end, and the answers that it waits for."""

    def __init__(self) -> None:
        self.begun = False
        self.answers = 0
        """How many are in work."""
        self.calls: list[Callable[[], None]] = []
        """Called in the server's event loop when the end begins."""

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Something that the server finishes before it ends. For the event loop's thread."""
        self.answers += 1
        try:
            yield
        finally:
            self.answers -= 1


class Gate:
    """ASGI middleware: the token, and which web pages may connect. `/healthz` is open.

    The token comes as `Authorization: Api-Key TOKEN` (as openpi's clients send it) or `Bearer TOKEN`, as the cookie, or as
    `?token=TOKEN`, which sets the cookie. An `Origin`, which browsers alone send, must be the server's own or listed. Without
    a token the `Host` must be this machine's, so that no page can reach the server under a name of its own.
    """

    def __init__(self, app: Any, config: WebConfig) -> None:
        self.app, self.config, self._token = app, config, config.token()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] not in ("http", "websocket") or scope["path"] == "/healthz":
            await self.app(scope, receive, send)
            return
        status, line = self._refusal(scope)
        if line:
            await PlainTextResponse(f"{line}\n", status)(scope, receive, send)
            return

        async def with_cookie(message: Any) -> None:
            if message["type"] == "http.response.start":
                cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        named = self._token is not None and scope["type"] == "http" and b"token=" in scope["query_string"]
        await self.app(scope, receive, with_cookie if named else send)

    def _refusal(self, scope: Any) -> tuple[int, str]:
        headers, at = Headers(scope=scope), self.config.node
        host = headers.get("host", "")
        if self._token is None and not _names_this_machine(host):
            return 421, f"this server answers to its own machine's names only, not to {host[:100]!a}."
        origin = headers.get("origin")
        if origin is not None and origin not in self.config.origins and urlsplit(origin).netloc != host:
            return 403, f"the page {origin[:100]!a} may not connect; {at}.origins lists those that may."
        given = [token.encode() for token in _tokens(scope, headers)]
        if self._token is not None and not any(hmac.compare_digest(self._token.encode(), each) for each in given):
            return 401, "the token is missing or wrong: send the header Authorization: Api-Key TOKEN."
        return 200, ""


def _names_this_machine(host: str) -> bool:
    try:
        return of_this_machine(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _tokens(scope: Any, headers: Headers) -> Iterator[str]:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() in ("api-key", "bearer"):
        yield value.strip()
    yield from parse_qs(scope["query_string"].decode("latin-1")).get("token", ())
    if (cookie := HTTPConnection(scope).cookies.get(COOKIE)) is not None:
        yield cookie


def application(routes: Sequence[BaseRoute], config: WebConfig, stopping: Stopping) -> Any:
    """The ASGI application: the routes behind `Gate`, and `/healthz` (200 `OK`, or 503 once the end has begun)."""

    async def healthz(request: Any) -> PlainTextResponse:
        return PlainTextResponse("stopping\n", 503) if stopping.begun else PlainTextResponse("OK\n")

    return Starlette(routes=[Route("/healthz", healthz), *routes], middleware=[Middleware(Gate, config=config)])


class Server:
    """A server that is bound, and runs until it is stopped: `run()` in the main thread, or `with` in a thread of its own.

    Raises: `ConfigError` where it cannot listen there.
    """

    def __init__(self, app: Any, config: WebConfig, stopping: Stopping) -> None:
        self._socket = _bound(config)
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.address = f"http://{host}:{self._socket.getsockname()[1]}"
        logging.getLogger("uvicorn.error").addFilter(_without_traceback)
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                http=_HttpWithTimeout,
                ws="websockets-sansio",
                ws_max_size=int(config.max_message_mb * 1e6),
                ws_ping_interval=PING_S,
                ws_ping_timeout=PONG_S,
                ws_per_message_deflate=False,  # frames hardly shrink, and it costs more time than the wire
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=max(1, round(config.stop_s)),  # for what is sent already to arrive
            ),
            stopping,
            config.stop_s,
        )
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`; a second SIGINT does not wait for answers."""
        try:
            asyncio.run(self._uvicorn.serve(sockets=[self._socket]))
        finally:
            self._uvicorn.ready.set()

    def stop(self) -> None:
        """Begin the end, from any thread; as SIGTERM does."""
        self._uvicorn.should_exit = True

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self.run, name=self.address, daemon=True)
        self._thread.start()
        self._uvicorn.ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self._thread is not None
        self._thread.join()


def _bound(config: WebConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        at = config.node
        raise ConfigError(
            f"{at}.host={config.host} {at}.port={config.port}: {error.strerror or one_line(error)}. Use another, or "
            f"{at}.port=0 for a free port."
        ) from error


class _Uvicorn(uvicorn.Server):  # type: ignore[misc] # Any
    """uvicorn, which by itself closes every websocket at SIGTERM, whatever it is waiting for."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping, stop_s: float) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._stopping, self._stop_s = stopping, stop_s

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: Any = None) -> None:
        for server in self.servers:
            server.close()
        self._stopping.begun = True
        for call in self._stopping.calls:
            call()
        end = time.monotonic() + self._stop_s
        while self._stopping.answers and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, which ends by raising the signal again: a server that was asked to end has ended well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in kept.items():
                signal.signal(each, handler)


class _HttpWithTimeout(H11Protocol):  # type: ignore[misc] # Any
    """uvicorn's HTTP, without connections that never say what they want."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S, self._leave)

    def _leave(self) -> None:
        if self.cycle is None and self.transport.get_protocol() is self:
            self.transport.close()


def _without_traceback(record: logging.LogRecord) -> bool:
    """A logging filter: what a client causes is one line."""
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        record.msg = f"{str(record.msg).strip()} ({type(error).__name__}: {one_line(error, 200)})"
        record.exc_info = record.exc_text = None
    return True
