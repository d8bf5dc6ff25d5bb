"""The conformance kit passes what the package itself ships, and names what breaks a rule."""

import json

import numpy as np
import pytest

from strands_diffusers import (
    Artifact,
    Judgement,
    Measure,
    Metric,
    Observation,
    Panel,
    Policy,
    Proposal,
    Score,
    Serializer,
    Source,
    Stepped,
    Table,
    Tracker,
    Verdict,
    Visualizer,
    World,
    errors,
    testing,
)
from strands_diffusers.plugin import manager
from strands_diffusers.records import Record
from strands_diffusers.results import OUTPUT_TYPES

RNG = np.random.default_rng(0)
BUILT_IN = manager.built_ins()


@pytest.mark.parametrize("name", list(BUILT_IN.classes("output")))
def test_the_built_in_serializers_conform(name):
    testing.check_serializer(BUILT_IN.find("output", name))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BUILT_IN.classes("visualizer")))
def test_the_built_in_visualizers_conform(name):
    testing.check_visualizer(BUILT_IN.find("visualizer", name))


@pytest.mark.parametrize("name", list(BUILT_IN.classes("metric")))
def test_the_built_in_metrics_conform(name):
    testing.check_metric(BUILT_IN.find("metric", name))


@pytest.mark.parametrize("name", list(BUILT_IN.classes("verdict")))
def test_the_built_in_verdicts_conform(name):
    testing.check_verdict(BUILT_IN.find("verdict", name))


def test_a_built_in_source_conforms():
    testing.check_source(BUILT_IN.find("source", "sample"), "push_left")
    testing.check_tracker(BUILT_IN.find("tracker", "none"))


def test_the_rollouts_cover_every_mode_and_output_type():
    found = testing.rollouts().values()

    assert {r.mode for r in found} >= {"text", "image", "video", "policy", "forward_dynamics", "inverse_dynamics"}
    assert {t for r in found for t in r.has} == {*OUTPUT_TYPES}
    assert all(r.action is None or r.action.dtype == np.float32 for r in found)


def serializer(save):
    return type("Theirs", (Serializer,), {"name": "theirs", "output_types": ("video",), "save": save, "__doc__": "X."})


def writes(rollout, directory, name="a.txt"):
    (directory / name).write_text("x")
    return [Artifact(directory / name, "video")]


def changes(self, rollout, directory):
    rollout.video[:] = 0
    return writes(rollout, directory)


def hides(self, rollout, directory):
    writes(rollout, directory, "b.txt")
    return writes(rollout, directory)


def twice(self, rollout, directory):
    if (directory / "a.txt").exists():
        raise FileExistsError("a.txt")
    return writes(rollout, directory)


def refuses(self, rollout, directory):
    raise errors.OutputError("not mine")


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (changes, "changed an array of the rollout"),
        (hides, "wrote b.txt, which it did not return"),
        (twice, "FileExistsError: a.txt"),
        (refuses, "wrote none of the rollouts that hold video"),
        (lambda self, rollout, directory: None, "must return a list"),
        (lambda self, rollout, directory: 1 / 0, "ZeroDivisionError"),
        (lambda self, rollout, directory: writes(rollout, directory.parent), "is outside"),
    ],
)
def test_a_serializer_that_breaks_a_rule_is_told_which(save, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_serializer(serializer(save))


def test_a_sound_serializer_passes():
    testing.check_serializer(serializer(lambda self, rollout, directory: writes(rollout, directory)))


def made(base, **members):
    return type("Theirs", (base,), {"name": "theirs", "__doc__": "X.", **members})


class Loud(Tracker):
    """A tracker that cannot bear a failed job."""

    name = "loud"

    def start(self, run): ...

    def log(self, record, rollouts): ...

    def finish(self, record):
        record.samples[0]


@pytest.mark.parametrize(
    ("check", "cls", "message"),
    [
        (testing.check_visualizer, made(Visualizer, output_types=("mesh",), draw=lambda *_: 1), "must return a list"),
        (
            testing.check_visualizer,
            made(Visualizer, output_types=("mesh",), draw=lambda *_: [], draw_all=lambda *_: [1]),
            "where a Artifact belongs",
        ),
        (
            testing.check_metric,
            made(Metric, output_types=("video",), measures={}, compute=lambda *_: {"a": 1.0}),
            "`measures` do not declare",
        ),
        (
            testing.check_metric,
            made(
                Metric,
                output_types=("video",),
                measures={"a": Measure("", "neither", "X.")},
                compute=lambda *_: {"a": np.random.default_rng().random()},
            ),
            "for the same rollout",
        ),
        (testing.check_tracker, Loud, "IndexError"),
        (testing.check_verdict, made(Verdict, judge=lambda *_: Judgement("a", "b", True)), "must return a list"),
        (testing.check_verdict, made(Verdict, judge=lambda self, r: [] if r else r[0]), "IndexError"),
        (testing.check_verdict, made(Verdict, judge=lambda *_: [], needs=lambda *_: False), "say what is missing"),
        (testing.check_panel, made(Panel, title="T", content=lambda *_: 7), "where a Table, HTML or None belongs"),
        (testing.check_panel, made(Panel, title="T", content=lambda *_: Table(["a"], [[1, 2]])), "as many cells"),
    ],
)
def test_a_class_that_breaks_a_rule_is_told_which(check, cls, message):
    with pytest.raises(AssertionError, match=message):
        check(cls)


def source(read):
    return type("Theirs", (Source,), {"scheme": "theirs", "__doc__": "X.", "read": read})


def noise(self, address, request):
    return Observation(np.random.default_rng().integers(0, 255, (1, 8, 8, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda self, address, request: Observation(np.zeros((40, 8, 8, 3), np.uint8)), "40 frames of 17"),
        (lambda self, address, request: Observation(np.zeros((1, 8, 8, 3), np.uint8)), "took an empty address"),
        (lambda self, address, request: Observation(np.zeros((1, 8, int(address), 3), np.uint8)), "ValueError"),
        (noise, "other arrays the second time"),
        (lambda self, address, request: {}["x"], "KeyError"),
    ],
)
def test_a_source_that_breaks_a_rule_is_told_which(read, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_source(source(read), "8")


def test_the_record_that_trackers_and_panels_get_is_one_that_can_be_written_and_read(tmp_path):
    seen = []
    testing.check_panel(made(Panel, title="T", content=lambda self, folder, records: seen.extend(records)))

    [record] = seen
    assert isinstance(record, Record)
    assert record.done
    assert record.samples[0].space.domain == "pusht"
    assert json.dumps(dict(record.metrics))


def acting(kind, **members):
    return type("Odd", (kind,), {"__doc__": "Odd.", "name": "odd", **members})


def frozen(noise=0, states=None):
    """A world of one grey, with noise, that gives `states(n)`."""

    def seen(self, n):
        return np.full((n, 8, 8, 3), 90 + (self.rng.integers(0, 9) if noise else 0), np.uint8)

    def reset(self, setting, seed):
        self.rng = getattr(self, "rng", np.random.default_rng(0))
        return seen(self, 1)[0], 0 if states else None

    return acting(
        World, reset=reset, step=lambda self, rows, n, progress=None: Stepped(seen(self, n), states and states(n))
    )


def policy(answer):
    return acting(Policy, act=lambda self, look: Proposal(answer(look)))


def score(answer):
    return acting(Score, measure=Measure("", "higher", "Odd."), compute=lambda self, track: answer(track))


def test_built_in_policies_and_sound_worlds_and_scores_conform():
    for name in ("replay", "still", "random"):
        testing.check_policy(manager.plugins().find("policy", name))
    testing.check_world(frozen())
    testing.check_world(frozen(states=lambda n: [0] * n))
    testing.check_score(score(lambda track: track.frames.mean((1, 2, 3))))


@pytest.mark.parametrize(
    ("check", "cls", "message"),
    [
        (
            testing.check_policy,
            policy(lambda look: np.zeros((16, 2))),
            r"actions float64 \[16, 2\]; they must be float32",
        ),
        (
            testing.check_policy,
            policy(lambda look: np.full((16, 2), np.nan, np.float32)),
            r"returned nan in step 0, column 0",
        ),
        (testing.check_policy, policy(lambda look: RNG.uniform(size=(16, 2)).astype(np.float32)), r"same seed"),
        (testing.check_world, frozen(noise=1), r"after reset"),
        (testing.check_world, frozen(states=lambda n: [0]), r"states of some frames only"),
        (testing.check_world, frozen(states=lambda n: [None] * n), r"no state of some frames; give one per frame"),
        (testing.check_score, score(lambda track: [1.0] * 17), r"returned list; it must be float64 \[17\]"),
        (testing.check_score, score(lambda track: np.full(17, np.inf)), r"returned inf"),
        (testing.check_score, score(lambda track: RNG.uniform(size=17)), r"other values the second time"),
    ],
)
def test_whoever_breaks_a_rule_of_the_loop_is_told_which(check, cls, message):
    with pytest.raises(AssertionError, match=message):
        check(cls)
