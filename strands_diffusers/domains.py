"""What is known of every embodiment: ids and widths from the installed diffusers, joined with a table of our own.

diffusers knows which domains there are, their ids and widths: two dict literals, read with `ast` so that neither
diffusers nor torch is imported. What it does not know stands in `_OWN`: column layout, rate, chunk, view, statistics.
A domain that a newer diffusers adds appears by itself, with generic columns and no rate.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

from strands_diffusers.errors import DomainError, MissingPackageError, ObservationError, near_miss

_PIPELINE_FILE = "pipelines/cosmos/pipeline_cosmos3_omni.py"
_TABLES = ("_EMBODIMENT_TO_DOMAIN_ID", "_EMBODIMENT_TO_RAW_ACTION_DIM")

_ROT6D = ("r11", "r21", "r31", "r12", "r22", "r32")
"""rot6d is the first two COLUMNS of the rotation matrix, one after the other; `r21` is row 2, column 1."""

_FINGERS = ("thumb", "index", "middle", "ring", "little")

_COSMOS_FRAMEWORK = "layout, fps, chunk, view: NVIDIA cosmos-framework; id, width: diffusers"
_DIFFUSERS = "id, width: diffusers"


@dataclass(frozen=True)
class Column:
    """One number of an action row."""

    name: str
    """Unique in its domain: `x`, `r11`, `gripper`, `right_x`; `action_7` where the layout is unknown."""

    group: str
    """What it belongs to: `arm`, `right_arm`, `head`, `ego`, `right_wrist`, `target`, ... ."""

    kind: str
    """translation, rot6d, gripper, fingertip, pixel, or unknown."""

    unit: str
    """Unit once decoded with the domain's statistics: `m`, `px`, or an empty string (unitless, or unknown)."""


@dataclass(frozen=True)
class PoseGroup:
    """Nine columns from `start`: translation 3 + rot6d 6, the local SE(3) delta of one moving body."""

    name: str
    """The columns' `group`."""

    start: int
    """Index of its first column."""


@dataclass(frozen=True)
class Domain:
    """An embodiment: its action columns, rate and view."""

    short: str
    """What users type: `bridge`."""

    name: str
    """diffusers' own name: `bridge_orig_lerobot`."""

    id: int
    """diffusers' id: the slot of the model's weights. Several domains may share one."""

    width: int | None
    """Columns D of an action row; None where diffusers knows no width and refuses the domain in every mode."""

    columns: tuple[Column, ...]
    """One for each of the `width` columns, in order; empty where there is no width."""

    poses: tuple[PoseGroup, ...]
    """The bodies that move by local SE(3) deltas, in column order."""

    fps: float | None
    """Rate of actions and frames in training [Hz], or None where unknown."""

    chunk_size: int | None
    """Action steps T of a training chunk, or None where unknown."""

    view_point: str | None
    """Camera label of the training captions: ego_view, third_person_view, wrist_view, concat_view, or None."""

    statistics: str | None
    """Built-in name of the normaliser statistics; None: its actions stay in model space."""

    source: str
    """Where these facts come from."""


class _Own(NamedTuple):
    """What diffusers does not know of a domain: short name, columns, rate, chunk, view and statistics."""

    short: str
    columns: tuple[Column, ...] = ()
    fps: float | None = None
    chunk_size: int | None = None
    view_point: str | None = None
    statistics: str | None = None


def _pose(group: str, prefix: str = "") -> tuple[Column, ...]:
    translation = tuple(Column(prefix + axis, group, "translation", "m") for axis in "xyz")
    return translation + tuple(Column(prefix + entry, group, "rot6d", "") for entry in _ROT6D)


def _fingertips(group: str, prefix: str) -> tuple[Column, ...]:
    # Joints 4, 8, 12, 16, 20 of the usual 21-joint hand, in the wrist's own frame.
    return tuple(Column(f"{prefix}{tip}_{axis}", group, "fingertip", "m") for tip in _FINGERS for axis in "xyz")


def _arm(group: str, prefix: str = "", gripper_unit: str = "") -> tuple[Column, ...]:
    return (*_pose(group, prefix), Column(f"{prefix}gripper", group, "gripper", gripper_unit))


_EGO = _pose("ego")
_ONE_ARM = _arm("arm")
_DUAL_FRANKA = _arm("left_arm", "left_") + _arm("right_arm", "right_")
_AGIBOT = _pose("head", "head_") + _arm("right_arm", "right_") + _arm("left_arm", "left_")
_HANDS = (
    _pose("camera", "camera_")
    + _pose("right_wrist", "right_")
    + _fingertips("right_fingertips", "right_")
    + _pose("left_wrist", "left_")
    + _fingertips("left_fingertips", "left_")
)
_TARGET = tuple(Column(f"target_{axis}", "target", "pixel", "px") for axis in "xy")

_OWN: dict[str, _Own] = {
    "av": _Own("av", _EGO, 10, 60, "ego_view"),
    "camera_pose": _Own("camera_pose", _EGO, 30, 60, "ego_view"),
    "hand_pose": _Own("hand_pose", _HANDS, 15, 16, "ego_view", "human_hand_pose_lerobot"),
    "pusht": _Own("pusht", _TARGET, 10, 16, "third_person_view"),
    "umi": _Own("umi", _arm("arm", gripper_unit="m"), 20, 16, "wrist_view", "umi_lerobot"),
    "bridge_orig_lerobot": _Own("bridge", _ONE_ARM, 5, 16, "ego_view", "bridge_orig_lerobot"),
    "droid_lerobot": _Own("droid", _ONE_ARM, 15, 16, "concat_view", "droid_lerobot"),
    "robomind-franka": _Own("robomind_franka", _ONE_ARM, 10, 16, "concat_view", "robomind_franka"),
    "galbot": _Own("galbot", (), 10, 16),
    "robomind-franka-dual": _Own(
        "robomind_franka_dual", _DUAL_FRANKA, 10, 16, "third_person_view", "robomind_franka_dual"
    ),
    "robomind-ur": _Own("robomind_ur", _ONE_ARM, 10, 16, "third_person_view", "robomind_ur"),
    "agibotworld": _Own("agibot", _AGIBOT, 10, 16, "concat_view", "agibotworld_beta_lerobot"),
    # The two GEAR variants share the layout; their statistics are not published, and AgiBotWorld-Beta's are not theirs.
    "agibot_gear_gripper": _Own("agibot_gear_gripper", _AGIBOT, 10, 16, "concat_view"),
    "agibot_gear_gripper_ext": _Own("agibot_gear_gripper_ext", _AGIBOT, 10, 16, "concat_view"),
    "fractal": _Own("fractal", _ONE_ARM, 3, 16, "ego_view", "fractal_lerobot"),
}


def get(name: str) -> Domain:
    """Return the domain called `name`: diffusers' own name or the short one.

    Raises: `DomainError` listing the short names, with a near miss.
    """
    known = _by_name()
    if name in known:
        return known[name]
    shorts = [domain.short for domain in all_domains()]
    raise DomainError(f"there is no domain {name!r}.{near_miss(name, known)} Domains: {', '.join(shorts)}.")


def short_name(name: str) -> str:
    """Return the short name of the domain called `name`; raises as `get` does."""
    return get(name).short


def check_same(domain: str | None, wanted: str | None, name: str) -> None:
    """Raise `ObservationError` where the observation `name` is known to be of another domain than the wanted one."""
    if domain and wanted and domain != wanted:
        seen, run = short_name(domain), short_name(wanted)
        raise ObservationError(
            f"{name} was seen in the domain {seen}, and this run has domain={run}. "
            f"Type observation=FILE with one of {run}, or domain={seen}."
        )


@cache
def all_domains() -> tuple[Domain, ...]:
    """Return every domain that the installed diffusers knows, in the order of their ids.

    Raises: `MissingPackageError` where diffusers is missing or too old to have Cosmos 3.
    """
    path = diffusers_folder() / _PIPELINE_FILE
    if not path.is_file():
        raise MissingPackageError(
            "the installed diffusers has no Cosmos 3 pipeline. Run: pip install 'diffusers>=0.42'."
        )
    return read_domains(path)


def read_domains(path: Path) -> tuple[Domain, ...]:
    """Return the domains whose ids and widths are literals of the diffusers source file `path`, in id order.

    Raises: `MissingPackageError` where the file does not hold the two tables as literals.
    """
    ids, widths = _tables(path)
    found = [_domain(name, ids[name], widths.get(name)) for name in ids]
    return tuple(sorted(found, key=lambda domain: domain.id))  # stable: equal ids keep diffusers' order


def _domain(name: str, number: int, width: int | None) -> Domain:
    own = _OWN.get(name) or _Own(name.replace("-", "_"))
    # A width that is not our layout's is diffusers' news: the columns are then unknown, and so are the statistics.
    fits = bool(own.columns) and len(own.columns) == width
    columns = own.columns if fits else tuple(Column(f"action_{i}", "action", "unknown", "") for i in range(width or 0))
    starts = [i for i, column in enumerate(columns) if column.kind == "translation" and column.name.endswith("x")]
    return Domain(
        own.short,
        name,
        number,
        width,
        columns,
        tuple(PoseGroup(columns[start].group, start) for start in starts),
        *own[2:5],
        statistics=own.statistics if fits else None,
        source=_COSMOS_FRAMEWORK if name in _OWN else _DIFFUSERS,
    )


@cache
def _by_name() -> dict[str, Domain]:
    domains = all_domains()
    return {domain.short: domain for domain in domains} | {domain.name: domain for domain in domains}


def diffusers_folder() -> Path:
    """The folder of the installed diffusers, found without importing it. Raises: `MissingPackageError`."""
    spec = PathFinder.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError("diffusers is not installed. Type: pip install 'diffusers>=0.42'.")
    return Path(next(iter(spec.submodule_search_locations)))


def _tables(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return diffusers' id table and width table, read from the source text."""
    found: dict[str, dict[str, int]] = {}
    source = path.read_text(encoding="utf-8")
    # the two literals alone: parsing all 1,900 lines would cost every command 50 ms
    tables = "\n".join(
        m[0] for name in _TABLES if (m := re.search(rf"^{name}\b[^=\n]*= {{$.*?^}}$", source, re.M | re.S))
    )
    for node in ast.parse(tables if len(re.findall(r"^}$", tables, re.M)) == len(_TABLES) else source).body:
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name) and target.id in _TABLES:
            found[target.id] = ast.literal_eval(node.value)
    missing = [name for name in _TABLES if name not in found]
    if missing:
        raise MissingPackageError(
            f"{path} holds no {' and no '.join(missing)}: this diffusers is not one we know. "
            "Run: pip install 'diffusers>=0.42,<0.43'."
        )
    return found[_TABLES[0]], found[_TABLES[1]]
