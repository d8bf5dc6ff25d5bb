"""A user's own config files, checked before Hydra reads them: one line with file and line number for whatever is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from strands_diffusers.config.typed import key_types
from strands_diffusers.errors import ConfigError

MAX_BYTES, MAX_DEPTH, MAX_ALIASES, MAX_FILES = 1_000_000, 50, 50, 2_000


def check_search_path(overrides: Sequence[str]) -> None:
    """Check the YAML files of every folder that `hydra.searchpath` names. Raises: `ConfigError` for the first wrong one."""
    for override in overrides:
        if override.startswith("hydra.searchpath="):
            for folder in re.findall(r"file://([^\"',\]]+)", override):
                for path in _files(Path(folder)):
                    check_file(path)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ConfigError(f"hydra.searchpath: {folder} is not a folder.")
    for number, path in enumerate(sorted(folder.rglob("*.yaml"))):
        if number >= MAX_FILES:
            raise ConfigError(f"{folder} holds more than {MAX_FILES:,} YAML files. Give a folder of configs alone.")
        yield path


def check_file(path: Path) -> None:
    """Raises: `ConfigError` for a file that is no plain config: too large or deep, tags, several documents, cycles."""
    import yaml

    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes; a config file has at most {MAX_BYTES:,}.")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    depth = aliases = documents = 0
    open_anchors: list[str | None] = []
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            where = f"{path}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ConfigError(f"{where}: a second document begins. Keep one document in a file.")
            if isinstance(event, yaml.AliasEvent):
                aliases += 1
                if event.anchor in open_anchors:
                    raise ConfigError(f"{where}: *{event.anchor} holds itself.")
                if aliases > MAX_ALIASES:
                    raise ConfigError(f"{where}: more than {MAX_ALIASES} aliases. Write the values out.")
            tag = getattr(event, "tag", None)
            if tag and not (isinstance(event, yaml.ScalarEvent) and tag in ("!", "tag:yaml.org,2002:str")):
                raise ConfigError(f"{where}: the tag {tag} is not allowed in a config file.")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                open_anchors.append(event.anchor)
                if depth > MAX_DEPTH:
                    raise ConfigError(f"{where}: nested more than {MAX_DEPTH} levels deep.")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                open_anchors.pop()
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem or 'this is not YAML'}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    _check_defaults(path, text)


def _check_defaults(path: Path, text: str) -> None:
    """The defaults list must be a list of names and of one-entry mappings; the file itself a mapping."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())[:200]}") from error
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{path} holds a {type(value).__name__}; a config file holds keys and values.")
    wrong = [key for key in value or {} if not isinstance(key, str)]
    if wrong:
        raise ConfigError(f"{path}: the key {wrong[0]!r} is not text.")
    if dotted := next((key for key in value or {} if "." in key and key in key_types()), None):
        levels = dotted.split(".")
        raise ConfigError(
            f"{path}: in a file {dotted!r} is written as levels: {': {'.join(levels)}: ...{'}' * (len(levels) - 1)}"
        )
    defaults = (value or {}).get("defaults", [])
    if not isinstance(defaults, list):
        raise ConfigError(f"{path}: defaults must be a list, as `defaults: [{{override /condition: policy}}]`.")
    for entry in defaults:
        if not (isinstance(entry, str) or (isinstance(entry, dict) and len(entry) == 1)):
            raise ConfigError(
                f"{path}: {entry!r} is no entry of a defaults list, such as `- override /condition: policy`."
            )
