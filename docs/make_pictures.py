"""Make the README's pictures from the embedded model: python docs/make_pictures.py (needs Chromium for the page)."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg

IMAGES = Path(__file__).with_name("images")
CHROMIUM = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=6000"),
]


def rollout(folder: Path) -> None:
    """`rollout.gif`: the film of the main job."""
    subprocess.run([sys.executable, "-m", "strands_diffusers", "tracker=none", f"output_dir={folder}"], check=True)
    palette = (
        "fps=10,scale=960:-1:flags=lanczos,split[a][b];[a]palettegen=max_colors=96[p];[b][p]paletteuse=dither=none"
    )
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-y", "-loglevel", "error", "-i", str(folder / "animation.mp4"), "-vf", palette]
    subprocess.run([*command, str(IMAGES / "rollout.gif")], check=True)


def page(folder: Path) -> None:
    """`report.png`: the page of a sweep over tasks and seeds."""
    sweep = ["-m", "experiment=glob(pusht_gallery_*)", "seed=0,1,2,3", "tracker=none", f"output_dir={folder}"]
    subprocess.run([sys.executable, "-m", "strands_diffusers", *sweep], check=True)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium here: report.png was not made")
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", "--window-size=1280,900", f"--screenshot={IMAGES / 'report.png'}"]
        subprocess.run([browser, *CHROMIUM, *options, f"file://{folder}/index.html"], check=True)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        rollout(Path(temporary) / "rollout")
        page(Path(temporary) / "sweep")
