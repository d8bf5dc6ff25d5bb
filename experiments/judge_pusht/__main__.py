"""What the judge says with and without walls: `python -m experiments.judge_pusht FOLDER`, a sweep of `experiment=judge_pusht`.

An episode of the model has met a wall after a look where, with the same actions, the simulator's block has touched one by then.
Writes `walls.md` beside `evaluation.md`.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from strands_diffusers import records
from strands_diffusers.evaluation import ranking
from strands_diffusers.records import Record


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.judge_pusht", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    text = table([record for record in records.jobs(folder) if record.done])
    records.write_text(folder / "walls.md", text)
    print(text)


def table(found: list[Record]) -> str:
    """Statistics after each look: all episodes, those before any wall, those at one."""
    worlds = {True: cells(found, in_model=True), False: cells(found, in_model=False)}
    shared = sorted(worlds[True].keys() & worlds[False].keys())
    policies = list(dict.fromkeys(policy for policy, _ in shared))
    cases = list(dict.fromkeys(case for _, case in shared))
    count = max((len(scores) for scores, _ in worlds[True].values()), default=0)
    lines = [
        "| looks | episodes | of all | policies | Pearson | Spearman | rank violation |",
        "|---|---|---|---|---|---|---|",
    ]
    for looks in range(1, count + 1):
        for which in ("all", "clear of walls", "at a wall"):
            judged = np.full((len(policies), len(cases)), np.nan)
            true = judged.copy()
            for policy, case in shared:
                (scores, wall), (truth, _) = worlds[True][policy, case], worlds[False][policy, case]
                met = wall < looks
                seen = looks <= min(len(scores), len(truth))  # some tables may have been given fewer looks
                if seen and (which == "all" or met == (which == "at a wall")):
                    place = policies.index(policy), cases.index(case)
                    judged[place], true[place] = scores[looks - 1], truth[looks - 1]
            some = np.isfinite(judged).any(axis=1)
            share = np.isfinite(judged).sum() / max(len(shared), 1)
            if some.sum() < 3:
                lines.append(f"| {looks} | {which} | {share:.0%} | {some.sum()} | | | |")
                continue
            of = ranking.compare(judged[some], true[some])
            said = [f"{of.values[name]:z.2f}{ends(of, name)}" for name in ranking.STATISTICS]
            lines.append(f"| {looks} | {which} | {share:.0%} | {some.sum()} | {' | '.join(said)} |")
    return "\n".join(lines) + "\n"


def ends(of: ranking.Ranking, name: str) -> str:
    """The interval of a statistic, where there is one."""
    return "" if name not in of.intervals else " [{:z.2f}, {:z.2f}]".format(*of.intervals[name])


def cells(found: list[Record], in_model: bool) -> dict[tuple[str, str], tuple[np.ndarray, float]]:
    """By policy and table: the score after each look, and after how many looks the block was last clear of the walls."""
    made = {}
    for record, tree in episodes(found):
        if (tree["world"] == "model") == in_model and (not in_model or tree["reference"]):
            policy = next((o.partition("=")[2] for o in record.overrides if o.startswith("policy=")), tree["policy"])
            ends_at = [look["frame"] + tree["act_steps"] for look in tree["looks"]]
            scores = np.array([tree["scores"]["pusht_coverage"]["values"][frame] for frame in ends_at])
            clear = looks_clear(tree["reference_states"], ends_at) if in_model else float("inf")
            made[policy, record.observation] = scores, clear
    return made


def episodes(found: list[Record]) -> Iterator[tuple[Record, dict]]:
    """The jobs with their `episode.json`."""
    for record in found:
        if (path := record.file("episode", suffix="episode.json")) is not None:
            yield record, json.loads(path.read_text(encoding="utf-8"))


def looks_clear(states: list[dict], ends_at: list[int]) -> float:
    """How many looks ended before the block came to a wall."""
    from strands_diffusers_pusht.simulator import PushT

    simulator = PushT()
    for frame, state in enumerate(states):
        simulator.state = np.array([*state["pusher_px"], *state["block_px"], state["angle_rad"]])
        if frame and simulator.block_at_wall:
            return float(sum(end < frame for end in ends_at))
    return float("inf")


if __name__ == "__main__":
    main()
