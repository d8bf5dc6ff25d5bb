"""What a sweep leaves behind: what its last lines say, and how long hooks may take."""

import time
import types

import pytest
import sweep_folder

from strands_diffusers import hookimpl
from strands_diffusers.plugin import manager
from strands_diffusers.runner import summary

ELSEWHERE = "no reference: the observation shows another task (“Push left.”)"


@pytest.fixture
def slow_hook():
    module = types.ModuleType("slow")
    module.on_sweep_end = hookimpl(lambda directory: time.sleep(20))
    index = manager.plugins()
    index.hooks.register(module, name="slow")
    yield
    index.hooks.unregister(name="slow")


def test_the_hook_at_the_end_of_a_sweep_has_the_sweeps_own_time_limit(slow_hook, tmp_path):
    sweep_folder.job(tmp_path, 0, config={"hook_timeout_s": 0.2})

    _, notes = summary.conclude(tmp_path)

    assert any("on_sweep_end" in note and "slow" in note and "no answer within 0.2 s" in note for note in notes), notes


@pytest.mark.parametrize(
    ("without", "said"), [((0, 1), ELSEWHERE), ((1,), f"job 1: {ELSEWHERE}"), ((), None)], ids=["all", "one", "none"]
)
def test_the_end_of_a_sweep_says_which_jobs_have_no_reference(tmp_path, without, said):
    for number in range(2):
        folder = sweep_folder.job(tmp_path, number)
        if number in without:
            _with_reference_note(folder)

    _, notes = summary.conclude(tmp_path)

    assert [note for note in notes if "reference" in note] == ([said] if said else [])


def _with_reference_note(folder):
    from dataclasses import replace

    from strands_diffusers import records

    record = records.read(folder)
    records.write(replace(record, samples=tuple(replace(s, details={"reference": ELSEWHERE}) for s in record.samples)))
