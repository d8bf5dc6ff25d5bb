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


def arguments(cls: type, wanted: bool) -> dict[str, Any]:
    """What a plain pipeline's `from_pretrained` is given, so that its checker is on or off as `wanted`."""
    parameters = inspect.signature(cls).parameters
    if ".cosmos." not in cls.__module__:
        return {}
    if "enable_safety_checker" in parameters:
        return {"enable_safety_checker": wanted}
    return {"safety_checker": NoGuardrail()} if "safety_checker" in parameters and not wanted else {}


def switch(pipe: Any, wanted: bool) -> dict[str, Any]:
    """Switch the checker of a loaded modular pipeline; return `requested`, `effective`, and a `reason` where they differ.

    diffusers' modular Cosmos 3 pipelines raise in every call until their checker is loaded or switched off.
    """
    if hasattr(pipe, "disable_safety_checker"):
        (pipe.enable_safety_checker if wanted else pipe.disable_safety_checker)()
        effective = bool(pipe.requires_safety_checker)
    else:
        effective = not isinstance(getattr(pipe, "safety_checker", None), NoGuardrail | None)
    facts: dict[str, Any] = {"requested": wanted, "effective": effective}
    if wanted and not effective:
        facts["reason"] = f"{type(pipe).__name__} has no switch of this kind"
    return facts


def installed() -> bool:
    """Whether NVIDIA's package is there."""
    return importlib.util.find_spec(PACKAGE) is not None
