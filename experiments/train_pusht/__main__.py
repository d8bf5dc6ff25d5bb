"""`python -m experiments.train_pusht STAGE [--field value ...]`: run one stage, or go on with one that was cut off."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STAGES = {
    "data": "DataConfig",
    "vae": "VaeConfig",
    "latents": "LatentsConfig",
    "practice": "PracticeConfig",
    "chains": "ChainsConfig",
    "mended": "MendedConfig",
    "transformer": "TransformerConfig",
    "check": "CheckConfig",
    "keep": "KeepConfig",
    "export": "ExportConfig",
    "evaluate": "EvaluateConfig",
}
"""Each stage is the module of its name, with a dataclass of its settings and `run(config, work, ranks)`."""


def parse(argv: list[str]) -> tuple[str, Any, argparse.Namespace]:
    """Command line -> stage, its config, and the options common to all stages."""
    parser = argparse.ArgumentParser(prog="python -m experiments.train_pusht", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    for stage, class_name in STAGES.items():
        if argv and argv[0] != stage and argv[0] in STAGES:
            continue  # the other stages' modules need not be imported
        config = getattr(importlib.import_module(f"{__package__}.{stage}"), class_name)
        sub = stages.add_parser(stage, help=config.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        sub.add_argument("--work", type=Path, required=True, help="folder of all data, logs and checkpoints")
        sub.add_argument("--procs", type=int, default=2, help="processes; 1 on a GPU")
        sub.add_argument("--device", default="cpu", help="cpu or cuda")
        for field in dataclasses.fields(config):
            default = getattr(config(), field.name)
            kind = type(default) if default is not None else str
            if isinstance(default, tuple):
                sub.add_argument(f"--{field.name}", type=float, nargs="+", default=default)
            elif isinstance(default, bool):
                sub.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction, default=default)
            else:
                sub.add_argument(f"--{field.name}", type=kind, default=default)
    options = parser.parse_args(argv)
    config = getattr(importlib.import_module(f"{__package__}.{options.stage}"), STAGES[options.stage])
    values = {f.name: getattr(options, f.name) for f in dataclasses.fields(config)}
    return options.stage, config(**values), options


def record(stage: str, config: Any, options: argparse.Namespace, argv: list[str]) -> None:
    """Append this run's command, settings, commit and versions to `runs.jsonl`."""
    import diffusers
    import torch

    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["python", "-m", "experiments.train_pusht", *argv],
        "stage": stage,
        "config": dataclasses.asdict(config),
        "procs": options.procs,
        "device": options.device,
        "commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    options.work.mkdir(parents=True, exist_ok=True)
    with (options.work / "runs.jsonl").open("a") as file:
        file.write(json.dumps(entry, default=str) + "\n")


def main() -> None:
    """Run the stage named on the command line."""
    from strands_diffusers_training.parallel import launch

    stage, config, options = parse(sys.argv[1:])
    record(stage, config, options, sys.argv[1:])
    run = importlib.import_module(f"{__package__}.{stage}").run
    launch(run, config, options.work, world=options.procs, device=options.device)


if __name__ == "__main__":
    main()
