"""What jobs leave on disk, read and written in one place: `Record`, and the atomic file writers that everyone uses.

Each name is imported at its first use: most commands read no record.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strands_diffusers.records.axes import UNSET, Axis, differences, flat, swept
    from strands_diffusers.records.files import now, plain, publish, staging, write_json, write_text, writing
    from strands_diffusers.records.record import (
        FAILURE,
        MANIFEST,
        SCHEMA_VERSION,
        FileEntry,
        Metrics,
        Problem,
        Record,
        SampleRecord,
        file_entry,
        jobs,
        read,
        write,
    )
    from strands_diffusers.records.sweep import SWEEP, read_sweep

__all__ = [
    "FAILURE",
    "MANIFEST",
    "SCHEMA_VERSION",
    "SWEEP",
    "UNSET",
    "Axis",
    "FileEntry",
    "Metrics",
    "Problem",
    "Record",
    "SampleRecord",
    "differences",
    "file_entry",
    "flat",
    "jobs",
    "now",
    "plain",
    "publish",
    "read",
    "read_sweep",
    "staging",
    "swept",
    "write",
    "write_json",
    "write_text",
    "writing",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("files", "axes", "record", "sweep"):
            if hasattr(found := importlib.import_module(f"{__name__}.{module}"), name):
                globals()[name] = getattr(found, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
