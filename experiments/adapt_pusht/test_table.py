"""The goals are ratios of means over the tables that both models were asked about."""

import json
from pathlib import Path

import pytest

pytest.importorskip("strands_diffusers_pusht")

from . import table


def _write(path: Path, block_px: list[float], first: int = 0) -> None:
    base = dict.fromkeys(table.COLUMNS, 2.0)
    rows = [{"index": first + i, **base, "block_px": px, "wrong": 0.5} for i, px in enumerate(block_px)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_goals_compare_with_the_shipped_model_on_the_same_tables(tmp_path: Path) -> None:
    _write(tmp_path / "original-shipped.jsonl", [100.0, 4.0, 6.0])
    _write(tmp_path / "original-physics_50_lora.jsonl", [5.0, 6.0], first=1)
    _write(tmp_path / "physics-50_lora.jsonl", [8.0, 7.0], first=1)
    row = table.goals(tmp_path).splitlines()[-1]
    assert row == "| physics | 50 episodes, lora | 1.50 | 50 | 1.10 | 1.00 | 1.00 | 1.00 |"


def test_what_was_forgotten_is_not_said_where_actions_mean_something_else(tmp_path: Path) -> None:
    _write(tmp_path / "original-shipped.jsonl", [4.0, 6.0])
    _write(tmp_path / "relative-50_all.jsonl", [5.0, 5.0])
    assert table.goals(tmp_path).splitlines()[-1] == "| relative | 50 episodes, all | 1.00 | 50 | - | - | - | - |"
