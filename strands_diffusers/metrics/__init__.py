"""Built-in metrics, numpy only."""

from strands_diffusers.metrics.action import ActionMetric
from strands_diffusers.metrics.horizon import HorizonMetric
from strands_diffusers.metrics.scores import ScoresMetric
from strands_diffusers.metrics.video import VideoMetric
from strands_diffusers.plugin.base import Metric
from strands_diffusers.plugin.spec import hookimpl


@hookimpl
def register_metrics() -> list[type[Metric]]:
    """The built-in metrics."""
    return [VideoMetric, ActionMetric, ScoresMetric, HorizonMetric]
