"""`plugins new` writes a package that installs and passes its own tests."""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from strands_diffusers.cli import verbs
from strands_diffusers.errors import ConfigError, OutputError
from strands_diffusers.plugin import scaffold

DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"


def test_the_package_has_the_new_name_everywhere(tmp_path):
    files = scaffold.new("my_robot", tmp_path)

    root = tmp_path / "strands-diffusers-my-robot"
    assert [str(path.relative_to(root)) for path in files] == [
        "README.md", "pyproject.toml", "strands_diffusers_my_robot/__init__.py", "tests/test_my_robot.py",
    ]  # fmt: skip
    assert {path for path in root.rglob("*") if path.is_file()} == {*files}
    assert not any("example" in path.read_text() for path in files)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["name"] == "strands-diffusers-my-robot"
    assert project["entry-points"]["strands_diffusers"] == {"my_robot": "strands_diffusers_my_robot"}


@pytest.mark.slow
def test_the_package_passes_its_own_tests(tmp_path):
    files = scaffold.new("my_robot", tmp_path)
    info = tmp_path / "site" / "strands_diffusers_my_robot-0.1.0.dist-info"  # what pip would lay down
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strands-diffusers-my-robot\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[strands_diffusers]\nmy_robot = strands_diffusers_my_robot\n")
    root = files[0].parent
    paths = [str(root), str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    line = next(line for line in DOCS.read_text().splitlines() if "output=[video,my_robot_csv]" in line)
    shown = subprocess.run(
        [sys.executable, "-m", *shlex.split(line.replace("-", "_", 1)), "--cfg", "job"],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "my_robot_csv: {}" in shown.stdout, shown.stderr
    assert "every: 4" in shown.stdout

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml"), str(root / "tests")],
        env=env, capture_output=True, text=True, timeout=60, check=False, cwd=root,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("name", ["", "My", "1a", "a-b", "a b", "../x", "class", "a_", "ünï"])
def test_a_name_that_no_package_can_have_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="is no name for a plugin"):
        scaffold.new(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, monkeypatch):
    scaffold.new("my_robot", tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        scaffold.new("my_robot", tmp_path)

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        scaffold.new("other", tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_the_verb_writes_the_package_and_says_what_to_type_next(tmp_path, capsys):
    assert verbs.plugins(["new", "my_robot", "--into", str(tmp_path)]) == 0

    out = capsys.readouterr().out.splitlines()
    assert [Path(line).is_file() for line in out[:4]] == [True] * 4
    assert out[4] == f"Install it: pip install -e {tmp_path}/strands-diffusers-my-robot"
    assert out[5] == f"Test it:    pytest {tmp_path}/strands-diffusers-my-robot/tests"
