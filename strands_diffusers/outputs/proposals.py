"""Where each proposal of a look was predicted to lead, best to worst, with its score: `proposals.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs import style
from strands_diffusers.outputs.canvas import Canvas
from strands_diffusers.outputs.titles import draw_title, facts
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Episode, Rollout

MAX_ROWS = 12
"""Of more looks so many are drawn, evenly from the first to the last."""

_EDGE, _TOP, _LEFT, _GAP, _LABEL, _CELL, _LEAST = 24, 108, 96, 10, 24, 144, 720
"""Margins, gaps and the height of a picture [px]; the least width of the whole."""


class ProposalsVisualizer(Visualizer):
    """Draw what `policy=best_of` chose from to `proposals.png`: a row a look, the proposal that was acted on first.

    Each picture is the last predicted frame of a proposal, below it the proposal's score; in between the best and the worst
    they are evenly spaced in rank. Shapes: `rollout.episode.alternatives` uint8 `[K, M, H, W, 3]`.
    """

    name = "proposals"
    output_types = ("episode",)

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Draw `proposals.png`; nothing where no proposals were compared."""
        if rollout.episode is None or rollout.episode.alternatives is None:
            return []
        return [proposals_canvas(rollout, rollout.episode).save(directory / "proposals.png", self.name)]


def proposals_canvas(rollout: Rollout, episode: Episode) -> Canvas:
    """Return the picture."""
    pictures = episode.alternatives
    assert pictures is not None
    looks, count, height, width = pictures.shape[:4]
    rows = np.linspace(0, looks - 1, min(looks, MAX_ROWS)).round().astype(int)
    cell = max(1, round(_CELL * width / height))
    inner = max(count * (cell + _GAP), _LEAST - _LEFT - _EDGE)
    step = _CELL + _LABEL + _GAP
    canvas = Canvas(_LEFT + inner + _EDGE, _TOP + len(rows) * step + _EDGE)
    draw_title(canvas, _EDGE, 20, _LEFT + inner - _EDGE, rollout, f"{facts(rollout)}  ·  {_chosen_from(episode)}", 15)
    for column, words in ((0, "acted on"), (1, "not acted on, from better to worse")):
        if column < count:
            canvas.write(_LEFT + column * (cell + _GAP), _TOP - 8, words, 14, bold=not column, va="baseline")
    for place, look in enumerate(rows):
        top, scores = _TOP + place * step, _scores(episode.details[look])
        canvas.write(_EDGE, top + _CELL / 2, f"look {look + 1}", 14, style.MUTED, va="center")
        for column in range(count):
            left = _LEFT + column * (cell + _GAP)
            picture = style.scaled(pictures[look, column], cell, _CELL)
            canvas.picture(picture if column else _framed(picture), left, top)
            if column < len(scores):
                canvas.write(left, top + _CELL + 4, scores[column], 14, bold=not column)
    return canvas


def _chosen_from(episode: Episode) -> str:
    details = episode.details[0]
    score = f", last frame of each by {details['score']}" if details.get("score") else ""
    return f"chosen from {details.get('proposals', '?')} proposals of {details.get('base', '?')}{score}"


def _scores(details: Any) -> list[str]:
    """The scores of the proposals that are shown, as text."""
    scores = details.get("scores") or []
    shown = [scores[i] if 0 <= i < len(scores) else None for i in details.get("pictured") or ()]
    return ["-" if value is None or value != value else f"{value:.4g}" for value in shown]


def _framed(picture_HWC: np.ndarray) -> np.ndarray:
    """The picture with a coloured edge."""
    framed = picture_HWC.copy()
    for side in (np.s_[:4], np.s_[-4:], np.s_[:, :4], np.s_[:, -4:]):
        framed[side] = style.rgb(style.Y_COLOUR)
    return framed


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [ProposalsVisualizer]
