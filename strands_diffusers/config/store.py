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


_HELP = """\
strands-diffusers: rollouts of robot world models, from a typed config.

Usage
  strands-diffusers [KEY=VALUE ...]          one rollout
  strands-diffusers -m KEY=A,B,C ...         a sweep: every combination, one job each
  strands-diffusers VERB ...                 something else, listed at the end

Examples
  strands-diffusers
  strands-diffusers condition=forward_dynamics observation=sample:push_up
  strands-diffusers -m seed=0,1,2 sampler.guidance_scale=3,6
  strands-diffusers condition=closed_loop policy=model world=model condition.act_steps=8
  strands-diffusers model=cosmos3_nano domain=bridge observation=robot.mp4 'prompt="Put the pot to the left."'

Choices (GROUP=CHOICE; output, visualizer, metric and score take lists: output=[video,action])
$APP_CONFIG_GROUPS
Every key with its default: strands-diffusers --cfg job. What each means: docs/config.md.
Flags of Hydra: --hydra-help. Quote values with spaces for Hydra and the shell: 'prompt="Push the T."'
"""


def _logging(stream: str, formatter: dict[str, str], **more: dict[str, str]) -> dict[str, Any]:
    console = {"class": "logging.StreamHandler", "formatter": "simple", "stream": f"ext://sys.{stream}"}
    return {
        "version": 1,
        "formatters": {"simple": formatter},
        "handlers": {"console": console, **more},
        "root": {"level": "INFO", "handlers": ["console", *more]},
        "disable_existing_loggers": False,
    }


HYDRA: dict[str, dict[str, Any]] = {
    "help": {"app_name": "strands-diffusers", "template": _HELP},
    "output": {
        "run": {"dir": "${run_dir:${output_dir}}"},
        "sweep": {"dir": "${sweep_dir:${output_dir},${resume}}", "subdir": "${hydra.job.num}"},
    },
    "hydra_logging": _logging("stdout", {"format": "[%(asctime)s][HYDRA] %(message)s"}),
    "job_logging": _logging(
        "stderr",
        {"format": "%(message)s", "class": "strands_diffusers.cli.terminal.Formatter"},
        file={
            "class": "logging.FileHandler",
            "formatter": "simple",
            "filename": "${hydra.runtime.output_dir}/${hydra.job.name}.log",
        },
    ),
}
"""Our choices of Hydra's own groups, `hydra/help: strands` and so on. As files they would take a command 15 ms to parse."""


def conf_dir() -> Path:
    """The folder with `run.yaml`."""
    return shipped("conf", "conf", "run.yaml")


config_paths: list[tuple[str, str]] = []
"""`(plugin, pkg:// path)` of the config folders that plugins bring; our search path plugin reads it."""


class _Choice(ConfigNode):
    """Hydra copies its whole store at each composition; it changes no choice, and these are sixty."""

    def __deepcopy__(self, _: Any) -> ConfigNode:
        return self


class _Recipe:
    """A node that is made when Hydra opens it, which copies it for that: of some fifty, a command opens two dozen."""

    def __init__(self, content: Any, name: str | None = None) -> None:
        """`name`: what to fill in as the node's own, so that a plugin's Config need not repeat it."""
        self.content, self.name = content, name

    def __deepcopy__(self, _: Any) -> Any:
        content = self.content
        node = OmegaConf.structured(DomainConfig if isinstance(content, domains.Domain) else content)
        if isinstance(content, domains.Domain):  # facts that nobody published stay `???` for the user
            for key in ("name", "fps", "chunk_size", "view_point", "statistics"):
                if (fact := getattr(content, key)) is not None:
                    node[key] = fact
        if self.name is not None:
            node.name = self.name
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
    for group in (*NAMED, "tracker"):
        for name, config in {**(ENGINES if group == "engine" else {}), **choices.get(group, {})}.items():
            _store(name, config, group)
    for domain in domains.all_domains():
        if domain.width is not None:
            _store(domain.short, domain, "domain")
    for group in MULTI_SELECT:
        for name, config in choices.get(group, {}).items():
            _store(name, config, group, f"{group}.{name}")
    _store("sources", {"source": dict(choices["source"])})
    for group, content in HYDRA.items():
        _store("strands", content, f"hydra/{group}", "hydra" if group == "output" else None)


def _store(name: str, content: Any, group: str | None = None, package: str | None = None) -> None:
    """What `ConfigStore.store` does, without making a node yet."""
    folder = ConfigStore.instance().repo
    for part in group.split("/") if group else ():
        folder = folder.setdefault(part, {})
    recipe: Any = _Recipe(content, name if group in NAMED else None)
    folder[f"{name}.yaml"] = _Choice(f"{name}.yaml", recipe, group, package, PROVIDER)
