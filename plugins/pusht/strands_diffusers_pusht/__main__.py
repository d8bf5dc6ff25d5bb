"""Closed-loop evaluation of a world model's policy: `python -m strands_diffusers_pusht --out DIR [OVERRIDE ...]`.

Writes `table.md`, `results.jsonl` (a line an episode) and `videos/SEED.mp4` (simulator | model) into DIR; started
again with the same DIR, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from strands_diffusers import errors, write_mp4

from . import evaluation
from .expert import TASKS
from .simulator import FPS, HELD_OUT_SEED, PushT


def main() -> int:
    """Run what is missing, write the table, print it."""
    parser = argparse.ArgumentParser(prog="python -m strands_diffusers_pusht", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--episodes", type=int, default=20, help=f"tables {HELD_OUT_SEED} and on (20)")
    parser.add_argument("--task", choices=TASKS, default="goal")
    parser.add_argument("--chunks", type=int, default=12, help="how often the model is asked in an episode (12)")
    parser.add_argument("--steps", type=int, default=8, help="actions of a chunk that are acted on, 1 to 16 (8)")
    parser.add_argument("--policies", default=",".join(evaluation.POLICIES), help="of %(default)s")
    parser.add_argument(
        "overrides", nargs="*", help="of the rollouts: model.repo=FOLDER, sampler.guidance_scale=3, ..."
    )
    options = parser.parse_intermixed_args()
    names = options.policies.split(",")
    if unknown := set(names) - set(evaluation.POLICIES):
        parser.error(f"--policies: {', '.join(sorted(unknown))}; there are {', '.join(evaluation.POLICIES)}")
    if own := {o.partition("=")[0] for o in options.overrides} & {"seed", "observation", "output_dir", "condition"}:
        parser.error(f"{', '.join(sorted(own))}: the evaluation sets this itself")
    if not 1 <= options.steps <= 16:
        parser.error("--steps: a chunk has 1 to 16 actions")
    overrides = tuple(evaluation.model_overrides([_absolute(o) for o in options.overrides]))
    setting = evaluation.Setting(overrides, options.task, options.chunks, options.steps)
    try:
        sys.stdout.write(_evaluate(setting, names, range(HELD_OUT_SEED, HELD_OUT_SEED + options.episodes), options.out))
    except errors.StrandsDiffusersError as error:
        _say(f"{type(error).__name__}: {error}")
        return 2 if isinstance(error, errors.RequestError) else 1
    return 0


def _absolute(override: str) -> str:
    """`model.repo=FOLDER` with a whole path where the folder is here."""
    key, _, value = override.partition("=")
    return f"{key}={Path(value).absolute()}" if key == "model.repo" and Path(value).is_dir() else override


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _evaluate(setting: evaluation.Setting, names: list[str], seeds: range, out: Path) -> str:
    (out / "videos").mkdir(parents=True, exist_ok=True)
    log, asked = out / "results.jsonl", [setting.task, setting.num_chunks, setting.num_steps, *setting.overrides]
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if lines and lines[0].get("setting") != asked:
        raise errors.ConfigError(f"{log} holds another evaluation. Choose another --out, or remove that folder.")
    simulator, results = PushT(), lines[1:]
    done = {(r["policy"], r["seed"]) for r in results}
    todo = [(name, seed) for seed in seeds for name in names if (name, seed) not in done]
    begin = time.monotonic()
    with log.open("a") as file:
        if not lines:
            file.write(json.dumps({"setting": asked}) + "\n")
        for count, (name, seed) in enumerate(todo, 1):
            started = time.monotonic()
            values, episode, generated = evaluation.run(simulator, name, seed, setting)
            values["seconds"] = round(time.monotonic() - started, 2)
            if generated is not None:
                coverage = evaluation.coverages(simulator, episode.states)
                video = evaluation.side_by_side(episode, generated, setting, coverage)
                write_mp4(out / "videos" / f"{seed}.mp4", video, float(FPS))
            results.append(values)
            file.write(json.dumps(values) + "\n")
            file.flush()
            spent = time.monotonic() - begin
            line = (
                f"{count}/{len(todo)} {name} {seed}: coverage {values['coverage_final']:.2f}, {values['seconds']:.1f} s"
            )
            _say(f"{line}; {spent / count * (len(todo) - count) / 60:.1f} min left")
    text = evaluation.table([r for r in results if r["policy"] in names and r["seed"] in seeds], setting)
    (out / "table.md").write_text(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
