"""Write a new plugin package: the example of this project under another name."""

import keyword
import re
import shutil
import uuid
from pathlib import Path

from strands_diffusers.errors import ConfigError
from strands_diffusers.paths import shipped
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import writing

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def new(name: str, directory: Path) -> list[Path]:
    """Write the package `strands_diffusers_<name>` into the new folder `directory / strands-diffusers-<name>`.

    It installs, and passes its own tests. Returns the files, in order of their names.
    Raises: `ConfigError` for a name that cannot be used, or is; `OutputError` where the files cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} is no name for a plugin: use a-z, 0-9 and _, as strands-diffusers plugins new my_plugin."
        )
    if plugins().hooks.has_plugin(name) and name != "example":
        raise ConfigError(f"a plugin called {name} is installed. Choose another name.")
    target = directory / f"strands-diffusers-{name.replace('_', '-')}"
    if target.exists():
        raise ConfigError(f"{target} is there already. Choose another name, or another folder with --into DIR.")
    source = shipped("plugin/template", "plugins/example", "pyproject.toml")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file() and path.suffix != ".pyc"]

    def renamed(text: str) -> str:
        return text.replace("-example", f"-{name.replace('_', '-')}").replace("example", name)

    with writing(target, "Choose another folder with --into DIR."):
        try:
            for file in files:
                path = partial / renamed(str(file))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(renamed((source / file).read_text(encoding="utf-8")), encoding="utf-8")
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return [target / renamed(str(file)) for file in files]
