"""The verbs of `use_diffusers`, one module per family, in one table. Each is imported when it is first asked for."""

import importlib
from collections.abc import Callable

from strands_diffusers.api.request import Reply, Request

VERBS = {
    "wfm": "discovery",
    "pipelines": "discovery",
    "models": "discovery",
    "schedulers": "discovery",
    "tasks": "discovery",
    "modalities": "discovery",
    "pipeline_info": "discovery",
    "inspect": "discovery",
    "run": "run",
    "call": "call",
    "rollout": "rollout",
    "visualize": "visualize",
    "measure": "jobs",
    "redraw": "jobs",
    "report": "jobs",
    "cache": "cache",
    "clear_cache": "cache",
}
"""`action=` -> the module here that holds the function of that name."""


def find(action: str) -> Callable[[Request], Reply]:
    """The function that serves a verb of the table."""
    module = importlib.import_module(f"{__name__}.{VERBS[action]}")
    return getattr(module, action)  # type: ignore[no-any-return]
