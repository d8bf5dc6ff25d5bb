"""NVIDIA's safety checker: who insists on one, and what stands in its place where it is switched off."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

PACKAGE = "cosmos_guardrail"


class NoGuardrail:
    """In the place of the checker in the Cosmos pipelines whose constructors insist on one: it passes everything."""

    def check_text_safety(self, prompt: str) -> bool:
        """True: every prompt passes."""
        return True

    def check_video_safety(self, frames: Any) -> Any:
        """The frames as they are."""
        return frames

    def to(self, *_: Any, **__: Any) -> NoGuardrail:
        """Itself: it has no weights."""
        return self


def insists(cls: type) -> bool:
    """Whether this is a Cosmos pipeline whose constructor builds a checker where it is given none."""
    parameters = inspect.signature(cls).parameters
    return ".cosmos." in cls.__module__ and "safety_checker" in parameters and "enable_safety_checker" not in parameters


def installed() -> bool:
    """Whether NVIDIA's package is there."""
    return importlib.util.find_spec(PACKAGE) is not None
