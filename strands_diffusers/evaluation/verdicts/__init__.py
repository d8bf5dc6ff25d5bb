"""The built-in verdicts: is the world model right, as far as can be told without labels?"""

from __future__ import annotations

from strands_diffusers.evaluation.verdicts.actions import ActionSensitivity
from strands_diffusers.evaluation.verdicts.cycles import CycleConsistency
from strands_diffusers.evaluation.verdicts.ranking import PolicyRanking
from strands_diffusers.evaluation.verdicts.spread import PromptSensitivity, SeedSpread
from strands_diffusers.plugin.base import Verdict
from strands_diffusers.plugin.spec import hookimpl


@hookimpl
def register_verdicts() -> list[type[Verdict]]:
    """The built-in verdicts."""
    return [ActionSensitivity, CycleConsistency, SeedSpread, PromptSensitivity, PolicyRanking]
