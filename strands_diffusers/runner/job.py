"""From a config to a checked job: everything that can be refused without loading weights, and what identifies its rollouts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import evaluation, loop
from strands_diffusers.config.checks import GIVES
from strands_diffusers.config.compose import to_tree
from strands_diffusers.config.identity import hash_of, identity_of
from strands_diffusers.config.models import COSMOS3
from strands_diffusers.config.schema import RunConfig, Tree
from strands_diffusers.errors import ConfigError, EngineError, near_miss
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
        self._kept: resolve.Kept = {}

    def __call__(self, config: RunConfig, observation: Observation | None = None) -> Job:
        """Find every fault of a request that can be found without loading weights.

        Reads the observation (a relative address from the working folder), checks it against the condition and the
        checkpoint's files, and computes the job's hash. Raises: a `RequestError`.
        """
        from strands_diffusers.pipelines import engine, estimate, pretrained
        from strands_diffusers.pipelines.request import make_request

        started, index = time.perf_counter(), self._index
        _check_objective(config, index)
        evaluation.check_job(config)
        serializers, visualizers = index.chosen("output", config.output), index.chosen("visualizer", config.visualizer)
        metrics, tracker = index.chosen("metric", config.metric), index.tracker(config.tracker)

        sources = index.sources(config.source)
        inputs = resolve.read_inputs(config, sources, self._cwd, self._kept, observation)
        config = replace(config, observation=inputs.address)
        request = make_request(config, inputs.observation, inputs.given_TD)
        assert request.checkpoint is not None
        config = replace(config, prompt=request.prompt or None)  # the observation's task, where the user gave none

        cast, given_KTD = None, request.given_action_KTD
        content = {
            "observation": inputs.hash,
            "actions": None if given_KTD is None else resolve.array_hash(given_KTD),
            "weights": request.checkpoint.fingerprint,
        }
        if request.mode == "closed_loop":
            assert request.space is not None
            cast = loop.cast(config, inputs.observation, request.space, request.prompt, index)
            content |= cast.fingerprints()

        pipeline, effective = config.model.pipeline or COSMOS3, config.engine.name
        facts = (pipeline, request.mode, config.model.device, config.model.dtype.value, config.model.offload.value)
        if cast is None or cast.uses_model:
            pretrained.check(request.checkpoint)
            estimate.check_fits(config, request)
            if refusal := engine.refuse_before_load(effective, *facts):
                raise EngineError(refusal)
        else:
            request = replace(request, notes=())  # they are of what the model sees
            content["weights"] = None  # nothing asks the model: other weights change nothing
        if effective == "auto":
            effective = "eager" if engine.refuse_before_load("exact", *facts) else "exact"

        tree = to_tree(config)
        identity = identity_of(config, tree, content, effective, provenance.versions())
        digest, seconds = hash_of(identity), time.perf_counter() - started
        chosen = (serializers, visualizers, metrics, tracker)
        return Job(config, tree, request, cast, digest, identity, *chosen, seconds)


def check(config: RunConfig, observation: Observation | None = None) -> Job:
    """Check one job; see `Checker`."""
    return Checker()(config, observation)


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
