"""The serializer of sound: `sound.wav`."""

from __future__ import annotations

import struct
from pathlib import Path

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import check_floats, check_rate, writing
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout

MAX_CHANNELS = 32
"""More than this is an array the wrong way round, [C, N]."""

_IEEE_FLOAT = 3
"""WAVE_FORMAT_IEEE_FLOAT."""


class SoundSerializer(Serializer):
    """Write the sound to `sound.wav`: 32-bit float samples, bit for bit as the model gave them.

    Shapes: `rollout.sound` float32 `[N, C]`, C <= 32. Values beyond -1 to 1 are kept: float WAV holds them.
    Units: `rollout.sampling_rate` [Hz].
    Raises: `OutputError` for another shape or dtype, NaN or inf, a missing rate, more than 4 GiB.
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
        content = wav_bytes(samples_NC, int(rate))
        with writing(path):
            path.write_bytes(content)
        facts = {"shape": list(samples_NC.shape), "dtype": "float32", "sampling_rate": int(rate)}
        return [Artifact(path, "sound", facts)]


def wav_bytes(samples_NC: np.ndarray, sampling_rate: int) -> bytes:
    """Return a float WAV file. By hand, for libsndfile stamps the time of writing into it: equal sound, equal file.

    Source: Multimedia Programming Interface and Data Specifications 1.0 (RIFF), with the `fact` chunk of non-PCM data.
    """
    count, channels = samples_NC.shape
    if channels > MAX_CHANNELS:
        raise OutputError(
            f"sound must have the shape [N, C] with at most {MAX_CHANNELS} channels, got {samples_NC.shape}."
        )
    data = np.ascontiguousarray(samples_NC, "<f4").tobytes()
    frame_bytes = 4 * channels
    header = struct.pack(
        "<HHIIHHH", _IEEE_FLOAT, channels, sampling_rate, sampling_rate * frame_bytes, frame_bytes, 32, 0
    )
    body = b"".join(
        name + struct.pack("<I", len(chunk)) + chunk
        for name, chunk in ((b"fmt ", header), (b"fact", struct.pack("<I", count)), (b"data", data))
        if len(chunk) < 2**32
    )
    if len(body) + 4 >= 2**32:
        raise OutputError(f"sound of {count} samples is over the 4 GiB that a WAV file can hold.")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [SoundSerializer]
