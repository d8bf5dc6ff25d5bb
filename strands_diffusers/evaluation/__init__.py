"""What judges finished sweeps: tables over observations, the bootstrap, and verdicts.

Everything here reads records and the files of finished jobs; nothing loads a model. `tables` and `bootstrap` need numpy and
are imported where they are used: verdicts are named at every start.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import ConfigError, StrandsDiffusersError, near_miss, one_line
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import Judgement, Verdict
from strands_diffusers.plugin.manager import plugins

if TYPE_CHECKING:
    from strands_diffusers.records import Record

log = logging.getLogger(__name__)


def check_job(config: RunConfig) -> None:
    """Refuse a config that its `sweep.verdict` cannot judge. Raises: `ConfigError` saying what to type."""
    if (name := config.sweep.verdict) is not None and (problem := _call(name, lambda verdict: verdict.needs(config))):
        raise ConfigError(f"sweep.verdict={name} {problem}")


def check_sweep(configs: Sequence[RunConfig]) -> None:
    """Refuse a sweep that does not vary what its verdict compares. Raises: `ConfigError` saying what to add."""
    for name in dict.fromkeys(c.sweep.verdict for c in configs if c.sweep.verdict is not None):
        asked = [config for config in configs if config.sweep.verdict == name]
        if problem := _call(name, lambda verdict, asked=asked: verdict.varies(asked)):  # type: ignore[misc]
            raise ConfigError(f"sweep.verdict={name} {problem}")


def judge(directory: Path, records: Sequence[Record]) -> list[Judgement]:
    """Judge the sweep in `directory` by the verdicts that its jobs and its latest command name.

    A verdict that cannot be reached says why in its line; no verdict raises.
    """
    sections = _sections(directory, records)
    latest = {key: value for section in sections for key, value in section.items() if value is not None}
    done = [replace(record, config={**record.config, "sweep": latest}) for record in records if record.done]
    found: list[Judgement] = []
    for name in dict.fromkeys(str(each["verdict"]) for each in sections if each.get("verdict")):
        try:
            found += _call(name, lambda verdict: guard.listed(verdict.judge(done), Judgement), None)
        except (StrandsDiffusersError, OSError) as error:
            found.append(Judgement(name, f"cannot be judged: {one_line(error)}", None))
    return found


def write_tables(
    directory: Path, records: Sequence[Record], total: int, judged: Sequence[Judgement] = ()
) -> tuple[list[dict[str, Any]], list[Path], list[dict[str, str]]]:
    """Write what a sweep of `total` jobs measured into `evaluation.csv`, `evaluation.md` and, of actions, `horizon.png`.

    The tables of judgements stand behind them, their pictures are `NAME.png`.

    Returns:
        The tables (`{name, columns, rows, note}`), the files, and the pictures (`{name, path}`) as `sweep.json` holds
        them; all empty where there is one observation and nothing but seeds was swept.

    Raises:
        OutputError: The folder cannot be written.
    """
    from strands_diffusers.evaluation import horizon, tables

    made, rows = tables.tables(records, total)
    files: list[Path] = []
    pictures: list[dict[str, str]] = []
    for each in judged:
        try:
            shown = _call(each.name.partition(".")[0], lambda _, each=each: _shown(directory, each))  # type: ignore[misc]
        except (StrandsDiffusersError, OSError) as error:
            log.warning("verdict %s is not shown: %s", each.name, one_line(error))
            continue
        made += shown[0]
        rows += [
            {"table": t["name"], **dict(zip(t["columns"], row, strict=True))} for t in shown[0] for row in t["rows"]
        ]
        files += shown[1]
        pictures += [{"name": each.name.replace("_", " "), "path": path.name} for path in shown[1]]
    if not made:
        return [], files, pictures
    files += tables.write(directory, made, rows)
    if tables.over_observations(records):
        try:
            curves = horizon.curves([record for record in records if record.done])
        except (StrandsDiffusersError, OSError, ValueError) as error:  # an action file that is gone or was changed
            log.warning("the error along the horizon is not drawn: %s", one_line(error))
            curves = []
        if curves:
            files.append(horizon.draw(directory, curves))
            pictures.append({"name": "error along the horizon", "path": horizon.PICTURE})
    return made, files, pictures


def _call(name: str, method: Callable[[Verdict], Any], limit_s: float | None = guard.LIMIT_S) -> Any:
    """Call a verdict's method. Raises: `ConfigError` for an unknown name, `PluginFault` for whatever it raises."""
    chosen = {entry.name: entry for entry in plugins().registrations if entry.group == "verdict"}
    if name not in chosen:
        raise ConfigError(f"sweep.verdict={name} is no verdict. Use {', '.join(chosen)}.{near_miss(name, chosen)}")
    verdict = chosen[name].value
    return guard.run(chosen[name].plugin, f"verdict {name}", lambda: method(verdict()), limit_s)


def _shown(directory: Path, each: Judgement) -> tuple[list[dict[str, Any]], list[Path]]:
    """The tables of a judgement as `sweep.json` holds them, and the picture that it draws."""
    made = [
        {
            "name": f"{each.name}: {title}",
            "columns": [*table.columns],
            "rows": [[*row] for row in table.rows],
            "note": table.note,
        }
        for title, table in each.tables.items()
    ]
    if any(len(row) != len(table["columns"]) for table in made for row in table["rows"]):
        raise ValueError("a table has rows of another length than its columns")
    if each.draw is None:
        return made, []
    path = directory / f"{re.sub(r'[^A-Za-z0-9._=-]+', '_', each.name)}.png"
    each.draw(path)
    return made, [path] if path.is_file() else []


def _sections(directory: Path, records: Sequence[Record]) -> list[Mapping[str, Any]]:
    """`sweep` of the jobs' configs, then of the latest command: a resumed sweep may ask anew."""
    import yaml

    sections = [record.config.get("sweep") for record in records]
    # other sweepers leave no such file, and one that somebody changed names nothing
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        sections.append(yaml.safe_load((directory / "multirun.yaml").read_text(encoding="utf-8"))["sweep"])
    return [section for section in sections if isinstance(section, dict)]
