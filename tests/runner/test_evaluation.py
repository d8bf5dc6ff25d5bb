"""A sweep over observations ends in one table per metric, with intervals, baselines and pass lines."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sweep_folder import job

from strands_diffusers.outputs.horizon import Curve, draw_horizon
from strands_diffusers.runner import bootstrap, evaluation, futures, summary

PSNR = {"a": (12.0, 14.0), "b": (20.0, 22.0), "c": (16.0, 18.0)}


def measured(sweep, steps=(8,)):
    number = 0
    for count in steps:
        for name, values in PSNR.items():
            for seed, psnr in enumerate(values):
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
    return evaluation.lines(list(futures.finished(sweep)))


def test_seeds_are_averaged_before_observations(tmp_path):
    table = {line.value: line.cells() for line in measured(tmp_path, (0,))}

    assert table["psnr"]["observations"] == 3
    assert table["psnr"]["mean"] == 17.0
    assert 13.0 <= table["psnr"]["95 % low"] < 17.0 < table["psnr"]["95 % high"] <= 21.0


def test_baselines_and_pass_lines_stand_beside_the_value(tmp_path):
    table = {line.value: line.cells() for line in measured(tmp_path, (0,))}

    assert set(table) == {"psnr", "mse"}, "no row of its own for a baseline, none for a share"
    assert (table["psnr"]["repeat first frame"], table["psnr"]["pass line"], table["psnr"]["passes"]) == (9, 14, "yes")
    assert (table["mse"]["mean action"], table["mse"]["no motion"], table["mse"]["passes"]) == (0.04, 0.09, "yes")


def test_what_else_was_swept_has_rows_of_its_own(tmp_path):
    rows = [line.cells() for line in measured(tmp_path, (0, 8)) if line.value == "psnr"]

    assert [(row["num_inference_steps"], row["mean"], row["passes"]) for row in rows] == [
        ("0", 17.0, "yes"), ("8", 9.0, "no"),
    ]  # fmt: skip


def test_a_models_own_films_pass_no_line(tmp_path):
    for number in range(2):
        job(tmp_path, number, observation=f"run:films/{number}", metrics={"action": {"mse": 0.01}})

    [line] = evaluation.lines(list(futures.finished(tmp_path)))

    assert line.cells()["passes"] is None
    assert "no score of a prediction" in evaluation.tables([line], 2, 2)[0]["note"]


def test_one_observation_is_no_set(tmp_path):
    job(tmp_path, 0, metrics={"video": {"psnr": 1.0}})

    assert evaluation.lines(list(futures.finished(tmp_path))) == []


def test_the_interval_agrees_with_the_normal_one_and_is_the_same_every_time():
    values = np.random.default_rng(5).normal(3.0, 2.0, 400)

    low, high = bootstrap.interval(values)

    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap.interval(values) == (low, high)
    assert bootstrap.interval(values[:1]) == (None, None)


def test_a_finished_sweep_holds_its_tables_as_files_and_in_its_record(tmp_path):
    measured(tmp_path, (0,))
    (tmp_path / "6").mkdir()
    (tmp_path / "6" / "failure.json").write_text(
        json.dumps({"schema_version": 1, "overrides": [], "error": "RolloutError: no", "stage": "generate"})
    )

    _, notes = summary.conclude(tmp_path, 0.0, None)

    record = json.loads((tmp_path / "sweep.json").read_text())
    assert [table["name"] for table in record["tables"]] == ["evaluation: action", "evaluation: video"]
    assert "1 of 7 jobs left no measurement" in record["tables"][0]["note"]
    rows = list(csv.DictReader((tmp_path / "evaluation.csv").read_text().splitlines()))
    assert [(row["metric"], row["value"], row["mean"]) for row in rows] == [
        ("action", "mse", "0.01"), ("video", "psnr", "17.0"),
    ]  # fmt: skip
    text = (tmp_path / "evaluation.md").read_text()
    assert "| psnr | dB | higher | 3 | 17.0 |" in text
    assert any(str(tmp_path / "evaluation.md") in note for note in notes)
    assert "evaluation: video" in (tmp_path / "index.html").read_text()


def chunks(sweep, action_of, steps=8):
    """Two observations under two settings; the truth climbs from 0 to 1."""
    truth = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None].repeat(2, axis=2)
    for number, (name, count) in enumerate((n, c) for n in "ab" for c in (4, 8)):
        job(
            sweep, number, observation=f"sample:{name}", action=action_of(truth, name, count), reference_action=truth,
            overrides=[f"observation=sample:{name}", f"sampler.num_inference_steps={count}"],
            config={"sampler": {"num_inference_steps": count}}, metrics={"action": {"mse": 0.1}},
        )  # fmt: skip
    return evaluation.along_horizon(list(futures.finished(sweep)))


def test_the_error_along_the_horizon_has_a_curve_for_each_setting_and_the_mean_action(tmp_path):
    def drifts(truth, name, count):
        slope = {"a": 1.0, "b": 3.0}[name] * (count / 4)
        return (truth * (1 + slope)).astype(np.float32)

    four, eight, mean = chunks(tmp_path, drifts)

    time = np.linspace(0, 1, 8)
    assert [c.label for c in (four, eight)] == ["num_inference_steps 4", "num_inference_steps 8"]
    np.testing.assert_allclose(four.error_T, 2 * time, atol=1e-6)
    np.testing.assert_allclose(eight.error_T, 4 * time, atol=1e-6)
    np.testing.assert_allclose(four.band_T2, np.stack([time, 3 * time], axis=1), atol=1e-6)
    np.testing.assert_allclose(mean.error_T, np.abs(time - 0.5), atol=1e-6)
    assert mean.baseline


def test_a_sweep_that_predicts_actions_ends_in_a_picture_of_the_horizon(tmp_path):
    chunks(tmp_path, lambda truth, name, count: truth + np.float32(0.1))

    _, notes = summary.conclude(tmp_path, 0.0, None)

    with Image.open(tmp_path / "horizon.png") as picture:
        assert picture.size == (1600, 720)
    assert any(note.startswith("error along the horizon: ") for note in notes)
    assert '"href":"./horizon.png"' in (tmp_path / "index.html").read_text()


def test_a_perfect_prediction_can_be_drawn(tmp_path):
    curve = Curve("predicted", np.zeros(16))

    draw_horizon(tmp_path / "horizon.png", [curve], "title", "facts")

    assert (tmp_path / "horizon.png").stat().st_size > 1000
