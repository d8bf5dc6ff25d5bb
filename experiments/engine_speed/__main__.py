"""`python -m experiments.engine_speed --size small`: time every engine against diffusers' own call, in one process.

Engines take turns on the same pipeline and the same calls, so that whatever else the machine does falls on all of them.
Seconds are per rollout. Writes `OUT/results.json` and `OUT/table.md` after every case.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import warnings
from pathlib import Path
from typing import Any

from strands_diffusers.errors import EngineError
from strands_diffusers.pipelines.engine import choose, forget

from . import measure, roofline, table
from .cases import CASES, Case, calls
from .sizes import SIZES, Size, build

ENGINES = ("eager", "exact", "compiled", "fp8", "cached")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.engine_speed", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--engines", default="eager,exact", help=f"comma-separated, of {', '.join(ENGINES)}")
    parser.add_argument("--cases", default="", help="comma-separated parts of case names; all by default")
    parser.add_argument("--repeats", type=int, default=None, help="turns of each engine")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default=None, help="cuda for nano, else cpu")
    parser.add_argument("--dry", action="store_true", help="nano's code path at a width that a laptop runs")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()

    import torch

    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    device = options.device or ("cuda" if options.size == "nano" and not options.dry else "cpu")
    pipe = build(options.size, device, options.dry)
    names = ["eager", *(name for name in options.engines.split(",") if name != "eager")]
    wanted = [part.strip() for part in options.cases.split(",") if part.strip()]
    report: dict[str, Any] = {"machine": machine(pipe, device, options.threads), "results": []}
    for frame_size in size.frame_sizes:
        for title, case in CASES.items():
            if wanted and not any(part in title for part in wanted):
                continue
            repeats = options.repeats or (
                size.repeats if case.rollouts == 1 else 1
            )  # eight rollouts are a median enough
            result = time_case(pipe, title, case, size, frame_size, names, repeats)
            report["results"].append(result)
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / "results.json").write_text(json.dumps(report, indent=1))
                (options.out / "table.md").write_text(table.markdown(report["results"]))
    print(table.markdown(report["results"]))
    print(json.dumps(report["machine"], indent=1))


def time_case(
    pipe: Any, title: str, case: Case, size: Size, frame_size: tuple[int, int], names: list[str], repeats: int
) -> dict[str, Any]:
    """Time one case under all engines in turn; the first turn warms up and is not counted."""
    asked = calls(case, size, frame_size)
    engines: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            choose(name, pipe, asked[0])
            engines[name] = {"repeats": [], "distance": {}}
        except EngineError as error:
            engines[name] = {"refused": str(error)}
    running = [name for name in engines if "refused" not in engines[name]]
    for turn in range(-1, repeats):
        samples = {}
        for name in running:
            if turn < 0:
                measure.run(name, pipe, asked[:1])
                continue
            row, samples[name] = measure.run(name, pipe, asked)
            engines[name]["repeats"].append(row)
            print(f"{title} | {frame_size} | turn {turn + 1}/{repeats} | {name}: {row['wall_s']:.2f} s", flush=True)
        for name in samples:
            engines[name]["distance"] = measure.distance(samples[name], samples["eager"])
    result = {"case": title, "frame_size": frame_size, "rollouts": case.rollouts, "engines": engines}
    return result | {"roofline": floor(pipe, asked, engines, size)}


def floor(pipe: Any, asked: Any, engines: dict[str, Any], size: Size) -> dict[str, Any]:
    """The operations of the denoising loop, and each engine's share of the measured matrix throughput."""
    import torch

    from strands_diffusers.memory import Memory
    from strands_diffusers.pipelines.engine.conditioning import make_conditioning, read_arguments
    from strands_diffusers.pipelines.engine.exact import ExactEngine

    device = pipe.transformer.device
    with torch.no_grad():
        arguments = read_arguments(pipe, asked[0])
        conditioning = make_conditioning(pipe, arguments, device, Memory(0))
        text = ExactEngine()._texts(pipe, arguments, conditioning, Memory(0))[0].length
    forget(pipe)
    tokens = conditioning.layout.tokens
    operations = size.num_inference_steps * roofline.step_operations(pipe.transformer.config, tokens, text)
    speed = roofline.matrix_throughput(str(device), pipe.transformer.dtype, 8192 if device.type == "cuda" else 1024)
    found = {"tokens": tokens, "text_tokens": text, "operations": operations, "measured_operations_per_s": speed}
    shares = {}
    for name, engine in engines.items():
        if "repeats" in engine:
            shares[name] = operations / speed / table.median(engine["repeats"], "denoise_s")
    print(
        f"  {tokens} tokens, {text} of text, {operations:.3g} operations; share of {speed:.3g}/s: {shares}", flush=True
    )
    return found | {"floor_s": operations / speed, "share": shares}


def machine(pipe: Any, device: str, threads: int) -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    name = (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    )
    versions = {
        package: importlib.metadata.version(package) for package in ("torch", "diffusers", "transformers", "numpy")
    }
    return {
        "device": name,
        "threads": threads,
        "dtype": str(pipe.transformer.dtype),
        "parameters": sum(p.numel() for p in pipe.transformer.parameters()),
        "commit": commit.stdout.strip(),
        **versions,
    }


if __name__ == "__main__":
    main()
