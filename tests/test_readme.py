"""Every command in the README means what it says: it composes, or is a verb that answers."""

import re
import shlex
from pathlib import Path

import pytest

from strands_diffusers.cli.verbs import VERBS
from strands_diffusers.config import compose, store

ROOT = Path(__file__).parents[1]
COMMANDS = re.findall(r"^strands-diffusers(.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.strip()[:60])
def test_a_readme_command_is_understood(line):
    words = shlex.split(line, comments=True)
    if words and words[0] in VERBS:
        return
    overrides = [w for w in words if w != "-m" and not w.startswith("resume=")]
    if any(w.startswith("experiment=glob") for w in overrides):
        assert list((store.conf_dir() / "experiment").glob("pusht_gallery_*.yaml"))
        return
    if "csv" in line:
        pytest.skip("needs plugins/example, whose own tests compose it")
    single = [re.sub(r"=([\d.]+),.*", r"=\1", w) for w in overrides]

    assert compose.compose(single).model.name


def test_the_two_commands_of_the_first_screen_are_those_of_ci():
    first, second = re.search(r"```bash\n(.*)\n(.*)\n```", (ROOT / "README.md").read_text()).groups()

    ci = (ROOT / ".ci" / "run").read_text()
    install = re.search(r"pip install .*?(?= &&)", first)[0]
    assert install in ci
    assert second in ci


@pytest.mark.parametrize("verb", [v for v in VERBS if not v.startswith("-")])
def test_the_help_lists_every_verb(verb):
    assert re.search(rf"^ +{verb}\b", (ROOT / "conf" / "run.yaml").read_text(), re.MULTILINE)
