"""Put every typed choice into Hydra's ConfigStore: schema, conditions, engines, domains, and what plugins bring."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf

from strands_diffusers import domains
from strands_diffusers.config import schema
from strands_diffusers.config.conditions import CONDITIONS
from strands_diffusers.config.engines import ENGINES
from strands_diffusers.config.models import DomainConfig, ModelConfig
from strands_diffusers.paths import shipped

PROVIDER = "strands_diffusers"
MULTI_SELECT = ("output", "visualizer", "metric", "score")
"""Groups of which several choices live side by side: `output=[video,action]`."""

NAMED = ("engine", "policy", "world")
"""Groups of one choice whose config holds the choice's name."""


def conf_dir() -> Path:
    """The folder with `run.yaml`."""
    return shipped("conf", "conf", "run.yaml")


config_paths: list[tuple[str, str]] = []
"""`(plugin, pkg:// path)` of the config folders that plugins bring; our search path plugin reads it."""


class _Choice(ConfigNode):
    """A choice that is turned into a node when Hydra opens it: of some fifty, a command opens a dozen."""

    def __init__(self, name: str, content: Any, group: str | None = None, package: str | None = None) -> None:
        self.name, self.content, self.group, self.package, self.provider = name, content, group, package, PROVIDER

    def __getattr__(self, name: str) -> Any:
        if name != "node":
            raise AttributeError(name)
        node = OmegaConf.structured(self.content)
        if self.group in NAMED:
            node.name = self.name.removesuffix(".yaml")  # a plugin's Config need not repeat its name
        return node


def register(choices: Mapping[str, Mapping[str, type]]) -> None:
    """Store every choice. `choices[group][name]` is the `Config` class of what a plugin registered under that name.

    Classes are stored wherever they hold required fields: an instance would run its checks here, before any override.
    """
    _store("schema", schema.RunConfig)
    _store("model_schema", ModelConfig)
    _store("domain_schema", DomainConfig)
    for name, condition in CONDITIONS.items():
        _store(name, condition, "condition")
    for group in NAMED:
        for name, config in {**(ENGINES if group == "engine" else {}), **choices.get(group, {})}.items():
            _store(name, config, group)
    for domain in domains.all_domains():
        if domain.width is not None:
            _store(domain.short, _domain_node(domain), "domain")
    for group in MULTI_SELECT:
        for name, config in choices.get(group, {}).items():
            _store(name, config, group, f"{group}.{name}")
    for name, config in choices["tracker"].items():
        _store(name, config, "tracker")
    _store("sources", {"source": dict(choices["source"])})


def _store(name: str, content: Any, group: str | None = None, package: str | None = None) -> None:
    """What `ConfigStore.store` does, without making a node yet. All our groups are one word."""
    repo = ConfigStore.instance().repo
    folder = repo if group is None else repo.setdefault(group, {})
    folder[f"{name}.yaml"] = _Choice(f"{name}.yaml", content, group, package)


def _domain_node(domain: domains.Domain) -> dict[str, Any]:
    """The domain's facts over the schema; facts that nobody published stay `???` for the user."""
    facts = {
        "name": domain.name,
        "fps": domain.fps,
        "chunk_size": domain.chunk_size,
        "view_point": domain.view_point,
        "statistics": domain.statistics,
    }
    return {"defaults": ["/domain_schema@_here_", "_self_"], **{k: v for k, v in facts.items() if v is not None}}
