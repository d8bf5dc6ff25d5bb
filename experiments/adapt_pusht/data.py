"""Stage `data`: a variant's episodes as a LeRobot v3 dataset, by the exporter of `plugins/lerobot`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from strands_diffusers_lerobot.writer import EpisodeData, write_dataset
from strands_diffusers_pusht.expert import MOTIONS, TASKS, play
from strands_diffusers_pusht.simulator import FPS
from strands_diffusers_pusht.source import WORDS

from .variants import VARIANTS

FIRST_SEED = 700_000
"""Of the episodes that are trained on; those of the table begin at `evaluate.FIRST_SEED`."""

STEPS = 48
"""Actions of an episode: three chunks."""


def write(variant: str, count: int, root: Path) -> Path:
    """Write `count` episodes into the folder `root`, unless they are there. -> the folder."""
    if (root / "meta" / "info.json").is_file():
        return root
    table, episodes = VARIANTS[variant](), []
    for number in range(count):
        task = (*TASKS, *TASKS, *MOTIONS)[number % 12]
        table.start(FIRST_SEED + number)
        frames, targets, states = play(table, task, FIRST_SEED + number, STEPS)
        actions = table.recorded(targets, states)
        rows = np.concatenate([actions, actions[-1:]])  # a row a frame; the last has no action of its own
        episodes.append(EpisodeData(WORDS[task], {"observation.images.top": frames}, {"action": rows}))
    write_dataset(root, episodes, float(FPS), names={"action": ["x", "y"]}, robot_type=f"pusht_{variant}", crf=8)
    return root
