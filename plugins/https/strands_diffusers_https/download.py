"""Fetch one file over https, within limits."""

from __future__ import annotations

import atexit
import http.client
import shutil
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from strands_diffusers import errors

_fetched: dict[str, Path] = {}
_lock = threading.Lock()


def fetch(url: str, suffix: str, max_mb: float, timeout_s: float, tls: ssl.SSLContext | None = None) -> Path:
    """Download `url` into a file that lives as long as the process, once: a sweep's jobs share it.

    `max_mb` [10**6 bytes] holds while streaming, whatever the server announces; `timeout_s` [s] bounds the whole
    download. `tls`: trust settings, None for the system's.
    Raises: `ObservationError` for any failure; nothing is left behind then.
    """
    with _lock:
        if url not in _fetched:
            if not _fetched:
                _fetched[""] = Path(tempfile.mkdtemp(prefix="strands_diffusers_"))
                atexit.register(shutil.rmtree, _fetched[""], ignore_errors=True)
            path = _fetched[""] / f"{len(_fetched)}{suffix}"
            try:
                with path.open("wb") as sink:
                    _download(url, sink, max_mb, timeout_s, tls)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            _fetched[url] = path
        return _fetched[url]


def _download(url: str, sink: IO[bytes], max_mb: float, timeout_s: float, tls: ssl.SSLContext | None) -> None:
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls), _OnlyHttps())
    request = urllib.request.Request(url, headers={"User-Agent": "strands-diffusers"})
    deadline = time.monotonic() + timeout_s
    try:
        with opener.open(request, timeout=timeout_s) as response:
            _stream(response, sink, url, int(max_mb * 1e6), deadline)
    except urllib.error.HTTPError as error:
        error.close()
        raise errors.ObservationError(f"{url} answers {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise errors.ObservationError(
                f"{url} took longer than {timeout_s:g} s. Raise source.https.timeout_s, or download it yourself."
            ) from error
        raise errors.ObservationError(f"{url} cannot be fetched: {reason or type(error).__name__}.") from error


def _stream(response: Any, sink: IO[bytes], url: str, limit: int, deadline: float) -> None:
    """Copy the body, watching its size and the clock."""
    declared = response.headers.get("Content-Length", "")
    length = int(declared) if declared.isdigit() else None
    received = 0
    if length is not None and length > limit:
        raise errors.ObservationError(_too_large(url, limit))
    while block := response.read1(1 << 16):
        received += len(block)
        if received > limit:
            raise errors.ObservationError(_too_large(url, limit))
        if time.monotonic() > deadline:
            raise TimeoutError
        sink.write(block)
    if length is not None and received < length:
        raise errors.ObservationError(f"{url} broke off after {received:,} of {length:,} bytes. Try again.")


def _too_large(url: str, limit: int) -> str:
    return f"{url} is larger than {limit / 1e6:g} MB. Raise source.https.max_mb, or download it yourself."


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects that stay on https."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request, or refuse it."""
        if urllib.parse.urlsplit(newurl).scheme != "https":
            fp.close()
            raise errors.ObservationError(f"{req.full_url} redirects to {newurl}, which is not https.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
