"""LeRobot datasets of a square that moves where its actions say."""

import numpy as np
from strands_diffusers_lerobot.writer import EpisodeData, write_dataset

FPS, TASKS = 10.0, ("go left", "go right", "go up")


def episode(number, length=7, width=2, size=(48, 64), task=None):
    """Frames with a square at the action's place [px], and those places as the actions."""
    rng = np.random.default_rng(number)
    places = rng.uniform(6, 36, (length, width))
    frames = np.full((length, *size, 3), 40 + 10 * number, np.uint8)
    for frame, (x, y, *_) in zip(frames, places, strict=True):
        frame[int(y) % 40 : int(y) % 40 + 8, int(x) % 56 : int(x) % 56 + 8] = (200, 60, 60)
    task = TASKS[number % 3] if task is None else task
    return EpisodeData(task, {"observation.images.top": frames}, {"action": places.astype(np.float32)})


def dataset(root, episodes, fps=FPS, **more):
    write_dataset(root, episodes, fps, robot_type="square", **more)
    return f"lerobot:{root}@actions:action@units:physical"
