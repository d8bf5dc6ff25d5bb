"""The page as a person uses it, in a browser: drag, branch, hand over, compare, save; by pointer, by keyboard, on a phone."""

import browser
import numpy as np
import pytest

from strands_diffusers import records

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

SPACE, HOME, LEFT, RIGHT, DOWN = " ", "\ue011", "\ue012", "\ue014", "\ue015"
QUIET = "!play.acting && !play.pending && !play.queue.length && !play.saving"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = browser.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, address, session):
    session.begin()
    page = browser.Page(driver)
    page.open(address)
    page.until("Boolean(window.play && play.shown)")
    return page


def drag(page, selector, *places, hold_s=0.0):
    """Drag the pointer over places of an element, as shares of its width and height from its left and top."""
    from selenium.webdriver import ActionChains

    element = page.one(selector)
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    wide, high = element.rect["width"], element.rect["height"]
    chain = ActionChains(page.driver)
    for i, (x, y) in enumerate(places):
        chain.move_to_element_with_offset(element, round(wide * (x - 0.5)), round(high * (y - 0.5)))
        if not i:
            chain.click_and_hold()
        chain.pause(hold_s)
    chain.release().perform()


def test_drag_branch_hand_over_compare_and_save(page, session):
    drag(page, "#view", (0.7, 0.7), (0.5, 0.5), (0.3, 0.4), hold_s=0.3)
    page.until(QUIET, 60)
    first = session.moments[-1]
    goal = np.array([0.3, 0.4]) * 512
    assert first.by == "person"
    np.testing.assert_allclose((session.held(first) + 1) * 256, goal, atol=3)  # it went where it was dragged

    page.driver.execute_script("play.go(1)")
    page.until("play.at.id === 1")
    drag(page, "#view", (0.8, 0.8))
    page.until(f"play.tree.branches.length === 2 && {QUIET}", 60)
    branch = session.moments[first.id + 1]
    assert branch.parent.id == 1
    assert page.texts("#list .letter") == ["A", "B"]

    page.choose("#task", "Push the T block up.")
    page.click("#do")
    page.until("play.acting && play.acting.policy && play.tail.by === 'model'", 60)
    assert page.texts("#do") == ["Stop it"]
    page.click("#do")
    page.until(QUIET, 60)
    last = session.moments[-1]
    assert (last.by, last.task) == ("model", "Push the T block up.")

    page.click("#compare")
    page.until("document.querySelectorAll('#compared canvas').length === 2")
    assert page.texts("#compared figcaption") == ["Branch A", "Branch B"]

    page.click("[data-save='1']")
    page.until("document.querySelectorAll('#list a.saved').length === 1", 60)
    record = records.read(session.directory / session.saved[last.id])
    assert record.done
    assert record.samples[0].arrays["video"]["shape"][0] == 4 * (len(last.path) - 1) + 1
    linked = page.run("document.querySelector('#list a.saved').href")
    assert page.complaints() == []

    page.open(linked)
    page.ready()
    assert "Closed loop" in page.texts("h1")[0]
    assert page.complaints() == []


def test_it_works_by_keyboard_alone(page, session):
    page.run("document.querySelector('#view').focus()")
    page.press(DOWN)
    page.until(f"play.tree.moments.size > 1 && {QUIET}", 60)
    held = session.held(session.moments[0]), session.held(session.moments[1])
    assert held[1][1] > held[0][1]  # further down
    assert held[1][0] == pytest.approx(held[0][0], abs=1e-3)

    page.press(SPACE)  # time runs
    page.until("play.tree.moments.size > 3", 60)
    page.press(SPACE)
    page.until(QUIET, 60)
    still = session.moments[-1]
    np.testing.assert_array_equal(still.proposal, np.tile(held[1], (16, 1)).astype(np.float32))

    page.run("document.querySelector('#map').focus()")
    page.press(HOME, RIGHT)
    page.until("play.at.id === 1")
    page.press(LEFT)
    page.until("play.at.id === 0")
    page.press("p")
    page.until("play.tree.branches.length === 2", 60)
    page.press("s")  # while it acts: it stops, and the branch is saved
    page.until("document.querySelectorAll('#list a.saved').length === 1", 60)
    assert page.texts("#error") == [""]
    assert session.moments[-1].by == "model"


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False)])
def test_it_fits_its_width_in_the_light_and_in_the_dark(width, dark, driver, address, session):
    session.begin()
    page = browser.Page(driver).open(address, width, 844, dark=dark)
    page.until("Boolean(window.play && play.shown)")

    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.run(
        "[...document.querySelectorAll('button, select, input')].filter((e) => e.offsetParent).map((e) => [e.id, e.offsetHeight])"
    )
    assert [name for name, high in sizes if name in ("play", "do", "policy", "task") and high < 38] == []
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(15, 19, 24)") is dark
    assert page.complaints() == []


def test_what_fails_is_one_line_on_the_page_and_time_stands_still(page, session):
    page.choose("#task", "")
    page.click("#do")

    line = page.until("document.querySelector('#error').textContent", 30)

    assert line.startswith("policy=model needs a task")
    assert page.run(QUIET)
    assert len(session.moments) == 1
