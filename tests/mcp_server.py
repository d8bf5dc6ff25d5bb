"""A real server of our tool, over stdio or HTTP, and a real client of the SDK that talks to it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

MISSING = "the MCP SDK is not installed: pip install -e plugins/mcp"
SERVER = [sys.executable, "-m", "strands_diffusers_mcp"]
PACKAGE = str(Path(__file__).parents[1] / "plugins" / "mcp")
sys.path.append(PACKAGE)
os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), PACKAGE])  # of the servers


def talk(transport, conversation):
    """Run `conversation(client)` with a client over the transport."""
    import anyio

    pytest.importorskip("mcp", reason=MISSING)
    from mcp.client.client import Client

    async def main():
        async with Client(transport) as client:
            await conversation(client)

    anyio.run(main)


def stdio(*arguments: str, errlog=sys.stderr, **environment: str):
    pytest.importorskip("mcp", reason=MISSING)
    from mcp.client.stdio import StdioServerParameters, stdio_client

    keep = {
        name: os.environ[name]
        for name in ("STRANDS_DIFFUSERS_ARTIFACTS", "PYTHONPATH", "OMP_NUM_THREADS")
        if name in os.environ
    }
    parameters = StdioServerParameters(command=SERVER[0], args=[*SERVER[1:], *arguments], env=keep | environment)
    return stdio_client(parameters, errlog=errlog)


@contextlib.contextmanager
def serving(*arguments: str, stderr=subprocess.PIPE):
    """A server on a free port: its address and its process, which is asked to end at the end."""
    pytest.importorskip("mcp", reason=MISSING)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*SERVER, "--http", "--port", str(port), *arguments], stderr=stderr, text=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stderr:
            process.stderr.close()


async def ask(client, action: str, **arguments):
    """Text and structured content of one call."""
    result = await client.call_tool("use_diffusers", {"action": action, **arguments})
    block = result.content[0]
    assert result.is_error is (result.structured_content["status"] == "error")
    assert "Traceback" not in block.text
    return block.text, result.structured_content
