"""`observation=sample:NAME`: episodes of the PushT simulator that ship with the package.

Made by `experiments/make_samples`; the embedded world model was not trained on them.
"""

from __future__ import annotations

import json
from pathlib import Path

from strands_diffusers import domains
from strands_diffusers.errors import ObservationError, near_miss
from strands_diffusers.lazy import np
from strands_diffusers.observations.address import split_address
from strands_diffusers.observations.images import read_image
from strands_diffusers.observations.window import usable_frames
from strands_diffusers.plugin.base import Source
from strands_diffusers.results import Observation, ObservationRequest

OPTIONS = ("start",)
"""`@start:N` first frame."""

ROOT = Path(__file__).resolve().parents[1] / "assets" / "samples"


class SampleSource(Source):
    """Samples that ship with the package: PushT episodes with true actions, for a first rollout anywhere.

    Address: `NAME[@start:N]`.
    Shapes: frames uint8 `[F, 96, 96, 3]` at 10 Hz, 33 of them from frame 0; actions float32 `[F - 1, 2]` in the
        embedded model's space (pixel / 256 - 1).
    Raises: `ObservationError` listing the names.
    """

    scheme = "sample"

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read the sample at `address`."""
        parsed = split_address(address, OPTIONS, options_from=0)
        name = parsed.path
        if name not in names():
            raise ObservationError(
                f"there is no sample {name!r}; there are {', '.join(names())}.{near_miss(name, names())}"
            )
        facts = json.loads((ROOT / name / "sample.json").read_text("utf-8"))
        domains.check_same(facts["domain"], request.domain, f"sample:{name}")
        start, last = parsed.integer("start", 0), facts["num_frames"] - 1
        if start > last:
            raise ObservationError(f"sample:{name} has no frame {start}: its last is {last}.")
        end = None if request.num_frames is None else start + request.num_frames
        frames_FHWC = _frames(read_image(ROOT / name / "frames.png"), facts)[start:end]
        usable, note = usable_frames(len(frames_FHWC), facts["fps"], request, f"sample:{parsed}")
        num_rows = len(frames_FHWC) - 1 if request.num_frames != 1 else None
        rows_TD = np.array(facts["actions"], np.float32)[start:][:num_rows]
        details = {"kind": "sample", "start": start, **facts["simulator"], "state": facts["states"][start]}
        if note:
            details["reference"] = note
        actions_TD = None if note or not len(rows_TD) else rows_TD
        domain, view = facts["domain"], domains.get(facts["domain"]).view_point
        return Observation(
            frames_FHWC[:usable], facts["fps"], actions_TD, facts["task"], domain, details=details, view_point=view
        )


def names() -> list[str]:
    """The samples there are."""
    return sorted(path.parent.name for path in ROOT.glob("*/sample.json"))


def task(name: str) -> str:
    """What is to be done in a sample, as a prompt."""
    return str(json.loads((ROOT / name / "sample.json").read_text("utf-8"))["task"])


def tasks(domain: str) -> list[str]:
    """What is to be done in the samples of a domain, as prompts."""
    facts = [json.loads((ROOT / name / "sample.json").read_text("utf-8")) for name in names()]
    return [str(each["task"]) for each in facts if each["domain"] == domain]


def _frames(strip: np.ndarray, facts: dict[str, int]) -> np.ndarray:
    """Cut the strip, `columns` frames a row, into uint8 `[F, H, W, 3]`."""
    height, width, columns = facts["height"], facts["width"], facts["columns"]
    rows = strip.shape[0] // height
    grid = strip.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
    return np.ascontiguousarray(grid[: facts["num_frames"]])
