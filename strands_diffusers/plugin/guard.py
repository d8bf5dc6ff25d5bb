"""Call a plugin's code so that nothing it does reaches further than its own result."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from strands_diffusers.errors import StrandsDiffusersError, one_line
from strands_diffusers.records import Problem

LIMIT_S = 300.0
"""Time that a call may take where the config says nothing else [s]."""

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
    thread.join(limit_s)
    if not outcome:
        raise PluginFault(owner, what, f"TimeoutError: no answer within {limit_s:g} s")
    value, error = outcome[0]
    if isinstance(error, StrandsDiffusersError):
        raise error
    if error is not None:
        raise PluginFault(owner, what, error) from error
    return value  # type: ignore[no-any-return]


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
