"""`policy=best_of`: what it proposes, how it chooses, and that what it predicted is what the model's world then shows."""

from pathlib import Path

import numpy as np
import pytest

import strands_diffusers
from strands_diffusers import Look, Measure, Score, actions, errors, loop
from strands_diffusers.api.access import Access
from strands_diffusers.api.verbs.rollout import confined
from strands_diffusers.config import compose
from strands_diffusers.observations.rollouts import read_rollouts
from strands_diffusers.plugin.manager import Registration, plugins
from strands_diffusers.policies.best_of import BestOfPolicy
from strands_diffusers.report import entries
from strands_diffusers.runner import job
from strands_diffusers.runner.chunks import FinishedChunks
from strands_diffusers.runner.run import run_job
from strands_diffusers.trackers.wandb.media import media_keys

EMBEDDED = Path(strands_diffusers.__file__).parent / "assets" / "cosmos3_pusht"

QUICK = (
    "condition=closed_loop",
    "tracker=none",
    "visualizer=[]",
    "policy=best_of",
    "policy.base=random",
    "policy.score=goal_image",
    "policy.proposals=2",
    "score=[goal_image]",
    "score.goal_image.goal=sample:push_left@frame:-1",
    "world.sampler.num_inference_steps=1",
    "policy.predict.sampler.num_inference_steps=1",
    "condition.num_looks=2",
    "condition.act_steps=8",
)


def words(*overrides):
    """The quick job's overrides with others in their place."""
    given = {word.partition("=")[0]: word for word in (*QUICK, *overrides)}
    return [*given.values()]


class Rightness(Score):
    """How far to the right the first action goes; knows nothing of frames."""

    name = "rightness"
    measure = Measure("", "higher", "The first action's x.")

    def compute(self, track):
        return np.full(len(track.frames), float(track.actions[0, 0]))


@pytest.fixture
def rightness(monkeypatch):
    index = plugins()
    mine = Registration("register_scores", "score", "rightness", "theirs", Rightness)
    monkeypatch.setattr(index, "registrations", [*index.registrations, mine])


@pytest.fixture
def chooser(rightness, monkeypatch):
    """A policy whose prediction is blank: a score that reads actions alone needs no more."""

    def make(*overrides):
        cast = job.check(compose.compose(words("policy.score=rightness", *overrides))).cast
        policy = cast.policy
        monkeypatch.setattr(policy._world, "open", lambda setting: None)
        blank = type("Blank", (), {"video": np.zeros((17, 8, 8, 3), np.uint8), "seconds": {}})
        monkeypatch.setattr(policy._world, "imagine", lambda rows, *more: [blank] * len(rows))
        policy.reset(cast.setting, 0)
        frames = cast.setting.observation.frames[:1]
        return policy, Look(0, frames, np.zeros((0, 2), np.float32), "", seed=0)

    return make


@pytest.mark.slow
def test_what_was_predicted_of_the_chosen_proposal_is_what_the_models_world_shows(tmp_path):
    made = run_job(job.check(compose.compose(words("visualizer=[proposals]"))), tmp_path / "whole")
    whole = made.rollouts[0]

    episode, video = whole.episode, whole.video
    for k, details in enumerate(episode.details):
        assert (details["proposals"], details["predicted"]) == (2, 2)
        assert details["chosen"] == int(np.argmax(details["scores"]))
        seen = episode.proposed_video[k, 1:9]
        np.testing.assert_array_equal(seen, video[k * 8 + 1 : k * 8 + 9])
        assert {"policy.propose", "policy.predict", "policy.score"} <= episode.seconds[k].keys()
    assert len(set(episode.details[0]["scores"])) == 2
    ranks = np.argsort([-score for score in episode.details[0]["scores"]], kind="stable")
    assert episode.details[0]["pictured"] == ranks.tolist()
    np.testing.assert_array_equal(episode.alternatives[:, 0], episode.proposed_video[:, -1])
    assert episode.alternatives.shape == (2, 2, 96, 96, 3)
    [read] = read_rollouts(made.record)
    np.testing.assert_array_equal(read.episode.alternatives, episode.alternatives)
    assert {"alternatives.png", "proposals.png", "proposed.mp4"} <= {entry.path for entry in made.record.artifacts}
    kinds = {entry.path: entries._file(entry, tmp_path, tmp_path)["kind"] for entry in made.record.artifacts}
    assert (kinds["proposals.png"], kinds["alternatives.png"]) == ("picture", "file")
    assert [path.name for path in media_keys(made.record)["plots/proposals"]] == ["proposals.png"]
    assert "alternatives.png" not in str(media_keys(made.record))


@pytest.mark.slow
def test_the_models_own_agreement_judges_without_a_label():
    agreement = words("policy.score=agreement", "policy.over=mean", "condition.num_looks=1")
    [found] = loop.run(job.check(compose.compose([w for w in agreement if "goal_image" not in w])).cast)

    scores = found.episode.details[0]["scores"]
    assert np.isfinite(scores).all()
    assert found.episode.details[0]["chosen"] == int(np.argmin(scores))


@pytest.mark.slow
def test_an_episode_that_is_cut_off_goes_on_to_the_same_choices(tmp_path):
    checked = job.check(compose.compose(QUICK))
    whole = loop.run(checked.cast, None, FinishedChunks(tmp_path / "whole", "a"))[0]
    kept = FinishedChunks(tmp_path / "cut", "a")

    def stop(what, done, total):
        if what == "look" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(job.check(compose.compose(QUICK)).cast, stop, kept)
    rest = loop.run(job.check(compose.compose(QUICK)).cast, None, kept)[0]

    assert rest.details["looks_kept"] == 1
    np.testing.assert_array_equal(rest.video, whole.video)
    assert rest.episode.details[1] == whole.episode.details[1]


def test_the_best_proposal_is_acted_on_and_the_first_is_the_base_policys_own(chooser):
    alone, look = chooser("policy.proposals=1")
    own = alone.act(look)
    best, look = chooser("policy.proposals=8")
    found = best.act(look)

    assert own.details == {"base": "random", "proposals": 1, "predicted": 0, "chosen": 0}
    scores = found.details["scores"]
    assert scores[0] == own.actions[0, 0]
    assert found.actions[0, 0] == max(scores)
    assert len(set(scores)) == 8
    assert found.details["predicted"] == 8


def test_one_of_the_same_proposals_by_chance_predicts_nothing(chooser):
    best, look = chooser("policy.proposals=8")
    scores = best.act(look).details["scores"]
    by_chance, look = chooser("policy.proposals=8", "policy.choose=random")

    found = [by_chance.act(Look(k, look.frames, look.actions, "", seed=0)).actions[0, 0] for k in range(3)]

    assert len(set(found)) == 1
    assert float(found[0]) in scores
    assert by_chance.act(look).details["predicted"] == 0


def test_a_score_without_any_value_chooses_nothing(chooser, monkeypatch):
    policy, look = chooser()
    monkeypatch.setattr(Rightness, "compute", lambda self, track: np.full(len(track.frames), np.nan))

    with pytest.raises(errors.RolloutError, match=r"policy\.score=rightness has no value for any of 2 proposals"):
        policy.act(look)


def test_each_round_of_the_cross_entropy_method_is_drawn_from_the_best_before(chooser):
    policy, look = chooser("policy.proposals=16", "policy.iterations=4")

    scores = np.array(policy.act(look).details["scores"]).reshape(4, 16)

    assert (np.diff(scores.mean(axis=1)) > 0).all()
    assert scores[3].std() < scores[0].std() / 2


def test_the_last_proposal_may_be_the_rest_of_what_was_acted_on_then_no_motion(chooser):
    policy, look = chooser("policy.proposals=4", "policy.rest=true", "policy.noise.target_px=20")
    before = np.arange(32, dtype=np.float32).reshape(16, 2) / 32
    later = Look(1, look.frames, before[:8], "", seed=0, proposed=before)

    *others, last = policy._proposed(later, range(4))

    np.testing.assert_array_equal(last.actions, np.concatenate([before[8:], np.tile(before[-1:], (8, 1))]))
    assert all(np.abs(other.actions - last.actions).max() > 0.1 for other in others)
    assert len(policy._proposed(look, range(4))) == 4  # at the first look there is none


def test_errors_are_added_to_all_but_the_first_proposal_in_the_units_of_the_domain(chooser):
    policy, look = chooser(
        "policy.proposals=4", "policy.base=still", "policy.noise.target_px=20", "policy.noise.every=16"
    )

    first, *others = policy._proposed(look, range(4))

    assert np.ptp(first.actions) >= 0
    np.testing.assert_array_equal(first.actions, np.broadcast_to(first.actions[0], first.actions.shape))
    for other in others:
        apart_px = (other.actions - first.actions) * 256
        assert 0 < np.abs(apart_px).max() < 100
        np.testing.assert_allclose(np.diff(apart_px, 2, axis=0), 0, atol=1e-3)  # linear between the two draws


def test_errors_have_their_standard_deviation_and_rotations_stay_rotations():
    space = actions.space_of("bridge")
    still = np.tile(actions.still_row(space), (400, 1))
    still[:, 9] = 0.5
    sizes = {"translation_m": 0.01, "rotation_rad": 0.1}

    rows = actions.noisy(still.astype(np.float32), sizes, 1, np.random.default_rng(0), space)

    physical = actions.to_physical(rows, space)
    assert physical[:, :3].std() == pytest.approx(0.01, rel=0.1)
    turns = actions.rot6d_to_matrix(physical[:, 3:9])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (400, 3, 3)), atol=1e-5)
    assert np.sqrt((actions.geodesic(turns, np.eye(3)) ** 2).mean()) == pytest.approx(0.1 * 3**0.5, rel=0.1)
    np.testing.assert_allclose(rows[:, 9], 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("policy.score=''", "needs a score"),
        ("policy.score=goal_imag", "Did you mean 'goal_image'?"),
        ("policy.base=best_of", "cannot be its own base"),
        ("policy.base=modle", "Did you mean 'model'?"),
        ("policy.noise.translation_m=0.1", "policy.noise: domain pusht has no actions for translation_m"),
        ("policy.options={noise: 3}", "policy.options.noise: policy=random has no options"),
        ("policy.predict.steps=17", "policy.predict.steps=17 is more than a chunk of 16"),
        ("policy.elite=0", "policy.elite=0 is no share"),
        (("policy.proposals=1", "policy.iterations=2"), "policy.iterations=2 draws from the best of at least two"),
        ("policy.predict.repo=./nowhere", "policy.predict.repo="),
    ],
)
def test_what_cannot_work_is_refused_in_one_line_before_loading(word, message):
    with pytest.raises(errors.RequestError) as caught:
        job.check(compose.compose(words(*([word] if isinstance(word, str) else word))))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_base_policy_that_speaks_to_others_is_not_open_to_a_confined_caller():
    config = compose.compose(words("policy.base=server", "policy.options={address: 'ws://127.0.0.1:9'}"))

    with pytest.raises(errors.AccessError, match="policy=server speaks to other programs"):
        confined(config, Access(()))


@pytest.mark.parametrize("key", ["world.repo", "policy.predict.repo"])
def test_another_checkpoint_is_part_of_the_identity_by_its_content(key):
    plain = job.check(compose.compose(words()))

    other = job.check(compose.compose(words(f"{key}={EMBEDDED}")))

    assert other.hash != plain.hash
    assert str(EMBEDDED) not in str(other.identity)


def test_its_options_and_not_the_places_of_checkpoints_are_its_identity():
    one, other = (job.check(compose.compose(words(f"policy.proposals={n}"))) for n in (3, 4))

    assert one.hash != other.hash
    assert one.identity["policy"]["predict"] == {
        "steps": None,
        "sampler": {"num_inference_steps": 1, "guidance_scale": 1.0, "flow_shift": 1.0},
    }
    assert BestOfPolicy.Config("best_of").proposals == 8
