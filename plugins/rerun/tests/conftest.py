import pytest

from strands_diffusers.runner import sweep


@pytest.fixture(scope="session", autouse=True)
def _configs():
    sweep.prepare()
