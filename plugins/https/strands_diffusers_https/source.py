"""`observation=https://...`: a file from the web, off unless the user allows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from strands_diffusers import Address, Observation, ObservationRequest, Source, errors, read_local, split_address

if TYPE_CHECKING:
    import ssl


_OPTIONS = ("start", "stride", "fps", "actions", "task")
_SUFFIXES = ".png .jpg .jpeg .webp .mp4 .m4v .mov .webm .mkv .avi .gif .json .npy .npz"


class HttpsSource(Source):
    """A file on the web, over https only. Off unless `source.https.allow=true`.

    Address: `//HOST/PATH` with the options of a file. The name's ending decides how the file is read; what the server
        says about its type is not trusted. Redirects are followed as long as they stay on https.
    Raises: `ObservationError`: not allowed, not https, too large, too slow, incomplete, or no observation.
    """

    scheme = "https"

    @dataclass
    class Config(Source.Config):
        """What may be fetched."""

        allow: bool = False
        """Fetch observations from the web."""

        max_mb: float = 200.0
        """Largest file [MB, 10**6 bytes], > 0."""

        timeout_s: float = 30.0
        """Time limit of the whole download [s], > 0."""

        def __post_init__(self) -> None:
            for name in ("max_mb", "timeout_s"):
                if not 0 < (value := getattr(self, name)) < float("inf"):
                    raise errors.ConfigError(f"source.https.{name} must be > 0, got {value:g}. Use 100, for example.")

    tls: ClassVar[ssl.SSLContext | None] = None
    """Trust settings; None: the system's."""

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Download the file at `address`, once per process, and read it."""
        parsed = _parse(address)
        url = f"https:{parsed.path}"
        if not self.config.allow:
            raise errors.ObservationError(
                f"{url} is not fetched: downloads are off. Add source.https.allow=true to allow it."
            )
        suffix = _suffix(url)
        from strands_diffusers_https.download import fetch

        path = fetch(url, suffix, self.config.max_mb, self.config.timeout_s, self.tls)
        observation = read_local(path, parsed, request, url)
        return replace(observation, details={**observation.details, "downloaded_bytes": path.stat().st_size})

    def absolute(self, address: str, cwd: Path) -> str:
        """Make the action file of `@actions:` absolute."""
        parsed = _parse(address)
        return str(Address(parsed.path, parsed.absolute(cwd, file_options=("actions",)).options))


def _parse(address: str) -> Address:
    """Split `//HOST/PATH[@key:value]...`; an `@` before the path belongs to the host."""
    host_end = address.find("/", 2)
    return split_address(address, _OPTIONS, options_from=len(address) if host_end < 0 else host_end)


def _suffix(url: str) -> str:
    """Ending of the file's name; `ObservationError` for a URL without a file or a host, or with a password in it."""
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise errors.ObservationError(f"{url} is not a URL: {error}.") from error
    if not parts.hostname:
        raise errors.ObservationError(f"{url} names no host. Type https://HOST/PATH.")
    if parts.username or parts.password:
        raise errors.ObservationError(
            "the observation's URL holds a user name or password, which every record of the run would show. "
            "Leave it out."
        )
    suffix = Path(unquote(parts.path)).suffix.lower()
    if suffix not in _SUFFIXES.split():
        raise errors.ObservationError(f"{url} does not end in the name of a file that can be observed: {_SUFFIXES}.")
    return suffix
