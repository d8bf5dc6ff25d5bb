"""Verdicts are what a person would say of the videos, and say so where they cannot be judged."""

import re
from typing import Any

import numpy as np
import pytest
from sweep_folder import job, line, moving_square

from strands_diffusers import evaluation, records
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError, StrandsDiffusersError
from strands_diffusers.plugin import manager
from strands_diffusers.plugin.base import Judgement, Verdict

WAYS = {"none": (20, 0), "shuffled": (0, 20), "zero": (0, 0), "mirrored": (-20, 0)}


def judged(sweep):
    return evaluation.judge(sweep, records.jobs(sweep))


def sensitivity(sweep, path_of, psnr=None, kinds=tuple(WAYS), seeds=(0, 1, 2)):
    """A sweep over perturbations and seeds; `path_of(kind, seed)` is where the square goes."""
    for number, (kind, seed) in enumerate((k, s) for k in kinds for s in seeds):
        job(
            sweep, number, seed=seed, mode="forward_dynamics", video=moving_square(path_of(kind, seed)),
            config={"condition": {"perturb": kind}, "sweep": {"verdict": "action_sensitivity"}},
            metrics={"video": {"psnr_moving": psnr[kind]}} if psnr else {},
        )  # fmt: skip
    return judged(sweep)


def test_a_video_that_follows_the_actions_obeys(tmp_path):
    [verdict] = sensitivity(tmp_path, lambda kind, seed: line(np.add(WAYS[kind], (0, seed))))

    assert verdict.holds is True
    assert verdict.verdict.startswith("the model obeys its actions: ")
    assert set(verdict.numbers["times_seed_noise"]) == {"shuffled", "zero", "mirrored"}
    assert verdict.numbers["pairs"] == {"seeds": 3, "shuffled": 3, "zero": 3, "mirrored": 3}


def test_a_video_that_shows_the_same_whatever_the_actions_does_not_obey(tmp_path):
    [verdict] = sensitivity(tmp_path, lambda kind, seed: line((20, 3 * seed)))

    assert verdict.holds is False
    assert verdict.verdict.startswith("the model does not obey its actions: ")
    assert verdict.numbers["times_seed_noise"] == {"shuffled": 0, "zero": 0, "mirrored": 0}


def test_a_video_that_anything_disturbs_does_not_obey(tmp_path):
    rng = np.random.default_rng(3)

    [verdict] = sensitivity(tmp_path, lambda kind, seed: line(rng.uniform(-20, 20, 2)))

    assert verdict.holds is False


def test_a_video_that_never_moves_does_not_obey(tmp_path):
    [verdict] = sensitivity(tmp_path, lambda kind, seed: line((0, 0)))

    assert verdict.holds is False


def test_a_difference_is_not_enough_where_changed_actions_come_closer_to_what_happened(tmp_path):
    def follows(kind, seed):
        return line(np.add(WAYS[kind], (0, seed)))

    best = {"none": 15.0, "shuffled": 9.0, "zero": 8.0, "mirrored": 7.0}
    [obeys] = sensitivity(tmp_path / "a", follows, best)
    [wrong] = sensitivity(tmp_path / "b", follows, best | {"mirrored": 16.0})

    assert obeys.holds is True
    assert "true actions come at least 6.0 dB closer to what happened (shuffled); 1.5x and more counts" in obeys.verdict
    assert wrong.holds is False
    assert wrong.verdict.startswith("the model obeys its actions in part (under shuffled and zero actions)")
    assert "at least -1.0 dB closer to what happened (mirrored)" in wrong.verdict


def many_observations(sweep, path_of, psnr_of, scenes=10):
    """A sweep over observations too; `path_of(kind, seed, scene)`, `psnr_of(kind, scene)`."""
    asked = [(scene, kind, seed) for scene in range(scenes) for kind in ("none", "mirrored") for seed in (0, 1)]
    for number, (scene, kind, seed) in enumerate(asked):
        job(
            sweep, number, seed=seed, mode="forward_dynamics", video=moving_square(path_of(kind, seed, scene)),
            config={"observation": f"scene:{scene}", "condition": {"perturb": kind}, "sweep": {"verdict": "action_sensitivity"}},
            metrics={"video": {"psnr_moving": psnr_of(kind, scene)}},
        )  # fmt: skip
    return judged(sweep)[0]


@pytest.mark.slow  # 40 videos
def test_a_small_difference_that_always_goes_towards_the_truth_obeys(tmp_path):
    """Seeds that move much hide the actions' part on average, not within each observation."""
    verdict = many_observations(
        tmp_path,
        lambda kind, seed, scene: line(np.add(WAYS[kind], (0, 16 * seed))),
        lambda kind, scene: 12.0 + scene % 3 + (kind == "none") * (1 + scene % 2),
    )

    numbers = verdict.numbers
    assert 1 < numbers["times_seed_noise"]["mirrored"] < 1.5
    assert numbers["times_seed_noise_interval"]["mirrored"][0] > 1
    assert numbers["true_actions_closer_db"]["mirrored"] == 1.5
    assert 0 < numbers["true_actions_closer_interval_db"]["mirrored"][0] < 1.5
    assert numbers["observations"] == 10
    assert verdict.holds is True


@pytest.mark.slow  # 40 videos
def test_a_large_difference_that_does_not_go_towards_the_truth_is_a_disturbance(tmp_path):
    rng = np.random.default_rng(5)

    verdict = many_observations(
        tmp_path,
        lambda kind, seed, scene: line(np.add(WAYS[kind], (0, seed))),
        lambda kind, scene: 12.0 + rng.normal(0, 1),
    )

    assert verdict.numbers["times_seed_noise"]["mirrored"] > 3
    assert verdict.holds is False
    assert verdict.verdict.startswith("the model does not obey its actions: ")


def test_too_few_jobs_are_no_verdict_but_a_reason(tmp_path):
    [verdict] = sensitivity(tmp_path, lambda kind, seed: line(WAYS[kind]), seeds=(0,))

    assert verdict.holds is None
    assert verdict.verdict.startswith("cannot be judged: it needs two seeds")


def cycle(sweep, mode, mae):
    for number in range(3):
        job(
            sweep, number, mode="inverse_dynamics", observation=f"run:films/{number}", details={"run_mode": mode},
            config={"sweep": {"verdict": "cycle_consistency"}},
            metrics={"action": {"mae": mae, "mse": mae**2, "mae_mean_action": 0.2}},
        )  # fmt: skip
    return judged(sweep)


@pytest.mark.parametrize(
    ("mae", "words", "holds"),
    [(0.05, "closes:", True), (0.15, "closes in part:", False), (0.3, "does not close:", False)],
)
def test_a_cycle_closes_where_the_actions_come_back(tmp_path, mae, words, holds):
    [verdict] = cycle(tmp_path, "policy", mae)

    assert verdict.name == "cycle_consistency.policy"
    assert verdict.holds is holds
    assert f"policy -> inverse dynamics {words}" in verdict.verdict
    assert verdict.numbers["videos"] == 3


def test_videos_without_actions_close_no_cycle(tmp_path):
    job(tmp_path, 0, mode="inverse_dynamics", config={"sweep": {"verdict": "cycle_consistency"}})

    assert judged(tmp_path)[0].verdict.startswith("cannot be judged: none of the videos came with the actions")


def acts(sweep, verdict, action_of, prompts=("left", "right"), seeds=(0, 1, 2)):
    for number, (prompt, seed) in enumerate((p, s) for p in prompts for s in seeds):
        action = np.asarray(action_of(prompt, seed), np.float32)[None]
        job(sweep, number, seed=seed, prompt=prompt, action=action, config={"sweep": {"verdict": verdict}})
    return judged(sweep)[0]


def test_seeds_that_hardly_change_the_actions_hardly_matter(tmp_path):
    def path(prompt, seed):
        return line((1.0, 0.5), 15, (0, 0)) + 0.001 * seed

    verdict = acts(tmp_path, "seed_spread", path)

    assert verdict.verdict.startswith("seeds hardly matter")
    assert verdict.numbers["action_std"] == pytest.approx(0.001, rel=1e-3)
    assert verdict.numbers["requests"] == 2


def test_files_that_changed_since_their_job_finished_are_not_judged(tmp_path):
    acts(tmp_path, "seed_spread", lambda prompt, seed: line((1.0, 0.5), 15, (0, 0)))
    (tmp_path / "1" / "action.json").write_text((tmp_path / "2" / "action.json").read_text().replace("1.0", "0.9"))

    [verdict] = judged(tmp_path)

    assert verdict.holds is None
    assert re.search(r"cannot be judged: .*1/action.json has changed since the job finished", verdict.verdict)


def test_seeds_that_change_where_it_goes_matter(tmp_path):
    verdict = acts(tmp_path, "seed_spread", lambda prompt, seed: line((1.0 - seed, 0.5), 15, (0, 0)))

    assert verdict.verdict.startswith("seeds matter")


def test_a_prompt_that_decides_where_it_goes_is_followed(tmp_path):
    way = {"left": (0, -1), "right": (0, 1)}

    verdict = acts(tmp_path, "prompt_sensitivity", lambda p, s: line(np.add(way[p], (0.1 * s, 0)), 15, (0, 0)))

    assert verdict.holds is True
    assert verdict.numbers["pairs"] == {"prompts": 3, "seeds": 6}


def test_a_prompt_that_changes_less_than_a_seed_is_not_followed(tmp_path):
    way = {"left": 0.0, "right": 0.05}

    verdict = acts(tmp_path, "prompt_sensitivity", lambda p, s: line((way[p] + 0.5 * s, 0.5), 15, (0, 0)))

    assert verdict.holds is False


def test_a_resumed_sweep_can_be_asked_anew(tmp_path):
    for seed in (0, 1):
        job(tmp_path, seed, seed=seed, action=np.full((1, 4, 2), seed, np.float32))
    (tmp_path / "multirun.yaml").write_text("sweep:\n  verdict: seed_spread\n")

    assert [verdict.name for verdict in judged(tmp_path)] == ["seed_spread"]


@pytest.mark.parametrize(
    "text", ["sweep:\n  verdict: 7\n", "sweep: [", "sweep", "- 1", "[" * 20_000, "a: &a [*a]", "\0"]
)
def test_an_odd_file_of_the_latest_command_costs_no_sweep_its_end(tmp_path, text):
    job(tmp_path, 0)
    (tmp_path / "multirun.yaml").write_text(text)

    assert all(judgement.holds is None for judgement in judged(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.verdict=action_sensitivity"], "Use condition=forward_dynamics"),
        (["sweep.verdict=action_sensitivity", "condition=forward_dynamics", "output=[]"], r"output=\[video\]"),
        (["sweep.verdict=cycle_consistency", "condition=inverse_dynamics"], "Use observation=run:DIR"),
        (
            ["sweep.verdict=cycle_consistency", "condition=inverse_dynamics", "observation=run:a", "metric=[]"],
            r"metric=\[action\]",
        ),
        (["sweep.verdict=prompt_sensitivity", "condition=inverse_dynamics"], "Use condition=policy"),
        (["sweep.verdict=seed_spread", "output=[video]"], r"output=\[action\]"),
        (["sweep.verdict=obedience"], "action_sensitivity"),
    ],
)
def test_a_job_that_a_verdict_cannot_read_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        evaluation.check_job(compose.compose(overrides))


FORWARD = ("sweep.verdict=action_sensitivity", "condition=forward_dynamics")


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([(*FORWARD,), (*FORWARD, "seed=1")], "Add condition.perturb=none,shuffled,zero,mirrored"),
        ([(*FORWARD,), (*FORWARD, "condition.perturb=zero")], "Add seed=0,1,2"),
        ([("sweep.verdict=seed_spread",)], "Add seed=0,1,2"),
        ([("sweep.verdict=prompt_sensitivity",), ("sweep.verdict=prompt_sensitivity", "seed=1")], "Add 'prompt="),
    ],
)
def test_a_sweep_that_does_not_vary_what_its_verdict_compares_is_refused(jobs, message):
    with pytest.raises(ConfigError, match=message):
        evaluation.check_sweep([compose.compose(list(overrides)) for overrides in jobs])


@pytest.mark.parametrize(
    "jobs",
    [
        [("seed=1",), ()],
        [(*FORWARD, "sampler.num_samples=2"), (*FORWARD, "sampler.num_samples=2", "condition.perturb=zero")],
        [("sweep.verdict=seed_spread", "seed=2"), ("sweep.verdict=seed_spread",)],
    ],
)
def test_a_sweep_that_varies_enough_passes(jobs):
    evaluation.check_sweep([compose.compose(list(overrides)) for overrides in jobs])


class Opinion(Verdict):
    """A plugin's verdict."""

    name = "opinion"
    answer: Any = None

    def needs(self, config):
        if config.seed == 13:
            raise ZeroDivisionError("no thirteen")
        return None if config.seed else "needs luck. Use seed=7."

    def judge(self, records):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer or [Judgement(self.name, f"{len(records)} jobs are fine", True)]


@pytest.fixture
def opinion(monkeypatch):
    index = manager.plugins()
    registration = manager.Registration("register_verdicts", "verdict", "opinion", "elsewhere", Opinion)
    monkeypatch.setattr(index, "registrations", [*index.registrations, registration])
    return Opinion


def test_a_plugins_verdict_checks_and_judges_like_a_built_in_one(tmp_path, opinion):
    job(tmp_path, 0, config={"sweep": {"verdict": "opinion"}})

    with pytest.raises(ConfigError, match=r"^sweep.verdict=opinion needs luck. Use seed=7.$"):
        evaluation.check_job(compose.compose(["sweep.verdict=opinion"]))
    evaluation.check_job(compose.compose(["sweep.verdict=opinion", "seed=7"]))
    assert judged(tmp_path) == [Judgement("opinion", "1 jobs are fine", True)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (KeyError("psnr"), "verdict opinion of plugin elsewhere: KeyError: 'psnr'"),
        (SystemExit(0), "verdict opinion of plugin elsewhere: SystemExit: 0"),
        (7, "verdict opinion of plugin elsewhere: it returned 7; it must return a list"),
        ([None], "verdict opinion of plugin elsewhere: it returned None where a Judgement belongs"),
    ],
)
def test_a_verdict_that_fails_says_so_and_costs_nothing_else(tmp_path, opinion, monkeypatch, answer, why):
    monkeypatch.setattr(opinion, "answer", answer)
    job(tmp_path, 0, config={"sweep": {"verdict": "opinion"}})

    [judgement] = judged(tmp_path)

    assert judgement.holds is None
    assert re.fullmatch(f"cannot be judged: {why}", judgement.verdict)


def test_a_verdict_whose_check_fails_is_named(opinion):
    with pytest.raises(
        StrandsDiffusersError, match="verdict opinion of plugin elsewhere: ZeroDivisionError: no thirteen"
    ):
        evaluation.check_job(compose.compose(["sweep.verdict=opinion", "seed=13"]))
