"""Write docs/config.md from the field docstrings: python docs/make_reference.py [--check]."""

import sys
from pathlib import Path

from strands_diffusers.config.reference import markdown
from strands_diffusers.plugin import manager

GROUPS = ("output", "visualizer", "metric", "tracker", "source")


def page() -> str:
    """The page for the built-in plugins, whatever else is installed here."""
    modules = [(name, __import__(name, fromlist=["_"])) for name in manager.BUILT_INS]
    index = manager.build_index(modules, strict=True)
    return markdown({group: index.classes(group) for group in GROUPS})


if __name__ == "__main__":
    path = Path(__file__).with_name("config.md")
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if path.read_text() == text else "docs/config.md is stale: run python docs/make_reference.py")
    path.write_text(text)
