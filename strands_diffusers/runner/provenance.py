"""What makes two jobs the same job, and what a reader needs to repeat one."""

import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from strands_diffusers.config.conditions import ActionConditionConfig, ClosedLoopConfig
from strands_diffusers.config.schema import RunConfig, Tree
from strands_diffusers.records import now

PACKAGES = (
    "strands-diffusers", "diffusers", "torch", "transformers", "accelerate", "hydra-core", "omegaconf", "numpy", "wandb",
)  # fmt: skip

_NOT_IDENTITY = (
    "tracker", "output_dir", "resume", "sweep", "source", "observation", "output", "visualizer", "metric", "hook_timeout_s",
)  # fmt: skip
"""Config nodes that do not change a rollout: what is written, drawn, measured and logged of it, where it goes, and
addresses (their content counts)."""


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that matter, of Python, and the platform."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """Commit of the checkout that the package runs from (`-dirty` where it has changes), or None outside one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=5, check=True, cwd=folder)
        commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        dirty = run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if dirty else commit


def event(what: str, **facts: Any) -> dict[str, Any]:
    """One line of a record's history: what was done, when, and by which version."""
    return {"what": what, "when": now(), "version": versions().get("strands-diffusers", ""), **facts}


def command() -> list[str]:
    """The command line of this process."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def identity(config: RunConfig, tree: Tree, content: dict[str, str | None], engine: str) -> dict[str, Any]:
    """Everything that changes a job's result, as plain nested dicts; two jobs with equal identities are the same job.

    The resolved config without paths, tracker and sweep options; `content`: hashes of the observation, of an action
    file, and revision or content of the weights; diffusers and torch versions; the engine that will run.
    """
    found: dict[str, Any] = {k: v for k, v in tree.items() if k not in _NOT_IDENTITY}
    found["model"] = {
        k: v for k, v in found["model"].items() if k not in ("repo", "revision", "name", "recommended", "scene")
    }
    found["engine"] = {"name": engine}
    if isinstance(config.condition, ClosedLoopConfig):  # files and checkpoints by their content
        for group in ("policy", "world"):
            found[group] = _without_places(found[group])
    else:
        found = {k: v for k, v in found.items() if k not in ("policy", "world", "score")}
    if isinstance(config.condition, ActionConditionConfig):
        found["condition"] = {k: v for k, v in found["condition"].items() if k != "actions"}
    else:
        found.pop("domain", None)
    found["content"] = content
    found["versions"] = {name: versions().get(name) for name in ("diffusers", "torch")}
    return found


def _without_places(node: Any) -> Any:
    """A node without the keys that name a file or a checkpoint, at any depth."""
    if not isinstance(node, dict):
        return node
    return {k: _without_places(v) for k, v in node.items() if k not in ("actions", "repo")}


def job_hash(identity: dict[str, Any]) -> str:
    """16 hex digits of a job's identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
