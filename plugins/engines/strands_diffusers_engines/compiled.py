"""The decoder layer compiled, and on small canvases the forward pass replayed as a CUDA graph.

One layer is compiled and serves all of them: their weights are its inputs. The pipeline's own modules are never
compiled or replaced. Fusing operations changes the rounding, so the numbers differ from `exact` in their last bits.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from strands_diffusers.pipelines.engine.attention import generation_layer
from strands_diffusers.pipelines.engine.denoiser import Denoiser, LayerFunction, State
from strands_diffusers.pipelines.engine.text import Text

TOKENS_PER_GRAPH = 4096
"""Up to so many tokens a card waits for the host to launch kernels, and a graph pays; beyond, it never waits."""


@functools.cache
def compiled_layer() -> LayerFunction:
    """Return `generation_layer`, compiled: once per process, since the weights are inputs.

    PyTorch compiles anew for new sizes, up to its own limit, after which it logs so and runs the layer as it is.
    """
    function: LayerFunction = torch.compile(generation_layer)
    return function


class GraphedDenoiser(Denoiser):
    """A denoiser whose forward pass is recorded once per run and then replayed, where the host would be too slow.

    The first step of each prompt runs as usual, which warms up what must not be recorded; the second is recorded.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._warm: set[tuple[int, int]] = set()
        self._replays: dict[tuple[int, int], Callable[[State, tuple[Any, ...]], State]] = {}

    def velocity(
        self,
        state: State,
        embeds: tuple[Any, ...],
        text: Text,
        rotary: tuple[Any, Any],
        without_vision: bool = False,
    ) -> State:
        """Predict as `Denoiser.velocity` does. The result is overwritten by the next call for the same prompt.

        A replay costs less than a last step of its own, so `without_vision` is for canvases that are not replayed.
        """
        batch = state.vision.shape[0]
        if batch * self.layout.tokens > TOKENS_PER_GRAPH:
            return super().velocity(state, embeds, text, rotary, without_vision)
        key = (id(text), batch)
        if key not in self._warm:
            self._warm.add(key)
            return super().velocity(state, embeds, text, rotary)
        if key not in self._replays:
            self._replays[key] = self._record(state, embeds, text, rotary)
        return self._replays[key](state, embeds)

    def _record(
        self, state: State, embeds: tuple[Any, ...], text: Text, rotary: tuple[Any, Any]
    ) -> Callable[[State, tuple[Any, ...]], State]:
        inputs = [None if x is None else x.clone() for x in (*state, *embeds)]
        streams = len(state)
        velocity = super().velocity
        result, run_again = recorded(lambda: velocity(State(*inputs[:streams]), tuple(inputs[streams:]), text, rotary))

        def replay(state: State, embeds: tuple[Any, ...]) -> State:
            for kept, new in zip(inputs, (*state, *embeds), strict=True):
                if kept is not None:
                    kept.copy_(new)
            run_again()
            return result

        return replay


def recorded(function: Callable[[], State]) -> tuple[State, Callable[[], None]]:
    """Run `function` as a CUDA graph is recorded; return its result and what runs it again, writing over that result."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return result, graph.replay
