"""The blocks of a modular pipeline: which they are, and what their documentation lists as inputs and outputs."""

import re

from strands_diffusers.pipelines.signatures import REQUIRED
from strands_diffusers.pipelines.sources import ClassSource, Sources

_ENTRY = re.compile(
    r"^ +(\w+) \(`([^`]*)`(, \*optional\*)?(?:, defaults to ((?:[^()\n]|\([^()\n]*\))+))?\)", re.MULTILINE
)


def of_pipeline(sources: Sources, source: ClassSource) -> ClassSource | None:
    """The class of the blocks that a modular pipeline is made of by default; None for a plain pipeline."""
    name = source.constant("default_blocks_name")
    if name is None:
        return None
    found = sources.locate(name)
    if found is None:
        beside = (sources.find(name, path) for path in sorted(source.path.parent.glob("*.py")))
        found = next(filter(None, beside), None)
    return found


def named(sources: Sources, blocks: ClassSource, title: str, depth: int = 0) -> dict[str, str]:
    """Inputs or outputs of modular blocks: as their docstring lists them, else those of the blocks inside."""
    found = {name: kind for name, kind, _ in listed(blocks.text, title)}
    if found or depth > 6:
        return found
    declared = {"Inputs": "InputParam", "Outputs": "OutputParam"}[title]
    found = dict.fromkeys(re.findall(rf"\b{declared}(?:\.template)?\(\s*(?:name=)?[\"'](\w+)[\"']", blocks.text), "")
    inner = re.search(r"^    block_classes\s*=\s*\[([^\]]*)\]", blocks.text, re.MULTILINE)
    for name in re.findall(r"\w+", inner[1]) if inner else []:
        block = sources.find(name, blocks.path)
        found |= named(sources, block, title, depth + 1) if block else {}
    return found


def section(doc: str, title: str) -> str:
    """The indented part of a blocks docstring under `title:`."""
    found = re.search(rf"^( *){title}:\n((?:\1 +.*\n|\s*\n)+)", doc + "\n", re.MULTILINE)
    return found[2] if found else ""


def listed(doc: str, title: str) -> list[tuple[str, str, str]]:
    """Entries of a section: name, type, default (`REQUIRED` where none is given)."""
    entries = _ENTRY.findall(section(doc, title))
    return [(name, kind, default or ("None" if optional else REQUIRED)) for name, kind, optional, default in entries]
