"""Call a plugin's code so that nothing it does reaches further than its own result."""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import itertools
import math
import numbers
import reprlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from strands_diffusers.errors import PluginError, StrandsDiffusersError, near_miss, one_line
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import Table
from strands_diffusers.plugin.engine import Sample
from strands_diffusers.records import Problem, plain
from strands_diffusers.results import Artifact, Observation

LIMIT_S = 300.0
"""Time that a call may take where the config says nothing else [s]."""

MOST = 1000
"""More things than this are taken for an iterator that never ends."""

T = TypeVar("T")


class PluginFault(StrandsDiffusersError):  # noqa: N818 - beside PluginError, which is a wrong registration
    """What a plugin did wrong while it ran. Exit status 1 where the job cannot go on without it."""

    def __init__(self, plugin: str, what: str, error: BaseException | str) -> None:
        """`plugin`: its name, empty for a built-in; `what` failed: `metric jerk`."""
        self.plugin, self.what = plugin, what
        self.error = error if isinstance(error, str) else f"{type(error).__name__}: {one_line(error)}"
        super().__init__(f"{what}{f' of plugin {plugin}' if plugin else ''}: {self.error}")


def run(owner: str, what: str, call: Callable[[], T], limit_s: float | None = LIMIT_S) -> T:
    """Return what `call` returns, waiting at most `limit_s` seconds (None: as long as it takes).

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

    thread = threading.Thread(target=work, name=what, daemon=True)
    thread.start()
    end = time.monotonic() + (math.inf if limit_s is None else limit_s)
    while thread.is_alive() and (left := end - time.monotonic()) > 0:
        thread.join(min(left, 0.5))  # a Ctrl-C just before a wait would only be seen at its end
    if not outcome:
        raise PluginFault(owner, what, f"TimeoutError: no answer within {limit_s:g} s")
    value, error = outcome[0]
    if isinstance(error, StrandsDiffusersError):
        raise error
    if error is not None:
        raise PluginFault(owner, what, error) from error
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


def several(owner: str, what: str, call: Callable[[], Any], kind: type[T], limit_s: float | None = LIMIT_S) -> list[T]:
    """Return what `call` returns as a list of `kind`; `PluginFault` where it is anything else."""
    try:
        found = run(owner, what, lambda: listed(call(), "it"), limit_s)
    except PluginError as error:
        raise PluginFault(owner, what, one_line(error)) from error
    for item in found:
        if not isinstance(item, kind):
            raise PluginFault(owner, what, f"it returned {shown(item)} where a {kind.__name__} belongs")
    return found


def artifacts(
    owner: str, what: str, call: Callable[[], Any], directory: Path, limit_s: float | None = LIMIT_S
) -> list[Artifact]:
    """Return the files that `save` or `draw` names: each must exist inside `directory`.

    Raises: `PluginFault`, and a `StrandsDiffusersError` of the call's own.
    """
    checked, root = [], directory.resolve()
    for item in several(owner, what, call, Artifact, limit_s):
        if not (isinstance(item.path, Path) and isinstance(item.type, str) and isinstance(item.details, Mapping)):
            raise PluginFault(owner, what, f"{shown(item)} is not Artifact(Path, text, mapping)")
        path = (directory / item.path).resolve()
        if not path.is_relative_to(root):
            raise PluginFault(owner, what, f"{item.path} is outside {directory}, the folder that it was given")
        if not path.is_file():
            raise PluginFault(owner, what, f"{item.path} is not a file: it was not written")
        run(owner, what, functools.partial(plain, item.details), limit_s)  # a record must be able to hold them
        checked.append(dataclasses.replace(item, path=directory / path.relative_to(root)))
    return checked


def metrics(
    owner: str, what: str, call: Callable[[], Any], measures: Mapping[str, Any], limit_s: float | None = LIMIT_S
) -> dict[str, float]:
    """Return the values of `compute`: finite numbers under names that the metric's `measures` declare.

    Raises: `PluginFault`, and a `StrandsDiffusersError` of the call's own.
    """
    found = run(owner, what, call, limit_s)
    if not isinstance(found, Mapping):
        raise PluginFault(owner, what, f"it returned {shown(found)} where a dict of numbers belongs")
    for name, value in found.items():
        if name not in measures:
            near = near_miss(name, measures) if isinstance(name, str) else ""
            raise PluginFault(owner, what, f"it returned {shown(name)}, which its `measures` do not declare.{near}")
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise PluginFault(owner, what, f"its {name} is {shown(value)}, not a number")
        if not math.isfinite(value):
            raise PluginFault(owner, what, f"its {name} is {float(value)}, not a finite number")
    return {str(name): float(value) for name, value in found.items()}


def observation(owner: str, scheme: str, call: Callable[[], Any]) -> Observation:
    """Return what a source reads, checked: the rest of the program relies on it. No time limit; Ctrl-C ends it.

    Raises: `PluginError` where the source fails or returns what it must not, and its own `StrandsDiffusersError`.
    """
    what = f"the source {scheme!r}{f' of plugin {owner}' if owner else ''}"
    try:
        seen = run(owner, what, call, None)
    except PluginFault as fault:
        raise PluginError(f"{what} failed: {fault.error}") from fault.__cause__
    if not isinstance(seen, Observation):
        raise PluginError(f"{what} returned {type(seen).__name__}, not an Observation.")
    frames, actions = seen.frames, seen.actions
    if frames is not None and not (
        isinstance(frames, np.ndarray)
        and frames.dtype == np.uint8
        and frames.ndim == 4
        and frames.shape[3] == 3
        and frames.size
    ):
        raise PluginError(f"{what} returned frames {_array(frames)}; they must be uint8 [F, H, W, 3].")
    if actions is not None and not (
        isinstance(actions, np.ndarray)
        and actions.dtype == np.float32
        and actions.ndim == 2
        and actions.size
        and np.isfinite(actions).all()
    ):
        raise PluginError(f"{what} returned actions {_array(actions)}; they must be finite float32 [T, D].")
    if frames is None and actions is None:
        raise PluginError(f"{what} returned neither frames nor actions.")
    rate = seen.fps
    if rate is not None and not (isinstance(rate, numbers.Real) and math.isfinite(rate) and rate > 0):
        raise PluginError(f"{what} returned fps={shown(rate)}; it must be a rate above 0 [Hz], or None.")
    for name in ("task", "domain", "source"):
        value = getattr(seen, name)
        if not (isinstance(value, str) or (value is None and name != "source")):
            raise PluginError(f"{what} returned {name}={shown(value)}; it must be text.")
    if not isinstance(seen.details, Mapping):
        raise PluginError(f"{what} returned details={shown(seen.details)}; they must be a mapping.")
    try:
        plain(seen.details)
    except Exception as error:
        raise PluginError(f"{what} returned details that no record can hold: {one_line(error)}") from error
    return seen


def samples(owner: str, what: str, found: Any, count: int) -> list[Sample]:
    """Return what an engine generated: `count` samples, each array of the kind and shape that it must have.

    Raises: `PluginFault`.
    """
    if not (isinstance(found, list) and len(found) == count and all(isinstance(item, Sample) for item in found)):
        raise PluginFault(owner, what, f"it returned {shown(found)} where a list of {count} Sample belongs")
    for name, dtype, dimensions in (("video", np.uint8, 4), ("sound", np.float32, 2), ("action", np.float32, 2)):
        for array in (getattr(item, name) for item in found if getattr(item, name) is not None):
            if not (isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == dimensions and array.size):
                must = f"{np.dtype(dtype)} with {dimensions} dimensions"
                raise PluginFault(owner, what, f"its {name} is {_array(array)}; it must be {must}")
    return found


def panel(owner: str, what: str, call: Callable[[], Any], limit_s: float | None = LIMIT_S) -> Table | str | None:
    """Return what a report panel shows; `PluginFault` where it is neither a `Table`, nor HTML, nor None."""
    found = run(owner, what, call, limit_s)
    if found is None or isinstance(found, str):
        return found
    if not isinstance(found, Table):
        raise PluginFault(owner, what, f"it returned {shown(found)} where a Table, HTML or None belongs")

    def cells(values: Any) -> list[Any]:
        return several(owner, what, lambda: values, object, limit_s)

    columns, rows = several(owner, what, lambda: found.columns, str, limit_s), [cells(row) for row in cells(found.rows)]
    if not columns or any(len(row) != len(columns) for row in rows):
        raise PluginFault(owner, what, "its Table needs columns, and in each row as many cells")
    for cell in (*itertools.chain.from_iterable(rows), found.note):
        if not (cell is None or isinstance(cell, str | int | float)):
            raise PluginFault(owner, what, f"its Table holds {shown(cell)}; cells are text, numbers or None")
    return Table(columns, rows, found.note)


def listed(values: Any, where: str) -> list[Any]:
    """What `where` returned as a list, of at most `MOST` things; `PluginError` where it is none, or never ends."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise PluginError(f"{where} returned {shown(values)}; it must return a list.")
    found = list(itertools.islice(values, MOST + 1))
    if len(found) > MOST:
        raise PluginError(f"{where} returned more than {MOST:,} things; it must return a list of what there is.")
    return found


def shown(value: Any) -> str:
    """A short `repr`, also of objects whose own fails."""
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a repr of a plugin's
        return f"a {type(value).__name__}"


def _array(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


_watch: contextvars.ContextVar[tuple[list[Problem], float | None]] = contextvars.ContextVar("watch")
"""Where the hook that is being called puts its problems, and how long each plugin may take [s]."""


def watched(owner: str, hook: str, function: Callable[..., Any], *, wrapper: bool) -> Callable[..., Any]:
    """Return `function`, an implementation of `hook`, such that what it raises becomes a problem."""

    def attempt(call: Callable[[], Any]) -> Any:
        problems, limit_s = _watch.get()
        try:
            return run(owner, hook, call, limit_s)
        except StrandsDiffusersError as error:
            text = error.error if isinstance(error, PluginFault) else f"{type(error).__name__}: {one_line(error)}"
            problems.append(Problem(f"{hook} of plugin {owner}", text))
            return None

    @functools.wraps(function)  # pluggy reads the arguments' names and its own mark from it
    def plain(*arguments: Any) -> Any:
        return attempt(lambda: function(*arguments))

    @functools.wraps(function)
    def around(*arguments: Any) -> Generator[None, Any, Any]:
        inner: Any = attempt(lambda: _begun(function(*arguments)))
        result = yield
        return result if inner is None else attempt(lambda: _ended(inner, result))

    return around if wrapper else plain


def _begun(inner: Generator[None, Any, Any]) -> Generator[None, Any, Any]:
    next(inner)
    return inner


def _ended(inner: Generator[None, Any, Any], result: Any) -> Any:
    try:
        inner.send(result)
    except StopIteration as stop:
        return stop.value
    raise TypeError("a wrapper must yield once")


def watch(call: Callable[[], Any], limit_s: float | None = LIMIT_S) -> list[Problem]:
    """Call a hook through pluggy and return a problem for each plugin that failed."""
    problems: list[Problem] = []
    token = _watch.set((problems, limit_s))
    try:
        call()
    finally:
        _watch.reset(token)
    return problems
