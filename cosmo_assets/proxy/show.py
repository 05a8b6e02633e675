"""An ablation as tables for a terminal, as plain values, as a report in Markdown and as charts.

Belongs here: what of it is shown, and how it is named. Does not belong here: options and exit codes
(`cosmo_assets.cli`), the comparison (`ablation`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from cosmo_assets.charts.bars import forest
from cosmo_assets.proxy.ablation import Ablation, Measure, Verdict
from cosmo_assets.proxy.parts import CORPUS

SCORES = (
    "The mean of each arm over items (or documents) and seeds. Fewer bits per byte are better, so is more accuracy."
)
DECISIONS = (
    "Each arm against another: the difference of the means, within what 95 % of resamples lie, and whether the arm is "
    "better. Undecided: the interval holds 0; that is no proof that both are alike. Decide by the first measure."
)
_OTHER_WAY = {"better": "worse", "worse": "better", "undecided": "undecided"}
_HEADERS = ("measure", "arm", "other", "arm - other", "95 % interval", "the arm is")


def scores_table(measures: Sequence[Measure]) -> Table:
    """The mean of each arm by each measure."""
    headers, rows = _scores(measures)
    table = Table(*map(escape, headers), caption=SCORES)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def verdicts_table(found: Sequence[Verdict]) -> Table:
    """The difference of each pair of arms by each measure, and the decision."""
    table = Table(*_HEADERS, caption=DECISIONS)
    for row in map(_cells, found):
        table.add_row(*map(escape, row))
    return table


def values(ablation: Ablation, measures: Sequence[Measure], found: Sequence[Verdict]) -> dict[str, Any]:
    """The same as plain values, unrounded."""
    return {
        "proxy": ablation.proxy.model_dump(),
        "seeds": ablation.seeds,
        "arms": {arm: [str(shard) for shard in shards] for arm, shards in ablation.arms.items()},
        "scores": {measure.name: {arm: measure.mean(arm) for arm in measure.scores} for measure in measures},
        "verdicts": [
            {
                "measure": one.measure,
                "arm": one.arm,
                "other": one.other,
                "difference": one.difference.value,
                "low": one.difference.low,
                "high": one.difference.high,
                "arm_is": one.decision,
            }
            for one in found
        ],
    }


def report(ablation: Ablation, measures: Sequence[Measure], found: Sequence[Verdict]) -> str:
    """The report: what was compared, scores and decisions, in Markdown."""
    proxy = ablation.proxy.model_dump()
    arms = [(arm, str(len(shards)), _tokens(shards)) for arm, shards in ablation.arms.items()]
    items = len(next(iter(measures[0].scores.values())))
    return "\n".join(
        [
            "# Ablation",
            "",
            f"{len(arms)} arms, {ablation.seeds} seeds each, {items} questions. The proxy: "
            + ", ".join(f"{name} {value}" for name, value in proxy.items())
            + f"; {proxy['steps'] * proxy['batch'] * proxy['sequence']:,} tokens seen in each training.",
            "",
            *_markdown(("arm", "shards", "tokens"), arms),
            "## Scores",
            "",
            SCORES,
            "",
            *_markdown(*_scores(measures)),
            "## Decisions",
            "",
            DECISIONS,
            "",
            *_markdown(_HEADERS, [_cells(one) for one in found]),
        ]
    )


def from_corpus(summary: Mapping[str, Any], measure: str) -> list[dict[str, Any]]:
    """What `proxy_evaluation` says of each arm compared with the whole corpus: arm, score, difference (of the arm from
    the corpus), low, high, arm_is."""
    scores = summary["scores"][measure]
    return [
        {
            "arm": one["other"],
            "score": scores[one["other"]],
            "difference": 0.0 - one["difference"],
            "low": 0.0 - one["high"],
            "high": 0.0 - one["low"],
            "arm_is": _OTHER_WAY[one["arm_is"]],
        }
        for one in summary["verdicts"]
        if one["measure"] == measure and one["arm"] == CORPUS
    ]


def differences_chart(summary: Mapping[str, Any], measure: str, *, lower_is_better: bool) -> str:
    """The difference of each arm from the whole corpus by a measure, with its interval."""
    compared = from_corpus(summary, measure)
    rows = [(row["arm"].partition(" ")[2], row["difference"], row["low"], row["high"]) for row in compared]
    kind = compared[0]["arm"].partition(" ")[0]
    less, more = ("better", "worse") if lower_is_better else ("worse", "better")
    return forest(
        f"{kind.capitalize()} …, minus the whole corpus: {measure}", rows, (f"that is {less}", f"that is {more}")
    )


def _scores(measures: Sequence[Measure]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    arms = tuple(measures[0].scores)
    return ("measure", *arms), [(of.name, *(f"{of.mean(arm):.4f}" for arm in arms)) for of in measures]


def _cells(one: Verdict) -> tuple[str, ...]:
    of = one.difference
    return one.measure, one.arm, one.other, f"{of.value:.4f}", f"{of.low:.4f} to {of.high:.4f}", one.decision


def _tokens(shards: Sequence[Any]) -> str:
    return f"{sum(int(shard.with_name(f'{shard.name}.metadata').read_text().split()[1]) for shard in shards):,}"


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * len(headers), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines] + [""]
