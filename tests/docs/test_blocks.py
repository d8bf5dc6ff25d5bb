"""Every command and program of README and docs does what the page says.

In the fast tests each command is composed and each short program run; in the slow ones the commands of a page run one
after the other in a folder of their own, as a reader would type them, but for what makes them long (`quick`).
"""

import json
import os
import shutil
import subprocess
import tomllib
import types

import pytest
import yaml
from doc_blocks import LANGUAGES, MARKS, PAGES, ROOT, blocks, compose_first, only_ours, ours

from strands_diffusers import testing
from strands_diffusers.cli import main
from strands_diffusers.cli.verbs import VERBS

ELSEWHERE = ("plugins.md", "python")
"""Whole plugins, which tests/plugin/test_docs.py loads."""

ALL = [b for page in PAGES for b in blocks(page) if (b.page.name, b.language) != ELSEWHERE]
NOT_RUN = set(MARKS) - {"slow"}
NOT_COMPOSED = {"network", "setup", "server", "fragment", "plugin"}


def of(language, *, without=()):
    chosen = [b for b in ALL if b.language in language and not set(b.marks) & set(without)]
    return pytest.mark.parametrize("block", chosen, ids=lambda block: block.name)


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.name)
def test_a_block_names_its_language_and_only_known_marks(block):
    assert block.language in LANGUAGES, "give the fence a language; ```text for what nobody runs"
    assert set(block.marks) <= set(MARKS), f"the marks are {', '.join(MARKS)}"
    if block.language in ("bash", "console") and not set(block.marks) & NOT_RUN:
        for command in block.commands():
            assert only_ours(command), f"{command!r} cannot be run by the tests: mark the fence"


@of(("bash", "console"), without=NOT_COMPOSED)
def test_a_command_is_understood(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in block.commands():
        for words in ours(command):
            if words and words[0] in VERBS:
                continue
            if block.language == "console":
                continue  # what it is refused for is compared when it runs
            compose_first(words)


@of(("python",), without=("slow", "fragment", "gpu", "network", "plugin", "yours"))
def test_a_short_program_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    module = types.ModuleType("theirs")
    exec(compile(block.text, block.name, "exec"), vars(module))
    if "@hookimpl" in block.text:
        testing.check_plugin(module)


@of(("python",))
def test_a_program_is_python(block):
    compile(block.text, block.name, "exec")


@of(("json", "yaml", "toml"), without=("fragment",))
def test_a_file_can_be_parsed(block):
    read = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}[block.language]

    assert read(block.text)


@of(("bash",))
def test_bash_can_read_it(block):
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=30)


def runnable(page):
    return [
        b
        for b in blocks(page)
        if b.language in ("bash", "console", "python") and not set(b.marks) & NOT_RUN
        and (b.language != "python" or "slow" in b.marks)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed_from_top_to_bottom(page, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("COLUMNS", "400")
    shared = {"__name__": "__docs__"}
    for block in runnable(page):
        if block.language == "python":
            exec(compile(block.text, block.name, "exec"), shared)
            continue
        for command in block.commands():
            [words] = ours(command)
            status, text = call(quick(words, page.name) if block.language == "bash" else words, capfd)
            if block.language == "bash":
                assert status == 0, f"{block.name}: {command}\n{text[-2000:]}"
            else:
                assert_shown(block, command, text)


FIRST_SCREENS = ("README.md", "get_started.md")


def quick(words, page):
    """What is typed, but of one denoising step and of a preset's sweep four jobs.

    All that a job draws and logs is made on the first screens, one picture on other pages, none in sweeps.
    """
    if (words and words[0] in VERBS) or {"--cfg", "--help"} & set(words):
        return words
    more = []
    if "experiment=action_sensitivity" in words:
        more += ["observation=sample:push_up", "condition.perturb=none,mirrored", "sampler.num_samples=2"]
    if "-m" in words:
        more += ["visualizer=[]", *(["tracker=none"] if page != "wandb.md" else [])]
    elif page not in FIRST_SCREENS:
        more.append("visualizer=[timeseries]")
    if "condition=closed_loop" not in words:
        more += ["sampler.num_inference_steps=1", "sampler.guidance_scale=1"]
    else:  # which has samplers of its own
        more.append("world.sampler.num_inference_steps=1")
        more += ["policy.sampler.num_inference_steps=1"] if "policy=model" in words else []
        more += ["policy.predict.sampler.num_inference_steps=1"] if "policy=best_of" in words else []
    typed = {word.partition("=")[0] for word in words}
    return [*words, *(word for word in more if word.partition("=")[0] not in typed)]


def call(words, capfd):
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    shown = capfd.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


def assert_shown(block, command, text):
    """The lines after a `$` line are what the command says; `...` stands for what is left out."""
    after = block.text.split(f"$ {command}\n", 1)[1].split("\n$ ", 1)[0]
    said = " ".join(text.split())
    for line in after.splitlines():
        for piece in filter(None, map(str.strip, line.split("..."))):
            assert " ".join(piece.split()) in said, f"{block.name}: {command} says\n{text[-2000:]}"


def test_the_two_commands_of_the_first_screen_are_those_of_ci():
    block = next(b for b in blocks(ROOT / "README.md") if "pytest" in b.text)
    install, tests = block.text.strip().splitlines()
    script = (ROOT / ".ci" / "run").read_text()

    for piece in install.split(" && "):
        if piece.startswith("pip"):
            assert piece in script
    assert tests in script
    assert "strands-diffusers)" in script


def test_the_help_lists_every_verb(capfd):
    _, text = call(["--help"], capfd)
    first_words = {line.split()[0] for line in text.splitlines() if line.strip()}

    assert {verb for verb in VERBS if not verb.startswith("-")} <= first_words


@pytest.mark.skipif(not shutil.which("mkdocs"), reason='needs pip install -e ".[docs]"')
@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        ["mkdocs", "build", "--strict", "-f", str(ROOT / ".mkdocs.yml"), "-d", str(tmp_path / "site")],
        capture_output=True, text=True, timeout=120, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "architecture" / "index.html").is_file()
