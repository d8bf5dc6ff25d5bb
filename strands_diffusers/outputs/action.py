"""The serializer of action chunks: `action.json`, and `action_physical.json` where the numbers can be decoded."""

from __future__ import annotations

import json
from pathlib import Path

from strands_diffusers import actions, domains
from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import check_floats, writing
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import ActionSpace, Artifact, Rollout


class ActionSerializer(Serializer):
    """Write action chunks to `action.json`: nested lists, chunk by chunk, one row per step.

    Shapes: `rollout.action` float32 `[K, T, D]`: K chunks of T steps, D = the domain's width (10 for
        `bridge_orig_lerobot`). Row t moves frame t to frame t + 1.
    Units: model space, unitless: neither metres nor radians. Exact: every number reads back to the same float32,
        beyond -1 to 1 too; nothing is clipped or scaled. `action_physical.json` beside it, where the domain has
        statistics, holds the decoded values: named columns, units, the absolute SE(3) path.
    Raises: `OutputError` when the shape is not `[K, T, D]` or a value is not finite; nothing is written then.
    """

    name = "action"
    output_types = ("action",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `action.json` and, where it can be decoded, `action_physical.json`."""
        action_KTD = check_action("action", rollout.action, rollout.space)
        shape = list(action_KTD.shape)
        record = actions.physical_record(rollout) if actions.decodable(rollout.space) else None
        path = directory / "action.json"
        with writing(path):
            path.write_text(rows_json(action_KTD), encoding="utf-8")
        facts = {"shape": shape, "dtype": "float32", "unit": "model space", "domain": rollout.domain}
        artifacts = [Artifact(path, "action", facts)]
        if record is not None:
            physical = directory / "action_physical.json"
            try:
                with writing(physical):
                    physical.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
            except OutputError:
                path.unlink(missing_ok=True)
                raise
            artifacts.append(
                Artifact(physical, "action", {"shape": shape, "unit": "physical", "domain": rollout.domain})
            )
        return artifacts


def check_action(name: str, action: object, space: ActionSpace | None) -> np.ndarray:
    """Return `action` where it is finite float32 `[K, T, D]` with D the domain's width.

    Raises: `OutputError` naming what there is and what the domain needs.
    """
    width = domains.get(space.domain).width if space else None
    needs = f"domain {space.domain!r} needs [K, T, {width}]" if space and width else "it must be [K, T, D]"
    if not isinstance(action, np.ndarray) or action.ndim != 3 or (width and action.shape[2] != width):
        raise OutputError(f"{name} has shape {getattr(action, 'shape', None)}; {needs}.")
    return check_floats(name, action, "[K, T, D]")


def rows_json(action_KTD: np.ndarray) -> str:
    """Return the chunks as JSON with one step per line. A float32 is also a double, and JSON's doubles are exact."""
    chunks = (
        "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in chunk) + "\n]" for chunk in action_KTD.tolist()
    )
    return "[" + ",\n".join(chunks) + "]\n"


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [ActionSerializer]
