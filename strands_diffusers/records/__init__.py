"""What jobs leave on disk, read and written in one place: `Record`, and the atomic file writers that everyone uses."""

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
