"""A session of the embedded model, as quick as it can be."""

import pytest

from strands_diffusers.play.options import PlayConfig
from strands_diffusers.play.session import Session

QUICK = (
    "world.sampler.num_inference_steps=1", "policy.sampler.num_inference_steps=1", "policy.sampler.guidance_scale=1", "tracker=none",
    "visualizer=[]", "metric=[]",
)  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    """Begun; the tests of a module share it."""
    session = Session([*QUICK, f"output_dir={tmp_path_factory.mktemp('saved')}"])
    session.begin()
    yield session
    session.close()


@pytest.fixture(scope="module")
def address(session):
    """Where its page is."""
    pytest.importorskip("uvicorn")
    from strands_diffusers.play.web import server

    session.offered()
    listening, _ = server(session, PlayConfig(port=0))
    with listening:
        yield listening.address
