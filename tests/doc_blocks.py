"""The fenced blocks of the documentation, and what tests do with each."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])

MARKS = {
    "gpu": "needs an accelerator and weights: composed, not run",
    "yours": "needs files or a package of the reader's: composed, not run",
    "network": "fetches something",
    "setup": "changes the environment; .ci/run does it",
    "server": "does not end by itself",
    "cluster": "a script for Slurm or Ray: read by bash, its commands composed",
    "fragment": "part of a file, shown for reading",
    "plugin": "needs a package of plugins/, whose own tests run it",
    "slow": "Python that generates",
}
"""Words after the language of a fence, each with why the block is not simply run in the fast tests."""

LANGUAGES = ("bash", "console", "python", "json", "yaml", "toml", "text")

_FENCE = re.compile(r"^( *)```(\w*)([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        """For test ids: `README.md:14`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[str]:
        """The logical lines of a shell block, comments and empty lines left out, continued lines joined."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        if self.language == "console":
            return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        body = re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE)
        line = text[: match.start()].count("\n") + 1
        found.append(Block(page, line, match[2], tuple(match[3].split()), body))
    return found


def ours(command: str) -> list[list[str]]:
    """The calls of `strands-diffusers` in a shell line, each as its arguments."""
    words = shlex.split(command, comments=True)
    calls: list[list[str]] = []
    current: list[str] | None = None
    begins = True
    for word in words:
        if word in ("&&", "||", ";", "|"):
            current, begins = None, True
        elif begins and word == "strands-diffusers":
            calls.append(current := [])
            begins = False
        elif current is not None:
            current.append(word)
        elif not re.match(r"\w+=", word):  # variables may stand before a command
            begins = False
    return calls


def only_ours(command: str) -> bool:
    """Whether a shell line calls nothing but `strands-diffusers`, without pipes or redirections."""
    words = shlex.split(command, comments=True)
    return bool(words) and words[0] == "strands-diffusers" and not {"&&", "||", ";", "|", ">", "<"} & set(words)


def compose_first(words: list[str]) -> None:
    """Compose the first job of what was typed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob, IntervalSweep

    from strands_diffusers.config import compose

    if "--config-dir" in words:
        return
    flags = {word for word in words if word.startswith("-")}
    assert flags <= {"-m", "--cfg", "--help"}
    values = {words[words.index("--cfg") + 1]} if "--cfg" in words else set()
    typed = [word for word in words if word not in flags | values and not word.startswith(("hydra", "resume="))]
    first = []
    for override in OverridesParser.create().parse_overrides(typed):
        key, value = override.get_key_element(), override.value()
        if not override.is_sweep_override():
            first.append(override.input_line)
        elif isinstance(value, Glob):
            [pattern] = value.include
            first.append(f"{key}={sorted((ROOT / 'conf' / key).glob(f'{pattern}.yaml'))[0].stem}")
        elif isinstance(value, IntervalSweep):
            first.append(f"{key}={value.start}")
        else:
            first.append(f"{key}={next(override.sweep_string_iterator())}")
    compose.compose(first)
