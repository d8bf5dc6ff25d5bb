"""`strands-diffusers serve` over real sockets: what clients get, and what becomes of wrong, slow, many and vanished ones."""

import contextlib
import dataclasses
import http.client
import os
import threading
import time

import numpy as np
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from strands_diffusers import (
    Look,
    Observation,
    Policy,
    Proposal,
    Setting,
    Stepped,
    World,
    actions,
    errors,
    loop,
    testing,
)
from strands_diffusers.policies.given import RandomPolicy
from strands_diffusers.policies.server import ServerPolicy
from strands_diffusers.remote import Units
from strands_diffusers.serve import command
from strands_diffusers.serve.options import ServeConfig
from strands_diffusers.worlds.server import ServerWorld

SPACE = actions.space_of("pusht", pixel_map=True)
FRAME = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
CONFIG = testing.compose("domain=pusht", "condition=closed_loop", "policy=random", "condition.act_steps=8")
SETTING = Setting(CONFIG, Observation(FRAME[None], 10.0, domain=SPACE.domain), SPACE, "Push.", 10.0, 16, 8, 4)


class Counting(World):
    """Frames that hold how many steps there were, plus the first pixel of the first frame; a state with the last action."""

    name = "counting"

    def reset(self, setting, seed):
        self.count, self.base = 0, int(setting.observation.frames[0, 0, 0, 0])
        self.told = setting.observation.details
        return self._frame(), {"at": [0.0, float(seed)], **self.told}

    def step(self, actions, num_steps, progress=None):
        frames, states = [], []
        for row in actions[:num_steps]:
            self.count += 1
            frames.append(self._frame())
            states.append({"at": [float(row[0]), float(self.count)], **self.told})
        return Stepped(np.stack(frames), states)

    def _frame(self):
        return np.full((48, 64, 3), (self.base + self.count) % 256, np.uint8)

    def hold(self):
        return np.float32([0.25, -0.5])


class Seen(Policy):
    """Actions that hold what was seen: the frame's first pixel, then the look, the seed and the state, else the actions so far."""

    name = "seen"
    fail = None
    """Raised once by the next look."""

    begun, free = threading.Event(), threading.Event()

    def reset(self, setting, seed):
        self.setting, self.resets = setting, getattr(self, "resets", 0) + 1

    def act(self, look):
        if look.prompt == "wait":
            type(self).begun.set()
            while not type(self).free.wait(0.01):
                look.progress("think", 0, 1)
        if (error := type(self).fail) is not None:
            type(self).fail = None
            raise error
        more = look.state["at"][0] if isinstance(look.state, dict) else len(look.actions)
        row = np.float32([look.frames[-1, 0, 0, 0] / 100, look.index / 10 + look.seed / 1e8 + more / 1000])
        return Proposal(np.tile(row, (16, 1)), seconds={"think": 0.5})

    def answers(self, look, seeds):
        return None if look.prompt == "one" else [self.act(dataclasses.replace(look, seed=seed)) for seed in seeds]

    def check(self, setting):
        if setting.prompt == "no":
            raise errors.ConfigError("no such task.")


class Continuing(RandomPolicy):
    """Goes on with the rest of its own last chunk."""

    name = "continuing"

    def act(self, look):
        fresh = super().act(look)
        return fresh if look.proposed is None else Proposal(np.concatenate([look.proposed[8:], fresh.actions[:8]]))


@contextlib.contextmanager
def serving(policy=Seen, setting=SETTING, **values):
    config = ServeConfig(**{"port": 0, **values})
    cast = loop.Cast(setting, policy(), Counting(), {})
    with command.server(config, cast) as server:
        yield server


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def waiting():
    """Looks whose prompt is `wait` are answered once `free` is set."""
    Seen.begun.clear()
    Seen.free.clear()
    yield Seen
    Seen.free.set()


def encoded(array):
    """An array as openpi's protocol has it."""
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": list(array.shape)}


def array(item):
    return np.frombuffer(item[b"data"], item[b"dtype"]).reshape(item[b"shape"])


def said(answer):
    first, second = array(answer["actions"])[0]
    return [round(100 * first), round(float(second), 3)]


class Client:
    """A client written from the protocol alone."""

    def __init__(self, server, path="/", **more):
        address = server.address.replace("http", "ws") + path
        self.open = contextlib.ExitStack()
        self.socket = self.open.enter_context(
            connect(address, compression=None, max_size=None, close_timeout=1, **more)
        )
        self.facts = msgpack.unpackb(self.socket.recv(timeout=20))

    def send(self, message):
        self.socket.send(msgpack.packb(message, default=encoded) if isinstance(message, dict) else message)

    def take(self):
        answer = self.socket.recv(timeout=20)
        return answer if isinstance(answer, str) else msgpack.unpackb(answer)

    def ask(self, message):
        self.send(message)
        return self.take()

    def look(self, pixel=0, **more):
        """What `Seen` says to a frame that is `pixel` all over: [pixel, 0.118 times the look], or the error."""
        answer = self.ask({"observation/image": np.full((48, 64, 3), pixel, np.uint8), **more})
        return answer if isinstance(answer, str) else said(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open.close()


def metrics(server, name):
    """Values of a metric by its labels."""
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=10)
    connection.request("GET", "/metrics")
    with contextlib.closing(connection):
        lines = connection.getresponse().read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)}


def eventually(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --------------------------------------------------------------------------------------------------- what clients get


def openpi_s_own(server):
    client = pytest.importorskip("openpi_client.websocket_client_policy").WebsocketClientPolicy
    made = client("127.0.0.1", int(server.address.rsplit(":", 1)[1]))
    return made.infer, made._ws.close


def from_the_protocol(server):
    client = Client(server)
    return (lambda seen: {"actions": array(client.ask(seen)["actions"])}), client.open.close


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # of openpi's client
@pytest.mark.parametrize(
    ("client", "policy"),
    [(openpi_s_own, RandomPolicy), (from_the_protocol, RandomPolicy), (from_the_protocol, Continuing)],
)
def test_a_client_gets_the_actions_of_the_same_loop_in_process(client, policy):
    for seed in range(2):
        config = dataclasses.replace(CONFIG, seed=seed)
        setting = dataclasses.replace(SETTING, config=config)
        [rollout] = loop.run(loop.Cast(setting, policy(), Counting(), {}))
        with serving(policy, setting) as server:
            infer, close = client(server)
            found = [
                infer({"observation/image": rollout.video[look], "prompt": "Push."})["actions"]
                for look in rollout.episode.looks
            ]
            close()

        np.testing.assert_array_equal(found, rollout.episode.proposed_action)
        assert found[0].dtype == np.float32


def test_policy_server_and_world_server_give_the_episode_that_they_give_in_process(server):
    """Ours at both ends: frames, actions, states and seeds of several samples."""
    seen = Observation(FRAME[None] + 7, 10.0, domain=SPACE.domain, details={"table": {"n": 3}})
    config = dataclasses.replace(CONFIG, seed=5, sampler=dataclasses.replace(CONFIG.sampler, num_samples=2))
    setting = dataclasses.replace(SETTING, config=config, observation=seen)
    address = server.address.replace("http", "ws")
    policy = ServerPolicy(ServerPolicy.Config(address=address, seed_key="seed"))
    world = ServerWorld(ServerWorld.Config(address=f"{address}/world"))
    world.check(setting)

    near = loop.run(loop.Cast(setting, Seen(), Counting(), {}))
    far = loop.run(loop.Cast(setting, policy, world, {}))

    for mine, theirs in zip(near, far, strict=True):
        np.testing.assert_array_equal(mine.video, theirs.video)
        assert mine.episode.states == theirs.episode.states
        assert theirs.episode.details[0]["server"]["policy"] == "seen"
        assert "world.server.infer" in theirs.episode.seconds[0]
    assert near[1].episode.states[0] == {"at": [0.0, 6.0], "table": {"n": 3}}
    # without a state_key the policy sees none: what it makes of the frame, the look and the seed is the same
    np.testing.assert_array_equal(far[0].episode.proposed_action[:, 0, 0], near[0].episode.proposed_action[:, 0, 0])


def test_what_a_server_says_of_itself_names_all_that_a_client_needs(server):
    with Client(server) as client:
        assert client.facts | {"version": ""} == {
            "server": "strands-diffusers", "version": "", "endpoint": "policy", "policy": "seen", "model": None,
            "domain": "pusht", "fps": 10.0, "chunk_size": 16, "act_steps": 8, "action_dim": 2,
            "columns": ["target_x", "target_y"], "units": "model", "image_key": "observation/image", "views": None,
            "prompt_key": "prompt", "state_key": None, "seed_key": "seed", "reset_key": "reset", "action_key": "actions",
            "session_key": "session_id",
        }  # fmt: skip
        answer = client.ask({"observation/image": FRAME})
        assert set(answer["server_timing"]) == {"queue_ms", "infer_ms", "think_ms"}
        assert "prev_total_ms" in client.ask({"observation/image": FRAME})["server_timing"]
    with Client(server, "/world") as client:
        assert client.facts["world"] == "counting"


def test_an_episode_is_a_connection_up_to_a_reset_or_another_task(server):
    with Client(server) as client:
        assert client.look(3) == [3, 0]
        assert client.look(4) == [4, 0.118]
        assert client.look(5, seed=7_000_000) == [5, 0.286]
        assert client.look(6, reset=True) == [6, 0]
        assert client.look(7, reset=False) == [7, 0.118]
        assert client.look(8, prompt="Pull.") == [8, 0]
        assert client.look(9, prompt="no") == "no such task."
        assert client.look(9, prompt="Pull.") == [9, 0.118]
    with Client(server) as client:
        assert client.look(1) == [1, 0]


def test_clients_of_roboarena_and_vllm_omni_are_answered_as_by_those(server):
    """robo-arena/roboarena, policy_server.py; vllm-project/vllm-omni, entrypoints/openpi/connection.py."""
    with serving(action_key=None) as bare, Client(bare, "/v1/realtime/robot/openpi") as client:
        seen = {"observation/image": FRAME, "prompt": "Push.", "endpoint": "infer", "session_id": "a"}
        assert array(client.ask(seen)).shape == (16, 2)
        assert array(client.ask(seen))[0, 1] > 0.1
        assert client.ask({"endpoint": "reset"})["status"] == "reset successful"
        assert array(client.ask(seen))[0, 1] == 0
        assert array(client.ask(seen))[0, 1] > 0.1
        assert array(client.ask({**seen, "session_id": np.array(["b"])}))[0, 1] == 0
        assert array(client.ask({"observation/image": FRAME, "prompt": "Push."}))[0, 1] > 0.1  # the same session
        address = bare.address.replace("http", "ws")
        look = Look(0, FRAME[None], np.zeros((0, 2), np.float32), "Push.", 0)
        for key, line in ((None, None), ("actions", "sent a ndarray, not a map")):
            ours = ServerPolicy(ServerPolicy.Config(address=address, action_key=key))
            ours.reset(SETTING, 0)
            with (
                contextlib.closing(ours),
                pytest.raises(errors.RolloutError, match=line) if line else contextlib.nullcontext(),
            ):
                assert ours.act(look).actions.shape == (16, 2)


def test_several_seeds_are_several_samples_of_one_look(server):
    with Client(server) as client:
        for seeds in ([1, 10**8, 2 * 10**8], np.array([1, 10**8, 2 * 10**8])):
            found = array(client.ask({"observation/image": FRAME, "seed": seeds})["actions"])
            assert found.shape == (3, 16, 2)
            np.testing.assert_allclose(np.diff(found[:, 0, 1]), [1, 1], atol=1e-6)
        assert client.look(1) == [1, 0.236]
        assert (
            client.look(1, seed=[1, 2], prompt="one")
            == "policy=seen gives one answer to an observation; send one seed."
        )
        assert client.look(1, seed=[]) == "'seed' holds 0 seeds; there may be 1 to 64."
        assert "whole number" in client.look(1, seed=[1, -1])


def test_keys_views_state_and_units_are_the_config_s():
    values = {
        "image_key": None, "views": {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 1, 1]}, "size": [48, 64], "prompt_key": "task",
        "state_key": "robot", "seed_key": "noise", "action_key": "chunk", "units": Units.physical,
    }  # fmt: skip
    with serving(**values) as server, Client(server) as client:
        left, right = np.full((48, 32, 3), 1, np.uint8), np.full((20, 20, 3), 200, np.uint8)
        answer = client.ask({"left": left, "right": right, "task": "a", "robot": {"at": np.float32([3, 4])}})

        np.testing.assert_allclose(array(answer["chunk"])[0], [256 * 1.01, 256 * 1.003], rtol=1e-5)
        assert "'left'" in client.ask({"right": right})
        assert client.facts["column_units"] == ["px", "px"]


# ------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("hello", r"a text message is no observation"),
        (b"\xc1", "no msgpack"),
        (msgpack.packb([1]), "sent a list, not a map"),
        (msgpack.packb({}), "no 'observation/image', only nothing"),
        ({"image": 1}, "no 'observation/image', only 'image'"),
        ({"observation/image": "x"}, "must be uint8 [H, W, 3], got str"),
        ({"observation/image": FRAME.astype(np.float32)}, "got float32 [48, 64, 3]"),
        ({"observation/image": FRAME[None]}, "got uint8 [1, 48, 64, 3]"),
        ({"observation/image": FRAME[:2]}, "64x2 pixels; sides are 16 to 4096"),
        ({"observation/image": FRAME, "prompt": 3}, "'prompt' must be text"),
        ({"observation/image": FRAME, "prompt": "x" * 20_001}, "at most 20,000 characters"),
        ({"observation/image": FRAME, "seed": -1}, "'seed' must be a whole number"),
        ({"observation/image": FRAME, "reset": "yes"}, "'reset' must be true or false"),
        ({"observation/image": {**encoded(FRAME), b"shape": [10**9, 10**9, 3]}}, "bytes for an array"),
        ({"observation/image": {**encoded(FRAME), b"dtype": "|O"}}, "an array of type object"),
        ({"observation/image": {b"__ndarray__": True}}, "no msgpack"),
        (msgpack.packb({"a": [0] * 300_000}), "no msgpack"),
        (msgpack.packb({"a": [[0] * 1000] * 300}), "more than 200,000 entries"),
    ],
)
def test_a_wrong_observation_is_one_line_and_the_session_goes_on(server, message, line):
    with Client(server) as client:
        answer = client.ask(message)
        assert isinstance(answer, str)
        assert line in answer
        assert "\n" not in answer
        assert client.look(9) == [9, 0]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"type": "jump"}, "'type' must be 'reset' or 'step', got 'jump'"),
        ({"type": "step", "actions": np.zeros((2, 2), np.float32)}, "a 'step' came before a 'reset'"),
        ({"type": "reset", "frame": FRAME[0]}, "'frame' must be uint8"),
        ({"type": "reset", "details": [1]}, "'details' must be a map"),
        ({"type": "reset", "frame": FRAME, "details": {"a": b"\x00"}}, None),
        ({"type": "reset", "seed": 1.5}, "'seed' must be a whole number"),
    ],
)
def test_a_wrong_message_to_a_world_is_one_line(server, message, line):
    with Client(server, "/world") as client:
        answer = client.ask(message)
        if line is not None:
            assert line in answer
            assert "\n" not in answer
        assert array(client.ask({"type": "reset", "frame": FRAME})["frame"]).shape == (48, 64, 3)
        for rows, wrong in (
            (np.zeros((2, 3), np.float32), "floats [T, 2], got float32 [2, 3]"),
            (np.zeros((17, 2), np.float32), "1 to 16 finite rows"),
            (np.full((2, 2), np.nan), "finite rows"),
            (None, "got NoneType"),
        ):
            assert wrong in client.ask({"type": "step", "actions": rows})
        assert "'num_steps' must be 1 to 2" in client.ask({"type": "step", "actions": np.zeros((2, 2)), "num_steps": 3})
        assert array(client.ask({"type": "step", "actions": np.zeros((2, 2))})["frames"])[:, 0, 0, 0].tolist() == [1, 2]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.binary(max_size=80)
    | st.text(max_size=20)
    | st.dictionaries(
        st.sampled_from(["observation/image", "prompt", "seed", "reset", "type", "actions"]),
        st.none()
        | st.booleans()
        | st.integers(-9, 9)
        | st.floats()
        | st.text(max_size=5)
        | st.just(FRAME)
        | st.binary(max_size=9),
        max_size=4,
    )
)
def test_any_message_has_one_answer(server, message):
    for path in ("/", "/world"):
        with Client(server, path) as client:
            answer = client.ask(message)
            if isinstance(answer, str) and ("\n" in answer or len(answer) > 500):
                pytest.fail(answer)


def test_a_policy_that_fails_costs_one_answer_and_the_session_begins_anew(server):
    with Client(server) as client, Client(server) as other:
        client.look(1)
        other.look(1)
        Seen.fail = ValueError("a\nb")
        assert client.look(2) == "ValueError: a b"
        assert client.look(2) == [2, 0]
        assert other.look(2) == [2, 0.118]


# ------------------------------------------------------------------------------------------------- many, slow, gone


def test_clients_take_turns_and_one_too_many_is_told_busy(waiting):
    with serving(max_queue=2) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(4)]
        message = {"observation/image": FRAME, "prompt": "wait"}
        clients[0].send(message)
        waiting.begun.wait(10)
        for number, client in enumerate(clients[1:3], 1):
            client.send({"observation/image": FRAME + number})
            eventually(lambda n=number: metrics(server, "strands_diffusers_queue") == {"strands_diffusers_queue": n})
        clients[0].send({"observation/image": FRAME})  # its next one comes after those who wait
        assert clients[3].look(1) == "busy: 2 requests wait already (serve.max_queue). Ask again later."
        waiting.free.set()
        for number in range(3):
            assert said(clients[number].take())[0] == number
        assert said(clients[0].take())[0] == 0
        assert clients[3].look(1) == [1, 0]
        counted = metrics(server, "strands_diffusers_requests_total")
    assert {key.split('outcome="')[1][:-2]: value for key, value in counted.items()} == {"ok": 5, "busy": 1}


def test_a_client_without_a_place_is_refused_and_a_vanished_one_frees_its_own(waiting):
    with serving(max_sessions=2) as server, Client(server) as first:
        gone = Client(server, "/world")
        with pytest.raises(InvalidStatus) as refused:
            Client(server)
        assert refused.value.response.status_code == 503
        assert b"busy: 2 clients are connected already (serve.max_sessions)" in refused.value.response.body
        policy = ServerPolicy(ServerPolicy.Config(address=server.address.replace("http", "ws")))
        with pytest.raises(errors.ConfigError, match=r"503: busy: 2 clients are connected already"):
            policy.check(SETTING)
        os.close(os.dup(gone.socket.socket.fileno()))
        gone.socket.socket.shutdown(2)  # as a process that was killed
        eventually(lambda: sum(metrics(server, "strands_diffusers_sessions{").values()) == 1)

        with Client(server) as second:  # whoever leaves while the model works for it is noticed, and so is who waits
            second.send({"observation/image": FRAME, "prompt": "wait"})
            waiting.begun.wait(10)
            first.send({"observation/image": FRAME})
            eventually(lambda: metrics(server, "strands_diffusers_queue") == {"strands_diffusers_queue": 1})
            second.socket.socket.shutdown(2)
            assert said(first.take())[0] == 0
        eventually(lambda: sum(metrics(server, "strands_diffusers_sessions{").values()) == 1)
        assert 'strands_diffusers_requests_total{endpoint="policy",outcome="gone"}' in metrics(server, "strands")
        assert first.look(3)[0] == 3


def test_idle_slow_and_finished_sessions_are_told_to_go():
    with serving(idle_s=0.3, session_frames=2) as server:
        with Client(server) as client, pytest.raises(ConnectionClosed) as closed:
            client.take()
        assert closed.value.rcvd.code == 1001
        assert "no message for serve.idle_s=0.3 s" in closed.value.rcvd.reason
        with Client(server) as slow:
            slow.socket.socket.sendall(b"\x82\xfe\x10\x00abcd" + b"x" * 100)  # a frame of 4,096 bytes that never ends
            eventually(lambda: sum(metrics(server, "strands_diffusers_sessions{").values()) == 0)
            slow.socket.socket.shutdown(2)
        with Client(server) as client:
            client.look(1)
            client.look(1)
            assert client.look(1) == "this session has had serve.session_frames=2 frames. Connect again."


def test_the_answer_in_work_is_sent_before_the_end_and_those_who_wait_are_told(waiting):
    with serving() as server, Client(server) as first, Client(server) as second, Client(server, "/world") as third:
        first.send({"observation/image": FRAME, "prompt": "wait"})
        waiting.begun.wait(10)
        second.send({"observation/image": FRAME})
        eventually(lambda: metrics(server, "strands_diffusers_queue") == {"strands_diffusers_queue": 1})
        server.stop()
        assert second.take() == "the server is stopping."
        waiting.free.set()
        assert said(first.take())[0] == 0
        with pytest.raises(ConnectionClosed) as closed:
            third.take()
        assert closed.value.rcvd.code == 1012


def test_an_answer_that_does_not_end_keeps_no_server_from_its_end(waiting):
    begun = time.monotonic()
    with serving(stop_s=0.2) as server, Client(server) as client:
        client.send({"observation/image": FRAME, "prompt": "wait"})
        waiting.begun.wait(10)
        server.stop()
        with pytest.raises(ConnectionClosed) as closed:
            client.take()
        assert closed.value.rcvd.code == 1012
    assert time.monotonic() - begun < 15


def test_an_answer_that_takes_too_long_is_one_line(waiting):
    with serving(answer_s=0.2) as server, Client(server) as client:
        assert client.look(1, prompt="wait") == "no answer within serve.answer_s=0.2 (think 0/1)."
        waiting.free.set()
        assert client.look(1, prompt="wait") == [1, 0]


def test_an_answer_that_is_larger_than_the_client_takes_and_a_world_that_is_lost_end_the_episode_in_one_line(server):
    address = server.address.replace("http", "ws") + "/world"
    world = ServerWorld(ServerWorld.Config(address=address, max_message_mb=0.02, reconnects=0))
    world.reset(SETTING, 0)
    with pytest.raises(errors.RolloutError, match=r"sent more than world\.max_message_mb=0\.02"):
        world.step(np.zeros((16, 2), np.float32), 8)
    with pytest.raises(errors.RolloutError, match="is closed: the episode cannot go on there"):
        world.step(np.zeros((16, 2), np.float32), 8)
    world.close()


def test_a_world_of_another_domain_or_rate_is_refused_before_anything_loads(server):
    world = ServerWorld(ServerWorld.Config(address=server.address.replace("http", "ws") + "/world"))
    with pytest.raises(errors.ConfigError, match=r"says fps 10\.0, and domain\.fps is 5\.0 here"):
        world.check(dataclasses.replace(SETTING, fps=5.0))
    with pytest.raises(errors.ConfigError, match=r"says domain pusht, and domain is bridge here"):
        world.check(dataclasses.replace(SETTING, space=actions.space_of("bridge_orig_lerobot")))
    elsewhere = ServerWorld(ServerWorld.Config(address=server.address.replace("http", "ws") + "/nowhere"))
    with pytest.raises(errors.ConfigError, match=r"world=server: cannot connect to .*HTTP 40"):
        elsewhere.check(SETTING)


# ------------------------------------------------------------------------------------------------- options, command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["serve.image_key=null"], r"takes no image"),
        (["serve.views={a:[0,0,1,1]}"], r"with serve\.image_key=null"),
        (["serve.image_key=null", "serve.views={a:[0,0,2,1]}", "serve.size=[48,64]"], r"is no region"),
        (["serve.image_key=null", "serve.views={a:[0,0,1,1]}", "serve.size=[4,64]"], r"is no size"),
        (["serve.max_sessions=0"], r"serve\.max_sessions"),
        (["serve.units=feet"], r"serve\.units|units"),
        (["serve.prot=1"], r"Did you mean 'serve\.port'"),
        (["--port", "1"], r"serve takes overrides"),
        (["tracker=wandb"], r"logs nothing: leave tracker= out"),
        (["sweep.retries=2"], r"leave sweep= out"),
        (["prompt=Push", "it"], r"the shell took the value of prompt apart"),
        (["condition=policy"], r"serves what acts in condition=closed_loop"),
        (["policy=server"], r"Start the server|served by another"),
        (["seeed=1"], r"seed"),
    ],
)
def test_a_wrong_option_of_the_command_is_one_line(options, message):
    with pytest.raises(errors.RequestError, match=message) as caught:
        command.checked(options)
    assert "\n" not in str(caught.value)
