"""The command line: a table of verbs, and rollouts and sweeps for everything else.

Exit status 0: done. 1: a rollout failed, or was done with problems. 2: the request was wrong. A traceback only with
HYDRA_FULL_ERROR=1.
"""

import gc
import os
import sys
from collections.abc import Sequence

from strands_diffusers.errors import ConfigError, MissingPackageError, RequestError, StrandsDiffusersError, near_miss


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `strands-diffusers` and `python -m strands_diffusers`; always ends in `SystemExit`."""
    if argv is None:
        gc.disable()  # until work begins: nothing that modules make while they load is garbage
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise SystemExit(_dispatch(arguments))
    from strands_diffusers.cli.terminal import say

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

    word = arguments[0] if arguments else ""
    if word in verbs.VERBS:
        gc.enable()
        return verbs.VERBS[word](arguments[1:])
    if "=" not in word and not word.startswith("-"):
        from strands_diffusers.plugin import guard
        from strands_diffusers.plugin.manager import plugins

        index = plugins()
        if command := index.commands.get(word):
            gc.enable()
            return guard.command(index.owner(command), word, command.run, arguments[1:])
        if word:
            from strands_diffusers.config import packages

            if line := packages.missing(word):
                raise MissingPackageError(line)
            known = [*verbs.VERBS, *index.commands]
            raise ConfigError(
                f"{word!r} is neither a verb nor an override KEY=VALUE. Verbs: {', '.join(known)}.{near_miss(word, known)}"
            )
    from strands_diffusers.cli import run

    return run.run(arguments)
