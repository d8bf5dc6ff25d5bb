"""The judge's program: where a block met a wall, and that every policy of the run has its preset."""

import re
from pathlib import Path

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
