import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "tests"))  # mcp_server: a client that talks to a real server


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch):
    """Files go to a folder of the test's own."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("STRANDS_DIFFUSERS_ARTIFACTS", str(folder))
    monkeypatch.delenv("STRANDS_DIFFUSERS_ROOTS", raising=False)
    return folder


@pytest.fixture
def first_frame(tmp_path):
    """A small picture, 96x128."""
    import numpy as np
    from PIL import Image

    path = tmp_path / "first_frame.png"
    Image.fromarray(np.full((96, 128, 3), 90, np.uint8)).save(path)
    return path
