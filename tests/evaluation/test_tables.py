"""A sweep ends in tables: over its observations, and against each key that was swept."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sweep_folder import job

from strands_diffusers import evaluation, records
from strands_diffusers.evaluation import bootstrap, horizon, tables
from strands_diffusers.outputs.horizon import Curve, draw_horizon

PSNR = {"a": (12.0, 14.0), "b": (20.0, 22.0), "c": (16.0, 18.0), "d": (15.0, 17.0), "e": (17.0, 19.0)}


def sweep_over(sweep, steps=(8,), names="abcde"):
    number = 0
    for count in steps:
        for name in names:
            for seed, psnr in enumerate(PSNR[name]):
                job(
                    sweep, number, seed=seed, observation=f"sample:{name}",
                    overrides=[f"observation=sample:{name}", f"seed={seed}", f"sampler.num_inference_steps={count}"],
                    config={"sampler": {"num_inference_steps": count}},
                    metrics={
                        "video": {"psnr": psnr - count, "psnr_repeat_first_frame": 9.0, "moving_share": 0.1},
                        "action": {"mse": 0.01, "mse_mean_action": 0.04, "mse_no_motion": 0.09},
                    },
                )  # fmt: skip
                number += 1
    return records.jobs(sweep)


def cells(rows, value="psnr"):
    return [row.cells() for row in rows if row.value == value]


def test_seeds_are_averaged_before_observations(tmp_path):
    [row] = cells(tables.over_observations(sweep_over(tmp_path)))

    assert (row["observations"], row["mean"]) == (5, 9.0)
    assert 5.0 <= row["95 % low"] < 9.0 < row["95 % high"] <= 13.0


def test_below_five_observations_there_is_no_interval_and_the_number_stands_beside_the_value(tmp_path):
    found = sweep_over(tmp_path, names="abcd")

    [row] = cells(tables.over_observations(found))
    made, files, _ = evaluation.write_tables(tmp_path, found, len(found))

    assert (row["observations"], row["95 % low"], row["95 % high"]) == (4, None, None)
    assert "no intervals: they need 5 observations" in made[0]["note"]
    assert "95 % low" not in made[0]["columns"]
    assert "95 %" not in files[1].read_text()


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=12))
def test_an_interval_holds_the_mean_or_is_none(values):
    found = bootstrap.interval(values)

    assert (found is None) == (len(values) < 5)
    if found:
        low, high = found
        slack = 1e-9 * max(map(abs, values))
        assert min(values) - slack <= low <= high <= max(values) + slack


def test_baselines_and_pass_lines_stand_beside_the_value(tmp_path):
    table = {row.value: row.cells() for row in tables.over_observations(sweep_over(tmp_path, (0,)))}

    assert set(table) == {"psnr", "mse"}, "no row of its own for a baseline, none for a share"
    assert (table["psnr"]["repeat first frame"], table["psnr"]["pass line"], table["psnr"]["passes"]) == (9, 14, "yes")
    assert (table["mse"]["mean action"], table["mse"]["no motion"], table["mse"]["passes"]) == (0.04, 0.09, "yes")


def test_what_else_was_swept_has_rows_of_its_own(tmp_path):
    rows = cells(tables.over_observations(sweep_over(tmp_path, (0, 8))))

    assert [(row["num_inference_steps"], row["mean"], row["passes"]) for row in rows] == [
        ("0", 17.0, "yes"), ("8", 9.0, "no"),
    ]  # fmt: skip


def test_a_models_own_videos_pass_no_line(tmp_path):
    for number in range(2):
        job(tmp_path, number, observation=f"run:videos/{number}", metrics={"action": {"mse": 0.01}})
    found = records.jobs(tmp_path)

    [row] = tables.over_observations(found)

    assert row.cells()["passes"] is None
    assert "no score of a prediction" in evaluation.write_tables(tmp_path, found, 2)[0][0]["note"]


def test_one_observation_under_several_seeds_is_no_set(tmp_path):
    for seed in range(2):
        job(tmp_path, seed, seed=seed, overrides=[f"seed={seed}"], metrics={"video": {"psnr": 1.0}})

    assert tables.over_observations(records.jobs(tmp_path)) == []
    assert evaluation.write_tables(tmp_path, records.jobs(tmp_path), 2) == ([], [], [])
    assert not (tmp_path / "evaluation.csv").exists()


def test_samples_of_a_job_count_one_by_one_by_their_own_values(tmp_path):
    """Not the job's mean: a sample without the value must not count as one that has it."""
    for number, name in enumerate("ab"):
        of_samples = [{"metrics": {"video": {"psnr": 10.0}}}, {"metrics": {"video": {"psnr": 14.0}}}, {"metrics": {}}]
        job(
            tmp_path,
            number,
            observation=f"sample:{name}",
            samples=[own | {"observation": f"sample:{name}"} for own in of_samples],
        )

    [row] = tables.over_observations(records.jobs(tmp_path))

    assert row.found == {"sample:a": [10.0, 14.0], "sample:b": [10.0, 14.0]}
    assert row.mean == 12.0


def guided(sweep, psnr_of, scales=(1, 4), seeds=range(6), names=("a",), leave_out=()):
    asked = [(name, scale, seed) for name in names for scale in scales for seed in seeds]
    for number, (name, scale, seed) in enumerate(asked):
        if (name, scale, seed) in leave_out:
            continue
        job(
            sweep, number, seed=seed, observation=f"sample:{name}",
            overrides=[f"observation=sample:{name}", f"sampler.guidance_scale={scale}", f"seed={seed}"],
            config={"sampler": {"guidance_scale": scale}},
            metrics={"video": {"psnr": psnr_of(name, scale, seed), "psnr_repeat_first_frame": 9.0}},
        )  # fmt: skip
    return records.jobs(sweep)


def test_which_guidance_is_best_is_answered_over_seeds_where_there_is_one_observation(tmp_path):
    found = guided(tmp_path, lambda name, scale, seed: 10.0 + scale + seed)

    one, four = tables.against(found, "sampler.guidance_scale", "video.psnr")

    assert [(row.group, row.over, row.count, row.mean) for row in (one, four)] == [
        ({"guidance_scale": "1"}, "seeds", 6, 13.5), ({"guidance_scale": "4"}, "seeds", 6, 16.5),
    ]  # fmt: skip
    low, high = one.interval
    assert 11.0 <= low < 13.5 < high <= 16.0
    assert one.cells()["repeat first frame"] == 9.0


def test_rows_against_a_key_differ_in_nothing_but_the_key(tmp_path):
    """The seed that guidance 4 lacks would move the mean of guidance 1 alone."""
    found = guided(tmp_path, lambda name, scale, seed: 100.0 if seed == 5 else 10.0, leave_out=[("a", 4, 5)])

    rows = tables.against(found, "guidance_scale", "video")

    assert [(row.count, row.mean) for row in rows] == [(5, 10.0), (5, 10.0)]


def test_against_a_key_several_observations_are_what_is_averaged_over(tmp_path):
    found = guided(
        tmp_path, lambda name, scale, seed: {"a": 10, "b": 20}[name] + scale + seed, names="ab", seeds=(0, 2)
    )

    rows = tables.against(found, "sampler.guidance_scale")

    assert [(row.over, row.count, row.mean, row.interval) for row in rows] == [
        ("observations", 2, 17.0, None), ("observations", 2, 20.0, None),
    ]  # fmt: skip


def test_the_rows_of_one_value_stand_below_each_other(tmp_path):
    for number, scale in enumerate((4, 1, 10)):
        job(
            tmp_path, number, overrides=[f"sampler.guidance_scale={scale}"],
            config={"sampler": {"guidance_scale": scale}}, metrics={"video": {"ssim": 0.5, "psnr": 10.0 + scale}},
        )  # fmt: skip

    rows = tables.against(records.jobs(tmp_path), "guidance_scale")

    assert [(row.value, row.group["guidance_scale"]) for row in rows] == [
        ("psnr", "1"), ("psnr", "4"), ("psnr", "10"), ("ssim", "1"), ("ssim", "4"), ("ssim", "10"),
    ]  # fmt: skip


def test_a_key_that_was_not_swept_has_no_rows(tmp_path):
    found = guided(tmp_path, lambda name, scale, seed: 1.0)

    assert tables.against(found, "sampler.flow_shift") == []
    assert tables.against(found, "guidance_scale", "action") == []
    assert tables.against([], "guidance_scale") == []


def test_the_files_hold_the_table_against_the_swept_key(tmp_path):
    found = guided(tmp_path, lambda name, scale, seed: 10.0 + scale + seed)

    [table], files, pictures = evaluation.write_tables(tmp_path, found, len(found))

    assert table["name"] == "by guidance_scale: video"
    assert "Means over seeds of one observation; 95 % intervals by bootstrap over seeds" in table["note"]
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [(row["table"], row["guidance_scale"], row["seeds"], row["mean"]) for row in rows] == [
        ("by guidance_scale", "1", "6", "13.5"), ("by guidance_scale", "4", "6", "16.5"),
    ]  # fmt: skip
    assert "| psnr | 4 | dB | higher | 6 | 16.5 |" in files[1].read_text()
    assert pictures == []


def test_the_interval_agrees_with_the_normal_one_and_is_the_same_every_time():
    values = np.random.default_rng(5).normal(3.0, 2.0, 400)

    low, high = bootstrap.interval(values)

    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap.interval(values) == (low, high)


def test_a_finished_sweep_holds_its_tables_as_files(tmp_path):
    found = sweep_over(tmp_path, (0,))

    made, files, pictures = evaluation.write_tables(tmp_path, found, len(found) + 1)

    assert [table["name"] for table in made] == ["evaluation: action", "evaluation: video"]
    assert "1 of 11 jobs left no measurement" in made[0]["note"]
    assert [path.name for path in files] == ["evaluation.csv", "evaluation.md"]
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [(row["metric"], row["value"], row["mean"]) for row in rows] == [
        ("action", "mse", "0.01"), ("video", "psnr", "17.0"),
    ]  # fmt: skip
    assert "| psnr | dB | higher | 5 | 17.0 |" in files[1].read_text()
    assert pictures == []


def chunks(sweep, action_of, steps=8, names="abcde"):
    """Observations under two settings; the truth climbs from 0 to 1."""
    truth = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None].repeat(2, axis=2)
    for number, (name, count) in enumerate((n, c) for n in names for c in (4, 8)):
        job(
            sweep, number, observation=f"sample:{name}", action=action_of(truth, name, count),
            overrides=[f"observation=sample:{name}", f"sampler.num_inference_steps={count}"],
            reference_action=truth.tolist(), config={"sampler": {"num_inference_steps": count}},
            metrics={"action": {"mse": 0.1}},
        )  # fmt: skip
    return records.jobs(sweep)


def drifts(truth, name, count):
    slope = ("abcde".index(name) + 1) * (count / 4)
    return (truth * (1 + slope)).astype(np.float32)


def test_the_error_along_the_horizon_has_a_curve_for_each_setting_and_the_mean_action(tmp_path):
    four, eight, mean = horizon.curves(chunks(tmp_path, drifts))

    time = np.linspace(0, 1, 8)
    assert [c.label for c in (four, eight)] == ["num_inference_steps 4", "num_inference_steps 8"]
    np.testing.assert_allclose(four.error_T, 3 * time, atol=1e-6)
    np.testing.assert_allclose(eight.error_T, 6 * time, atol=1e-6)
    assert (four.band_T2[1:, 0] < four.error_T[1:]).all()
    assert (four.band_T2[1:, 1] > four.error_T[1:]).all()
    np.testing.assert_allclose(mean.error_T, np.abs(time - 0.5), atol=1e-6)
    assert mean.baseline


def test_the_error_along_the_horizon_has_no_bands_below_five_observations(tmp_path):
    four, eight, _ = horizon.curves(chunks(tmp_path, drifts, names="abc"))

    assert four.band_T2 is None
    assert eight.band_T2 is None


def test_a_sweep_that_predicts_actions_ends_in_a_picture_of_the_horizon(tmp_path):
    found = chunks(tmp_path, lambda truth, name, count: truth + np.float32(0.1))

    _, files, pictures = evaluation.write_tables(tmp_path, found, len(found))

    with Image.open(tmp_path / "horizon.png") as picture:
        assert picture.size == (1600, 720)
    assert files[-1] == tmp_path / "horizon.png"
    assert pictures == [{"name": "error along the horizon", "path": "horizon.png"}]


@pytest.mark.parametrize("damage", ["[[[0.1, 0.2], [0.3]]]", "{", "[]"])
def test_a_damaged_action_file_costs_the_picture_and_not_the_tables(tmp_path, damage):
    found = chunks(tmp_path, lambda truth, name, count: truth)
    (tmp_path / "3" / "action.json").write_text(damage)

    made, _, pictures = evaluation.write_tables(tmp_path, found, len(found))

    assert [table["name"] for table in made] == ["evaluation: action"]
    assert pictures == []


def test_a_perfect_prediction_can_be_drawn(tmp_path):
    curve = Curve("predicted", np.zeros(16))

    draw_horizon(tmp_path / "horizon.png", [curve], "title", "facts")

    assert (tmp_path / "horizon.png").stat().st_size > 1000


def test_values_of_one_group_are_drawn_as_a_whole():
    """Twenty copies of each of six starts say no more than the six starts."""
    starts = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 9.0])

    alone = bootstrap.interval(starts)

    assert bootstrap.interval(np.repeat(starts, 20), np.repeat(np.arange(6), 20)) == pytest.approx(alone)
    assert bootstrap.interval(np.repeat(starts, 20))[0] > alone[0] + 1
    assert bootstrap.interval(np.repeat(starts[:4], 20), np.repeat(np.arange(4), 20)) is None
