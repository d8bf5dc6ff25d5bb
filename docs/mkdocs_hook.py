"""Hook of the documentation site: what GitHub shows as it is and mkdocs does not."""

import logging
import os
import re
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.hooks.links")
ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^( *```+)(\w+)[ \t]+[^\n`{]+$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Send links that leave docs/ to the repository, and take off the marks that tests read in fences (```bash gpu)."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent
    if page.file.src_uri == "contributing.md":  # the file that GitHub shows, at the repository's root
        folder, markdown = ROOT, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    def replace(match: re.Match[str]) -> str:
        image, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if "://" in target:
            return match[0]
        path = (folder / target).resolve()
        if path.is_relative_to(config.docs_dir) and (path.suffix != ".py" or not path.exists()):
            inside = os.path.relpath(path, Path(config.docs_dir) / Path(page.file.src_uri).parent)
            return f"{image}[{text}]({Path(inside).as_posix()}{anchor})"
        if not path.exists() or not path.is_relative_to(ROOT):
            log.warning("%s links to %s, which is not there", page.file.src_uri, target)
            return match[0]
        kind = "raw" if image else "tree" if path.is_dir() else "blob"
        return f"{image}[{text}]({config.repo_url}/{kind}/main/{path.relative_to(ROOT).as_posix()}{anchor})"

    return _LINK.sub(replace, _FENCE.sub(r"\1\2", markdown))
