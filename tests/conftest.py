import os
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell starts what it puts in the background with Ctrl-C ignored, and a command under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _quiet_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own W&B account, cache or settings."""
    home = tmp_path_factory.mktemp("home")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "wandb"))
    if tracker := sys.modules.get("strands_diffusers.trackers.wandb.server"):
        monkeypatch.setattr(tracker, "_offline_because", None)  # an earlier test's server may have been away


@pytest.fixture
def data() -> Path:
    """The folder of real clips and rollouts."""
    folder = os.environ.get("STRANDS_DIFFUSERS_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("STRANDS_DIFFUSERS_TEST_DATA does not name the folder of real clips")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _configs():
    """Hydra knows our choices, as after the command line's start."""
    from strands_diffusers.runner import sweep

    sweep.prepare()
