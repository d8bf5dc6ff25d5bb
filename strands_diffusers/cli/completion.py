"""Verbs in the shell's completion: built-in ones and those of plugins."""

import sys
from collections.abc import Iterable

from strands_diffusers.plugin.manager import plugins


def complete_verb(line: str) -> bool:
    """Write the words that may follow in the command line `line`, one per line; whether they are all that may follow.

    Where nothing but the beginning of a word is typed, Hydra's own words may follow too.
    """
    from strands_diffusers.cli.verbs import VERBS

    words, commands = line.split()[1:], plugins().commands
    begun = words.pop() if words and not line[-1].isspace() else ""
    found: Iterable[str] = (*VERBS, *commands)
    if words:
        found = commands[words[0]].completion if words[0] in commands else ()
    sys.stdout.write("".join(f"{word}\n" for word in found if word.startswith(begun)))
    return bool(words) and (words[0] in commands or words[0] in VERBS)
