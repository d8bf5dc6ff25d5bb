"""The live line of a sweep, as a terminal and as a log file get it."""

import io
import threading
from pathlib import Path

import pytest

from strands_diffusers.runner import progress as module
from strands_diffusers.runner.progress import Live, Row, SweepProgress


class Terminal(io.StringIO):
    """What a person has in front of them."""

    def isatty(self):
        return True

    def screen(self) -> list[str]:
        """The lines as they look: a carriage return goes back, `ESC[K` clears to the right."""
        lines = self.getvalue().split("\n")
        return [line.rpartition("\r\x1b[K")[2] for line in lines]


def a_sweep(stream) -> SweepProgress:
    progress = SweepProgress(total=3, stream=stream)
    for number in range(3):
        stream.write(f"[HYDRA] #{number}\n")
        progress.begins(Path(str(number)))
        progress.stage("denoise", 1, 2)
        if number == 1:
            progress.ended(Row("1", "failed", ("seed=1",), "OutputError: no", "write"), "job 1 failed")
        else:
            progress.ended(Row(str(number), "done"))
    return progress


def test_the_live_line_never_shares_its_place_with_another():
    terminal = Terminal()

    progress = a_sweep(terminal)

    *lines, last, end = terminal.screen()
    assert lines == ["[HYDRA] #0", "[HYDRA] #1", "job 1 failed", "[HYDRA] #2"]
    assert last.startswith("3/3 jobs: 2 done, 1 failed, ")
    assert end == ""
    assert [row.name for row in progress.rows if row.status == "failed"] == ["1"]


def test_an_interrupted_sweep_leaves_the_line_free():
    terminal = Terminal()
    progress = SweepProgress(total=3, stream=terminal)
    progress.stage("denoise", 1, 2)
    assert terminal.screen() == ["0/3 jobs: starting  denoise 1/2"]

    progress.clear()

    assert terminal.screen() == [""]


def test_a_log_file_gets_failures_and_nothing_else():
    stream = io.StringIO()
    a_sweep(stream)

    assert stream.getvalue().splitlines() == ["[HYDRA] #0", "[HYDRA] #1", "job 1 failed", "[HYDRA] #2"]


@pytest.mark.parametrize("of", [Live, SweepProgress])
def test_a_stage_that_takes_long_says_how_long_and_never_zero_of_one(of, monkeypatch):
    clock, terminal = [100.0], Terminal()
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    line = of(stream=terminal)

    line.stage("load", 0, 1)
    assert terminal.screen()[-1].endswith("load")
    clock[0] += 7.4
    line.stage("load", 0, 1)
    assert terminal.screen()[-1].endswith("load  7 s")
    line.stage("denoise", 1, 8)
    assert terminal.screen()[-1].endswith("denoise 1/8")
    line.clear()
    assert terminal.screen() == [""]


def test_the_time_goes_on_by_itself_while_a_stage_says_nothing():
    class Waits(threading.Event):
        """An event whose waiting is over at once, twice."""

        left = 2

        def wait(self, timeout=None):
            self.left -= 1
            return self.left < 0

    terminal = Terminal()
    line = Live(stream=terminal)
    line._what, line._since = "load", module.time.monotonic() - 5

    line._tick(Waits())

    assert terminal.getvalue() == "\r\x1b[Kload  5 s" * 2


def test_a_log_file_of_one_job_has_no_live_line():
    stream = io.StringIO()
    line = Live(stream=stream)
    line.stage("load", 0, 1)
    line.clear()

    assert stream.getvalue() == ""
