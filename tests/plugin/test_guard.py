"""What a plugin's methods raise or return reaches no further than their own result, and names the plugin."""

import itertools
import math
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import ActionRows, Artifact, Observation, ObservationRequest, Sample, Source, Table
from strands_diffusers.errors import OutputError, PluginError
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import Measure

MEASURES = {"jerk": Measure("", "lower", "Jerk."), "speed": Measure("", "lower", "Speed.")}
quick = settings(derandomize=True, max_examples=40, deadline=None)
raised = st.sampled_from(
    [
        ValueError("x"),
        KeyError("k"),
        MemoryError(),
        SystemExit(0),
        KeyboardInterrupt(),
        StopIteration(),
        OSError(5, "io"),
    ]
)
nonsense = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers(), min_size=1),
    st.dictionaries(st.text(), st.text(), min_size=1), st.just(object()), st.just(np.zeros(3)),
)  # fmt: skip


def fails(error):
    def call():
        raise error

    return call


@quick
@given(raised)
def test_whatever_a_call_raises_is_a_fault_that_names_plugin_and_kind(error):
    with pytest.raises(guard.PluginFault) as caught:
        guard.run("theirs", "metric jerk", fails(error))

    assert str(caught.value).startswith(f"metric jerk of plugin theirs: {type(error).__name__}")
    assert caught.value.error.startswith(type(error).__name__)


def test_a_clear_error_of_the_plugin_passes_as_it_is():
    with pytest.raises(OutputError, match="no video"):
        guard.run("theirs", "output csv", fails(OutputError("no video")))


def test_a_call_that_never_returns_costs_its_time_limit_only():
    never = threading.Event()

    with pytest.raises(guard.PluginFault, match=r"metric jerk: TimeoutError: no answer within 0\.05 s"):
        guard.run("", "metric jerk", never.wait, 0.05)

    never.set()


def test_ctrl_c_ends_the_wait_for_a_plugin():
    entered, never = threading.Event(), threading.Event()

    def press():
        entered.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        guard.run("theirs", "metric jerk", lambda: (entered.set(), never.wait()), None)

    never.set()


@quick
@given(nonsense)
def test_files_that_are_none_are_a_fault(value):
    with pytest.raises(guard.PluginFault, match="visualizer strip of plugin theirs"):
        guard.artifacts("theirs", "visualizer strip", lambda: value, Path())


def test_files_must_lie_in_the_folder_and_be_there(tmp_path):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (tmp_path / "outside.txt").write_text("b")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")

    def found(*paths):
        return guard.artifacts("", "output csv", lambda: iter([Artifact(p, "action") for p in paths]), folder)

    assert [a.path for a in found(folder / "a.txt", Path("a.txt"))] == [folder / "a.txt"] * 2
    for path in (tmp_path / "outside.txt", folder / ".." / "outside.txt", Path("/etc/hostname"), folder / "link.txt"):
        with pytest.raises(guard.PluginFault, match="outside"):
            found(path)
    for path in (folder / "gone.txt", folder):
        with pytest.raises(guard.PluginFault, match="is not a file"):
            found(path)
    with pytest.raises(guard.PluginFault, match="more than 1,000 things"):
        guard.artifacts("", "output csv", lambda: itertools.repeat(Artifact(folder / "a.txt", "a")), folder)
    with pytest.raises(guard.PluginFault, match=r"must be Artifact\(Path, text, mapping\)"):
        guard.artifacts("", "output csv", lambda: [Artifact("a.txt", "a")], folder)


def test_details_that_no_record_can_hold_are_a_fault(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    circle: dict = {}
    circle["self"] = circle

    with pytest.raises(guard.PluginFault, match="RecursionError"):
        guard.artifacts("", "output csv", lambda: [Artifact(tmp_path / "a.txt", "a", circle)], tmp_path)


@quick
@given(
    st.one_of(
        nonsense,
        st.fixed_dictionaries(
            {"jerk": st.one_of(nonsense.filter(lambda v: type(v) not in (int, float)), st.just(math.nan))}
        ),
    )
)
def test_numbers_that_are_none_are_a_fault(value):
    with pytest.raises(guard.PluginFault, match="metric jerk"):
        guard.metrics("theirs", "metric jerk", lambda: value, MEASURES)


def test_numbers_come_back_as_floats_and_wrong_ones_are_named():
    given_ = {"jerk": np.float32(0.5), "speed": 2}

    assert guard.metrics("", "metric m", lambda: given_, MEASURES) == {"jerk": 0.5, "speed": 2.0}
    with pytest.raises(guard.PluginFault, match="returned jerk=nan, which is not a finite number"):
        guard.metrics("", "metric m", lambda: {"speed": 1.0, "jerk": math.nan}, MEASURES)
    with pytest.raises(guard.PluginFault, match=r"'jerc', which its `measures` do not declare. Did you mean 'jerk'"):
        guard.metrics("", "metric m", lambda: {"jerc": 1.0}, MEASURES)
    with pytest.raises(guard.PluginFault, match="not a finite number"):
        guard.metrics("", "metric m", lambda: {"jerk": np.ones(1)}, MEASURES)


def source(owner, read=lambda: None, **calls):
    """A guarded source whose methods do what they are given."""
    methods = {name: lambda self, *_, call=call: call() for name, call in {"read": read, **calls}.items()}
    return guard.GuardedSource(owner, type("Seen", (Source,), {"scheme": "seen", "__doc__": "Seen.", **methods})())


@quick
@given(st.one_of(nonsense, raised.map(lambda error: error)))
def test_a_source_that_fails_or_returns_no_observation_is_named(value):
    call = fails(value) if isinstance(value, BaseException) else lambda: value

    with pytest.raises(PluginError, match="the source 'seen' of plugin theirs"):
        source("theirs", read=call).read("x", ObservationRequest())


FRAMES = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": FRAMES.astype(np.float32)}, "frames float32"),
        ({"frames": FRAMES[0]}, r"frames uint8 \[8, 8, 3\]"),
        ({"frames": FRAMES[:0]}, "must be uint8"),
        ({"frames": [[1]]}, "frames list"),
        ({"actions": np.zeros((2, 3))}, "actions float64"),
        ({"actions": np.full((2, 3), np.nan, np.float32)}, "must be finite"),
        ({}, "neither frames nor actions"),
        ({"frames": FRAMES, "fps": math.inf}, "fps=inf"),
        ({"frames": FRAMES, "fps": 0}, "fps=0"),
        ({"frames": FRAMES, "fps": "10"}, "fps='10'"),
        ({"frames": FRAMES, "task": 7}, "task=7"),
        ({"frames": FRAMES, "source": None}, "source=None"),
        ({"frames": FRAMES, "details": [1]}, "must be a mapping"),
    ],
)
def test_an_observation_that_is_not_what_it_must_be_is_refused(fields, message):
    with pytest.raises(PluginError, match=message):
        source("", read=lambda: Observation(**fields)).read("x", ObservationRequest())


def test_a_sound_observation_passes_untouched():
    seen = Observation(FRAMES, 10.0, np.zeros((1, 2), np.float32), "Push.", details={"state": np.zeros(3)})

    assert source("", read=lambda: seen).read("x", ObservationRequest()) is seen


def test_the_actions_of_a_dataset_are_checked_piece_by_piece():
    def pieces(*found):
        def read():
            for piece in found:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece

        return list(source("theirs", action_rows=lambda: ActionRows(read(), 10.0)).action_rows("x", "pusht").pieces)

    rows_TD = np.zeros((3, 2))
    assert [piece is rows_TD for piece in pieces(rows_TD, rows_TD)] == [True, True]
    with pytest.raises(PluginError, match="the source 'seen' of plugin theirs failed: KeyError"):
        pieces(rows_TD, KeyError("x"))
    with pytest.raises(PluginError, match=r"returned actions float64 \[3\]"):
        pieces(rows_TD[:, 0])
    with pytest.raises(PluginError, match="not ActionRows"):
        source("theirs", action_rows=lambda: [rows_TD]).action_rows("x", "pusht")


@quick
@given(raised)
def test_a_source_that_fails_at_an_address_is_named(error):
    with pytest.raises(PluginError, match="the source 'seen' of plugin theirs failed"):
        source("theirs", absolute=fails(error)).absolute("x", Path())


def test_a_panel_is_a_table_or_html_or_nothing():
    def found(value):
        return guard.panel("theirs", "panel shelf", lambda: value)

    assert found(None) is None
    assert found("<b>x</b>") == "<b>x</b>"
    assert found(Table(("a", "b"), ((1, None),), "note")) == Table(["a", "b"], [[1, None]], "note")
    for value in (
        7,
        [],
        Table([], []),
        Table(["a"], [[1, 2]]),
        Table(["a"], [[object()]]),
        Table(["a"], [1]),
        Table(1, []),
    ):
        with pytest.raises(guard.PluginFault, match="panel shelf of plugin theirs"):
            found(value)


def test_what_an_engine_returns_is_checked():
    video, action = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((16, 2), np.float32)
    sound = [Sample(video, None, action)]

    assert guard.samples("theirs", "engine fast", sound, 1) is sound
    for found, message in [
        (None, "None where a list of 1 Sample belongs"),
        ([], "a list of 1 Sample"),
        ([1], "a list of 1 Sample"),
        ([Sample(video.astype(np.float32))], "returned video float32"),
        ([Sample(video[0])], r"must be uint8 \[F, H, W, 3\]"),
        ([Sample(action=action[None])], r"must be float32 \[T, D\]"),
        ([Sample(sound=[0.0])], "returned sound list"),
    ]:
        with pytest.raises(guard.PluginFault, match=f"engine fast of plugin theirs: .*{message}"):
            guard.samples("theirs", "engine fast", found, 1)


def test_a_verb_s_status_is_its_number_and_what_it_raises_names_the_plugin():
    def verb(call):
        return guard.command("theirs", "greet", call, ["you"])

    assert verb(lambda arguments: len(arguments)) == 1
    assert verb(lambda arguments: None) == 0
    for call, message in [
        (fails(KeyError("x")), "command greet of plugin theirs: KeyError"),
        (lambda arguments: "done", "'done', not an exit status"),
        (lambda arguments: 256, "256, not an exit status"),
    ]:
        with pytest.raises(guard.PluginFault, match=message):
            verb(call if call.__code__.co_argcount else lambda arguments, call=call: call())
    for passing in (SystemExit(3), KeyboardInterrupt(), OutputError("no")):
        with pytest.raises(type(passing)):
            verb(lambda arguments, passing=passing: fails(passing)())


class HostileError(Exception):
    """Its own text fails."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def test_errors_and_objects_whose_own_text_fails_are_named_by_their_class():
    with pytest.raises(guard.PluginFault, match=r"metric jerk: HostileError$"):
        guard.run("", "metric jerk", fails(HostileError()))
    with pytest.raises(guard.PluginFault, match=r"<HostileError instance at .* where a dict of numbers belongs"):
        guard.metrics("", "metric jerk", HostileError, MEASURES)


def test_no_escape_of_a_terminal_is_left_in_what_is_said():
    with pytest.raises(guard.PluginFault) as caught:
        guard.run("", "metric jerk", fails(ValueError("\x1b[31mred\x07")))

    assert str(caught.value).isprintable()
