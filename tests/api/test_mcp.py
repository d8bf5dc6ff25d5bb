import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed: pip install 'mcp>=2'")

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SERVER = [sys.executable, "-m", "strands_diffusers.api.mcp"]
FAST = {"tracker": "none", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}


def talk(transport, conversation):
    """Run `conversation(client)` with a real MCP client over the transport."""
    import anyio
    from mcp.client.client import Client

    async def main():
        async with Client(transport) as client:
            await conversation(client)

    anyio.run(main)


def stdio(*arguments: str, **environment: str):
    from mcp.client.stdio import StdioServerParameters, stdio_client

    keep = {
        name: os.environ[name]
        for name in ("STRANDS_DIFFUSERS_ARTIFACTS", "PYTHONPATH", "OMP_NUM_THREADS")
        if name in os.environ
    }
    return stdio_client(
        StdioServerParameters(command=SERVER[0], args=[*SERVER[1:], *arguments], env=keep | environment)
    )


async def ask(client, action: str, **arguments):
    result = await client.call_tool("use_diffusers", {"action": action, **arguments})
    block = result.content[0]
    assert result.is_error is (result.structured_content["status"] == "error")
    assert "Traceback" not in block.text
    return block.text, result.structured_content


def test_a_client_over_stdio_lists_discovers_rolls_out_and_gets_errors_as_data(artifacts: Path) -> None:
    async def conversation(client):
        [tool] = (await client.list_tools()).tools
        assert tool.name == "use_diffusers"
        assert "world models" in tool.description
        assert set(tool.input_schema["properties"]) >= {"action", "pipeline", "model", "parameters", "cache_key"}
        text, content = await ask(client, "wfm")
        assert "Cosmos3OmniPipeline" in content["data"]
        assert "Cosmos3OmniPipeline" in text
        text, content = await ask(client, "rollout", parameters=FAST)
        assert content["status"] == "success", text
        assert Path(content["data"]["video"]["path"]).is_relative_to(artifacts)
        text, content = await ask(client, "visualize", inputs=content["data"]["action"]["path"])
        assert content["data"]["domain"] == "pusht"
        text, content = await ask(client, "wfmm")
        assert "Did you mean 'wfm'" in text
        text, content = await ask(client, "call", target="utils.import_utils.os.system", parameters={"command": "true"})
        assert content["data"] == {"error": "AccessError"}

    talk(stdio(), conversation)


def test_a_local_file_is_readable_only_where_the_user_allowed_it(
    artifacts: Path, first_frame: Path, tmp_path: Path
) -> None:
    condition = {"mode": "policy", "chunk_size": 4, "domain_name": "umi", "image": str(first_frame)}
    request = {"target": "CosmosActionCondition", "parameters": condition}

    async def closed(client):
        text, _ = await ask(client, "call", **request)
        assert "may not be read" in text
        assert "--root" in text
        for action, arguments in (
            ("visualize", {"inputs": "/etc/hostname"}),
            ("rollout", {"parameters": {**FAST, "observation": str(first_frame)}}),
            ("run", {"pipeline": "WanPipeline", "model": "/etc"}),
            (
                "call",
                {
                    "target": "UniPCMultistepScheduler.from_pretrained",
                    "parameters": {"pretrained_model_name_or_path": "/etc"},
                },
            ),
        ):
            _, content = await ask(client, action, **arguments)
            assert content["data"] == {"error": "AccessError"}, action

    async def opened(client):
        _, content = await ask(client, "call", **request)
        assert content["status"] == "success"

    talk(stdio(), closed)
    talk(stdio("--root", str(tmp_path)), opened)


def test_a_client_over_http_does_the_same(artifacts: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*SERVER, "--http", "--port", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)

        async def conversation(client):
            assert [tool.name for tool in (await client.list_tools()).tools] == ["use_diffusers"]
            _, content = await ask(client, "wfm", parameters={"name": "wanpipeline"})
            assert content["data"] == ["WanPipeline"]
            text, content = await ask(client, "rollout", parameters=json.dumps(FAST))
            assert content["status"] == "success", text
            text, content = await ask(client, "run", pipeline="WanPipelin", model="nobody/nothing")
            assert "Did you mean 'WanPipeline'" in text

        talk(f"http://127.0.0.1:{port}/mcp", conversation)
        outside = [address for address in _addresses() if not address.startswith("127.")]
        for address in outside:
            with socket.socket() as probe:
                probe.settimeout(1)
                assert probe.connect_ex((address, port)) != 0, f"the server listens on {address}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stderr.close()


def _addresses() -> set[str]:
    try:
        return {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        return set()


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([*SERVER, "--root", str(tmp_path / "nothing")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("AccessError: --root")
    assert "Traceback" not in done.stderr


def test_the_server_does_not_load_torch_before_it_is_needed() -> None:
    program = (
        "import sys; from strands_diffusers.api import mcp; from strands_diffusers.api.access import Access; "
        "mcp.server(Access(())); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
