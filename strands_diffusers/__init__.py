"""Experiments with robot world models: NVIDIA Cosmos 3 through diffusers, typed configs, plugins, sweeps that survive.

    from strands_diffusers import rollout
    result = rollout("condition=policy", "prompt='Push the T block to the left.'")
    result.video, result.action          # uint8 [F, H, W, 3], float32 [K, T, D]

Every public name is loaded on first use: importing this package imports neither torch nor numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {
    "api.public": "use_diffusers",
    "domains": "Domain",
    "environment": "WorldEnv",
    "jsonfile": "read_json read_json_lines",
    "observations.address": "Address split_address",
    "observations.files": "read_local",
    "observations.images": "read_image",
    "observations.media": "check_file frame_times read_clip",
    "observations.window": "usable_frames",
    "outputs.video_file": "write_mp4",
    "plugin.acting": "Look Policy Proposal Score Setting Stepped Track World",
    "plugin.base": "ActionRows Command Judgement Measure Metric Panel Serializer Source Table Tracker Verdict Visualizer",
    "plugin.engine": "Call Engine Sample",
    "plugin.manager": "plugins",
    "plugin.spec": "hookimpl",
    "records": "Record",
    "results": "ActionSpace Artifact Episode Mesh Observation ObservationRequest Rollout RunInfo Scored",
    "runner.python": "rollout rollouts",
}
"""Module -> the public names that it holds."""

_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = ("actions", "domains", "errors")

__all__ = [*sorted(_WHERE), *_MODULES]

if TYPE_CHECKING:
    from strands_diffusers import actions as actions
    from strands_diffusers import domains as domains
    from strands_diffusers import errors as errors
    from strands_diffusers.api.public import use_diffusers as use_diffusers
    from strands_diffusers.domains import Domain as Domain
    from strands_diffusers.environment import WorldEnv as WorldEnv
    from strands_diffusers.jsonfile import read_json as read_json
    from strands_diffusers.jsonfile import read_json_lines as read_json_lines
    from strands_diffusers.observations.address import Address as Address
    from strands_diffusers.observations.address import split_address as split_address
    from strands_diffusers.observations.files import read_local as read_local
    from strands_diffusers.observations.images import read_image as read_image
    from strands_diffusers.observations.media import check_file as check_file
    from strands_diffusers.observations.media import frame_times as frame_times
    from strands_diffusers.observations.media import read_clip as read_clip
    from strands_diffusers.observations.window import usable_frames as usable_frames
    from strands_diffusers.outputs.video_file import write_mp4 as write_mp4
    from strands_diffusers.plugin.acting import Look as Look
    from strands_diffusers.plugin.acting import Policy as Policy
    from strands_diffusers.plugin.acting import Proposal as Proposal
    from strands_diffusers.plugin.acting import Score as Score
    from strands_diffusers.plugin.acting import Setting as Setting
    from strands_diffusers.plugin.acting import Stepped as Stepped
    from strands_diffusers.plugin.acting import Track as Track
    from strands_diffusers.plugin.acting import World as World
    from strands_diffusers.plugin.base import ActionRows as ActionRows
    from strands_diffusers.plugin.base import Command as Command
    from strands_diffusers.plugin.base import Judgement as Judgement
    from strands_diffusers.plugin.base import Measure as Measure
    from strands_diffusers.plugin.base import Metric as Metric
    from strands_diffusers.plugin.base import Panel as Panel
    from strands_diffusers.plugin.base import Serializer as Serializer
    from strands_diffusers.plugin.base import Source as Source
    from strands_diffusers.plugin.base import Table as Table
    from strands_diffusers.plugin.base import Tracker as Tracker
    from strands_diffusers.plugin.base import Verdict as Verdict
    from strands_diffusers.plugin.base import Visualizer as Visualizer
    from strands_diffusers.plugin.engine import Call as Call
    from strands_diffusers.plugin.engine import Engine as Engine
    from strands_diffusers.plugin.engine import Sample as Sample
    from strands_diffusers.plugin.manager import plugins as plugins
    from strands_diffusers.plugin.spec import hookimpl as hookimpl
    from strands_diffusers.records import Record as Record
    from strands_diffusers.results import ActionSpace as ActionSpace
    from strands_diffusers.results import Artifact as Artifact
    from strands_diffusers.results import Episode as Episode
    from strands_diffusers.results import Mesh as Mesh
    from strands_diffusers.results import Observation as Observation
    from strands_diffusers.results import ObservationRequest as ObservationRequest
    from strands_diffusers.results import Rollout as Rollout
    from strands_diffusers.results import RunInfo as RunInfo
    from strands_diffusers.results import Scored as Scored
    from strands_diffusers.runner.python import rollout as rollout
    from strands_diffusers.runner.python import rollouts as rollouts


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
