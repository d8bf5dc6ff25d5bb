"""Tell the plugins what happens: the `on_` hooks."""

from typing import Any

from strands_diffusers.plugin import guard
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Problem


def call(hook: str, *, limit_s: float | None = guard.LIMIT_S, **arguments: Any) -> list[Problem]:
    """Call `hook` (`on_job_start`, `on_job_end`, `on_sweep_end`) of every plugin, in pluggy's order.

    Each plugin may take `limit_s` seconds (None: as long as it wants). Returns a problem for each that failed.
    """
    function = getattr(plugins().hooks.hook, hook)
    return guard.watch(lambda: function(**arguments), limit_s)
