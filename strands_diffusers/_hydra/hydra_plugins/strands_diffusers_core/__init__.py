"""What Hydra finds of ours, through its public plugin classes: search path, sweeper and launcher.

Hydra accepts these only below `hydra_plugins`, and imports them in every Hydra application of the environment: so they
import in milliseconds, do nothing outside our own application, and leave the work to `strands_diffusers.runner`.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StrandsDiffusersSearchPath(SearchPathPlugin):
    """Appends the config folders of our plugins to our own application's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append what is not there yet."""
        from strands_diffusers.config import store

        known = {element.path for element in search_path.get_path()}
        if not any(path and path.removeprefix("file://") == str(store.conf_dir()) for path in known):
            return
        for plugin, path in store.config_paths:
            if path not in known:
                search_path.append(provider=plugin, path=path)


class CheckedSweeper(Sweeper):
    """`hydra/sweeper=checked`: every combination, all composed and checked before the first one runs."""

    def __init__(self, params: Any = None, max_batch_size: int | None = None) -> None:
        self.params, self.max_batch_size = params or {}, max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives, and make the launcher."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run all combinations."""
        from strands_diffusers.runner.sweep import sweep

        return sweep(self, arguments)


class InProcessLauncher(Launcher):
    """`hydra/launcher=in_process`: one job after the other in this process, where the model stays warm."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch_checked(self, checked: Any, composer: Any) -> None:
        """Run the jobs of our sweeper, which are checked."""
        from strands_diffusers.runner.sweep import launch_checked

        launch_checked(self, checked, composer)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs of a sweeper that chooses as it goes."""
        from strands_diffusers.runner.sweep import launch

        return launch(self, job_overrides, initial_job_idx)


_STORE = ConfigStore.instance()
_STORE.store(
    "checked", {"_target_": f"{__name__}.CheckedSweeper", "params": None, "max_batch_size": None}, "hydra/sweeper"
)
_STORE.store("in_process", {"_target_": f"{__name__}.InProcessLauncher"}, "hydra/launcher")
