"""Put every typed choice into Hydra's ConfigStore: schema, conditions, engines, domains, and what plugins bring."""

from collections.abc import Mapping
from typing import Any

from hydra.core.config_store import ConfigStore

from strands_diffusers import domains
from strands_diffusers.config import schema

PROVIDER = "strands_diffusers"
MULTI_SELECT = ("output", "visualizer", "metric")
"""Groups of which several choices live side by side: `output=[video,action]`."""


def register(choices: Mapping[str, Mapping[str, type]]) -> None:
    """Store every choice. `choices[group][name]` is the `Config` class of what a plugin registered under that name.

    Classes are stored wherever they hold required fields: an instance would run its checks here, before any override.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=schema.RunConfig, provider=PROVIDER)
    store.store(name="model_schema", node=schema.ModelConfig, provider=PROVIDER)
    store.store(name="domain_schema", node=schema.DomainConfig, provider=PROVIDER)
    for name, condition in schema.CONDITIONS.items():
        store.store(group="condition", name=name, node=condition, provider=PROVIDER)
    for name, engine in schema.ENGINES.items():
        store.store(group="engine", name=name, node=engine, provider=PROVIDER)
    for domain in domains.all_domains():
        if domain.width is not None:
            store.store(group="domain", name=domain.short, node=_domain_node(domain), provider=PROVIDER)
    for group in MULTI_SELECT:
        for name, config in choices[group].items():
            store.store(group=group, name=name, node=config, package=f"{group}.{name}", provider=PROVIDER)
    for name, config in choices["tracker"].items():
        store.store(group="tracker", name=name, node=config, provider=PROVIDER)
    store.store(name="sources", node={"source": dict(choices["source"])}, provider=PROVIDER)


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
