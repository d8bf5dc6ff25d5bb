"""How fast a pipeline runs: `eager` is diffusers untouched, `exact` the same numbers with less work, the rest lossy.

`choose` picks an engine for a loaded pipeline and one call; `refuse_before_load` says what can be known earlier.
"""

from strands_diffusers.pipelines.engine.base import Call, Engine, Progress, Sample
from strands_diffusers.pipelines.engine.choice import ENGINES, choose, forget, get_engine, refuse_before_load

__all__ = ["ENGINES", "Call", "Engine", "Progress", "Sample", "choose", "forget", "get_engine", "refuse_before_load"]
