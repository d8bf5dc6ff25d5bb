"""Whatever the records of a sweep hold, its end is tables and judgements, never a traceback."""

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import evaluation
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Record, SampleRecord

NUMBERS = st.one_of(
    st.floats(width=32), st.integers(-(10**30), 10**30), st.sampled_from([math.nan, math.inf, -math.inf])
)
VALUES = st.sampled_from(["psnr", "psnr_repeat_first_frame", "mse", "mae", "mae_mean_action", "steps", "odd value", ""])
METRICS = st.dictionaries(
    st.sampled_from(["video", "action", "someone's"]), st.dictionaries(VALUES, NUMBERS, max_size=4), max_size=3
)
SOURCES = st.sampled_from([None, "sample:a", "run:b", "c.mp4", ""])
DETAILS = st.sampled_from([None, {"run_mode": "policy"}])
OBSERVATIONS = st.one_of(st.just({}), st.fixed_dictionaries({"source": SOURCES, "details": DETAILS}))
SAMPLES = st.builds(
    SampleRecord, seed=st.one_of(st.none(), st.integers(0, 3)), observation=OBSERVATIONS, metrics=METRICS,
    mode=st.sampled_from(["policy", "forward_dynamics", ""]),
    reference_action=st.one_of(st.none(), st.just([]), st.just([[[0.0]]])),
)  # fmt: skip
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 3),
        "prompt": st.sampled_from(["left", "right", None]),
        "condition": st.one_of(st.none(), st.fixed_dictionaries({"perturb": st.sampled_from(["none", "zero"])})),
        "sampler": st.fixed_dictionaries({"guidance_scale": st.sampled_from([1.0, 3.0, None])}),
    },
)
RECORDS = st.lists(
    st.builds(
        lambda status, config, samples: Record(Path("sweep") / "0", status, config=config, samples=tuple(samples)),
        st.sampled_from(["done", "done", "failed", "damaged"]), CONFIGS, st.lists(SAMPLES, max_size=3),
    ),
    max_size=6,
)  # fmt: skip


@settings(derandomize=True, max_examples=30, deadline=None)
@given(RECORDS)
def test_tables_hold_finite_numbers_only(records):
    with tempfile.TemporaryDirectory() as folder:
        made, files, _ = evaluation.write_tables(Path(folder), records, len(records))

        assert all(path.is_file() for path in files)
    json.dumps(made, allow_nan=False)
    for table in made:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])


@pytest.mark.parametrize("name", plugins().classes("verdict"))
@settings(derandomize=True, max_examples=10, deadline=None)
@given(records=RECORDS)
def test_a_verdict_over_odd_records_is_a_judgement(name, records):
    asked = [
        Record(r.directory, r.status, config={**r.config, "sweep": {"verdict": name}}, samples=r.samples)
        for r in records
    ]
    with tempfile.TemporaryDirectory() as folder:
        judged = evaluation.judge(Path(folder), asked)

    assert all(item.verdict for item in judged)
    assert bool(judged) == bool(records)
