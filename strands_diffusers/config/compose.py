"""From overrides and literal values to one validated `RunConfig`, the same way for the command line, a sweep and Python."""

import contextlib
import dataclasses
import datetime
import enum
import functools
import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException, ValidationError

from strands_diffusers.config import checks, store, typed
from strands_diffusers.config.explain import explain
from strands_diffusers.config.fields import changed
from strands_diffusers.config.schema import RunConfig, Tree
from strands_diffusers.config.user_files import check_search_path
from strands_diffusers.domains import all_domains
from strands_diffusers.errors import ConfigError
from strands_diffusers.paths import absolute_path, expanded

CONFIG_NAME = "run"
_lock = threading.RLock()


_registered: object = None
"""What was registered last, and what Hydra knew afterwards."""


def register(choices: Mapping[str, Mapping[str, type]], config_paths: Sequence[tuple[str, str]] = ()) -> None:
    """Make Hydra know our choices, resolvers and the plugins' config folders. Safe, and quick, to call again."""
    global _registered
    asked = {group: dict(classes) for group, classes in choices.items()}, tuple(config_paths), all_domains()
    with _lock:
        _register_resolvers()
        if _registered == (asked, _known_to_hydra()):  # so what was composed may be kept
            return
        store.register(choices)
        store.config_paths[:] = config_paths
        typed.key_types.cache_clear()
        _composer.cache_clear()
        _registered = asked, _known_to_hydra()


def _register_resolvers() -> None:
    """`run_dir` and `sweep_dir`: the user's output_dir, else Hydra's usual dated folder; fixed within a command.

    A resumed sweep goes on in its own folder.
    """

    def dated(root: str) -> Callable[..., str]:
        def resolve(output_dir: str | None, resume: str | None = None) -> str:
            now = datetime.datetime.now().astimezone()
            return str(expanded(resume or output_dir or f"{root}/{now:%Y-%m-%d}/{now:%H-%M-%S-%f}"))

        return resolve

    OmegaConf.register_new_resolver("run_dir", dated("outputs"), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", dated("multirun"), use_cache=True, replace=True)


@contextlib.contextmanager
def application() -> Iterator[Any]:
    """Hydra's own object for our configs, also inside another Hydra application, which is given back untouched."""
    with _lock:
        state = GlobalHydra.instance()
        outer = state.hydra
        state.clear()
        try:
            # Not as a context manager: at its end that puts a copy in the place of the outer application's object.
            initialize_config_dir(str(store.conf_dir()), job_name="strands_diffusers", version_base="1.3")
            yield state.hydra
        finally:
            state.clear()
            if outer is not None:
                state.initialize(outer)


COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, AssertionError)
"""What Hydra and OmegaConf raise for a wrong override or config file (an assertion: for a key below a list)."""


def compose(
    overrides: Sequence[str] = (), cwd: Path | None = None, *, values: Mapping[str, Any] | None = None
) -> RunConfig:
    """Compose `run.yaml` into a checked `RunConfig`.

    `overrides` are Hydra's, as a person types them. `values` are `{key or group: value}`, dotted or nested, and literal:
    they are set on the composed tree, never parsed, and nothing in them is interpolated.

    Raises: `ConfigError` for anything wrong.
    """
    for override in overrides:
        if not isinstance(override, str):
            raise ConfigError(f"an override is a string such as 'seed=1', got {override!r}.")
    wanted = typed.as_typed(overrides)
    check_search_path(wanted)
    groups, literal = _split_values(values or {})
    own_files = any(override.lstrip("+~").startswith("hydra") for override in wanted)  # which may change meanwhile
    composer = Composer(_load) if own_files else _composer(_known_to_hydra())
    return composer.run_config([*wanted, *groups], cwd, literal)


def _load(overrides: list[str]) -> DictConfig:
    with application():
        return hydra_compose(CONFIG_NAME, overrides=overrides)


@functools.lru_cache(maxsize=1)
def _composer(known: object) -> "Composer":
    """The composer of this process, for as long as Hydra knows the same choices."""
    return Composer(_load)


def _known_to_hydra() -> object:
    """What decides what a list of overrides composes to, beside the shipped files."""
    groups = ConfigStore.instance().repo.items()
    stored = (
        (group, id(node))
        for group, nodes in groups
        for node in (nodes.values() if isinstance(nodes, dict) else [nodes])
    )
    return frozenset(stored), tuple(store.config_paths), str(store.conf_dir())


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as dotted keys; of a group that is both chosen and filled in, `name` is the choice.

    Raises: `ConfigError` for what is no key, and for values that are neither text, numbers, lists of them nor null.
    """
    for name, value in values.items():
        key = f"{prefix}{name}"
        items = value if isinstance(value, list | tuple) else [value]
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name, re.ASCII):
            raise ConfigError(f"{name!r} is not a config key such as sampler.num_inference_steps.")
        if isinstance(value, list | tuple | Mapping) and typed.key_types().get(key) is str:
            raise ConfigError(f"{key} must be text, got a {type(value).__name__}.")
        if isinstance(value, Mapping) and typed.key_types().get(key) is Any:  # a key that holds a mapping as it is
            yield key, value
        elif isinstance(value, Mapping):
            inner = dict(value)
            if key in typed.GROUPS and isinstance(inner.get("name"), str):
                yield key, inner.pop("name")
            yield from flattened(inner, f"{key}.")
        elif all(item is None or isinstance(item, str | Path | bool | int | float) for item in items):
            items = [str(item) if isinstance(item, Path) else item for item in items]
            yield key, items if isinstance(value, list | tuple) else items[0]
        else:
            raise ConfigError(f"{key}: a config value is text, a number, a list of them or null.")


def _split_values(values: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Group choices as overrides, everything else as dotted keys with literal values."""
    flat = dict(flattened(values))
    chosen = {key: value for key, value in flat.items() if key in typed.GROUPS and value is not None}
    for key, value in chosen.items():
        names = value if isinstance(value, list) else [value]
        if not all(isinstance(name, str) and re.fullmatch(r"[\w./-]+", name) for name in names):
            raise ConfigError(f"{key} is chosen by name, got {value!r}. See strands-diffusers --help.")
        chosen[key] = f"[{','.join(names)}]" if isinstance(value, list) else value
    return [f"{key}={value}" for key, value in chosen.items()], {k: v for k, v in flat.items() if k not in chosen}


_DOLLAR = "\ufdd0{"
"""Stands for `${` in literal values while OmegaConf holds them; no text holds this character."""


def _replaced(value: Any, old: str, new: str) -> Any:
    """A value with other words in its texts, at any depth; a config object is changed in place."""
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value.replace(old, new)
    if isinstance(value, Mapping):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, old, new) for item in value]
    if dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            setattr(value, each.name, _replaced(getattr(value, each.name), old, new))
    return value


_hidden = functools.partial(_replaced, old="${", new=_DOLLAR)
_shown = functools.partial(_replaced, old=_DOLLAR, new="${")


_PLAIN = re.compile(r"([a-z_]+(?:\.[A-Za-z_0-9]+)*)=.*", re.DOTALL)


MOST_SHARED = 256
"""Trees that a `Composer` keeps."""


class Composer:
    """Composes the jobs of a sweep, or of a process: what they share once, then each job's own values on the shared tree.

    Hydra takes a tenth of a second to compose, and a sweep over seeds differs in one number. Group choices (and
    anything unusual: appended, deleted or unknown keys) go through Hydra; plain values of known keys are set on a
    copy. `load` composes a list of overrides, with a hydra node or without.
    """

    def __init__(self, load: Callable[[list[str]], DictConfig]) -> None:
        self._load = load
        self._shared: dict[tuple[str, ...], tuple[Callable[[], DictConfig], Callable[[], DictConfig]]] = {}
        self._parser = OverridesParser.create()

    def run_config(
        self, overrides: Sequence[str], cwd: Path | None = None, values: Mapping[str, Any] | None = None
    ) -> RunConfig:
        """The checked config of one job. `values` are literal, by dotted key."""
        shared, own = self._parts(overrides)
        literal = {key: _hidden(value) for key, value in (values or {}).items()}
        node = self._nodes(shared, overrides)[1]()
        try:
            for key, value in [*self._parsed(own, overrides), *literal.items()]:
                parent = key.rpartition(".")[0]
                if parent and OmegaConf.select(node, parent) is None:
                    raise HydraException(f"Could not override '{key}'.")  # the choice has no such node
                try:
                    OmegaConf.update(node, key, value, merge=False)
                except ValidationError as error:
                    raise HydraException(f"Error merging override {key}={value}") from error
            return to_run_config(node, overrides, cwd, literal=bool(literal))
        except COMPOSE_ERRORS as error:
            why = explain(error, [*overrides, *(f"{key}={value}" for key, value in literal.items())])
            raise ConfigError(_shown(str(why))) from error

    def node(self, overrides: Sequence[str]) -> DictConfig:
        """The composed tree of one job, with its hydra node."""
        shared, own = self._parts(overrides)
        node = self._nodes(shared, overrides)[0]()
        for key, value in self._parsed(own, overrides):
            OmegaConf.update(node, key, value, merge=False)
        node.hydra.overrides.task = [o for o in overrides if not o.startswith("hydra")]
        return node

    def _parts(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
        known = typed.key_types().keys() - set(typed.GROUPS)
        own = [o for o in overrides if (m := _PLAIN.fullmatch(o)) and m[1] in known]
        return tuple(o for o in overrides if o not in own), own

    def _nodes(
        self, shared: tuple[str, ...], overrides: Sequence[str]
    ) -> tuple[Callable[[], DictConfig], Callable[[], DictConfig]]:
        """Makers of a copy of what the jobs share, with its hydra node and without."""
        with _lock:
            if shared in self._shared:
                return self._shared[shared]
            try:
                node = self._load(list(shared))
            except COMPOSE_ERRORS as error:
                raise explain(error, overrides) from error
            nodes = (copies := _copies(node), _copies(_without_hydra(node)) if "hydra" in node else copies)
            if len(self._shared) >= MOST_SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[shared] = nodes
            return nodes

    def _parsed(self, own: Sequence[str], overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
        try:
            for override in self._parser.parse_overrides(list(own)):
                if override.is_sweep_override():
                    self._load(list(overrides))  # says that several values are a sweep's
                yield override.key_or_group, override.value()
        except HydraException as error:
            raise explain(error, overrides) from error


def _copies(node: DictConfig) -> Callable[[], DictConfig]:
    """A maker of copies of a tree; by pickle they take a third of the time, which a class without a module cannot."""
    try:
        return functools.partial(pickle.loads, pickle.dumps(node))
    except (pickle.PicklingError, AttributeError, TypeError):
        return node.copy


def _without_hydra(node: DictConfig) -> DictConfig:
    copy = node.copy()
    with read_write(copy), open_dict(copy):
        del copy["hydra"]
    return copy


def to_run_config(
    node: DictConfig, overrides: Sequence[str] = (), cwd: Path | None = None, *, literal: bool = False
) -> RunConfig:
    """Turn a composed node into one validated object with every default resolved and every path absolute.

    A hydra node beside our keys is left alone. `literal`: some values hold `${` that stand for themselves.
    """
    try:
        config = OmegaConf.to_object(_without_hydra(node) if "hydra" in node else node)
    except COMPOSE_ERRORS as error:
        raise ConfigError(_shown(str(explain(error, overrides)))) from error
    if literal:
        config = _shown(config)
    if not isinstance(config, RunConfig):
        raise ConfigError("the composed config is not a run: its first default must be `schema`.")
    chosen = {match[1] for o in overrides if (match := re.match(r"[+~]*([a-z_]+)=", o))}
    if config.model.name == "custom" and not chosen & {"domain", "experiment"}:
        checks.require_domain(config)
    checks.check(config, explicit_output="output" in chosen)
    cwd = cwd or Path.cwd()  # relative paths are the user's, from where the command was typed; jobs may run elsewhere
    return with_paths(checks.resolve_defaults(config), lambda key, value: _absolute(key, value, cwd))


def with_paths(config: RunConfig, place: Callable[[str, str], str]) -> RunConfig:
    """The config with `place(key, value)` for each key that may hold a path, an address or a checkpoint, where it is given."""
    for key in typed.PATHS:
        for name in config.score if key.startswith("score.") else ("",):
            key = f"score.{name}.goal" if name else key
            config = changed(config, key.split("."), functools.partial(place, key))
    return config


def _absolute(key: str, value: str, cwd: Path) -> str:
    """A path as seen from `cwd`; a Hub id, a name of ours and `last` stay as they are."""
    path, at, rest = value.partition("@") if key.startswith("score.") else (value, "", "")
    if not path or key in ("observation", "model.lora.repo"):  # those two are judged by who opens them
        return value
    whole = absolute_path(path, cwd)
    if key == "model.repo":
        is_path = ":" not in value and (Path(whole).exists() or value.startswith((".", "/", "~")))
    elif key == "domain.statistics":
        is_path = "/" in value
    elif key.endswith((".repo", ".goal")):
        is_path = Path(whole).exists()
    else:
        is_path = key != "resume" or value != "last"
    return f"{whole}{at}{rest}" if is_path else value


def to_tree(config: Any) -> Tree:
    """A config object as plain nested dicts and lists of JSON types, enums by the name that users type."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value.name if isinstance(value, enum.Enum) else value

    tree: Tree = plain(config)
    return tree
