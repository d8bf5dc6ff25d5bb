"""The rules that every source of frames keeps: enough of them, at the rate that the model will see.

Only inverse dynamics and video conditions are given the frames after the first; there a missing frame or another rate
is an error. Elsewhere the later frames are the reference, and are left out, with the reason, where they cannot be one.
"""

from __future__ import annotations

from strands_diffusers.errors import ObservationError
from strands_diffusers.results import ObservationRequest

RATE_TOLERANCE = 0.01
"""Rates within 1 % are the same rate: 29.97 is 30."""

_WHOLE_CLIP = ("inverse_dynamics", "video")
"""Modes that are conditioned on more than the first frame."""


def same_rate(fps: float | None, other: float | None) -> bool:
    """Whether two rates [Hz] agree within 1 %; an unknown rate agrees with every other."""
    return fps is None or other is None or abs(fps / other - 1) <= RATE_TOLERANCE


def usable_frames(
    num_frames: int,
    fps: float | None,
    request: ObservationRequest,
    name: str,
    *,
    even: bool = True,
    paired: bool = False,
    instead: str | None = None,
) -> tuple[int, str | None]:
    """How many of the `num_frames` that were read at `fps` [Hz] the request can use, and why not all of them.

    `even`: whether they are evenly spaced in time. `paired`: whether actions were given with the frames, which then
    must have the request's rate too. `instead`: what to type to read the same at the request's rate.
    Raises: `ObservationError` where the mode needs more frames than there are, or their rate would mislead it.
    """
    whole = request.mode in _WHOLE_CLIP
    needed = request.num_frames if whole and request.num_frames is not None else 1
    if num_frames < needed:
        smaller = "condition.condition_frames=[0]" if request.mode == "video" else "a smaller condition.chunk_size"
        raise ObservationError(
            f"{name} has {num_frames} frame{'' if num_frames == 1 else 's'} to give; condition={request.mode} needs {needed}. "
            f"Use a longer clip, or {smaller}."
        )
    if num_frames == 1:
        return 1, None
    if not even:
        problem = "its frames are not evenly spaced in time"
        advice = f"Re-encode it at a constant rate: ffmpeg -i CLIP -r {fps or 10:g} NEW.mp4."
    elif not same_rate(fps, request.fps):
        problem = f"it runs at {fps:g} Hz and the model would take it for {request.fps:g} Hz"
        setting = f"{'domain' if request.domain else 'condition'}.fps={fps:g}"
        advice = f"Type {instead}, or {setting}." if instead else f"Type {setting}."
    else:
        return num_frames, None
    if whole or paired:
        raise ObservationError(f"{name}: {problem}. {advice}")
    return 1, f"the frames after the first are left out: {problem}. {advice}"
