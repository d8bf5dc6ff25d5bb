"""`strands-diffusers-mcp`: `use_diffusers` for any MCP client, over stdio or loopback HTTP.

A client is another program. It reads files below the folders that `--root` names and the artifacts folder, writes below
the artifacts folder, sends nothing anywhere, and gets errors as data.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.api import tool
from strands_diffusers.api.access import Access, artifacts_folder, max_uri_bytes
from strands_diffusers.api.request import DEFAULT_FPS
from strands_diffusers.errors import AccessError, MissingPackageError, StrandsDiffusersError

DEFAULT_PORT = 8020
HOST = "127.0.0.1"

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
    options = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        named = Access.of_environment().roots or ()
        app = server(Access((*named, *(_folder(text) for text in options.root))))
    except StrandsDiffusersError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(2) from error
    if options.http:
        sys.stderr.write(f"serving use_diffusers at http://{HOST}:{options.port}/mcp (Ctrl-C stops)\n")
        largest = int(1.4 * max_uri_bytes()) + 1_000_000  # a data URI in base64, and the rest of the request
        app.run(
            "streamable-http",
            host=HOST,
            port=options.port,
            stateless_http=options.stateless,
            max_request_body_size=largest,
        )
    else:
        app.run("stdio")


def server(access: Access) -> Any:
    """The MCP server, for a client with these rights. Raises: `MissingPackageError` without the SDK."""
    if importlib.util.find_spec("mcp") is None:
        raise MissingPackageError("strands-diffusers-mcp needs the MCP SDK: pip install 'mcp>=2'")
    from mcp.server.mcpserver import MCPServer

    os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars would fill the client's log
    app = MCPServer(
        "strands-diffusers",
        instructions=_INSTRUCTIONS,
        version=importlib.metadata.version("strands-diffusers"),
        log_level="WARNING",
    )
    app.add_tool(_tool(access), name="use_diffusers", description=inspect.getdoc(tool.use_diffusers))
    return app


def _tool(access: Access) -> Any:
    """`use_diffusers` with these rights, returning what MCP expects."""
    from mcp.types import CallToolResult, TextContent

    def use_diffusers(
        action: str = "pipelines",
        pipeline: str | None = None,
        model: str | None = None,
        inputs: Any = None,
        target: str | None = None,
        parameters: dict[str, Any] | str | None = None,
        cache_key: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        save_artifacts: bool = True,
        fps: float = DEFAULT_FPS,
        label: str = "",
    ) -> CallToolResult:
        reply = tool.perform(
            access,
            action,
            pipeline,
            model,
            inputs,
            target,
            parameters,
            cache_key,
            device,
            dtype,
            save_artifacts,
            fps,
            label,
        )
        return CallToolResult(
            content=[TextContent(type="text", text=block["text"]) for block in reply["content"]],
            structured_content={key: value for key, value in reply.items() if key != "content"},
            is_error=reply["status"] == "error",
        )

    use_diffusers.__annotations__["return"] = CallToolResult  # the SDK resolves annotations at module level
    return use_diffusers


def _folder(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise AccessError(f"--root {text} is no folder. Name an existing one; {artifacts_folder()} is always open.")
    return path


if __name__ == "__main__":
    main()
