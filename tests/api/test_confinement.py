"""Confined callers, tried with drawn spellings of what they may not reach; a canary is looked for in all that comes back."""

import functools
import json
import logging
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp_server import ask, serving, stdio, talk

from strands_diffusers import errors
from strands_diffusers.api import access, gate, wants
from strands_diffusers.api.access import Access
from strands_diffusers.api.store import STORE
from strands_diffusers.api.tool import perform
from strands_diffusers.errors import OutputError

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

CANARY = "canary7c5e"
FAST = {"tracker": "none", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}
UMI = {"mode": "policy", "chunk_size": 4, "domain_name": "umi"}


class World:
    """Folders of one test: `open` is a root of the caller, `outside` is not, and holds files with the canary."""

    def __init__(self, folder: Path) -> None:
        from PIL import Image
        from rollouts import moving_frames

        self.folder, self.open, self.outside = folder, folder / "open", folder / "outside"
        self.artifacts, self.cwd = folder / "artifacts", folder / "cwd"
        for each in (self.open, self.outside / "model", self.cwd / "near", self.open / "frames", self.open / "model"):
            each.mkdir(parents=True)
        config = {"_class_name": "UniPCMultistepScheduler", "prediction_type": CANARY, "note": CANARY}
        for name in ("config.json", "scheduler_config.json", "model_index.json", "secret.json"):
            for place in (self.outside, self.outside / "model", self.cwd, self.cwd / "near"):
                (place / name).write_text(json.dumps(config))
        (self.open / "model" / "scheduler_config.json").write_text(json.dumps(config | {"prediction_type": "epsilon"}))
        for place in (self.outside, self.open, self.cwd):
            Image.fromarray(moving_frames(1)[0]).save(place / "secret.png")
        (self.open / "frames" / "0.png").symlink_to(self.outside / "secret.png")
        (self.open / "link.png").symlink_to(self.outside / "secret.png")
        (self.open / "link.json").symlink_to(self.outside / "secret.json")
        (self.open / "way").symlink_to(self.outside)
        self.before = self.state()

    def state(self) -> dict[str, bytes]:
        """Every file that the caller must leave as it is."""
        places = (self.open, self.outside, self.cwd)
        return {str(p): p.read_bytes() for place in places for p in sorted(place.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    found = World(tmp_path_factory.mktemp("confined"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", CANARY)
        patch.setenv("HOME", str(found.outside))
        patch.setenv("XDG_CACHE_HOME", str(found.folder / "cache"))
        patch.setenv("STRANDS_DIFFUSERS_ARTIFACTS", str(found.artifacts))
        patch.chdir(found.cwd)
        yield found


@pytest.fixture(autouse=True)
def artifacts(world, monkeypatch):
    monkeypatch.setenv("STRANDS_DIFFUSERS_ARTIFACTS", str(world.artifacts))
    yield world.artifacts
    STORE.clear()


def rollout(key: str, **more):
    return lambda text: ("rollout", {"parameters": {**FAST, **({"condition": "policy"} | more), key: text}})


def call(target: str, key: str | None, **more):
    def arguments(text: str):
        if key is None:
            return "call", {"target": target, "inputs": text, "parameters": more}
        return "call", {"target": target, "parameters": {**more, key: text}}

    return arguments


LOOP = {"condition": "closed_loop", "sampler": {}}

READS = {
    "observation": rollout("observation"),
    "actions of a condition": rollout("condition.actions", condition="forward_dynamics"),
    "actions of a policy": rollout("policy.actions", policy="replay", **LOOP),
    "checkpoint of a policy": rollout("policy.repo", **LOOP),
    "checkpoint that predicts": rollout("policy.predict.repo", policy="best_of", **{"policy.score": "agreement"}, **LOOP),
    "options of a base policy": rollout("policy.options.actions", policy="best_of", **{"policy.base": "replay"}, **LOOP),
    "checkpoint of a world": rollout("world.repo", **LOOP),
    "goal of a score": rollout("score.goal_image.goal", score=["goal_image"], **LOOP),
    "statistics": rollout("domain.statistics"),
    "model": rollout("model.repo", model="custom", domain="pusht"),
    "lora": rollout("model.lora.repo"),
    "actions of an observation": lambda text: rollout("observation")(f"secret.png@actions:{text}"),
    "a finished run": lambda text: rollout("observation")(f"run:{text}"),
    "a dataset": lambda text: rollout("observation")(f"lerobot:{text}"),
    "group choice": rollout("experiment"),
    "config of a scheduler": call("UniPCMultistepScheduler.load_config", "pretrained_model_name_or_path"),
    "config given first": call("UniPCMultistepScheduler.load_config", None),
    "pipeline": call("DiffusionPipeline.from_pretrained", "pretrained_model_name_or_path"),
    "single file": call("WanTransformer3DModel.from_single_file", "pretrained_model_link_or_path_or_dict"),
    "picture": call("CosmosActionCondition", "image", **UMI),
    "clip": call("CosmosActionCondition", "video", **UMI),
    "raw actions": call("CosmosActionCondition", "raw_actions", **UMI),
    "load_image": call("utils.load_image", "image"),
    "load_video": call("utils.load_video", None),
    "model of run": lambda text: ("run", {"pipeline": "WanPipeline", "model": text}),
    "loader option": lambda text: (
        "run", {"pipeline": "WanPipeline", "model": "asset:cosmos3_pusht",
                "parameters": {"from_pretrained_kwargs": {"config": text}}},
    ),
    "drawn action": lambda text: ("visualize", {"inputs": text}),
    "video beside": lambda text: ("visualize", {"inputs": [[0.0, 1.0]], "parameters": {"world_video": text}}),
    "measured folder": lambda text: ("measure", {"inputs": text}),
    "redrawn folder": lambda text: ("redraw", {"inputs": text}),
    "reported folder": lambda text: ("report", {"inputs": [text]}),
}  # fmt: skip
"""Door -> the request that names a file there."""

WRITES = {
    "output_dir": rollout("output_dir"),
    "save_config": call("cached:scheduler.save_config", "save_directory"),
    "save_config given first": call("cached:scheduler.save_config", None),
    "to_json_file": call("cached:scheduler.to_json_file", "json_file_path"),
    "to_json_file given first": call("cached:scheduler.to_json_file", None),
    "gif": call("utils.export_to_gif", "output_gif_path", image=[[[[0.0] * 3] * 16] * 16]),
    "video": call("utils.export_to_video", "output_video_path", video_frames=[[[[0.0] * 3] * 16] * 16]),
}


@st.composite
def spellings(draw, world, names=("secret.json", "secret.png", "model", ".")):
    """A path out of the roots as somebody with time on their hands writes it."""
    name = draw(st.sampled_from(names))
    places = [
        world.outside, world.open / ".." / "outside", world.open / "way", world.open / "way" / ".." / "cwd",
        world.open / "." / "frames" / ".." / ".." / "outside", Path("..") / "outside", Path("~"), Path("near"),
        world.artifacts / ".." / "outside", Path("/proc/self/cwd"),
    ]  # fmt: skip
    text = f"{draw(st.sampled_from(places))}/{name}"
    if draw(st.booleans()):
        cut = draw(st.sampled_from([i for i, letter in enumerate(text) if letter == "/"] or [0]))
        text = text[:cut] + draw(st.sampled_from(["//", "/./", "/x/../", "/" + "./" * 2200])) + text[cut + 1 :]
    front = st.sampled_from(
        ["", "", "", "file:", "file://", "FILE:", "data:", "data:,", " ", "\n", "run:", "lerobot:", "hf:"]
    )
    wrap = st.sampled_from(
        ["{}", "{}", "{}", "str({})", "'{}'", '"{}"', "{}\n", "{}@start:0", "$\\{{oc.env:CANARY}}{}"]
    )
    return draw(front) + draw(wrap).format(text)


def leaks(*texts: object) -> bool:
    return any(CANARY in str(text) for text in texts)


def check_refused(world: World, door: str, request, caplog) -> None:
    action, arguments = request
    reply = perform(Access((world.open,)), action, **arguments)
    assert reply["status"] == "error", (door, arguments)
    assert issubclass(getattr(errors, reply["data"]["error"], object), errors.StrandsDiffusersError), reply
    shown = json.dumps(reply)
    assert not leaks(shown, caplog.text), (door, arguments, shown)
    assert world.state() == world.before, (door, arguments)
    assert "\n" not in reply["content"][0]["text"]


quick = settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
thorough = settings(quick, max_examples=80)


def try_reading(world, caplog, data) -> None:
    door = data.draw(st.sampled_from(sorted(READS)))
    check_refused(world, door, READS[door](data.draw(spellings(world))), caplog)


def try_writing(world, caplog, data) -> None:
    STORE["scheduler"] = scheduler()
    door = data.draw(st.sampled_from(sorted(WRITES)))
    names = ("secret.json", "new.json", "model/new", "new.mp4")
    check_refused(world, door, WRITES[door](data.draw(spellings(world, names))), caplog)


@functools.cache
def scheduler():
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler()


@pytest.mark.parametrize("attempt", [try_reading, try_writing])
def test_no_drawn_spelling_reaches_a_file_outside_of_the_roots(world: World, caplog, attempt) -> None:
    caplog.set_level(logging.DEBUG)
    quick(given(st.data())(lambda data: attempt(world, caplog, data)))()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", [try_reading, try_writing])
def test_no_drawn_spelling_of_very_many_reaches_a_file(world: World, caplog, attempt) -> None:
    caplog.set_level(logging.DEBUG)
    thorough(given(st.data())(lambda data: attempt(world, caplog, data)))()


ENVIRONMENT = (
    "${oc.env:CANARY}",
    "$\\{oc.env:CANARY}",
    "${oc.decode:${oc.env:CANARY}}",
    "x${oc.env:CANARY}y",
    "$CANARY",
)


@pytest.mark.parametrize("text", ENVIRONMENT)
@pytest.mark.parametrize(
    "key", ["seed", "prompt", "model.device", "model.name", "condition", "foo", "output_dir", "fps"]
)
def test_no_value_is_resolved_against_the_servers_environment(world: World, caplog, key: str, text: str) -> None:
    caplog.set_level(logging.DEBUG)
    parameters = {**FAST, "condition": "policy", "observation": "missing.png", key: text}
    for rights in (Access((world.open,)), Access()):
        reply = perform(rights, "rollout", parameters=parameters)
        assert reply["status"] == "error"
        assert not leaks(json.dumps(reply), caplog.text)


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("rollout", {"parameters": {"tracker.mode": "online"}}),
        ("rollout", {"parameters": {"tracker": "wandb"}}),
        ("rollout", {"parameters": {"source": {"https": {"allow": True}}}}),
        ("rollout", {"parameters": {"source.https": {"allow": True}}}),
        ("rollout", {"parameters": {"+foo": 1}}),
        ("rollout", {"parameters": {"~tracker": None}}),
        ("rollout", {"parameters": {"hydra": {"run": {"dir": "/tmp"}}}}),
        ("rollout", {"parameters": {"foo": 1}}),
        ("rollout", {"parameters": {"observation": "https://example.org/a.mp4"}}),
        ("call", {"target": "UniPCMultistepScheduler.load_config", "inputs": "model",
                  "parameters": {"subfolder": "../outside"}}),
        ("call", {"target": "UniPCMultistepScheduler.load_config", "inputs": "{open}/model",
                  "parameters": {"subfolder": "../way"}}),
        ("call", {"target": "UniPCMultistepScheduler.load_config", "inputs": "{open}/model",
                  "parameters": {"bogus": True}}),
        ("call", {"target": "cached:scheduler.save_config", "inputs": "{artifacts}/s", "parameters": {"push_to_hub": True}}),
        ("call", {"target": "cached:scheduler.save_config", "inputs": "{artifacts}/s", "parameters": {"repo_id": "a/b"}}),
        ("call", {"target": "cached:scheduler.save_config", "inputs": "{artifacts}/s", "parameters": {"token": "x"}}),
        ("call", {"target": "cached:scheduler.to_json_file", "inputs": 1}),
        ("call", {"target": "UniPCMultistepScheduler", "cache_key": "../x"}),
        ("call", {"target": "UniPCMultistepScheduler", "cache_key": "a\x1b[31mb"}),
        ("call", {"target": "UniPCMultistepScheduler", "label": "a\nb"}),
        ("call", {"target": "UniPCMultistepScheduler", "label": "/etc/x"}),
        ("rollout", {"parameters": {"output_dir": "{artifacts}"}}),
        ("rollout", {"parameters": {"observation": "{open}/frames"}}),
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_harmless_is_refused(world: World, action: str, arguments) -> None:
    STORE["scheduler"] = scheduler()
    text = json.dumps(arguments).replace("{open}", str(world.open)).replace("{artifacts}", str(world.artifacts))
    check_refused(world, action, (action, json.loads(text)), type("NoLog", (), {"text": ""}))


@pytest.mark.parametrize("name", ["a b", "scheduler-2", "a.b", "pipe: first", "ünï", "what's next?"])
def test_plain_names_are_kept(name: str) -> None:
    assert access.plain_name(name, "cache_key") == name


def test_what_was_judged_is_what_is_opened(world: World) -> None:
    """Two dots after a link lead where the link's target lies, and the path that is handed on says so."""
    rights = Access((world.open,))
    (world.open / "deep" / "er").mkdir(parents=True, exist_ok=True)
    (world.open / "in").unlink(missing_ok=True)
    (world.open / "in").symlink_to(world.open / "deep" / "er")
    try:
        assert rights.readable(world.open / "in" / ".." / "x.png", "image") == world.open / "deep" / "x.png"
        wish = wants.wish("pretrained_model_name_or_path", "str")
        given = str(world.open / "in" / ".." / ".." / "model")
        assert gate.let_through(given, "pretrained_model_name_or_path", wish, rights) == str(world.open / "model")
    finally:
        (world.open / "in").unlink()


def test_a_confined_caller_asks_nothing_of_the_hub(world: World, monkeypatch) -> None:
    import huggingface_hub.constants as hub

    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    asked.append(peer.recv(4096))

        threading.Thread(target=listen, daemon=True).start()
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", CANARY)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        for action, arguments in (
            call("UniPCMultistepScheduler.load_config", "pretrained_model_name_or_path")("owner/name"),
            ("run", {"pipeline": "WanPipeline", "model": "owner/name"}),
            rollout("model.repo", model="custom", domain="pusht")("owner/name"),
        ):
            reply = perform(Access((world.open,)), action, **arguments)
            assert reply["status"] == "error"
            assert not leaks(json.dumps(reply))
        assert hub.HF_HUB_OFFLINE is False, "the process's own setting comes back"
        listener.shutdown(socket.SHUT_RDWR)
    assert asked == []


def test_the_default_artifacts_folder_must_be_ones_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("STRANDS_DIFFUSERS_ARTIFACTS")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = access.artifacts_folder(create=True)
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to("/etc")
    with pytest.raises(OutputError, match="not a folder of yours"):
        access.artifacts_folder()
    with pytest.raises(OutputError):
        Access((tmp_path / "open",)).readable("/etc/hostname", "x")
    folder.unlink()
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("needs root to give a folder away")
    os.chown(folder, 12345, -1)
    with pytest.raises(OutputError, match="not a folder of yours"):
        access.artifacts_folder(create=True)


# ------------------------------------------------------------------------------------------------- over both transports


def drawn_requests(world: World, count: int) -> list[tuple[str, dict]]:
    """Requests of every door, the same in each run."""
    found: list[tuple[str, dict]] = []

    @settings(quick, max_examples=count)
    @given(st.data())
    def draw(data) -> None:
        door = data.draw(st.sampled_from(sorted(READS)))
        found.append(READS[door](data.draw(spellings(world))))

    draw()
    return found[:count]


async def attack(client, requests) -> None:
    for action, arguments in requests:
        result = await client.call_tool("use_diffusers", {"action": action, **arguments})
        assert result.is_error, (action, arguments)
        assert not leaks(result.model_dump_json()), (action, arguments)
    for text in ENVIRONMENT:
        _, content = await ask(client, "rollout", parameters={**FAST, "seed": text})
        assert content["status"] == "error"
        assert not leaks(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_over_both_transports_nothing_leaks_into_replies_files_or_the_servers_log(world: World, transport: str) -> None:
    requests = drawn_requests(world, 60)
    log = world.folder / f"{transport}.log"
    with log.open("w+") as stderr:
        if transport == "stdio":
            talk(stdio("--root", str(world.open), errlog=stderr, HOME=str(world.outside), CANARY=CANARY,
                       XDG_CACHE_HOME=str(world.folder / "cache")),
                 lambda client: attack(client, requests))  # fmt: skip
        else:
            with serving("--root", str(world.open), stderr=stderr) as (address, _):
                talk(address, lambda client: attack(client, requests))
    assert not leaks(log.read_text())
    assert world.state() == world.before
    assert not leaks(*(path.read_bytes() for path in world.artifacts.rglob("*") if path.is_file()))
