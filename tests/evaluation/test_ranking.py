"""`sweep.verdict=policy_ranking`: a model that ranks policies as the truth does passes, one that knows nothing does not."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_folder import episode, job

from strands_diffusers import evaluation, records
from strands_diffusers.errors import ConfigError
from strands_diffusers.evaluation import ranking
from strands_diffusers.evaluation.verdicts.ranking import PolicyRanking
from strands_diffusers.runner import summary
from strands_diffusers.testing import compose

QUALITY = {"still": 0.1, "random": 0.0, "weak": 0.3, "fair": 0.5, "good": 0.8}


def a_sweep(
    folder,
    shown,
    quality=QUALITY,
    scenes=5,
    worlds=("model", "pusht"),
    seeds=(0,),
    start=0,
    looks=2,
    table="table",
    **facts,
):
    """Policies in both worlds; `shown(quality, scene)` is what the model world shows. Policies act alike in each look."""
    number = start
    for scene in range(scenes):
        for world in worlds:
            for policy, good in quality.items():
                for seed in seeds:
                    scores = shown(good, scene) if world == "model" else good + 0.02 * np.cos(scene)
                    a_job(folder, number, policy, world, f"{table}:{scene}", np.full(looks, scores), seed=seed, **facts)
                    number += 1


def a_job(
    folder,
    number,
    policy,
    world,
    observation,
    scores,
    seed=0,
    model="cosmos3_pusht",
    trusted=None,
    options=None,
    sweep=None,
):
    """One episode; `options` of the policy, `sweep` of the sweep."""
    node = {"name": policy, **(options or {})}
    config = {
        "policy": node, "world": {"name": world, "reference": None}, "model": {"name": model},
        "condition": {"mode": "closed_loop", "num_looks": len(scores)}, "sweep": {"verdict": "policy_ranking", **(sweep or {})},
    }  # fmt: skip
    job(
        folder, number, seed=seed, mode="closed_loop", observation=observation, config=config,
        overrides=[f"policy={policy}", f"world={world}"], episode=episode({"coverage": scores}, 2, world, policy),
        metrics={} if trusted is None or world != "model" else {"horizon": {"trusted_looks": trusted}},
    )  # fmt: skip


def judged(folder):
    return evaluation.judge(folder, records.jobs(folder))


def test_the_rank_violation_is_that_of_its_paper():
    """SIMPLER's: each policy's largest true difference to one that the judged scores put on its wrong side, averaged."""
    true, judged = np.array([[0.1, 0.4, 0.5, 0.9]]), np.array([[0.2, 0.6, 0.3, 0.1]])

    found = ranking.statistics(judged, true)

    assert found["rank_violation"][0] == pytest.approx((0.8 + 0.5 + 0.4 + 0.8) / 4)
    assert found["pearson"][0] == pytest.approx(np.corrcoef(judged, true)[0, 1])
    assert found["spearman"][0] == pytest.approx(1 - 6 * (1 + 4 + 0 + 9) / (4 * 15))  # ranks 2 4 3 1 against 1 2 3 4
    assert ranking.statistics(true, true)["rank_violation"][0] == 0


def test_equal_values_share_their_rank():
    true, judged = np.array([[0.1, 0.1, 0.5, 0.9]]), np.array([[1.0, 2.0, 3.0, 4.0]])

    assert ranking.statistics(judged, true)["spearman"][0] == pytest.approx(
        np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3, 4])[0, 1]
    )


def test_scores_that_are_all_equal_say_nothing_of_the_policies():
    true = np.array([[0.1, 0.3, 0.5, 0.9]])
    blind = np.full((1, 4), 0.1 + 0.2)

    found = ranking.statistics(blind, true)

    assert (found["pearson"][0], found["spearman"][0]) == (0, 0)
    assert found["rank_violation"][0] > 0.2


def test_both_worlds_are_resampled_on_the_same_observations():
    """What observations do to both worlds alike is no reason for doubt: unpaired, the interval would be wide."""
    rng = np.random.default_rng(0)
    scenes, policies = rng.normal(0, 1, 40), np.linspace(0, 0.2, 6)[:, None]
    true = policies + scenes

    found = ranking.compare(true + rng.normal(0, 0.01, true.shape), true)

    low, high = found.intervals["pearson"]
    assert low > 0.97 < high
    assert (found.observations, found.episodes) == (40, 240)
    assert found.true_P2 is not None
    assert (found.true_P2[:, 1] - found.true_P2[:, 0] > 0.4).all()  # the means themselves are uncertain


def test_only_observations_that_both_worlds_have_count():
    true = np.array([[0.0, 0.0, 9.0], [0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
    judged = true.copy()
    judged[0, 2] = np.nan

    found = ranking.compare(judged, true)

    assert found.true_P.tolist() == pytest.approx([0, 0.1, 0.2])
    assert (found.episodes, found.intervals) == (8, {})  # three observations have no interval


def test_a_model_that_ranks_as_the_truth_does_passes(tmp_path):
    a_sweep(tmp_path, lambda good, scene: 0.6 * good + 0.1 + 0.01 * np.sin(scene))

    [found] = judged(tmp_path)

    assert found.holds is True
    assert found.verdict.startswith("the model ranks the 5 policies as world=pusht does: Pearson 1.00 [1.00, 1.00]")
    assert "over 5 observations" in found.verdict
    assert "after looks 1 to 2 it passes" in found.verdict
    assert found.numbers["pearson_interval"][0] > 0.99
    assert found.numbers["rank_violation"] == 0
    assert found.numbers["judged_minus_true"] == pytest.approx(-0.036, abs=0.01)


@pytest.mark.parametrize("shown", [lambda good, scene: 0.3, lambda good, scene: 0.9 - good], ids=["deaf", "reversed"])
def test_a_model_that_ranks_otherwise_does_not(tmp_path, shown):
    a_sweep(tmp_path, shown)

    [found] = judged(tmp_path)

    assert found.holds is False
    assert found.verdict.startswith("the model does not rank the 5 policies as world=pusht does: Pearson ")
    assert found.numbers["pearson"] <= 0
    assert found.numbers["rank_violation"] > 0.2


def test_seeds_are_averaged_and_jobs_of_several_commands_belong_together(tmp_path):
    """The reference was run by another command, with fewer looks; the model's with two seeds."""
    a_sweep(tmp_path, lambda good, scene: good, worlds=["model"], seeds=(0, 1), looks=3)
    a_sweep(tmp_path, lambda good, scene: good, worlds=["pusht"], start=60, looks=2)

    [found] = judged(tmp_path)

    assert found.holds is True
    assert found.numbers["observations"] == 5
    assert set(found.numbers["by_looks"]) == {"1", "2"}


def test_each_model_is_a_judge_of_its_own(tmp_path):
    """The policies are the same: a scripted one does not become another because the world is another model."""
    a_sweep(tmp_path, lambda good, scene: good)
    a_sweep(tmp_path, lambda good, scene: 0.2, worlds=["model"], start=60, model="deaf")

    right, deaf = judged(tmp_path)

    assert (right.name, right.holds) == ("policy_ranking.cosmos3_pusht", True)
    assert (deaf.name, deaf.holds) == ("policy_ranking.deaf", False)
    assert deaf.verdict.startswith("deaf does not rank the 5 policies as world=pusht does")


def test_a_judge_that_has_too_few_policies_costs_the_others_nothing(tmp_path):
    a_sweep(tmp_path, lambda good, scene: good)
    a_job(tmp_path, 60, "still", "model", "table:0", [0.1], model="deaf")

    right, deaf = judged(tmp_path)

    assert right.holds is True
    assert deaf.verdict.startswith("cannot be judged: 3 policies must have acted on the same observations for deaf")


def test_a_policy_that_is_the_model_is_another_policy_with_another_model(tmp_path):
    a_sweep(tmp_path, lambda good, scene: good)
    for scene in range(5):
        a_job(tmp_path, 100 + scene, "model", "model", f"table:{scene}", np.full(2, 0.7))
        a_job(tmp_path, 200 + scene, "model", "pusht", f"table:{scene}", np.full(2, 0.7), model="another")

    [found] = judged(tmp_path)

    assert found.numbers["policies"] == 5
    assert "not in both: model" in found.verdict


def test_a_policy_with_checkpoints_of_its_own_is_the_same_whichever_model_is_the_world(tmp_path):
    a_sweep(tmp_path, lambda good, scene: good)
    for scene in range(5):
        options = {"repo": "asset:one", "predict": {"repo": "asset:two"}}
        a_job(tmp_path, 100 + scene, "model", "model", f"table:{scene}", np.full(2, 0.7), options=options)
        a_job(
            tmp_path, 200 + scene, "model", "pusht", f"table:{scene}", np.full(2, 0.7), options=options, model="another"
        )

    [found] = judged(tmp_path)

    assert found.numbers["policies"] == 6


def test_policies_are_told_apart_by_their_options(tmp_path):
    number = 0
    for noise in (0, 20, 40):
        for world in ("model", "pusht"):
            for scene in range(2):
                options = {"noise_px": noise, "repo": f"/a/b/run_{noise}"}
                a_job(tmp_path, number, "expert", world, f"t:{scene}", [0.5 - noise / 100], options=options)
                number += 1

    [found] = judged(tmp_path)

    names = [row[0] for row in found.tables["scores of each policy"].rows]
    assert names == [f"expert noise_px={noise} repo=run_{noise}" for noise in (0, 20, 40)]
    assert found.holds is None
    assert "fewer than 5 policies prove nothing" in found.verdict


def test_episodes_beyond_the_trust_line_are_left_out_for_comparison(tmp_path):
    """On half of the tables the model is wrong, and says so after the first look."""
    a_sweep(tmp_path, lambda good, scene: good, trusted=2)
    a_sweep(tmp_path, lambda good, scene: 0.9 - good, trusted=1, start=60, table="another")

    [found] = judged(tmp_path)

    assert found.holds is False
    assert found.numbers["trusted"]["pearson"] == pytest.approx(1)
    assert found.numbers["trusted"]["episodes"] == 25
    assert "without the episodes beyond the trust line Pearson 1.00" in found.verdict
    rows = [row[:2] for row in found.tables["ranking after each look"].rows]
    assert rows == [[1, "all"], [2, "all"], [2, "trusted"]]


@pytest.mark.parametrize(
    ("worlds", "quality", "said"),
    [
        (["model"], QUALITY, "needs what truly happens, and every world is a model. Add world=model,pusht"),
        (["pusht"], QUALITY, "no episode is in a world that is a model. Add world=model."),
        (["model", "pusht", "gymnasium"], QUALITY, "there are several true worlds (pusht, gymnasium)."),
        (["model", "pusht"], {"still": 0.1, "good": 0.5}, "3 policies must have acted on the same observations"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, worlds, quality, said):
    a_sweep(tmp_path, lambda good, scene: good, quality, scenes=1, worlds=worlds)

    [found] = judged(tmp_path)

    assert found.holds is None
    assert found.verdict.startswith(f"cannot be judged: {said}")
    assert "\n" not in found.verdict


def test_an_episode_that_was_damaged_costs_itself(tmp_path):
    a_sweep(tmp_path, lambda good, scene: good)
    (tmp_path / "7" / "episode.json").write_text("{}")

    [found] = judged(tmp_path)

    assert found.holds is True
    assert "1 episode could not be read" in found.verdict


def test_true_scores_come_from_a_table_where_there_is_no_true_world(tmp_path):
    """With observations they are paired; without, each policy has its own trials; policies that it lacks are left out."""
    table = tmp_path / "true.csv"
    folder = tmp_path / "sweep"
    a_sweep(folder, lambda good, scene: good, worlds=["model"], sweep={"true_scores": str(table)})

    table.write_text(
        "policy,observation,score\n" + "".join(f"{p},table:{s},{q}\n" for p, q in QUALITY.items() for s in range(5))
    )
    [paired] = judged(folder)
    table.write_text(
        "policy,score\n" + "".join(f"{p},{q + i / 100}\n" for p, q in QUALITY.items() if p != "still" for i in range(9))
    )
    [trials] = judged(folder)
    table.write_text("policy,score\nother,1\n")
    [strange] = judged(folder)

    assert paired.holds is True
    assert paired.verdict.startswith("the model ranks the 5 policies as the table of true scores does: ")
    assert paired.numbers["observations"] == 5
    assert trials.numbers["policies"] == 4
    assert "not in both: still" in trials.verdict
    assert trials.numbers["pearson"] > 0.99
    assert strange.verdict == (
        "cannot be judged: sweep.true_scores knows none of the policies (still, random, weak, fair, good); it has other."
    )


def test_a_table_that_is_none_is_refused_before_anything_runs(tmp_path):
    table = tmp_path / "true.csv"
    config = compose("condition=closed_loop", "score=[agreement]", f"sweep.true_scores={table}")
    verdict = PolicyRanking()

    with pytest.raises(ConfigError, match=r"true\.csv cannot be read: No such file"):
        verdict.needs(config)
    for text, said in {
        "": "needs the columns policy and score",
        "policy;score\na;1\n": "needs the columns policy and score",
        "policy,score\na,1\nb,often\n": "line 3: 'often' of policy 'b' is no score",
        "policy,score\na,nan\n": "line 2: 'nan' of policy 'a' is no score",
    }.items():
        table.write_text(text)
        with pytest.raises(ConfigError, match=said):
            verdict.needs(config)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(alphabet='policy,score\n"\x00é1.5', max_size=60).map(str.encode)))
def test_a_table_of_any_content_is_read_or_refused_in_one_line(content):
    config = compose_once()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "true.csv")
        table.write_bytes(content)
        try:
            PolicyRanking().needs(
                dataclasses.replace(config, sweep=dataclasses.replace(config.sweep, true_scores=str(table)))
            )
        except ConfigError as error:
            assert "\n" not in str(error)  # noqa: PT017


def compose_once(made=[]):  # noqa: B006 - composed once
    if not made:
        made.append(compose("condition=closed_loop", "score=[agreement]"))
    return made[0]


def test_a_sweep_that_cannot_be_judged_is_refused_before_it_runs(tmp_path):
    verdict, closed = PolicyRanking(), compose_once()
    others = [dataclasses.replace(closed, policy=dataclasses.replace(closed.policy, video=v)) for v in (True, False)]

    assert "and condition=policy is none. Use condition=closed_loop" in verdict.needs(compose())
    assert "there is no score" in verdict.needs(dataclasses.replace(closed, score={}))
    assert "Add 'episode' to output" in verdict.needs(dataclasses.replace(closed, output={}))
    assert verdict.needs(closed) is None
    assert "every world is a model. Add world=model,pusht" in verdict.varies(others)
    ends = [dataclasses.replace(c, sweep=dataclasses.replace(c.sweep, true_scores="x.csv")) for c in others]
    assert "ranks 3 policies and more, and the sweep has 2" in verdict.varies(ends)
    assert (
        verdict.varies([dataclasses.replace(c, output_dir=str(tmp_path)) for c in others]) is None
    )  # may hold the rest


def test_the_sweep_shows_its_tables_and_its_picture(tmp_path):
    a_sweep(tmp_path, lambda good, scene: good, trusted=2)

    _, notes = summary.conclude(tmp_path)

    sweep = json.loads((tmp_path / "sweep.json").read_text())
    assert [set(each) for each in sweep["verdicts"]] == [{"name", "verdict", "holds", "numbers"}]
    titles = [table["name"] for table in sweep["tables"]]
    assert titles[-2:] == ["policy_ranking: ranking after each look", "policy_ranking: scores of each policy"]
    assert {"name": "policy ranking", "path": "policy_ranking.png"} in sweep["pictures"]
    assert (tmp_path / "policy_ranking.png").stat().st_size > 20_000
    assert "policy_ranking: scores of each policy" in (tmp_path / "evaluation.md").read_text()
    assert "policy_ranking.png" in (tmp_path / "index.html").read_text()
    assert any(note.startswith("policy_ranking: the model ranks") for note in notes)
