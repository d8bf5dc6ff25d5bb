"""`strands-diffusers stats DATASET --domain NAME`: normaliser statistics of one's own data, and a domain that uses them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.cli.terminal import columns, parser, write
from strands_diffusers.errors import ActionError, ConfigError

if TYPE_CHECKING:
    from strands_diffusers.actions import Statistics
    from strands_diffusers.domains import Domain

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def stats(arguments: list[str]) -> int:
    """Statistics of one's own actions (q01, q99, min, max, mean, std per column), and a domain preset that uses them."""
    options_of = parser("stats", stats.__doc__)
    options_of.add_argument(
        "dataset", nargs="+",
        help="lerobot:DIR[@actions:...@units:...], a folder of action files, or action files (.json, .npy, .npz) in the "
        "physical units of the domain's columns",
    )  # fmt: skip
    options_of.add_argument(
        "--domain", required=True, help="the domain whose columns they are (see: strands-diffusers domains)"
    )
    options_of.add_argument("--name", help="name of the new preset; default: my_DOMAIN")
    options_of.add_argument("--out", default="my_configs", help="folder for --config-dir; default: my_configs")
    options_of.add_argument("--fps", type=float, help="rate of the actions [Hz], where the dataset does not say")
    options_of.add_argument("--force", action="store_true", help="write over an earlier preset of that name")
    options = options_of.parse_args(arguments)
    if options.fps is not None and not 0 < options.fps < 1e6:
        raise ConfigError(f"--fps {options.fps:g} is not a rate above 0 Hz. Type --fps 10, for example.")
    from strands_diffusers import actions, domains, records
    from strands_diffusers.observations.resolve import read_action_rows
    from strands_diffusers.plugin.manager import plugins

    domain = domains.get(options.domain)
    name = options.name or f"my_{domain.short}"
    if not domain.width:
        raise ConfigError(f"domain {domain.short} has no action width in diffusers: it has no columns to measure.")
    statistics_file, preset = _targets(Path(options.out).expanduser().absolute(), name, options.force)
    sources = plugins().sources({})
    fit, rates = actions.Fit(domain.width), {options.fps}
    for address in options.dataset:
        found = read_action_rows(address, domain.name, sources)
        rates.add(found.fps)
        for piece in found.pieces:
            fit.add(piece)
    fps = _rate(rates - {None})
    statistics = fit.statistics(domain.name, ", ".join(options.dataset))
    quantiles = "exact" if fit.exact else "estimated: ranks within 0.01 percentage points"
    for folder in (statistics_file.parent, preset.parent):
        with records.writing(folder, "Choose another folder with --out."):
            folder.mkdir(parents=True, exist_ok=True)
    record = actions.statistics_record(statistics, rows=fit.rows, fps=fps, quantiles=quantiles)
    records.write_json(statistics_file, record)
    command = " ".join(shlex.join(["strands-diffusers", "stats", *arguments]).split())
    records.write_text(preset, _preset(statistics_file, domain, fps, command))
    write(f"{fit.rows:,} rows in domain {domain.short}; quantiles {quantiles}")
    _table(domain, statistics)
    if fps is None and domain.fps:
        write(f"The dataset names no rate: taken as the domain's {domain.fps:g} Hz. Say it with --fps.")
    write(f"{statistics_file}\n{preset}\nUse them: strands-diffusers --config-dir {options.out} domain={name} ...")
    return 0


def _targets(folder: Path, name: str, force: bool) -> tuple[Path, Path]:
    """The statistics file and the preset to write, once the name is free."""
    from strands_diffusers import domains

    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name} must be of a-z, 0-9 and _, and begin with a letter. Type --name my_robot.")
    if name in {known.short for known in domains.all_domains()}:
        raise ConfigError(f"--name {name} is a built-in domain, which the preset would hide. Type --name my_{name}.")
    preset = folder / "domain" / f"{name}.yaml"
    if preset.exists() and not force:
        raise ConfigError(f"{preset} exists. Type --force to write over it, or another --name.")
    return folder / "statistics" / f"{name}.json", preset


def _rate(rates: set[float | None]) -> float | None:
    if len(rates) > 1:
        shown = " and ".join(f"{rate:g}" for rate in sorted(rate for rate in rates if rate))
        raise ActionError(
            f"the actions come at {shown} Hz, and steps of different length have no common statistics. "
            "Read one rate (lerobot:DIR@fps:F thins poses), or give --fps as the dataset has it."
        )
    return next(iter(rates), None)


def _preset(statistics: Path, domain: Domain, fps: float | None, command: str) -> str:
    """A YAML preset on top of the built-in domain, by absolute path, so that it works from any folder."""
    from omegaconf import OmegaConf

    values: dict[str, object] = {"statistics": str(statistics)}
    if fps is not None and fps != domain.fps:
        values["fps"] = fps
    lines = [f"# {command}", "defaults:", f"  - {domain.short}", "  - _self_", "", OmegaConf.to_yaml(values)]
    return "\n".join(lines)


def _table(domain: Domain, statistics: Statistics) -> None:
    """One line a column: what it spans, and a warning where it spans nothing."""
    keys = ("min", "q01", "mean", "q99", "max", "std")
    rows, still = [("", *(f"{key:>10}" for key in keys), "")], []
    for index, column in enumerate(domain.columns):
        numbers = [float(getattr(statistics, key)[index]) for key in keys]
        rows.append((column.name, *(f"{number:>10.5g}" for number in numbers), column.unit))
        if numbers[1] == numbers[3]:
            still.append(column.name)
    write(columns(rows))
    if still:
        write(f"q01 = q99 in {', '.join(still)}: such a column can be decoded, and no action can be encoded with it.")
