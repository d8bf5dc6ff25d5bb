"""What the page asks for, asked by programs that know nothing: one line each, and the moments stand."""

import http.client
import json
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["point", "speed", "x"]), inner),
    max_leaves=6,
)
BODIES = st.dictionaries(st.sampled_from(["parent", "moment", "point", "speed", "policy", "task", "bodies"]), JSON)


def ask(address, path, body=None, **headers):
    """Status and content of an answer."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        method = "GET" if body is None else "POST"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(content) if "json" in kind else content.decode()
    finally:
        connection.close()


@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(["/act", "/do", "/save"]), body=BODIES)
def test_whatever_is_asked_is_refused_in_one_line(address, session, path, body):
    body = {**body, "parent": body.get("parent") or 99, "moment": body.get("moment") or 99}  # no moment that there is
    count = len(session.moments)

    status, answer = ask(address, path, body)

    assert status == 400, answer
    assert 0 < len(answer["error"]) < 500
    assert "\n" not in answer["error"]
    assert len(session.moments) == count


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", "not JSON"), (b"[1]", "no JSON object"), (b"[" * 50_000, "not JSON"), (b'{"parent": 1e999}', "number of a moment"),
        (b"9" * 5000, "not JSON"), (b'{"x": "' + b"y" * 70_000 + b'"}', "may hold 64,000 bytes"),
        ({"parent": 0, "policy": "model", "task": "\ud800"}, "U+D800"), ({"parent": 0, "policy": "model", "task": "a\0b"}, "U+0000"),
    ],
)  # fmt: skip
def test_bodies_that_are_none_are_refused_in_one_line(address, body, line):
    status, answer = ask(address, "/do", body)

    assert status == 400
    assert line in answer["error"]


def test_nothing_but_the_page_and_saved_runs_is_served_and_not_to_other_pages(address, session):
    session.directory.joinpath("secret.txt").write_text("canary")

    for path in (
        "/saved/0/manifest.json",
        "/saved/../secret.txt",
        "/saved/%2e%2e/secret.txt",
        "/secret.txt",
        "/saved/secret.txt",
    ):
        status, content = ask(address, path)
        assert status in (307, 404), path
        assert "canary" not in str(content)
    assert ask(address, "/act", {"parent": 0}, Origin="https://elsewhere.example")[0] == 403
    assert ask(address, "/session", Host="elsewhere.example")[0] == 421


def test_of_two_that_act_at_once_one_is_told_that_the_world_is_busy(address, session, monkeypatch):
    session.begin()
    began, go, answers, act = threading.Event(), threading.Event(), [], session.act

    def slowly(*arguments):
        began.set()
        go.wait(20)
        return act(*arguments)

    monkeypatch.setattr(session, "act", slowly)
    body = {"parent": 0, "point": [200, 200], "speed": 30}
    first = threading.Thread(target=lambda: answers.append(ask(address, "/act", body)))
    first.start()
    began.wait(20)
    status, answer = ask(address, "/act", body)
    go.set()
    first.join()

    assert (status, answer["error"].partition(",")[0]) == (409, "the world is busy with another input")
    assert answers[0][0] == 200
    assert len(session.moments) == 2


def test_a_page_that_asks_for_nothing_ends_the_command(session):
    from strands_diffusers.play.options import PlayConfig
    from strands_diffusers.play.web import server

    listening, _ = server(session, PlayConfig(port=0, idle_minutes=0.02))
    with listening:
        pass
    began = time.monotonic()
    listening, _ = server(session, PlayConfig(port=0, idle_minutes=0.02))
    listening.run()

    assert 1.0 < time.monotonic() - began < 20
