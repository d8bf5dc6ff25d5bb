"""A line about a long job, from the pace of its first steps."""

import time

import pytest

from strands_diffusers.runner.control import Control


def lines(monkeypatch, seconds_a_step, total, steps=40, what="denoise"):
    """What a job says whose steps take so long."""
    said, now = [], [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    control = Control()
    control.begin(None, said.append)
    control("load", 0, 1)
    for done in range(1, steps):
        now[0] += seconds_a_step
        control(what, done, total)
    return said


def test_a_job_of_hours_says_so_once_its_pace_is_known(monkeypatch):
    assert lines(monkeypatch, 1.0, 32768) == [
        "at this pace some 546 minutes are ahead (16 of 32768 denoising steps are done)"
    ]


def test_a_closed_loop_of_hours_says_so_by_its_looks(monkeypatch):
    assert lines(monkeypatch, 20.0, 100, what="look") == [
        "at this pace some 33 minutes are ahead (2 of 100 looks are done)"
    ]


@pytest.mark.parametrize(("seconds_a_step", "total"), [(0.1, 400), (1.0, 600), (20.0, 30)])
def test_a_job_of_minutes_says_nothing(seconds_a_step, total, monkeypatch):
    assert lines(monkeypatch, seconds_a_step, total) == []
