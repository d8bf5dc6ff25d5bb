"""Stage `judge`: sweeps of the model before and after, on held-out windows and on what it could do before.

The sweeps are ordinary ones, each with its page (`judge/heldout/index.html`); they go on where they were cut off.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import domains, errors, plugins, read_json
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.config.typed import quoted
from strands_diffusers.evaluation.bootstrap import interval
from strands_diffusers.pipelines.checkpoint import ASSET
from strands_diffusers.records import Record, jobs, read_sweep, write_json
from strands_diffusers_training.config import AdaptConfig
from strands_diffusers_training.export import write_presets
from strands_diffusers_training.plan import Plan

SENSITIVITY_WINDOWS, SENSITIVITY_SEEDS = 4, 2
"""Held-out windows, and seeds of each, by which it is judged whether the adapted model obeys its actions."""

SAMPLES = ("push_left", "push_right", "push_up", "push_down", "free_motion")
"""Observations that ship, for the embedded model."""

NOT_JUDGED = (
    "Not judged, so that forgetting is not known. Name observations of the original domain: judge.original=[...]."
)


def spread(plan: Plan, count: int) -> list[str]:
    """Addresses of held-out windows, over all held-out episodes in turn, evenly within each."""
    held = [number for number, episode in enumerate(plan.episodes) if episode.held_out]
    share = {number: count // len(held) + (i < count % len(held)) for i, number in enumerate(held)}
    rows = {
        n: np.unique(np.linspace(0, len(plan.episodes[n].starts) - 1, share[n]).round().astype(int))
        for n in held
        if share[n]
    }
    return [plan.observation(number, int(row)) for number in rows for row in rows[number]]


def is_done(config: AdaptConfig, run: RunConfig, plan: Plan, out: Path) -> bool:
    """Whether there is a judgement by the windows and observations that the config asks for."""
    path = out / "judge" / "judgement.json"
    if not path.is_file():
        return False
    found = read_json(path, str(path), errors.OutputError)
    asked = {
        "windows": spread(plan, config.judge.windows),
        "original": _original(config, run)[0],
        "seed": config.judge.seed,
    }
    return isinstance(found, dict) and all(found.get(name) == value for name, value in asked.items())


def judge(config: AdaptConfig, run: RunConfig, plan: Plan, out: Path, say: Any) -> dict[str, Any]:
    """Run what is missing of the sweeps, and write `judge/judgement.json`. Raises: `SweepError` where a job failed."""
    folder, name = out / "judge", config.name
    write_presets(folder / "conf", name, run, plan, out, before=True)
    models = f"model={name}_before,{name}"
    modes = f"condition={','.join(config.train.modes)}"
    windows = spread(plan, config.judge.windows)
    shared = [f"seed={config.judge.seed}", "tracker=none", "visualizer=[comparison]", *_places(run)]
    parts: list[dict[str, Any]] = []
    say(f"judge: {len(windows)} held-out windows, before and after")
    found = _sweep(folder, "held_out", [models, modes, f"domain={name}", _observations(windows), *shared], say)
    parts.append({"title": "Held-out windows of the dataset", "rows": rows(found, name)})
    original, where = _original(config, run)
    if original:
        say(f"judge: {len(original)} observations of what it could do before")
        own = [f"domain={where}", f"model.pixel_map={str(run.model.pixel_map).lower()}"]
        found = _sweep(folder, "original", [models, modes, *own, _observations(original), *shared], say)
        parts.append({"title": "What the model could do before", "rows": rows(found, name)})
    else:
        parts.append({"title": "What the model could do before", "note": NOT_JUDGED, "rows": []})
    if "forward_dynamics" in config.train.modes:
        say("judge: whether it obeys its actions")
        some = [
            f"model={name}",
            "condition=forward_dynamics",
            f"domain={name}",
            _observations(spread(plan, SENSITIVITY_WINDOWS)),
        ]
        some += [f"sampler.num_samples={SENSITIVITY_SEEDS}", "condition.perturb=none,shuffled", "metric=[video]"]
        _sweep(folder, "sensitivity", [*some, "sweep.verdict=action_sensitivity", *shared], say)
        sweep, _ = read_sweep(folder / "sensitivity")
        parts.append(
            {"title": "Whether it obeys its actions", "rows": [], "verdicts": [v["verdict"] for v in sweep["verdicts"]]}
        )
    judgement = {"windows": windows, "original": original, "seed": config.judge.seed, "parts": parts}
    write_json(folder / "judgement.json", judgement)
    return judgement


def _original(config: AdaptConfig, run: RunConfig) -> tuple[list[str], str]:
    given, only = config.judge.original, run.model.domains
    domain = config.judge.original_domain or (
        only[0] if only and len(only) == 1 else domains.short_name(run.domain.name)
    )
    if given is not None:
        return list(given), domain
    return ([f"sample:{name}" for name in SAMPLES], domain) if run.model.repo.startswith(ASSET) else ([], domain)


def _places(run: RunConfig) -> list[str]:
    model = run.model
    return [f"model.device={model.device}", f"model.dtype={model.dtype.value}", f"model.offload={model.offload.value}"]


def _observations(addresses: Sequence[str]) -> str:
    return f"observation={','.join(quoted(address) for address in addresses)}"


def _sweep(folder: Path, name: str, overrides: Sequence[str], say: Any) -> list[Record]:
    """Run a sweep in a process of its own, or what is missing of it. -> the records of its jobs."""
    place = folder / name
    where = (
        f"resume={quoted(str(place))}" if (place / "multirun.yaml").is_file() else f"output_dir={quoted(str(place))}"
    )
    command = [
        sys.executable,
        "-m",
        "strands_diffusers",
        "-m",
        "--config-dir",
        str(folder / "conf"),
        *overrides,
        where,
    ]
    alone = {
        k: v
        for k, v in os.environ.items()
        if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    }
    lines = [""]
    with subprocess.Popen(command, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip():
                lines.append(line.strip())
                say(f"judge {name}: {lines[-1]}")
    if process.returncode:
        raise errors.SweepError(
            f"the sweep {place} ended with status {process.returncode}: {lines[-1]} Type the same command to go on."
        )
    return [record for record in jobs(place) if record.done]


def rows(records: Sequence[Record], name: str) -> list[dict[str, Any]]:
    """Of each mode and measure the mean before and after, with the 95 % interval over observations."""
    measures = plugins().measures
    values: dict[tuple[str, str, str], dict[bool, dict[str, float]]] = {}
    for record in records:
        after = record.config.get("model", {}).get("name") == name
        for metric, found in record.metrics.items():
            for key, value in found.items():
                declared = measures.get((metric, key))
                if declared is None or declared.baseline or declared.better == "neither" or not np.isfinite(value):
                    continue
                place = values.setdefault((record.mode, metric, key), {False: {}, True: {}})
                place[after][record.observation] = float(value)
    found_rows = []
    for (mode, metric, key), sides in sorted(values.items()):
        both = sorted(set(sides[False]) & set(sides[True]))
        if not both:
            continue
        declared = measures[metric, key]
        before, after = ([sides[side][o] for o in both] for side in (False, True))
        row = {
            "mode": mode,
            "measure": f"{metric}.{key}",
            "unit": declared.unit,
            "better": declared.better,
            "count": len(both),
        }
        found_rows.append(row | {"before": _mean(before), "after": _mean(after)})
    return found_rows


def _mean(values: Sequence[float]) -> dict[str, float | None]:
    bounds = interval(values)
    return {"mean": float(np.mean(values)), "low": bounds and bounds[0], "high": bounds and bounds[1]}
