"""The commands and programs of the pages beside plugin packages and experiments; .ci/run has all of them installed."""

import contextlib
import importlib.util
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
import warnings

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


def help_of(module, *verb):
    """What `python -m MODULE VERB --help` prints, in this process, which imports what they all need once."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a package that imported the module already
        patch.syspath_prepend(ROOT)
        patch.setattr(sys, "argv", [module, *verb, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not ended.value.code
    return shown.getvalue()


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
        try:
            shown = help_of(module, *verb)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("strands_diffusers_"):
                raise
            pytest.skip(f"needs the package of {error.name}")
        for option in (word for word in given if word.startswith("--")):
            assert re.search(rf"{option}\b", shown), f"{module} has no {option}"
