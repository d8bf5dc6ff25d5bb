"""From the string of `observation=` to an `Observation`: which source reads it, and whether the result may be used."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers.config import packages
from strands_diffusers.config.conditions import ChunksConfig, ClosedLoopConfig, ForwardDynamicsConfig, VideoConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import MissingPackageError, ObservationError, near_miss
from strands_diffusers.lazy import np
from strands_diffusers.observations.action_files import read_actions
from strands_diffusers.observations.address import exists
from strands_diffusers.paths import expanded
from strands_diffusers.plugin.base import ActionRows, Source
from strands_diffusers.results import Observation, ObservationRequest

FILE = "file"
"""The scheme of an address that has none."""

LEROBOT = "lerobot"
"""The scheme of LeRobot datasets, which a plugin serves."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9_+.-]*):")

_KEPT = 16
"""Observations that a command keeps."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a job reads before anything is loaded."""

    observation: Observation
    address: str | None
    """Where the observation was read, the same from every folder; None where it has no address."""

    hash: str
    """Of the observation's content."""

    given_TD: np.ndarray | None
    """The actions of the file `condition.actions`, float32; None without one."""


Kept = dict[tuple[str, ObservationRequest, str], tuple[Observation, str]]
"""Observations that were read, with their hashes; by address, what was asked for, and the options of the sources."""


def read_inputs(
    config: RunConfig, sources: Mapping[str, Source], cwd: Path, kept: Kept, observation: Observation | None = None
) -> Inputs:
    """Read the observation, unless one is given or it is in `kept`, and the action file.

    `cwd`: the folder that relative addresses are seen from. Raises: as `read_observation`.
    """
    address = config.observation
    if observation is not None or address is None:
        seen = observation or Observation()
        address, digest = seen.source or None, content_hash(seen)
    else:
        request = observation_request(config)
        address = absolute_address(address, cwd, sources)
        key = (address, request, repr(config.source))
        if key not in kept:
            seen = read_observation(address, request, sources)
            if len(kept) >= _KEPT:
                del kept[next(iter(kept))]
            kept[key] = seen, content_hash(seen)
        seen, digest = kept[key]
    given = None
    if isinstance(config.condition, ForwardDynamicsConfig) and config.condition.actions is not None:
        given = read_actions(Path(config.condition.actions))
    return Inputs(seen, address, digest, given)


def observation_request(config: RunConfig) -> ObservationRequest:
    """What the job needs of its observation."""
    condition, mode = config.condition, config.condition.mode.value
    if isinstance(condition, ChunksConfig | ClosedLoopConfig):
        domain, frames = config.domain, condition.steps + 1
        view = domain.view_point.value
        return ObservationRequest(frames, domain.fps, domain.name, mode, config.space, view_point=view)
    if isinstance(condition, VideoConfig):
        needed = condition.frames_needed if condition.keep.value == "first" else None
        return ObservationRequest(needed, condition.fps, None, mode)
    return ObservationRequest(1, None, None, mode)


def read_observation(address: str, request: ObservationRequest, sources: Mapping[str, Source]) -> Observation:
    """Read `PATH` or `SCHEME:PATH`, each with `[@key:value]...`.

    An existing file or folder as written wins over a scheme. `sources` are the configured sources by scheme.
    Raises: `ObservationError` for an unknown scheme, whatever the source finds wrong, and another domain or view than the
        request's; `ActionError` for values of an action file; `PluginError` where a source returns what it must not.
    """
    scheme, rest = _choose(address, sources)
    seen = sources[scheme].read(rest, request)
    return seen if seen.source else dataclasses.replace(seen, source=address)


def read_action_rows(address: str, domain: str, sources: Mapping[str, Source]) -> ActionRows:
    """All actions behind `PATH` or `SCHEME:PATH...`, in the physical units of `domain`, for statistics.

    A folder that is a LeRobot dataset is read by the source `lerobot`.
    Raises: as `read_observation`, and `MissingPackageError` where that plugin is not installed.
    """
    scheme, rest = _dataset(address, sources)
    return sources[scheme].action_rows(rest, domain)


def read_episodes(address: str, sources: Mapping[str, Source]) -> list[tuple[str, int]]:
    """Every episode behind `SCHEME:PATH...`: its address and its length [frames]. A folder that is a LeRobot dataset is one.

    Raises: as `read_observation`.
    """
    scheme, rest = _dataset(address, sources)
    return [(f"{scheme}:{episode}", length) for episode, length in sources[scheme].episodes(rest)]


def absolute_address(address: str, cwd: Path, sources: Mapping[str, Source]) -> str:
    """Return `address` with every path in it as seen from `cwd`, and its scheme unless it is a plain path.

    Raises: `ObservationError` as `read_observation` does for an address that no source can read; files are not opened.
    """
    scheme, rest = _choose(address, sources, cwd)
    shown = sources[scheme].absolute(rest, cwd)
    return shown if scheme == FILE else f"{scheme}:{shown}"


def content_hash(observation: Observation) -> str:
    """SHA-256 over what a rollout can depend on: frames, rate, actions and task. 64 hex digits.

    Two observations with the same content have the same hash, wherever they were read.
    """
    digest = hashlib.sha256()
    for name in ("frames", "actions"):
        array = getattr(observation, name)
        if array is None:
            digest.update(f"{name}:none;".encode())
        else:
            digest.update(f"{name}:{array.dtype.str}{list(array.shape)};".encode())
            digest.update(np.ascontiguousarray(array).data)
    for name in ("fps", "task", "domain"):
        value = getattr(observation, name)
        digest.update(f"{name}:{'none' if value is None else repr(value)};".encode())
    return digest.hexdigest()


def array_hash(array: np.ndarray) -> str:
    """SHA-256 over the type, shape and values of an array. 64 hex digits."""
    digest = hashlib.sha256(f"{array.dtype.str}{list(array.shape)};".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _dataset(address: str, sources: Mapping[str, Source]) -> tuple[str, str]:
    """As `_choose`, and a folder that is a LeRobot dataset is read by its source."""
    scheme, rest = _choose(address, sources)
    path = expanded(rest.split("@", 1)[0])
    if scheme == FILE and exists(str(path / "meta" / "info.json")):
        if LEROBOT not in sources:
            raise MissingPackageError(
                f"{path} is a LeRobot dataset, which the plugin strands-diffusers-lerobot reads. "
                "Run: pip install -e plugins/lerobot."
            )
        scheme = LEROBOT
    return scheme, rest


def _choose(address: str, sources: Mapping[str, Source], cwd: Path | None = None) -> tuple[str, str]:
    """The scheme of an address, and the address without it."""
    if not address.strip():
        raise ObservationError("the observation is empty. Type observation=FILE or observation=sample:push_left.")
    found = _SCHEME.match(address)
    if found is None or _is_path(address, cwd or Path.cwd()):
        return FILE, address
    scheme, rest = found[1].lower(), address[found.end() :]
    if scheme in sources:
        return scheme, rest
    if scheme == "http":
        raise ObservationError(f"{address} is not encrypted. Type https://..., or download it yourself.")
    if line := packages.missing(f"observation={scheme}:"):
        raise MissingPackageError(line)
    known = ", ".join(f"{name}:" for name in sources)
    raise ObservationError(
        f"{address} is neither a file nor of a known scheme: there are {known}.{near_miss(scheme, sources)} "
        "See what plugins bring with: strands-diffusers plugins --hook register_sources."
    )


def _is_path(address: str, cwd: Path) -> bool:
    """Whether the address, or what stands before one of its `@`, exists as written."""
    ends = [len(address), *(i for i, letter in enumerate(address) if letter == "@")]
    return any(exists(address[:end], cwd) for end in ends)
