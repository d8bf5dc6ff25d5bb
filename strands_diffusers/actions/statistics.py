"""The normaliser statistics of a domain: which physical values -1 and 1 stand for, column by column.

A file is JSON: `domains` (diffusers' names that it serves), `source`, optionally `columns`, and the arrays `q01`,
`q99`, `min`, `max`, `mean`, `std`, each as wide as the domain. The built-in ones lie in `assets/statistics/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from strands_diffusers import domains
from strands_diffusers.actions.poses import Array
from strands_diffusers.errors import DomainError, near_miss
from strands_diffusers.jsonfile import read_json
from strands_diffusers.lazy import np

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "statistics"
"""Where the built-in statistics lie, one JSON file each."""

ARRAYS = ("q01", "q99", "min", "max", "mean", "std")

NORMALIZATIONS = {"quantile": ("q01", "q99"), "min_max": ("min", "max"), "mean_std": ("mean", "std")}
"""The maps between model space and physical units, each with the two arrays it needs."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the values of a domain's columns span, in physical units. Arrays are float64 `[D]`, read-only, or None."""

    domain: str
    """diffusers' name of the domain that they were loaded for."""

    name: str
    """Built-in name, or the file's path."""

    source: str
    """Where the numbers come from."""

    q01: Array | None = None
    q99: Array | None = None
    min: Array | None = None
    max: Array | None = None
    mean: Array | None = None
    std: Array | None = None

    def scale_and_offset(self, normalization: str) -> tuple[Array, Array]:
        """Return `[D]` scale and offset of the map `physical = scale * model + offset`.

        Raises: `DomainError` for an unknown normalisation, or one whose arrays the file does not hold.
        """
        if normalization not in NORMALIZATIONS:
            raise DomainError(
                f"domain.normalization={normalization} is not known.{near_miss(normalization, NORMALIZATIONS)} "
                f"Use {', '.join(NORMALIZATIONS)}."
            )
        first, second = (getattr(self, name) for name in NORMALIZATIONS[normalization])
        if first is None or second is None:
            able = [key for key, pair in NORMALIZATIONS.items() if all(getattr(self, n) is not None for n in pair)]
            raise DomainError(
                f"statistics {self.name!r} hold no {' and '.join(NORMALIZATIONS[normalization])}, which "
                f"domain.normalization={normalization} needs. They allow: {', '.join(able)}."
            )
        if normalization == "mean_std":
            return second, first
        return 0.5 * (second - first), 0.5 * (second + first)


def builtin_statistics() -> tuple[str, ...]:
    """Return the names of the built-in statistics, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def load_statistics(name_or_path: str, domain: str) -> Statistics:
    """Return the statistics called `name_or_path` (a built-in name or the path of a JSON file) for `domain`.

    Raises: `DomainError` when there are no such statistics, the file is not one, it serves other domains (though the
        width may fit), or an array has the wrong width, order or values.
    """
    known = domains.get(domain)
    builtin = FOLDER / f"{name_or_path}.json"
    if name_or_path in builtin_statistics():
        path = builtin
    elif (path := Path(name_or_path).expanduser()).is_file():
        path = path.absolute()
    else:
        raise DomainError(
            f"there are no statistics {name_or_path!r}: neither a file nor built in."
            f"{near_miss(name_or_path, builtin_statistics())} Built in: {', '.join(builtin_statistics())}. "
            f"Use domain.statistics={known.statistics or 'FILE.json'}, or null to stay in model space."
        )
    name = path.stem if path == builtin else str(path)
    return _read(path, path.stat().st_mtime_ns, name, known.name)


@lru_cache(maxsize=64)
def _read(path: Path, _changed_ns: int, name: str, domain: str) -> Statistics:
    """Read and check one file. The time of its last change is part of the cache key."""
    content = read_json(path, f"statistics {name!r}", DomainError)
    if not isinstance(content, dict):
        raise DomainError(
            f"statistics {name!r} must be a JSON object with domains, q01, q99; it is a {type(content).__name__}."
        )
    served = content.get("domains")
    if not isinstance(served, list) or not served or not all(isinstance(entry, str) for entry in served):
        raise DomainError(
            f'statistics {name!r} do not say which domains they serve. Add "domains": ["{domain}"] to the file '
            "if they were computed on that domain's actions."
        )
    if domain not in served and domains.short_name(domain) not in served:
        raise DomainError(
            f"statistics {name!r} are those of {', '.join(served)}, not of {domain!r}: the same width does not make "
            f"the same units. Use domain.statistics={domains.get(domain).statistics or 'null'}."
        )
    width = domains.get(domain).width
    columns = [column.name for column in domains.get(domain).columns]
    if "columns" in content and content["columns"] != columns:
        raise DomainError(
            f"statistics {name!r} name the columns {content['columns']}; {domain!r} has {columns}, in that order."
        )
    arrays = {key: _checked(content[key], key, width, name) for key in ARRAYS if content.get(key) is not None}
    if not any(low in arrays and high in arrays for low, high in NORMALIZATIONS.values()):
        raise DomainError(f"statistics {name!r} hold none of the pairs q01 and q99, min and max, mean and std.")
    for low, high in (("q01", "q99"), ("min", "max")):
        if low in arrays and high in arrays and (arrays[high] < arrays[low]).any():
            worst = columns[int(np.argmin(arrays[high] - arrays[low]))]
            raise DomainError(f"statistics {name!r}: {high} lies below {low} in column {worst!r}.")
    if "std" in arrays and (arrays["std"] < 0).any():
        raise DomainError(f"statistics {name!r}: std is negative in column {columns[int(np.argmin(arrays['std']))]!r}.")
    return Statistics(domain, name, str(content.get("source", name)), **arrays)


def _checked(value: Any, key: str, width: int | None, name: str) -> Array:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DomainError(f"statistics {name!r}: {key} is not a list of numbers.") from error
    if array.shape != (width,):
        raise DomainError(f"statistics {name!r}: {key} has shape {list(array.shape)}; the domain needs [{width}].")
    if not np.isfinite(array).all():
        raise DomainError(f"statistics {name!r}: {key} holds NaN or inf.")
    array.flags.writeable = False
    return array
