"""The contact sheet: truth above forward dynamics, policy video above its actions simulated; time to the right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_COLUMNS = range(0, 17, 2)
_LABEL_PX, _CELL_PX = 150, 97


def draw(videos: Path, path: Path, clips: int = 4, starts: int = 1, first: int = 0) -> None:
    """Draw `clips` forward-dynamics pairs and the five tasks from `starts` starts, from number `first` on."""
    rows: list[tuple[str, np.ndarray]] = []
    for file in sorted(videos.glob("video_*.npz"))[first : first + clips]:
        with np.load(file) as saved:
            rows += [(f"clip {file.stem[6:10]}\ntruth", saved["truth"]), ("forward dynamics", saved["video"])]
    for index in range(first, first + starts):
        for file in sorted(videos.glob(f"policy_{index:04d}_*.npz")):
            with np.load(file) as saved:
                rows += [
                    (f"policy {file.stem[12:]}\nfilm", saved["video"]),
                    ("its actions,\nsimulated", saved["simulated"]),
                ]
    sheet = Image.new("RGB", (_LABEL_PX + len(_COLUMNS) * _CELL_PX, len(rows) * _CELL_PX), "white")
    pen = ImageDraw.Draw(sheet)
    for y, (label, video) in enumerate(rows):
        pen.text((6, y * _CELL_PX + 36), label, fill="black")
        for x, frame in enumerate(_COLUMNS):
            sheet.paste(Image.fromarray(video[frame]), (_LABEL_PX + x * _CELL_PX, y * _CELL_PX))
    sheet.quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)
