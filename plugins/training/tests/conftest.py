"""A tiny random Cosmos 3, and a dataset for it."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3] / "tests")]


@pytest.fixture(scope="session")
def square(tmp_path_factory):
    """Address of three episodes of seven frames."""
    from squares import dataset, episode

    return dataset(tmp_path_factory.mktemp("square") / "set", [episode(number) for number in range(3)])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Overrides that choose a tiny random Cosmos 3 in the domain pusht, in chunks of four."""
    from tiny_cosmos3 import build_tiny_cosmos3

    folder = build_tiny_cosmos3(tmp_path_factory.mktemp("tiny"), vae="wan22", layers=1)
    return ["model=custom", f"model.repo={folder}", "domain=pusht", "domain.chunk_size=4", "tracker=none"]


@pytest.fixture(scope="session")
def encoded(square, tiny, tmp_path_factory):
    """A folder with everything up to the latents; to be copied, not changed."""
    from strands_diffusers_training.command import adapt

    out = tmp_path_factory.mktemp("encoded") / "out"
    assert adapt([f"data={square}", "name=my_square", f"out={out}", "until=encode", *tiny]) == 0
    return out
