"""The command line: plugins, then configs, then Hydra, then the runner; and a few plain verbs.

Exit status 0: done. 1: a rollout failed. 2: the request was wrong. A traceback only with HYDRA_FULL_ERROR=1.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.cli.terminal import say, show_progress, sweep_table, table
from strands_diffusers.errors import RequestError, StrandsDiffusersError


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `strands-diffusers` and `python -m strands_diffusers`; always ends in `SystemExit`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise SystemExit(_dispatch(arguments))
    try:
        status = _dispatch(arguments)
    except KeyboardInterrupt:
        say("interrupted")
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except StrandsDiffusersError as error:
        say(f"{type(error).__name__}: {error}")
        status = 2 if isinstance(error, RequestError) else 1
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        say(f"{type(error).__name__}: {error.strerror or error}{where}. Choose another folder with output_dir=DIR.")
        status = 2
    raise SystemExit(status)


def _dispatch(arguments: list[str]) -> int:
    from strands_diffusers.cli import verbs

    if arguments and arguments[0] in verbs.VERBS:
        return verbs.VERBS[arguments[0]](arguments[1:])
    return _hydra(arguments)


def _hydra(arguments: list[str]) -> int:
    """Answer one of Hydra's flags (`--cfg`, `--help`, completion, ...), or compose and run."""
    from strands_diffusers.plugin.choices import prepare

    prepare()

    from hydra._internal.utils import get_args_parser

    arguments = [_resumed(a) for a in arguments]
    args = get_args_parser().parse_args(arguments)
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        _call_hydra(lambda _: None, arguments, args.overrides)
        return 0
    return _run(arguments, args.overrides, args.multirun)


def _call_hydra(task: Callable[[Any], Any], arguments: Sequence[str], overrides: Sequence[str]) -> None:
    """Hand the command line to Hydra; its errors come back as `ConfigError`s of one line, ours as they are."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from strands_diffusers.config import compose, store
    from strands_diffusers.config.explain import explain

    kept, sys.argv = sys.argv, [sys.argv[0] if sys.argv else "strands-diffusers", *arguments]
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands exceptions through, and we say them our way
    try:
        hydra.main(version_base="1.3", config_path=str(store.conf_dir()), config_name=compose.CONFIG_NAME)(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        hydras_own = isinstance(error, HydraException | OmegaConfBaseException) or "Config group override" in str(error)
        if full_error == "1" or not hydras_own:
            raise
        raise explain(error, overrides) from error
    finally:
        sys.argv = kept
        if full_error is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _run(arguments: Sequence[str], overrides: Sequence[str], multirun: bool) -> int:
    """One rollout or a sweep, and what the person at the terminal sees of it."""
    from strands_diffusers.runner import sweep

    command = _Command(multirun, overrides)
    status = 0
    try:
        with _terminated_as_interrupted(), _unrehearsed() if command.sweep else contextlib.nullcontext():
            _call_hydra(command, arguments, overrides)
        if command.failure:
            raise command.failure
    except RequestError:
        if sweep.Folders.latest and not multirun:
            sweep.discard_if_empty(sweep.Folders.latest)
        raise
    except sweep.StopSweep as stop:
        say(str(stop))
    except OSError as error:
        if not command.sweep or not any(command.sweep.counts.values()):
            raise  # nothing was run: the folder is a wrong choice
        where = f" {error.filename}" if error.filename else ""
        say(f"the sweep stopped, the next job's folder cannot be written to: {error.strerror or error}{where}")
    except StrandsDiffusersError:
        if not multirun:
            raise
    finally:
        if command.sweep:
            command.sweep.clear()
        status = command.conclude()
    return status


def _resumed(argument: str) -> str:
    """`resume=last` as the folder it means now, so that every job and worker goes on in the same one."""
    if not argument.startswith("resume=") or argument == "resume=null":
        return argument
    from strands_diffusers.runner import resume

    return f"resume={resume.sweep_folder(argument.removeprefix('resume='), Path.cwd())}"


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


@contextlib.contextmanager
def _unrehearsed() -> Iterator[None]:
    """Hydra's own sweeper composes every job once to see that it can, then again to run it: the first look was ours."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    BasicSweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        del BasicSweeper.validate_batch_is_legal  # inherited again


class _Command:
    """One command's task function for Hydra, and what the person at the terminal sees of it."""

    def __init__(self, multirun: bool, overrides: Sequence[str]) -> None:
        from strands_diffusers.runner import progress, sweep

        self.multirun = multirun
        self.failure: Exception | None = None
        self._result: Any = None
        self._started = time.time()
        self._tracker: Any = None
        self.sweep: progress.SweepProgress | None = None  # launchers tell it what their workers do
        if multirun and (checked := sweep.validate(overrides)):
            count, self._tracker = checked
            self.sweep = progress.SweepProgress(count)
            say(f"{count} jobs checked")

    def __call__(self, node: Any) -> float | None:
        from strands_diffusers.runner import sweep

        show = show_progress if sys.stderr.isatty() and not self.multirun else None
        try:
            return sweep.task(node, self._report, show, self.sweep)
        except Exception as error:
            if self.multirun:
                raise
            self.failure = error  # Hydra would print a line of its own before handing it through
            return None

    def _report(self, result: Any) -> None:
        result.rollouts.clear()  # only the record is shown; frames are large
        self._result = result

    def conclude(self) -> int:
        """Show the table of a run, or the summary of a sweep, also when it was interrupted."""
        from strands_diffusers.runner import summary, sweep

        if not self.multirun:
            if self._result:
                say(table(self._result))
            return 0
        directory = sweep.Folders.latest
        if directory is None or not directory.is_dir():
            return 1
        told = self.sweep.failed if self.sweep else ()
        rows, notes = summary.conclude(directory, self._started, self._tracker, told)
        total = self.sweep.total if self.sweep else None
        say("\n".join([sweep_table(directory, rows, total), *(f"  {note}" for note in notes)]))
        return 1 if any(row.status == "failed" for row in rows) or len(rows) < (total or 0) else 0
