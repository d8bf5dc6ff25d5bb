"""`python -m experiments.gpu_day.part NAME --out DIR --seconds S`: one part, in this process. `result.json` grows in DIR."""

from __future__ import annotations

import argparse
import importlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """What a part gets."""

    folder: Path
    """Files that it leaves here are kept."""

    until: float
    """`time.monotonic()` by which it should end."""

    dry_run: bool
    known: dict[str, Any]
    """What an earlier day left of it."""

    @property
    def device(self) -> str:
        """Where it computes."""
        return "cpu" if self.dry_run else "cuda"

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()

    def save(self, result: dict[str, Any]) -> None:
        """Write what is known so far. `line` says it in one line; `unfinished` that more is left for another day."""
        partial = self.folder / ".result.json"
        partial.write_text(json.dumps(result, indent=1, default=str))
        partial.replace(self.folder / "result.json")


def main() -> None:
    """Run the part that is named."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu_day.part", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    before = options.out / "result.json"
    known = dict(json.loads(before.read_text())) if before.is_file() else {}
    task = Task(options.out, time.monotonic() + options.seconds, options.dry_run, known)
    importlib.import_module(f"{__package__}.parts.{options.name}").run(task)


if __name__ == "__main__":
    main()
