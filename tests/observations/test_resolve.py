import dataclasses

import numpy as np
import pytest
from observing import one_line, request, striped

from strands_diffusers.config.compose import compose
from strands_diffusers.errors import ObservationError, PluginError, RequestError
from strands_diffusers.observations.resolve import (
    Kept,
    absolute_address,
    content_hash,
    read_inputs,
    read_observation,
)
from strands_diffusers.plugin.base import Source
from strands_diffusers.plugin.guard import GuardedSource
from strands_diffusers.results import Observation


def test_a_plain_path_a_file_scheme_and_a_sample_are_told_apart(sources, write_clip, tmp_path):
    path = write_clip()
    for address in (str(path), f"file:{path}", f"{path}@start:0"):
        seen = read_observation(address, request(), sources)
        assert (len(seen.frames), seen.source) == (17, address)
    assert read_observation("sample:to_goal", request(fps=None, domain="pusht"), sources).source == "sample:to_goal"


def test_an_existing_file_as_written_wins_over_a_scheme(sources, write_clip, tmp_path, monkeypatch):
    write_clip("sample:push_left.mp4")
    monkeypatch.chdir(tmp_path)

    assert read_observation("sample:push_left.mp4@start:16", request(), sources).frames.shape == (1, 48, 64, 3)
    assert (
        absolute_address("sample:push_left.mp4@start:1", tmp_path, sources)
        == f"{tmp_path}/sample:push_left.mp4@start:1"
    )
    assert absolute_address("sample:push_left", tmp_path, sources) == "sample:push_left"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("smaple:push_left", "there are file:, sample:, run:. Did you mean 'sample'?"),
        ("nowhere:some/data@episode:0", "known scheme: there are file:, .*plugins --hook register_sources"),
        ("lerobot:some/data@episode:0", "a package that is not installed: pip install -e plugins/lerobot"),
        ("https://host/clip.mp4", "a package that is not installed: pip install -e plugins/https"),
        ("", "is empty"),
        ("   ", "is empty"),
    ],
)
def test_an_unknown_scheme_lists_the_schemes(address, words, sources):
    for resolve in (
        lambda: read_observation(address, request(), sources),
        lambda: absolute_address(address, None, sources),
    ):
        with pytest.raises(RequestError, match=words) as error:
            resolve()
        one_line(error)


class Rogue(Source):
    """Returns the value that a test gives it."""

    scheme = "rogue"
    value: object = None

    def read(self, address, request):
        return self.value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "NoneType, not an Observation"),
        (Observation(striped(3).astype(np.float32)), r"frames float32 \[3, 48, 64, 3\]; they must be uint8"),
        (Observation(striped(3)[0]), r"frames uint8 \[48, 64, 3\]"),
        (Observation(striped(3)[:0]), r"frames uint8 \[0, 48, 64, 3\]"),
        (Observation(striped(3), actions=np.zeros((2, 2))), r"actions float64 \[2, 2\]; they must be finite float32"),
        (Observation(striped(3), actions=np.full((2, 2), np.nan, np.float32)), "finite"),
        (Observation(striped(3), actions=[[0.0]]), "actions list"),
        (Observation(), "neither frames nor actions"),
    ],
)
def test_a_plugin_source_that_returns_what_it_must_not_is_named(value, words, sources):
    rogue = Rogue()
    rogue.value = value
    with pytest.raises(PluginError, match="the source 'rogue' returned .*" + words) as error:
        read_observation("rogue:x", request(), {**sources, "rogue": GuardedSource("", rogue)})
    one_line(error)


def test_another_domain_is_refused_whoever_read_it(sources):
    rogue = Rogue()
    rogue.value = Observation(striped(3), domain="umi")
    both = {**sources, "rogue": GuardedSource("", rogue)}

    with pytest.raises(ObservationError, match="rogue:x was seen in the domain umi, and this run has domain=bridge"):
        read_observation("rogue:x", request(domain="bridge_orig_lerobot"), both)
    assert read_observation("rogue:x", request(domain="umi"), both).domain == "umi"
    assert read_observation("rogue:x", request(domain=None), both).domain == "umi"


def test_another_view_is_refused_where_the_source_knows_it(sources):
    rogue = Rogue()
    rogue.value = Observation(striped(3), view_point="concat_view")
    both = {**sources, "rogue": GuardedSource("", rogue)}

    with pytest.raises(ObservationError, match=r"^rogue:x is a concat_view, .* Type domain.view_point=concat_view"):
        read_observation("rogue:x", dataclasses.replace(request(), view_point="ego_view"), both)
    for asked in ("concat_view", None):
        assert (
            read_observation("rogue:x", dataclasses.replace(request(), view_point=asked), both).view_point
            == "concat_view"
        )
    rogue.value = Observation(striped(3), view_point="from above")
    with pytest.raises(PluginError, match="returned view_point='from above'; it must be one of None, ego_view"):
        read_observation("rogue:x", request(), both)


@pytest.mark.parametrize("letter", ["\x1b", "\0", "\x9b"])
def test_a_task_that_would_steer_a_terminal_is_refused(letter, sources):
    rogue = Rogue()
    rogue.value = Observation(striped(3), task=f"push{letter}[31m")

    with pytest.raises(ObservationError, match="holds the control character U\\+00") as error:
        read_observation("rogue:x", request(), {**sources, "rogue": GuardedSource("", rogue)})
    assert letter not in str(error.value)


def test_the_hash_is_of_the_content_and_of_nothing_else():
    seen = Observation(striped(3), 5.0, np.ones((2, 2), np.float32), "Go.", "pusht", "here", {"seed": 1})
    elsewhere = dataclasses.replace(seen, frames=np.asfortranarray(seen.frames), source="there", details={"seed": 2})
    assert content_hash(seen) == content_hash(elsewhere)
    one_pixel = seen.frames.copy()
    one_pixel[2, 47, 63, 2] ^= 1
    others = [
        dataclasses.replace(seen, frames=one_pixel),
        dataclasses.replace(seen, frames=seen.frames.reshape(3, 64, 48, 3)),
        dataclasses.replace(seen, frames=seen.frames[:2]),
        dataclasses.replace(seen, frames=None),
        dataclasses.replace(seen, actions=np.nextafter(seen.actions, 2, dtype=np.float32)),
        dataclasses.replace(seen, actions=None),
        dataclasses.replace(seen, fps=6.0),
        dataclasses.replace(seen, task="Go"),
        dataclasses.replace(seen, task=None),
        dataclasses.replace(seen, domain="umi"),
    ]
    assert len({content_hash(other) for other in [seen, *others]}) == 11


def test_jobs_that_ask_for_the_same_read_an_observation_once_and_each_has_its_action_file(sources, tmp_path):
    rogue, asked = Rogue(), []
    rogue.read = lambda address, request: asked.append(request) or Observation(striped(3), 10.0)
    both = {**sources, "rogue": GuardedSource("", rogue)}
    rows_TD = np.full((16, 2), 0.25, np.float32)
    np.save(tmp_path / "mine.npy", rows_TD)
    words = ["condition=forward_dynamics", "observation=rogue:x", f"condition.actions={tmp_path / 'mine.npy'}"]
    kept: Kept = {}

    first, again = (read_inputs(compose([*words, f"seed={n}"]), both, tmp_path, kept) for n in (0, 1))
    longer = read_inputs(compose([*words, "condition.num_chunks=2"]), both, tmp_path, kept)

    assert first.observation is again.observation
    assert (first.address, first.hash) == ("rogue:x", content_hash(first.observation))
    assert [request.num_frames for request in asked] == [17, 33]
    for inputs in (first, again, longer):
        np.testing.assert_array_equal(inputs.given_TD, rows_TD)
