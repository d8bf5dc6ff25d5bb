"""What of a config makes a rollout. Two jobs with equal identities are the same job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from strands_diffusers.config.conditions import ActionConditionConfig, ClosedLoopConfig
from strands_diffusers.config.schema import RunConfig, Tree

_NOT_IDENTITY = (
    "tracker", "output_dir", "resume", "sweep", "source", "observation", "output", "visualizer", "metric", "hook_timeout_s",
)  # fmt: skip
"""Config nodes that do not change a rollout: what is written, drawn, measured and logged of it, where it goes, and
addresses (their content counts)."""


def identity_of(
    config: RunConfig, tree: Tree, content: Mapping[str, str | None], engine: str, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that changes a job's result, as plain nested dicts; two jobs with equal identities are the same job.

    `tree` is the resolved config; paths, tracker and sweep options do not count. `content`: hashes of the observation, of
    an action file, and revision or content of the weights. `engine`: the one that will run. Of `versions`, diffusers' and torch's.
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
    found["content"] = dict(content)
    found["versions"] = {name: versions.get(name) for name in ("diffusers", "torch")}
    return found


def _without_places(node: Any) -> Any:
    """A node without the keys that name a file or a checkpoint, at any depth."""
    if not isinstance(node, dict):
        return node
    return {k: _without_places(v) for k, v in node.items() if k not in ("actions", "repo")}


def hash_of(identity: Mapping[str, Any]) -> str:
    """16 hex digits of a job's identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
