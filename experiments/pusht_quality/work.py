"""Runs jobs in a pool and keeps their results in a file as they come; started again, it goes on from there."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import jobs

Result = dict[str, Any]


def read(log: Path) -> list[Result]:
    """The results so far."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def run(
    todo: Sequence[Any],
    setup: tuple[Any, ...],
    log: Path,
    procs: int,
    call: Callable[[Any], Result] = jobs.run,
    set_up: Callable[..., None] = jobs.set_up,
) -> list[Result]:
    """Give each of `todo` to `call` in `procs` processes begun with `set_up(*setup)`; append each result to `log`."""
    results: list[Result] = []
    begin = last = time.monotonic()
    if not todo:
        return results
    with multiprocessing.get_context("spawn").Pool(procs, set_up, setup) as pool, log.open("a") as file:
        for count, result in enumerate(pool.imap_unordered(call, todo), 1):
            results.append(result)
            file.write(json.dumps(result) + "\n")
            file.flush()
            if time.monotonic() - last > 15 or count == len(todo):
                last = time.monotonic()
                spent = (last - begin) / 60
                left = spent * (len(todo) - count) / count
                print(f"{count}/{len(todo)} | {spent:.1f} min, {left:.1f} min left", flush=True)
    return results
