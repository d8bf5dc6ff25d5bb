"""Watching diffusers' own call step by step, through what the loops of its pipelines have in common: a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watched(pipe: Any, report: Callable[[int, int], None] | None) -> Iterator[None]:
    """Call `report(steps done, steps in all)` after each denoising step of a call of `pipe` in the body.

    What `report` raises ends the call at that step. The pipeline, plain or modular, is left as it was: its own progress
    bars come back, and after any error the weights that model offloading had moved go back too. A loop that draws no
    progress bar is not watched; one call may have several loops, each counted from 0.
    """
    drawn = [] if report is None else list(owners(pipe))
    try:
        for owner in drawn:
            owner.__dict__["progress_bar"] = _bar(owner, report)
        yield
    except BaseException:
        if hasattr(pipe, "maybe_free_model_hooks"):
            pipe.maybe_free_model_hooks()
        raise
    finally:
        for owner in drawn:
            owner.__dict__.pop("progress_bar", None)


def owners(pipe: Any) -> Iterator[Any]:
    """All that draws a bar in a call: the pipeline, the pipelines inside a combined one, the blocks of a modular one."""
    if hasattr(pipe, "progress_bar"):
        yield pipe
    blocks = getattr(pipe, "_blocks", None) or pipe  # `pipe.blocks` is a copy
    for inner in getattr(blocks, "sub_blocks", {}).values():
        yield from owners(inner)
    for name, inner in vars(pipe).items():
        if name.endswith("_pipe") and hasattr(inner, "progress_bar"):
            yield from owners(inner)


def _bar(owner: Any, report: Any) -> Callable[..., Any]:
    from tqdm.auto import tqdm

    class Steps(tqdm):  # type: ignore[misc]
        """The very bar of diffusers, which also reports."""

        done = 0

        def update(self, n: int = 1) -> Any:
            shown = super().update(n)
            self.done += n
            report(self.done, int(self.total or self.done))
            return shown

        def __iter__(self) -> Iterator[Any]:
            for done, item in enumerate(super().__iter__(), 1):
                yield item
                report(done, int(self.total or done))

    def progress_bar(iterable: Any = None, total: int | None = None, **options: Any) -> Any:
        return Steps(iterable, total=total, **{**getattr(owner, "_progress_bar_config", {}), **options})

    return progress_bar
