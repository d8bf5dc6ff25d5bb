"""Bodies that move in metres and turn in degrees, by pads and keys: a tiny random Cosmos 3 in Bridge, in a browser."""

import browser
import numpy as np
import pytest
from PIL import Image
from rollouts import moving_frames
from tiny_cosmos3 import build_tiny_cosmos3

from strands_diffusers import actions
from strands_diffusers.play.options import PlayConfig
from strands_diffusers.play.session import Session

from .conftest import QUICK

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    Image.fromarray(moving_frames(1, 48, 64)[0]).save(folder / "seen.png")
    model = "model=custom", f"model.repo={build_tiny_cosmos3(folder / 'cosmos3')}", "model.dtype=float32"
    session = Session([*QUICK, *model, "domain=bridge", f"observation={folder / 'seen.png'}", f"output_dir={folder}"])
    session.begin()
    yield session
    session.close()


def test_pads_keys_and_the_gripper_move_in_metres_and_degrees(session, tmp_path_factory):
    pytest.importorskip("uvicorn")
    from strands_diffusers.play.web import server

    session.offered()
    driver = browser.start(tmp_path_factory.mktemp("profile"))
    listening, _ = server(session, PlayConfig(port=0))
    quiet = "!play.acting && !play.pending && !play.queue.length"
    body = session.controls.described(None)["bodies"][0]
    try:
        with listening:
            page = browser.Page(driver).open(listening.address, 390, 844)
            page.until("Boolean(window.play && play.shown)")
            assert page.run("document.documentElement.scrollWidth <= innerWidth")
            page.choose("#speed", "100")
            page.click("[data-pad='move +x']")
            page.until(f"play.tree.moments.size === 2 && {quiet}", 60)
            page.press("u")  # turns about z, to the negative side
            page.until(f"play.tree.moments.size === 3 && {quiet}", 60)
            page.choose("[data-value='gripper']", "0.5")
            page.until(f"play.tree.moments.size === 4 && {quiet}", 60)
            said = page.texts("#at")[0]
            assert page.complaints() == []
    finally:
        driver.quit()

    moved, turned, last = session.moments[1:]
    at = moved.poses["arm"]
    np.testing.assert_allclose(at[:3, 3], [4 * body["move"][0], 0, 0], atol=1e-6)  # four steps
    turn = turned.poses["arm"][:3, :3]
    assert np.degrees(np.arctan2(turn[1, 0], turn[0, 0])) == pytest.approx(-4 * body["turn"][2], abs=1e-3)
    assert actions.to_physical(last.proposal[3], session.setting.space)[-1] == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(last.poses["arm"], turned.poses["arm"], atol=1e-5)
    assert said.startswith(
        f"arm x {4 * body['move'][0]:.3f} m, y 0.000 m, z 0.000 m, turned {4 * body['turn'][2]:.1f}°"
    )
