"""The typed job: `parameters` are config keys with literal values, everything else is as on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strands_diffusers.api import files, gate
from strands_diffusers.api.access import Access, artifacts_folder
from strands_diffusers.api.request import Reply, Request, ok, preview
from strands_diffusers.api.serialize import Writer
from strands_diffusers.api.values import texts_in
from strands_diffusers.config import compose
from strands_diffusers.config.explain import choices
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.config.typed import GROUPS, PATHS
from strands_diffusers.errors import AccessError, ConfigError, OutputError
from strands_diffusers.plugin.manager import plugins

_OPEN = re.compile(
    r"(?:model|condition|domain|engine|sampler|policy|world)(?:\.[\w.]+)?"
    r"|(?:output|visualizer|metric|score)(?:\.\w+\.[\w.]+)?"
    r"|experiment|prompt|observation|seed|output_dir|sweep\.timeout_s"
)
"""The config keys that are open to a confined caller."""

_SOURCES = ("", "sample", "run", "lerobot")
"""Schemes of the observations that are open to a confined caller; "" is a plain path."""

_GOAL = re.compile(r"(.+?)(@frame:-?\d{1,6})?", re.DOTALL)

_OPTIONS = ("start", "stride", "fps", "actions", "task", "sample", "episode", "camera", "units", "rotation", "gripper",
            "body")  # fmt: skip
"""Options of those observations. `actions` of a plain path is a file; no other names one."""


def rollout(request: Request) -> Reply:
    """Run one job with `parameters` as its config; `model`, `device`, `dtype` and `inputs` are short for theirs."""
    from strands_diffusers.runner import job, run, sweep

    sweep.prepare()
    values, is_open = _values(request), request.access.is_open
    if not is_open:
        _check_keys(values, request.access)
    config = compose.compose(values=values)
    config = config if is_open else confined(config, request.access)
    directory = _directory(config, request.access)
    request.control("check", 0, 1)
    said = [f"{key}={value}" for key, value in values.items()]
    result = run.run_job(job.check(config), directory, overrides=said, control=request.control)
    record, first = result.record, result.rollouts[0]
    paths = [str(record.directory / entry.path) for entry in record.artifacts]
    data: dict[str, Any] = {"directory": str(record.directory), "domain": record.samples[0].domain}
    data |= {name: getattr(record, name) for name in ("mode", "seed", "engine", "metrics", "seconds")}
    if record.problems:
        data["problems"] = [f"{problem.what}: {problem.error}" for problem in record.problems]
    writer = Writer(save=False, fps=first.fps, sampling_rate=first.sampling_rate)
    for kind in ("video", "sound", "action", "image"):
        if (value := getattr(first, kind)) is not None:
            path = record.file(kind)
            data[kind] = writer.media(kind, value)[0] | ({"path": str(path)} if path else {})
    lines = [
        f"{data['mode']} rollout in {record.directory}",
        *(f"  {path}" for path in paths),
        *(f"warning: {note}" for note in record.notes),
        *(f"problem: {line}" for line in data.get("problems", [])),
        *result.notes,
        preview(data),
    ]
    return ok("\n".join(lines), data=data, artifacts=paths)


def _values(request: Request) -> dict[str, Any]:
    """The config keys of a request and their literal values. Nothing is logged to a tracker unless one is named.

    `model` is a preset's name, else a checkpoint: a folder or Hub id, with `pipeline` as its class.
    """
    if "overrides" in request.parameters:
        raise ConfigError('parameters.overrides is gone: give each value as a parameter, as {"seed": 1}.')
    short: dict[str, Any] = {
        "model.device": request.device,
        "model.dtype": request.dtype,
        "observation": request.inputs,
    }
    if request.model is not None and request.model not in choices("model"):
        short |= {"model": "custom", "model.repo": str(request.model), "model.pipeline": request.pipeline or None}
    else:
        short["model"] = request.model
    given = {key: value for key, value in short.items() if value is not None}
    return {"tracker": request.access.tracker, **given, **dict(compose.flattened(request.parameters))}


def _check_keys(values: Mapping[str, Any], access: Access) -> None:
    """A confined caller sets known keys only, and text that is no path where the key is none. Raises: `AccessError`."""
    texts = {"prompt", "condition.negative_prompt"}
    for key, value in values.items():
        if key == "tracker" and value == access.tracker:
            continue
        if not _OPEN.fullmatch(key):
            raise AccessError(f"{key} is not open to this caller. Open are the model, condition, domain, engine, sampler, "
                              "policy, world, score, output, visualizer and metric, prompt, observation, seed and output_dir.")  # fmt: skip
        if key in GROUPS:
            for choice in value if isinstance(value, list) else [value]:
                if choice is not None and not re.fullmatch(r"[\w-]+", str(choice), re.ASCII):
                    raise AccessError(f"{key}={choice!r} is not the name of a choice.")
        elif key not in {*PATHS, *texts}:
            for text in texts_in(value):
                gate.word(text, key, access)


def confined(config: RunConfig, access: Access) -> RunConfig:
    """The composed config with every path in it judged, and made the one that will be opened.

    Raises: `AccessError` for a path outside of the roots, and a source or tracker that is not open to the caller.
    """
    policy, world, weights = config.policy, config.world, config.model.lora.weight_name
    if config.resume is not None:
        raise AccessError("resume is not open to this caller.")
    worlds = [name for name in (world.name, getattr(world, "reference", None)) if name]
    proposers = [name for name in (policy.name, getattr(policy, "base", None)) if name]
    for group, names in (("policy", proposers), ("world", worlds), ("score", config.score)):
        if closed := [name for name in names if plugins().find(group, name).reaches_out]:
            raise AccessError(f"{group}={closed[0]} speaks to other programs: it is not open to this caller.")
    if weights is not None:
        gate.inside(weights, "model.lora.weight_name")

    def judged(key: str, value: str) -> str:
        if key.endswith(".repo"):
            return gate.model(value, key, access)
        if key.endswith(".actions"):
            return str(access.readable(value, key))
        if goal := key.startswith("score.") and _GOAL.fullmatch(value):
            return _observation(goal[1], config, access, key) + (goal[2] or "")
        if key == "observation":
            return _observation(value, config, access, key)
        return gate.word(value, key, access) if key == "domain.statistics" else value

    return compose.with_paths(config, judged)


def _observation(given: str, config: RunConfig, access: Access, name: str) -> str:
    """The absolute address of an observation whose files may all be read."""
    from strands_diffusers.observations import resolve
    from strands_diffusers.observations.address import Address, split_address

    address = resolve.absolute_address(given, Path.cwd(), plugins().sources(config.source))
    scheme, colon, rest = ("", "", address) if Path(address).is_absolute() else address.partition(":")
    if scheme not in _SOURCES:
        raise AccessError(f"observations of {scheme}: are not open to this caller; give a file below a root.")
    if scheme == "sample":
        return address
    parsed = split_address(rest, _OPTIONS)
    options = dict(parsed.options)
    if not scheme and "actions" in options:
        options["actions"] = str(access.readable(options["actions"], "@actions:"))
    path = access.readable(parsed.path, name)
    return f"{scheme}{colon}{Address(str(path), options)}"


def _directory(config: RunConfig, access: Access) -> Path:
    """Where the job writes: a folder of its own. Raises: `OutputError` for the artifacts folder itself."""
    folder = artifacts_folder(create=True)
    if config.output_dir is None:
        return folder / f"rollout_{files.stamp()}"
    directory = access.writable(config.output_dir, "output_dir")
    if folder.resolve().is_relative_to(directory.resolve()):
        raise OutputError(f"output_dir={directory} holds the files of other calls. Name a folder inside of it.")
    return directory
