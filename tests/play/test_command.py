"""`strands-diffusers play` as it is typed: a page at an address that it prints, one line for what is wrong, a clean end."""

import http.client
import signal
import socket
import subprocess
import sys

import pytest

from strands_diffusers import errors
from strands_diffusers.cli import verbs
from strands_diffusers.play import command
from strands_diffusers.play.options import PlayConfig
from strands_diffusers.serve import options

from .conftest import QUICK


@pytest.mark.parametrize(
    ("words", "error", "line"),
    [
        (["8765"], errors.ConfigError, r"'8765' is none. See docs/play.md"),
        (["--port=1"], errors.ConfigError, r"unrecognized arguments: --port=1. See strands-diffusers play --help"),
        (["play.prt=1"], errors.ConfigError, r"'play.prt' is not a config key. Did you mean 'play.port'"),
        (["play.port=70000"], errors.ConfigError, r"play.port"),
        (["play.host=0.0.0.0"], errors.ConfigError, r"opens the server to other machines, which needs a token"),
        (["play.token_env=NO_SUCH_TOKEN"], errors.ConfigError, r"that environment variable is not set"),
        (["play.idle_minutes=0"], errors.ConfigError, r"play.idle_minutes must be > 0 minutes"),
        (["observation=sample:nowhere"], errors.ObservationError, r"there is no sample 'nowhere'"),
        (["condition.act_steps=17"], errors.ConfigError, r"act_steps"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_loaded(words, error, line):
    pytest.importorskip("uvicorn")
    with pytest.raises(error, match=line) as caught:
        verbs.play(words)
    assert "\n" not in str(caught.value)


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(options, "PACKAGES", ("no_such_package",))

    with pytest.raises(
        errors.MissingPackageError, match=r"play needs no_such_package: pip install 'strands-diffusers\[serve\]'"
    ):
        PlayConfig().require_packages()


def test_a_port_that_is_taken_is_one_line_before_the_model_is_loaded():
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.ConfigError, match=rf"play.port={port}: .*Use another, or play.port=0"):
            command.play([*QUICK, f"play.port={port}"], print)


@pytest.mark.slow
def test_the_command_shows_a_page_until_it_is_asked_to_end(tmp_path):
    pytest.importorskip("uvicorn")
    words = (
        sys.executable,
        "-m",
        "strands_diffusers",
        "play",
        *QUICK,
        "play.port=0",
        f"output_dir={tmp_path / 'saved'}",
    )
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as running:
        try:
            line = running.stderr.readline()
            assert line.startswith("open http://127.0.0.1:"), line
            connection = http.client.HTTPConnection(line.split()[1].removeprefix("http://").rstrip("/"), timeout=20)
            connection.request("GET", "/")
            page = connection.getresponse().read().decode()
            connection.close()
        finally:
            running.send_signal(signal.SIGTERM)
        rest = running.stderr.read()

    assert '<script type="module" src="play.js"></script>' in page
    assert (running.returncode, rest) == (0, "stopped; nothing was saved\n")
    assert list(tmp_path.iterdir()) == []  # nothing was written
