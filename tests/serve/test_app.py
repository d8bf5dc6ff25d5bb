"""The base of every server: who may connect, where it listens, how it ends. Real sockets."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from strands_diffusers import errors
from strands_diffusers.config import options
from strands_diffusers.serve import app as base
from strands_diffusers.serve.options import WebConfig

TOKEN = "a-token-of-this-test"


async def page(request):
    return PlainTextResponse("a page")


async def echo(websocket):
    await websocket.accept()
    async for message in websocket.iter_bytes():
        await websocket.send_bytes(message)


async def broken(websocket):
    await websocket.accept()
    raise ValueError("no\nway")


@contextlib.contextmanager
def serving(stopping=None, routes=(), **values):
    config = WebConfig(**{"port": 0, **values})
    stopping = stopping or base.Stopping()
    app = base.application(
        [Route("/", page), WebSocketRoute("/echo", echo), WebSocketRoute("/broken", broken), *routes], config, stopping
    )
    with base.Server(app, config, stopping) as server:
        yield server


def get(server, path="/", **headers):
    """Status, body and cookie of a GET."""
    host, port = server.address.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    with contextlib.closing(connection):
        return answer.status, answer.read().decode(), answer.headers.get("set-cookie")


def dial(server, path="/echo", **more):
    return connect(server.address.replace("http", "ws") + path, compression=None, **more)


@pytest.fixture(scope="module")
def plain():
    with serving(max_message_mb=0.01) as server:
        yield server


@pytest.fixture(scope="module")
def guarded():
    os.environ["SERVE_TEST_TOKEN"] = TOKEN
    with serving(token_env="SERVE_TEST_TOKEN", origins=["https://robots.example"]) as server:
        yield server
    del os.environ["SERVE_TEST_TOKEN"]


def test_a_server_answers_its_own_machine_and_its_own_pages(plain):
    assert plain.address.startswith("http://127.0.0.1:")
    assert get(plain)[:2] == (200, "a page")
    assert get(plain, "/healthz")[:2] == (200, "OK\n")
    assert get(plain, Origin=plain.address)[0] == 200
    with dial(plain, origin=plain.address) as socket_:
        socket_.send(b"1")
        assert socket_.recv() == b"1"


@pytest.mark.parametrize(
    ("headers", "status", "line"),
    [
        ({"Origin": "https://evil.example"}, 403, r"page 'https://evil.example' may not connect; serve.origins"),
        ({"Origin": "null"}, 403, "may not connect"),
        ({"Host": "evil.example"}, 421, "its own machine's names only, not to 'evil.example'"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "names only"),
        ({"Host": "[::bad"}, 421, "names only"),
    ],
)
def test_another_page_cannot_reach_a_server_without_a_token(plain, headers, status, line):
    found, body, _ = get(plain, **headers)

    assert found == status
    assert line in body
    assert body.count("\n") == 1
    if "Host" in headers:
        return  # the client sends its own
    with pytest.raises(InvalidStatus) as refused:
        dial(plain, additional_headers=headers)
    assert refused.value.response.status_code == status


def test_with_a_token_nobody_enters_without_it(guarded):
    for headers in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": TOKEN}, {"Cookie": f"{base.COOKIE}=no"}):
        assert get(guarded, **headers)[0] == 401
        with pytest.raises(InvalidStatus):
            dial(guarded, additional_headers=headers)
    assert get(guarded, "/?token=wrong")[0] == 401
    assert get(guarded, "/healthz")[0] == 200
    for kind in ("Api-Key", "Bearer", "api-key"):
        assert get(guarded, Authorization=f"{kind} {TOKEN}", Host="gpu-box:8000")[0] == 200
    status, _, cookie = get(guarded, f"/?token={TOKEN}")
    assert status == 200
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert get(guarded, Cookie=cookie.partition(";")[0])[0] == 200
    assert get(guarded, Cookie=cookie.partition(";")[0], Origin="https://evil.example")[0] == 403
    assert get(guarded, Authorization=f"Bearer {TOKEN}", Origin="https://robots.example")[0] == 200
    with dial(guarded, additional_headers={"Authorization": f"Api-Key {TOKEN}"}) as socket_:
        socket_.send(b"1")
        assert socket_.recv() == b"1"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": "0.0.0.0"}, r"serve\.host=0\.0\.0\.0 opens the server to other machines, which needs a token"),
        ({"host": "::"}, "needs a token"),
        ({"host": "gpu-box"}, "needs a token"),
        ({"port": 70000}, r"serve\.port"),
        ({"origins": ["robots.example"]}, r"is no origin"),
        ({"stop_s": 0.0}, r"serve\.stop_s"),
    ],
)
def test_a_wrong_option_says_what_to_type(values, message):
    with pytest.raises(errors.ConfigError, match=message):
        WebConfig(**values)


def test_a_token_that_is_not_set_and_a_port_that_is_taken_are_one_line(plain, monkeypatch):
    monkeypatch.delenv("SERVE_NO_TOKEN", raising=False)
    with pytest.raises(errors.ConfigError, match="not set"):
        WebConfig(host="0.0.0.0", token_env="SERVE_NO_TOKEN").token()
    port = int(plain.address.rsplit(":", 1)[1])
    with pytest.raises(errors.ConfigError, match=rf"serve\.port={port}: .*in use.*serve\.port=0"):
        base.Server(None, WebConfig(port=port), base.Stopping())
    with pytest.raises(errors.ConfigError, match=r"serve\.host=127\.0\.0\.999"):
        base.Server(None, WebConfig(host="127.0.0.999", token_env="X", port=0), base.Stopping())


def test_options_of_a_verb_are_typed_like_every_override():
    config, rest = options.split("serve", WebConfig, ["serve.port=0", "seed=3", "serve.origins=[https://a.b]"])

    assert config == WebConfig(port=0, origins=["https://a.b"])
    assert rest == ["seed=3"]
    for wrong, message in (
        ("serve.prot=1", r"'serve\.prot' is not a config key\. Did you mean 'serve\.port'"),
        ("serve.port=x", r"serve\.port|port"),
        ("serve.host=0.0.0.0", "needs a token"),
    ):
        with pytest.raises(errors.ConfigError, match=message) as caught:
            options.split("serve", WebConfig, [wrong])
        assert "\n" not in str(caught.value)


def test_a_message_that_is_too_large_and_a_handler_that_fails_cost_their_own_connection_alone(plain, caplog):
    with dial(plain) as other:
        with dial(plain) as socket_:
            socket_.send(bytes(20_000))
            with pytest.raises(ConnectionClosed) as closed:
                socket_.recv()
            assert closed.value.rcvd.code == 1009
        with dial(plain, "/broken") as socket_, pytest.raises(ConnectionClosed):
            socket_.recv()
        other.send(b"still here")
        assert other.recv() == b"still here"
    lines = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert [record.getMessage() for record in lines] == ["Exception in ASGI application (ValueError: no way)"]
    assert lines[0].exc_info is None


def test_a_connection_that_never_says_what_it_wants_is_closed(monkeypatch):
    monkeypatch.setattr(base, "REQUEST_S", 0.2)
    with serving() as server:
        port = int(server.address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as slow, dial(server) as other:
            slow.sendall(b"GET / HT")
            assert slow.recv(100) == b""
            other.send(b"1")
            assert other.recv() == b"1"


def test_what_is_being_answered_is_finished_before_the_end():
    begun, free = threading.Event(), threading.Event()
    stopping, called = base.Stopping(), []
    stopping.calls.append(lambda: called.append(stopping.begun))

    async def slow(websocket):
        import asyncio

        await websocket.accept()
        with stopping.answering():
            begun.set()
            await asyncio.get_running_loop().run_in_executor(None, free.wait)
            await websocket.send_text("done")

    with (
        serving(stopping, [WebSocketRoute("/slow", slow)]) as server,
        dial(server, "/slow") as socket_,
        dial(server) as idle,
    ):
        begun.wait()
        server.stop()
        while not called:
            time.sleep(0.01)
        free.set()
        assert socket_.recv() == "done"
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv()
        assert closed.value.rcvd.code == 1012
    assert called == [True]


PROGRAM = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from strands_diffusers.serve import app as base
from strands_diffusers.serve.options import WebConfig

config, stopping = WebConfig(port=0), base.Stopping()
server = base.Server(base.application([], config, stopping), config, stopping)
print(server.address, flush=True)
server.run()
print("ended")
"""


@pytest.mark.slow
def test_sigterm_ends_a_server_with_status_0():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        host, port = address.removeprefix("http://").split(":")
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "ended\n"
        assert process.wait(10) == 0
