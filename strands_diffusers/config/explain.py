"""Turn the errors of Hydra and OmegaConf into one clear line with what to type instead."""

import dataclasses
import re
import typing
from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore

from strands_diffusers import domains
from strands_diffusers.config import packages, store
from strands_diffusers.config.typed import GROUPS, RECOMMENDED, key_types, nested, shell_line
from strands_diffusers.errors import ConfigError, near_miss, one_line


def explain(error: Exception, overrides: Sequence[str] = ()) -> ConfigError:
    """Return the `ConfigError` that says the same as `error` in one line."""
    if isinstance(error, ConfigError):
        return error
    cause = error
    while cause is not None:  # our own check may be wrapped by OmegaConf
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    text = "\n".join(str(e) for e in (error, error.__cause__) if e).split("Config search path")[0]
    for handler in (
        _interpolation,
        _grammar,
        _missing_choice,
        _below_a_value,
        _unknown_key,
        _missing_value,
        _bad_value,
        _choice_conflict,
        _not_a_name,
    ):
        message = handler(text, error, overrides)
        if message:
            return ConfigError(message)
    return ConfigError(one_line(error))


def _interpolation(text: str, error: Exception, overrides: Sequence[str]) -> str:
    if not type(error).__name__.startswith(("Interpolation", "UnsupportedInterpolation")):
        return ""
    found = re.search(r"full_key: (\S+)", text)
    key = found[1] if found else "a value"
    typed = next((o.partition("=")[2] for o in overrides if o.startswith(f"{key}=")), "")
    literal = typed.strip("'\"").replace("${", r"\${")
    remedy = f" For the characters themselves type {shell_line(key, literal)}" if "${" in typed else ""
    return f"{key}: {one_line(error, 120).split(' full_key')[0]}; ${{...}} stands for another value.{remedy}"


def _grammar(text: str, error: Exception, overrides: Sequence[str]) -> str:
    if type(error).__name__ != "OverrideParseException" and "Error parsing override" not in text:
        return ""
    override = str(getattr(error, "override", "")) or (
        m[1] if (m := re.search(r"Error parsing override '(.*)'", text)) else ""
    )
    if "=" not in override:
        return f"{override!r} is not an override. Overrides are KEY=VALUE (seed=1, model=cosmos3_nano); see strands-diffusers --help."
    key, _, value = override.partition("=")
    shown = one_line(ValueError(override), 120)
    return f"Hydra cannot read {shown!r}. Quote the value for Hydra and for the shell: {shell_line(key, value.strip())}"


def _missing_choice(text: str, error: Exception, overrides: Sequence[str]) -> str:
    match = re.search(r"Could not find '([^']*)/([^'/]*)'.*?Available options in '[^']*':\s*(.*)", text, re.DOTALL)
    if not match:
        match = re.search(r"Could not (?:load|find) '([^']*)/([^'/]*)'", text)
        if not match:
            return ""
    group, name = match[1], match[2]
    if line := packages.missing(f"{group}={name}"):
        return line
    options = [o for o in match[3].split() if o] if match.lastindex == 3 else choices(group)
    hint = near_miss(name, options)
    if group == "domain" and (known := _domain(name)):
        hint = f" Use domain={known.short}."
        if known.width is None:
            hint = f" diffusers knows {name} but no action width for it, and refuses it in every mode."
    listed = f"; there are {', '.join(options)}" if options else ""
    return f"{group}={name} is not a choice{listed}.{hint}"


def choices(group: str) -> list[str]:
    """The choices of a group: those in the store, and the files of the config folder."""
    stored = ConfigStore.instance().repo.get(group, {})
    files = {path.stem for path in (store.conf_dir() / group).glob("*.yaml")}
    return sorted({name.removesuffix(".yaml") for name in stored} | files)


def _domain(name: str) -> domains.Domain | None:
    """The domain that diffusers calls `name`, or whose short name it is."""
    return next((d for d in domains.all_domains() if name in (d.name, d.short)), None)


def _below_a_value(text: str, error: Exception, overrides: Sequence[str]) -> str:
    """A key typed below one that is a list or a mapping of its own: `policy.state.0`, `world.kwargs.g`."""
    if "is not in struct" not in text and not isinstance(error, AssertionError):
        return ""
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        for name, kind in key_types().items():
            if key.startswith(f"{name}.") and _whole(name, kind):
                line = f"{name}=[...]" if typing.get_origin(kind) is list else nested(name, key, value)
                return f"{key} is not a key of its own: {name} is given as a whole. Type '{line}'."
    return ""


def _whole(name: str, kind: Any) -> bool:
    """Whether a key of this type is given as a whole: a mapping, or a list."""
    return kind is Any or typing.get_origin(kind) is list or name == RECOMMENDED


def _unknown_key(text: str, error: Exception, overrides: Sequence[str]) -> str:
    match = re.search(r"Could not override '([^']*)'", text) or re.search(r"Key '([^']*)' (?:not|is not) in", text)
    if not match:
        return ""
    key = match[1]
    elsewhere = key.startswith("experiment") or "@experiment." in key or key.strip("_") == "global"
    if elsewhere and (name := next((o for o in overrides if o.startswith("experiment=")), None)):
        return f"{name}: its file must begin with the line `# @package _global_`, so that its keys are the run's own."
    if "No match in the defaults list" in text:
        key = key.split("@")[0]
        return f"{key}= is not a config group. Groups are {', '.join(GROUPS)}.{near_miss(key, GROUPS)}"
    full = re.search(r"full_key: (\S+)", text)
    key = full[1] if full and full[1].endswith(key.split(".")[-1]) else key
    known = sorted({*key_types(), *GROUPS})
    key = next((k for k, kind in key_types().items() if _whole(k, kind) and key.startswith(f"{k}.")), key)
    leaf = [k for k in known if k.split(".")[-1] == key.split(".")[-1]]
    hint = f" Did you mean {leaf[0]!r}?" if leaf and key not in leaf else near_miss(key, known)
    group, _, rest = key.partition(".")
    if key in known and group in store.MULTI_SELECT:
        return f"{key} needs {group}=[{rest.partition('.')[0]}], which is not chosen here."
    if key in known and (owners := _owners(group, rest.partition(".")[0])):
        return f"{key} belongs to {group}={' or '.join(owners)}, not to the {group} chosen here."
    return f"{key!r} is not a config key.{hint} See every key with strands-diffusers --cfg job."


def _owners(group: str, field: str) -> list[str]:
    """The choices of a group that have a field."""
    stored = ConfigStore.instance().repo.get(group, {}).items()
    found = [(file, getattr(choice.node, "content", None)) for file, choice in stored]
    return [
        file.removesuffix(".yaml")
        for file, content in found
        if dataclasses.is_dataclass(content) and field in {each.name for each in dataclasses.fields(content)}
    ]


def _missing_value(text: str, error: Exception, overrides: Sequence[str]) -> str:
    if "MissingMandatoryValue" not in type(error).__name__ and "Missing mandatory value" not in text:
        return ""
    match = re.search(r"full_key: (\S+)", text) or re.search(r"[Mm]issing mandatory value: (\S+)", text)
    key = match[1] if match else "a value"
    return f"{key} has no default and must be given: add {key}=VALUE."


def _bad_value(text: str, error: Exception, overrides: Sequence[str]) -> str:
    key_match = re.search(r"full_key: (\S+)", text)
    key = key_match[1] if key_match else ""
    if match := re.search(r"Invalid value '([^']*)', expected one of \[(.*?)\]", text):
        allowed = [a.strip() for a in match[2].split(",")]
        return f"{key}={match[1]} is not allowed; use {', '.join(allowed)}.{near_miss(match[1], allowed)}"
    if match := re.search(
        r"Value '(.*?)'(?: of type '[^']*')? (?:could not be converted to|is not a valid|is incompatible with type hint) (.*)",
        text,
    ):
        kind = match[2].split("\n")[0].strip(" '.")
        words = {"Integer": "a whole number", "Float": "a number", "bool": "true or false", "Boolean": "true or false"}
        shown = one_line(ValueError(match[1]), 60) if match[1] else "(nothing)"
        return f"{key}={shown} must be {words.get(kind, kind)}."
    if match := re.search(r"Error merging override \+?(\S+?)=(.*)", text):
        return f"{match[1]}={match[2]} is not of the kind that {match[1]} holds. See strands-diffusers --cfg job."
    if match := re.search(r"Unable to configure (.*)", text):
        return f"hydra.job_logging or hydra.hydra_logging is wrong: Python's logging is unable to configure {match[1]}."
    if "non-nullable" in text or "not Optional" in text or "not supported for non-optional" in text:
        return f"{key} cannot be null."
    return ""


def _not_a_name(text: str, error: Exception, overrides: Sequence[str]) -> str:
    if "Config group override must be" not in text:
        return ""
    words = [o for o in overrides if o.partition("=")[0] in GROUPS]
    group, _, value = words[-1].partition("=") if words else ("a group", "", "")
    listed = f" There are {', '.join(choices(group))}." if words else ""
    return f"{group}={value} is not the name of a choice.{listed}"


def _choice_conflict(text: str, error: Exception, overrides: Sequence[str]) -> str:
    match = re.search(r"Multiple values for ([^.\s]+)", text)
    if match and f"+{match[1]}=" in " ".join(overrides):
        return f"{match[1]} is overridden, not appended: type {match[1]}=CHOICE, without the plus."
    return f"{match[1]} is given twice. Give it once, as {match[1]}=CHOICE." if match else ""
