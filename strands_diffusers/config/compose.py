"""From overrides to one validated `RunConfig`, the same way for the command line, a sweep and Python."""

import contextlib
import copy
import dataclasses
import datetime
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from strands_diffusers.config import checks, store
from strands_diffusers.config.explain import explain
from strands_diffusers.config.schema import RunConfig, Tree
from strands_diffusers.errors import ConfigError

CONFIG_NAME = "run"
_lock = threading.RLock()


def conf_dir() -> Path:
    """The folder with `run.yaml`: inside an installed wheel, else beside the package in a checkout.

    The wheel's own copy comes first, because there the package's sibling `conf` could be anybody's.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise ConfigError(
        f"no conf/run.yaml beside {package}: the installation is incomplete. Install strands_diffusers again."
    )


def register(choices: dict[str, dict[str, type]], config_paths: Iterable[tuple[str, str]] = ()) -> None:
    """Make Hydra know our choices, resolvers and the plugins' config folders. Safe to call again."""
    with _lock:
        store.register(choices)
        _register_resolvers()
        _search_path_class(tuple(config_paths))


def _register_resolvers() -> None:
    """`run_dir` and `sweep_dir`: the user's output_dir, else Hydra's usual dated folder; fixed within a command.

    A resumed sweep goes on in its own folder.
    """

    def dated(root: str) -> Callable[..., str]:
        def resolve(output_dir: str | None, resume: str | None = None) -> str:
            now = datetime.datetime.now().astimezone()
            return resume or output_dir or f"{root}/{now:%Y-%m-%d}/{now:%H-%M-%S-%f}"

        return resolve

    OmegaConf.register_new_resolver("run_dir", dated("outputs"), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", dated("multirun"), use_cache=True, replace=True)


def _search_path_class(config_paths: tuple[tuple[str, str], ...]) -> None:
    class StrandsSearchPath(SearchPathPlugin):
        """Appends the config folders of our plugins; registered by hand, so that no other Hydra app sees them."""

        def manipulate_search_path(self, search_path: Any) -> None:
            known = {element.path for element in search_path.get_path()}
            for plugin, path in config_paths:
                if path not in known:
                    search_path.append(provider=plugin, path=path)

    registry = Plugins.instance()
    for old in [c for c in registry.discover(SearchPathPlugin) if c.__name__ == "StrandsSearchPath"]:
        registry.class_name_to_class.pop(f"{old.__module__}.{old.__qualname__}", None)
        registry.plugin_type_to_subclass_list[SearchPathPlugin].remove(old)
    registry.register(StrandsSearchPath)


@contextlib.contextmanager
def _own_hydra() -> Iterator[None]:
    """A private Hydra, so that composing works inside another Hydra application and leaves it untouched."""
    with _lock:
        instances = Singleton._instances
        outer = instances.pop(GlobalHydra, None)
        try:
            with initialize_config_dir(str(conf_dir()), job_name="strands_diffusers", version_base="1.3"):
                yield
        finally:
            instances.pop(GlobalHydra, None)
            if outer is not None:
                instances[GlobalHydra] = outer


def compose(overrides: Sequence[str], cwd: Path | None = None) -> RunConfig:
    """Compose `run.yaml` with Hydra overrides into a checked `RunConfig`; `ConfigError` for anything wrong."""
    for override in overrides:
        if not isinstance(override, str):
            raise ConfigError(f"an override is a string such as 'seed=1', got {override!r}.")
    with _own_hydra():
        try:
            node = hydra_compose(CONFIG_NAME, overrides=list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise explain(error, overrides) from error
    return to_run_config(node, overrides, cwd)


_PLAIN = re.compile(r"[a-z_]+(\.[A-Za-z_0-9]+)*=.*", re.DOTALL)


class Composer:
    """Composes the jobs of a sweep: what they share once, then each job's own values on a copy.

    Hydra takes a tenth of a second to compose, and a sweep over seeds differs in one number. Group choices (and
    anything unusual: appended, deleted or unknown keys) go through Hydra; plain values of known keys are set on a copy.
    """

    def __init__(self) -> None:
        self._bases: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> RunConfig:
        """The same as `compose(overrides)`."""
        values = {o for o in overrides if _PLAIN.fullmatch(o) and not self._is_group(o.partition("=")[0])}
        shared = tuple(o for o in overrides if o not in values)
        try:
            if shared not in self._bases:
                with _own_hydra():
                    self._bases[shared] = hydra_compose(CONFIG_NAME, overrides=list(shared))
            node = copy.deepcopy(self._bases[shared])
            for parsed in OverridesParser.create().parse_overrides([o for o in overrides if o in values]):
                if OmegaConf.is_config(OmegaConf.select(node, parsed.key_or_group, throw_on_missing=False)):
                    return compose(overrides)
                OmegaConf.update(node, parsed.key_or_group, parsed.value(), merge=True)
        except (HydraException, OmegaConfBaseException, ValueError, AttributeError):
            return compose(overrides)  # says what is wrong
        return to_run_config(node, overrides)

    @staticmethod
    def _is_group(key: str) -> bool:
        return key == "experiment" or key in ConfigStore.instance().repo or (conf_dir() / key).is_dir()


def to_run_config(node: DictConfig, overrides: Sequence[str] = (), cwd: Path | None = None) -> RunConfig:
    """Turn a composed node into one validated object with every default resolved and every path absolute."""
    try:
        config = OmegaConf.to_object(node)
    except (OmegaConfBaseException, HydraException) as error:
        raise explain(error, overrides) from error
    if not isinstance(config, RunConfig):
        raise ConfigError("the composed config is not a run: its first default must be `schema`.")
    chosen = {match[1] for o in overrides if (match := re.match(r"[+~]*([a-z_]+)=", o))}
    checks.check(config, explicit_output="output" in chosen)
    config = checks.resolve_defaults(config)
    return _absolute_paths(config, cwd or Path.cwd())


def _absolute_paths(config: RunConfig, cwd: Path) -> RunConfig:
    """Relative paths are the user's, from where the command was typed; jobs may run elsewhere."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else os.path.normpath(cwd / Path(path).expanduser())

    model = config.model
    local = Path(cwd / Path(model.repo).expanduser())
    if ":" not in model.repo and (local.exists() or model.repo.startswith((".", "/", "~"))):
        model = dataclasses.replace(model, repo=os.path.normpath(local))
    condition = config.condition
    if getattr(condition, "actions", None):
        condition = dataclasses.replace(condition, actions=absolute(condition.actions))  # type: ignore[attr-defined, call-arg]
    domain = config.domain
    if domain.statistics and "/" in domain.statistics:
        domain = dataclasses.replace(domain, statistics=absolute(domain.statistics))
    resume = config.resume if config.resume in (None, "last") else absolute(config.resume)
    return dataclasses.replace(
        config, model=model, condition=condition, domain=domain, resume=resume, output_dir=absolute(config.output_dir)
    )


def to_tree(config: Any) -> Tree:
    """A config object as plain nested dicts and lists of JSON types, enums by the name that users type."""
    tree = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}
