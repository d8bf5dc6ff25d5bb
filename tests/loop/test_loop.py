"""The loop by itself: a policy looks, a world steps, whatever is wrong is named with its look, what is finished is kept."""

import functools
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from strands_diffusers import Measure, Observation, Policy, Proposal, Score, Stepped, World, actions, loop
from strands_diffusers.config import compose
from strands_diffusers.errors import CancelledError, OutputError, RolloutError
from strands_diffusers.plugin.caller import Caller
from strands_diffusers.plugin.manager import Registration, plugins
from strands_diffusers.runner.chunks import FinishedChunks

T, K, N, SIDE = 16, 4, 5, 8
FIRST = np.full((1, SIDE, SIDE, 3), 7, np.uint8)
SEEN = Observation(FIRST, 10.0, np.zeros((40, 2), np.float32), "Push the T block.", "pusht", "testing:one")


class Counting(World):
    """Show how often it was stepped; its state is the sum of all actions."""

    name = "counting"

    def reset(self, setting, seed):
        self.count, self.sum = 0, np.zeros(2)
        return np.zeros((SIDE, SIDE, 3), np.uint8), self.sum.tolist()

    def step(self, actions, num_steps, progress=None):
        frames, states = [], []
        for row in actions[:num_steps]:
            self.count, self.sum = self.count + 1, self.sum + row
            frames.append(np.full((SIDE, SIDE, 3), self.count, np.uint8))
            states.append(self.sum.tolist())
        return Stepped(np.stack(frames), states, {"physics": 0.25})


class Seeing(Policy):
    """Act by everything in the look, and imagine a video of it."""

    name = "seeing"

    def act(self, look):
        self.looks = [*getattr(self, "looks", []), look]
        rows = np.full((T, 2), look.frames[-1].mean() + look.seed % 1000 / 1000, np.float32) / 100
        video = np.full((T + 1, SIDE, SIDE, 3), look.index, np.uint8)
        return Proposal(rows, video, {"think": 0.5}, {"index": look.index})


class Walk(Policy):
    """A generator of its own: what it answers depends on how often it was asked."""

    name = "walk"
    keeps_state = True

    def reset(self, setting, seed):
        self.rng = np.random.default_rng(seed)

    def act(self, look):
        return Proposal(self.rng.uniform(-1, 1, (T, 2)).astype(np.float32))


class Total(Score):
    """The first number of the state."""

    name = "total"
    measure = Measure("", "higher", "The sum.")

    def compute(self, track):
        return np.array([state[0] for state in track.states])


@functools.cache
def composed(*overrides):
    words = ["condition=closed_loop", f"condition.num_looks={K}", f"condition.act_steps={N}", "tracker=none"]
    return compose.compose([*words, *overrides])


def cast(policy=None, world=None, *overrides, scores=None, reference=None, limit_s=5.0):
    """Who takes part in an episode of K looks of N steps."""
    config = composed(*overrides)
    space = actions.space_of("pusht", pixel_map=True)
    setting = loop.Setting(config, SEEN, space, "Push the T block.", 10.0, T, N, K)
    return loop.Cast(setting, policy or Seeing(), world or Counting(), scores or {}, reference, Caller(limit_s))


@pytest.fixture
def third_party(monkeypatch):
    """Make a class one of a plugin's."""

    def register(group, cls):
        index = plugins()
        mine = Registration(f"register_{group}", group, cls.name, "theirs", cls)
        monkeypatch.setattr(index, "registrations", [*index.registrations, mine])
        return cls()

    return register


def test_an_episode_holds_what_was_acted_and_what_was_proposed():
    policy = Seeing()

    [rollout] = loop.run(cast(policy, scores={"total": Total()}))

    episode = rollout.episode
    assert rollout.video.shape == (K * N + 1, SIDE, SIDE, 3)
    np.testing.assert_array_equal(rollout.video[:, 0, 0, 0], np.arange(K * N + 1))
    assert rollout.action.shape == (K, N, 2)
    np.testing.assert_array_equal(rollout.action, episode.proposed_action[:, :N])
    assert episode.proposed_action.shape == (K, T, 2)
    assert episode.proposed_video.shape == (K, T + 1, SIDE, SIDE, 3)
    assert (episode.policy, episode.world, episode.act_steps, episode.looks) == (
        "seeing",
        "counting",
        N,
        (0, 5, 10, 15),
    )
    assert [look["index"] for look in episode.details] == [0, 1, 2, 3]
    assert all(look["policy.think"] == 0.5 and look["world.physics"] == 0.25 for look in episode.seconds)
    sums = np.concatenate([[0], rollout.action.reshape(-1, 2)[:, 0].astype(np.float64).cumsum()])
    np.testing.assert_allclose(episode.scores["total"].values, sums, rtol=1e-6)
    assert len(episode.states) == K * N + 1


def test_each_look_shows_all_frames_and_actions_so_far_and_has_a_seed_of_its_own():
    policy = Seeing()

    loop.run(cast(policy, None, "seed=3"))

    assert [len(look.frames) for look in policy.looks] == [1, 6, 11, 16]
    assert [len(look.actions) for look in policy.looks] == [0, 5, 10, 15]
    assert policy.looks[0].proposed is None
    np.testing.assert_array_equal(policy.looks[2].proposed[:N], policy.looks[2].actions[N:])
    assert [look.seed for look in policy.looks] == [3 + 1_000_003 * k for k in range(K)]
    assert policy.looks[2].state == pytest.approx(policy.looks[2].actions.astype(np.float64).sum(0).tolist())


def test_samples_are_episodes_with_seeds_of_their_own():
    rollouts = loop.run(cast(Walk(), None, "seed=5", "sampler.num_samples=2"))

    assert [(r.sample, r.seed) for r in rollouts] == [(0, 5), (1, 6)]
    assert not np.array_equal(rollouts[0].action, rollouts[1].action)


def test_looks_are_counted_over_all_samples_so_that_a_long_job_can_say_its_pace():
    seen = []

    loop.run(cast(None, None, "sampler.num_samples=2"), lambda *at: seen.append(at))

    assert [at for at in seen if at[0] == "look"] == [("look", k, 2 * K) for k in range(2 * K)]


ROWS = np.zeros((T, 2), np.float32)
WRONG = st.one_of(
    arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 4)).filter(lambda shape: shape != (T, 2))),
    arrays(st.sampled_from([np.float64, np.int32, np.float16, np.complex64]), (T, 2)),
    st.sampled_from([None, "actions", ROWS.tolist(), ROWS[None]]),
    arrays(np.float32, (T, 2), elements=st.floats(-1, 1, width=32)).flatmap(
        lambda rows: st.tuples(st.integers(0, 2 * T - 1), st.sampled_from([np.nan, np.inf, -np.inf])).map(
            lambda spot: np.where(np.arange(2 * T).reshape(T, 2) == spot[0], np.float32(spot[1]), rows)
        )
    ),
)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(WRONG, st.integers(0, K - 1))
def test_actions_that_are_none_are_one_line_that_names_the_policy_and_the_look(rows, at):
    class Wrong(Seeing):
        """Wrong once."""

        def act(self, look):
            return replace(super().act(look), actions=rows) if look.index == at else super().act(look)

    with pytest.raises(RolloutError, match=rf"^policy=seeing, look {at + 1}/{K}: it returned .*[^\n]$") as caught:
        loop.run(cast(Wrong()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "frames",
    [None, np.zeros((N, 8, 8, 3), np.float32), np.zeros((N - 1, 8, 8, 3), np.uint8), np.zeros((N, 9, 8, 3), np.uint8)],
    ids=["none", "float", "too few", "another size"],
)
def test_frames_that_are_none_are_one_line_that_names_the_world_and_the_look(frames):
    class Wrong(Counting):
        """Wrong at the second look."""

        def step(self, actions, num_steps, progress=None):
            return replace(super().step(actions, num_steps), **({"frames": frames} if self.count > N else {}))

    with pytest.raises(RolloutError, match=r"^world=counting, look 2/4: it returned frames [^\n]+$"):
        loop.run(cast(None, Wrong()))


@pytest.mark.parametrize("shape", [(SIDE, SIDE, 3), (2, SIDE, SIDE)])
def test_pictures_of_proposals_that_are_none_are_one_line(shape):
    class Choosing(Seeing):
        name = "choosing"

        def act(self, look):
            return replace(super().act(look), alternatives=np.zeros(shape, np.uint8))

    with pytest.raises(
        RolloutError, match=r"policy=choosing, look 1/4: it returned alternatives uint8 \[.*\[M, H, W, 3\]"
    ):
        loop.run(cast(Choosing()))


def test_a_plugin_that_raises_or_stalls_is_one_line(third_party):
    class Raising(Seeing):
        """Raise."""

        name = "raising"

        def act(self, look):
            raise KeyError("no such joint")

    class Stalling(Counting):
        """Take for ever."""

        name = "stalling"

        def step(self, actions, num_steps, progress=None):
            time.sleep(3)

    with pytest.raises(RolloutError, match=r"^look 1/4: policy=raising of plugin theirs: KeyError: 'no such joint'\.$"):
        loop.run(cast(third_party("policy", Raising)))
    with pytest.raises(RolloutError, match=r"world=stalling of plugin theirs: TimeoutError: no answer within 0\.1 s\."):
        loop.run(cast(None, third_party("world", Stalling), limit_s=0.1))


def test_a_job_is_cancelled_while_a_plugin_thinks(third_party):
    class Thinking(Seeing):
        """Think."""

        name = "thinking"

        def act(self, look):
            time.sleep(4)

    asked = []

    def progress(what, done, total):
        asked.append(what)
        if len(asked) > 1:
            raise CancelledError("cancelled.")

    began = time.monotonic()
    with pytest.raises(CancelledError, match=r"^cancelled\.$"):
        loop.run(cast(third_party("policy", Thinking)), progress)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((21, 1)), np.zeros(21, int), [0.0] * 21, np.full(21, np.inf)])
def test_a_score_that_has_not_one_value_per_frame_is_refused(values):
    class Odd(Total):
        """Odd."""

        def compute(self, track):
            return values

    with pytest.raises(RolloutError, match=r"^score=total, end: it returned "):
        loop.run(cast(scores={"total": Odd()}))


def test_everyone_is_closed_once_whatever_happens():
    closed = []

    class Closing(Seeing):
        """Fail, and close."""

        def act(self, look):
            raise OutputError("no.")

        def close(self):
            closed.append(self.name)

    with pytest.raises(RolloutError, match=r"^policy=seeing, look 1/4: no\.$"):
        loop.run(cast(Closing()))
    assert closed == ["seeing"]


@pytest.mark.parametrize("policy", [Seeing, Walk])
@settings(derandomize=True, max_examples=6, deadline=None)
@given(stop=st.integers(0, 2 * K - 1))
def test_an_episode_that_is_cut_off_goes_on_from_its_last_look(tmp_path_factory, policy, stop):
    whole = loop.run(cast(policy(), None, "sampler.num_samples=2"))
    kept, begun = FinishedChunks(tmp_path_factory.mktemp("kept"), "0123456789abcdef"), []

    def progress(what, done, total):
        if what.endswith("look"):
            begun.append(done)
            if len(begun) > stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(cast(policy(), None, "sampler.num_samples=2"), progress, kept)
    assert len(list(kept.folder.glob("look_*.npz"))) == stop

    again = loop.run(cast(policy(), None, "sampler.num_samples=2"), None, kept)

    for one, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(one.video, other.video)
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.episode.proposed_action, other.episode.proposed_action)
        assert one.episode.states == other.episode.states
    assert [r.details.get("looks_kept", 0) for r in again] == [min(stop, K), max(stop - K, 0)]


def test_the_same_actions_are_acted_out_in_a_reference_world():
    class Slower(Counting):
        """Count half as fast."""

        name = "slower"

        def step(self, actions, num_steps, progress=None):
            answer = super().step(actions, num_steps)
            return replace(answer, frames=answer.frames // 2)

    [rollout] = loop.run(cast(None, None, scores={"total": Total()}, reference=Slower()))

    np.testing.assert_array_equal(rollout.reference_video, rollout.video // 2)
    assert rollout.episode.reference == "slower"
    assert rollout.episode.reference_states == rollout.episode.states
    np.testing.assert_array_equal(
        rollout.episode.reference_scores["total"].values, rollout.episode.scores["total"].values
    )


def test_an_episode_that_leaves_what_the_model_was_trained_on_is_warned_about():
    white = np.full((48, 48, 3), 255, np.uint8)
    table = white.copy()
    table[10:16, 10:20] = (80, 80, 200)  # something blue on a white table

    class Leaving(Counting):
        """White with something blue on it for two looks, then grey."""

        uses_model = True

        def reset(self, setting, seed):
            self.count = 0
            return table, None

        def step(self, actions, num_steps, progress=None):
            self.count += num_steps
            return Stepped(np.stack([table if self.count <= 2 * N else table // 2] * num_steps))

    [rollout] = loop.run(cast(None, Leaving()))
    [line] = rollout.details["warnings"]
    assert line.startswith("after look 3 of 4 the frames no longer look like what model=cosmos3_pusht was trained on")

    class Staying(Leaving):
        """Stay."""

        def step(self, actions, num_steps, progress=None):
            return Stepped(np.stack([table] * num_steps))

    assert "warnings" not in loop.run(cast(None, Staying()))[0].details


def test_all_calls_of_a_plugins_object_run_in_one_thread(third_party):
    threads = set()

    class Bound(Counting):
        """Its window belongs to the thread that made it."""

        name = "bound"

        def reset(self, setting, seed):
            threads.add(threading.get_ident())
            return super().reset(setting, seed)

        def step(self, actions, num_steps, progress=None):
            threads.add(threading.get_ident())
            return super().step(actions, num_steps)

        def close(self):
            threads.add(threading.get_ident())

    loop.run(cast(None, third_party("world", Bound), "sampler.num_samples=2"))

    assert len(threads) == 1
    assert threads != {threading.get_ident()}
