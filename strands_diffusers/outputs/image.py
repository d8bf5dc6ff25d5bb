"""The serializer of still images: `image_00.png`, `image_01.png`, ..."""

from io import BytesIO
from pathlib import Path

from strands_diffusers.outputs.files import check_frames, writing
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Rollout


class ImageSerializer(Serializer):
    """Write every image to a lossless `image_00.png`, `image_01.png`, ...

    Shapes: `rollout.image` uint8 `[n, H, W, 3]` RGB.
    Raises: `OutputError` for another shape or dtype, or a file that cannot be written.
    """

    name = "image"
    output_types = ("image",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write one PNG per image; if one fails, those before it go too."""
        from PIL import Image

        images_nHWC = check_frames("image", rollout.image)
        artifacts: list[Artifact] = []
        try:
            for index, image_HWC in enumerate(images_nHWC):
                path = directory / f"image_{index:02d}.png"
                content = BytesIO()
                Image.fromarray(image_HWC).save(content, "PNG")
                with writing(path):
                    path.write_bytes(content.getvalue())
                artifacts.append(
                    Artifact(path, "image", {"shape": list(image_HWC.shape), "dtype": "uint8", "index": index})
                )
        except BaseException:
            for artifact in artifacts:
                artifact.path.unlink(missing_ok=True)
            raise
        return artifacts


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [ImageSerializer]
