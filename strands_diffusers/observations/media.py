"""Decode clips: exact frames out of ffmpeg, at the clip's own rate, or one clear error.

Pixels: rgb24 through ffmpeg's default conversion, byte for byte what `ffmpeg -i CLIP -pix_fmt rgb24` and
`imageio_ffmpeg.read_frames` give (a rotation tag is applied, as every player does). Frames are neither repeated nor
dropped to fit a rate. Any complaint of the decoder is an error: a truncated or damaged clip is never shortened in
silence. The binary is imageio-ffmpeg's, which decodes AV1, H.264, H.265, VP9 and GIF.

Array suffixes: F frames, H height, W width, C channels (RGB).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

from strands_diffusers.errors import ObservationError
from strands_diffusers.lazy import np
from strands_diffusers.observations.containers import missing_end

CLIP_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
"""Files that are read as clips."""

MAX_DECODED_BYTES = 4 << 30
"""Most memory that the frames of one clip may take."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
"""Demuxers that may open a clip. Playlists are not among them: they would read other files."""

_CACHE_BYTES = 256 << 20


class Clip(NamedTuple):
    """Frames of a clip and their rate."""

    frames_FHWC: np.ndarray
    """uint8 `[F, H, W, 3]`, RGB."""

    fps: float
    """Rate of these frames [Hz]: the clip's own, divided by the stride."""

    even: bool
    """False where the frames are not evenly spaced in time, so that `fps` is only their mean rate."""

    first_s: float = 0.0
    """Time of the first of these frames, counted from `from_s` [s]."""


@dataclass(frozen=True)
class Probe:
    """What a clip is, without decoding it."""

    num_frames: int
    height: int
    width: int
    fps: float
    codec: str


def read_clip(
    path: Path,
    start: int = 0,
    num_frames: int | None = None,
    stride: int = 1,
    name: str = "",
    *,
    from_s: float = 0.0,
) -> Clip:
    """Decode frames `start`, `start + stride`, ... of a clip, at most `num_frames` of them.

    `from_s`: frame 0 is the first one at or after this time [s] of the clip. It is sought, not decoded up to, and is
        exact: half a frame before the wanted frame's own time gives that frame and no other.
    Shapes: -> frames uint8 `[F, H, W, 3]`; F is smaller than `num_frames` only where a whole, undamaged clip ends.
    Raises: `ObservationError`, with `name` (by default the path) in front, for a file that is missing, empty,
        truncated, damaged, not a clip, without a video stream, or shorter than `start`.
    """
    name = name or str(path)
    _check_clip(path, name)
    status = path.stat()
    key = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns, start, num_frames, stride, from_s)
    clip = _cache.get(key)
    if clip is None:
        clip = _decode(path, start, num_frames, stride, name, from_s)
        _cache.put(key, clip)
    return clip._replace(frames_FHWC=clip.frames_FHWC.copy())


def probe(path: Path, name: str = "") -> Probe:
    """Count a clip's frames and read its size, rate and codec; every packet is read, none decoded.

    Raises: `ObservationError` as `read_clip` does.
    """
    name = name or str(path)
    _check_clip(path, name)
    packets = bytearray()
    log = _run([*_input(path), "-c", "copy", "-f", "framecrc", "-"], packets, name)
    stream = re.search(r"Stream #.*?: Video: (\w+).*?, (\d+)x(\d+).*?, ([\d.]+k?) fps", log)
    count = sum(not line.startswith(b"#") for line in packets.splitlines())
    if stream is None or not count:
        raise ObservationError(f"{name} holds no video frames. {_ACCEPTED}")
    fps = float(stream[4].rstrip("k")) * (1000 if stream[4].endswith("k") else 1)
    return Probe(count, int(stream[3]), int(stream[2]), fps, stream[1])


def check_file(path: Path, name: str) -> None:
    """Raise `ObservationError` unless `path` is a readable, non-empty file."""
    try:
        if not path.is_file():
            raise ObservationError(f"{name} {'is not a file' if path.exists() else 'does not exist'}.")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise ObservationError(f"{name} is empty (0 bytes).")
    except OSError as error:
        raise ObservationError(f"{name} cannot be read: {error.strerror}.") from error


def _check_clip(path: Path, name: str) -> None:
    check_file(path, name)
    if missing := missing_end(path):
        raise ObservationError(f"{name} is truncated: {missing}. Copy or download it again.")


_ACCEPTED = "A clip is mp4, webm, mkv, mov, avi or gif."
_TAG = re.compile(r"^(?:\[[^\]]*\] )*\[(error|fatal|panic)\] (.*)$", re.MULTILINE)


def _input(path: Path, from_s: float = 0.0) -> list[str]:
    """Options that open one local file and nothing else, and choose its first video stream (no cover art)."""
    import imageio_ffmpeg

    return [
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "level+info", "-xerror",
        "-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS,
        *(["-ss", f"{from_s:.6f}"] if from_s > 0 else []), "-i", f"file:{path.absolute()}",
        "-map", "0:V:0",
    ]  # fmt: skip


def _run(command: list[str], sink: bytearray, name: str) -> str:
    """Run ffmpeg, collect its standard output in `sink`, and return its log; a complaint is an `ObservationError`."""
    with tempfile.TemporaryFile() as log_file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            _drain(process.stdout, sink, name)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
        log_file.seek(0)
        log = log_file.read().decode(errors="replace")
    complaints = [text for _, text in _TAG.findall(log)]
    if "matches no streams" in log:
        raise ObservationError(f"{name} holds no video stream. {_ACCEPTED}")
    if complaints or process.returncode > 0:
        first = complaints[0].strip() if complaints else f"ffmpeg left with status {process.returncode}"
        first = re.sub(r"file:\S+", "the file", first).rstrip(".")
        raise ObservationError(f"{name} is truncated, damaged or not a clip (decoder: {first}). {_ACCEPTED}")
    return log


def _drain(stream: IO[bytes], sink: bytearray, name: str) -> None:
    while block := stream.read(1 << 22):
        sink += block
        if len(sink) > MAX_DECODED_BYTES:
            raise ObservationError(
                f"{name} takes more than {MAX_DECODED_BYTES >> 30} GiB once decoded. "
                "Cut it to the part that the rollout needs, or pick frames with @start:N and @stride:N."
            )


def _decode(path: Path, start: int, num_frames: int | None, stride: int, name: str, from_s: float) -> Clip:
    chosen = f"select='gte(n,{start})*not(mod(n-{start},{stride}))',showinfo=checksum=0"
    limit = [] if num_frames is None else ["-frames:v", str(num_frames)]
    output = ["-vf", chosen, "-fps_mode", "passthrough", *limit, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = bytearray()
    log = _run([*_input(path, from_s), *output], pixels, name)
    sizes = set(re.findall(r"\] n: *\d+ pts:.*? s:(\d+)x(\d+) ", log))
    if not pixels or not sizes:
        where = f"has no frame {start}" if start else f"ends before {from_s:g} s" if from_s else "holds no video frames"
        raise ObservationError(
            f"{name} {where}{_length(path, name) if start or from_s else ''}. "
            f"{'' if start or from_s else _ACCEPTED}".strip()
        )
    if len(sizes) > 1:
        raise ObservationError(
            f"{name} changes its frame size midway ({' and '.join('x'.join(s) for s in sorted(sizes))})."
        )
    width, height = map(int, sizes.pop())
    frames_FHWC = np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)
    fps, even = _rate(log, len(frames_FHWC), stride)
    stamp, tick = re.search(r"\] n: *0 pts: *(-?\d+) ", log), _fraction(log, "config in time_base")
    return Clip(frames_FHWC, fps, even, float(int(stamp[1]) * tick) if stamp and tick else 0.0)


def _length(path: Path, name: str) -> str:
    return f": it has {probe(path, name).num_frames} frames"


def _rate(log: str, num_frames: int, stride: int) -> tuple[float, bool]:
    """Rate of the frames that were read [Hz], and whether each lies on its own place of an even grid in time."""
    nominal, tick = _fraction(log, "frame_rate"), _fraction(log, "config in time_base")
    fps = float(nominal / stride) if nominal else 0.0
    stamps = [int(pts) for pts in re.findall(r"\] n: *\d+ pts: *(-?\d+) ", log)][:num_frames]
    if len(stamps) < 2 or not tick or len(stamps) < num_frames:
        return fps, True
    times_F = np.array(stamps, np.float64) * float(tick)
    period_s = (times_F[-1] - times_F[0]) / (len(times_F) - 1)
    if period_s <= 0:
        return fps, False
    drift_F = np.abs(times_F - times_F[0] - period_s * np.arange(len(times_F)))
    measured = 1.0 / period_s
    if not fps or abs(measured / fps - 1) > 0.01:  # the header is only a guess where the rate varies
        fps = measured
    return fps, bool(drift_F.max() < 0.5 * period_s)


def _fraction(log: str, key: str) -> Fraction | None:
    found = re.search(rf"{key}: (\d+)/([1-9]\d*)", log)
    return Fraction(int(found[1]), int(found[2])) if found else None


class _Cache:
    """The last clips that were read: a sweep over prompts decodes its observation once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._clips: OrderedDict[tuple[object, ...], Clip] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...]) -> Clip | None:
        with self._lock:
            if key in self._clips:
                self._clips.move_to_end(key)
            return self._clips.get(key)

    def put(self, key: tuple[object, ...], clip: Clip) -> None:
        with self._lock:
            self._clips[key] = clip
            while sum(c.frames_FHWC.nbytes for c in self._clips.values()) > self._max_bytes:
                self._clips.popitem(last=False)


_cache = _Cache(_CACHE_BYTES)
