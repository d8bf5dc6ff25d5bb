"""The verbs of `use_diffusers`, one module per family. Each is imported when it is first asked for."""

import importlib
from collections.abc import Callable

from strands_diffusers.api.request import Reply, Request

_FAMILIES = {
    "discovery": "wfm pipelines models schedulers tasks modalities pipeline_info inspect",
    "run": "run",
    "call": "call",
    "rollout": "rollout",
    "visualize": "visualize",
    "jobs": "measure redraw report",
    "cache": "cache clear_cache",
}
"""The modules here, and the functions that they hold."""

VERBS = {verb: module for module, verbs in _FAMILIES.items() for verb in verbs.split()}
"""`action=` -> the module that holds the function of that name."""


def find(action: str) -> Callable[[Request], Reply]:
    """The function that serves a verb of the table."""
    return getattr(importlib.import_module(f"{__name__}.{VERBS[action]}"), action)  # type: ignore[no-any-return]
