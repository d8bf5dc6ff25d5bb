"""A server of a policy and a world that cost nothing and say whom they answered: `python -m experiments.serve_load.echo PORT`.

Every answer holds the client's number and how many the session had before, so that one given to the wrong client, twice,
or not at all is seen.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np

from strands_diffusers import Look, Observation, Policy, Proposal, Setting, Stepped, World, actions, loop, testing
from strands_diffusers.serve import command
from strands_diffusers.serve.options import ServeConfig

ENGINE_S = 0.002
"""How long an answer takes [s]."""

SIDE = 96


class Echo(Policy):
    """Actions [look, client's number] / 1000: the number is in the frame's first two pixels' red."""

    name = "echo"

    def act(self, look: Look) -> Proposal:
        """Say who asked, and how often before."""
        time.sleep(ENGINE_S)
        high, low = (int(value) for value in look.frames[-1, 0, :2, 0])
        row = np.array([look.index % 1000, 256 * high + low], np.float32) / 1000
        return Proposal(np.tile(row, (16, 1)))


class Mirror(World):
    """Frames whose first two pixels are the first action's, whatever episode it is; the state counts the steps."""

    name = "mirror"

    def reset(self, setting: Setting, seed: int) -> tuple[np.ndarray, object]:
        """Begin to count."""
        assert setting.observation.frames is not None
        self.first, self.count = setting.observation.frames[0], 0
        return self.first, {"steps": 0}

    def step(self, actions: np.ndarray, num_steps: int, progress: object = None) -> Stepped:
        """Count the steps and show the first frame again."""
        time.sleep(ENGINE_S)
        states = []
        for _ in range(num_steps):
            self.count += 1
            states.append({"steps": self.count})
        return Stepped(np.repeat(self.first[None], num_steps, axis=0), states)


@dataclass
class Options(ServeConfig):
    """Limits that a short test reaches."""

    max_sessions: int = 64
    max_queue: int = 64
    session_frames: int = 10**8
    idle_s: float = 20.0


def cast() -> loop.Cast:
    """Both, on a grey frame of PushT's size."""
    config = testing.compose("domain=pusht", "condition=closed_loop", "policy=random", "condition.act_steps=8")
    space = actions.space_of("pusht", pixel_map=True)
    seen = Observation(np.full((1, SIDE, SIDE, 3), 127, np.uint8), 10.0, domain=space.domain)
    return loop.Cast(Setting(config, seen, space, "Echo.", 10.0, 16, 8, 4), Echo(), Mirror(), {})


if __name__ == "__main__":
    server = command.server(Options(port=int(sys.argv[1])), cast())
    print(server.address, flush=True)
    server.run()
    print("stopped", flush=True)
