"""Join the datasets of many jobs into one: python -m strands_diffusers_lerobot OUT FOLDER [FOLDER ...]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from strands_diffusers import errors
from strands_diffusers_lerobot.join import join


def main(arguments: list[str] | None = None) -> int:
    """Join, say what was written, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m strands_diffusers_lerobot", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the new dataset")
    parser.add_argument("folders", type=Path, nargs="+", help="datasets, or sweeps and jobs with output=[lerobot]")
    options = parser.parse_args(arguments)
    try:
        count, frames = join(options.out, options.folders)
    except errors.StrandsDiffusersError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write(f"{options.out}: {count} episodes, {frames} frames\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
