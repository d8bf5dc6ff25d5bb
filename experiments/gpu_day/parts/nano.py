"""Seconds of every engine at the size of Cosmos3-Nano, with random weights: policy, forward and inverse dynamics, 480p.

Built from Nano's own configuration on the card itself; nothing is downloaded. `experiments.engine_speed` times: engines take
turns on the same calls, and every output is compared with eager's.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
import traceback
from typing import Any

from experiments.engine_speed import measure, table
from experiments.engine_speed.__main__ import machine, time_case
from experiments.engine_speed.cases import CASES, calls
from experiments.engine_speed.sizes import SIZES, build
from experiments.gpu_day.part import Task

SMALL, WIDE, EIGHT_SIZE = (480, 640), (480, 832), (256, 320)
POLICY, FORWARD, INVERSE = "policy, video and actions", "forward dynamics, video", "inverse dynamics, actions only"
EIGHT = "8 samples of one prompt, actions only"

UNITS: tuple[tuple[str, tuple[int, int], tuple[str, ...]], ...] = (
    (POLICY, WIDE, ("exact",)),
    (FORWARD, WIDE, ("exact",)),
    (EIGHT, EIGHT_SIZE, ("exact",)),
    (POLICY, SMALL, ("exact",)),
    (INVERSE, WIDE, ("exact",)),
    (POLICY, WIDE, ("compiled",)),
    (POLICY, WIDE, ("fp8",)),
    (FORWARD, SMALL, ("exact",)),
    (INVERSE, SMALL, ("exact",)),
    (FORWARD, WIDE, ("compiled", "fp8")),
    (POLICY, SMALL, ("compiled", "fp8")),
    (INVERSE, WIDE, ("compiled", "fp8")),
    (FORWARD, SMALL, ("compiled", "fp8")),
    (INVERSE, SMALL, ("compiled", "fp8")),
)
"""What is timed beside eager, the most telling first. Sizes are those of the observation [pixels]."""

AIMS = {
    f"{POLICY}, exact": (1.3, "s", "diffusers 3 (H100) and 2 (H200), PyTorch 1.99 and 1.93, sglang 1.457 (H200)"),
    f"{POLICY}, fp8": (0.9, "s", ""),
    f"{FORWARD}, exact": (1.3, "s", "diffusers 3 (H100), PyTorch 2.01 (H100)"),
    f"{FORWARD}, fp8": (0.9, "s", ""),
    EIGHT: (3.0, "times as fast as alone, tier 256", ""),
}
"""At 480x832: what is aimed at, and what was published (NVIDIA's inference benchmarks page and sglang, 2026)."""


def run(task: Task) -> None:
    """Time unit after unit while time is left; what an earlier day timed is not timed again."""
    import torch

    size = dataclasses.replace(SIZES["nano"], **(_CUT if task.dry_run else {}))
    started = time.monotonic()
    pipe = build("nano", task.device, task.dry_run)
    result: dict[str, Any] = {"machine": machine(pipe, task.device, torch.get_num_threads()), "results": []}
    result["results"] = list(task.known.get("results", []))
    result["built_s"] = time.monotonic() - started
    done = {_name(row["case"], row["frame_size"], row["timed"]) for row in result["results"]}
    if "eight" in task.known:
        result["eight"] = task.known["eight"]
        done.add(_name(EIGHT, EIGHT_SIZE, ("exact",)))
    longest, result["unfinished"] = 0.0, True
    for case, frame_size, engines in _DRY_UNITS if task.dry_run else UNITS:
        if _name(case, frame_size, engines) in done:
            continue
        slack = 60.0 if "compiled" in engines or "fp8" in engines else 5.0  # compiling takes its time
        if task.left_s < longest + slack and result["results"] and not task.dry_run:
            break
        began = time.monotonic()
        try:
            if case == EIGHT:
                result["eight"] = _eight(pipe, size, frame_size)
            else:
                timed = time_case(pipe, case, CASES[case], size, frame_size, ["eager", *engines], size.repeats)
                result["results"].append(timed | {"timed": list(engines)})
        except Exception:  # noqa: BLE001 - one engine that breaks must not cost the others their numbers
            traceback.print_exc()
            result["broken"] = [*result.get("broken", []), _name(case, frame_size, engines)]
        longest = max(longest, time.monotonic() - began)
        result |= {"table": table.markdown(result["results"]), "aims": aims(result)}
        result["line"] = _line(result)
        task.save(result)
    else:
        result["unfinished"] = False
    task.save(result)
    if "broken" in result:
        raise SystemExit(f"{result['line']}; broken: {', '.join(result['broken'])}")


def _name(case: str, frame_size: Any, engines: Any) -> str:
    return f"{case} {tuple(frame_size)} {tuple(engines)}"


def _eight(pipe: Any, size: Any, frame_size: tuple[int, int]) -> dict[str, Any]:
    """Eight samples in one batch against one alone, exact engine, actions only, at tier 256."""
    [together] = calls(CASES[EIGHT], dataclasses.replace(size, tier=256), frame_size)
    alone = dataclasses.replace(together, seeds=together.seeds[:1])
    seconds: dict[str, list[float]] = {"alone": [], "together": []}
    for turn in range(-1, size.repeats):  # the first turn warms up
        one, [single] = measure.run("exact", pipe, [alone])
        eight, samples = measure.run("exact", pipe, [together])
        if turn >= 0:
            seconds["alone"].append(one["wall_s"])
            seconds["together"].append(eight["wall_s"])
    ratio = statistics.median(a / b for a, b in zip(seconds["alone"], seconds["together"], strict=True))
    return {"seconds_a_sample": seconds, "faster": ratio, "distance": measure.distance(samples[:1], [single])}


def aims(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each aim beside what was measured, as far as it was."""
    measurements = {EIGHT: result["eight"]["faster"]} if "eight" in result else {}
    for row in result["results"]:
        for engine, entry in row["engines"].items():
            if "repeats" in entry and tuple(row["frame_size"]) == WIDE:
                measurements[f"{row['case']}, {engine}"] = table.median(entry["repeats"], "wall_s")
    found = []
    for name, (aim, unit, published) in AIMS.items():
        measured = measurements.get(name)
        reached = None if measured is None else (measured <= aim if unit == "s" else measured >= aim)
        found.append(
            {"name": name, "aim": aim, "unit": unit, "measured": measured, "reached": reached, "published": published}
        )
    return found


def _line(result: dict[str, Any]) -> str:
    parts = [
        f"{a['name']} {a['measured']:.2f} {a['unit']} (aim {a['aim']})"
        for a in result["aims"]
        if a["measured"] is not None
    ]
    return f"{len(result['results'])} cases; " + ("; ".join(parts) or "none of the aims measured yet")


_CUT: dict[str, Any] = {"num_inference_steps": 2, "chunk_size": 4, "repeats": 1, "tier": 256}
_DRY_UNITS = (
    (POLICY, (64, 80), ("exact",)),
    (FORWARD, (64, 80), ("exact",)),
    (INVERSE, (64, 80), ("exact",)),
    (EIGHT, (64, 80), ("exact",)),
    (POLICY, (64, 80), ("fp8",)),
)
