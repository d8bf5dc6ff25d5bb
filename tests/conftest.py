import functools
import itertools
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest

SLOW = Path(__file__).with_name("slow.txt")
LONGEST_S, ALL_CASES_S = 0.3, 1.0
"""Processor time of a test's longest case, and of all its cases, from which on it is slow."""

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell starts what it puts in the background with Ctrl-C ignored, and a command under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory):
    """Empty folders, one after the other; `mktemp` looks through all of a session's thousands for each."""
    root = tmp_path_factory.mktemp("homes")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _quiet_home(_homes, monkeypatch):
    """No test reads or writes the user's own W&B account, cache or settings."""
    home = next(_homes)
    home.mkdir()
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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Builds a tiny pipeline of any kind once and returns its folder."""
    import tiny_pipelines

    @functools.cache
    def build(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tiny_pipelines.build(name, tmp_path_factory.mktemp(name))

    return build


def _name(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0].removeprefix("tests/")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", action="store_true", help=f"note in {SLOW.name} which of the tests that ran are slow")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--measure"):
        config.pluginmanager.register(_Measured())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that were measured to be slow; those that start many processes or models say so themselves."""
    slow = set(SLOW.read_text(encoding="utf-8").split())
    for item in items:
        if _name(item) in slow:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """With -n: tests of a module stay in one process, which makes their fixtures once; who is done helps the others."""
    if config.getoption("dist") == "load":
        from xdist.scheduler import WorkStealingScheduling

        return WorkStealingScheduling(config, log)
    return None


class _Measured:
    """The processor time of every test, its child processes' too: the same on a busy machine as on a quiet one."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item):
        before = sum(os.times()[:4])
        try:
            return (yield)
        finally:
            self.seconds.setdefault(_name(item), []).append(sum(os.times()[:4]) - before)

    def pytest_sessionfinish(self) -> None:
        kept = set(SLOW.read_text(encoding="utf-8").split()) - set(self.seconds)
        slow = {n for n, each in self.seconds.items() if max(each) > LONGEST_S or sum(each) > ALL_CASES_S}
        SLOW.write_text("\n".join(sorted(kept | slow)) + "\n", encoding="utf-8")
