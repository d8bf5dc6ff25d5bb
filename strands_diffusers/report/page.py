"""Put the page together: its template, its style and its program around the data of the jobs, in one file."""

import base64
import hashlib
import html
import importlib.resources
import json
import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ReportError
from strands_diffusers.records import write_text
from strands_diffusers.report.content import content
from strands_diffusers.report.sweeps import read_jobs

PAGE, COMPARISON = "index.html", "comparison.html"

_SCRIPTS = ("dom", "clock", "curves", "gallery", "table", "charts", "detail", "controls", "main")
"""The files of the program in the order in which they use each other; they share one scope."""


def write_report(*directories: Path) -> Path:
    """Write the page of a sweep's folder, or of one job's, beside its jobs, and return its path: `index.html`.

    Of several folders one page compares their jobs: `comparison.html`, in the folder that holds them all. The page
    reads nothing but the videos and pictures of the jobs, by relative addresses: the folder can be moved, archived and
    opened anywhere. It holds what the records say, without the author's absolute paths, and action curves rounded for
    drawing. Written beside and renamed.

    Raises: `ReportError` for a folder that holds no finished or failed job, or folders without a common one;
        `OutputError` where the page cannot be written.
    """
    folders = [Path(directory).absolute() for directory in directories]
    start = folders[0] if len(folders) == 1 else _common_folder(folders)
    page = render(content(read_jobs(folders, start)))
    return write_text(start / (PAGE if len(folders) == 1 else COMPARISON), page)


def _common_folder(folders: Sequence[Path]) -> Path:
    try:
        start = Path(os.path.commonpath(folders))
    except ValueError:
        start = Path(folders[0].anchor)
    if start == Path(start.anchor):
        names = " and ".join(map(str, folders))
        raise ReportError(f"{names} share no folder that their page could stand in. Move them into one.")
    return start


def render(data: dict[str, Any]) -> str:
    """Return the page that shows `data` (`content.content`).

    The data stand in a script element that is never run; the program makes text of them and no markup. The policy lets
    this one program run and nothing else.
    """
    program = "(() => {\n'use strict';\n" + "\n".join(_asset(f"{name}.js") for name in _SCRIPTS) + "\n})();\n"
    parts = {
        "title": html.escape(data["title"].encode("utf-8", "replace").decode()),
        "hash": base64.b64encode(hashlib.sha256(program.encode()).digest()).decode(),
        "style": _asset("page.css"),
        "data": inert_json(data),
        "program": program,
    }
    text = _asset("page.html")
    pieces = []
    while text:  # in one pass, so that nothing inside a part is taken for a place
        before, _, rest = text.partition("{{")
        name, _, text = rest.partition("}}")
        pieces += [before, parts[name]] if name else [before]
    return "".join(pieces)


def inert_json(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&` is left that could end it or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # A lone surrogate (a file name that is not UTF-8) cannot be written; JSON has an escape for it too.
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)


def _asset(name: str) -> str:
    return importlib.resources.files("strands_diffusers.report").joinpath("assets", name).read_text(encoding="utf-8")
