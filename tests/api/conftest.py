import functools
import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch):
    """Files go to a folder of the test's own, and nothing is kept from one test to the next."""
    from strands_diffusers.api.store import STORE

    folder = tmp_path / "artifacts"
    monkeypatch.setenv("STRANDS_DIFFUSERS_ARTIFACTS", str(folder))
    for name in ("STRANDS_DIFFUSERS_ROOTS", "STRANDS_DIFFUSERS_MAX_DATA_URI_MB"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    STORE.clear()


@pytest.fixture
def use():
    """`use_diffusers` whose reply is checked to be JSON-ready, whole, and without a traceback."""
    from strands_diffusers.api.tool import use_diffusers

    @functools.wraps(use_diffusers)
    def checked(*args, **kwargs):
        reply = use_diffusers(*args, **kwargs)
        assert reply["status"] in ("success", "error")
        [block] = reply["content"]
        assert "Traceback" not in block["text"]
        assert " object at 0x" not in json.dumps(reply, allow_nan=False)
        if reply["status"] == "error":
            assert "\n" not in block["text"]
        for path in reply.get("artifacts", ()):
            assert Path(path).stat().st_size > 0
        return reply

    return checked


@pytest.fixture
def refused(use):
    """The one line with which a request is refused."""

    def line(*args, **kwargs):
        reply = use(*args, **kwargs)
        assert reply["status"] == "error", reply["content"][0]["text"]
        return reply["content"][0]["text"]

    return line


@pytest.fixture(scope="session")
def cosmos3(tmp_path_factory):
    """A tiny random Cosmos 3 checkpoint with Nano's spatial factor."""
    from tiny_cosmos3 import build_tiny_cosmos3

    return build_tiny_cosmos3(tmp_path_factory.mktemp("cosmos3"), vae="wan22", layers=1, sound=True)


@pytest.fixture
def first_frame(tmp_path):
    """A small picture, 96x128."""
    from PIL import Image
    from rollouts import moving_frames

    path = tmp_path / "first_frame.png"
    Image.fromarray(moving_frames(1)[0]).save(path)
    return path


@pytest.fixture
def clip(tmp_path):
    """A clip of 17 frames, 96x128, at 5 Hz."""
    from rollouts import moving_frames

    from strands_diffusers.outputs.video_file import write_mp4

    path = tmp_path / "robot.mp4"
    write_mp4(path, moving_frames(17), 5)
    return path
