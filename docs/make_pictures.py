"""Make the pictures of README, docs and plugins anew from the shipped model: python docs/make_pictures.py [NAME ...].

Names: rollout, report, closed_loop, play, dataset, acting, viewer, dashboard; all of them without one. The last six need their
plugins; `report`, `play`, `viewer` and `dashboard` need Chromium, its driver and selenium (`pip install -e '.[dev]'`).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
IMAGES, PLUGINS = ROOT / "docs" / "images", ROOT / "plugins"
LOOP_TABLE, ACTING_TABLE = 500_002, 500_007
"""The held-out tables of the two pictures of a closed loop."""

PORT = 8797
"""Where `play` listens meanwhile."""

BROWSER = (
    "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--hide-scrollbars", "--force-prefers-reduced-motion",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader",
)  # fmt: skip


def run(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Run `strands-diffusers` without a tracker of its own choice."""
    subprocess.run([sys.executable, "-m", "strands_diffusers", *map(str, arguments)], check=True, cwd=cwd)


def screenshot(
    address: str, path: Path, size: tuple[int, int], wait_s: float, act: Callable[[Any], None] | None = None
) -> None:
    """Save what Chromium shows of a page after `wait_s` seconds, and after `act` did something with it."""
    from selenium import webdriver

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
        for flag in (*BROWSER, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            view = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
            driver.get(address)
            time.sleep(wait_s)
            if act:
                act(driver)
                time.sleep(wait_s / 2)
            driver.save_screenshot(str(path))
        finally:
            driver.quit()


@contextlib.contextmanager
def served(*command: str, **environment: str) -> Iterator[None]:
    """Run a server while the block runs."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        time.sleep(10)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the command may be a wrapper around the server
        process.wait()


def rollout(folder: Path) -> None:
    """`rollout.gif`: the video of `observation=sample:push_up seed=1` beside its actions, at half speed; its last frame is held."""
    run("observation=sample:push_up", "seed=1", "tracker=none", f"output_dir={folder}")
    look = (
        "setpts=2*PTS,tpad=stop_mode=clone:stop_duration=1.2,fps=5,scale=960:-1:flags=lanczos,"
        "split[a][b];[a]palettegen=max_colors=96[p];[b][p]paletteuse=dither=none"
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(folder / "animation.mp4")]
    subprocess.run([*command, "-vf", look, str(IMAGES / "rollout.gif")], check=True)


def report(folder: Path) -> None:
    """`report.png`: the page of a sweep over tasks and seeds, 0.8 s into its videos."""
    sweep = folder / "three_tasks"
    tasks = 'prompt="Push the T block to the left.","Push the T block to the right.","Push the T block up."'
    run("-m", tasks, "seed=range(0,6)", "tracker=none", f"output_dir={sweep}")

    def small(driver: Any) -> None:
        driver.find_element("css selector", "#controls [data-value=small]").click()

    screenshot(f"{(sweep / 'index.html').as_uri()}#t=0.8", IMAGES / "report.png", (1280, 1180), 4, small)


def closed_loop(folder: Path) -> None:
    """`closed_loop.png`: the expert acting in the model, the simulator under the same actions, and where the two part."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from strands_diffusers import rollout
    from strands_diffusers.metrics.horizon import psnr_per_look

    looks, steps, least_db = 12, 8, 25.0
    loop = (
        "condition=closed_loop",
        "world=model",
        "world.reference=pusht",
        "policy=pusht_expert",
        "score=[pusht_coverage]",
    )
    sizes = (
        f"condition.num_looks={looks}",
        f"condition.act_steps={steps}",
        f"observation=pusht:{LOOP_TABLE}@task:goal",
    )
    found = rollout(*loop, *sizes, "tracker=none", "visualizer=[]", output_dir=folder / "loop")
    held, truth, video = found.episode, found.reference_video, found.video
    assert held is not None
    assert truth is not None
    assert video is not None
    psnr, name = psnr_per_look(found), "pusht_coverage"
    assert psnr is not None
    trusted = next((k for k, value in enumerate(psnr) if value < least_db), looks)
    times = np.arange(len(video)) / 10
    figure, shown = Figure(figsize=(12.4, 5.9), dpi=100), list(range(0, len(video), 2 * steps))
    FigureCanvasAgg(figure)
    with mpl.rc_context({"font.size": 9}):
        for row, (label, frames) in enumerate((("simulator", truth), ("model", video))):
            base = 0.675 - 0.292 * row
            figure.text(0.012, base + 0.14, label, rotation=90, va="center", weight="bold", fontsize=11)
            for place, frame in enumerate(shown):
                axes = figure.add_axes((0.03 + 0.138 * place, base, 0.133, 0.28))
                axes.imshow(frames[frame])
                axes.set(xticks=[], yticks=[])
                beyond = frame > trusted * steps and label == "model"
                for spine in axes.spines.values():
                    spine.set(color="#d1440c" if beyond else "#bbbbbb", linewidth=2 if beyond else 1)
                if not row:
                    axes.set_title(f"{frame / 10:.1f} s   look {min(frame // steps + 1, looks)}", fontsize=9)
        curves = figure.add_axes((0.055, 0.085, 0.43, 0.22))
        curves.plot(times, held.reference_scores[name].values, color="#444444", label="simulator")
        curves.plot(times, held.scores[name].values, color="#0b63ad", label="model")
        curves.set_title("coverage of the target", loc="left", fontsize=10)
        curves.set(ylim=(0, 1), xlim=(0, times[-1]), xlabel="time [s]")
        curves.legend(frameon=False, fontsize=9, loc="upper right")
        apart = figure.add_axes((0.545, 0.085, 0.43, 0.22))
        apart.plot((np.arange(looks) + 1) * steps / 10, psnr, color="#0b63ad", marker="o", markersize=4)
        apart.axhline(least_db, color="#999999", linewidth=0.8)
        apart.set_title("likeness of the two, PSNR at each look [dB]", loc="left", fontsize=10)
        apart.set(xlim=(0, times[-1]), xlabel="time [s]")
        for axes in (curves, apart):
            axes.axvline(trusted * steps / 10, color="#d1440c", linestyle=":", linewidth=2)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "closed_loop.png")


def play(folder: Path) -> None:
    """`play.png`: a session of three branches, two of the model's policy and one of a person who is dragging, beside the simulator."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    def session(driver: Any) -> None:
        def until(what: str) -> None:
            WebDriverWait(driver, 120).until(lambda _: driver.execute_script(f"return Boolean({what})"))

        def policy(task: str, moments: int) -> None:
            driver.execute_script("document.querySelector('#task').value = arguments[0]; play.doIt()", task)
            until(f"play.tail.depth >= {moments}")
            driver.execute_script("play.pause()")
            until(quiet)

        quiet = "play.shown && !play.acting && !play.pending && !play.queue.length"
        until("window.play && play.shown")

        def to(x: float, y: float) -> ActionChains:
            """Press the pointer down at a place of the picture, as shares of its side from the left and the top."""
            chain = ActionChains(driver)
            return chain.move_to_element_with_offset(
                view, round((x - 0.5) * side), round((y - 0.5) * side)
            ).click_and_hold()

        policy("Push the T block up.", 5)
        driver.execute_script("play.go(1)")
        until("play.at.id === 1")
        policy("Push the T block to the left.", 6)
        driver.execute_script(
            "play.go(0); const speed = document.querySelector('#speed'); speed.value = 16; speed.dispatchEvent(new Event('input'))"
        )  # slowly: a push, not a stroke
        until("play.at.id === 0")
        view = driver.find_element("css selector", "#view")
        side = view.rect["width"]
        for place in ((0.9, 0.93), (0.985, 0.86), (0.985, 0.7)):
            to(*place).release().perform()
            until(quiet)
        driver.execute_script(
            "document.querySelector('#pace').hidden = true"
        )  # the browser takes a part of the machine
        to(0.72, 0.69).perform()
        until("Math.hypot(play.hands.goal[0] - play.tail.point[0], play.hands.goal[1] - play.tail.point[1]) < 9")

    options = (f"play.port={PORT}", "observation=pusht:500051@task:left", "world.reference=pusht", "tracker=none")
    with served(sys.executable, "-m", "strands_diffusers", "play", *options, f"output_dir={folder}"):
        screenshot(f"http://127.0.0.1:{PORT}/", IMAGES / "play.png", (1200, 800), 1, session)


def dataset(folder: Path) -> None:
    """`plugins/lerobot/dataset.png`: two episodes of the dataset that a sweep wrote, read back."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from strands_diffusers.plugin.manager import plugins
    from strands_diffusers.results import ObservationRequest

    seen = "observation=sample:push_right,sample:push_up"
    run("-m", "output=[lerobot]", seen, "seed=1,2", "tracker=none", f"output_dir={folder / 'sweep'}")
    joined = folder / "all_rollouts"
    subprocess.run([sys.executable, "-m", "strands_diffusers_lerobot", str(joined), str(folder / "sweep")], check=True)
    source, shown = plugins().find("source", "lerobot")(), [0, 3, 6, 9, 12, 16]
    figure = Figure(figsize=(9.6, 5.6), dpi=100)
    FigureCanvasAgg(figure)
    with mpl.rc_context({"font.size": 8}):
        for row, episode in enumerate((0, 2)):
            request = ObservationRequest(num_frames=17, domain="pusht", mode="policy")
            read = {c: source.read(f"{joined}@episode:{episode}@camera:{c}", request) for c in ("reference", "world")}
            top = 0.985 - 0.49 * row
            task = read["world"].task
            figure.text(0.012, top, f"episode {episode}   “{task}”", va="top", weight="bold", fontsize=11)
            for line, (camera, observation) in enumerate(read.items()):
                base = top - 0.25 - 0.21 * line
                figure.text(0.012, base + 0.187, f"observation.images.{camera}", fontsize=7.5, color="#444444")
                for place, frame in enumerate(shown):
                    axes = figure.add_axes((0.012 + 0.1 * place, base, 0.096, 0.17))
                    axes.imshow(observation.frames[frame])
                    axes.set_xticks([])
                    axes.set_yticks([])
                    for spine in axes.spines.values():
                        spine.set_color("#dddddd")
            axes = figure.add_axes((0.69, top - 0.44, 0.29, 0.36))
            rows_TD = read["world"].actions
            for column, (name, colour) in enumerate((("target_x", "#0b63ad"), ("target_y", "#d1440c"))):
                axes.plot(np.arange(len(rows_TD)) / 10, rows_TD[:, column], color=colour, marker=".", label=name)
            axes.set_title("action [model space]", loc="left", fontsize=8.5)
            axes.set_ylim(-1.1, 1.1)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize=8, ncols=2)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLUGINS / "lerobot" / "dataset.png")


def acting(folder: Path) -> None:
    """`plugins/pusht/closed_loop.png`: four moments of a policy in the simulator, beside its own video of them."""
    from PIL import ImageDraw, ImageFont

    from strands_diffusers import rollout

    looks, steps, scale = 3, 8, 4
    overrides = ("world=pusht", "policy=model", "score=[pusht_coverage]", f"observation=pusht:{ACTING_TABLE}@task:goal")
    sizes = (f"condition.num_looks={looks}", f"condition.act_steps={steps}")
    quiet = ("tracker=none", "visualizer=[]")
    found = rollout("condition=closed_loop", *overrides, *sizes, *quiet, output_dir=folder / "loop")
    episode = found.episode
    assert found.video is not None
    assert episode is not None
    assert episode.proposed_video is not None
    made = np.concatenate([found.video[:1], *(video[1 : steps + 1] for video in episode.proposed_video)])
    coverage, font, tiles = episode.scores["pusht_coverage"].values, ImageFont.load_default(16), []
    for t in (0, 6, 12, 24):
        side = scale * found.video.shape[1]
        sheet = Image.new("RGB", (2 * side + 8, side + 32), "white")
        pen = ImageDraw.Draw(sheet)
        pen.text((6, 6), f"simulator   {t / 10:4.1f} s   coverage {coverage[t]:.2f}", "black", font)
        pen.text((side + 14, 6), "model" + ("   (then it looks)" if t % steps == 0 else ""), "black", font)
        for x, frame in ((0, found.video[t]), (side + 8, made[t])):
            sheet.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.NEAREST), (x, 32))
        tiles.append(np.asarray(sheet))
    rows = [np.concatenate(pair, axis=1) for pair in (tiles[:2], tiles[2:])]
    Image.fromarray(np.concatenate(rows)).save(PLUGINS / "pusht" / "closed_loop.png")


def viewer(folder: Path) -> None:
    """`plugins/rerun/viewer.png`: a forward-dynamics rollout in Rerun's web viewer, at its end."""
    run("condition=forward_dynamics", "output=[video,rerun]", "tracker=none", f"output_dir={folder}")
    recording, here = folder / "rollout.rrd", "127.0.0.1"
    serve = ["rerun", "--serve-web", "--bind", here, "--port", "9886", "--web-viewer-port", "9096", str(recording)]

    def play(driver: Any) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(driver).move_by_offset(600, 500).click().send_keys(" ").perform()

    with served(*serve):
        address = f"http://{here}:9096/?url=rerun%2Bhttp://{here}:9886/proxy&hide_welcome_screen=true"
        screenshot(address, PLUGINS / "rerun" / "viewer.png", (1200, 760), 45, play)


def dashboard(folder: Path) -> None:
    """`plugins/trackio/dashboard.png`: the media of three forward-dynamics runs."""
    os.environ["TRACKIO_DIR"] = str(folder / "trackio")
    seen = "observation=sample:push_left,sample:push_up,sample:to_goal"
    run(
        "-m",
        "tracker=trackio",
        "visualizer=[trajectory]",
        "condition=forward_dynamics",
        seen,
        f"output_dir={folder / 'sweep'}",
    )

    def media(driver: Any) -> None:
        driver.execute_script("""[...document.querySelectorAll('button, a')].find(
            (element) => element.textContent.trim().startsWith('Media'))?.click()""")

    show = ("trackio", "show", "--project", "strands-diffusers")
    with served(*show, GRADIO_SERVER_PORT="7861", BROWSER="true"):
        address = "http://127.0.0.1:7861/?project=strands-diffusers"
        screenshot(address, PLUGINS / "trackio" / "dashboard.png", (1265, 672), 8, media)


PICTURES = (rollout, report, closed_loop, play, dataset, acting, viewer, dashboard)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [picture.__name__ for picture in PICTURES]
    known = {picture.__name__: picture for picture in PICTURES}
    if unknown := set(wanted) - set(known):
        sys.exit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    IMAGES.mkdir(exist_ok=True)
    for name in wanted:
        with tempfile.TemporaryDirectory() as temporary:
            known[name](Path(temporary) / name)
