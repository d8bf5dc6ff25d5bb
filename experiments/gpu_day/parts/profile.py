"""One denoising step of a policy call, as the device saw it: which kernels ran, how long, and when it waited for the host.

Writes profile.txt and profile.png. On a CPU, where a dry run is, whole operations take the place of kernels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from experiments.engine_speed.__main__ import floor
from experiments.engine_speed.cases import CASES, calls
from experiments.engine_speed.sizes import SIZES, build
from experiments.gpu_day.part import Task

KINDS = {
    "attention": r"flash|fmha|attention|softmax|sdpa",
    "matrices": r"gemm|cutlass|cublas|nvjet|xmma|mm\b|matmul|linear",
    "compiled": r"triton",
    "copies": r"memcpy|memset|copy|cat\b|CatArray|index|gather",
}
"""What a kernel does, by its name; anything else is `elementwise`."""


class Kernel(NamedTuple):
    """One piece of work of the device [microseconds]."""

    name: str
    start: float
    end: float


class Enough(Exception):  # noqa: N818 - no error: the step that was asked for is over
    """Ends a call after the step that was profiled."""


def run(task: Task) -> None:
    """Profile one step of each engine at 480x832; a machine that cannot compile leaves `compiled` out."""
    size = dataclasses.replace(SIZES["nano"], num_inference_steps=6)
    frame_size = (480, 832)
    if task.dry_run:
        size, frame_size = dataclasses.replace(size, tier=256, chunk_size=4), (64, 80)
    pipe = build("nano", task.device, task.dry_run)
    asked = calls(CASES["policy, video and actions"], size, frame_size)
    known = floor(pipe, asked, {}, dataclasses.replace(size, num_inference_steps=1))
    result: dict[str, Any] = {"floor_ms": known["floor_s"] * 1e3, "tokens": known["tokens"], "engines": {}}
    steps: dict[str, list[Kernel]] = {}
    for name in ("exact", "eager") if task.dry_run else ("exact", "eager", "compiled"):
        steps[name] = profile_step(pipe, name, asked[0])
        result["engines"][name] = measure(steps[name], known["floor_s"] * 1e6)
        (task.folder / "profile.txt").write_text(text(steps, result))
        draw(steps, result, task.folder / "profile.png")
        result["line"] = "; ".join(map(_line, result["engines"].items()))
        task.save(result)


def profile_step(pipe: Any, engine: str, call: Any, step: int = 3) -> list[Kernel]:
    """The kernels of one step, after `step` others, in order of their start."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from strands_diffusers.pipelines.engine import get_engine

    cuda = torch.cuda.is_available()
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])

    def progress(done: int, _total: int) -> None:
        if cuda:
            torch.cuda.synchronize()
        if done == step:
            profiler.start()
        elif done > step:
            profiler.stop()
            raise Enough

    with contextlib.suppress(Enough):
        get_engine(engine).run(pipe, call, progress)
    wanted = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    found = [
        Kernel(event.name, event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == wanted
        and (cuda or (event.name.startswith("aten::") and _outermost(event)))
        and event.time_range.end > event.time_range.start
    ]
    if not found:
        raise RuntimeError(f"the profiler saw nothing of engine={engine} on {wanted}")
    return sorted(found, key=lambda kernel: kernel.start)


def _outermost(event: Any) -> bool:
    """Whether an operation on the CPU is no part of another one."""
    parent = event.cpu_parent
    return parent is None or (not parent.name.startswith("aten::") and _outermost(parent))


def kind(name: str) -> str:
    """What a kernel does."""
    return next((found for found, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), "elementwise")


def measure(kernels: list[Kernel], floor_us: float) -> dict[str, Any]:
    """Times of one step [ms]: from the first kernel to the last, at work, waiting, by kind; share of the matrix rate."""
    span = max(kernel.end for kernel in kernels) - kernels[0].start
    idle = sum(gap for gap, _ in gaps(kernels))
    by_kind: dict[str, float] = {}
    for kernel in kernels:
        by_kind[kind(kernel.name)] = by_kind.get(kind(kernel.name), 0.0) + (kernel.end - kernel.start) / 1e3
    return {
        "step_ms": span / 1e3,
        "busy_ms": (span - idle) / 1e3,
        "gaps_ms": idle / 1e3,
        "largest_gap_ms": max((gap for gap, _ in gaps(kernels)), default=0.0) / 1e3,
        "kernels": len(kernels),
        "share_of_matrix_rate": floor_us / span,
        "kinds_ms": dict(sorted(by_kind.items(), key=lambda item: -item[1])),
    }


def gaps(kernels: Iterable[Kernel]) -> list[tuple[float, str]]:
    """When no kernel ran: how long [microseconds], and which one ended it. Kernels come in order of their start."""
    found, end = [], None
    for kernel in kernels:
        if end is not None and kernel.start > end:
            found.append((kernel.start - end, kernel.name))
        end = kernel.end if end is None else max(end, kernel.end)
    return found


def _line(item: tuple[str, dict[str, Any]]) -> str:
    name, row = item
    return (
        f"{name} {row['step_ms']:.2f} ms a step, {row['kernels']} kernels, {row['gaps_ms'] / row['step_ms']:.0%} waiting, "
        f"{row['share_of_matrix_rate']:.0%} of the matrix rate"
    )


def text(steps: dict[str, list[Kernel]], result: dict[str, Any]) -> str:
    """The longest kernels and gaps of each engine."""
    lines = [
        f"One denoising step, {result['tokens']} tokens; floor at the measured matrix rate {result['floor_ms']:.2f} ms."
    ]
    for name, kernels in steps.items():
        lines += ["", _line((name, result["engines"][name]))]
        lines += [f"  {found:12} {ms:9.3f} ms" for found, ms in result["engines"][name]["kinds_ms"].items()]
        total: dict[str, list[float]] = {}
        for kernel in kernels:
            total.setdefault(kernel.name, []).append(kernel.end - kernel.start)
        longest = sorted(total.items(), key=lambda item: -sum(item[1]))[:25]
        lines += ["", "  longest kernels: ms in all, how many, mean us, name"]
        lines += [
            f"  {sum(us) / 1e3:9.3f} {len(us):6d} {sum(us) / len(us):9.1f}  {found[:110]}" for found, us in longest
        ]
        lines += ["", "  longest gaps: us, and the kernel that ended it"]
        lines += [f"  {gap:9.1f}  {found[:110]}" for gap, found in sorted(gaps(kernels), reverse=True)[:10]]
    return "\n".join(lines) + "\n"


COLOURS = {
    "matrices": "#0b6bb8",
    "attention": "#d1480a",
    "elementwise": "#00875f",
    "compiled": "#7a3db8",
    "copies": "#b58900",
    "waiting": "#c3ccd5",
}


def draw(steps: dict[str, list[Kernel]], result: dict[str, Any], path: Path) -> None:
    """Per engine, the step as it went by, coloured by kind, and the sum of each kind below; one time axis for all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 0.9 + 1.5 * len(steps)), layout="constrained")
    axes = figure.subplots(len(steps), sharex=True, squeeze=False)[:, 0]
    for axis, (name, kernels) in zip(axes, steps.items(), strict=True):
        row, first = result["engines"][name], kernels[0].start
        for found, colour in COLOURS.items():
            spans = [((k.start - first) / 1e3, (k.end - k.start) / 1e3) for k in kernels if kind(k.name) == found]
            axis.broken_barh(spans, (1.1, 0.8), color=colour, linewidth=0)
        axis.broken_barh([(0, row["step_ms"])], (1.1, 0.8), color=COLOURS["waiting"], linewidth=0, zorder=0)
        left = 0.0
        for found, ms in {**row["kinds_ms"], "waiting": row["gaps_ms"]}.items():
            axis.broken_barh([(left, ms)], (0.1, 0.8), color=COLOURS[found], linewidth=0)
            if ms > 0.08 * max(r["step_ms"] for r in result["engines"].values()):
                axis.text(
                    left + ms / 2,
                    0.5,
                    f"{found}\n{ms:.2f} ms",
                    ha="center",
                    va="center",
                    color="#17202b" if found == "waiting" else "white",
                    fontsize=8,
                )
            left += ms
        axis.axvline(result["floor_ms"], color="#c8102e", linewidth=1, linestyle="--")
        axis.set_yticks([0.5, 1.5], ["sums", "in time"])
        axis.set_ylim(0, 2)
        axis.set_title(_line((name, row)), loc="left", fontsize=9)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[-1].set_xlabel(
        f"milliseconds of one denoising step; dashed: the floor at the measured matrix rate, {result['floor_ms']:.2f} ms"
    )
    handles = [axes[0].plot([], [], color=colour, linewidth=6, label=found)[0] for found, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
