"""What wandb reads from the process's environment while a run is opened or a table is written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SEAMS = {
    "wandb.Settings.update_from_env_vars": "finds variables that wandb cannot read",
    "wandb.env.get_cache_dir": "finds out whether wandb can write its cache",
    "wandb.plot.custom_chart.CustomChartSpec.table_key": "lets all charts of an action read one table",
    "wandb.proto.wandb_internal_pb2.Record": "tests read offline runs back",
    "wandb.sdk.mailbox.MailboxClosedError": "the service process died",
    "wandb.sdk.mailbox.HandleAbandonedError": "the service process died",
}
"""Names of wandb that its reference does not promise, and what they are used for here."""

_OF_ONE_RUN = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_NAME")
"""Variables that mean one run: in a sweep of ours every job would take them for its own."""

PROJECT_REFUSES = set("/\\#?%:")
"""Characters that a project's name may not have."""

_lock = threading.RLock()


@contextmanager
def environment(folder: Path, *, of_a_sweep: bool) -> Iterator[list[str]]:
    """Let wandb see an environment that it can use; yields a line for each variable that it cannot read.

    Variables that it cannot read are hidden; in a sweep those are too that mean one run. Where wandb cannot write its
    cache in the home folder, it is in `folder`: else it prints its log to the terminal. wandb's service process keeps
    the environment of a process's first run.
    """
    with _lock:  # the environment is the process's
        values = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
        why = {name: reason for name, value in values.items() if (reason := _unreadable(name, value))}
        hidden = [*why, *(_OF_ONE_RUN if of_a_sweep else ())]
        with _changed(dict.fromkeys(hidden)), _changed({} if _has_cache() else {"WANDB_CACHE_DIR": str(folder)}):
            yield [f"{name} cannot be read ({reason})" for name, reason in why.items()]  # no value: it may be a key


@contextmanager
def staging_inside(folder: Path) -> Iterator[None]:
    """Let wandb stage the files of tables and artifacts in `folder`, not in the home folder, unless the user chose."""
    with _lock, _changed({} if "WANDB_DATA_DIR" in os.environ else {"WANDB_DATA_DIR": str(folder)}):
        yield


@contextmanager
def _changed(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables (None: remove) until the block ends."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _unreadable(name: str, value: str) -> str:
    """Why wandb refuses a variable; empty where it takes it."""
    import wandb

    if name == "WANDB_PROJECT" and not PROJECT_REFUSES.isdisjoint(value):
        return "a project has none of / \\ # ? % :"
    try:
        wandb.Settings().update_from_env_vars({name: value})
    except wandb.Error as error:
        return str(error).splitlines()[0]
    except ValueError as error:  # pydantic's: a line of its own, the setting, the reason, an address
        return str(error).splitlines()[2].strip().partition(" [type=")[0]
    return ""


def _has_cache() -> bool:
    import wandb.env

    cache = Path(wandb.env.get_cache_dir())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return os.access(cache, os.W_OK)
    except OSError:
        return False
