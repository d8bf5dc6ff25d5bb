"""Whether a W&B run can go to the server: what the user asked, whether there is a key, whether the server answered."""

import contextlib
import netrc
import os
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TRUE = {"1", "t", "true", "y", "yes", "on"}

_SERVER_ERRORS = {"CommError", "AuthenticationError", "TimeoutError"}

_SERVICE_ERRORS = {"MailboxClosedError", "HandleAbandonedError", "ConnectionResetError", "BrokenPipeError"}

_offline_because: str | None = None
"""Why the server was given up for the rest of this process; None: it was not."""


class WandbMode(str, Enum):
    """Where the run goes.

    `auto`: nowhere with WANDB_DISABLED=true; as WANDB_MODE says; else online with a key, and offline without one.
    """

    auto = "auto"
    online = "online"
    offline = "offline"
    disabled = "disabled"


def choose_mode(asked: WandbMode) -> tuple[str, str | None]:
    """Return wandb's mode, and the line that explains it where it is not what the user asked for."""
    import wandb

    settings = wandb.setup().settings
    mode = asked.value
    if asked is WandbMode.auto:
        mode = os.environ.get("WANDB_MODE") or (settings.mode if settings.mode != "online" else "auto")
        if os.environ.get("WANDB_DISABLED", "").lower() in _TRUE:
            mode = "disabled"
    if mode in ("offline", "dryrun", "disabled"):
        return ("disabled" if mode == "disabled" else "offline"), None
    if _offline_because is not None:
        return "offline", None  # said when it happened
    if _has_key(settings):
        return ("online" if mode == "auto" else mode), None
    if mode == "auto":
        return "offline", None
    return "offline", "W&B has no key for this server: the run is kept offline. To go online, type: wandb login"


def _has_key(settings: Any) -> bool:
    """Say whether wandb would find credentials without asking: environment, wandb's settings, netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if settings.api_key or settings.identity_token_file:
        return True
    host = urlsplit(settings.base_url).netloc
    hosts = {host, "api.wandb.ai"} if host.endswith("coreweave.com") else {host}  # the public server has two names
    paths = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]  # the latter on Windows
    return any(not hosts.isdisjoint(_netrc_hosts(Path(path).expanduser())) for path in paths)


def _netrc_hosts(path: Path) -> set[str]:
    try:
        return set(netrc.netrc(path).hosts)
    except (OSError, netrc.NetrcParseError):
        return set()  # as wandb sees it


def give_up_server(error: Exception) -> bool:
    """Stay offline for the rest of the process if `error` says that the server is away or refuses us."""
    global _offline_because
    if not _is_a(error, _SERVER_ERRORS):
        return False
    _offline_because = first_line(error)
    return True


def restart_service(error: Exception) -> bool:
    """Let wandb start its service process anew if `error` says that it died (killed for memory, for example)."""
    if not _is_a(error, _SERVICE_ERRORS):
        return False
    import wandb

    # The teardown says goodbye to the dead process, which fails; what matters is that wandb forgets it.
    with contextlib.suppress(Exception):
        wandb.teardown()
    return True


def _is_a(error: Exception, names: set[str]) -> bool:
    # By name: some are private to wandb, and wandb itself may be what cannot be imported.
    return not names.isdisjoint(cls.__name__ for cls in type(error).__mro__)


def first_line(error: BaseException) -> str:
    """Return the first line of the error's text, or its class's name; wandb's further lines are its own advice."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
