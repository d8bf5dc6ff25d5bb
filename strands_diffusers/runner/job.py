"""From a config to a checked job: everything that can be refused without loading weights, and what identifies its rollouts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import evaluation, loop
from strands_diffusers.config.checks import GIVES
from strands_diffusers.config.compose import to_tree
from strands_diffusers.config.schema import RunConfig, Tree
from strands_diffusers.errors import ConfigError, EngineError, PluginError, near_miss
from strands_diffusers.observations import resolve
from strands_diffusers.plugin.base import Metric, Serializer, Tracker, Visualizer
from strands_diffusers.plugin.manager import PluginIndex, plugins
from strands_diffusers.results import OUTPUT_TYPES, Observation
from strands_diffusers.runner import provenance

if TYPE_CHECKING:
    from strands_diffusers.pipelines.request import Request


_KEPT = 15
"""Observations that a command keeps beside the latest one."""


@dataclass
class Job:
    """A checked request, ready to run: what `check` found out without loading anything."""

    config: RunConfig
    tree: Tree
    request: Request
    cast: loop.Cast | None
    """Who takes part in the episodes of a closed loop; None elsewhere."""
    hash: str
    identity: dict[str, Any]
    """What the hash is made of."""

    serializers: list[Serializer]
    visualizers: list[Visualizer]
    metrics: list[Metric]
    tracker: Tracker
    seconds: float
    """Wall time of the check [s]."""

    @property
    def wanted(self) -> frozenset[str]:
        """Output types that the engine must compute: what the serializers write; without any, what the readers need."""
        chosen: Sequence[Any] = self.serializers or [*self.visualizers, *self.metrics]
        types = {t for item in chosen for t in (OUTPUT_TYPES if "rollout" in item.output_types else item.output_types)}
        return frozenset(types & set(GIVES[self.request.mode]))


class Checker:
    """Checks the jobs of one command; what several jobs share (an observation, the weights' content) is read once."""

    def __init__(self) -> None:
        self._cwd, self._index = Path.cwd(), plugins()
        self._seen: dict[tuple[Any, ...], tuple[Observation, str]] = {}

    def __call__(self, config: RunConfig, observation: Observation | None = None) -> Job:
        """Find every fault of a request that can be found without loading weights.

        Reads the observation (a relative address from the working folder), checks it against the condition and the
        checkpoint's files, and computes the job's hash. Raises: a `RequestError`.
        """
        from strands_diffusers.pipelines import checkpoint, engine, estimate, loader
        from strands_diffusers.pipelines.request import COSMOS3, make_request, notes, observation_request

        started = time.perf_counter()
        evaluation.check_job(config)
        _check_objective(config, self._index)
        if observation is not None:
            config, seen = replace(config, observation=observation.source or None), resolve.content_hash(observation)
        elif config.observation is None:
            observation = Observation()
            seen = resolve.content_hash(observation)
        else:
            known = self._index.sources(config.source)
            config = replace(config, observation=resolve.absolute_address(config.observation, self._cwd, known))
            key = (str(config.observation), asked := observation_request(config), repr(config.source))
            if key not in self._seen:
                read = resolve.read_observation(key[0], asked, known)
                self._seen = {**dict(list(self._seen.items())[-_KEPT:]), key: (read, resolve.content_hash(read))}
            observation, seen = self._seen[key]
        request = make_request(config, observation)
        config = replace(config, prompt=request.prompt or None)  # the observation's task, where the user gave none
        cast = None
        if request.mode == "closed_loop":
            assert request.space is not None
            cast = loop.cast(config, observation, request.space, request.prompt, self._index)
            if cast.uses_model:
                request = replace(request, notes=tuple(notes(config, request)))
        if cast is None or cast.uses_model:
            loader.check(config.model)
            estimate.check_fits(config, request)
        pipeline = config.model.pipeline or COSMOS3
        facts = (pipeline, request.mode, config.model.device, config.model.dtype.value, config.model.offload.value)
        refusal = engine.refuse_before_load(config.engine.name, *facts)
        if refusal and (cast is None or cast.uses_model):
            raise EngineError(refusal)
        effective = config.engine.name
        if effective == "auto":
            effective = "eager" if engine.refuse_before_load("exact", *facts) else "exact"
        given = request.given_action_KTD
        tree = to_tree(config)
        content = {
            "observation": seen,
            "actions": None if given is None else resolve.array_hash(given),
            "weights": checkpoint.fingerprint(config.model),
            **(cast.fingerprints() if cast else {}),
        }
        identity = provenance.identity(config, tree, content, effective)
        return Job(
            config,
            tree,
            request,
            cast,
            provenance.job_hash(identity),
            identity,
            chosen(config.output, self._index, "output"),
            chosen(config.visualizer, self._index, "visualizer"),
            chosen(config.metric, self._index, "metric"),
            tracker_of(config, self._index),
            time.perf_counter() - started,
        )


def check(config: RunConfig, observation: Observation | None = None) -> Job:
    """Check one job; see `Checker`."""
    return Checker()(config, observation)


def chosen(selected: Mapping[str, Any], index: PluginIndex, group: str) -> list[Any]:
    """The objects that a group's choices name, each with its options."""
    return [index.make(index.find(group, name), config) for name, config in selected.items()]


def _check_objective(config: RunConfig, index: PluginIndex) -> None:
    """Refuse a `sweep.objective` that no selected metric can give."""
    if config.sweep.objective is None:
        return
    metrics = index.classes("metric")
    there = [f"metrics.{name}.{value}" for name in config.metric for value in metrics[name].measures]
    if config.sweep.objective not in there:
        raise ConfigError(
            f"sweep.objective={config.sweep.objective} is measured by no metric that is selected; there is "
            f"{', '.join(there) or 'nothing'}.{near_miss(config.sweep.objective, there)}"
        )


def tracker_of(config: RunConfig, index: PluginIndex) -> Tracker:
    """The tracker that a config chooses, by the type of its node."""
    for cls in index.classes("tracker").values():
        if type(config.tracker) is cls.Config:
            return index.make(cls, config.tracker)  # type: ignore[no-any-return]
    raise PluginError(f"no tracker has the config {type(config.tracker).__name__}.")
