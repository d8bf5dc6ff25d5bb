"""What policies reached: in the episodes of a sweep, and in a table of true scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from strands_diffusers.errors import ConfigError, ObservationError, SweepError
from strands_diffusers.evaluation.stored import rollouts
from strands_diffusers.lazy import np
from strands_diffusers.observations.rollouts import read_episode
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records.axes import UNSET, parsed_overrides

if TYPE_CHECKING:
    from strands_diffusers.records import Record

_NEITHERS = ("observation", "prompt", "hook_timeout_s", "condition.num_looks")
_NEITHER = ("score.", "sampler.", "domain.", "world.reference")
"""Config keys that make neither the policy nor the world another."""

Key = tuple[tuple[str, str], ...]
"""The config keys that make a policy, or a world, what it is."""


Row = tuple[str, str | None, float]
"""policy, observation, score."""

Scores: TypeAlias = "Mapping[tuple[str, str], float] | np.ndarray"
"""A policy's scores by case; or its trials, of which nobody knows the case."""


@dataclass(frozen=True, eq=False)
class Played:
    """One episode: who acted where, from what, and how it went."""

    policy: Key
    world: Key
    case: tuple[str, str]
    """The observation's address and the prompt."""

    scores: Mapping[str, np.ndarray]
    """After each look, by score: float64 `[K]`."""

    trusted: float
    """Looks before the video leaves the reference world's under the same actions; infinite where nobody looked."""


def read_played(records: Sequence[Record]) -> tuple[list[Played], dict[Key, str], dict[Key, str], int]:
    """All episodes, the policies and worlds in them with their names, and how many episodes cannot be read."""
    played: list[Played] = []
    policies: dict[Key, tuple[str, str]] = {}
    worlds: dict[Key, tuple[str, str]] = {}
    lost = 0
    for rollout in rollouts(records):
        try:
            closed = {"policy.name", "world.name"} <= rollout.config.keys()
            episode = read_episode(rollout.record, rollout.sample) if closed else None
        except ObservationError:  # gone or changed since
            lost += 1
            continue
        if episode is None or not episode.looks:
            continue
        policy, world = _keys(rollout.config)
        typed = parsed_overrides(rollout.record.overrides)
        policies.setdefault(policy, (typed.get("policy", ""), rollout.config["policy.name"]))
        model = rollout.config.get("model.name", "") if uses_model("world", rollout.config["world.name"]) else ""
        worlds.setdefault(world, (model, rollout.config["world.name"]))
        ends = [frame + episode.act_steps for frame in episode.looks]
        played.append(
            Played(
                policy,
                world,
                (rollout.source, rollout.sample.prompt),
                {name: scored.values[ends] for name, scored in episode.scores.items() if len(scored.values) > ends[-1]},
                rollout.sample.metrics.get("horizon", {}).get("trusted_looks", float("inf")),
            )
        )
    if not played:
        raise SweepError("no job left an episode. Use condition=closed_loop with 'episode' in output.")
    return played, _named(policies), _named(worlds), lost


def _keys(config: Mapping[str, str]) -> tuple[Key, Key]:
    """What makes the policy, and what makes the world of an episode."""
    model = [item for item in config.items() if item[0].startswith("model.")]
    world = [(k, v) for k, v in config.items() if k.startswith("world.") and k != "world.reference"]
    others = ("model.", "world.", *_NEITHER)
    policy = [(k, v) for k, v in config.items() if not k.startswith(others) and k not in _NEITHERS]
    repos = [v for k, v in policy if k.startswith("policy.") and k.endswith(".repo")]
    if uses_model("policy", config["policy.name"]) and "null" in (repos or ["null"]):
        policy += model  # it acts, or predicts, by the chosen model
    if uses_model("world", config["world.name"]):
        world += model
    return tuple(sorted(policy)), tuple(sorted(world))


def uses_model(group: str, name: str) -> bool:
    """Whether a policy or a world is the chosen model's; by its name where its plugin is not installed here."""
    found = [each.value for each in plugins().registrations if each.group == group and each.name == name]
    return found[0].uses_model if found else name == "model"


def _named(found: Mapping[Key, tuple[str, str]]) -> dict[Key, str]:
    """A name for each: what was typed where that tells them apart, else with the options in which they differ."""
    names = {}
    for key, (typed, name) in found.items():
        base = typed or name
        alike = [dict(other) for other, (t, n) in found.items() if (t or n) == base]
        varied = [k for k in dict.fromkeys(k for each in alike for k in each) if len({e.get(k) for e in alike}) > 1]
        own = dict(key)
        names[key] = " ".join([base, *(f"{k.rpartition('.')[2]}={_short(own.get(k, UNSET))}" for k in varied)])
    return names


def _short(value: str) -> str:
    return value.rstrip("/").rpartition("/")[2] or value


def cells(played: Sequence[Played], score: str, looks: int, trusted: float = 0) -> dict[Key, Scores]:
    """Each policy's score after so many looks by case, seeds averaged; of episodes that are trusted so far."""
    found: dict[Key, dict[tuple[str, str], list[float]]] = {}
    for each in played:
        values = each.scores.get(score, ())
        if len(values) >= looks and each.trusted >= trusted and np.isfinite(values[looks - 1]):
            found.setdefault(each.policy, {}).setdefault(each.case, []).append(float(values[looks - 1]))
    return {policy: {case: float(np.mean(v)) for case, v in of.items()} for policy, of in found.items()}


def true_scores(records: Sequence[Record]) -> list[Row] | None:
    """The rows of `sweep.true_scores`, of the job that names one last. Raises: `ConfigError`."""
    paths = [(record.config.get("sweep") or {}).get("true_scores") for record in records]
    named = [path for path in paths if path]
    return read_table(str(named[-1])) if named else None


def read_table(path: str) -> list[Row]:
    """Read a CSV file of true scores. Raises: `ConfigError` naming the file, and the line."""
    where = f"sweep.true_scores={path}"
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{where} cannot be read: {why}. Give a CSV file: policy,observation,score.") from error
    if not lines or not {"policy", "score"} <= lines[0].keys():
        raise ConfigError(
            f"{where} needs the columns policy and score, and a row for each trial; observation if known."
        )
    rows: list[Row] = []
    for number, line in enumerate(lines, 2):
        try:
            score = float(line["score"])
        except (TypeError, ValueError):
            score = float("nan")
        if not np.isfinite(score) or not line["policy"]:
            raise ConfigError(f"{where}, line {number}: {line['score']!r} of policy {line['policy']!r} is no score.")
        rows.append((line["policy"].strip(), (line.get("observation") or "").strip() or None, score))
    return rows


def from_table(
    rows: Sequence[Row], policies: Mapping[Key, str], cases: Sequence[tuple[str, str]], looks: int
) -> dict[Key, Scores]:
    """The true scores of the table, the same after each look: what was reached in the end. Raises: `SweepError`."""
    named = {policy: [row for row in rows if row[0] == name] for policy, name in policies.items()}
    if not any(named.values()):
        known, given = ", ".join(policies.values()), ", ".join(dict.fromkeys(row[0] for row in rows))
        raise SweepError(f"sweep.true_scores knows none of the policies ({known}); it has {given}.")
    if all(observation is None for _, observation, _ in rows):
        return {policy: np.array([score for *_, score in of]) for policy, of in named.items() if of}
    found: dict[Key, Scores] = {}
    for policy, of in named.items():
        scores = {
            case: [s for _, o, s in of if o is not None and case[0] in (o, str(Path(o).expanduser().resolve()))]
            for case in cases
        }
        if known_cases := {case: float(np.mean(values)) for case, values in scores.items() if values}:
            found[policy] = known_cases
    if not found:
        raise SweepError(f"sweep.true_scores has none of the sweep's observations; one of them is {cases[0][0]}.")
    return found
