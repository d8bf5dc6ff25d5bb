"""A policy and a world that are a model, in every domain there is: a tiny random Cosmos 3 acts in itself."""

import numpy as np
import pytest
from PIL import Image

from strands_diffusers import domains, loop
from strands_diffusers.config import compose
from strands_diffusers.runner import job
from tests.rollouts import DOMAINS, moving_frames
from tests.tiny_cosmos3 import build_tiny_cosmos3


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A checkpoint, a picture, and what makes a loop of both as short as it can be."""
    folder = tmp_path_factory.mktemp("tiny")
    Image.fromarray(moving_frames(1, 48, 64)[0]).save(folder / "seen.png")
    return (
        "model=custom",
        f"model.repo={build_tiny_cosmos3(folder / 'cosmos3')}",
        "model.dtype=float32",
        f"observation={folder / 'seen.png'}",
        "prompt=Put the pot to the left of the purple item.",
        "condition=closed_loop",
        "condition.num_looks=2",
        *(f"{who}.sampler.{key}=1" for who in ("policy", "world") for key in ("num_inference_steps", "guidance_scale")),
        "tracker=none",
    )


@pytest.mark.slow
@pytest.mark.parametrize(("domain", "act_steps"), [*((each, 4) for each in DOMAINS), ("av", None), ("hand_pose", None)])
def test_a_model_acts_in_itself_in_every_domain(words, domain, act_steps):
    known = domains.get(domain)
    view = () if known.view_point else ("domain.view_point=ego_view",)  # what nobody published is the user's to say

    checked = job.check(
        compose.compose([*words, f"domain={domain}", *view, f"condition.act_steps={act_steps or 'null'}"])
    )
    [made] = loop.run(checked.cast)

    T = known.chunk_size
    n = act_steps or T
    assert made.action.shape == (2, n, known.width)
    assert made.episode.proposed_action.shape == (2, T, known.width)
    assert np.isfinite(made.episode.proposed_action).all()
    assert not np.array_equal(made.action[0], made.action[1])
    assert made.video.shape == (2 * n + 1, *made.video.shape[1:])
    assert made.episode.proposed_video.shape == (2, T + 1, *made.video.shape[1:])
    assert (made.fps, made.space.domain) == (known.fps, known.name)
