"""Whether a frame can be of the scene that a model was trained on.

A model of one narrow world continues anything it is shown, and its video of a kitchen is nonsense that looks like one.
No check can be sure, so each asks only what every frame of its scene has, whatever its size and compression: some wrong
frames pass, and no frame of the true scene is ever refused.
"""

from __future__ import annotations

from collections.abc import Callable

from strands_diffusers.config.fields import Scene
from strands_diffusers.lazy import np


def _pusht(frame_HWC: np.ndarray) -> bool:
    """Nearly all white, something blue or slate-blue on it, nothing warm.

    Ranges over 1,000 simulator frames of 100 episodes, 64 to 512 pixels wide, as PNG, JPEG (quality 20) and H.264
    (crf 40), among them tables whose block was pushed over the edge: white 0.90 to 0.97, blue 0.003 to 0.041, warm 0 to
    0.002. Photographs of the Cosmos examples: white below 0.015.
    """
    rgb = frame_HWC.astype(np.int16)
    white = (rgb.min(-1) > 225).mean()
    blue = (rgb[..., 2] - rgb[..., 0] > 20).mean()
    warm = (rgb[..., 0] - rgb[..., 2] > 40).mean()
    return bool(0.8 < white < 0.99 and 0.001 < blue < 0.1 and warm < 0.01)


LOOKS: dict[Scene, tuple[str, Callable[[np.ndarray], bool]]] = {
    Scene.pusht: ("PushT: a white table from above, a blue pusher, a grey T", _pusht)
}
"""How every scene looks that a model can name in `model.scene`: in words, and as a check of one frame, uint8 `[H, W, 3]`."""


def mismatch(scene: Scene, frame_HWC: np.ndarray) -> str | None:
    """The scene in words where the frame, uint8 `[H, W, 3]`, cannot be of it; None where it may be."""
    words, fits = LOOKS[scene]
    return None if fits(frame_HWC) else words
