"""`python -m experiments.gpu_day.wheels --have FILE --into .whl`: what a machine without a network lacks, as wheels in batches.

Versions are those of this environment, which has everything installed. `start.sh` there installs the batches. FILE is what
`python -m pip list --format=freeze` prints there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

ROOTS = ("strands-diffusers", "gym-pusht", "torchao", "pytest", "pytest-timeout", "hypothesis")
SMALLER = {"imageio-ffmpeg": "0.6.0"}
"""Releases to take in the place of this environment's: a third of the size."""

NEWER = ("typing-extensions",)
"""Taken along even where the machine has one: it may be too old."""

SAME = {"opencv-python-headless": "opencv-python"}
"""What a machine has under another name."""

MANYLINUX = ("1", "2010", "2014", *(f"_2_{minor}" for minor in (5, 12, 17, 24, 26, 27, 28, 31, 34, 35)))
"""glibc versions of wheels that run on a current Linux."""


def name_of(text: str) -> str:
    """The normalised name of `Some_Package==1.0`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>@ \[;]", text.strip(), maxsplit=1)[0]).lower()


def lacking(roots: Iterable[str], have: set[str], python: str) -> list[str]:
    """Names of all that the roots need and the machine does not have, the roots' own included."""
    target = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": ""}
    target |= {"platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    found: dict[str, None] = {}
    queue = list(map(name_of, roots))
    while queue:
        name = queue.pop()
        if name in found or (name in have and name not in NEWER):
            continue
        found[name] = None
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed here: its newest release, whose needs the machine has to have
        wanted = (need for need in map(Requirement, needs) if need.marker is None or need.marker.evaluate(target))
        queue.extend(name_of(need.name) for need in wanted)
    return sorted(set(found) - {"strands-diffusers"})


def batches(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Names in batches of at most `limit` bytes, the largest first."""
    found: list[list[str]] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        fits = (batch for batch in found if sum(sizes[other] for other in batch) + sizes[name] <= limit)
        batch = next(fits, None)
        if batch is None:
            found.append([name])
        else:
            batch.append(name)
    return found


def download(name: str, into: Path, python: str) -> None:
    """The wheel of one package for the machine; one is built where there is none, which must be pure Python."""
    try:
        wanted = f"{name}=={SMALLER.get(name) or importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        wanted = name
    pip = [sys.executable, "-m", "pip"]
    there = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    there += [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
    there += [f"--platform=manylinux{tag}_x86_64" for tag in MANYLINUX]
    found = subprocess.run(
        [*pip, "download", "-q", "--no-deps", *there, "-d", str(into), wanted], check=False, capture_output=True
    )
    if found.returncode:
        subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(into), wanted], check=True)


def main() -> None:
    """Download, and sort into batches."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu_day.wheels", description=__doc__)
    parser.add_argument("--have", type=Path, default=Path(__file__).parent / "have.txt", help="what the machine has")
    parser.add_argument("--into", type=Path, default=Path(".whl"))
    parser.add_argument("--python", default="3.12", help="its version there")
    parser.add_argument("--mb", type=float, default=34, help="size of a batch, so that it travels with the checkout")
    options = parser.parse_args()
    names = [name_of(line) for line in options.have.read_text().splitlines() if line.strip() and line[0] != "#"]
    have = {*names, *(SAME[name] for name in names if name in SAME)}
    options.into.mkdir(parents=True, exist_ok=True)
    for name in lacking(ROOTS, have, options.python):
        download(name, options.into, options.python)
    plugins = [
        str(Path(__file__).parents[2] / "plugins" / name) for name in ("engines", "pusht", "training")
    ]  # entry points: installed
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(options.into), *plugins], check=True
    )
    wheels = {path.name: path.stat().st_size for path in options.into.glob("*.whl")}
    for number, batch in enumerate(batches(wheels, int(options.mb * 1e6)), 1):
        folder = options.into / str(number)
        folder.mkdir(exist_ok=True)
        for name in batch:
            (options.into / name).replace(folder / name)
        print(f"{folder}: {sum(wheels[name] for name in batch) / 1e6:.1f} MB, {len(batch)} wheels")


if __name__ == "__main__":
    main()
