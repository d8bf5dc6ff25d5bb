"""`action.json` holds the very float32 numbers, `action_physical.json` what they mean."""

import json
from dataclasses import replace

import numpy as np
import pytest

from strands_diffusers.errors import OutputError
from strands_diffusers.outputs.serializers import ActionSerializer, rows_json
from strands_diffusers.results import ActionSpace, Rollout

AV = ActionSpace("av")


def save(rollout, folder):
    return ActionSerializer().save(rollout, folder)


def stored(folder) -> np.ndarray:
    return np.array(json.loads((folder / "action.json").read_text()), np.float32)


def test_every_value_reads_back_to_the_same_float32(tmp_path):
    info = np.finfo(np.float32)
    edges = [
        0.0,
        -0.0,
        1.0,
        -1.031,
        0.1,
        1 / 3,
        info.max,
        info.min,
        info.tiny,
        info.smallest_subnormal,
        -1e-40,
        info.eps,
    ]
    bits = np.random.default_rng(0).integers(0, 2**32, 9_000, np.uint32).view(np.float32)
    values = np.concatenate([np.array(edges, np.float32), bits[np.isfinite(bits)]])
    action_KTD = values[: len(values) // 36 * 36].reshape(-1, 4, 9)

    save(Rollout(mode="policy", action=action_KTD, space=AV), tmp_path)

    assert stored(tmp_path).shape == action_KTD.shape
    np.testing.assert_array_equal(stored(tmp_path).view(np.uint32), action_KTD.view(np.uint32))


def test_a_real_chunk_beyond_one_is_stored_unclipped(data, tmp_path):
    real = np.array(json.loads((data / "cosmos3_nano" / "cosmos_action_chunk.json").read_text()), np.float32)
    space = ActionSpace("bridge_orig_lerobot", statistics="bridge_orig_lerobot")

    save(Rollout(mode="policy", action=real.reshape(1, 16, 10), space=space), tmp_path)

    assert np.abs(real).max() > 1
    np.testing.assert_array_equal(stored(tmp_path), real.reshape(1, 16, 10))


def test_the_file_has_one_step_per_line(bridge):
    lines = rows_json(np.zeros((3, 4, 2), np.float32)).splitlines()

    assert sum(line.startswith("[0.0, 0.0]") for line in lines) == 12


def test_the_physical_record_names_columns_units_and_the_path(bridge, tmp_path):
    exact, physical = save(bridge, tmp_path)

    record = json.loads(physical.path.read_text())
    assert [a.path.name for a in (exact, physical)] == ["action.json", "action_physical.json"]
    assert [c["name"] for c in record["columns"]][:3] == ["x", "y", "z"]
    assert record["columns"][0]["unit"] == "m"
    assert np.array(record["action"]).shape == (1, 16, 10)
    assert np.array(record["paths"]["arm"]["poses"]).shape == (17, 4, 4)
    assert exact.details == {
        "shape": [1, 16, 10],
        "dtype": "float32",
        "unit": "model space",
        "domain": "bridge_orig_lerobot",
    }


def test_a_domain_without_statistics_has_no_physical_record(tmp_path):
    [artifact] = save(Rollout(mode="policy", action=np.zeros((1, 60, 9), np.float32), space=AV), tmp_path)

    assert [p.name for p in tmp_path.iterdir()] == [artifact.path.name] == ["action.json"]


@pytest.mark.parametrize("shape", [(10,), (16, 10), (1, 16, 9), (1, 1, 16, 10)])
def test_a_wrong_shape_is_refused_and_nothing_is_written(bridge, tmp_path, shape):
    with pytest.raises(OutputError, match=r"'bridge_orig_lerobot' needs \[K, T, 10\]"):
        save(replace(bridge, action=np.zeros(shape, np.float32)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_nothing_is_written(bridge, tmp_path, value):
    action_KTD = bridge.action.copy()
    action_KTD[0, 3, 4] = value
    with pytest.raises(OutputError, match="NaN or inf in 1 of 160 values"):
        save(replace(bridge, action=action_KTD), tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_precision_is_refused_for_it_would_not_be_the_models_own(bridge, tmp_path):
    with pytest.raises(OutputError, match=r"float32 array \[K, T, D\], got float64"):
        save(replace(bridge, action=bridge.action.astype(np.float64)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_action_file_is_left_alone_when_its_companion_cannot_be_written(full_folder, bridge):
    long = np.tile(bridge.action[:, :1], (1, 256, 1))  # action.json fits into 64 KiB, the decoded path does not
    with pytest.raises(OutputError, match=r"action_physical\.json: the disk is full"):
        save(replace(bridge, action=long), full_folder)
    assert not list(full_folder.iterdir())
