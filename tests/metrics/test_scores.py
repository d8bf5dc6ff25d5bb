"""An episode's scores as numbers, and how far an imagined episode is to be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from strands_diffusers import Measure, Score, testing
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError, OutputError
from strands_diffusers.metrics.horizon import HorizonMetric
from strands_diffusers.metrics.scores import ScoresMetric
from strands_diffusers.observations.samples import SampleSource
from strands_diffusers.outputs.panels import panel_rows
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.manager import Registration, plugins
from strands_diffusers.results import ObservationRequest, Scored
from strands_diffusers.runner import job
from strands_diffusers.trackers.wandb import tables

EPISODE = testing.rollouts()["closed loop"]  # 2 looks of 8 steps


def scored(values, better="higher", **more):
    track = {"goal_image": Scored(np.array(values, np.float64), "", better)}
    return replace(EPISODE, episode=replace(EPISODE.episode, scores=track, **more))


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([0.5, 0.1, 0.9, 0.2], "higher", (0.2, 0.9, 0.4)),
        ([0.5, 0.1, 0.9, 0.2], "lower", (0.2, 0.1, 0.4)),
        ([np.nan, 0.25, 0.75, np.nan], "higher", (0.75, 0.75, 0.5)),
        ([0.5, np.nan, np.nan, np.nan], "higher", (0.5, 0.5, 0.5)),
        ([np.nan] * 4, "higher", None),
    ],
)
def test_a_score_is_its_end_its_best_and_its_mean_after_the_start(values, better, expected):
    found = ScoresMetric().compute(scored(values, better))

    names = ("goal_image_final", "goal_image_best", "goal_image_mean")
    assert found == ({} if expected is None else pytest.approx(dict(zip(names, expected, strict=True))))


@settings(derandomize=True, max_examples=30, deadline=None)
@given(arrays(np.float64, 17, elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))))
def test_whatever_a_score_holds_its_numbers_are_declared_and_finite(values):
    metric = ScoresMetric()
    found = guard.metrics("", "metric scores", lambda: metric.compute(scored(values)), metric.measures)
    assert len(found) in (0, 3)


def test_a_plugins_score_brings_its_measures_and_can_be_the_objective_of_a_sweep(monkeypatch):
    class Reach(Score):
        """How near."""

        name = "reach"
        measure = Measure("px", "lower", "How far from the target.")

        def compute(self, track): ...

    words = ["condition=closed_loop", "policy=still", "tracker=none", "sweep.objective=metrics.scores.reach_final"]
    assert "reach_final" not in ScoresMetric.measures
    with pytest.raises(ConfigError, match=r"sweep\.objective=metrics\.scores\.reach_final is measured by no metric"):
        job.check(compose.compose(words))

    index = plugins()
    mine = Registration("register_scores", "score", "reach", "theirs", Reach)
    monkeypatch.setattr(index, "registrations", [*index.registrations, mine])

    found = ScoresMetric.measures["reach_best"]
    assert (found.unit, found.better) == ("px", "lower")
    assert found.meaning == "At the episode's best frame: How far from the target."
    assert HorizonMetric.measures["reach_difference"].better == "lower"
    job.check(compose.compose(words))


def test_a_score_whose_plugin_is_gone_is_a_problem_not_a_silence():
    rollout = replace(EPISODE, episode=replace(EPISODE.episode, scores={"gone": Scored(np.ones(17), "px", "lower")}))
    with pytest.raises(OutputError, match="the score 'gone' is of a plugin that is not installed here"):
        ScoresMetric().compute(rollout)


@pytest.mark.parametrize("name", ["push_left", "push_right", "push_up", "push_down", "to_goal", "free_motion"])
def test_by_default_the_first_frame_repeated_is_not_trusted_to_its_end(name):
    request = ObservationRequest(17, 10.0, "pusht", "closed_loop")
    truth = SampleSource().read(name, request).frames
    video = np.repeat(truth[:1], len(truth), axis=0)

    found = HorizonMetric().compute(replace(EPISODE, video=video, reference_video=truth))

    assert found["trusted_looks"] < 2


def test_a_look_is_trusted_until_the_first_whose_end_differs_too_much():
    video = EPISODE.video.copy()
    apart = {8: 1, 16: 100}
    for frame, levels in apart.items():
        video[frame] = np.clip(EPISODE.reference_video[frame].astype(int) + levels, 0, 255)
    rollout = replace(EPISODE, video=video)
    metric = HorizonMetric(HorizonMetric.Config(psnr=30))

    found = metric.compute(rollout)

    assert found["psnr_first_look"] == pytest.approx(20 * np.log10(255), abs=0.01)
    assert found["psnr_last_look"] < 15
    assert (found["trusted_looks"], found["trusted_seconds"], found["looks"]) == (1, 0.8, 2)
    facts = metric.facts(rollout)
    assert facts["reference"] == (
        "trust: look 2 of 2 is the first that ends below 30 dB PSNR (metric.horizon.psnr) against world true"
    )
    assert facts["horizon"]["psnr"] == [found["psnr_first_look"], found["psnr_last_look"]]
    assert HorizonMetric(HorizonMetric.Config(psnr=5)).compute(rollout)["trusted_looks"] == 2
    assert "no look of 2 ends below 5 dB" in HorizonMetric(HorizonMetric.Config(psnr=5)).facts(rollout)["reference"]


def test_nothing_is_said_of_trust_without_a_reference_world():
    alone = replace(EPISODE, reference_video=None, episode=replace(EPISODE.episode, reference=""))
    assert HorizonMetric().compute(alone) == {}
    assert HorizonMetric().facts(alone) == {}


def test_scores_differ_from_those_of_the_reference_world():
    truth = {"goal_image": Scored(np.linspace(0, 1, 17) + 0.25, "", "higher")}
    rollout = scored(np.linspace(0, 1, 17), reference_scores=truth)

    assert HorizonMetric().compute(rollout)["goal_image_difference"] == pytest.approx(0.25)
    assert HorizonMetric().facts(rollout)["horizon"]["scores"] == {"goal_image": pytest.approx([0.25, 0.25])}


def test_a_score_is_a_panel_below_the_actions_after_each_step():
    truth = {"goal_image": Scored(np.linspace(1, 2, 17), "", "higher")}
    *_, [panel] = panel_rows(scored(np.linspace(0, 1, 17), reference_scores=truth))

    assert (panel.title, panel.kind, panel.unit) == ("goal image", "score", "(higher is better)")
    np.testing.assert_allclose(panel.curves[0].values_S, np.linspace(0, 1, 17)[1:])
    np.testing.assert_allclose(panel.curves[0].reference_S, np.linspace(1, 2, 17)[1:])
    assert panel.limits[1] > 2
    assert not any(p.kind == "score" for row in panel_rows(scored([np.nan] * 17)) for p in row)


def test_scores_are_rows_of_a_table_frame_by_frame():
    truth = {"goal_image": Scored(np.linspace(1, 2, 17), "", "higher")}
    rows = tables.score_rows([scored([np.nan, *np.linspace(0, 1, 16)], reference_scores=truth)])

    assert len(rows) == 34
    assert rows[0] == {"line": "model", "frame": 0}
    assert rows[1] == {"line": "model", "frame": 1, "goal_image": 0.0}
    assert rows[-1] == {"line": "true", "frame": 16, "goal_image": 2.0}


def test_scores_are_charts_of_wandb_over_one_table():
    from strands_diffusers.trackers.wandb import media

    tracks = {"goal_image": Scored(np.linspace(0, 1, 17), "", "higher"), "agreement": Scored(np.ones(17), "", "lower")}
    charts = media.charts([replace(EPISODE, episode=replace(EPISODE.episode, scores=tracks))])

    assert {"score/goal_image", "score/agreement", "action/target_x"} <= set(charts)
    scores, action = charts["score/goal_image"], charts["action/target_x"]
    assert scores.table is charts["score/agreement"].table
    assert scores.table.columns == ["line", "frame", "goal_image", "agreement"]
    assert (scores.spec.table_key, action.spec.table_key) == ("score/table", "action/table")
