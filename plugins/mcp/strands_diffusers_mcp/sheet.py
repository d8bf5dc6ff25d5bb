"""A small picture of what a call made, for a client that sees pictures but no files of this machine.

Array suffixes: F frames, H height, W width, C channels.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from strands_diffusers import frame_times, read_clip, read_image
from strands_diffusers.errors import StrandsDiffusersError

log = logging.getLogger(__name__)

KINDS = {
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".mp4": "video/mp4",
    ".wav": "audio/wav", ".json": "application/json", ".ply": "model/ply", ".npy": "application/octet-stream",
}  # fmt: skip
"""Ending -> media type of the files that are written."""

COLUMNS, ROWS = 3, 2
CELL = 200
"""Largest side of one frame of the sheet [pixels]."""


def contact_sheet(paths: Sequence[Path]) -> str | None:
    """A JPEG in base64: frames of the first video, in reading order, else the first image; None where there is neither."""
    from PIL import Image

    pictured = [
        path for path in paths if KINDS.get(path.suffix, "").startswith(("image/", "video/")) and path.is_file()
    ]
    pictured.sort(key=lambda path: (path.suffix not in (".mp4", ".gif"), not path.name.startswith(("video", "image"))))
    if not pictured:
        return None
    try:
        if pictured[0].suffix in (".mp4", ".gif"):
            stride = max(1, (len(frame_times(pictured[0])) - 1) // (COLUMNS * ROWS - 1))
            frames = [Image.fromarray(each) for each in read_clip(pictured[0], 0, COLUMNS * ROWS, stride).frames_FHWC]
        else:
            frames = [Image.fromarray(read_image(pictured[0]))]
    except StrandsDiffusersError:
        log.debug("no picture of %s", pictured[0], exc_info=True)
        return None
    side = CELL if len(frames) > 1 else CELL * COLUMNS
    for frame in frames:
        frame.thumbnail((side, side))
    width, height = frames[0].size
    rows = -(-len(frames) // COLUMNS)
    sheet = Image.new("RGB", (width * min(COLUMNS, len(frames)), height * rows))
    for i, frame in enumerate(frames):
        sheet.paste(frame, (i % COLUMNS * width, i // COLUMNS * height))
    written = io.BytesIO()
    sheet.save(written, "JPEG", quality=80)
    return base64.b64encode(written.getvalue()).decode()
