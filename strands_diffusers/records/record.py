"""One finished or failed job on disk: `manifest.json`, written last, means complete; `failure.json` says why there is none."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ReportError, one_line
from strands_diffusers.jsonfile import read_json
from strands_diffusers.records.files import write_json
from strands_diffusers.results import ActionSpace, Artifact

SCHEMA_VERSION = 2
MANIFEST, FAILURE = "manifest.json", "failure.json"
Metrics = Mapping[str, Mapping[str, float]]
"""`{metric: {value: number}}`."""


@dataclass(frozen=True)
class Problem:
    """Something beside the rollout that failed: the rollout stands, the job is done with problems."""

    what: str
    """`metric jerk`, `visualizer timeseries`, `tracker wandb`."""

    error: str
    """`ValueError: ...`, one line."""

    def __str__(self) -> str:
        return f"{self.what}: {self.error}"


@dataclass(frozen=True)
class FileEntry:
    """One file that the job wrote."""

    path: str
    """Relative to the job's folder."""

    type: str
    """What it shows: an output type, or the name of a picture."""

    bytes: int = 0
    sha256: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """`shape`, `dtype`, `fps`, `unit` and the like."""

    @property
    def raw(self) -> bool:
        """Whether it holds pictures side by side for programs; pages and trackers show the drawing of them."""
        return "pictures" in self.details


@dataclass(frozen=True)
class SampleRecord:
    """What the record says of one sample: everything but its arrays, which are in the files."""

    index: int | None = None
    """Its number in a job of several samples; None in a job of one."""

    seed: int | None = None
    mode: str = ""
    prompt: str = ""
    domain: str | None = None
    space: ActionSpace | None = None
    fps: float | None = None
    sampling_rate: int | None = None
    observation: Mapping[str, Any] = field(default_factory=dict)
    """`source` (address), `task` and `details` of what was seen."""

    arrays: Mapping[str, Any] = field(default_factory=dict)
    """dtype and shape of each output type."""

    given_action: Sequence[Any] | None = None
    """Nested lists `[K][T][D]`, model space: what drove forward dynamics."""

    reference_action: Sequence[Any] | None = None
    """Nested lists `[K][T][D]`, model space: the observation's own actions."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=dict)
    """Of this sample."""

    @property
    def prefix(self) -> str:
        """How the paths of its files begin: `sample_03/`, or nothing in a job of one."""
        return "" if self.index is None else f"sample_{self.index:02d}/"


@dataclass(frozen=True)
class Record:
    """A job as its folder tells it."""

    directory: Path
    status: str = "done"
    """`done` (perhaps with problems), `failed`, or `damaged`: a record that cannot be read, `error` says why."""

    hash: str = ""
    """16 hex digits of `identity`."""

    identity: Mapping[str, Any] = field(default_factory=dict)
    """Everything that made the rollouts; equal identities are the same rollouts."""

    overrides: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    samples: tuple[SampleRecord, ...] = ()
    samples_action: Mapping[str, Any] = field(default_factory=dict)
    """Mean and standard deviation of the predicted actions over several samples."""

    artifacts: tuple[FileEntry, ...] = ()
    metrics: Metrics = field(default_factory=dict)
    """Of the only sample; of several, the mean of each value over the samples that have it."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """Warnings about the request, a line each."""

    error: str = ""
    stage: str = ""
    traceback: str = ""
    started: str = ""
    finished: str = ""
    seconds: Mapping[str, Any] = field(default_factory=dict)
    peak_memory_mb: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    guardrail: Any = None
    versions: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Distribution and version of every third-party plugin that was loaded."""

    git: str | None = None
    """Commit of the package's own checkout, where it runs from one."""

    log: str = ""
    """Log file of a worker process that was lost."""

    history: tuple[Mapping[str, Any], ...] = ()
    """What was generated, measured and drawn, when, and by which version."""

    @property
    def name(self) -> str:
        """The job's folder name; in a sweep its number."""
        return self.directory.name

    @property
    def done(self) -> bool:
        """Whether its rollouts are there."""
        return self.status == "done"

    @property
    def mode(self) -> str:
        """The condition's mode, as far as is known."""
        return self.samples[0].mode if self.samples else str(_mapping(self.config.get("condition")).get("mode") or "")

    @property
    def prompt(self) -> str:
        """The prompt, as far as is known."""
        return self.samples[0].prompt if self.samples else str(self.config.get("prompt") or "")

    @property
    def observation(self) -> str:
        """Address of the observation, as far as is known."""
        source = self.samples[0].observation.get("source") if self.samples else self.config.get("observation")
        return str(source or "")

    @property
    def total_seconds(self) -> float:
        """Wall time of all stages [s]."""
        return round(float(sum(v for v in self.seconds.values() if isinstance(v, int | float))), 3)

    def files_of(self, sample: SampleRecord) -> list[FileEntry]:
        """The files of one sample; in a job of one, all of them."""
        return [entry for entry in self.artifacts if entry.path.startswith(sample.prefix)]

    def file(self, type_: str, sample: SampleRecord | None = None, suffix: str = "") -> Path | None:
        """Path of the first file of a type (of a sample, with a suffix), or None."""
        entries = self.artifacts if sample is None else self.files_of(sample)
        found = (e.path for e in entries if e.type == type_ and e.path.endswith(suffix))
        return next((self.directory / path for path in found), None)

    def whole(self) -> bool:
        """Whether every listed file is still there, with its size."""
        sizes = ((self.directory / entry.path, entry.bytes) for entry in self.artifacts)
        return all(path.is_file() and path.stat().st_size == size for path, size in sizes)


_ONLY_WHERE_SET = ("error", "stage", "traceback", "log", "samples_action")
"""Fields that a record on disk leaves out where they are empty."""


def write(record: Record) -> Path:
    """Write the record into its folder: `manifest.json` for a done job (a `failure.json` goes), else `failure.json`."""
    value: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    for each in dataclasses.fields(Record):
        content = getattr(record, each.name)
        if each.name == "artifacts":
            content = [
                {"path": a.path, "type": a.type, "bytes": a.bytes, "sha256": a.sha256, **a.details} for a in content
            ]
        elif each.name in ("samples", "problems"):
            content = [dataclasses.asdict(item) for item in content]
        if each.name != "directory" and (content or each.name not in _ONLY_WHERE_SET):
            value[each.name] = content
    path = write_json(record.directory / (MANIFEST if record.done else FAILURE), value)
    if record.done:
        (record.directory / FAILURE).unlink(missing_ok=True)
    return path


def read(directory: Path) -> Record | None:
    """The record in a folder; None where there is none.

    One that is damaged, or of another version, comes back with the status `damaged` and one line in `error`.
    """
    for name in (MANIFEST, FAILURE):
        path = directory / name
        try:
            if not path.is_file():
                continue
            return _from_json(directory, read_json(path, "it", ReportError), name)
        except (ReportError, OSError, ValueError, OverflowError, TypeError) as error:
            why = one_line(error, 120).rstrip(".")
        return Record(directory, "damaged", error=f"{directory.name}/{name} cannot be read: {why}.")
    return None


def jobs(directory: Path) -> list[Record]:
    """The records of a sweep's jobs in order of number; those of one job's folder are a list of one."""
    if (own := read(directory)) is not None:
        return [own]
    folders = sorted((p for p in directory.iterdir() if p.is_dir() and not p.name.startswith(".")), key=by_number)
    return [record for folder in folders if (record := read(folder)) is not None]


def by_number(path: Path) -> tuple[bool, int, str]:
    """Sort key of job folders: numbers first, by value (`5-1` after `5`); then names."""
    digits = path.name.partition("-")[0]
    number = digits.isdecimal() and digits.isascii() and len(digits) < 10
    return (not number, int(digits) if number else 0, path.name)


def file_entry(artifact: Artifact, directory: Path) -> FileEntry:
    """One artifact as the record lists it."""
    with artifact.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    size, path = artifact.path.stat().st_size, str(artifact.path.relative_to(directory))
    return FileEntry(path, artifact.type, size, digest, dict(artifact.details))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "Mapping": (dict,), "Metrics": (dict,), "tuple": (list,),
    "Sequence": (list,), "Any": (object,), "ActionSpace": (dict,), "bool": (bool,),
}  # fmt: skip


def _values(cls: type, raw: Any, where: str) -> dict[str, Any]:
    """The fields of a dataclass out of a JSON object, each of the right kind. Raises: `ValueError` naming the field."""
    if not isinstance(raw, dict):
        raise ValueError(f"{where} is no object")  # noqa: TRY004 - one kind of error for all damage
    found = {}
    for each in dataclasses.fields(cls):
        if each.name not in raw:
            continue
        value, kind = raw[each.name], str(each.type)
        if value is None and "None" in kind:
            continue
        wanted = _KINDS[kind.partition("[")[0].partition(" ")[0]]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted not in ((object,), (bool,))):
            raise ValueError(f"{where}{each.name} is {'null' if value is None else f'a {type(value).__name__}'}")
        found[each.name] = value
    return found


def _metrics(raw: Mapping[str, Any], where: str) -> Metrics:
    for name, values in raw.items():
        if not isinstance(values, dict) or not all(isinstance(v, int | float) or v is None for v in values.values()):
            raise ValueError(f"{where}metrics.{name} holds something else than numbers")
    return {name: {k: float("nan" if v is None else v) for k, v in values.items()} for name, values in raw.items()}


def _sample(raw: Any) -> SampleRecord:
    values = _values(SampleRecord, raw, "samples.")
    if values.get("space"):
        space = _values(ActionSpace, _mapping(values["space"]), "space.")
        if "domain" not in space:
            raise ValueError("space.domain is missing")
        values["space"] = ActionSpace(**space)
    values["metrics"] = _metrics(values.get("metrics", {}), "samples.")
    return SampleRecord(**values)


def _file(raw: Any) -> FileEntry:
    values = _values(FileEntry, raw, "artifacts.")
    path = Path(values.get("path", "/"))
    if path.is_absolute() or ".." in path.parts or "type" not in values:
        raise ValueError("artifacts lists a file outside of the job's folder, or one without a type")
    known = ("path", "type", "bytes", "sha256")
    return FileEntry(
        **{k: values[k] for k in known if k in values}, details={k: v for k, v in raw.items() if k not in known}
    )


def _from_json(directory: Path, raw: Any, name: str) -> Record:
    if isinstance(raw, dict) and raw.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"it has schema version {raw.get('schema_version')!r}, this program reads {SCHEMA_VERSION}")
    values = _values(Record, raw, "")
    if values.get("status") != ("done" if name == MANIFEST else "failed"):
        raise ValueError(f"its status is {values.get('status')!r}")
    for key in ("started", "finished"):
        if values.get(key):
            datetime.datetime.fromisoformat(values[key])
    for key in ("overrides", "command", "notes"):
        if not all(isinstance(item, str) for item in values.get(key, ())):
            raise ValueError(f"{key} holds something else than text")
    values |= {key: tuple(values.get(key, ())) for key in ("overrides", "command", "notes", "history")}
    values["samples"] = tuple(_sample(item) for item in values.get("samples", ()))
    values["artifacts"] = tuple(_file(item) for item in values.get("artifacts", ()))
    values["problems"] = tuple(Problem(**_values(Problem, item, "problems.")) for item in values.get("problems", ()))
    values["metrics"] = _metrics(values.get("metrics", {}), "")
    if name == MANIFEST and not (values["samples"] and values.get("hash")):
        raise ValueError("it names no sample or no hash")
    if name == FAILURE and not values.get("error"):
        raise ValueError("it names no error")
    return Record(directory, **values)
