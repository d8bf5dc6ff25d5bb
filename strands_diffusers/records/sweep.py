"""`sweep.json`, beside the jobs of a sweep: how each of them ended, and what verdicts, tables and pictures say of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ReportError
from strands_diffusers.jsonfile import read_json
from strands_diffusers.records.record import SCHEMA_VERSION

SWEEP = "sweep.json"

_ENTRIES: dict[str, dict[str, type]] = {
    "jobs": {"name": str},
    "verdicts": {"name": str, "verdict": str, "numbers": dict},
    "tables": {"name": str, "columns": list, "rows": list},
    "pictures": {"name": str, "path": str},
}
"""The lists of the file, and what an entry of each must have."""

Entries = Mapping[str, list[dict[str, Any]]]
"""`{jobs, verdicts, tables, pictures}`, each a list of sound entries."""


def read_sweep(directory: Path) -> tuple[Entries, list[str]]:
    """The entries of a sweep's record, and a sentence for whatever of it is left out: damaged, or of another version."""
    path, shown, found = directory / SWEEP, f"{directory.name}/{SWEEP}", {}
    notes: list[str] = []
    whole: Any = {"schema_version": SCHEMA_VERSION}
    try:
        whole = read_json(path, shown, ReportError) if path.exists() else whole
    except ReportError as error:
        notes.append(f"{error} It is left out.")
    version = whole.get("schema_version") if isinstance(whole, dict) else None
    if version != SCHEMA_VERSION:
        notes.append(f"{shown} has schema version {version!r}, not {SCHEMA_VERSION}: left out.")
        whole = {}
    for kind, keys in _ENTRIES.items():
        listed = whole.get(kind)
        listed = listed if isinstance(listed, list) else []
        found[kind] = [entry for entry in listed if _is_sound(entry, keys)]
        if lost := len(listed) - len(found[kind]):
            notes.append(f"{SWEEP} lists {lost} {kind} without {', '.join(keys)}: left out.")
    return found, notes


def _is_sound(entry: Any, keys: Mapping[str, type]) -> bool:
    if not (isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in keys.items())):
        return False
    rows = entry["rows"] if "rows" in keys else ()
    return bool(entry["name"]) and all(isinstance(row, list) and len(row) == len(entry["columns"]) for row in rows)
