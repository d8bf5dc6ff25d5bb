"""What jobs leave on disk, read and written in one place: `Record`, and the atomic file writers that everyone uses.

Each name is imported at its first use: most commands read no record.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strands_diffusers.records.axes import UNSET as UNSET
    from strands_diffusers.records.axes import Axis as Axis
    from strands_diffusers.records.axes import differences as differences
    from strands_diffusers.records.axes import flat as flat
    from strands_diffusers.records.axes import swept as swept
    from strands_diffusers.records.files import now as now
    from strands_diffusers.records.files import plain as plain
    from strands_diffusers.records.files import publish as publish
    from strands_diffusers.records.files import staging as staging
    from strands_diffusers.records.files import write_json as write_json
    from strands_diffusers.records.files import write_text as write_text
    from strands_diffusers.records.files import writing as writing
    from strands_diffusers.records.record import FAILURE as FAILURE
    from strands_diffusers.records.record import MANIFEST as MANIFEST
    from strands_diffusers.records.record import SCHEMA_VERSION as SCHEMA_VERSION
    from strands_diffusers.records.record import FileEntry as FileEntry
    from strands_diffusers.records.record import Metrics as Metrics
    from strands_diffusers.records.record import Problem as Problem
    from strands_diffusers.records.record import Record as Record
    from strands_diffusers.records.record import SampleRecord as SampleRecord
    from strands_diffusers.records.record import file_entry as file_entry
    from strands_diffusers.records.record import jobs as jobs
    from strands_diffusers.records.record import read as read
    from strands_diffusers.records.record import write as write
    from strands_diffusers.records.sweep import SWEEP as SWEEP
    from strands_diffusers.records.sweep import read_sweep as read_sweep

_MODULES = ("files", "axes", "record", "sweep")


def __getattr__(name: str) -> Any:
    for module in () if name.startswith("_") or name in _MODULES else _MODULES:
        if hasattr(found := importlib.import_module(f"{__name__}.{module}"), name):
            globals()[name] = getattr(found, name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
