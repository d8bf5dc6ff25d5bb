"""`engine=eager`: diffusers' own call, untouched: what every other engine is compared with."""

import inspect
import time
from typing import Any, ClassVar

from strands_diffusers.config.models import COSMOS3
from strands_diffusers.lazy import np
from strands_diffusers.pipelines import catalog
from strands_diffusers.pipelines.steps import watched
from strands_diffusers.plugin.engine import Call, Engine, Progress, Sample


class EagerEngine(Engine):
    """One `pipe(...)` per seed, for every pipeline class, decoding whatever that call decodes."""

    name: ClassVar[str] = "eager"
    output_type = "pil"
    """Cosmos 3 alone: `latent` leaves the video out. Any other pipeline returns `np`."""

    def refuse(self, pipe: Any, call: Call) -> str | None:
        """Never: whatever diffusers can run, this runs."""
        return None

    def run(self, pipe: Any, call: Call, progress: Progress | None = None) -> list[Sample]:
        """Call the pipeline once per seed. Cosmos 3 output is converted, any other is handed on in `Sample.raw`."""
        return [self._draw(pipe, call, index, progress) for index in range(len(call.seeds))]

    def _draw(self, pipe: Any, call: Call, index: int, progress: Progress | None) -> Sample:
        cosmos3 = type(pipe).__name__ == COSMOS3
        other = "mesh" if _makes_mesh(pipe, call) else "np"
        own = {"generator": generator(call.seeds[index]), "output_type": self.output_type if cosmos3 else other}
        known = inspect.signature(type(pipe).__call__).parameters
        samples = len(call.seeds)
        report = None if progress is None else lambda done, total: progress(index * total + done, samples * total)
        started = time.perf_counter()
        with watched(pipe, report):
            output = pipe(**{**call.arguments, **{name: value for name, value in own.items() if name in known}})
        seconds = {"pipeline": time.perf_counter() - started}
        return _sample(output, seconds) if cosmos3 else Sample(raw=output, seconds=seconds)


def _makes_mesh(pipe: Any, call: Call) -> bool:
    """Whether a mesh is wanted of a pipeline that can give one in the place of pictures of it."""
    name = type(pipe).__name__
    return "mesh" in call.wanted and name in catalog.pipelines() and "mesh" in catalog.find(name).outputs


def _sample(output: Any, seconds: dict[str, float]) -> Sample:
    """Convert a `Cosmos3OmniPipelineOutput`: PIL frames, sound `[C, N]`, a list with one action tensor `[T, D]`."""
    frames = output.video
    return Sample(
        video=np.stack([np.asarray(frame) for frame in frames]) if isinstance(frames, list) else None,
        sound=None if output.sound is None else output.sound.float().cpu().numpy().T.copy(),
        action=None if output.action is None else output.action[0].float().numpy(),
        seconds=seconds,
    )


def generator(seed: int) -> Any:
    """Return the random generator of one sample: on the CPU, whatever the device.

    diffusers then draws the noise on the host and moves it, so that a seed names the same noise on every machine.
    """
    import torch

    return torch.Generator("cpu").manual_seed(seed)
