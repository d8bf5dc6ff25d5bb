"""Decode clips: exact frames out of ffmpeg, at the clip's own rate, or one clear error.

Pixels: rgb24 through ffmpeg's default conversion, byte for byte what `ffmpeg -i CLIP -pix_fmt rgb24` and
`imageio_ffmpeg.read_frames` give: colour range and matrix as the clip says, a rotation tag applied, an edit list kept, as
players do. Frames are neither repeated nor dropped to fit a rate. What 8-bit RGB with square pixels cannot show as a
player would is refused with the command that converts it. Any complaint of the decoder is an error: a truncated or
damaged clip is never shortened in silence. The binary is imageio-ffmpeg's, which decodes AV1, H.264, H.265, VP9 and GIF.

Array suffixes: F frames, H height, W width, C channels (RGB, or RGBA inside this module).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from strands_diffusers.errors import ObservationError
from strands_diffusers.lazy import np
from strands_diffusers.memory import Memory
from strands_diffusers.observations.containers import is_gif, missing_end

CLIP_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
"""Files that are read as clips."""

MAX_DECODED_BYTES = 2 << 30
"""Most memory that the frames of one clip may take."""

MAX_PIXELS = 64 << 20
"""Most pixels of one frame or image: an 8K frame has half as many."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
"""Demuxers that may open a clip. Playlists are not among them: they would read other files."""

_decoded = Memory(256 << 20)
"""The last clips that were read: a sweep over prompts decodes its observation once."""

BROKEN = (
    OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, MemoryError, RuntimeError,
)  # fmt: skip
"""What numpy, zipfile and Pillow raise for broken files, headers that promise too much and encrypted archives included."""


class Clip(NamedTuple):
    """Frames of a clip and their rate."""

    frames_FHWC: np.ndarray
    """uint8 `[F, H, W, 3]`, RGB."""

    fps: float
    """Rate of these frames [Hz]: the clip's own, divided by the stride."""

    even: bool
    """False where the frames are not evenly spaced in time, so that `fps` is only their mean rate."""

    first_s: float = 0.0
    """Time stamp of the first of these frames in the clip [s]; the clip's own first one need not be 0."""


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

    `from_s`: frame 0 is the first one whose time stamp is this [s] or later. It is sought, not decoded up to, and is
        exact: half a frame before the wanted frame's own time gives that frame and no other.
    Shapes: -> frames uint8 `[F, H, W, 3]`; F is smaller than `num_frames` only where a whole, undamaged clip ends.
    Raises: `ObservationError`, with `name` (by default the path) in front, for a file that is missing, empty,
        truncated, damaged, too large, not a clip, without a video stream or with several, or shorter than `start`, and
        for frames that 8-bit RGB cannot show: transparent, HDR, deeper than 10 bits, interlaced, not of square pixels.
    """
    name = name or str(path)
    _check_clip(path, name)
    status = path.stat()
    key = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns, start, num_frames, stride, from_s)
    clip = _decoded.get_or_make(key, lambda: _decode(path, start, num_frames, stride, name, from_s))
    kept = clip.frames_FHWC.nbytes <= _decoded.capacity
    return clip._replace(frames_FHWC=clip.frames_FHWC.copy()) if kept else clip


def frame_times(path: Path, name: str = "", *, decode: bool = False) -> np.ndarray:
    """Time stamps of all frames that a player shows, in order, float64 `[F]` [s]; by default no frame is decoded.

    `decode`: count what the decoder gives (VP8 has packets without a frame of their own).
    Raises: `ObservationError` as `read_clip` does for a file that is no whole clip.
    """
    name = name or str(path)
    _check_clip(path, name)
    listed = ["-vf", _COUNTED, *_AS_THEY_COME, "-c:v", "rawvideo"] if decode else ["-c", "copy"]
    packets, _ = _run([*_input(path), *listed, "-f", "framecrc", "-"], name)
    lines = packets.decode(errors="replace").splitlines()
    tick = next((Fraction(line.split()[-1]) for line in lines if line.startswith("#tb 0:")), Fraction(0))
    shown = [line.split(",") for line in lines if line[:1] not in ("", "#") and not _discarded(line)]
    return np.sort(np.array([int(fields[2]) for fields in shown], np.float64) * float(tick))


def _discarded(packet: str) -> bool:
    """Whether a packet is decoded and not shown: it stands before the beginning that an edit list sets."""
    flags = re.search(r"F=0x([0-9A-F]+)", packet)
    return flags is not None and bool(int(flags[1], 16) & 0x4)


def check_file(path: Path, name: str) -> bytes:
    """The first bytes of a file; `ObservationError` unless `path` is a readable, non-empty file."""
    try:
        if not path.is_file():
            raise ObservationError(f"{name} {'is not a file' if path.exists() else 'does not exist'}.")
        with path.open("rb") as stream:
            if not (head := stream.read(40)):
                raise ObservationError(f"{name} is empty (0 bytes).")
    except OSError as error:
        raise ObservationError(f"{name} cannot be read: {error.strerror}.") from error
    if head.startswith(b"version https://git-lfs.github.com/"):
        raise ObservationError(
            f"{name} is a pointer of Git LFS, not the file itself. Fetch it: git lfs pull, in the folder of the clone."
        )
    return head


def _check_clip(path: Path, name: str) -> None:
    check_file(path, name)
    if missing := missing_end(path):
        raise ObservationError(f"{name} is truncated: {missing}. Copy or download it again.")


_ACCEPTED = "A clip is mp4, webm, mkv, mov, avi or gif."
_TAG = re.compile(r"^(?:\[[^\]]*\] )*\[(error|fatal|panic)\] (.*)$", re.MULTILINE)
_FRAME = re.compile(
    r"\] n: *\d+ pts: *(?P<pts>-?\d+|NOPTS) .*? fmt:(?P<format>\w+) .*?sar:(?P<sar>\d+/\d+) s:(?P<size>\d+x\d+) "
    r"i:(?P<order>\S)"
)


def _input(path: Path, from_s: float = 0.0, decoder: str = "") -> list[str]:
    """Options that open one local file and nothing else, and choose its first video stream (no cover art)."""
    import imageio_ffmpeg

    return [
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "level+info", "-xerror",
        "-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-max_pixels", str(MAX_PIXELS),
        *(["-c:v", decoder] if decoder else []), "-copyts",
        *(["-ss", f"{from_s:.6f}"] if from_s > 0 else []), "-i", f"file:{path.absolute()}", "-map", "0:V:0",
    ]  # fmt: skip


def _run(command: list[str], name: str, begun: Callable[[str], None] = lambda log: None) -> tuple[bytearray, str]:
    """Run ffmpeg and return its standard output and its log; a complaint of its own is an `ObservationError`.

    `begun` is called once, with the log so far, when the first bytes come.
    """
    sink = bytearray()
    with tempfile.TemporaryFile() as log_file:

        def log() -> str:  # pread: ffmpeg writes on at the same file offset
            return os.pread(log_file.fileno(), os.fstat(log_file.fileno()).st_size, 0).decode(errors="replace")

        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log_file, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            while block := process.stdout.read(1 << 22):
                if not sink:
                    begun(log())
                sink += block
                check_size(len(sink), name)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
        text = log()
    if "matches no streams" in text:
        raise ObservationError(f"{name} holds no video stream. {_ACCEPTED}")
    if "exceeds specified max pixel count" in text:
        raise ObservationError(
            f"{name} has frames of more than {MAX_PIXELS >> 20} million pixels. Scale it down first."
        )
    complaints = [words for _, words in _TAG.findall(text)]
    if complaints or process.returncode > 0:
        first = complaints[0].strip() if complaints else f"ffmpeg left with status {process.returncode}"
        first = re.sub(r"file:\S+", "the file", first).rstrip(".")
        raise ObservationError(f"{name} is truncated, damaged or not a clip (decoder: {first}). {_ACCEPTED}")
    return sink, text


def check_size(num_bytes: int, name: str) -> None:
    """Raise `ObservationError` for more frames than fit."""
    if num_bytes > MAX_DECODED_BYTES:
        raise ObservationError(
            f"{name} takes more than {MAX_DECODED_BYTES >> 30} GiB once decoded. Cut it to what the rollout needs, or "
            "pick frames with @start:N and @stride:N."
        )


def _decode(path: Path, start: int, num_frames: int | None, stride: int, name: str, from_s: float) -> Clip:
    first_s = _first_stamp(path, name) if from_s > 0 else 0.0
    chosen = f"select='gte(n,{start})*not(mod(n-{start},{stride}))',showinfo=checksum=0,{_COUNTED}"
    limit = [] if num_frames is None else ["-frames:v", str(num_frames)]

    def begun(log: str) -> None:
        """Refuse before decoding what would not fit into memory."""
        if (frame := _FRAME.search(log)) is None:
            return
        width, height = map(int, frame["size"].split("x"))
        frame_bytes = width * height * 3
        most = path.stat().st_size // _LEAST_PACKET_BYTES if num_frames is None else num_frames
        if most * frame_bytes > MAX_DECODED_BYTES:
            check_size(len(frame_times(path, name)[start::stride][:num_frames]) * frame_bytes, name)

    def run(decoder: str, pixel_format: str) -> tuple[bytearray, str]:
        output = ["-vf", chosen, *_AS_THEY_COME, *limit, "-f", "rawvideo", "-pix_fmt", pixel_format, "-"]
        return _run([*_input(path, max(0.0, from_s - first_s), decoder), *output], name, begun)

    channels = 4 if is_gif(path) else 3
    pixels, log = run("", "rgba" if channels == 4 else "rgb24")
    frames = list(_FRAME.finditer(log))
    if not pixels or not frames:
        where = f"has no frame {start}" if start else f"ends before {from_s:g} s" if from_s else "holds no video frames"
        there = f": it has {len(frame_times(path, name, decode=True))} frames." if start or from_s else f". {_ACCEPTED}"
        raise ObservationError(f"{name} {where}{there}")
    if why := _unshowable(log, frames):
        raise ObservationError(f"{name} {why}")
    hidden_alpha = re.search(r"alpha_mode *: 1", log)
    if channels == 3 and (hidden_alpha or any(_ALPHA.match(frame["format"]) for frame in frames)):
        codec = re.search(r": Video: (\w+)", log)
        decoder = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(codec[1], "") if hidden_alpha and codec else ""
        channels, (pixels, _) = 4, run(decoder, "rgba")
    width, height = map(int, frames[0]["size"].split("x"))
    frames_FHWC = np.frombuffer(pixels, np.uint8).reshape(-1, height, width, channels)
    if channels == 4:
        if frames_FHWC[..., 3].min() < 255:
            raise ObservationError(f"{name} {TRANSPARENT}")
        frames_FHWC = np.ascontiguousarray(frames_FHWC[..., :3])
    tick = _fraction(log, "config in time_base")
    stamps = [int(frame["pts"]) for frame in frames[: len(frames_FHWC)] if frame["pts"] != "NOPTS"]
    fps, even = _rate(stamps, tick, _fraction(log, "frame_rate"), stride, len(frames_FHWC))
    return Clip(frames_FHWC, fps, even, float(stamps[0] * tick) if stamps else from_s)


_COUNTED = "settb=1/1000,setpts=N"
_AS_THEY_COME = ["-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
"""With `_COUNTED` as the last filter: every frame goes out once, however close its time stamp is to the one before."""

_LEAST_PACKET_BYTES = 8
"""No container spends fewer on a frame."""

TRANSPARENT = "has transparent pixels, and what should stand behind them is unknown. Save it without transparency."
_ALPHA = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya\d|pal8|ayuv|vuya")
_CONVERT = "Convert it first: ffmpeg -i CLIP {} NEW.mp4"
_SQUARE = _CONVERT.format('-vf "scale=trunc(iw*sar/2)*2:ih,setsar=1"')
_TO_SDR = _CONVERT.format(
    "-vf zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)
_NO_SDR = {"smpte2084": "HDR, PQ", "arib-std-b67": "HDR, HLG"} | dict.fromkeys(
    ("linear", "log100", "log316", "smpte428")
)
"""Transfer functions that make 8-bit RGB a washed-out picture."""


def _unshowable(log: str, frames: Sequence[re.Match[str]]) -> str | None:
    """Why these frames are not, as they stand, the 8-bit RGB that a player shows; None where they are."""
    header = log.partition("Stream mapping:")[0]
    streams = re.findall(r"^\[info\] +Stream #0:\d.*: Video: .*", header, re.MULTILINE)
    if (count := sum("attached pic" not in line and "thumbnails" not in line for line in streams)) > 1:
        return f"holds {count} videos. Keep one of them: ffmpeg -i CLIP -map 0:v:0 -c copy NEW.mp4"
    if len(sizes := {frame["size"] for frame in frames}) > 1:
        return f"changes its frame size midway ({' and '.join(sorted(sizes))})."
    for transfer in set(re.findall(r"color_trc:(\S+)", log)) & set(_NO_SDR):
        return f"has colours that are not for a plain screen ({_NO_SDR[transfer] or transfer}). {_TO_SDR}"
    if re.search(r"DOVI configuration record:.* profile: 5\b", header):
        return f"has Dolby Vision colours alone. {_TO_SDR}"
    if re.search(r"color_(primaries|space):bt2020", log):
        return f"has colours of a wider gamut (BT.2020). {_CONVERT.format('-vf zscale=p=bt709:t=bt709:m=bt709')}"
    for pixel_format in {frame["format"] for frame in frames}:
        if re.match(r"gray(?!8?$)", pixel_format):
            return f"has {pixel_format} pixels, which 8-bit RGB cannot hold: a depth map is no picture."
        if re.search(r"[lb]e$", pixel_format) and not re.search(
            r"(?<!\d)0?(9|[2-4]?10|565|555|444)[lb]e$", pixel_format
        ):
            to = "-c:v qtrle -pix_fmt argb" if _ALPHA.match(pixel_format) else "-pix_fmt yuv420p"  # keeps transparency
            command = _CONVERT.format(to).replace("NEW.mp4", "NEW.mov" if "argb" in to else "NEW.mp4")
            return f"has {pixel_format} pixels, which 8-bit RGB cannot hold. {command}"
    shapes = [tuple(map(int, frame["sar"].split("/"))) for frame in frames]  # 0 stands for unknown
    if any(across and down and abs(across / down - 1) > 0.01 for across, down in shapes):
        return f"has pixels that are not square ({frames[0]['sar']}). {_SQUARE}"
    if any(frame["order"] in "TB" for frame in frames):
        return f"is interlaced: each frame shows two moments. {_CONVERT.format('-vf bwdif=mode=send_frame')}"
    for angle in re.findall(r"isplay ?[mM]atrix: rotation of (-?[\d.]+) degrees", header):
        if abs(float(angle) / 90 - round(float(angle) / 90)) > 0.01:
            return f"is to be shown turned by {float(angle):g} degrees, which only multiples of 90 can be."
    return None


def _first_stamp(path: Path, name: str) -> float:
    """Where ffmpeg counts the time of a file from: the earliest time stamp of its streams [s]."""
    command = [*_input(path), "-t", "0", "-c", "copy", "-f", "null", "-"]
    found = re.search(r"Duration: .*?, start: (-?[\d.]+)", _run(command, name)[1])
    return float(found[1]) if found else 0.0


def _rate(stamps: Sequence[int], tick: Fraction, nominal: Fraction, stride: int, num_frames: int) -> tuple[float, bool]:
    """Rate of the frames that were read [Hz], and whether each lies on its own place of an even grid in time."""
    fps = float(nominal / stride)
    if len(stamps) < max(2, num_frames) or not tick:
        return fps, num_frames < 2 or fps > 0
    ticks_F, place_F = np.array(stamps, np.float64), np.arange(len(stamps))
    period, first = map(float, np.polyfit(place_F, ticks_F, 1))  # [ticks]
    if period <= 0:
        return fps, False
    off = float(np.abs(ticks_F - first - period * place_F).max())
    # Time stamps that are rounded to whole ticks (of 10 ms in a GIF) lie up to half a tick beside an even grid.
    rounding = 0.0 if abs(period - round(period)) < 0.02 else 0.6
    wanted = 1 / float(nominal / stride * tick) if nominal else 0.0
    if abs(period - wanted) > max(
        0.01 * wanted, 1 / (len(stamps) - 1)
    ):  # the header is only a guess where the rate varies
        fps = 1 / (period * float(tick))
    return fps, off <= max(0.1 * period, rounding)


def _fraction(log: str, key: str) -> Fraction:
    found = re.search(rf"{key}: (\d+)/([1-9]\d*)", log)
    return Fraction(int(found[1]), int(found[2])) if found else Fraction(0)
