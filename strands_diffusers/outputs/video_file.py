"""The one encoder of video files: frames in, an H.264 mp4 that plays in a browser out.

Through the ffmpeg binary that imageio-ffmpeg ships, as one process fed by a pipe, so that frames may be composed while
others are encoded. Colours are converted with the BT.601 matrix and tagged so: readers that honour the tag (browsers)
and readers that assume it (OpenCV, older players) then agree. Sizes: 4:2:0 needs even ones; see `write_mp4`.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import REMEDIED, check_frames, check_rate, why, writing

log = logging.getLogger(__name__)


SMALL = 1_000_000
"""Frames of fewer pixels are encoded by one thread: it takes a seventh less work, and several files are made at once."""

_DRAWN = ["-crf", "20", "-preset", "ultrafast"]
"""Quality of drawn videos, whose frames mostly stay: 42 dB, as `veryfast` at 18 gives, in 0.85 of its time and files twice as
large (17 frames of 1184 x 516)."""


class Preset(str, Enum):
    """x264's presets: the slower, the smaller the file; the quality is set by crf."""

    ultrafast = "ultrafast"
    superfast = "superfast"
    veryfast = "veryfast"
    faster = "faster"
    fast = "fast"
    medium = "medium"
    slow = "slow"
    slower = "slower"
    veryslow = "veryslow"


@functools.cache
def ffmpeg() -> str:
    """Path of the ffmpeg binary."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def write_mp4(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    crf: int = 12,
    preset: Preset = Preset.veryfast,
    drawn: bool = False,
    sound: tuple[np.ndarray, int] | None = None,
) -> dict[str, object]:
    """Encode `frames` to `path` (H.264, yuv420p, moov atom first) and return the facts for an `Artifact`.

    Shapes: frames are uint8 `[H, W, 3]` RGB, all of one size, which the file keeps; an array `[F, H, W, 3]` will do.
        Where H or W is odd, which 4:2:0 cannot hold, the last row or column is repeated once, a warning says so and
        the facts hold `padded: [rows, columns]`: no world model makes such a size, but a plugin may.
    Units: `fps` [Hz]. `crf` is x264's constant rate factor, 1 (near lossless) to 51. `drawn`: frames mostly stay; quick settings
        take the place of `crf` and `preset`, and colours may be one level off.
    Sound: float32 samples `[N, C]`, nominally -1 to 1, with their rate [Hz], become an AAC stream (lossy: `sound.wav` is
        exact). Neither stream is cut to the other's length.
    Raises: `OutputError` for wrong frames, no frame at all, or a file that cannot be written; nothing of it stays.
    """
    fps = check_rate("fps of a video", fps)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise OutputError(f"{path.name} has no frames.")
    height, width = check_frames("a video's frames", first[None]).shape[1:3]
    padded = [height % 2, width % 2]
    size = (height + padded[0], width + padded[1])
    if any(padded):
        odd = "%s: %dx%d is odd and H.264 4:2:0 needs even sizes; the last row or column is repeated once."
        log.warning(odd, path.name, height, width)

    def whole() -> Iterator[np.ndarray]:
        for index, frame in enumerate(itertools.chain([first], stream)):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise OutputError(
                    f"frame {index} of a video is {frame.dtype} {frame.shape}; the first one is uint8 {first.shape}."
                )
            yield np.pad(frame, ((0, padded[0]), (0, padded[1]), (0, 0)), mode="edge") if any(padded) else frame

    quality = _DRAWN if drawn else ["-crf", str(crf), "-preset", Preset(preset).value]
    flags = "bicubic+full_chroma_inp" + ("" if drawn else "+accurate_rnd")
    with writing(path), _sound_input(sound, path.parent) as more:
        count = _encode(path, whole(), size, fps, quality, flags, more)
    shape = [count, height, width, 3]
    facts: dict[str, object] = {"shape": shape, "dtype": "uint8", "fps": fps, "codec": "h264", "pix_fmt": "yuv420p"}
    if any(padded):
        facts["padded"] = padded
    if sound is not None:
        samples_NC, rate = sound
        facts["sound"] = {"codec": "aac", "sampling_rate": rate, "channels": int(samples_NC.shape[1])}
    return facts


@contextmanager
def _sound_input(sound: tuple[np.ndarray, int] | None, folder: Path) -> Iterator[list[str]]:
    """Yield ffmpeg's arguments for the sound, kept in a file beside the video meanwhile: ffmpeg has but one stdin."""
    if sound is None:
        yield []
        return
    samples_NC, rate = sound
    with tempfile.TemporaryDirectory(prefix=".video-", dir=folder) as name:
        raw = Path(name) / "sound.f32"
        raw.write_bytes(np.ascontiguousarray(samples_NC, "<f4").tobytes())
        yield ["-f", "f32le", "-ar", str(rate), "-ac", str(samples_NC.shape[1]), "-i", str(raw)]


def _encode(
    path: Path,
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    fps: float,
    quality: list[str],
    flags: str,
    sound: list[str],
) -> int:
    """Run ffmpeg over the frames and return how many there were."""
    threads = ["-threads", "1"] if size[0] * size[1] < SMALL else []
    command = [
        ffmpeg(), "-y", "-hide_banner", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-framerate", repr(fps),
        "-i", "pipe:0", *sound,
        "-vf", f"scale=out_color_matrix=bt601:out_range=tv:flags={flags}",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", *quality, *threads,
        "-colorspace", "smpte170m", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
        *(["-c:a", "aac", "-b:a", "256k"] if sound else []),
        "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        count = 0
        try:
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).data)
                count += 1
        except BrokenPipeError:  # ffmpeg ended: its own message says why
            pass
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
        log_text = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise OutputError(f"cannot write {path}: {_reason(log_text)}.")
    return count


def _reason(log_text: str) -> str:
    """Ffmpeg's own message, or ours for the reasons that have a remedy."""
    for number in REMEDIED:
        if os.strerror(number) in log_text:
            return why(OSError(number, ""))
    lines = [line.strip() for line in log_text.splitlines() if line.strip()]
    return f"ffmpeg says: {lines[-1].rstrip('.')}" if lines else "ffmpeg ended and gave no reason"
