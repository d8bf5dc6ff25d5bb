"""Every error a user can cause, one class per kind, each with a message that says what to type instead.

The command line maps them to exit statuses: a `RequestError` (the request was wrong) is 2, any other
`StrandsDiffusersError` (the request was fine, its execution failed) is 1.
"""

import re
from collections.abc import Iterable, Sequence


class StrandsDiffusersError(Exception):
    """Base of all errors raised on purpose. Its text is one clear message, fit to be shown without a traceback."""


class RequestError(StrandsDiffusersError):
    """The request itself is wrong: nothing was computed, nothing was written. Exit status 2."""


class ConfigError(RequestError):
    """A config value, a combination of values, or an override is wrong."""


class DomainError(RequestError):
    """An embodiment domain is unknown, or cannot serve the request."""


class ObservationError(RequestError):
    """An observation cannot be read, or is not what the condition needs."""


class ActionError(RequestError):
    """An action chunk has the wrong shape, width, units or values."""


class ModelError(RequestError):
    """A world model cannot be found, is incomplete, or cannot serve the condition."""


class EngineError(RequestError):
    """An engine cannot serve this model, condition or device."""


class PluginError(RequestError):
    """A plugin misuses the hooks: a missing attribute, a taken name, a wrong class."""


class AccessError(RequestError):
    """A caller of `use_diffusers` asked for a file, a name or an object that is not open to it."""


class MissingPackageError(RequestError):
    """An optional package is not installed. The message holds the pip line that installs it."""


class ReportError(RequestError):
    """A folder holds no job that a report could show."""


class OutputError(StrandsDiffusersError):
    """A rollout cannot be written: wrong shape, values that are not finite, an unwritable folder. Exit status 1."""


class RolloutError(StrandsDiffusersError):
    """The pipeline call failed, or returned something that is not a rollout. Exit status 1."""


class CancelledError(StrandsDiffusersError):
    """The caller cancelled the job; nothing half-written is left. Exit status 1."""


class SweepError(StrandsDiffusersError):
    """At least one job of a sweep failed. Exit status 1."""


def near_miss(value: str, allowed: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest allowed value, or an empty string where none is close."""
    import difflib  # only a wrong value needs it

    close = difflib.get_close_matches(value, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_few(items: Sequence[str], limit: int) -> str:
    """The first items, and how many more there are: `a, b and 3 more`."""
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """The text without what a terminal would obey: escapes come out of records, datasets and file names too."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(error: BaseException, limit: int = 400) -> str:
    """Return the error's text as a single line of at most `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
