"""`strands-diffusers-mcp`: `use_diffusers` for any MCP client, over stdio or loopback HTTP.

A client is another program. It reads files below the folders that `--root` names and the artifacts folder, writes below
the artifacts folder, sends nothing anywhere, and gets errors as data. While a call runs, the client is told how far it
is; a client that cancels, or goes away, ends the call at its next denoising step.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from strands_diffusers import plugins
from strands_diffusers.api import tool
from strands_diffusers.api.access import Access, artifacts_folder, max_uri_bytes
from strands_diffusers.errors import AccessError, StrandsDiffusersError

DEFAULT_PORT = 8020
HOST = "127.0.0.1"
PROGRESS_S = 0.5
"""How often a client hears of a running call [s]."""

CLOSING_S = 5.0
"""How long the server waits at its end for calls to stop [s]."""

_INSTRUCTIONS = (
    "use_diffusers finds, loads and runs any pipeline of Hugging Face diffusers, with robot world models first. Start with "
    "action='wfm'. action='rollout' with no parameters runs the embedded world model on a CPU in seconds."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `strands-diffusers-mcp`. Exit status 2 for a request that cannot be served."""
    parser = argparse.ArgumentParser(prog="strands-diffusers-mcp", description="Serve use_diffusers over MCP.")
    parser.add_argument("--http", action="store_true", help=f"serve HTTP on {HOST} instead of stdio")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of --http (default: %(default)s)")
    parser.add_argument("--stateless", action="store_true", help="HTTP without sessions")
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="folder whose files the client may read; may be repeated (the artifacts folder is always open)",
    )
    parser.add_argument("--tracker", default="none", help="where rollouts are logged, as wandb (default: nowhere)")
    options = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        if options.tracker != "none":
            plugins().find("tracker", options.tracker)
        named = Access.of_environment().roots or ()
        calls = Calls(Access((*named, *(_folder(text) for text in options.root)), options.tracker))
        app = server(calls)
    except StrandsDiffusersError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(2) from error
    stay_on_this_machine(keep=options.tracker)
    import anyio

    anyio.run(_serve, app, calls, options)
    calls.close()


def stay_on_this_machine(keep: str = "none") -> None:
    """For the rest of the process: no request to the Hub, no tokens of it, and no connection to another machine.

    `keep`: a tracker that the operator allows; with one other than `none`, connections stay open for it.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # and for each call, `api.access.offline`
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    secrets = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"]
    for secret in [*secrets, *(["WANDB_API_KEY"] if keep == "none" else [])]:
        os.environ.pop(secret, None)
    if keep == "none":
        sys.addaudithook(_refuse_connections)


def _refuse_connections(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: refuse whatever would look up or reach another machine."""
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "localhost", "::1", "0.0.0.0") and not str(host).startswith("127."):
        raise AccessError(f"connections to other machines are closed in this server ({str(host)[:200]!a}).")


async def _serve(app: Any, calls: Calls, options: argparse.Namespace) -> None:
    """Serve until the client is gone (stdio) or a signal comes; then end the calls that run, and the process."""
    import anyio

    async def stop() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                await anyio.to_thread.run_sync(calls.close)
                await anyio.sleep(0.1)  # for the replies of what was cancelled
                logging.shutdown()
                os._exit(0)  # standard input is read by a thread that nothing else would end

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        if options.http:
            import uvicorn

            largest = int(1.4 * max_uri_bytes()) + 1_000_000  # a data URI in base64, and the rest of the request
            web = app.streamable_http_app(stateless_http=options.stateless, max_request_body_size=largest, host=HOST)
            config = uvicorn.Config(web, host=HOST, port=options.port, log_level="warning")
            sys.stderr.write(f"serving use_diffusers at http://{HOST}:{options.port}/mcp (Ctrl-C stops)\n")
            await uvicorn.Server(config).serve()
        else:
            await app.run_stdio_async()
        tasks.cancel_scope.cancel()


class Calls:
    """The calls that run, each in a thread of its own, so that the server answers others meanwhile."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._running: dict[threading.Thread, threading.Event] = {}

    async def perform(self, arguments: dict[str, Any], report: Any) -> Any:
        """The result of one call; `await report(done, total, message)` is called while it runs.

        Where the awaiting task is cancelled, the call ends at its next denoising step.
        """
        import anyio

        cancelled, ended, steps = threading.Event(), anyio.Event(), Steps()
        token = anyio.lowlevel.current_token()
        made: list[Any] = []

        def work() -> None:
            try:
                made.append(result(tool.perform(self.access, cancel=cancelled.is_set, progress=steps, **arguments)))
            finally:
                self._running.pop(thread, None)
                with contextlib.suppress(RuntimeError):  # the server may have ended meanwhile
                    anyio.from_thread.run_sync(ended.set, token=token)

        thread = threading.Thread(target=work, name="use_diffusers", daemon=True)
        self._running[thread] = cancelled
        thread.start()
        try:
            while not ended.is_set():
                with anyio.move_on_after(PROGRESS_S):
                    await ended.wait()
                if not ended.is_set() and steps.what:
                    await report(*steps.now())
        finally:
            cancelled.set()
        return made[0]

    def close(self) -> None:
        """Cancel every running call and wait for it, up to `CLOSING_S`."""
        until = time.monotonic() + CLOSING_S
        running = dict(self._running)
        for cancelled in running.values():
            cancelled.set()
        for thread in running:
            thread.join(max(0.0, until - time.monotonic()))


class Steps:
    """A `Progress` that makes one rising number of the steps of a call's stages, as MCP wants it."""

    def __init__(self) -> None:
        self.what = ""
        self._before, self._done, self._total, self._beats = 0, 0, 1, 0
        self._started = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Note where the call is."""
        if what != self.what or done < self._done:
            self._before += self._total if self.what else 0
        if (what, done) != (self.what, self._done):
            self._beats = 0
        self.what, self._done, self._total = what, done, max(total, 1)

    def now(self) -> tuple[float, float, str]:
        """Steps done, steps known so far, and a line. Between two steps the number creeps on: it must never stand still."""
        self._beats += 1
        creeping = 0.9 * self._beats / (self._beats + 10)
        text = f"{self.what} {self._done}/{self._total}, {time.monotonic() - self._started:.0f} s"
        return self._before + self._done + creeping, self._before + self._total, text


def server(calls: Calls) -> Any:
    """The MCP server, for clients with the rights of `calls`."""
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.types import CallToolResult, ToolAnnotations
    from pydantic import Field

    async def use_diffusers(*, context: Any, **arguments: Any) -> CallToolResult:
        return await calls.perform(arguments, context.report_progress)  # type: ignore[no-any-return]

    os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars would fill the client's log
    app = MCPServer(
        "strands-diffusers",
        instructions=_INSTRUCTIONS,
        version=importlib.metadata.version("strands-diffusers"),
        log_level="WARNING",
    )

    def described(kind: Any, text: str, choices: Sequence[str]) -> Any:
        enum: Any = {"enum": list(choices)} if choices else None  # for the client; a near miss is answered by us
        return Annotated[kind, Field(description=text, json_schema_extra=enum)]

    function = tool.for_agents(use_diffusers, described, context=Context)
    function.__annotations__["return"] = CallToolResult
    summary = (function.__doc__ or "").split("\n", 1)[0]
    hints = ToolAnnotations(
        title="Diffusers", read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
    )
    app.add_tool(function, name="use_diffusers", description=summary, annotations=hints)
    return app


def result(reply: dict[str, Any]) -> Any:
    """A reply as MCP content: the text, a small picture of what was made, and a link to each file."""
    from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent

    from strands_diffusers_mcp.sheet import KINDS, contact_sheet

    content: list[Any] = [TextContent(type="text", text=block["text"]) for block in reply["content"]]
    paths = [Path(path) for path in reply.get("artifacts", ())]
    if (picture := contact_sheet(paths)) is not None:
        content.append(ImageContent(type="image", data=picture, mime_type="image/jpeg"))
    content += [
        ResourceLink(name=path.name, uri=path.as_uri(), mime_type=KINDS.get(path.suffix), size=path.stat().st_size)
        for path in paths[:20]
        if path.is_file()
    ]
    structured = {key: value for key, value in reply.items() if key != "content"}
    return CallToolResult(content=content, structured_content=structured, is_error=reply["status"] == "error")


def _folder(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise AccessError(f"--root {text} is no folder. Name an existing one; {artifacts_folder()} is always open.")
    return path
