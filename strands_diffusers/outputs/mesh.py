"""The serializer of triangle meshes: `mesh.ply`."""

from __future__ import annotations

from pathlib import Path

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import check_floats, writing
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Artifact, Mesh, Rollout


class MeshSerializer(Serializer):
    """Write the mesh to `mesh.ply`: binary little endian, float32 vertices, int32 triangles.

    Shapes: `rollout.mesh.vertices` float32 `[V, 3]`, `rollout.mesh.faces` int32 `[F, 3]`, each index in 0 to V - 1.
    Units: the model's own; a PLY file has no field for them.
    Raises: `OutputError` for another shape or dtype, NaN or inf, an index without a vertex.
    """

    name = "mesh"
    output_types = ("mesh",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `mesh.ply`."""
        mesh = rollout.mesh
        if not isinstance(mesh, Mesh):
            raise OutputError(f"mesh must be a Mesh of vertices and faces, got {type(mesh).__name__}.")
        content = ply_bytes(mesh)
        path = directory / "mesh.ply"
        with writing(path):
            path.write_bytes(content)
        return [Artifact(path, "mesh", {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "dtype": "float32"})]


def ply_bytes(mesh: Mesh) -> bytes:
    """Return the mesh as a PLY 1.0 file (Turk, 1994)."""
    vertices_V3 = check_floats("vertices of the mesh", mesh.vertices, "[V, 3]")
    faces_F3 = mesh.faces
    if vertices_V3.shape[1] != 3:
        raise OutputError(f"vertices of the mesh must have the shape [V, 3], got {vertices_V3.shape}.")
    if (
        not isinstance(faces_F3, np.ndarray)
        or faces_F3.dtype != np.int32
        or faces_F3.ndim != 2
        or faces_F3.shape[1] != 3
    ):
        raise OutputError("faces of the mesh must be an int32 array [F, 3].")
    count = len(vertices_V3)
    if faces_F3.size and not 0 <= faces_F3.min() <= faces_F3.max() < count:
        raise OutputError(
            f"faces of the mesh name vertices {faces_F3.min()} to {faces_F3.max()}; there are 0 to {count - 1}."
        )
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {count}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(faces_F3)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    records = np.empty(len(faces_F3), dtype=[("count", "u1"), ("vertices", "<i4", 3)])
    records["count"] = 3
    records["vertices"] = faces_F3
    return "\n".join([*header, ""]).encode() + np.ascontiguousarray(vertices_V3, "<f4").tobytes() + records.tobytes()


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [MeshSerializer]
