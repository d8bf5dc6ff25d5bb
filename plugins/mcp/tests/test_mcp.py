import base64
import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mcp_server import SERVER, ask, serving, stdio, talk
from PIL import Image
from strands_diffusers_mcp import server

from strands_diffusers.errors import AccessError

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FAST = {"tracker": "none", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}


@pytest.mark.slow
def test_a_client_over_stdio_lists_discovers_rolls_out_and_gets_errors_as_data(artifacts: Path) -> None:
    async def conversation(client):
        [tool] = (await client.list_tools()).tools
        assert tool.name == "use_diffusers"
        assert "world models" in tool.description
        properties = tool.input_schema["properties"]
        assert set(properties) >= {"action", "pipeline", "model", "parameters", "cache_key", "timeout_s"}
        assert not {"context", "cancel", "progress"} & set(properties)
        assert all(each.get("description") for each in properties.values())
        assert set(properties["action"]["enum"]) >= {"wfm", "rollout", "run", "call", "measure"}
        hints = tool.annotations
        assert (hints.read_only_hint, hints.destructive_hint, hints.open_world_hint) == (False, False, False)
        text, content = await ask(client, "wfm")
        assert "Cosmos3OmniPipeline" in content["data"]
        assert "Cosmos3OmniPipeline" in text
        result = await client.call_tool("use_diffusers", {"action": "rollout", "parameters": FAST})
        content = result.structured_content
        assert content["status"] == "success", result
        assert Path(content["data"]["video"]["path"]).is_relative_to(artifacts)
        _, sheet, *links = result.content
        with Image.open(io.BytesIO(base64.b64decode(sheet.data))) as picture:
            assert (sheet.mime_type, picture.format) == ("image/jpeg", "JPEG")
            assert 100 < picture.width <= 600
        assert {link.uri for link in links} == {Path(path).as_uri() for path in content["artifacts"]}
        assert all(link.type == "resource_link" and link.size for link in links)
        text, content = await ask(client, "visualize", inputs=content["data"]["action"]["path"])
        assert content["data"]["domain"] == "pusht"
        text, content = await ask(client, "wfmm")
        assert "Did you mean 'wfm'" in text
        text, content = await ask(client, "call", target="utils.import_utils.os.system", parameters={"command": "true"})
        assert content["data"] == {"error": "AccessError"}

    talk(stdio(), conversation)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_client_over_http_does_the_same(artifacts: Path) -> None:
    """A rollout over HTTP is watched and cancelled in tests/api/test_control.py."""
    with serving() as (address, process):
        port = int(address.rpartition(":")[2].partition("/")[0])

        async def conversation(client):
            assert [tool.name for tool in (await client.list_tools()).tools] == ["use_diffusers"]
            for parameters in ({"name": "wanpipeline"}, json.dumps({"name": "wanpipeline"})):
                _, content = await ask(client, "wfm", parameters=parameters)
                assert content["data"] == ["WanPipeline"]
            text, content = await ask(client, "run", pipeline="WanPipelin", model="nobody/nothing")
            assert "Did you mean 'WanPipeline'" in text

        talk(address, conversation)
        for outside in [each for each in _addresses() if not each.startswith("127.")]:
            with socket.socket() as probe:
                probe.settimeout(1)
                assert probe.connect_ex((outside, port)) != 0, f"the server listens on {outside}"
        assert process.poll() is None


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


def test_a_tracker_that_there_is_not_is_refused() -> None:
    done = subprocess.run([*SERVER, "--tracker", "wandbb"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean 'wandb'" in done.stderr


def test_the_server_does_not_load_torch_before_it_is_needed() -> None:
    program = (
        "import sys; from strands_diffusers_mcp.server import Calls, server; from strands_diffusers.api.access import Access; "
        "server(Calls(Access(()))); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_connections_to_other_machines_are_refused_by_the_server() -> None:
    for event, arguments in (
        ("socket.connect", (None, ("93.184.215.14", 443))),
        ("socket.sendto", (None, ("1.1.1.1", 53))),
        ("socket.getaddrinfo", ("huggingface.co", 443, 0, 0, 0)),
        ("socket.gethostbyname", (b"huggingface.co",)),
    ):
        with pytest.raises(AccessError, match="other machines"):
            server._refuse_connections(event, arguments)
    server._refuse_connections("socket.connect", (None, ("127.0.0.1", 80)))
    server._refuse_connections("socket.connect", (None, "/run/socket"))
    server._refuse_connections("open", ("/etc/hostname",))
