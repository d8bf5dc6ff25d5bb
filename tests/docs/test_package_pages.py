"""The commands and programs of the pages beside plugin packages and experiments; .ci/run has all of them installed."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys

import pytest
from doc_blocks import LANGUAGES, ROOT, blocks, compose_first, ours

from strands_diffusers.cli.verbs import VERBS
from strands_diffusers.plugin.manager import plugins

PAGES = sorted([*ROOT.glob("plugins/*/README.md"), *ROOT.glob("experiments/*/README.md")])
ALL = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "bash"]


def of(chosen):
    return pytest.mark.parametrize("block", chosen, ids=lambda block: block.name)


def needs_its_package(block):
    name = f"strands_diffusers_{block.page.parent.name}"
    if block.page.is_relative_to(ROOT / "plugins") and importlib.util.find_spec(name) is None:
        pytest.skip(f"needs pip install -e plugins/{block.page.parent.name}")


@of(ALL)
def test_a_block_names_its_language_and_can_be_read(block):
    assert block.language in LANGUAGES
    if block.language == "bash":
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=30)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "python":
        compile(block.text, block.name, "exec")


@of([block for block in SHELL if any(map(ours, block.commands()))])
def test_a_command_is_understood_where_its_package_is_installed(block):
    needs_its_package(block)
    for words in (words for command in block.commands() for words in ours(command)):
        if words and words[0] in VERBS | plugins().commands:
            continue
        compose_first(words)


@of([block for block in ALL if block.language == "python"])
def test_a_program_runs_where_its_package_is_installed(block):
    needs_its_package(block)
    exec(compile(block.text, block.name, "exec"), {"__name__": "__docs__"})


@pytest.mark.slow
@pytest.mark.timeout(600)
@of([block for block in SHELL if "python -m " in block.text])
def test_a_module_has_the_options_that_its_page_gives_it(block):
    needs_its_package(block)
    for command in block.commands():
        words = shlex.split(command, comments=True)
        if "python" not in words or words[words.index("python") + 1] != "-m":
            continue
        module, *given = words[words.index("-m") + 1 :]
        verb = [word for word in given[:1] if not word.startswith("-")] if "train" in module else []
        shown = subprocess.run(
            [sys.executable, "-m", module, *verb, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
        )  # fmt: skip

        missing = re.search(r"No module named '(strands_diffusers_\w+)'", shown.stderr)
        if missing and importlib.util.find_spec(missing[1]) is None:
            pytest.skip(f"needs the package of {missing[1]}")
        assert shown.returncode == 0, shown.stderr
        for option in (word for word in given if word.startswith("--")):
            assert re.search(rf"{option}\b", shown.stdout), f"{module} has no {option}"
