"""The judge's program: where a block met a wall, and that every policy of the run has its preset."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.judge_pusht import __main__ as program
from experiments.judge_pusht import prepare

RUN = (Path(__file__).parent / "run.sh").read_text()


def state(block_x: float) -> dict[str, object]:
    return {"pusher_px": [60.0, 60.0], "block_px": [block_x, 250.0], "angle_rad": 0.0}


@pytest.mark.parametrize(
    ("places", "clear"), [((250, 240, 230, 220, 210), float("inf")), ((250, 240, 230, 20, 200), 1)]
)
def test_an_episode_counts_as_clear_up_to_the_look_before_its_block_meets_a_wall(
    places: tuple[int, ...], clear: float
) -> None:
    assert program.looks_clear([state(float(x)) for x in places], [2, 4]) == clear


def test_every_policy_of_the_run_has_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "extract", lambda _, folder: folder)  # git's past may not be here
    monkeypatch.setattr(prepare, "spoil", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["prepare", "--out", str(tmp_path)])

    prepare.main()

    made = {path.stem for path in (tmp_path / "conf/policy").iterdir()}
    [asked] = re.findall(r"POLICIES:-(.*?)}", RUN)
    others = {name for name in asked.split(",") if name not in made}
    assert others == {"random", "still", "pusht_expert", *(f"expert_{px}px" for px in (25, 50, 100, 200))}
    assert (
        (tmp_path / "conf/model/deaf.yaml")
        .read_text()
        .startswith("defaults:\n  - cosmos3_pusht\n  - _self_\nname: deaf\n")
    )


def test_a_table_with_fewer_looks_counts_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = {"still": 0.1, "random": 0.2, "pusht_expert": 0.5}

    def cells(_: object, in_model: bool) -> dict[tuple[str, str], tuple[np.ndarray, float]]:
        looks = {"pusht:1": 2, "pusht:2": 2 if in_model else 1}
        return {(p, c): (np.full(n, score), float("inf")) for p, score in policies.items() for c, n in looks.items()}

    monkeypatch.setattr(program, "cells", cells)

    rows = [row.split(" | ") for row in program.table([]).splitlines()[2:]]

    assert [(row[0], row[2]) for row in rows if row[1] == "all"] == [("| 1", "100%"), ("| 2", "50%")]
