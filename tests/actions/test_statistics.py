"""Normaliser statistics: the numbers, whom they serve, and every way in which a file can be wrong."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers.actions import builtin_statistics, load_statistics
from strands_diffusers.actions.statistics import FOLDER
from strands_diffusers.errors import DomainError

BRIDGE = "bridge_orig_lerobot"


def bridge_file(folder: Path, **changes: Any) -> str:
    """Write a copy of the Bridge statistics with `changes` (None removes a key) and return its path."""
    content = json.loads((FOLDER / f"{BRIDGE}.json").read_text()) | changes
    path = folder / "mine.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return str(path)


@pytest.mark.parametrize("name", builtin_statistics())
def test_the_built_in_numbers_are_those_of_the_published_files(name: str, data: Path) -> None:
    ours = json.loads((FOLDER / f"{name}.json").read_text())
    published = json.loads((data / "normalizer_stats" / f"{name}.json").read_text())

    for key in ("q01", "q99"):
        assert ours[key] == published[key][: len(ours[key])]
        assert len(ours[key]) == len(published[key]) or name == "umi_lerobot"


@pytest.mark.parametrize("name", builtin_statistics())
def test_every_built_in_file_says_whom_it_serves_and_under_which_licence(name: str) -> None:
    content = json.loads((FOLDER / f"{name}.json").read_text())

    assert content["domains"]
    assert content["license"] == "OpenMDW-1.1"
    assert "NVIDIA CORPORATION" in content["notice"]
    assert content["source"].startswith("NVIDIA cosmos-framework")


def test_statistics_of_another_domain_are_refused_though_the_width_fits() -> None:
    with pytest.raises(DomainError, match=r"those of fractal, not of 'bridge_orig_lerobot'.*statistics=bridge_orig"):
        load_statistics("fractal_lerobot", "bridge")


def test_the_gear_variants_do_not_borrow_the_statistics_of_agibotworld() -> None:
    assert load_statistics("agibotworld_beta_lerobot", "agibot").q01.shape == (29,)
    with pytest.raises(DomainError, match="those of agibotworld"):
        load_statistics("agibotworld_beta_lerobot", "agibot_gear_gripper")


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(DomainError, match=r"Did you mean 'droid_lerobot'\? Built in: agibot"):
        load_statistics("droid_lerobt", "droid")


def test_a_file_of_ones_own_is_read_and_may_name_the_domain_by_its_short_name(tmp_path: Path) -> None:
    path = bridge_file(tmp_path, domains=["bridge"], mean=[0.0] * 10, std=[2.0] * 10, source="my robot")

    statistics = load_statistics(path, BRIDGE)

    assert (statistics.domain, statistics.source, statistics.name) == (BRIDGE, "my robot", path)
    scale, offset = statistics.scale_and_offset("mean_std")
    np.testing.assert_array_equal(np.stack([scale, offset]), [[2.0] * 10, [0.0] * 10])


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    first = load_statistics(bridge_file(tmp_path), BRIDGE).q99[9]

    path = Path(bridge_file(tmp_path, q99=[9.0] * 10))
    os.utime(path, ns=(1, 1))

    assert (first, load_statistics(str(path), BRIDGE).q99[9]) == (1.0, 9.0)


def test_loaded_arrays_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_statistics(BRIDGE, "bridge").q01[0] = 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": None}, r"do not say which domains they serve\. Add \"domains\": \[\"bridge_orig_lerobot\"\]"),
        ({"domains": []}, "do not say which domains"),
        ({"q01": [0.0] * 9}, r"q01 has shape \[9\]; the domain needs \[10\]"),
        ({"q99": [float("nan")] * 10}, "q99 holds NaN or inf"),
        ({"q99": ["a"] * 10}, "q99 is not a list of numbers"),
        ({"q99": [[1.0], [1.0, 2.0]]}, "q99 is not a list of numbers"),
        ({"q99": [-1.0] * 10}, "q99 lies below q01 in column"),
        ({"q01": None, "q99": None}, "none of the pairs"),
        ({"mean": [0.0] * 10, "std": [-1.0] * 10}, "std is negative in column 'x'"),
        ({"columns": list("abcdefghij")}, "in that order"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DomainError, match=message):
        load_statistics(bridge_file(tmp_path, **changes), BRIDGE)


@pytest.mark.parametrize(("text", "message"), [("{", "is truncated or not JSON"), ("[1]", "must be a JSON object")])
def test_a_file_that_is_no_json_object_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)

    with pytest.raises(DomainError, match=message):
        load_statistics(str(path), BRIDGE)


def test_a_normalisation_that_the_file_cannot_serve_is_refused_with_those_it_can() -> None:
    with pytest.raises(DomainError, match=r"hold no mean and std.*They allow: quantile"):
        load_statistics(BRIDGE, "bridge").scale_and_offset("mean_std")


def test_an_unknown_normalisation_gets_a_near_miss() -> None:
    with pytest.raises(DomainError, match=r"Did you mean 'quantile'\?"):
        load_statistics(BRIDGE, "bridge").scale_and_offset("quantiles")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "is nested too deep"),
        (b'{"domains": ["bridge"], "q01": [' + b"9" * 400 + b"]}", "an integer of 400 digits"),
        (b'{"domains": ["bridge"], "q01": "\\ud800"}', "half of a character"),
        (b"\xff\xfe", "is truncated or not JSON"),
    ],
)
def test_json_that_nobody_can_use_is_refused_in_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(content)

    with pytest.raises(DomainError, match=words) as error:
        load_statistics(str(tmp_path / "mine.json"), BRIDGE)
    assert "\n" not in str(error.value)


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.floats(), max_size=11)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.sampled_from(["domains", "q01", "q99", "min", "max", "mean", "std", "columns", "source"]), ODD)
def test_any_value_in_a_file_of_statistics_is_used_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    content = json.loads((FOLDER / f"{BRIDGE}.json").read_text()) | {key: value}
    path = tmp_path_factory.mktemp("drawn") / "mine.json"
    path.write_text(json.dumps(content))
    try:
        arrays, refusal = load_statistics(str(path), BRIDGE).scale_and_offset("quantile"), ""
    except DomainError as error:
        arrays, refusal = (), str(error)
    assert "\n" not in refusal
    assert all(np.isfinite(array).all() for array in arrays)
