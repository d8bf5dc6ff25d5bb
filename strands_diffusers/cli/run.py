"""Rollouts and sweeps from the command line: Hydra's flags and overrides, and what is shown of a run."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from strands_diffusers.cli import terminal
from strands_diffusers.cli.terminal import say
from strands_diffusers.config import compose, typed
from strands_diffusers.config.compose import CONFIG_NAME
from strands_diffusers.config.explain import explain
from strands_diffusers.config.user_files import check_search_path
from strands_diffusers.errors import ConfigError, RequestError, SweepError
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.plugin.manager import plugins

if TYPE_CHECKING:
    from strands_diffusers.runner import sweep


def run(arguments: Sequence[str]) -> int:
    """Answer one of Hydra's flags (`--cfg`, `--help`, completion, ...), run one rollout, or a sweep."""
    from hydra._internal.utils import get_args_parser

    if sys.flags.optimize > 1:
        raise ConfigError(
            "python -OO removes docstrings, and transformers does not import without them. Use python, or -O."
        )
    prepare()
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore # argparse would print its usage and exit
    flags, rest = parser.parse_known_args(list(arguments))
    if unknown := [word for word in rest if word.startswith("-")]:
        if "=" in unknown[0]:
            typed.as_typed(unknown)  # refuses it: an override has no dashes
        raise ConfigError(f"{unknown[0]} is not a flag. See strands-diffusers --help.")
    if flags.experimental_rerun:
        raise ConfigError(
            "--experimental-rerun is not supported. Repeat a job by its overrides, as its page shows them."
        )
    if flags.resolve and not (flags.cfg or flags.help):
        raise ConfigError("--resolve goes with --cfg or --help.")
    overrides = [*flags.overrides, *rest]
    multirun = bool(flags.multirun) or "hydra.mode=MULTIRUN" in overrides
    overrides = [
        *_config_dir(flags, overrides),
        *typed.as_typed([_resumed(o, multirun) for o in overrides], multirun=multirun),
    ]
    check_search_path(overrides)
    with compose.application() as hydra:
        try:
            if flags.help or flags.hydra_help or flags.cfg or flags.info or flags.shell_completion:
                _show(hydra, parser, flags, overrides)
                return 0
            gc.enable()
            with _terminated_as_interrupted():
                return _sweep(hydra, overrides) if multirun else _single(hydra, overrides)
        except compose.COMPOSE_ERRORS as error:
            if isinstance(error, RequestError):
                raise
            raise explain(error, overrides) from error


def _refuse(message: str) -> None:
    raise ConfigError(f"{message}. See strands-diffusers --help.")


def _config_dir(flags: Any, overrides: list[str]) -> list[str]:
    """`--config-dir DIR` as Hydra's search path, which means the same for one job, a sweep and its workers."""
    if flags.config_dir is None:
        return []
    folder = Path(flags.config_dir).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {flags.config_dir} is not a folder.")
    if any(o.startswith("hydra.searchpath=") for o in overrides):
        raise ConfigError(f"give either --config-dir or hydra.searchpath: hydra.searchpath=[file://{folder},...]")
    return [f"hydra.searchpath=[{typed.quoted(f'file://{folder}')}]"]


def _resumed(override: str, multirun: bool) -> str:
    """`resume=last` as the folder it means now, so that every job and worker goes on in the same one."""
    if not override.startswith("resume=") or override == "resume=null":
        return override
    if not multirun:
        raise ConfigError(f"{override} goes on with a sweep: add -m and the sweep's overrides.")
    value = override.removeprefix("resume=").strip("'\"")
    from strands_diffusers.runner import resume

    return f"resume={typed.quoted(str(resume.sweep_folder(value, Path.cwd())))}"


def _show(hydra: Any, parser: Any, flags: Any, overrides: list[str]) -> None:
    flags.overrides = overrides
    if flags.help:
        hydra.app_help(CONFIG_NAME, parser, flags)
        terminal.write(verbs_help())
    elif flags.hydra_help:
        hydra.hydra_help(CONFIG_NAME, parser, flags)
    elif flags.cfg:
        hydra.show_cfg(CONFIG_NAME, overrides, flags.cfg, flags.package, flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, CONFIG_NAME, overrides)
    elif not any(word.startswith("query=") for word in overrides):
        hydra.shell_completion(CONFIG_NAME, overrides)
    elif "COMP_LINE" not in os.environ:
        raise ConfigError("--shell-completion query=SHELL is what the shell asks, with the line in COMP_LINE.")
    elif not _complete_verb(os.environ["COMP_LINE"]):
        hydra.shell_completion(CONFIG_NAME, overrides)


def _complete_verb(line: str) -> bool:
    """Write the verbs, or words of a plugin's verb, that may follow in a command line; whether they are all that may."""
    from strands_diffusers.cli.verbs import VERBS

    words, commands = line.split()[1:], plugins().commands
    begun = words.pop() if words and not line[-1].isspace() else ""
    found = (commands[words[0]].completion if words[0] in commands else ()) if words else (*VERBS, *commands)
    sys.stdout.write("".join(f"{word}\n" for word in found if word.startswith(begun)))
    return bool(words) and (words[0] in commands or words[0] in VERBS)


def verbs_help() -> str:
    """The verbs and what each does, plugins' own behind ours."""
    from strands_diffusers.cli import verbs

    rows = [(f"  {name}", (verb.__doc__ or "").split("\n")[0]) for name, verb in verbs.VERBS.items()]
    rows += [(f"  {name}", command.help) for name, command in plugins().commands.items()]
    return f"Verbs\n{terminal.columns(rows)}"


def _context(hydra: Any, config: Any) -> HydraContext:
    from hydra._internal.callbacks import Callbacks

    return HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))


def _single(hydra: Any, overrides: list[str]) -> int:
    from strands_diffusers.runner import folders, job, sweep
    from strands_diffusers.runner.control import Control
    from strands_diffusers.runner.summary import page_note

    node = hydra.compose_config(CONFIG_NAME, overrides, RunMode.RUN, with_log_configuration=True)
    config = compose.to_run_config(node, overrides)
    checked = job.check(config)
    directory = Path(str(node.hydra.run.dir)).absolute()
    folders.check_free(directory, checked.hash)
    OmegaConf.update(node, "hydra.run.dir", str(directory))
    context = _context(hydra, node)
    context.callbacks.on_run_start(config=node, config_name=CONFIG_NAME)
    from strands_diffusers.runner.progress import Live

    live = Live()
    own = tuple(o for o in overrides if not o.startswith("hydra"))
    try:
        attempt = functools.partial(sweep.attempt, checked, directory, own, control=Control(live.stage))
        outcome = sweep.in_hydra(context, node, attempt, "hydra.run")
    finally:
        live.clear()
    outcome.notes.append(page_note(directory))
    say(terminal.table(outcome))
    return 1 if outcome.record.problems else 0


def _sweep(hydra: Any, overrides: list[str]) -> int:
    from strands_diffusers.runner import sweep
    from strands_diffusers.runner.progress import SweepProgress

    progress = SweepProgress()
    state = sweep.Sweep(progress)
    node = hydra.compose_config(CONFIG_NAME, overrides, RunMode.MULTIRUN, with_log_configuration=True)
    directory = Path(str(node.hydra.sweep.dir)).absolute()
    OmegaConf.update(node, "hydra.sweep.dir", str(directory))
    context = _context(hydra, node)
    try:
        sweeper = Plugins.instance().instantiate_sweeper(config=node, hydra_context=context, task_function=state)
        context.callbacks.on_multirun_start(config=node, config_name=CONFIG_NAME)
        sweeper.sweep(list(node.hydra.overrides.task))
        context.callbacks.on_multirun_end(config=node, config_name=CONFIG_NAME)
    except OSError as error:
        if not progress.rows:
            raise  # nothing was run: the folder is a wrong choice
        where = f" {error.filename}" if error.filename else ""
        say(f"the sweep stopped, the next job's folder cannot be written to: {error.strerror or error}{where}")
    except Exception as error:
        if all(row.status != "failed" for row in progress.rows):
            raise
        if isinstance(error, SweepError):
            say(str(error))
    finally:
        progress.clear()
        status = _conclude(state, directory, resumed=node.resume is not None) if progress.rows else 1
    return status


def _conclude(state: sweep.Sweep, directory: Path, *, resumed: bool) -> int:
    """The summary of a sweep, also where it was interrupted."""
    from strands_diffusers.runner import summary

    progress = state.progress
    rows, notes = summary.conclude(directory, progress.rows, progress.total, state.tracker, resumed=resumed)
    say(terminal.sweep_table(directory, rows, progress.total, notes))
    failed = progress.counts["failed"] or len(progress.rows) < (progress.total or 0)
    return 1 if failed or any(row.problems for row in rows) else 0


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a job like Ctrl-C does: files in work are dropped, the record says so, the folder resumes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)
