"""The words above the pictures: what kind of rollout this is, of what, and how far its actions leave model space."""

from __future__ import annotations

from collections.abc import Sequence

from strands_diffusers import domains
from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas
from strands_diffusers.outputs.text import fit
from strands_diffusers.results import Rollout

_MODES = {
    "policy": "Policy",
    "forward_dynamics": "Forward dynamics",
    "inverse_dynamics": "Inverse dynamics",
    "closed_loop": "Closed loop",
    "text": "Text to world",
    "image": "Image to world",
    "video": "Video to world",
    "action_chunk": "Action chunk",
}


def headline(rollout: Rollout) -> str:
    """Return `Policy: “Put the pot to the left.”`."""
    mode = _MODES.get(rollout.mode, rollout.mode.replace("_", " "))
    task = " ".join((rollout.prompt or rollout.observation.task or "").split())
    return f"{mode}: “{task}”" if task else mode


def facts(rollout: Rollout, action_KTD: np.ndarray | None = None) -> str:
    """Return `bridge · 16 steps at 5 Hz (3.2 s) · seed 0 · 3 of 160 values (1.9 %) beyond ±1`."""
    parts = [domains.short_name(rollout.domain)] if rollout.domain else []
    if rollout.episode is not None:
        parts.append(f"policy {rollout.episode.policy} in world {rollout.episode.world}")
    if action_KTD is not None:
        parts.append(length_words(rollout, action_KTD))
    if rollout.seed is not None:
        parts.append(f"seed {rollout.seed}")
    if action_KTD is not None:
        parts.append(beyond_words(action_KTD))
    if (note := rollout.details.get("reference")) and (rollout.episode is None or action_KTD is None):
        parts.append(str(note))
    return "  ·  ".join(parts)


def spread_facts(rollouts: Sequence[Rollout], action_NKTD: np.ndarray) -> str:
    """Return `bridge · 4 samples, seeds 0 to 3 · 16 steps at 5 Hz (3.2 s) · no value beyond ±1`."""
    first, seeds = rollouts[0], [rollout.seed for rollout in rollouts if rollout.seed is not None]
    parts = [domains.short_name(first.domain)] if first.domain else []
    parts.append(f"{len(rollouts)} samples" + (f", seeds {min(seeds)} to {max(seeds)}" if seeds else ""))
    parts += [length_words(first, action_NKTD[0]), beyond_words(action_NKTD)]
    return "  ·  ".join(parts)


def length_words(rollout: Rollout, action_KTD: np.ndarray) -> str:
    """Return `16 steps at 5 Hz (3.2 s)`."""
    chunks, steps, _ = action_KTD.shape
    count = f"{chunks} {'looks' if rollout.episode else 'chunks'} of {steps} steps" if chunks > 1 else f"{steps} steps"
    rate = f" at {rollout.fps:g} Hz ({chunks * steps / rollout.fps:.3g} s)" if rollout.fps else ""
    given = "given actions, " if rollout.action is None else ""
    return f"{given}{count}{rate}"


def beyond_words(action: np.ndarray) -> str:
    """Return `3 of 160 values (1.9 %) beyond ±1` for model-space actions of any shape."""
    beyond = int(np.count_nonzero(np.abs(action) > 1))
    share = f"{beyond} of {action.size} values ({100 * beyond / action.size:.2g} %)"
    return f"{share if beyond else 'no value'} beyond ±1"


def draw_title(
    canvas: Canvas,
    left: float,
    top: float,
    width: float,
    rollout: Rollout,
    line: str,
    font: float,
    *,
    reserved: float = 0,
) -> None:
    """Write the headline and, below it, `line`, which leaves `reserved` px at the right to others."""
    canvas.write(left, top, fit(headline(rollout), 1.5 * font, width, bold=True), 1.5 * font, bold=True)
    canvas.write(left, top + 2.25 * font, fit(line, font, width - reserved), font, style.MUTED)
