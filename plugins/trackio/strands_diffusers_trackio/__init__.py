"""Runs in a Trackio dashboard on this machine: `tracker=trackio`."""

from strands_diffusers import Tracker, hookimpl
from strands_diffusers_trackio.tracker import TrackioTracker


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    return [TrackioTracker]
