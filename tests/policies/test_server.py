"""`policy=server` against small servers written from openpi's protocol: what is sent, what is taken, what each fault says."""

import contextlib
import dataclasses
import socket
import threading
import time
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("msgpack")
pytest.importorskip("websockets.sync.server")

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from strands_diffusers import Look, Observation, Setting, Stepped, World, actions, errors, loop, testing
from strands_diffusers.policies.server import ServerPolicy, _image
from strands_diffusers.remote import Units, mapping, pack, unpack
from strands_diffusers.runner.chunks import FinishedChunks

SPACE = actions.space_of("pusht", pixel_map=True)
FRAME = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
CONFIG = testing.compose("domain=pusht")


def setting(space=SPACE, **changes):
    seen = Observation(FRAME[None], 10.0, domain=space.domain)
    return dataclasses.replace(Setting(CONFIG, seen, space, "Push.", 10.0, 16, 8, 2), **changes)


def look(index=0, state=None, progress=None):
    frames = np.repeat(FRAME[None], 8 * index + 1, axis=0)
    return Look(index, frames, np.zeros((8 * index, 2), np.float32), "Push.", index, state=state, progress=progress)


def encoded(array):
    """An array as the protocol has it."""
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": list(array.shape)}


def answer(rows=None, **more):
    rows = np.linspace(-1, 1, 32, dtype=np.float32).reshape(16, 2) if rows is None else rows
    return msgpack.packb({"actions": encoded(rows), "server_timing": {"infer_ms": 3.5}, **more})


@contextlib.contextmanager
def serving(*answers, facts=None, headers=None, received=None):
    """A server that answers one message after the other with `answers`, the last of them for ever; yields its address.

    An answer may be bytes or text to send, None to stay silent, or an exception class to close the connection.
    """
    left, quiet = list(answers), threading.Event()

    def handle(connection):
        if headers is not None:
            headers.append(connection.request.headers)
        if facts is None:
            connection.send(msgpack.packb({"robot": "toy"}))
        elif facts:
            connection.send(facts)
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = connection.recv()
                if received is not None:
                    received.append(message)
                reply = left.pop(0) if len(left) > 1 else left[0]
                if reply is None:
                    quiet.wait()
                elif isinstance(reply, type):
                    return
                else:
                    connection.send(reply)

    with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            quiet.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def policy(address, given_setting=None, **options):
    made = ServerPolicy(ServerPolicy.Config(address=address, **{"connect_s": 2.0, "answer_s": 2.0, **options}))
    made.reset(given_setting or setting(), 0)
    try:
        yield made
    finally:
        made.close()


def test_what_is_seen_is_sent_as_openpi_names_it_and_the_actions_come_back_exactly():
    received = []
    with serving(answer(), received=received) as address, policy(address) as server:
        server.check(setting())
        first, second = server.act(look(0)), server.act(look(1))

    sent = msgpack.unpackb(received[0])
    assert set(sent) == {"observation/image", "prompt"}
    assert sent["prompt"] == "Push."
    assert sent["observation/image"] == encoded(FRAME)
    np.testing.assert_array_equal(first.actions, np.linspace(-1, 1, 32, dtype=np.float32).reshape(16, 2))
    assert first.actions.dtype == np.float32
    assert first.details == {"steps": 16, "server": {"robot": "toy"}, "server_timing": {"infer_ms": 3.5}}
    assert "server" not in second.details
    assert first.seconds["server"] > 0


def test_views_size_state_and_key_names_are_the_config_s(monkeypatch):
    received, headers = [], []
    monkeypatch.setenv("ROBOT_KEY", "secret")
    options = {
        "image_key": None,
        "views": {"left": [0.0, 0.0, 0.5, 1.0], "right": [0.5, 0.0, 1.0, 1.0]},
        "resize": [20, 30],
        "prompt_key": "task",
        "state_key": "state",
        "api_key_env": "ROBOT_KEY",
        "action_key": "chunk",
    }
    reply = msgpack.packb({"chunk": [[0.25, -0.5]] * 20})
    with serving(reply, received=received, headers=headers) as address, policy(address, **options) as server:
        found = server.act(look(state={"pusher_px": [1, 2.5], "deep": [[3], 4]})).actions

    sent = msgpack.unpackb(received[0])
    assert set(sent) == {"left", "right", "task", "state"}
    assert sent["left"][b"shape"] == [20, 30, 3]
    np.testing.assert_array_equal(np.frombuffer(sent["state"][b"data"], "<f4"), [1, 2.5, 3, 4])
    assert headers[0]["Authorization"] == "Api-Key secret"
    assert found.shape == (16, 2)
    assert (found == [0.25, -0.5]).all()


def test_an_image_keeps_its_proportions_within_black():
    shown = _image(np.full((40, 80, 3), 200, np.uint8), [0, 0, 1, 1], [40, 40])

    assert shown.shape == (40, 40, 3)
    assert (shown[10:30] == 200).all()
    assert not shown[:10].any()
    assert not shown[30:].any()
    np.testing.assert_array_equal(_image(FRAME, [0.25, 0.5, 0.75, 1], None), FRAME[24:, 16:48])


def test_physical_actions_are_encoded_with_the_domain_s_statistics():
    space = actions.space_of("bridge_orig_lerobot")
    rows = np.tile(np.float32([0.01, 0, 0, 1, 0, 0, 0, 1, 0, 1]), (16, 1))
    given_setting = setting(space)
    with serving(answer(rows)) as address, policy(address, given_setting, units=Units.physical) as server:
        found = server.act(look()).actions

    np.testing.assert_allclose(actions.to_physical(found, space), rows, atol=1e-5)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("Traceback (most recent call last):\n  ...\nValueError: no image", r"reports: ValueError: no image$"),
        (b"\xc1garbage", r"sent 8 bytes that are no msgpack"),
        (msgpack.packb([1, 2]), r"sent a list, not a map"),
        (msgpack.packb({"action": 1}), r"has no 'actions', only 'action'"),
        (msgpack.packb({"type": "error", "message": "Invalid request\npayload"}), r"reports: Invalid request payload$"),
        (answer(np.zeros((16, 3), np.float32)), r"actions have 3 columns; domain 'pusht' needs 2"),
        (answer(np.zeros((8, 2), np.float32)), r"has 8 actions, and 16 are needed: use condition\.chunk_size=8"),
        (answer(np.zeros((1, 16, 2), np.float32)), r"of shape \[1, 16, 2\]"),
        (answer(np.full((16, 2), np.nan, np.float32)), r"action chunk holds nan in row 0"),
        (answer(np.full((16, 2), 300.0)), r"look like pixels"),
        (msgpack.packb({"actions": [["a", "b"]] * 16}), r"type <U1"),
        (msgpack.packb({"actions": {**encoded(np.zeros((2, 2))), b"shape": [99, 9]}}), r"32 bytes for an array"),
        (msgpack.packb({"actions": {**encoded(np.zeros((2, 2))), b"dtype": "|O"}}), r"an array of type object"),
        (b"\x00" * 3_000_000, r"sent more than policy\.max_message_mb=2\."),
        (None, r"sent no answer within 0\.4 s"),
        (ConnectionError, r"closed the connection .* \(2 tries\)"),
    ],
)
def test_a_wrong_answer_is_one_line_and_nothing_hangs(reply, message):
    begin = time.monotonic()
    with serving(reply) as address, policy(address, answer_s=0.4, max_message_mb=2, reconnects=1) as server:
        with pytest.raises(errors.RolloutError, match=message) as caught:
            server.act(look())
        assert "\n" not in str(caught.value)
        assert not server._connection.connected or reply not in (None, ConnectionError)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("pieces", [1, 100])
def test_a_hundred_megabytes_are_refused_by_default_and_kept_in_no_memory(pieces):
    whole = [b"\x00" * (100_000_000 // pieces)] * pieces
    with serving(whole[0] if pieces == 1 else whole) as address, policy(address, answer_s=20.0) as server:
        server._connection.connect()
        tracemalloc.start()
        try:
            with pytest.raises(errors.RolloutError, match=r"sent more than policy\.max_message_mb=16\.$") as caught:
                server.act(look())
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert "\n" not in str(caught.value)
    assert most < (130e6 if pieces == 1 else 30e6)  # in one piece, the server of this process holds it once more


def test_a_message_over_the_default_limit_is_taken_where_a_larger_one_allows_it():
    large = answer(padding=b"\x00" * 17_000_000)
    with serving(large) as address, policy(address, answer_s=20.0, max_message_mb=18) as server:
        assert server.act(look()).actions.shape == (16, 2)


def test_a_lost_connection_is_made_again_and_the_same_look_is_asked_again():
    received = []
    with serving(ConnectionError, answer(), received=received) as address, policy(address) as server:
        found = server.act(look()).actions

    assert found.shape == (16, 2)
    assert received[0] == received[1]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (b"", r"sent no first message within 0\.3 s"),
        ("no", r"reports: no"),
        (b"\xc1", r"no msgpack"),
    ],
)
def test_a_server_that_does_not_introduce_itself_is_refused_before_anything_loads(facts, message):
    with (
        serving(answer(), facts=facts) as address,
        policy(address, connect_s=0.3) as server,
        pytest.raises(errors.ConfigError, match=message),
    ):
        server.check(setting())


def test_a_server_that_is_not_there_is_refused_before_anything_loads():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"ws://127.0.0.1:{free.getsockname()[1]}"
        with (
            policy(address) as server,
            pytest.raises(errors.ConfigError, match=r"cannot connect to ws://127.*Start the"),
        ):
            server.check(setting())
        free.listen()
        with (
            policy(address, connect_s=0.3) as server,
            pytest.raises(errors.ConfigError, match=r"not answer within 0\.3 s"),
        ):
            server.check(setting())


def test_a_key_that_is_not_set_and_units_that_cannot_be_encoded_are_refused(monkeypatch):
    monkeypatch.delenv("ROBOT_KEY", raising=False)
    with (
        policy("ws://localhost:1", api_key_env="ROBOT_KEY") as server,
        pytest.raises(errors.ConfigError, match="not set"),
    ):
        server.check(setting())
    with (
        policy("ws://localhost:1", units=Units.physical) as server,
        pytest.raises(errors.ConfigError, match="needs statis"),
    ):
        server.check(setting())


def test_a_state_that_nothing_gives_is_asked_for():
    with serving(answer()) as address:
        with (
            policy(address, state_key="s") as server,
            pytest.raises(errors.RolloutError, match=r"the world gives no state"),
        ):
            server.act(look())
        with policy(address, state_key="s", state=[1.0]) as server:
            assert server.act(look()).actions.shape == (16, 2)


def test_one_entry_of_the_state_can_be_sent_alone():
    received = []
    with serving(answer(), received=received) as address:
        with policy(address, state_key="s", state_entry="pusher_px") as server:
            server.act(look(state={"pusher_px": [1, 2], "block_px": [3, 4]}))
        with (
            policy(address, state_key="s", state_entry="pushed") as server,
            pytest.raises(errors.RolloutError, match="pusher_px"),
        ):
            server.act(look(state={"pusher_px": [1, 2]}))

    assert np.frombuffer(msgpack.unpackb(received[0])["s"][b"data"], "<f4").tolist() == [1, 2]


def test_waiting_can_be_cancelled():
    def progress(what, done, total):
        raise errors.CancelledError("stop")

    with serving(None) as address, policy(address, answer_s=30.0) as server, pytest.raises(errors.CancelledError):
        server.act(look(progress=progress))


class Counting(World):
    """Show how often it was stepped."""

    name = "counting"

    def reset(self, setting, seed):
        self.count = 0
        return np.zeros((48, 64, 3), np.uint8), None

    def step(self, actions, num_steps, progress=None):
        self.count += num_steps
        return Stepped(np.full((num_steps, 48, 64, 3), self.count, np.uint8))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (None, r"look 3/4.*no answer within 0\.4 s"),
        ("Traceback\nRuntimeError: out of memory", r"look 3/4.*reports: RuntimeError: out of memory"),
        (answer(np.full((16, 2), np.inf, np.float32)), r"look 3/4.*action chunk holds inf"),
    ],
)
def test_looks_that_were_finished_before_a_server_fails_are_kept_and_the_episode_goes_on(fault, message, tmp_path):
    config = testing.compose("condition=closed_loop", "condition.num_looks=4", "condition.act_steps=8")
    given_setting = setting(config=config, num_looks=4)
    rows = [np.full((16, 2), look / 10, np.float32) for look in range(4)]

    def run(server):
        return loop.run(loop.Cast(given_setting, server, Counting(), {}), kept=FinishedChunks(tmp_path, "0" * 16))

    with (
        serving(answer(rows[0]), answer(rows[1]), fault) as address,
        policy(address, answer_s=0.4) as server,
        pytest.raises(errors.RolloutError, match=message),
    ):
        run(server)
    received = []
    with serving(answer(rows[2]), answer(rows[3]), received=received) as address, policy(address) as server:
        [rollout] = run(server)

    assert rollout.details["looks_kept"] == 2
    np.testing.assert_array_equal(rollout.episode.proposed_action, rows)
    shown = [np.frombuffer(msgpack.unpackb(each)["observation/image"][b"data"], np.uint8) for each in received]
    assert [int(each[0]) for each in shown] == [16, 24]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "localhost:8000"}, r"is no websocket\. Use policy\.address=ws://"),
        ({"image_key": None}, r"sends no image"),
        ({"views": {"a": [0.5, 0, 0.2, 1]}}, r"is no region"),
        ({"views": {"a": "left"}}, r"is no region"),
        ({"views": [1]}, r"is no mapping"),
        ({"resize": [224]}, r"is no size"),
        ({"answer_s": 0.0}, r"policy\.answer_s must be > 0"),
        ({"reconnects": -1}, r"policy\.reconnects"),
    ],
)
def test_a_wrong_option_says_what_to_type(options, message):
    with pytest.raises(errors.ConfigError, match=message):
        ServerPolicy.Config(**options)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers(0, 9) | st.binary(max_size=3), st.lists).map(msgpack.packb)
)
def test_any_bytes_are_a_map_or_one_clear_line(message):
    try:
        found = mapping(unpack(message, "ws://x"), "ws://x")
    except errors.RolloutError as error:
        found, line = {}, str(error)
        if "ws://x" not in line or "\n" in line:
            pytest.fail(line)
    assert isinstance(found, dict)


def test_openpi_s_own_encoder_and_ours_understand_each_other():
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    sent = theirs.unpackb(pack({"observation/image": FRAME, "state": np.float32([1, 2]), "prompt": "Push."}))
    taken = unpack(theirs.packb({"actions": np.eye(3), "time": np.float32(2.5), "none": np.zeros((0, 2))}), "")

    np.testing.assert_array_equal(sent["observation/image"], FRAME)
    np.testing.assert_array_equal(sent["state"], [1, 2])
    np.testing.assert_array_equal(taken["actions"], np.eye(3))
    assert taken["time"] == 2.5
    assert taken["none"].shape == (0, 2)
