"""Does the model rank policies as the truth does?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import SweepError
from strands_diffusers.evaluation import ranking
from strands_diffusers.evaluation.ranking import STATISTICS, Ranking
from strands_diffusers.evaluation.rounding import rounded
from strands_diffusers.evaluation.verdicts.common import judgement, missing_output
from strands_diffusers.evaluation.verdicts.played import (
    Key,
    Played,
    Scores,
    cells,
    from_table,
    read_played,
    read_table,
    true_scores,
    uses_model,
)
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import Judgement, Table, Verdict

if TYPE_CHECKING:
    from strands_diffusers.records import Record

PEARSON, VIOLATION = 0.9, 0.05
"""From and up to which a ranking passes; the violation as a share of 1 for scores from 0 to 1, else of the true means' range."""

LEAST, FEW = 3, 5
"""Fewer policies cannot be ranked; fewer than `FEW` prove nothing."""


class PolicyRanking(Verdict):
    """Does the model rank policies as the truth does? (sweep policy, world and observation, closed loop)

    The scores that policies reach in `world=model` are held against those that the same policies reach, from the same
    observations, in a world that is no model: each acts on what it sees there. Without such a world, `sweep.true_scores`
    names a CSV file of true scores: columns `policy` (as the verdict names them), `score` and, if known, `observation`.

    Pearson and Spearman correlation and the mean maximum rank violation (SIMPLER, arXiv:2405.05941) of the policies' mean scores,
    after each look, with 95 % intervals by bootstrap over observations; seeds are averaged first. It passes with a correlation
    (Pearson) of at least 0.9 and a violation of at most 0.05 after the last look, by 5 policies or more. Where the metric `horizon`
    was measured, the same without the episodes that are beyond its trust line.
    """

    name = "policy_ranking"

    def needs(self, config: RunConfig) -> str | None:
        """A closed loop with a score, whose episode is written."""
        mode = config.condition.mode.value
        if mode != "closed_loop":
            return f"compares policies that act, and condition={mode} is none. Use condition=closed_loop."
        if not config.score:
            return "compares what policies reach, and there is no score. Add 'score=[pusht_coverage]', or another."
        if config.sweep.true_scores is not None:
            read_table(config.sweep.true_scores)
        return missing_output(config, "episode")

    def varies(self, configs: Sequence[RunConfig]) -> str | None:
        """Policies, and worlds of both kinds. A folder that is there already may hold what this sweep lacks."""
        if any(place and Path(place).expanduser().exists() for c in configs for place in (c.output_dir, c.resume)):
            return None
        model = [uses_model("world", config.world.name) for config in configs]
        if not any(model) and configs[0].sweep.true_scores is None:
            return "judges a world that is a model, and the sweep has none. Add world=model,pusht."
        if all(model) and configs[0].sweep.true_scores is None:
            return _NO_TRUTH
        policies = {(repr(c.policy), repr(c.model) * uses_model("policy", c.policy.name)) for c in configs}
        if len(policies) < LEAST:
            return f"ranks {LEAST} policies and more, and the sweep has {len(policies)}. Add policy=random,still,NAME."
        return None

    def judge(self, records: Sequence[Record]) -> list[Judgement]:
        """One judgement for each model world and each score."""
        played, policies, worlds, lost = read_played(records)
        table = true_scores(records)
        truths = [world for world in worlds if not uses_model("world", dict(world)["world.name"])]
        judges = [world for world in worlds if table or world not in truths]
        if not judges:
            raise SweepError("no episode is in a world that is a model. Add world=model.")
        if not table and not truths:
            raise SweepError(_NO_TRUTH)
        if not table and len(truths) > 1:
            names = ", ".join(worlds[world] for world in truths)
            raise SweepError(f"there are several true worlds ({names}). Use one, or a folder for each.")
        found = []
        for judge in judges:
            mine = [each for each in played if each.world == judge]
            scores = list(dict.fromkeys(name for each in mine for name in each.scores))
            for score in scores:
                name = self.name + f".{worlds[judge]}" * (len(judges) > 1) + f".{score}" * (len(scores) > 1)
                if table:
                    true: _True = partial(from_table, table, policies, list(dict.fromkeys(e.case for e in mine)))
                else:
                    true = partial(cells, [e for e in played if e.world == truths[0]], score)
                who = worlds[judge] if len(judges) > 1 else "the model"
                what = _What(name, who, "the table of true scores" if table else f"world={worlds[truths[0]]}", score)
                try:
                    found.append(_judged(what, mine, true, policies, lost))
                except SweepError as error:
                    found.append(Judgement(name, f"cannot be judged: {error}", None))
        return found


_NO_TRUTH = (
    "needs what truly happens, and every world is a model. Add world=model,pusht (or another simulator), or "
    "sweep.true_scores=FILE.csv. (world.reference acts out the model world's own actions: another question.)"
)

_True = Callable[[int], Mapping[Key, Scores]]
"""The true scores after so many looks."""

_Compared: TypeAlias = "tuple[list[str], Ranking, np.ndarray | list[np.ndarray]]"
"""The policies that were compared, what comes of it, and their true scores `[P, O]` or trials of each."""


@dataclass(frozen=True)
class _What:
    """What is judged by what, in words."""

    name: str
    who: str
    truth: str
    score: str


def _judged(what: _What, mine: Sequence[Played], true: _True, policies: Mapping[Key, str], lost: int) -> Judgement:
    count = max(looks for each in mine if (looks := len(each.scores.get(what.score, ()))))
    everything: dict[int, _Compared] = {}
    trusted: dict[int, _Compared] = {}
    for looks in range(1, count + 1):
        if found := _compared(cells(mine, what.score, looks), true(looks), policies):
            everything[looks] = found
            apart = any(each.trusted < looks for each in mine)
            if apart and (found := _compared(cells(mine, what.score, looks, looks), true(looks), policies)):
                trusted[looks] = found
    if not everything:
        both = [policies[key] for key in cells(mine, what.score, 1) if key in true(1)]
        raise SweepError(
            f"{LEAST} policies must have acted on the same observations for {what.who} and for {what.truth}; "
            f"{len(both)} did ({', '.join(both) or 'none'})."
        )
    last = max(everything)
    names, final, truth = everything[last]
    limit = VIOLATION * _span(final)
    passing = [looks for looks, (_, of, _) in everything.items() if _passes(of, limit)]
    holds = None if len(names) < FEW else last in passing
    left_out = [name for key, name in policies.items() if name not in names and any(e.policy == key for e in mine)]
    text = (
        f"{what.who} {'ranks' if last in passing else 'does not rank'} the {len(names)} policies as {what.truth} does: "
        f"{_said(final)} after {_count(last, 'look')}, over {_count(final.observations, 'observation')} "
        f"(at least {PEARSON:g} and at most {limit:.2g} count)"
    )
    if count > 1:
        text += f"; after {_listed(passing)} it passes" if passing else "; it passes after no look"
    if last in trusted:
        text += f"; without the episodes beyond the trust line {_said(trusted[last][1])}"
    if holds is None:
        text += f"; fewer than {FEW} policies prove nothing"
    if left_out:
        text += f"; not in both: {', '.join(left_out)}"
    if lost:
        text += f"; {_count(lost, 'episode')} could not be read"
    numbers: dict[str, Any] = {
        **_numbers(final),
        "policies": len(names),
        "observations": final.observations,
        "judged_minus_true": float((final.judged_P - final.true_P).mean()),
        "by_looks": {str(looks): dict(of.values) for looks, (_, of, _) in everything.items()},
        "threshold_pearson": PEARSON,
        "threshold_rank_violation": limit,
    }
    if last in trusted:
        numbers["trusted"] = {**_numbers(trusted[last][1]), "episodes": trusted[last][1].episodes}
    if isinstance(truth, np.ndarray) and truth.shape[1] >= 2 * FEW:
        numbers["truth_with_itself"] = ranking.halves(truth)
    tables = {
        "ranking after each look": _looks_table(everything, trusted, limit),
        "scores of each policy": _policies_table(names, final, last),
    }
    draw = partial(_draw, what, everything, limit)
    return replace(judgement(what.name, text, holds, numbers), tables=tables, draw=draw)


def _compared(
    judged: Mapping[Key, Scores], true: Mapping[Key, Scores], policies: Mapping[Key, str]
) -> _Compared | None:
    """What both say of the policies that both know; None below `LEAST` of them."""
    trials = any(isinstance(of, np.ndarray) for of in true.values())
    shared = {key: of if trials else of.keys() & true[key].keys() for key, of in judged.items() if key in true}  # type: ignore[union-attr]
    keys = [key for key, cases in shared.items() if len(cases)]
    if len(keys) < LEAST:
        return None
    cases = list(dict.fromkeys(case for key in keys for case in judged[key] if case in shared[key]))

    def table(of: Mapping[Key, Any]) -> np.ndarray:
        return np.array([[of[key].get(case, np.nan) for case in cases] for key in keys], np.float64)

    truth = [np.asarray(true[key]) for key in keys] if trials else table(true)
    return [policies[key] for key in keys], ranking.compare(table(judged), truth), truth


def _span(found: Ranking) -> float:
    """1 for scores from 0 to 1, else how far the true means lie apart."""
    both = np.concatenate([found.judged_P, found.true_P])
    return 1.0 if both.min() >= 0 and both.max() <= 1 else float(np.ptp(found.true_P))


def _passes(found: Ranking, limit: float) -> bool:
    return found.values["pearson"] >= PEARSON and found.values["rank_violation"] <= limit


def _said(found: Ranking) -> str:
    bounds = {name: f" [{low:z.2f}, {high:z.2f}]" for name, (low, high) in found.intervals.items()}
    words = {"pearson": "Pearson", "spearman": "Spearman", "rank_violation": "rank violation"}
    return ", ".join(f"{words[name]} {found.values[name]:z.2f}{bounds.get(name, '')}" for name in STATISTICS)


def _numbers(found: Ranking) -> dict[str, Any]:
    return {**found.values, **{f"{name}_interval": list(ends) for name, ends in found.intervals.items()}}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _listed(looks: Sequence[int]) -> str:
    """`looks 2 to 4 and 6`."""
    runs: list[list[int]] = []
    for each in looks:
        if runs and each == runs[-1][-1] + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return (
        f"look{'s' * (len(looks) > 1)} {' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)}"
    )


def _looks_table(everything: Mapping[int, _Compared], trusted: Mapping[int, _Compared], limit: float) -> Table:
    columns = ["looks", "which episodes", "policies", "observations", "episodes"]
    words = [name.replace("_", " ") for name in STATISTICS]
    columns += [column for word in words for column in (word, f"{word} low", f"{word} high")]
    rows = []
    for looks, found in everything.items():
        for which, (names, of, _) in {
            "all": found,
            **({"trusted": trusted[looks]} if looks in trusted else {}),
        }.items():
            line: list[Any] = [looks, which, len(names), of.observations, of.episodes]
            for name in STATISTICS:
                line += [of.values[name], *of.intervals.get(name, (None, None))]
            rows.append([*rounded(line), "yes" if _passes(of, limit) else "no"])
    note = (
        f"Means over observations; 95 % intervals by bootstrap over observations. Passes: Pearson at least {PEARSON:g}, rank violation "
        f"(SIMPLER's mean maximum) at most {limit:.2g}."
    )
    if trusted:
        note += " Trusted: before the model's own trust line (metric horizon)."
    return Table([*columns, "passes"], rows, note)


def _policies_table(names: Sequence[str], of: Ranking, looks: int) -> Table:
    columns = [f"{whose}{end}" for whose in ("judged", "true") for end in ("", " low", " high")]
    rows: list[list[Any]] = []
    for p in np.argsort(-of.true_P, kind="stable"):
        judged = (of.judged_P[p], *((None, None) if of.judged_P2 is None else of.judged_P2[p]))
        true = (of.true_P[p], *((None, None) if of.true_P2 is None else of.true_P2[p]))
        rows.append([names[p], *rounded([*judged, *true, of.judged_P[p] - of.true_P[p]])])
    note = f"After {_count(looks, 'look')}, over {_count(of.observations, 'observation')}; 95 % intervals of each mean."
    return Table(["policy", *columns, "judged - true"], rows, note)


def _draw(what: _What, everything: Mapping[int, _Compared], limit: float, path: Path) -> None:
    from strands_diffusers.outputs.ranking import Panel, draw_ranking

    panels = [
        Panel(looks, names, of.judged_P, of.true_P, of.judged_P2, of.true_P2, of.values, of.intervals)
        for looks, (names, of, _) in everything.items()
    ]
    draw_ranking(path, panels, what.score, what.who, what.truth, {"pearson": PEARSON, "rank_violation": limit})
