"""The command line: plugins, then configs, then Hydra, then the runner; and a few plain verbs.

Exit status 0: done. 1: a rollout failed. 2: the request was wrong. A traceback only with HYDRA_FULL_ERROR=1.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.cli.terminal import say, show_progress, shown, table
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
    """Compose and run through Hydra, with its errors as one line each."""
    from strands_diffusers.config import compose
    from strands_diffusers.config.explain import explain
    from strands_diffusers.plugin.manager import plugins
    from strands_diffusers.runner import sweep

    for problem in plugins().problems:
        say(f"plugin {problem.plugin} was left out: {problem.message}")
    sweep.prepare()

    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    args = get_args_parser().parse_args(arguments)
    runs = not (args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
    wanted = list(args.overrides)
    if runs and args.multirun and not any(o.startswith("hydra/sweeper=") for o in wanted):
        count = sweep.validate(wanted)
        say(f"{count} jobs checked")
    finished = _Finished()
    progress = show_progress if runs and sys.stderr.isatty() else None
    failure: list[Exception] = []

    def run(node: Any) -> float | None:
        try:
            return sweep.task(node, finished, progress)
        except Exception as error:
            if args.multirun:
                raise
            failure.append(error)  # Hydra would print a line of its own before handing it through
            return None

    kept, sys.argv = sys.argv, [sys.argv[0] if sys.argv else "strands-diffusers", *arguments]
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands exceptions through, and we say them our way
    try:
        hydra.main(version_base="1.3", config_path=str(compose.conf_dir()), config_name=compose.CONFIG_NAME)(run)()
        if failure:
            raise failure[0]
    except RequestError:
        if sweep.Folders.latest and not args.multirun:
            sweep.discard_if_empty(sweep.Folders.latest)
        raise
    except (HydraException, OmegaConfBaseException) as error:
        if full_error == "1":
            raise
        raise explain(error, wanted) from error
    except StrandsDiffusersError:
        if not args.multirun:
            raise
    finally:
        sys.argv = kept
        if full_error is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    if not runs:
        return 0
    return _sweep_summary(finished) if args.multirun else finished.show()


class _Finished:
    """Collects finished jobs and shows the last one's table."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def __call__(self, result: Any) -> None:
        if len(self.results) > 0:
            self.results[-1].rollouts.clear()  # only the folder is still needed; frames are large
        self.results.append(result)

    def show(self) -> int:
        for result in self.results:
            say(table(result))
        return 0


def _sweep_summary(finished: _Finished) -> int:
    from strands_diffusers.runner import sweep

    directory = sweep.Folders.latest
    if directory is None or not directory.is_dir():
        return 1
    rows = sweep.summarize(directory)
    failed = [r for r in rows if r.status == "failed"]
    lines = [f"{shown(directory)}: {len(rows) - len(failed)} done, {len(failed)} failed"]
    for row in rows:
        seconds = f"{row.seconds:6.1f} s" if row.seconds is not None else " " * 8
        lines.append(
            f"  {row.number:>4}  {row.status:<6}  {seconds}  {' '.join(row.overrides)}{'  ' + row.error if row.error else ''}"
        )
    say("\n".join(lines))
    return 1 if failed else 0
