"""The words of the options. Apart from what they do, so that the command line starts without numpy."""

from enum import Enum


class Units(str, Enum):
    """What the mapped columns hold."""

    model = "model"
    physical = "physical"
    poses = "poses"


class Rotation(str, Enum):
    """How a pose column writes its rotation."""

    euler_xyz = "euler_xyz"
    rotvec = "rotvec"
    quat_xyzw = "quat_xyzw"
    quat_wxyz = "quat_wxyz"
    rot6d = "rot6d"
    matrix = "matrix"


class Polarity(str, Enum):
    """What a gripper value means in the dataset."""

    open_is_1 = "open_is_1"
    closed_is_1 = "closed_is_1"
    closed_is_minus_1 = "closed_is_minus_1"
    open_is_minus_1 = "open_is_minus_1"


class ExportUnits(str, Enum):
    """What the exported action column holds."""

    model = "model"
    physical = "physical"
