"""Read JSON that somebody else wrote: within limits, with one line that says what is wrong."""

import json
import re
from pathlib import Path
from typing import Any

from strands_diffusers.errors import StrandsDiffusersError

MAX_BYTES = 256 << 20
"""Largest file that is read, unless a caller knows better."""

MAX_DEPTH = 100
"""Deepest nesting of lists and objects: what is deeper would overflow whoever walks through it."""

_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape that is half of a character beyond U+FFFF. Alone it is no character, and cannot be printed or written."""


def read_json(
    source: Path | bytes | str, what: str, error: type[StrandsDiffusersError], max_bytes: int = MAX_BYTES
) -> Any:
    """Return the value in a file (`Path`), or in text that was read already (bytes are UTF-8, a mark in front is fine).

    NaN and infinities are let through: who uses a number checks it, and can say where it stands.
    Raises: `error`, beginning with `what`, for a file that is missing, unreadable, no plain file or larger than
        `max_bytes`, for text that is not JSON, and for values nobody can use: nested deeper than `MAX_DEPTH`, integers
        beyond the range of a float, half a character.
    """
    try:
        if isinstance(source, Path):
            if not source.is_file():
                raise error(f"{what} {'is not a file' if source.exists() else 'does not exist'}.")
            if (size := source.stat().st_size) > max_bytes:
                raise error(f"{what} has {size:,} bytes, more than the {max_bytes:,} that are read.")
            source = source.read_bytes()
        text = source if isinstance(source, str) else source.decode("utf-8-sig")
        value = json.loads(text, parse_int=_integer)
        if _HALF_PAIR.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise error(f"{what} holds half of a character (an unpaired surrogate) in its text.") from problem
    except RecursionError as problem:
        raise error(f"{what} is nested too deep.") from problem
    except OSError as problem:
        raise error(f"{what} cannot be read: {problem.strerror or problem}.") from problem
    except ValueError as problem:  # JSONDecodeError and UnicodeDecodeError among them
        raise error(f"{what} is truncated or not JSON ({problem}).") from problem
    if _deeper_than(value, MAX_DEPTH):
        raise error(f"{what} is nested too deep.")
    return value


def read_json_lines(path: Path, what: str, error: type[StrandsDiffusersError]) -> list[Any]:
    """Return the values of a file with one JSON value a line; blank lines are skipped. Raises: as `read_json`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{what} has {path.stat().st_size:,} bytes, more than the {MAX_BYTES:,} that are read.")
        lines = path.read_bytes().split(b"\n")  # not splitlines: U+2028 inside a text does not end a line
    except OSError as problem:
        raise error(f"{what} cannot be read: {problem.strerror or problem}.") from problem
    return [read_json(line, f"{what}, line {n}", error) for n, line in enumerate(lines, 1) if line.strip()]


def _integer(digits: str) -> int:
    if len(digits) > 309 or abs(number := int(digits)) > 1 << 1023:
        raise ValueError(f"it holds an integer of {len(digits.lstrip('-'))} digits")
    return number


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
