"""What Hydra finds: `hydra/launcher=pool` and `hydra/launcher=ray`.

Hydra accepts launchers only below `hydra_plugins`, and runs each module here a second time when it looks for them: so
nothing here holds state or is ever pickled.
"""

from typing import Any

from hydra.core.config_store import ConfigStore

from strands_diffusers_launchers.config import PoolConfig, RayConfig
from strands_diffusers_launchers.launcher import WorkerLauncher
from strands_diffusers_launchers.messages import Backend, Sweep


class PoolLauncher(WorkerLauncher):
    """`hydra/launcher=pool`: worker processes of this machine."""

    settings_class = PoolConfig

    def open(self, settings: PoolConfig, sweep: Sweep, jobs: int) -> tuple[Backend[Any], int]:
        """Return the pool and its number of workers."""
        from strands_diffusers_launchers.pool import open_pool

        return open_pool(settings, sweep, jobs)


class RayLauncher(WorkerLauncher):
    """`hydra/launcher=ray`: Ray actors, here or on a cluster."""

    settings_class = RayConfig

    def open(self, settings: RayConfig, sweep: Sweep, jobs: int) -> tuple[Backend[Any], int]:
        """Return the actors' backend and their number."""
        from strands_diffusers_launchers.actors import open_actors

        return open_actors(settings, sweep, jobs)


for _name, _config in (("pool", PoolConfig), ("ray", RayConfig)):
    ConfigStore.instance().store(group="hydra/launcher", name=_name, node=_config, provider="strands_diffusers")
