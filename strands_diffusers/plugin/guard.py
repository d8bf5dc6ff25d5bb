"""Call a plugin's code so that nothing it does reaches further than its own result."""

from __future__ import annotations

import contextvars
import dataclasses
import itertools
import math
import numbers
import queue
import re
import reprlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

from strands_diffusers import domains
from strands_diffusers.config.fields import ViewPoint
from strands_diffusers.errors import ObservationError, PluginError, StrandsDiffusersError, near_miss, one_line
from strands_diffusers.lazy import np
from strands_diffusers.plugin.acting import described
from strands_diffusers.plugin.base import ActionRows, Source, Table
from strands_diffusers.plugin.engine import Sample
from strands_diffusers.records import plain
from strands_diffusers.results import Artifact, Observation, ObservationRequest

LIMIT_S = 300.0
"""Time that a call may take where the config says nothing else [s]."""

MOST = 1000
"""More things than this are taken for an iterator that never ends."""

T = TypeVar("T")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
shown = reprlib.repr  # short, and it bears objects whose own `repr` fails


class PluginFault(StrandsDiffusersError):  # noqa: N818 - beside PluginError, which is a wrong registration
    """What a plugin did wrong while it ran. Exit status 1 where the job cannot go on without it."""

    def __init__(self, plugin: str, what: str, error: BaseException | str) -> None:
        """`plugin`: its name, empty for a built-in; `what` failed: `metric jerk`."""
        self.plugin, self.what, self.error = plugin, what, _printable(error) if isinstance(error, str) else text(error)
        super().__init__(f"{what}{f' of plugin {plugin}' if plugin else ''}: {self.error}")


class Wrong(ValueError):  # noqa: N818 - never leaves this room
    """A plugin returned what it must not; the text follows the name of what returned it."""


class Worker:
    """One thread for all calls of one object: a simulator's windows and contexts belong to the thread that made them."""

    def __init__(self, name: str) -> None:
        """`name`: of the thread."""
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] | None = None

    def begin(self, call: Callable[[], None]) -> None:
        """Run `call`, which must not raise, in the thread."""
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self._calls,), name=self._name, daemon=True).start()
        self._calls.put(call)

    def leave(self) -> None:
        """Let the thread end with the call that it is in; a later call has a new one."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None

    @staticmethod
    def _work(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while (call := calls.get()) is not None:
            call()


def run(
    owner: str,
    what: str,
    call: Callable[[], T],
    limit_s: float | None = LIMIT_S,
    poll: Callable[[], None] | None = None,
    worker: Worker | None = None,
) -> T:
    """Return what `call` returns, waiting at most `limit_s` seconds (None: as long as it takes).

    `poll` is called twice a second meanwhile; what it raises ends the waiting. `worker`: the thread to run it in.

    It runs in a thread of its own: Ctrl-C reaches the waiting caller, and a `KeyboardInterrupt` or `SystemExit` out of
    the call is the plugin's own. A call that takes too long is left behind; it ends with the process at the latest.

    Raises: `PluginFault` for whatever the call raises, save a `StrandsDiffusersError`, which passes as it is.
    """
    outcome: list[tuple[Any, BaseException | None]] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.append((context.run(call), None))
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            outcome.append((None, error))

        done.set()

    done = threading.Event()
    if worker is None:
        threading.Thread(target=work, name=what, daemon=True).start()
    else:
        worker.begin(work)
    end = time.monotonic() + (math.inf if limit_s is None else limit_s)
    try:
        while not done.is_set() and (left := end - time.monotonic()) > 0:
            done.wait(min(left, 0.5))  # a Ctrl-C just before a wait would only be seen at its end
            if poll is not None and not done.is_set():
                poll()
    finally:
        if worker is not None and not done.is_set():
            worker.leave()
    if not outcome:
        raise PluginFault(owner, what, f"TimeoutError: no answer within {limit_s:g} s")
    value, error = outcome[0]
    if isinstance(error, StrandsDiffusersError):
        raise error
    if error is not None:
        raise PluginFault(owner, what, f"it {error}" if isinstance(error, Wrong) else error) from error
    return value  # type: ignore[no-any-return]


def command(owner: str, name: str, call: Callable[[list[str]], Any], arguments: list[str]) -> int:
    """Run a plugin's verb in this very thread, and return its exit status. Ctrl-C and `SystemExit` pass.

    Raises: `PluginFault` for whatever else it raises, save a `StrandsDiffusersError`, and for a status that is none.
    """
    try:
        status = call(arguments)
    except (StrandsDiffusersError, BrokenPipeError):
        raise
    except Exception as error:
        raise PluginFault(owner, f"command {name}", error) from error
    if status is not None and not (isinstance(status, int) and 0 <= status <= 255):
        raise PluginFault(owner, f"command {name}", f"it returned {shown(status)}, not an exit status")
    return status or 0


def _guarded(check: Callable[..., T]) -> Callable[..., T]:
    """Make `check(value, *more)` a function `(owner, what, call, *more, limit_s=LIMIT_S)` that checks what `call` returns.

    It returns what `call` returned, once it is what it must be; checking counts towards the time limit.
    Raises: `PluginFault`, and a `StrandsDiffusersError` of the call's own.
    """

    @wraps(check)
    def guarded(owner: str, what: str, call: Callable[[], Any], *more: Any, limit_s: float | None = LIMIT_S) -> T:
        return run(owner, what, lambda: check(call(), *more), limit_s)

    return guarded


def listed(values: Any, kind: type[T]) -> list[T]:
    """`values` as a list of `kind`, at most `MOST` of them. Raises: `Wrong`."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise Wrong(f"returned {shown(values)}; it must return a list")
    found = list(itertools.islice(values, MOST + 1))
    if len(found) > MOST:
        raise Wrong(f"returned more than {MOST:,} things; it must return a list of what there is")
    for item in found:
        if not isinstance(item, kind):
            raise Wrong(f"returned {shown(item)} where a {kind.__name__} belongs")
    return found


@_guarded
def artifacts(found: Any, directory: Path) -> list[Artifact]:
    """The files that `save` or `draw` wrote: each must exist inside `directory`."""
    root, artifacts = directory.resolve(), []
    for item in listed(found, Artifact):
        if not (isinstance(item.path, Path) and isinstance(item.type, str) and isinstance(item.details, Mapping)):
            raise Wrong(f"returned {shown(item)}; it must be Artifact(Path, text, mapping)")
        path = (directory / item.path).resolve()
        if not path.is_relative_to(root):
            raise Wrong(f"returned {item.path}, which is outside {directory}, the folder that it was given")
        if not path.is_file():
            raise Wrong(f"returned {item.path}, which is not a file: it was not written")
        plain(item.details)  # a record must be able to hold them
        artifacts.append(dataclasses.replace(item, path=directory / path.relative_to(root)))
    return artifacts


@_guarded
def metrics(found: Any, measures: Mapping[str, Any]) -> dict[str, float]:
    """The values of `compute`: finite numbers under names that the metric's `measures` declare."""
    if not isinstance(found, Mapping):
        raise Wrong(f"returned {shown(found)} where a dict of numbers belongs")
    for name, value in found.items():
        if name not in measures:
            near = near_miss(name, measures) if isinstance(name, str) else ""
            raise Wrong(f"returned {shown(name)}, which its `measures` do not declare.{near}")
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
            raise Wrong(f"returned {name}={shown(value)}, which is not a finite number")
    return {str(name): float(value) for name, value in found.items()}


@_guarded
def panel(found: Any) -> Table | str | None:
    """What a report panel shows: a `Table`, HTML, or None."""
    if found is None or isinstance(found, str):
        return found
    if not isinstance(found, Table):
        raise Wrong(f"returned {shown(found)} where a Table, HTML or None belongs")
    columns, rows = listed(found.columns, str), [listed(row, object) for row in listed(found.rows, object)]
    if not columns or any(len(row) != len(columns) for row in rows):
        raise Wrong("returned a Table that needs columns, and in each row as many cells")
    for cell in (*itertools.chain.from_iterable(rows), found.note):
        if not (cell is None or isinstance(cell, str | int | float)):
            raise Wrong(f"returned a Table with {shown(cell)}; cells are text, numbers or None")
    return Table(columns, rows, found.note)  # type: ignore[arg-type] # each cell was looked at


def samples(owner: str, what: str, found: Any, count: int) -> list[Sample]:
    """What an engine generated: `count` samples with arrays as `plugin.engine.Sample` says."""
    if not (isinstance(found, list) and len(found) == count and all(isinstance(item, Sample) for item in found)):
        raise PluginFault(owner, what, f"it returned {shown(found)} where a list of {count} Sample belongs")
    for name, kind in (("video", "uint8 [F, H, W, 3]"), ("sound", "float32 [N, C]"), ("action", "float32 [T, D]")):
        for item in found:
            if not _is(kind, array := getattr(item, name)):
                raise PluginFault(owner, what, f"it returned {name} {described(array)}; it must be {kind}")
    return found


def _observation(seen: Any) -> Observation:
    if not isinstance(seen, Observation):
        raise Wrong(f"returned {type(seen).__name__}, not an Observation")
    if not _is("uint8 [F, H, W, 3]", seen.frames):
        raise Wrong(f"returned frames {described(seen.frames)}; they must be uint8 [F, H, W, 3]")
    if not _is("float32 [T, D]", seen.actions) or not (seen.actions is None or np.isfinite(seen.actions).all()):
        raise Wrong(f"returned actions {described(seen.actions)}; they must be finite float32 [T, D]")
    if seen.frames is None and seen.actions is None:
        raise Wrong("returned neither frames nor actions")
    rate = seen.fps
    if rate is not None and not (isinstance(rate, numbers.Real) and math.isfinite(rate) and rate > 0):
        raise Wrong(f"returned fps={shown(rate)}; it must be a rate above 0 [Hz], or None")
    for name in ("task", "domain", "source"):
        value = getattr(seen, name)
        if not (isinstance(value, str) or (value is None and name != "source")):
            raise Wrong(f"returned {name}={shown(value)}; it must be text")
    views = [None, *(view.value for view in ViewPoint)]
    if seen.view_point not in views:
        raise Wrong(f"returned view_point={shown(seen.view_point)}; it must be one of {', '.join(map(str, views))}")
    if not isinstance(seen.details, Mapping):
        raise Wrong(f"returned details={shown(seen.details)}; they must be a mapping")
    plain(seen.details)  # a record must be able to hold them
    return seen


def _rows(found: Any) -> ActionRows:
    if not isinstance(found, ActionRows):
        raise Wrong(f"returned {shown(found)}, not ActionRows")
    return dataclasses.replace(found, pieces=iter(found.pieces))


def _piece(found: Any) -> np.ndarray | None:
    if found is None or (isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype.kind == "f"):
        return found
    raise Wrong(f"returned actions {described(found)}; they must be numbers [T, D]")


class GuardedSource(Source):
    """A source whose answers are checked, and whose errors say which source it is. Nobody is handed another."""

    def __init__(self, owner: str, source: Source) -> None:
        """`owner`: the plugin it is of, empty for a built-in."""
        super().__init__(source.config)
        self._owner, self._source, self.scheme = owner, source, source.scheme  # type: ignore[misc]

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read an observation. Raises: `PluginError` where the source fails or returns what it must not;
        `ObservationError` for another domain or view than the request's, and a task that would steer a terminal.
        """
        seen = self._asked(lambda: _observation(self._source.read(address, request)))
        name = address if self.scheme == "file" else f"{self.scheme}:{address}"
        if found := _CONTROL.search(seen.task or ""):
            raise ObservationError(
                f"the task of {name} holds the control character U+{ord(found[0]):04X}. Say @task:TEXT."
            )
        domains.check_same(seen.domain, request.domain, name)
        if seen.view_point and request.view_point and seen.view_point != request.view_point:
            raise ObservationError(
                f"{name} is a {seen.view_point}, and this run has domain.view_point={request.view_point}. "
                f"Type domain.view_point={seen.view_point}, or an observation that is a {request.view_point}."
            )
        return seen

    def action_rows(self, address: str, domain: str) -> ActionRows:
        """Read all actions; each piece is checked as it is read. Raises: as `read`."""
        rows = self._asked(lambda: _rows(self._source.action_rows(address, domain)))

        def pieces() -> Iterator[np.ndarray]:
            while (piece := self._asked(lambda: _piece(next(rows.pieces, None)))) is not None:
                yield piece

        return dataclasses.replace(rows, pieces=pieces())

    def episodes(self, address: str) -> list[tuple[str, int]]:
        """List the episodes of a dataset. Raises: as `read`."""
        return self._asked(lambda: list(self._source.episodes(address)))

    def absolute(self, address: str, cwd: Path) -> str:
        """Make the address absolute. Raises: as `read`."""
        call = partial(self._source.absolute, address, cwd)
        return self._asked(call) if self._owner else call()

    def _asked(self, call: Callable[[], T]) -> T:
        """What the source answers. No time limit; Ctrl-C ends it."""
        what = f"the source {self.scheme!r}{f' of plugin {self._owner}' if self._owner else ''}"
        try:
            return run(self._owner, what, call, None)
        except PluginFault as fault:
            said = fault.error.removeprefix("it ") if isinstance(fault.__cause__, Wrong) else f"failed: {fault.error}"
            raise PluginError(f"{what} {said}.") from fault.__cause__


def text(error: BaseException) -> str:
    """`ValueError: ...` in one printable line, also of errors whose own text fails; of a fault, the plugin's own error."""
    if isinstance(error, PluginFault):
        return error.error
    try:
        return _printable(f"{type(error).__name__}: {one_line(error)}")
    except Exception:  # noqa: BLE001 - a text of a plugin's
        return type(error).__name__


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _is(kind: str, array: object) -> bool:
    """Whether the array is missing, or of a kind such as `uint8 [F, H, W, 3]`."""
    dtype, _, axes = kind.partition(" ")
    sizes = axes.strip("[]").split(", ")
    return array is None or (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.ndim == len(sizes)
        and array.size > 0
        and all(not size.isdigit() or int(size) == n for size, n in zip(sizes, array.shape, strict=True))
    )
