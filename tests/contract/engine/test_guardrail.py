"""The guardrail runs at the points where diffusers runs it. Its gated weights are not here: a checker of one's own is."""

import numpy as np
import pytest

from strands_diffusers.pipelines.engine import Call, get_engine

pytestmark = pytest.mark.contract


@pytest.fixture
def guarded(fresh):
    """A pipeline whose checker blurs the top row, and records what it sees and where it is."""
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import CosmosSafetyChecker

    class Checker(CosmosSafetyChecker):
        def __init__(self):
            self.seen, self.safe_text, self.safe_video = [], True, True

        def to(self, device):
            self.seen.append(f"to {device}")

        def check_text_safety(self, prompt):
            self.seen.append(prompt)
            return self.safe_text

        def check_video_safety(self, frames):
            assert frames.dtype == np.uint8
            self.seen.append(frames.shape)
            blurred = frames.copy()
            blurred[:, 0] = 128
            return blurred if self.safe_video else None

    pipe = fresh(vae="wan22")
    pipe.safety_checker = Checker()
    return pipe


def test_prompt_and_video_are_checked_as_diffusers_checks_them(guarded, ask, difference):
    call = Call(ask("policy", prompt="Lift."), frozenset({"video", "action"}))
    samples, seen = [], []
    for name in ("eager", "exact"):
        guarded.safety_checker.seen.clear()
        samples += get_engine(name).run(guarded, call)
        seen.append(list(guarded.safety_checker.seen))

    assert difference(*samples) == 0.0
    assert (samples[1].video[:, 0] == 128).all()
    assert seen[0] == seen[1] == ["to cpu", "Lift.", "to cpu", "to cpu", (9, 48, 64, 3), "to cpu"]


def test_an_unsafe_prompt_stops_both_with_the_same_words(guarded, ask):
    guarded.safety_checker.safe_text = False
    messages = []
    for name in ("eager", "exact"):
        with pytest.raises(ValueError, match="unsafe text in the prompt: Harm") as caught:
            get_engine(name).run(guarded, Call(ask("policy", prompt="Harm."), frozenset({"action"})))
        messages.append(str(caught.value))

    assert messages[0] == messages[1]
    assert guarded.safety_checker.seen[-1] == "to cpu"


def test_an_unsafe_video_stops_both_with_the_same_words(guarded, ask):
    guarded.safety_checker.safe_video = False
    messages = []
    for name in ("eager", "exact"):
        with pytest.raises(ValueError, match="unsafe content in the generated video") as caught:
            get_engine(name).run(guarded, Call(ask("policy"), frozenset({"video"})))
        messages.append(str(caught.value))

    assert messages[0] == messages[1]


def test_it_can_be_switched_off_for_one_call(guarded, ask):
    get_engine("exact").run(guarded, Call(ask("policy", enable_safety_check=False), frozenset({"video"})))

    assert guarded.safety_checker.seen == []
