"""Long calls: watched, cancelled and limited, in Python, over MCP and through Strands."""

import itertools
import json
import os
import signal
import statistics
import threading
import time
from pathlib import Path

import pytest
from mcp_server import ask, serving, stdio, talk

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

QUIET = {"tracker": "none", "metric": [], "visualizer": [], "condition": "policy"}
SHORT = {**QUIET, "sampler": {"num_inference_steps": 2}}
LONG = {**QUIET, "sampler": {"num_inference_steps": 1000}}
"""More steps than a test waits for: about a minute."""


def left(artifacts: Path) -> list[str]:
    """Files that look like a result, or like half of one."""
    results = ("manifest.json", "video.mp4", "action.json")
    return sorted(str(path) for path in artifacts.rglob("*") if path.name in results)


def test_progress_is_reported_for_every_denoising_step(use) -> None:
    seen: list[tuple[str, int, int]] = []
    assert use("rollout", parameters=SHORT, progress=lambda *at: seen.append(at))["status"] == "success"
    assert [at for at in seen if at[0] == "denoise"][-1] == ("denoise", 2, 2)
    assert {"check", "load", "generate", "write"} <= {what for what, _, _ in seen}


def test_a_cancelled_rollout_stops_within_a_step_and_leaves_no_result(use, artifacts: Path) -> None:
    steps: list[int] = []

    def progress(what: str, done: int, total: int) -> None:
        steps.extend([done] if what == "denoise" else [])

    reply = use("rollout", parameters=LONG, progress=progress, cancel=lambda: len(steps) >= 3)
    assert reply["data"] == {"error": "CancelledError"}
    assert "cancelled at denoise" in reply["content"][0]["text"]
    assert max(steps) <= 4
    assert left(artifacts) == []


@pytest.mark.parametrize("limit", [{"timeout_s": 1.5}, {"parameters": {**LONG, "sweep.timeout_s": 0.5}}])
def test_a_time_limit_ends_a_rollout(use, artifacts: Path, limit) -> None:
    use("rollout", parameters=SHORT)  # loads
    before = left(artifacts)
    started = time.monotonic()
    reply = use("rollout", **{"parameters": LONG, **limit})
    assert reply["status"] == "error"
    assert "timeout_s" in reply["content"][0]["text"]
    assert time.monotonic() - started < 15
    assert left(artifacts) == before


def test_a_plain_call_is_watched_cancelled_and_limited(use, tiny) -> None:
    import tiny_pipelines

    name = "WanPipeline"
    request = {"pipeline": name, "model": str(tiny(name)), "device": "cpu"}
    seen: list[tuple[str, int, int]] = []
    few, many = (tiny_pipelines.CALLS[name] | {"num_inference_steps": count} for count in (2, 1000))
    assert use("run", **request, parameters=few, progress=lambda *at: seen.append(at))["status"] == "success"
    assert [at for at in seen if at[0] == "denoise"] == [("denoise", 1, 2), ("denoise", 2, 2)]
    seen.clear()
    stopped = use(
        "run", **request, parameters=many, progress=lambda *at: seen.append(at),
        cancel=lambda: ("denoise", 3, 1000) in seen,
    )  # fmt: skip
    assert stopped["data"] == {"error": "CancelledError"}
    assert seen[-1] == ("denoise", 3, 1000)
    late = use("run", **request, parameters=many, timeout_s=0.5)
    assert "timeout_s=0.5" in late["content"][0]["text"]
    assert use("run", **request, parameters=few)["status"] == "success", "the pipeline is as it was"


def test_a_kept_pipeline_called_by_call_is_cancelled_too(use, tiny) -> None:
    import tiny_pipelines

    name = "WanPipeline"
    loaded = {"pretrained_model_name_or_path": str(tiny(name))}
    assert use("call", target=f"{name}.from_pretrained", parameters=loaded, cache_key="pipe")["status"] == "success"
    seen: list[int] = []
    reply = use(
        "call", target="cached:pipe", parameters=tiny_pipelines.CALLS[name] | {"num_inference_steps": 1000},
        progress=lambda what, done, total: seen.append(done), cancel=lambda: 2 in seen,
    )  # fmt: skip
    assert reply["data"] == {"error": "CancelledError"}


@pytest.mark.parametrize("limit", [0, -1, True, "soon", float("nan")])
def test_a_time_limit_is_a_number_above_zero(refused, limit) -> None:
    assert "timeout_s" in refused("wfm", timeout_s=limit)


def test_an_agent_of_strands_that_is_cancelled_ends_the_rollout(artifacts: Path) -> None:
    pytest.importorskip("strands", reason="the extra strands is not installed: pip install strands-agents")
    from strands import ToolContext

    from strands_diffusers import use_diffusers

    signal_ = threading.Event()
    threading.Timer(1.0, signal_.set).start()
    context = ToolContext(tool_use={}, agent=None, invocation_state={}, cancel_signal=signal_)
    reply = use_diffusers(action="rollout", parameters=LONG, tool_context=context)
    assert reply["data"] == {"error": "CancelledError"}
    assert left(artifacts) == []


# ------------------------------------------------------------------------------------------------------------ over MCP


def conversation(artifacts: Path):
    """A client that watches one rollout, cancels another, and asks for a third."""

    async def talked(client):
        import anyio

        beats: list[tuple[float, float, str]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            beats.append((time.monotonic(), progress, message or ""))
            if sum("denoise" in text for _, _, text in beats) >= 4:
                scope.cancel()

        await ask(client, "rollout", parameters=SHORT)  # loads
        before = left(artifacts)
        with anyio.CancelScope(deadline=anyio.current_time() + 60) as scope:
            await client.call_tool("use_diffusers", {"action": "rollout", "parameters": LONG}, progress_callback=hear)
            raise AssertionError("it ended by itself")
        cancelled = time.monotonic()
        assert len([text for _, _, text in beats if "denoise" in text]) >= 4, beats
        assert all(b[1] > a[1] for a, b in itertools.pairwise(beats)), "the number must rise"
        assert statistics.median(b[0] - a[0] for a, b in itertools.pairwise(beats)) < 1, beats
        _, content = await ask(client, "wfm")
        assert time.monotonic() - cancelled < 2
        text, content = await ask(client, "rollout", parameters=SHORT)
        assert content["status"] == "success", text
        assert time.monotonic() - cancelled < 12
        assert len(left(artifacts)) == 2 * len(before), "of the cancelled rollout nothing is left"
        late, content = await ask(client, "rollout", parameters=LONG, timeout_s=1)
        assert "timeout_s=1" in late

    return talked


@pytest.mark.slow
def test_a_client_over_stdio_hears_of_progress_cancels_and_is_served_at_once(artifacts: Path) -> None:
    talk(stdio(), conversation(artifacts))


@pytest.mark.slow
def test_a_client_over_http_hears_of_progress_cancels_and_is_served_at_once(artifacts: Path) -> None:
    with serving() as (address, _):
        talk(address, conversation(artifacts))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_cleanly_in_the_middle_of_a_call_whose_client_left(artifacts: Path, number: int) -> None:
    with serving() as (address, process):

        async def leave(client):
            import anyio

            async def hear(progress: float, total: float | None, message: str | None) -> None:
                if "denoise" in (message or ""):
                    scope.cancel()

            with anyio.CancelScope(deadline=anyio.current_time() + 60) as scope:
                await client.call_tool(
                    "use_diffusers", {"action": "rollout", "parameters": LONG}, progress_callback=hear
                )
                raise AssertionError("it ended by itself")

        talk(address, leave)
        talk(address, lambda client: ask(client, "schedulers"))
        started = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(timeout=15) == 0
        assert time.monotonic() - started < 8
        assert "Traceback" not in process.stderr.read()
    assert left(artifacts) == []
    assert not list(artifacts.rglob(".partial*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_over_stdio_ends_cleanly_at_a_signal(number: int) -> None:
    import subprocess

    from mcp_server import MISSING, SERVER

    pytest.importorskip("mcp", reason=MISSING)
    process = subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}}  # fmt: skip
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    assert "serverInfo" in process.stdout.readline()
    os.kill(process.pid, number)
    assert process.wait(timeout=15) == 0
    assert "Traceback" not in process.stderr.read()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
