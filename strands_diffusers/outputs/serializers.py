"""The built-in serializers: what each output type becomes on disk.

Each refuses another shape or dtype, NaN and inf, with an `OutputError`; nothing of what it began stays then.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers import actions, domains
from strands_diffusers.config.schema import Options
from strands_diffusers.errors import ConfigError, OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import check_floats, check_frames, check_rate, png, write_files
from strands_diffusers.outputs.video_file import Preset, write_mp4
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.records import plain
from strands_diffusers.results import ActionSpace, Artifact, Episode, Mesh, Rollout

MAX_CHANNELS = 32
"""Sound with more than this is an array the wrong way round, [C, N]."""


class VideoSerializer(Serializer):
    """Write the video to `video.mp4`: H.264, yuv420p, at the model's own size and rate, with its sound.

    Shapes: `rollout.video` uint8 `[F, H, W, 3]` RGB. An odd H or W is padded by one, with a warning (`video_file.write_mp4`).
    Units: `rollout.fps` [Hz].
    Sound: where the rollout has sound it becomes an AAC stream of the file; the exact samples are in `sound.wav`.
    """

    name = "video"
    output_types = ("video",)

    @dataclass
    class Config(Options):
        """How the video is encoded."""

        crf: int = 12
        """x264's constant rate factor, 1 (near lossless, large) to 51 (poor, small)."""

        preset: Preset = Preset.veryfast
        """x264's preset, ultrafast to veryslow: slower makes smaller files of the same quality."""

        sound: bool = True
        """Whether the file carries the rollout's sound, where there is one."""

        def __post_init__(self) -> None:
            if not 1 <= self.crf <= 51:
                raise ConfigError(f"output.video.crf must be 1 (near lossless) to 51, got {self.crf}.")

    config: Config

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `video.mp4`."""
        frames_FHWC = check_frames("video", rollout.video)
        fps = check_rate("fps of the video", rollout.fps)
        sound = None
        if self.config.sound and rollout.sound is not None:
            samples_NC = check_floats("sound", rollout.sound, "[N, C]")
            sound = samples_NC, int(check_rate("sampling_rate of the sound", rollout.sampling_rate))
        path = directory / "video.mp4"
        facts = write_mp4(path, frames_FHWC, fps, crf=self.config.crf, preset=self.config.preset, sound=sound)
        return [Artifact(path, "video", facts)]


class SoundSerializer(Serializer):
    """Write the sound to `sound.wav`: 32-bit float samples, bit for bit as the model gave them.

    Shapes: `rollout.sound` float32 `[N, C]`, C <= 32. Values beyond -1 to 1 are kept: float WAV holds them.
    Units: `rollout.sampling_rate` [Hz], a whole number.
    """

    name = "sound"
    output_types = ("sound",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `sound.wav`."""
        samples_NC = check_floats("sound", rollout.sound, "[N, C]")
        rate = check_rate("sampling_rate of the sound", rollout.sampling_rate)
        if rate != int(rate):
            raise OutputError(f"sampling_rate of the sound must be a whole number of Hz, got {rate}.")
        path = directory / "sound.wav"
        write_files({path: wav_bytes(samples_NC, int(rate))})
        facts = {"shape": list(samples_NC.shape), "dtype": "float32", "sampling_rate": int(rate)}
        return [Artifact(path, "sound", facts)]


def wav_bytes(samples_NC: np.ndarray, sampling_rate: int) -> bytes:
    """Return a float WAV file. By hand, for libsndfile stamps the time of writing into it: equal sound, equal file.

    Source: Multimedia Programming Interface and Data Specifications 1.0 (RIFF), with the `fact` chunk of non-PCM data.
    """
    (count, channels), ieee_float = samples_NC.shape, 3
    if channels > MAX_CHANNELS:
        raise OutputError(
            f"sound must have the shape [N, C] with at most {MAX_CHANNELS} channels, got {samples_NC.shape}."
        )
    frame_bytes = 4 * channels
    if count * frame_bytes >= 2**32 - 64:
        raise OutputError(f"sound of {count} samples is over the 4 GiB that a WAV file can hold.")
    header = struct.pack(
        "<HHIIHHH", ieee_float, channels, sampling_rate, sampling_rate * frame_bytes, frame_bytes, 32, 0
    )
    data = np.ascontiguousarray(samples_NC, "<f4").tobytes()
    chunks = {b"fmt ": header, b"fact": struct.pack("<I", count), b"data": data}
    body = b"".join(name + struct.pack("<I", len(chunk)) + chunk for name, chunk in chunks.items())
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


class ActionSerializer(Serializer):
    """Write action chunks to `action.json`: nested lists, chunk by chunk, one row per step.

    Shapes: `rollout.action` float32 `[K, T, D]`: K chunks of T steps, D = the domain's width (10 for
        `bridge_orig_lerobot`). Row t moves frame t to frame t + 1.
    Units: model space, unitless: neither metres nor radians. Exact: every number reads back to the same float32,
        beyond -1 to 1 too; nothing is clipped or scaled. `action_physical.json` beside it, where the domain has
        statistics, holds the decoded values: named columns, units, the absolute SE(3) path.
    """

    name = "action"
    output_types = ("action",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `action.json` and, where it can be decoded, `action_physical.json`."""
        action_KTD = check_action("action", rollout.action, rollout.space)
        path, physical = directory / "action.json", directory / "action_physical.json"
        facts = {"shape": list(action_KTD.shape), "domain": rollout.domain}
        files = {path: rows_json(action_KTD).encode()}
        artifacts = [Artifact(path, "action", facts | {"dtype": "float32", "unit": "model space"})]
        if actions.decodable(rollout.space):
            files[physical] = json.dumps(actions.physical_record(rollout), allow_nan=False).encode()
            artifacts.append(Artifact(physical, "action", facts | {"unit": "physical"}))
        write_files(files)
        return artifacts


def check_action(name: str, action: object, space: ActionSpace | None) -> np.ndarray:
    """Return `action` where it is finite float32 `[K, T, D]` with D the domain's width.

    Raises: `OutputError` naming what there is and what the domain needs.
    """
    width = domains.get(space.domain).width if space else None
    needs = f"domain {space.domain!r} needs [K, T, {width}]" if space and width else "it must be [K, T, D]"
    if not isinstance(action, np.ndarray) or action.ndim != 3 or (width and action.shape[2] != width):
        raise OutputError(f"{name} has shape {getattr(action, 'shape', None)}; {needs}.")
    return check_floats(name, action, "[K, T, D]")


def rows_json(action_KTD: np.ndarray) -> str:
    """Return the chunks as JSON with one step per line. A float32 is also a double, and JSON's doubles are exact."""
    chunks = (
        "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in chunk) + "\n]" for chunk in action_KTD.tolist()
    )
    return "[" + ",\n".join(chunks) + "]\n"


class ImageSerializer(Serializer):
    """Write every image to a lossless `image_00.png`, `image_01.png`, ...

    Shapes: `rollout.image` uint8 `[n, H, W, 3]` RGB.
    """

    name = "image"
    output_types = ("image",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write one PNG per image, all of them or none."""
        files, artifacts = {}, []
        for index, image_HWC in enumerate(check_frames("image", rollout.image)):
            path = directory / f"image_{index:02d}.png"
            files[path] = png(image_HWC)
            facts = {"shape": list(image_HWC.shape), "dtype": "uint8", "index": index}
            artifacts.append(Artifact(path, "image", facts))
        write_files(files)
        return artifacts


class MeshSerializer(Serializer):
    """Write the mesh to `mesh.ply`: binary little endian, float32 vertices, int32 triangles.

    Shapes: `rollout.mesh.vertices` float32 `[V, 3]`, `rollout.mesh.faces` int32 `[F, 3]`, each index in 0 to V - 1.
    Units: the model's own; a PLY file has no field for them.
    """

    name = "mesh"
    output_types = ("mesh",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `mesh.ply`."""
        mesh, path = rollout.mesh, directory / "mesh.ply"
        if not isinstance(mesh, Mesh):
            raise OutputError(f"mesh must be a Mesh of vertices and faces, got {type(mesh).__name__}.")
        write_files({path: ply_bytes(mesh)})
        return [Artifact(path, "mesh", {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "dtype": "float32"})]


def ply_bytes(mesh: Mesh) -> bytes:
    """Return the mesh as a PLY 1.0 file (Turk, 1994)."""
    vertices_V3, faces_F3 = check_floats("vertices of the mesh", mesh.vertices, "[V, 3]"), mesh.faces
    if vertices_V3.shape[1] != 3:
        raise OutputError(f"vertices of the mesh must have the shape [V, 3], got {vertices_V3.shape}.")
    is_array = isinstance(faces_F3, np.ndarray) and faces_F3.dtype == np.int32
    if not is_array or faces_F3.ndim != 2 or faces_F3.shape[1] != 3:
        raise OutputError("faces of the mesh must be an int32 array [F, 3].")
    count = len(vertices_V3)
    if faces_F3.size and not 0 <= faces_F3.min() <= faces_F3.max() < count:
        raise OutputError(
            f"faces of the mesh name vertices {faces_F3.min()} to {faces_F3.max()}; there are 0 to {count - 1}."
        )
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{axes}"
        f"element face {len(faces_F3)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces_F3), dtype=[("count", "u1"), ("vertices", "<i4", 3)])
    rows["count"], rows["vertices"] = 3, faces_F3
    return header.encode() + np.ascontiguousarray(vertices_V3, "<f4").tobytes() + rows.tobytes()


class EpisodeSerializer(Serializer):
    """Write what an episode holds beside its video and its actions to `episode.json`.

    Shapes: `proposed_action` [K][T][D] in model space, exact; `scores.NAME.values` [F], null where a frame has none;
        `states` [F], in the world's own terms. `proposed.mp4`: the policy's own videos, look after look, each cut to
        what was acted on: frame f beside frame f of `video.mp4`. `alternatives.png`: a row a look, the last predicted frames
        of the proposals that were compared.
    """

    name = "episode"
    output_types = ("episode",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `episode.json` and, where there is a video to write, `proposed.mp4`."""
        episode = rollout.episode
        assert episode is not None
        looks, steps, width = episode.proposed_action.shape
        path = directory / "episode.json"
        write_files({path: json.dumps(plain(episode_tree(episode)), allow_nan=False).encode()})
        facts = {"shape": [looks, steps, width], "unit": "model space", "looks": looks, "act_steps": episode.act_steps}
        artifacts = [Artifact(path, self.name, facts)]
        if episode.proposed_video is not None:
            video = directory / "proposed.mp4"
            fps = check_rate("fps of the proposed videos", rollout.fps)
            artifacts.append(Artifact(video, self.name, write_mp4(video, proposed_frames(episode), fps)))
        if (pictures := episode.alternatives) is not None:
            _, count, height, side = pictures.shape[:4]
            grid_HWC = pictures.swapaxes(1, 2).reshape(looks * height, count * side, 3)
            artifacts.append(write_grid(directory / "alternatives.png", grid_HWC, self.name, pictures.shape))
        return artifacts


def write_grid(path: Path, grid_HWC: np.ndarray, type_: str, shape: tuple[int, ...]) -> Artifact:
    """Write pictures `[K, M, H, W, 3]`, laid out as K rows of M, to one PNG."""
    write_files({path: png(grid_HWC)})
    return Artifact(path, type_, {"pictures": list(shape), "shape": list(grid_HWC.shape), "dtype": "uint8"})


def proposed_frames(episode: Episode) -> np.ndarray:
    """The policy's own videos as one, uint8 `[F, H, W, 3]`: frame f shows what it imagined of frame f of the episode."""
    videos = episode.proposed_video
    assert videos is not None
    return np.concatenate([videos[0, :1], *(video[1 : episode.act_steps + 1] for video in videos)])


def episode_tree(episode: Episode) -> dict[str, Any]:
    """The episode as nested plain values, without its videos."""

    def scores(of: Any) -> dict[str, Any]:
        return {name: {"unit": s.unit, "better": s.better, "values": s.values} for name, s in of.items()}

    return {
        "policy": episode.policy,
        "world": episode.world,
        "act_steps": episode.act_steps,
        "looks": [
            {"frame": frame, "seconds": seconds, "details": details}
            for frame, seconds, details in zip(episode.looks, episode.seconds, episode.details, strict=True)
        ],
        "scores": scores(episode.scores),
        "reference": episode.reference,
        "reference_scores": scores(episode.reference_scores),
        "proposed_action": episode.proposed_action,
        "states": episode.states,
        "reference_states": episode.reference_states,
    }


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [VideoSerializer, SoundSerializer, ActionSerializer, ImageSerializer, MeshSerializer, EpisodeSerializer]
