"""The typed job: `parameters` are config overrides, everything else is as on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from strands_diffusers.api import files
from strands_diffusers.api.access import artifacts_folder
from strands_diffusers.api.request import Reply, Request, ok, preview
from strands_diffusers.api.serialize import Writer
from strands_diffusers.errors import AccessError, ConfigError
from strands_diffusers.pipelines.contents import Content

_GROUPS = ("model", "condition", "domain", "engine", "output", "visualizer", "metric", "tracker", "experiment")
_PLAIN = re.compile(r"[A-Za-z][\w./-]*|[\w.-]+")


def rollout(request: Request) -> Reply:
    """Run one job of step 1 with `parameters` as overrides; `model`, `device`, `dtype` and `inputs` are short for theirs."""
    overrides = _overrides(request)
    if not request.access.is_open:
        _check(request, overrides)
    from strands_diffusers.config import compose
    from strands_diffusers.runner import job, run, sweep

    sweep.prepare()
    config = compose.compose(overrides)
    directory = (
        Path(config.output_dir).absolute() if config.output_dir else artifacts_folder() / f"rollout_{files.stamp()}"
    )
    result = run.run_job(job.check(config), request.access.writable(directory, "output_dir"), overrides=overrides)
    record = result.record
    paths = [str(record.directory / entry.path) for entry in record.artifacts]
    data: dict[str, Any] = {
        "directory": str(record.directory),
        "mode": record.mode,
        "domain": record.samples[0].domain,
        "seed": record.seed,
        "engine": record.engine,
        "metrics": record.metrics,
        "seconds": record.seconds,
    }
    for kind in ("video", "sound", "action", "image"):
        value = getattr(result.rollouts[0], kind)
        if value is not None:
            writer = Writer(save=False, fps=result.rollouts[0].fps, sampling_rate=result.rollouts[0].sampling_rate)
            entry = writer.media(Content(kind, value))[0]
            first = next((path for path, each in zip(paths, record.artifacts, strict=True) if each.type == kind), None)
            data[kind] = entry | ({"path": first} if first else {})
    lines = [
        f"{data['mode']} rollout in {record.directory}",
        *(f"  {path}" for path in paths),
        *(f"warning: {note}" for note in record.notes),
        *result.notes,
        preview(data),
    ]
    return ok("\n".join(lines), data=data, artifacts=paths)


def _overrides(request: Request) -> list[str]:
    """Hydra overrides from a nested mapping; `overrides` among its keys is a list of ready ones."""
    parameters = dict(request.parameters)
    ready = parameters.pop("overrides", [])
    if isinstance(ready, str):
        ready = [ready]
    if not isinstance(ready, list | tuple) or not all(isinstance(item, str) for item in ready):
        raise ConfigError("parameters.overrides must be a list of strings such as 'seed=1'.")
    short: dict[str, Any] = {}
    if request.model is not None:
        short |= _model(request)
    if request.device is not None:
        short["model.device"] = request.device
    if request.dtype is not None:
        short["model.dtype"] = request.dtype
    if request.inputs is not None:
        short["observation"] = request.inputs
    written = [f"{key}={_value(value, key)}" for key, value in _flat({**short, **parameters})]
    return [*written, *ready]


def _model(request: Request) -> dict[str, Any]:
    """`model` is a preset's name, else a checkpoint: a folder or Hub id, with `pipeline` as its class."""
    from strands_diffusers.config import store

    name = str(request.model)
    presets = {path.stem for path in (store.conf_dir() / "model").glob("*.yaml")}
    if name in presets:
        return {"model": name}
    found = {"model": "custom", "model.repo": name}
    return found | ({"model.pipeline": request.pipeline} if request.pipeline else {})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys; a group that is both chosen and filled in names its choice as `name`."""
    for key, value in tree.items():
        if not isinstance(key, str) or not re.fullmatch(r"[+~]{0,2}[\w./@-]+", key):
            raise ConfigError(f"parameters: {key!r} is not a config key such as sampler.num_inference_steps.")
        if isinstance(value, Mapping):
            inner = dict(value)
            if not prefix and key in _GROUPS and "name" in inner:
                yield key, inner.pop("name")
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(value: Any, key: str) -> str:
    """A value in Hydra's grammar: quoted where it has to be, so that commas, equals signs and apostrophes are safe."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        text = str(value)
        if (
            _PLAIN.fullmatch(text)
            and text.lower() not in ("null", "true", "false")
            and not re.fullmatch(r"[\d.eE+-]+", text)
        ):
            return text
        return _quoted(text)
    if isinstance(value, list | tuple):
        return f"[{','.join(_value(item, key) for item in value)}]"
    raise ConfigError(
        f"parameters.{key} is a {type(value).__name__}; a config value is text, a number, a list or null."
    )


def _quoted(text: str) -> str:
    """Hydra's double-quoted string: only quotes, and backslashes before them, are escaped."""
    return (
        '"'
        + re.sub(r'(\\*)"', lambda found: found[1] * 2 + '\\"', re.sub(r"(\\+)$", lambda found: found[1] * 2, text))
        + '"'
    )


def _check(request: Request, overrides: list[str]) -> None:
    """A confined caller names no file outside of its roots, no interpolation, and nothing of Hydra's own."""
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        if key.split(".")[0].split("/")[0].split("@")[0] == "hydra":
            raise AccessError(f"{override}: Hydra's own settings are not open to this caller.")
        if "${" in value:
            raise AccessError(f"{key}: interpolations are not open to this caller.")
        if key == "prompt":
            continue
        if key.startswith("source.https"):
            raise AccessError(f"{override}: downloads are not open to this caller.")
        for word in re.split(r"[\[\],]", value):
            text = word.strip().strip("\"'")
            if key == "output_dir" and text not in ("", "null"):
                request.access.writable(Path(text), key)
            else:
                request.access.check(text, key)
