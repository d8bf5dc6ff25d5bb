"""`use_diffusers`: one call for every pipeline, for agents and scripts."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from strands_diffusers.api import values, verbs
from strands_diffusers.api.access import Access, offline, plain_name
from strands_diffusers.api.request import Reply, Request, failed, parameters_of, rate
from strands_diffusers.errors import ConfigError, StrandsDiffusersError, near_miss, one_line
from strands_diffusers.runner.control import Control, Progress

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
    fps: float | None = None,
    label: str = "",
    timeout_s: float | None = None,
    cancel: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Find, load and run any pipeline of diffusers: images, video, sound, meshes, and robot actions of world models.

    Args:
        action: What to do. Discover: wfm (world models and action pipelines), pipelines, models, schedulers, tasks,
            modalities, pipeline_info (one pipeline), inspect (anything callable). Do: run (load a pipeline and call it),
            call (construct or call one public class, function or method of diffusers), rollout (a typed robot rollout:
            parameters are config keys), visualize (draw an action chunk). Finished jobs: measure, redraw, report.
            Memory: cache (list), clear_cache (free).
        pipeline: Pipeline class for run, such as Cosmos3OmniPipeline or WanPipeline.
        model: Hub id or local checkpoint folder for run; for rollout a preset such as cosmos3_pusht, or a checkpoint.
        inputs: For visualize, the action: nested lists, a run's action entry, JSON text, a .json path or cached:KEY.
            For run and call, the first positional argument. For rollout, the observation. For measure, redraw and
            report, a job's or sweep's folder, or a list of them.
        target: For call and inspect, a public name of diffusers (CosmosActionCondition), a class method
            (UniPCMultistepScheduler.from_config) or cached:KEY.method. For pipeline_info, a pipeline class.
        parameters: Keyword arguments of the call, an object or its JSON text. cached:KEY stands for a kept object at any
            depth, {"**": "cached:KEY"} unpacks one. Paths and data URIs become images, clips or tensors where the
            parameter wants them; a whole number for generator becomes a seeded one. parameters.from_pretrained_kwargs
            reaches the loader. For rollout, config keys such as {"condition": "policy", "seed": 1}. For lists (wfm,
            pipelines, models, schedulers), filters: {"name": "wan", "takes": "image", "gives": "video", "limit": 20}.
        cache_key: Keep the result of call, or the pipeline of run, under this name. For clear_cache, what to free.
        device: auto (default), cpu, mps, cuda or cuda:N.
        dtype: float32, bfloat16 or float16; auto (default) is bfloat16 on CUDA.
        save_artifacts: Write media to files; otherwise only describe them.
        fps: Frame rate of a video [Hz] where neither the parameters nor the pipeline state one.
        label: A note for the log, one line.
        timeout_s: Give up after this many seconds, at the next denoising step; null: no limit.
        cancel: Asked at each denoising step whether to give up; for callers in Python.
        progress: Called with (stage, steps done, steps in all); for callers in Python.

    Returns:
        `status` (success or error), `content` (text to read), and where there is something to hold: `data` (JSON-ready
        results; names in discovery), `artifacts` (paths of the files written), `details`, `notes`.
    """
    return perform(Access.of_environment(), **locals())


def perform(
    access: Access,
    action: str = "pipelines",
    parameters: Any = None,
    timeout_s: float | None = None,
    cancel: Callable[[], bool] | None = None,
    progress: Progress | None = None,
    **arguments: Any,
) -> Reply:
    """Do one verb with the caller's rights; the arguments are those of `use_diffusers`. Errors are data: nothing is raised."""
    try:
        _check(action, timeout_s, parameters, arguments)
        control = Control(progress, cancel=cancel, timeout_s=timeout_s)
        request = Request(action, parameters=parameters_of(parameters), access=access, control=control, **arguments)
        if request.label:
            log.info("%s: %s", action, request.label)
        with contextlib.nullcontext() if access.is_open else offline():
            return verbs.find(action)(request)
    except StrandsDiffusersError as error:
        log.debug("use_diffusers(action=%r) was refused", action, exc_info=True)
        return failed(one_line(error, 1200), type(error).__name__)
    except (Exception, SystemExit) as error:
        log.debug("use_diffusers(action=%r) failed", action, exc_info=True)
        return failed(f"{type(error).__name__}: {one_line(error, 1200)}", type(error).__name__)


def _check(action: Any, timeout_s: Any, parameters: Any, arguments: Mapping[str, Any]) -> None:
    if not isinstance(action, str) or action not in verbs.VERBS:
        raise ConfigError(
            f"action={action!r} is unknown. Use {', '.join(verbs.VERBS)}.{near_miss(str(action), verbs.VERBS)}"
        )
    rate(arguments.get("fps"), "fps")
    rate(timeout_s, "timeout_s")
    for name, value in (("parameters", parameters), *arguments.items()):
        values.check(value, name)
    if arguments.get("cache_key") is not None and action != "clear_cache":
        plain_name(arguments["cache_key"], "cache_key")
    if arguments.get("label"):
        plain_name(arguments["label"], "label")


def for_agents(function: Any, annotate: Callable[[Any, str, Sequence[str]], Any], **hidden: Any) -> Any:
    """Give `function(**arguments)` the signature of `use_diffusers` as agents see it: described, without callables.

    `annotate(type, description, choices)` makes an annotation of what is known of an argument; `hidden` are parameters
    that the agent does not see, with their types.
    """
    documented = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(use_diffusers) or "", re.MULTILINE)
    texts = {name: " ".join(text.split()) for name, text in documented}
    parameters = [
        each.replace(annotation=annotate(each.annotation, texts[name], [*verbs.VERBS] if name == "action" else []))
        for name, each in inspect.signature(use_diffusers, eval_str=True).parameters.items()
        if name not in ("cancel", "progress")
    ]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in hidden.items()
    ]
    function.__name__, function.__doc__ = "use_diffusers", use_diffusers.__doc__
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function
