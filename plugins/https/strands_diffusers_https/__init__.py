"""Observations from the web: `observation=https://...`."""

from strands_diffusers import Source, hookimpl
from strands_diffusers_https.source import HttpsSource


@hookimpl
def register_sources() -> list[type[Source]]:
    return [HttpsSource]
