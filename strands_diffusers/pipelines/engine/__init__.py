"""How a pipeline is run: `eager` is diffusers untouched, `exact` gives the same numbers with less work.

`choose` picks an engine for a loaded pipeline and one call; `refuse_before_load` says what can be known earlier.
"""

from strands_diffusers.pipelines.engine.choice import choose, get_engine, refuse_before_load
from strands_diffusers.pipelines.engine.memory import forget
from strands_diffusers.plugin.engine import Call, Engine, Progress, Sample

__all__ = ["Call", "Engine", "Progress", "Sample", "choose", "forget", "get_engine", "refuse_before_load"]
