"""Does choosing pay? `python -m experiments.plan_pusht DIR`: the table of what `run.sh DIR` has made so far, `DIR/plan.md`."""

import argparse
import json
from pathlib import Path

import numpy as np

from strands_diffusers import records
from strands_diffusers.evaluation import bootstrap

SOLVED = 0.95
"""Coverage from which gym-pusht calls a table solved."""

Cell = tuple[float, float, float]
"""Final and best coverage of an episode, and the policy's wall seconds per look."""


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.plan_pusht", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    text = table(cells(folder))
    records.write_text(folder / "plan.md", text)
    print(text)


def cells(folder: Path) -> dict[str, dict[str, Cell]]:
    """By arm and table: what each finished episode came to."""
    found: dict[str, dict[str, Cell]] = {}
    for sweep in ("plan", "often"):
        for record in records.jobs(folder / sweep) if (folder / sweep).is_dir() else ():
            path = record.file("episode", suffix="episode.json") if record.done else None
            if path is not None:
                tree = json.loads(path.read_text(encoding="utf-8"))
                named = (o.partition("=")[2] for o in record.overrides if o.startswith("policy="))
                arm = next(named, tree["policy"]) + ("_often" if sweep == "often" else "")
                values = tree["scores"]["pusht_coverage"]["values"]
                seconds = float(np.median([look["seconds"]["policy"] for look in tree["looks"]]))
                found.setdefault(arm, {})[record.observation] = values[-1], max(values), seconds
    return found


def table(found: dict[str, dict[str, Cell]]) -> str:
    """An arm a row: coverage, differences on the same tables, tables solved, what a look takes."""
    lines = [
        "| arm | tables | final coverage | against the model alone | against the expert | best moment | solved | s per look |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, of in found.items():
        final, best, seconds = (np.array([cell[i] for cell in of.values()]) for i in range(3))
        against = [_difference(of, found.get(other, {})) if other != arm else "" for other in ("alone", "pusht_expert")]
        solved = f"{(best > SOLVED).sum()} ({(final > SOLVED).sum()} at the end)"
        lines.append(
            f"| {arm} | {len(of)} | {_mean(final)} | {' | '.join(against)} | {best.mean():.3f} | {solved} "
            f"| {np.median(seconds):.2f} |"
        )
    return "\n".join(lines) + "\n"


def _difference(of: dict[str, Cell], other: dict[str, Cell]) -> str:
    shared = [case for case in of if case in other]
    return _mean(np.array([of[case][0] - other[case][0] for case in shared]), "+") if shared else ""


def _mean(values: np.ndarray, sign: str = "") -> str:
    ends = bootstrap.interval(values)
    return f"{values.mean():{sign}.3f}" + (f" [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]" if ends else "")


if __name__ == "__main__":
    main()
