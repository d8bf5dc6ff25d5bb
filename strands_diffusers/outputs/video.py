"""The serializer of videos: `video.mp4`."""

from dataclasses import dataclass
from pathlib import Path

from strands_diffusers.config.schema import SerializerConfig
from strands_diffusers.errors import ConfigError
from strands_diffusers.outputs.files import check_floats, check_frames, check_rate
from strands_diffusers.outputs.video_file import Preset, Track, write_mp4
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout


class VideoSerializer(Serializer):
    """Write the video to `video.mp4`: H.264, yuv420p, at the model's own size and rate, with its sound.

    Shapes: `rollout.video` uint8 `[F, H, W, 3]` RGB. An odd H or W is padded by one, with a warning (`video_file.write_mp4`).
    Units: `rollout.fps` [Hz].
    Sound: where the rollout has sound it becomes an AAC stream of the file; the exact samples are in `sound.wav`.
    Raises: `OutputError` for another shape or dtype, a missing rate, or a file that cannot be written.
    """

    name = "video"
    output_types = ("video",)

    @dataclass
    class Config(SerializerConfig):
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
        track = None
        if self.config.sound and rollout.sound is not None:
            samples_NC = check_floats("sound", rollout.sound, "[N, C]")
            track = Track(samples_NC, int(check_rate("sampling_rate of the sound", rollout.sampling_rate)))
        path = directory / "video.mp4"
        facts = write_mp4(path, frames_FHWC, fps, crf=self.config.crf, preset=self.config.preset, track=track)
        return [Artifact(path, "video", facts)]


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [VideoSerializer]
