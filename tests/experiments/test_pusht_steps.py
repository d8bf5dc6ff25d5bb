"""The table over numbers of denoising steps says what was measured at each."""

import pytest

pytest.importorskip("strands_diffusers_pusht", reason="pip install -e plugins/pusht")
pytest.importorskip("experiments", reason="experiments are run from the checkout")

from experiments.pusht_quality import steps


def results(count: int, gain: float):
    for index in range(6):
        yield {
            "steps": count,
            "kind": "video",
            "index": index,
            "task": "",
            "seconds": count / 10,
            "psnr_changed": 10 + gain,
            "iou": 0.5,
        }
        yield {"steps": count, "kind": "inverse", "index": index, "task": "", "seconds": 1.0, "mae": 0.01 * count}
        for task in ("left", "up"):
            move = {"move_px": 20 * gain + index, "wrong": 0.0, "pusher_px": 5.0}
            yield {"steps": count, "kind": "policy", "index": index, "task": task, "seconds": count / 5, **move}


def test_each_number_of_steps_has_its_row_with_means_intervals_and_seconds():
    lines = steps.table([*results(2, 1.0), *results(8, 2.0)], [2, 8]).splitlines()

    two, eight = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:4])
    assert two[:3] == ["2", "0.40", "0.20"]
    assert eight[:3] == ["8", "1.60", "0.80"]
    assert two[3].startswith("22.5 (21.")
    assert eight[6].startswith("12.00 (12.00 to 12.00")
    assert eight[-1].startswith("0.0800")
    assert "6 held-out clips; 6 held-out starts" in lines[-1]
