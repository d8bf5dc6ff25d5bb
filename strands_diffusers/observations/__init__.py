"""Built-in sources of observations: files, samples, finished runs."""

from strands_diffusers.observations.files import FileSource
from strands_diffusers.observations.runs import RunSource
from strands_diffusers.observations.samples import SampleSource
from strands_diffusers.plugin.base import Source
from strands_diffusers.plugin.spec import hookimpl


@hookimpl
def register_sources() -> list[type[Source]]:
    """The built-in sources."""
    return [FileSource, SampleSource, RunSource]
