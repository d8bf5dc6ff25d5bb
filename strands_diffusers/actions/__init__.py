"""What the action numbers mean: model space <-> physical units, rot6d <-> SO(3), deltas -> SE(3) paths. Pure numpy."""

from strands_diffusers.actions.chance import rotations, uniform
from strands_diffusers.actions.check import check_actions
from strands_diffusers.actions.fit import Fit, statistics_record
from strands_diffusers.actions.noise import check_noise, noisy, proper
from strands_diffusers.actions.perturb import PERTURBATIONS, no_motion, padded, perturbed
from strands_diffusers.actions.poses import deltas, geodesic, integrate, matrix_to_rot6d, rot6d_to_matrix
from strands_diffusers.actions.statistics import Statistics, builtin_statistics, load_statistics
from strands_diffusers.actions.units import (
    decodable,
    out_of_range_share,
    paths,
    physical_record,
    pixel_path,
    range_note,
    space_of,
    still_row,
    to_model,
    to_physical,
)

__all__ = [
    "PERTURBATIONS",
    "Fit",
    "Statistics",
    "builtin_statistics",
    "check_actions",
    "check_noise",
    "decodable",
    "deltas",
    "geodesic",
    "integrate",
    "load_statistics",
    "matrix_to_rot6d",
    "no_motion",
    "noisy",
    "out_of_range_share",
    "padded",
    "paths",
    "perturbed",
    "physical_record",
    "pixel_path",
    "proper",
    "range_note",
    "rot6d_to_matrix",
    "rotations",
    "space_of",
    "statistics_record",
    "still_row",
    "to_model",
    "to_physical",
    "uniform",
]
