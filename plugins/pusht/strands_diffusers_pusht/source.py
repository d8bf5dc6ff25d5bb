"""`observation=pusht:SEED@task:left`: an expert's episode from the simulator, with the true frames that follow and the actions."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from strands_diffusers import Observation, ObservationRequest, Source, errors

WORDS = {
    "left": "Push the T block to the left.",
    "right": "Push the T block to the right.",
    "up": "Push the T block up.",
    "down": "Push the T block down.",
    "goal": "Push the T block to the goal.",
    "free": "Move the pusher around freely.",
    "poke": "Poke the T block.",
}
"""Each task and motion of the expert, as a prompt."""

_FORM = "pusht:SEED[@task:NAME][@start:N], for example pusht:3@task:left"


class PushTSource(Source):
    """The PushT simulator: table number SEED, and what a scripted expert does with it.

    Address: `SEED[@task:left][@start:N]`; task is left (default), right, up, down, goal, free or poke; start is the
        first frame, so that an episode can be entered while the block moves. Seeds from 500000 on are held out.
    Shapes: frames uint8 `[F, 96, 96, 3]` at 10 Hz; actions float32 `[F - 1, 2]` in the embedded model's space
        (pixel / 256 - 1).
    Raises: `ObservationError` for an address that is not of this form.
    """

    scheme = "pusht"

    @dataclass
    class Config(Source.Config):
        """Options of the source `pusht`."""

        num_frames: int = 33
        """Frames to simulate where the condition does not say how many it needs; 2 and more."""

        solid_walls: bool = True
        """Whether walls hold the block; False: gym-pusht's own physics, whose pusher drives it through."""

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Simulate the episode at `address`, as long as `request` needs it."""
        from .expert import play  # inside: numpy is not for every start of the command
        from .simulator import FPS, PushT, to_model_space

        seed, task, start = _parse(address)
        num_frames = request.num_frames or self.config.num_frames
        simulator = PushT(solid_walls=self.config.solid_walls)
        simulator.start(seed)
        frames, actions, states = play(simulator, task, seed, start + num_frames - 1)
        return Observation(
            frames=frames[start:],
            fps=float(FPS),
            actions=to_model_space(actions[start:]) if num_frames > 1 else None,
            task=WORDS[task],
            domain="pusht",
            view_point="third_person_view",
            details={"kind": "pusht", "seed": seed, "task": task, "start": start, "state": states[start].tolist()},
        )


def _parse(address: str) -> tuple[int, str, int]:
    """`3@task:left@start:10` -> 3, "left", 10."""
    seed, *options = address.split("@")
    if not re.fullmatch(r"\d{1,9}", seed):
        raise errors.ObservationError(f"pusht:{address} names no table: SEED is a whole number. Type {_FORM}.")
    values = {"task": "left", "start": "0"}
    for option in options:
        key, _, value = option.partition(":")
        if key not in values:
            raise errors.ObservationError(f"pusht:{address} has an option @{key} that is not known. Type {_FORM}.")
        values[key] = value
    task = values["task"]
    if task not in WORDS:
        near = difflib.get_close_matches(task, WORDS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise errors.ObservationError(f"pusht has no task {task!r}; there are {', '.join(WORDS)}.{hint}")
    if not re.fullmatch(r"\d{1,4}", values["start"]):
        raise errors.ObservationError(f"@start:{values['start']} is not a frame number. Type {_FORM}.")
    return int(seed), task, int(values["start"])
