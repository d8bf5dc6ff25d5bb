"""From what any diffusers pipeline returns to the canonical arrays of one rollout."""

from collections.abc import Mapping
from typing import Any

from strands_diffusers.errors import RolloutError
from strands_diffusers.pipelines import contents
from strands_diffusers.pipelines.engine import Sample

EXPORT_FPS = 10.0
"""Rate [Hz] of a film whose pipeline states none: the default of diffusers' own `export_to_video`."""


def arrays(pipe: Any, sample: Sample, num_frames: int | None = None) -> dict[str, Any]:
    """The sample's canonical arrays by output type; `num_frames=1` turns a video of one frame into an image."""
    found = {name: value for name in ("video", "sound", "action") if (value := getattr(sample, name)) is not None}
    if sample.raw is not None:
        found = from_output(pipe, sample.raw)
    if num_frames == 1 and found.get("video") is not None and len(found["video"]) == 1:
        found["image"] = found.pop("video")
    return found


def from_output(pipe: Any, output: Any) -> dict[str, Any]:
    """Canonical arrays of a pipeline's output: the first sample of a batch, but all images; and the rate of its sound.

    Raises: `RolloutError` naming the fields where none holds media.
    """
    named = contents.fields(output)
    found: dict[str, Any] = {}
    for name, value in named.items():
        for content in contents.contents(pipe, name, value):
            found.setdefault(content.type, content.value)
    if not found:
        fields = ", ".join(named) or "nothing"
        raise RolloutError(f"{type(pipe).__name__} returned {fields}: no video, image, sound, action or mesh.")
    if "sound" in found:
        found["sampling_rate"] = contents.sampling_rate(pipe, named)
    return found


def fps(pipe: Any, arguments: Mapping[str, Any]) -> float:
    """Rate [Hz] of a film: the call's own, else what the pipeline states of itself, else that of diffusers' exporter."""
    return contents.fps(pipe, arguments) or EXPORT_FPS
