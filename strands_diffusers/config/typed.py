"""What type each config key has, and overrides whose text values stay what was typed.

Hydra's grammar turns `output_dir=2026_11_27` into a number and refuses `observation=ünï.png`: a key that holds text gets
the text, quoted for Hydra here. What Hydra would silently misread is refused with the corrected line.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from strands_diffusers.config import schema, store
from strands_diffusers.config.conditions import CONDITIONS
from strands_diffusers.config.engines import ENGINES, EngineConfig
from strands_diffusers.errors import ConfigError, near_miss

GROUPS = (
    "model", "condition", "domain", "engine", "policy", "world", "score", "output", "visualizer", "metric", "tracker",
    "experiment",
)  # fmt: skip
"""Config groups whose choices a user names."""

PATHS = (
    "observation",
    "output_dir",
    "resume",
    "sweep.true_scores",
    "condition.actions",
    "policy.actions",
    "policy.repo",
    "policy.predict.repo",
    "world.repo",
    "score.goal_image.goal",
    "model.repo",
    "model.lora.repo",
    "domain.statistics",
)
"""Keys that hold a path or an address: taken as a shell user types them, letters beyond ASCII included."""

RECOMMENDED = "model.recommended"
"""The key whose rows, one per condition, a preset or a user adds."""

_OVERRIDE = re.compile(r"(?P<sign>\+{0,2})(?P<key>[A-Za-z_][\w./@-]*)=(?P<value>.*)", re.DOTALL)
_QUOTED = re.compile(r"\s*(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\s*", re.DOTALL)


@functools.cache
def key_types() -> dict[str, Any]:
    """The type of every config key of the core by its dotted name; keys of choices (`condition.*`) from all of them."""
    found = dict(leaves(schema.RunConfig, ""))
    for cls in (*CONDITIONS.values(), *ENGINES.values()):
        found |= dict(leaves(cls, "engine." if issubclass(cls, EngineConfig) else "condition."))
    for group in (*store.MULTI_SELECT, *store.NAMED, "tracker", "source"):
        for file, choice in ConfigStore.instance().repo.get(group, {}).items():
            prefix = f"{group}." if group in (*store.NAMED, "tracker") else f"{group}.{file.removesuffix('.yaml')}."
            if dataclasses.is_dataclass(content := getattr(choice.node, "content", None)):
                found |= dict(leaves(content, prefix))
    return found


def leaves(cls: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every key of a config dataclass, dotted, with its type."""
    for name, kind in typing.get_type_hints(cls).items():
        if name.startswith("_"):
            continue
        inner = _inner(kind)
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _inner(kind: Any) -> Any:
    """`str` for `str | None`; the type itself otherwise."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        some = [each for each in typing.get_args(kind) if each is not type(None)]
        return some[0] if len(some) == 1 else kind
    return kind


def quoted(text: str) -> str:
    """A value in Hydra's double quotes: only quotes, and backslashes before them or at the end, are escaped."""
    text = re.sub(r"(\\+)$", lambda found: found[1] * 2, text)
    return '"' + re.sub(r'(\\*)"', lambda found: found[1] * 2 + '\\"', text) + '"'


def shell_line(key: str, *values: str) -> str:
    """The override as one would type it in a shell: `'prompt="Put the pot."'`."""
    line = f"{key}={','.join(quoted(value) for value in values)}".replace("'", "'\\''")
    return f"'{line}'"


def as_typed(overrides: Sequence[str], *, multirun: bool = False, types: Mapping[str, Any] | None = None) -> list[str]:
    """The overrides, with text for keys that hold text. Raises: `ConfigError` with the corrected line.

    `multirun`: whether a list of values is a sweep. `types`: of the keys; None: those of a run.
    Overrides of Hydra's own and of config groups pass as they are.
    """
    found: list[str] = []
    previous, seen = "", dict[str, str]()
    for override in overrides:
        match = _OVERRIDE.fullmatch(override)
        if match is None:
            if not override.startswith("~"):
                _refuse_word(override, previous, overrides)
            found.append(override)
            continue
        sign, key, value = match["sign"], match["key"], match["value"]
        previous = override
        if not sign and "@" not in key and seen.setdefault(key, override) != override:
            raise ConfigError(f"{key} is given twice: {seen[key]} and {override}. Give it once.")
        if key == RECOMMENDED and value[:1] == "{":  # rows are added to it, which Hydra does behind a plus alone
            found.append(f"+{key}={value}")
            continue
        if sign and not key.startswith("hydra") and key.partition(".")[0] not in ("source",):
            _refuse_append(key, override)
        if key in store.MULTI_SELECT and (
            wrong := re.search(r"[\[,]\s*(\d[\w.]*|null|nan|inf|true|false)\s*[\],]", value, re.I)
        ):
            raise ConfigError(f"{override}: {wrong[1]} is no choice of {key}. See strands-diffusers plugins.")
        kind = (key_types() if types is None else types).get(key)
        if kind is str:
            found.append(f"{key}={_text(key, value, multirun)}")
        else:
            found.append(f"{key}={_texts(value)}" if kind == list[str] else override)
    return found


def _refuse_append(key: str, override: str) -> None:
    """`+key=` adds keys that nothing reads; in groups of several choices it adds a choice."""
    if key in GROUPS:
        return
    if key.startswith(f"{RECOMMENDED}."):
        line = nested(RECOMMENDED, key, override.partition("=")[2])
        raise ConfigError(f"{override}: its rows are given as a whole. Type '{line}'.")
    known = key in key_types()
    hint = f" Type {key}=..., without the plus." if known else near_miss(key, key_types())
    raise ConfigError(f"{override}: {'it is a config key already' if known else 'nothing reads such a key'}.{hint}")


def nested(name: str, key: str, value: str) -> str:
    """The override that gives the mapping `name` as a whole: `a={b:{c:1}}` for the key `a.b.c`."""
    for part in reversed(key.removeprefix(f"{name}.").split(".")):
        value = f"{{{part}:{value}}}"
    return f"{name}={value}"


def _refuse_word(word: str, previous: str, overrides: Sequence[str]) -> None:
    """A word without `=`: a flag of another program, or the rest of a text that the shell took apart."""
    if word.startswith("--") and "=" in word:
        raise ConfigError(f"{word}: overrides have no dashes. Type {word.lstrip('-')}.")
    key, _, start = previous.partition("=")
    if key_types().get(key) is str and start[:1] not in "'\"":
        words = list(overrides)[list(overrides).index(previous) + 1 :]
        rest = itertools.takewhile(lambda each: not _OVERRIDE.fullmatch(each), words)
        raise ConfigError(
            f"{word!r} is not an override: the shell took the value of {key} apart. "
            f"Quote it for Hydra and for the shell: {shell_line(key, ' '.join([start, *rest]))}"
        )
    raise ConfigError(
        f"{word!r} is not an override. Overrides are KEY=VALUE (seed=1, model=cosmos3_nano); see strands-diffusers --help."
    )


def unescaped(value: str) -> str:
    """A value without the backslashes that Hydra's grammar puts before its own characters where there are no quotes."""
    return re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", value)


def _texts(value: str) -> str:
    """A list of plain words in Hydra's grammar: each stays what was typed. Lists with quotes in them pass as they are."""
    words = re.fullmatch(r"\[([^\[\]{}()'\"\\$]+)\]", value)
    return value if words is None else f"[{','.join(quoted(word.strip()) for word in words[1].split(','))}]"


def _text(key: str, value: str, multirun: bool) -> str:
    """A text key's value in Hydra's grammar."""
    if value in ("", "null") or _QUOTED.fullmatch(value):
        return value
    pieces = [value]
    if multirun and re.fullmatch(r"(?:choice|glob|range|interval|sort|shuffle|tag)\(.*\)", value, re.DOTALL):
        return value
    if value[:1] in "[{":
        raise ConfigError(f"{key} must be text, got {value}. Type {shell_line(key, value.strip('[]{}'))}")
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
        swept = parsed.is_sweep_override()
    except HydraException as error:
        if key not in PATHS:
            raise ConfigError(
                f"Hydra cannot read {key}={value!r}. Quote the value for Hydra and for the shell: {shell_line(key, value)}"
            ) from error
        swept = multirun and "," in value
    if swept and re.search(r"['\"]", value):
        return value  # each value is quoted by the user
    if swept and (multirun or key not in PATHS):
        pieces = value.split(",")
        if key not in PATHS and (not multirun or any(" " in piece.strip() for piece in pieces)):
            several = f"; for several: {shell_line(key, *(p.strip() for p in pieces))}" if multirun else ""
            raise ConfigError(f"{key}={value!r} has a comma. For one text type {shell_line(key, value)}{several}")
    return ",".join(quoted(unescaped(piece)) for piece in pieces)
