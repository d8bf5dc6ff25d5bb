"""What the observation's own frames and actions are worth as the truth of a request: only of the same task."""

from pathlib import Path

import numpy as np
import pytest

from strands_diffusers import Observation, rollout
from strands_diffusers.config import compose
from strands_diffusers.metrics.action import ActionMetric
from strands_diffusers.metrics.video import VideoMetric
from strands_diffusers.outputs.comparison import ComparisonVisualizer
from strands_diffusers.pipelines.request import make_request

TASK = "Push the T block to the left."
FRAMES = np.random.default_rng(0).integers(0, 255, (17, 96, 96, 3)).astype(np.uint8)
ACTIONS = np.linspace(-0.5, 0.5, 32, dtype=np.float32).reshape(16, 2)
RIGHT = "Push the T block to the right."


def prepared(*overrides: str, task: str | None = TASK, prompt: str | None = None, given_TD: np.ndarray | None = None):
    config = compose.compose(list(overrides))
    config.prompt = prompt
    seen = Observation(FRAMES, 10.0, ACTIONS, task, "pusht", source="clip.mp4")
    return make_request(config, seen, given_TD)


@pytest.mark.parametrize("prompt", [None, TASK, "push the T block to the left", "  Push the  T block\nto the left! "])
def test_a_policy_under_the_observations_own_task_is_compared_with_it(prompt):
    request = prepared(prompt=prompt)

    np.testing.assert_array_equal(request.reference_action_KTD, ACTIONS[None])
    assert len(request.frames_FHWC) == 17
    assert request.reference_note == ""


@pytest.mark.parametrize("prompt", [RIGHT, "Push the T block", "left"])
def test_a_policy_under_another_task_has_no_reference_and_says_so(prompt):
    request = prepared(prompt=prompt)

    assert request.reference_action_KTD is None
    np.testing.assert_array_equal(request.frames_FHWC, FRAMES[:1])
    assert request.reference_note == f"no reference: the observation shows another task (“{TASK}”)"


def test_an_observation_without_a_task_keeps_its_reference_and_the_request_is_labelled():
    request = prepared(task=None, prompt=RIGHT)

    np.testing.assert_array_equal(request.reference_action_KTD, ACTIONS[None])
    assert request.reference_note == "the observation names no task: its frames and actions may show another one"


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (["condition=forward_dynamics"], ""),
        (["condition=forward_dynamics", "condition.perturb=mirrored"], "the observed frames follow other actions than the given ones"),
        (["condition=inverse_dynamics"], ""),
    ],
)  # fmt: skip
def test_where_actions_or_frames_are_given_the_prompt_does_not_decide(overrides, note):
    request = prepared(*overrides, prompt=RIGHT)

    assert len(request.frames_FHWC) == 17
    assert request.reference_note == note


def test_actions_from_elsewhere_are_labelled():
    request = prepared("condition=forward_dynamics", "condition.actions=mine.npy", given_TD=ACTIONS[::-1])

    assert request.reference_note == "the observed frames follow other actions than the given ones"


def test_nothing_downstream_scores_or_films_a_rollout_of_another_task(tmp_path: Path):
    made = rollout(
        "sampler.num_inference_steps=1", "sampler.guidance_scale=1", "tracker=none", "output=[]", "visualizer=[]",
        "metric=[]", f"prompt='{RIGHT}'", "observation=sample:push_left", output_dir=tmp_path / "job",
    )  # fmt: skip

    assert made.reference_video is None
    assert made.reference_action is None
    assert made.details["reference"].startswith("no reference: the observation shows another task")
    assert set(ActionMetric().compute(made)) == {"out_of_range_share", "smoothness"}
    assert VideoMetric().compute(made) == {}
    assert ComparisonVisualizer().draw(made, tmp_path) == []


@pytest.mark.slow
def test_the_terminal_says_why_nothing_is_compared(tmp_path: Path, capfd):
    from strands_diffusers.cli import main

    fast = ("sampler.num_inference_steps=1", "tracker=none", "visualizer=[]", f"output_dir={tmp_path / 'job'}")
    with pytest.raises(SystemExit) as ended:
        main([*fast, f'prompt="{RIGHT}"', "observation=sample:push_left"])

    assert ended.value.code == 0
    assert f"no reference: the observation shows another task (“{TASK}”)" in capfd.readouterr().err
