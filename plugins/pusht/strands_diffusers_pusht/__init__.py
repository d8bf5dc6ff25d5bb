"""PushT for strands_diffusers: a world with its simulator, a scripted policy, a score, a metric and observations."""

from strands_diffusers import Metric, Policy, Score, Source, World, hookimpl
from strands_diffusers_pusht.metric import PushTHorizon
from strands_diffusers_pusht.policy import PushTExpert
from strands_diffusers_pusht.score import PushTCoverage, PushTGap
from strands_diffusers_pusht.source import PushTSource
from strands_diffusers_pusht.world import PushTWorld


@hookimpl
def register_sources() -> list[type[Source]]:
    return [PushTSource]


@hookimpl
def register_worlds() -> list[type[World]]:
    return [PushTWorld]


@hookimpl
def register_policies() -> list[type[Policy]]:
    return [PushTExpert]


@hookimpl
def register_scores() -> list[type[Score]]:
    return [PushTCoverage, PushTGap]


@hookimpl
def register_metrics() -> list[type[Metric]]:
    return [PushTHorizon]


@hookimpl
def register_configs() -> list[str]:
    return ["pkg://strands_diffusers_pusht.conf"]
