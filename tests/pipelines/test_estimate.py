"""What cannot fit is refused before the load, with the largest value that would."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import Observation
from strands_diffusers.config.compose import compose
from strands_diffusers.errors import ConfigError
from strands_diffusers.pipelines import estimate
from strands_diffusers.pipelines.request import make_request

FRAMES = Observation(frames=np.zeros((17, 96, 96, 3), np.uint8), fps=10.0, task="Push.", source="clip.mp4")


def asked(*words: str):
    config = compose([*words, "model.device=cpu"])
    return config, make_request(config, FRAMES)


def test_the_needs_of_the_embedded_model_are_those_that_were_measured() -> None:
    """Resident memory over the loaded model, of a process of its own (two cores, bfloat16): 304 and 519 MB."""
    square = ("condition=text", "prompt=a", "condition.num_frames=9")
    for words, measured in (
        ((*square, "condition.height=512", "condition.width=512"), 0.304),
        ((*square, "condition.height=768", "condition.width=768"), 0.519),
    ):
        found = estimate.needs(*asked(*words))
        assert measured / 2 <= found.activations_gb + found.output_gb <= measured * 2, words
        assert found.weights_gb == pytest.approx(0.0195, rel=0.01)


def test_the_frames_of_all_samples_count() -> None:
    found = estimate.needs(*asked("observation=a.mp4", "sampler.num_samples=4096"))
    assert found.output_gb == pytest.approx(4096 * 17 * 96 * 96 * 3 / 1e9, rel=0.01)


def test_weights_on_the_hub_count_as_the_preset_says_and_double_in_float32() -> None:
    words = ("model=cosmos3_nano", "condition=text", "prompt=a")
    assert estimate.needs(*asked(*words, "model.dtype=bfloat16")).weights_gb == 33
    assert estimate.needs(*asked(*words, "model.dtype=float32")).weights_gb == 66


def test_a_policys_own_checkpoint_counts_beside_the_worlds() -> None:
    loop = ("condition=closed_loop", "observation=a.mp4")
    alone = estimate.needs(*asked(*loop)).weights_gb
    beside = ("policy.repo=asset:cosmos3_pusht",)
    assert estimate.needs(*asked(*loop, *beside)).weights_gb == pytest.approx(2 * alone)


@pytest.fixture
def card(monkeypatch):
    """A machine with one card of so many GB and 128 GB beside it."""

    def make(gb: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "A card")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (gb * 1e9, gb * 1e9))
        monkeypatch.setattr(estimate, "_host_gb", lambda: 128.0)

    return make


def models_table() -> list[list[str]]:
    """The rows of the table in docs/models.md: model, weights, and the smallest card by offloading."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| `model=")
    ]


@pytest.mark.parametrize("row", models_table(), ids=lambda row: row[0])
def test_the_table_of_models_says_which_card_each_needs_on_paper(row, card) -> None:
    words = [word.strip("` ") for word in row[0].split()]
    assert words[0].startswith("model=")
    observation = Observation(frames=np.zeros((1, 480, 832, 3), np.uint8), source="a.png")
    for gb, offload in zip(row[-2:], ("none", "model"), strict=True):
        config = compose(
            [
                *words,
                f"model.offload={offload}",
                "model.device=cuda:0",
                "domain=bridge",
                "prompt=a",
                "observation=a.png",
            ]
        )
        request = make_request(config, observation)
        card(float(gb))
        estimate.check_fits(config, request)
        card(float(gb) - 1)
        with pytest.raises(ConfigError, match="A card has") as caught:
            estimate.check_fits(config, request)
        assert "\n" not in str(caught.value)


def test_eight_bits_need_about_half_and_a_local_checkpoint_says_so_itself(tmp_path) -> None:
    words = ("model=cosmos3_nano", "domain=bridge", "prompt=a", "observation=a.mp4", "model.dtype=bfloat16")
    full, eight = (estimate.needs(*asked(*words, *more)).weights_gb for more in ((), ("model.revision=fp8",)))
    assert eight == pytest.approx(0.55 * full)


def test_edge_is_counted_at_its_own_width() -> None:
    words = ("domain=bridge", "prompt=a", "observation=a.mp4", "sampler.num_samples=64", "output=[action]")
    nano, edge = (estimate.needs(*asked(f"model=cosmos3_{name}", *words)) for name in ("nano", "edge"))
    assert edge.weights_gb < nano.weights_gb / 3
    assert edge.activations_gb <= nano.activations_gb


@pytest.mark.parametrize(
    "words",
    [
        ("condition=text", "prompt=a", "condition.num_frames=99997"),
        ("observation=a.mp4", "condition.num_chunks=10000"),
        ("observation=a.mp4", "sampler.num_samples=4096"),
        ("model=wan2_1_t2v", "condition=text", "prompt=a", "condition.num_frames=99997"),
        ("observation=a.mp4", "sampler.num_samples=4096", "condition.num_chunks=4096"),
    ],
)
def test_a_size_that_cannot_be_is_refused_and_the_size_that_is_named_fits(words, monkeypatch) -> None:
    monkeypatch.setattr(estimate, "_host_gb", lambda: 1.6)
    with pytest.raises(ConfigError, match=r"this machine has 1\.6 GB\. Use ") as caught:
        estimate.check_fits(*asked(*words))
    line = str(caught.value)
    assert "\n" not in line
    for instead in re.findall(r"[a-z_.]+=\d+", line):
        key = instead.partition("=")[0]
        fits = [word for word in words if not word.startswith(key)] + [instead]
        estimate.check_fits(*asked(*fits))
        more = int(instead.partition("=")[2]) + 4
        with pytest.raises(ConfigError):
            estimate.check_fits(*asked(*fits[:-1], f"{key}={more}"))


def test_what_no_single_value_can_mend_says_so(monkeypatch) -> None:
    monkeypatch.setattr(estimate, "_host_gb", lambda: 0.001)
    with pytest.raises(ConfigError, match="Use smaller frames, another model or a larger machine"):
        estimate.check_fits(*asked("observation=a.mp4"))


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(1, 64), st.integers(1, 10**12), st.integers(1, 64))
def test_more_samples_and_more_chunks_never_need_less(samples: int, chunks: int, more: int) -> None:
    config, request = asked("observation=a.mp4")

    def total(samples: int, chunks: int) -> float:
        sampler = dataclasses.replace(config.sampler, num_samples=samples)
        found = estimate.needs(
            dataclasses.replace(config, sampler=sampler), dataclasses.replace(request, num_chunks=chunks)
        )
        return found.weights_gb + found.activations_gb + found.output_gb

    assert total(samples, chunks) <= min(total(samples + more, chunks), total(samples, chunks + more))


def test_a_limit_on_the_address_space_counts() -> None:
    import resource
    import subprocess
    import sys

    code = "from strands_diffusers.pipelines import estimate; print(estimate._host_gb())"
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000, 4_000_000_000))  # noqa: E731
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, check=True)
    assert float(done.stdout) == 4.0
