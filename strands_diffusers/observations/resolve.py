"""From the string of `observation=` to an `Observation`: which source reads it, and whether the result may be used."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from strands_diffusers.config import packages
from strands_diffusers.errors import MissingPackageError, ObservationError, near_miss
from strands_diffusers.lazy import np
from strands_diffusers.observations.address import exists
from strands_diffusers.observations.window import check_domain, check_view
from strands_diffusers.paths import expanded
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import ActionRows, Source
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.results import Observation, ObservationRequest

FILE = "file"
"""The scheme of an address that has none."""

LEROBOT = "lerobot"
"""The scheme of LeRobot datasets, which a plugin serves."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9_+.-]*):")


def read_observation(address: str, request: ObservationRequest, sources: Mapping[str, Source]) -> Observation:
    """Read `PATH` or `SCHEME:PATH`, each with `[@key:value]...`.

    An existing file or folder as written wins over a scheme. `sources` are the configured sources by scheme.
    Raises: `ObservationError` for an unknown scheme, whatever the source finds wrong, and another domain or view than the
        request's; `ActionError` for values of an action file; `PluginError` where a source returns what it must not.
    """
    scheme, rest = _choose(address, sources)
    source = sources[scheme]
    observation = guard.observation(plugins().owner(type(source)), scheme, lambda: source.read(rest, request))
    if found := _CONTROL.search(observation.task or ""):
        raise ObservationError(
            f"the task of {address} holds the control character U+{ord(found[0]):04X}. Say @task:TEXT."
        )
    check_domain(observation.domain, request, address)
    check_view(observation.view_point, request, address)
    return observation if observation.source else dataclasses.replace(observation, source=address)


def read_action_rows(address: str, domain: str, sources: Mapping[str, Source]) -> ActionRows:
    """All actions behind `PATH` or `SCHEME:PATH...`, in the physical units of `domain`, for statistics.

    A folder that is a LeRobot dataset is read by the source `lerobot`.
    Raises: as `read_observation`, and `MissingPackageError` where that plugin is not installed.
    """
    scheme, rest = _choose(address, sources)
    path = expanded(rest.split("@", 1)[0])
    if scheme == FILE and exists(str(path / "meta" / "info.json")):
        if LEROBOT not in sources:
            raise MissingPackageError(
                f"{path} is a LeRobot dataset, which the plugin strands-diffusers-lerobot reads. "
                "Run: pip install -e plugins/lerobot."
            )
        scheme = LEROBOT
    source = sources[scheme]
    return guard.action_rows(plugins().owner(type(source)), scheme, lambda: source.action_rows(rest, domain))


def absolute_address(address: str, cwd: Path, sources: Mapping[str, Source]) -> str:
    """Return `address` with every path in it as seen from `cwd`, and its scheme unless it is a plain path.

    Raises: `ObservationError` as `read_observation` does for an address that no source can read; files are not opened.
    """
    scheme, rest = _choose(address, sources, cwd)
    source = sources[scheme]
    owner = plugins().owner(type(source))
    shown = guard.source(owner, scheme, lambda: source.absolute(rest, cwd)) if owner else source.absolute(rest, cwd)
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
