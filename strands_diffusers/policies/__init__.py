"""What chooses actions: the classes of `policy=`."""

from strands_diffusers.plugin.acting import Policy
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.policies.best_of import BestOfPolicy
from strands_diffusers.policies.given import PersonPolicy, RandomPolicy, ReplayPolicy, StillPolicy
from strands_diffusers.policies.model import ModelPolicy
from strands_diffusers.policies.server import ServerPolicy


@hookimpl
def register_policies() -> list[type[Policy]]:
    """The built-in policies."""
    return [ModelPolicy, ReplayPolicy, StillPolicy, RandomPolicy, PersonPolicy, ServerPolicy, BestOfPolicy]
