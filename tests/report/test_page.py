"""The page as a person uses it: opened in a browser, played, filtered, sorted, by pointer and by keyboard."""

import json
import re
import time

import browser
import pytest
from PIL import Image

from strands_diffusers import records
from strands_diffusers.records import Problem
from strands_diffusers.report import write_report

from .conftest import QUOTES, SCRIPT, copy_job, fail_job, rewrite, with_samples

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

TAB, ENTER, ESCAPE, SPACE = "\ue004", "\ue007", "\ue00c", " "
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
RATE = 10  # [Hz], of the embedded model's films


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = browser.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver):
    return browser.Page(driver)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("count", [3, 24, 200])
def test_it_opens_within_a_second_fits_its_width_and_says_nothing_on_the_console(count, width, page, sweep):
    path = write_report(sweep(count))
    for _ in range(3):  # once of three times: other work on this machine is no fault of the page
        page.open(path, width)
        page.ready()
        seconds = page.run("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
        if seconds < 1.0:
            break

    assert seconds < 1.0
    assert len(page.cards()) == count
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints() == []


def test_only_films_near_the_window_are_loaded(page, sweep):
    page.open(write_report(sweep(200)))
    page.ready()
    first = page.run("[...document.querySelectorAll('video')].map((video) => video.src)")

    page.run("document.querySelector('#gallery').lastElementChild.scrollIntoView({block: 'end'})")
    page.until("!document.querySelector('.card').querySelector('video')")
    page.ready()

    last = page.run("[...document.querySelectorAll('video')].map((video) => video.src)")
    assert 0 < len(first) < 60
    assert 0 < len(last) < 60
    assert not set(first) & set(last)


def test_films_play_in_step_and_start_again(page, sweep):
    page.open(write_report(sweep(24)), still=False)
    page.ready()
    page.until("document.querySelector('video').currentTime > 0.2")
    apart, seen = [], []
    for _ in range(40):
        times = page.times()
        apart.append(max(times) - min(times))
        seen.append(times[0])
        time.sleep(0.03)

    assert len(times) > 3
    assert sorted(apart)[len(apart) // 2] < 1 / RATE
    assert max(seen) > min(seen) + 0.3
    page.until("document.querySelector('video').currentTime > 1.2")
    page.until("document.querySelector('video').currentTime < 0.6")


def test_space_plays_and_pauses_and_frames_are_stepped_exactly(page, sweep):
    page.open(write_report(sweep(3)))
    page.ready()
    assert page.run("[...document.querySelectorAll('video')].every((video) => video.paused)")

    page.press(SPACE)
    page.every_film("!video.paused")
    page.press(SPACE)
    page.every_film("video.paused")
    page.choose(".scrub", "0")
    page.press(".", ".", ".", RIGHT, ",")

    page.until("document.querySelector('.time').textContent.startsWith('0.3')")
    page.until(lambda: all(3 / RATE <= at < 4 / RATE for at in page.times()))


def test_the_scrub_bar_and_the_speed_move_every_film(page, sweep):
    page.open(write_report(sweep(3)))
    page.ready()

    page.choose(".scrub", "1.25")
    page.until(lambda: all(abs(at - 1.25) < 0.5 / RATE for at in page.times()))
    page.choose("#bar select", "0.25")
    page.press(SPACE)

    page.until(
        "[...document.querySelectorAll('video')].every((video) => video.playbackRate > 0.1 && video.playbackRate < 0.45)"
    )


def test_another_film_or_picture_can_be_shown(page, sweep):
    page.open(write_report(sweep(3)))
    page.ready()

    page.click("#controls [data-value=comparison]")
    page.ready()
    films = page.run("[...document.querySelectorAll('video')].map((video) => video.src.split('/').pop())")
    page.click("#controls [data-value=timeseries]")
    page.until(
        "[...document.querySelectorAll('.frame img')].filter((image) => image.complete && image.naturalWidth).length === 3"
    )

    assert films == ["comparison.mp4"] * 3
    assert page.all("video") == []
    assert not page.run("document.querySelector('#bar').offsetParent")


def test_jobs_are_grouped_by_any_override(page, sweep):
    page.open(write_report(sweep(24)))

    assert page.texts(".group h2 > span") == ["guidance_scale 1", "guidance_scale 3"]
    page.choose("#group", "1")

    assert page.texts(".group h2 > span") == [f"seed {seed}" for seed in range(12)]
    assert (
        page.run("[...document.querySelectorAll('.group')].map((group) => group.querySelectorAll('.card').length)")
        == [2] * 12
    )


def test_filters_by_override_and_status_narrow_gallery_and_table(page, sweep, real_job):
    directory = sweep(24)
    fail_job(directory / "24", real_job, 11, "RolloutError: out of memory")
    page.open(write_report(directory))

    page.open_menu("seed")
    page.click("#controls .menu[open] .all .plain", 1)  # none
    assert page.cards() == []
    assert "No job passes" in page.one("#gallery").text
    page.click("#controls .menu[open] input", 11)
    assert sorted(page.cards(), key=int) == ["11", "23", "24"]
    assert page.rows() == ["11", "23", "24"]
    page.press(ESCAPE)
    page.open_menu("status")
    page.click("#controls .menu[open] input", 0)
    assert page.cards() == ["24"]
    assert page.one("#count").text == "1 of 25"


def test_columns_sort_both_ways_mark_the_best_and_order_the_gallery(page, sweep):
    directory = sweep(24)
    psnr = {str(n): records.read(directory / str(n)).metrics["video"]["psnr"] for n in range(24)}
    best_first = sorted(psnr, key=psnr.get, reverse=True)
    page.open(write_report(directory))
    page.choose("#group", "-1")
    header = "#table th[data-key='metric:0']"

    page.click(f"{header} button")
    assert (page.rows(), page.cards()) == (best_first, best_first)
    assert page.one(header).get_attribute("aria-sort") == "descending"
    page.click(f"{header} button")
    assert page.rows() == best_first[::-1]
    assert page.one(header).get_attribute("aria-sort") == "ascending"

    mse = next(th for th in page.all("#table th") if "mse" in th.text).get_attribute("data-key")
    assert [job for job, _, best in page.column("metric:0") if best] == [best_first[0]]
    assert [job for job, _, best in page.column(mse) if best] == [min(page.column(mse), key=lambda row: row[1])[0]]


def test_further_metrics_can_be_added_as_columns(page, sweep):
    page.open(write_report(sweep(3)))
    before = page.texts("#table th span")

    page.click("#table .menu summary")
    page.click("#table .check input", page.texts("#table .check span").index("video.frames"))

    assert len(page.texts("#table th span")) == len(before) + 1
    assert any("frames" in text for text in page.texts("#table th span"))


def test_the_keyboard_reaches_a_job_moves_between_jobs_opens_and_comes_back(page, sweep):
    page.open(write_report(sweep(24)))
    page.ready()
    focused = "document.activeElement.closest('.card')?.dataset.job"
    for _ in range(40):
        page.press(TAB)
        if page.run(focused):
            break

    assert page.run(focused) == "0"
    assert page.run("getComputedStyle(document.activeElement, '::after').outlineStyle") == "solid"
    page.press(RIGHT, RIGHT)
    assert page.run(focused) == "2"
    page.press(DOWN)
    below = int(page.run(focused))
    assert below > 2
    left = [card.rect["x"] for card in page.all(".card")]
    assert abs(left[below] - left[2]) < 5
    page.press(UP, LEFT)
    assert page.run(focused) == "1"

    page.press(ENTER)
    assert page.one("#detail-title").text.strip() == "1"
    page.press(RIGHT)
    assert page.one("#detail-title").text.strip() == "2"
    page.press(SPACE)
    page.until("document.querySelector('#detail video').currentTime > 0.1")
    page.press(ESCAPE)
    page.until("!document.querySelector('#detail').open")
    assert page.run(focused) == "2"


def test_a_job_s_sheet_has_its_curves_numbers_files_and_what_differs(page, sweep):
    directory = sweep(3)
    page.open(write_report(directory))
    page.click(".open", 1)

    assert page.texts("#detail .panel figcaption > span:first-child") == ["target position px · dashed: observed"]
    assert page.texts("#detail .legend b") == ["x", "y"]
    assert page.all("#detail .panel polyline")
    links = page.run("[...document.querySelectorAll('#detail .files a')].map((link) => link.getAttribute('href'))")
    assert all((directory / link).is_file() for link in links)
    assert {"./1/video.mp4", "./1/action.json", "./1/manifest.json"} <= set(links)
    assert "psnr" in page.all("#detail .measured")[0].text
    assert page.texts("#detail .rows dt")[0] == "seed"
    assert any("engine.effective" in text for text in page.texts("#detail .rows dt"))


def test_values_appear_where_one_points_at_a_strip(page, sweep):
    directory = sweep(3)
    page.open(write_report(directory))
    page.until("document.querySelector('.strip svg')")
    rows = json.loads((directory / "0" / "action_physical.json").read_text())["action"][0]

    page.point(".strip", 4.5 / 16)

    text = page.one("#tip").text.replace("\u2212", "-")
    x, y = (float(value) for value in re.findall(r"[xy] (-?[\d.]+)", text))
    assert "step 4" in text
    assert "px" in text
    assert (x, y) == pytest.approx(rows[4], rel=0.01)


def test_dark_follows_the_system_and_can_be_switched(page, sweep):
    path = write_report(sweep(3))
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.open(path).run(paper)
    dark = page.open(path, dark=True).run(paper)

    page.click(".theme")
    switched = page.run(paper)
    page.press("d")

    assert light == "rgb(255, 255, 255)"
    assert dark != light
    assert switched == light
    assert page.run(paper) == dark


@pytest.mark.parametrize("width", [1280, 390])
def test_markup_and_quotes_in_a_prompt_a_path_or_an_error_do_nothing(width, page, real_job, tmp_path):
    directory = tmp_path / "sweep <b>&"
    names = ["0", "1 #?%&'\"<i>x"]
    for seed, (name, prompt) in enumerate(zip(names, (SCRIPT, QUOTES), strict=True)):
        copy_job(real_job, directory / name, seed, prompt)
    fail_job(directory / "2", real_job, 2, f"ConfigError: {QUOTES}", SCRIPT)

    page.open(write_report(directory), width)
    page.ready()
    for name, prompt in zip(names, (SCRIPT, QUOTES), strict=True):
        page.click(".open", page.cards().index(name))
        page.until("document.querySelector('#detail video').readyState >= 2")  # plays, whatever its folder is called
        assert page.one("#detail blockquote").text == f"“{prompt}”".strip("“”")
        page.press(ESCAPE)
        page.until("!document.querySelector('#detail').open")

    assert page.run("document.querySelectorAll('script').length") == 2
    assert page.all("img[src=x], #gallery .card b, #gallery i i, #failed i") == []
    assert page.complaints() == []
    assert any(QUOTES in text for text in page.texts("#failed p"))
    assert page.run("document.title") == "sweep <b>&"


def test_a_film_that_is_gone_says_so_and_a_failed_job_says_why(page, sweep, real_job):
    directory = sweep(3)
    fail_job(directory / "3", real_job, 3, "RolloutError: CUDA out of memory.")
    path = write_report(directory)
    (directory / "1" / "video.mp4").unlink()

    page.open(path)
    page.until("document.querySelector('.card[data-job=\"1\"] .hole')")

    assert "video.mp4 cannot be shown" in page.one(".card[data-job='1'] .hole").text
    assert "failed · generate" in page.one(".card[data-job='3'] .hole").text
    assert "CUDA out of memory." in page.one("#failed li p").text
    assert page.one("#failed li a").get_attribute("href").endswith("/3/failure.json")


def test_the_page_of_one_job_is_its_sheet(page, job):
    page.open(write_report(job), still=False)
    page.ready()

    page.until("document.querySelector('#gallery .stage video').currentTime > 0.2")

    assert page.texts("#gallery .legend b") == ["x", "y"]
    assert page.one("#gallery .files").text
    assert not page.one("#table").is_displayed()


def test_verdicts_and_tables_of_an_evaluation_stand_on_the_page(page, sweep):
    directory = sweep(3)
    verdict = {"name": "seed_spread", "verdict": "Seeds agree.", "holds": True, "numbers": {"spread_px": 12.25}}
    tables = [{"name": "psnr", "columns": ["mode", "mean"], "rows": [["policy", 21.5]]}]
    (directory / "sweep.json").write_text(json.dumps({"schema_version": 2, "verdicts": [verdict], "tables": tables}))

    page.open(write_report(directory))

    assert page.one(".verdict").text.splitlines() == ["seed spreadpasses", "Seeds agree.", "The numbers"]
    page.click(".verdict summary")
    assert page.one(".numbers").text.split() == ["spread", "px", "12.25"]
    assert page.one("#tables tbody").text.split() == ["policy", "21.5"]


def test_a_picture_of_the_whole_sweep_stands_below_its_tables(page, sweep):
    directory = sweep(3)
    Image.new("RGB", (1600, 720), "white").save(directory / "horizon.png")
    record = {"schema_version": 2, "jobs": [], "pictures": [{"name": "error along the horizon", "path": "horizon.png"}]}
    (directory / "sweep.json").write_text(json.dumps(record))

    page.open(write_report(directory))
    page.run("document.querySelector('.picture').scrollIntoView()")

    page.until("document.querySelector('.picture img').naturalWidth === 1600")
    assert page.texts("#tables h2") == ["error along the horizon"]
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_the_actions_that_drove_a_film_are_drawn_below_it_and_called_given(page, driven):
    page.open(write_report(driven))

    page.until("document.querySelector('.panel polyline')")

    assert page.texts(".panel figcaption small") == [" px · given"]
    assert page.texts(".legend b") == ["x", "y"]


def test_a_link_opens_a_job_and_the_page_names_the_job_that_is_open(page, sweep, driver):
    path = write_report(sweep(3))
    page.open(path)
    driver.get(f"{path.as_uri()}#job=2")

    page.until("document.querySelector('#detail').open")
    assert page.one("#detail .top .number").text == "2"
    page.press(LEFT)
    assert page.run("location.hash") == "#job=1"
    page.press(ESCAPE)
    page.until("!document.querySelector('#detail').open")
    page.until("location.hash === ''")  # the close event comes after the dialog is closed


def test_a_sheet_holds_one_line_that_makes_the_job_again(page, sweep):
    page.open(write_report(sweep(3)))
    page.click("#gallery .open", 1)

    assert page.one("#detail .command code").text == "strands-diffusers seed=1 tracker=none"
    page.click("#detail .command button")
    page.until("['Copied', 'Selected'].includes(document.querySelector('#detail .command button').textContent)")
    assert page.all("#detail .observed img")


def test_each_sample_shows_its_own_score_and_the_table_says_that_its_numbers_are_means(page, job):
    sweep = job.parent / "sweep"
    copy_job(job, sweep / "0", 0)
    copy_job(job, sweep / "1", 1)
    own = records.read(sweep / "0").metrics["video"]["psnr"]
    with_samples(sweep / "0", 2)

    page.open(write_report(sweep))

    shown = [float(text.split()[0]) for text in page.texts("#gallery .card[data-job='0'] .metric")]
    assert shown == pytest.approx([own, 2 * own], rel=1e-3)
    assert "each number is the mean over the samples of its job" in page.one("#table .heading").text
    assert {row[0]: row[1] for row in page.column("metric:0")}["0"] == pytest.approx(1.5 * own)
    page.click("#gallery .card[data-job='0'] .open", 1)
    assert f"mean of 2 samples {1.5 * own:.4g}" in page.all("#detail .measured")[0].text


def test_best_is_marked_within_a_prompt_and_never_across_prompts(page, real_job, tmp_path):
    for number, prompt in enumerate(("left", "left", "right", "right", "up")):
        copy_job(real_job, tmp_path / "sweep" / str(number), number, prompt)

    page.open(write_report(tmp_path / "sweep"))

    column = page.column("metric:0")
    best = [job for job, _, mark in column if mark]
    assert sorted(best) == sorted(max(pair, key=lambda row: row[1])[0] for pair in (column[:2], column[2:4]))
    assert "best of one prompt, observation and condition" in page.one("#table .heading").text
    assert not page.all("#charts td.best")


def test_a_job_with_problems_is_named_on_its_card_and_at_the_top(page, sweep):
    directory = sweep(3)
    rewrite(directory / "1", problems=(Problem("metric jerk", "ValueError: no"),))

    page.open(write_report(directory))

    assert "1 done with problems" in page.one("#head").text
    assert "metric jerk: ValueError: no" in page.one("#problems").text
    assert "metric jerk: ValueError: no" in page.one("#gallery .card[data-job='1'] .reason").text


def test_scores_are_drawn_against_the_swept_key_for_the_chosen_metric(page, sweep):
    page.open(write_report(sweep(24)))

    assert len(page.all("#charts circle.dot")) == 24
    assert len(page.all("#charts path.interval")) == 2
    first = page.texts("#charts tbody td")
    page.choose("#score", page.run("document.querySelector('#score').options[1].value"))
    page.until("document.querySelectorAll('#charts rect.mean').length === 2")
    assert page.texts("#charts tbody td") != first
    page.click("#charts circle.dot", 5)
    assert page.run("document.querySelector('#detail').open")


def test_short_videos_play_at_half_speed_until_another_is_chosen(page, sweep):
    page.open(write_report(sweep(3)))

    assert page.run("document.querySelector('#speed').value") == "0.5"
    page.choose("#speed", "2")
    page.click("#controls [data-value=comparison]")
    assert page.run("document.querySelector('#speed').value") == "2"


def test_the_observed_actions_are_dashed_below_the_video_and_in_the_sheet(page, sweep):
    page.open(write_report(sweep(3)))
    page.until("document.querySelectorAll('.strip polyline.truth').length === 6")

    assert "observed" in page.one("#gallery > .key").text
    page.click("#gallery .open", 0)
    assert len(page.all("#detail .panel polyline.truth")) == 2


def test_html_of_a_plugin_is_shown_and_runs_nothing(page, sweep, monkeypatch):
    from strands_diffusers.report import content

    html = "<h3 id='mine'>Mine</h3><script>parent.document.title = 'owned'</script><img src=x onerror='parent.document.title=1'>"
    monkeypatch.setattr(content, "panels", lambda *_: [{"title": "Mine", "html": html}])
    path = write_report(sweep(3))

    page.open(path)
    page.run("document.querySelector('iframe').scrollIntoView()")
    page.until("Boolean(document.querySelector('iframe').contentDocument?.querySelector('#mine'))")

    time.sleep(0.2)
    assert page.run("document.title") == "sweep_3"
    assert page.run("document.querySelector('iframe').getBoundingClientRect().height") < 200


def test_a_link_names_a_moment(page, sweep, driver):
    path = write_report(sweep(3))
    page.open(path, still=False)
    driver.get(f"{path.as_uri()}#t=0.8")
    page.ready()

    page.until(lambda: all(abs(at - 0.8) < 0.5 / RATE for at in page.times()))
    assert page.run("document.querySelector('.time').textContent").startswith("0.8")
