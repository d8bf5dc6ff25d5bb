"""Is this what the model expects? Actions from a file, an observation or a caller, checked before anything loads.

Physical values where model-space ones belong is the mistake that costs most and shows least: a Bridge arm then moves
about 55 times too little. Magnitudes cannot tell: a slow arm's model-space values are small too. Rotation columns can.
Physical rot6d columns ARE the two unit, orthogonal columns of a rotation; model-space ones are such columns stretched
by the statistics, and become orthonormal only once decoded. So each reading is measured by how far the chunk is from
the nearest rotations under it, both in the chunk's own numbers, and the chunk is refused only if it holds rotations as
it stands and clearly less so once decoded. Noise moves both readings alike, so a generated chunk is never refused: no
false alarm in 68,000 simulated chunks of every domain with statistics, still to fast, with up to 0.05 of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from strands_diffusers import domains
from strands_diffusers.actions.poses import Array, matrix_to_rot6d, project
from strands_diffusers.actions.statistics import load_statistics
from strands_diffusers.domains import Domain
from strands_diffusers.errors import ActionError, DomainError
from strands_diffusers.lazy import np
from strands_diffusers.results import ActionSpace

_ROUNDED = 5e-3
"""Largest distance of a rot6d entry from the nearest rotation that rounding (two digits, bfloat16) explains."""

_NO_ROTATION = 0.02
"""Beyond this distance, columns are no rotation matrix's, however rounded."""

_EXACT = 2e-6
"""Largest distance that float32 explains."""

_CLEARLY = 3.0
"""One reading must be this many times closer to a rotation than the other."""

_TELLING = 1e-5
"""Below this distance both readings are rotations, and the chunk says nothing about its units."""

_ENOUGH_ROWS = 4
"""Fewer rows of a generated, nearly still chunk can hit a rotation by chance."""

_FAR_OUT = 4.0
"""Model space is nominally -1 to 1 and never clipped; pixels and grippers beyond this are in other units."""


def check_actions(
    value: Any,
    domain: str,
    *,
    space: ActionSpace | None = None,
    units: Literal["model", "physical"] = "model",
) -> np.ndarray:
    """Return `value` as float32 `[T, D]`, or refuse it with what is wrong and what to do instead.

    Shapes: nested lists or an array, `[T, D]`, or chunks `[K, T, D]`, which are laid one after the other: `[K*T, D]`.
    Units: `units` says what `value` must be in. Values are kept exactly: not clipped, not scaled. `space` brings the
        statistics to judge by; without it the domain's built-in ones serve, and a domain that has none (av,
        camera_pose, galbot) has nothing to judge by.
    Raises: `ActionError` for ragged, empty, not numeric, NaN or infinite values, a wrong width, and the other units;
        `DomainError` for an unknown domain or one without a width.
    """
    known = domains.get(domain)
    if known.width is None:
        raise DomainError(
            f"domain {known.short!r} has no action width in diffusers, which refuses it in every mode. "
            "Use another domain."
        )
    names = [column.name for column in known.columns]
    rows = check_numbers(value, "the action chunk", names)
    rows_TD = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    if rows_TD.shape[1] != known.width:
        listed = ", ".join(names[:12]) + (", ..." if known.width > 12 else "")
        seven = " Seven columns are xyz, three angles and a gripper: convert the angles to rot6d."
        raise ActionError(
            f"actions have {rows_TD.shape[1]} columns; domain {known.short!r} needs {known.width}: {listed}."
            + seven * (rows_TD.shape[1] == 7)
        )
    if units == "model":
        _refuse_physical(rows_TD, known, space)
    else:
        _refuse_model(rows_TD, known, space)
    return rows_TD.astype(np.float32)


def check_numbers(value: Any, name: str, columns: Sequence[str] = ()) -> np.ndarray:
    """Return numbers nested as [T][D] or [K][T][D] as float32 `[T, D]` or `[K, T, D]`, exactly as they are.

    Raises: `ActionError`, with `name` in front, for values that are ragged, empty, not numbers, NaN or infinite; `columns`
        are the names of the columns.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # numpy on ragged nesting
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu":
        if isinstance(value, list):
            check_nesting(value, name)
        raise ActionError(f"{name} holds {type(value).__name__} of {array.dtype}, not numbers. {_SHAPES}")
    if array.size == 0:
        raise ActionError(f"{name} holds no actions: shape {list(array.shape)}. {_SHAPES}")
    if array.ndim not in (2, 3):
        raise ActionError(f"{name} has shape {list(array.shape)}. {_SHAPES}")
    with np.errstate(over="ignore"):  # a value beyond float32 becomes inf and is refused as such
        chunks = np.array(array, np.float32)
    wrong = np.argwhere(~np.isfinite(chunks))
    if len(wrong):
        *_, row, column = wrong[0]
        where = repr(columns[column]) if column < len(columns) else column
        raise ActionError(
            f"{name} holds {chunks[tuple(wrong[0])]} in row {row}, column {where}. Every action must be a finite number."
        )
    return chunks


_SHAPES = "Give numbers [T, D], or chunks [K, T, D]."


def check_nesting(value: Any, name: str) -> None:
    """Refuse nested lists that are not a regular [T][D] or [K][T][D] of numbers, naming the first odd row."""
    if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
        raise ActionError(f"{name} is not a list of rows, nested as [T][D] or [K][T][D].")
    chunks = value if value and value[0] and isinstance(value[0][0], list) else [value]
    first: list[Any] | None = None
    for k, chunk in enumerate(chunks):
        where = f"chunk {k}, " if chunks is value else ""
        if len(chunk) != len(chunks[0]):
            raise ActionError(f"{name} is ragged: chunk {k} has {len(chunk)} rows, chunk 0 has {len(chunks[0])}.")
        for t, row in enumerate(chunk):
            if not isinstance(row, list):
                raise ActionError(f"{name} is ragged: {where}row {t} is not a list.")
            first = row if first is None else first
            if len(row) != len(first):
                raise ActionError(
                    f"{name} is ragged: {where}row {t} has {len(row)} values, the first has {len(first)}."
                )
            for d, number in enumerate(row):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    shown = repr(number) if len(repr(number)) <= 24 else f"{repr(number)[:20]}..."
                    raise ActionError(f"{name} holds {shown} in {where}row {t}, column {d}: not a number.")


def _refuse_physical(rows_TD: Array, known: Domain, space: ActionSpace | None) -> None:
    for index, column in enumerate(known.columns):
        largest = float(np.abs(rows_TD[:, index]).max())
        if column.kind == "pixel" and largest > _FAR_OUT:
            raise ActionError(
                f"column {column.name!r} reaches {largest:g}: these look like pixels, and model-space values belong "
                "here. The embedded model's are pixel / 256 - 1."
            )
        if column.kind == "gripper" and largest > _FAR_OUT:
            raise ActionError(
                f"column {column.name!r} reaches {largest:g}, and model-space values lie about -1 to 1: is it in "
                "per cent, millimetres or motor counts?"
            )
    gaps = _gaps(rows_TD, known, space)
    if gaps is None:
        return
    as_physical, as_model = gaps
    # A step turns by less than a quarter turn; a mirrored model-space chunk (-1 on the diagonal) is near a half turn.
    forward = all((rows_TD[:, [pose.start + 3, pose.start + 7]] > 0).all() for pose in known.poses)
    rotations = as_physical < _EXACT or (as_physical < _ROUNDED and forward and len(rows_TD) >= _ENOUGH_ROWS)
    if rotations and as_model > _TELLING and as_physical * _CLEARLY < as_model:
        raise ActionError(
            f"these actions look like physical units (their rotation columns are rotation matrices, off by "
            f"{as_physical:.1g}), and model-space values belong here: taken as they are, the arm would hardly move. "
            f"Encode them first: strands_diffusers.actions.to_model(actions, actions.space_of({known.short!r}))."
        )


def _refuse_model(rows_TD: Array, known: Domain, space: ActionSpace | None) -> None:
    gaps = _gaps(rows_TD, known, space)
    if gaps is None:
        return
    as_physical, as_model = gaps
    if as_physical > _NO_ROTATION or (as_physical > _TELLING and as_model * _CLEARLY < as_physical):
        raise ActionError(
            f"the rotation columns are off by {as_physical:.1g} from any rotation: these look like model space, and "
            "physical units belong here (two columns of a rotation matrix, one after the other; identity 1 0 0 0 1 0). "
            f"Decode them first: strands_diffusers.actions.to_physical(actions, actions.space_of({known.short!r}))."
        )


def _gaps(rows_TD: Array, known: Domain, space: ActionSpace | None) -> tuple[float, float] | None:
    """Return how far the rot6d columns are from rotations as they stand, and once decoded, in the chunk's own numbers.

    None where the domain has no poses or no statistics to decode by.
    """
    name = (space.statistics if space else None) or known.statistics
    if name is None or not known.poses:
        return None
    statistics = load_statistics(name, known.name)
    scale, offset = statistics.scale_and_offset(space.normalization if space and space.statistics else "quantile")
    as_physical = as_model = 0.0
    for pose in known.poses:
        part = slice(pose.start + 3, pose.start + 9)
        raw, spread = rows_TD[:, part], scale[part]
        decoded = raw * spread + offset[part]
        # A column that spans nothing decodes to a constant and cannot be compared.
        encoded = (matrix_to_rot6d(project(decoded)) - offset[part]) / np.where(spread > 0, spread, np.inf)
        as_physical = max(as_physical, float(np.abs(matrix_to_rot6d(project(raw)) - raw).max()))
        as_model = max(as_model, float(np.abs(encoded - raw)[:, spread > 0].max(initial=0.0)))
    return as_physical, as_model
