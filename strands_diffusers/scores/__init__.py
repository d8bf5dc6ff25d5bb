"""The built-in scores: how good each frame of an episode is."""

from strands_diffusers.plugin.acting import Score
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.scores.agreement import AgreementScore
from strands_diffusers.scores.goal_image import GoalImageScore


@hookimpl
def register_scores() -> list[type[Score]]:
    """The built-in scores."""
    return [AgreementScore, GoalImageScore]
