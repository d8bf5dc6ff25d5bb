"""The verbs of `use_diffusers`, one module per family, in one table."""

from collections.abc import Callable

from strands_diffusers.api.request import Reply, Request
from strands_diffusers.api.verbs import cache, call, discovery, rollout, run, visualize

VERBS: dict[str, Callable[[Request], Reply]] = {
    "call": call.call,
    "run": run.run,
    "rollout": rollout.rollout,
    "visualize": visualize.visualize,
    "wfm": discovery.wfm,
    "pipelines": discovery.pipelines,
    "models": discovery.models,
    "schedulers": discovery.schedulers,
    "tasks": discovery.tasks,
    "modalities": discovery.modalities,
    "pipeline_info": discovery.pipeline_info,
    "inspect": discovery.inspect,
    "cache": cache.cache,
    "clear_cache": cache.clear_cache,
}
"""`action=` -> what it does."""
