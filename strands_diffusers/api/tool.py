"""`use_diffusers`: one call for every pipeline, for agents and scripts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from strands_diffusers.api.access import Access
from strands_diffusers.api.request import DEFAULT_FPS, Reply, Request, failed, parameters_of
from strands_diffusers.errors import ConfigError, StrandsDiffusersError, near_miss, one_line

log = logging.getLogger(__name__)


def use_diffusers(
    action: str = "pipelines",
    pipeline: str | None = None,
    model: str | None = None,
    inputs: Any = None,
    target: str | None = None,
    parameters: dict[str, Any] | str | None = None,
    cache_key: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    save_artifacts: bool = True,
    fps: float = DEFAULT_FPS,
    label: str = "",
) -> dict[str, Any]:
    """Find, load and run any pipeline of diffusers: images, video, sound, meshes, and robot actions of world models.

    Args:
        action: What to do. Discover: wfm (world models and action pipelines), pipelines, models, schedulers, tasks,
            modalities, pipeline_info (one pipeline), inspect (anything callable). Do: run (load a pipeline and call it),
            call (construct or call one public class, function or method of diffusers), rollout (a typed robot rollout:
            parameters are config overrides), visualize (draw an action chunk). Memory: cache (list), clear_cache (free).
        pipeline: Pipeline class for run, such as Cosmos3OmniPipeline or WanPipeline.
        model: Hub id or local checkpoint folder for run; for rollout a preset such as cosmos3_pusht, or a checkpoint.
        inputs: For visualize, the action: nested lists, a run's action entry, JSON text, a .json path or cached:KEY.
            For run and call, the first positional argument. For rollout, the observation.
        target: For call and inspect, a public name of diffusers (CosmosActionCondition), a class method
            (UniPCMultistepScheduler.from_config) or cached:KEY.method. For pipeline_info, a pipeline class.
        parameters: Keyword arguments of the call, an object or its JSON text. cached:KEY stands for a kept object at any
            depth, {"**": "cached:KEY"} unpacks one. Paths and data URIs become images, clips or tensors where the
            parameter wants them; a whole number for generator becomes a seeded one. parameters.from_pretrained_kwargs
            reaches the loader. For rollout, config overrides such as {"condition": "policy", "seed": 1}.
        cache_key: Keep the result of call, or the pipeline of run, under this name. For clear_cache, what to free.
        device: auto (default), cpu, mps, cuda or cuda:N.
        dtype: float32, bfloat16 or float16; auto (default) is bfloat16 on CUDA.
        save_artifacts: Write media to files; otherwise only describe them.
        fps: Frame rate of a film [Hz] where neither the parameters nor the pipeline state one.
        label: A note for the log.

    Returns:
        `status` (success or error), `content` (text to read), and where there is something to hold: `data` (JSON-ready
        results; names in discovery), `artifacts` (paths of the files written), `details`, `notes`.
    """
    return perform(
        Access.of_environment(),
        action,
        pipeline,
        model,
        inputs,
        target,
        parameters,
        cache_key,
        device,
        dtype,
        save_artifacts,
        fps,
        label,
    )


def perform(
    access: Access,
    action: str,
    pipeline: str | None,
    model: str | None,
    inputs: Any,
    target: str | None,
    parameters: dict[str, Any] | str | None,
    cache_key: str | None,
    device: str | None,
    dtype: str | None,
    save_artifacts: bool,
    fps: float,
    label: str,
) -> Reply:
    """Do one verb with the caller's rights. Errors are data: nothing is ever raised."""
    from strands_diffusers.api import verbs

    try:
        _check(action, fps, verbs.VERBS)
        request = Request(
            action, pipeline, model, inputs, target, parameters_of(parameters), cache_key, device, dtype,
            bool(save_artifacts), float(fps), label, access,
        )  # fmt: skip
        if label:
            log.info("%s: %s", action, label)
        return verbs.find(action)(request)
    except StrandsDiffusersError as error:
        log.debug("use_diffusers(action=%r) was refused", action, exc_info=True)
        return failed(one_line(error, 1200), type(error).__name__)
    except Exception as error:
        log.debug("use_diffusers(action=%r) failed", action, exc_info=True)
        return failed(f"{type(error).__name__}: {one_line(error, 1200)}", type(error).__name__)


def _check(action: str, fps: float, verbs: Mapping[str, object]) -> None:
    if action not in verbs:
        raise ConfigError(f"action={action!r} is unknown. Use {', '.join(verbs)}.{near_miss(str(action), verbs)}")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise ConfigError(f"fps={fps!r} must be a rate above 0 Hz.")
