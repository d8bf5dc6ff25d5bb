"""Is a clip's file whole? Containers say how long they are; ffmpeg does not always look.

A file that was cut exactly between two packets decodes without complaint to a shorter clip: for MP4, AVI and GIF only
the container's own bookkeeping tells. (Matroska and WebM are checked by ffmpeg itself, fragment by fragment.)
"""

from __future__ import annotations

from pathlib import Path

_TOP_LEVEL = b"ftyp styp moov moof mdat free skip wide uuid sidx mfra meta pdin emsg prft pnot".split()
"""Boxes that may follow one another in an MP4 or QuickTime file."""


def is_gif(path: Path) -> bool:
    """Whether the file says that it is a GIF, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(4) == b"GIF8"


def missing_end(path: Path) -> str | None:
    """Say what is missing at the end of a clip file, or return None where nothing is (or the container is another)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[4:8] in _TOP_LEVEL:
            offset = 0
            while offset + 8 <= size:
                stream.seek(offset)
                header = stream.read(16)
                length = int.from_bytes(header[:4], "big")
                if length == 1:  # a 64-bit length follows
                    length = int.from_bytes(header[8:16], "big")
                if (
                    length == 0 or header[4:8] not in _TOP_LEVEL
                ):  # up to the end of the file; or bytes after the last box
                    return None
                offset += max(length, 8)
            return f"it ends {offset - size} bytes too early" if offset > size else None
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            declared = int.from_bytes(head[4:8], "little") + 8
            return f"it ends {declared - size} bytes too early" if declared > size else None
        if head[:4] == b"GIF8":
            stream.seek(max(0, size - 64))
            return None if stream.read().rstrip(b"\0").endswith(b";") else "its end mark is missing"
    return None
