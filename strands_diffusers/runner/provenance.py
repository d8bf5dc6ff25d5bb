"""What a reader needs to repeat a job: versions, commit, command."""

import functools
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from strands_diffusers.records import now

PACKAGES = (
    "strands-diffusers", "diffusers", "torch", "transformers", "accelerate", "hydra-core", "omegaconf", "numpy", "wandb",
)  # fmt: skip


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that matter, of Python, and the platform."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """Commit of the checkout that the package runs from (`-dirty` where it has changes), or None outside one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=5, check=True, cwd=folder)
        commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        dirty = run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if dirty else commit


def event(what: str, **facts: Any) -> dict[str, Any]:
    """One line of a record's history: what was done, when, and by which version."""
    return {"what": what, "when": now(), "version": versions().get("strands-diffusers", ""), **facts}


def command() -> list[str]:
    """The command line of this process."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
