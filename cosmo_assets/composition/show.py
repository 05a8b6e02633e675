"""Advice on weights as tables for a terminal, as plain values, as a chart, and as a part of a recipe.

Belongs here: what of an answer is shown, and how it is named. Does not belong here: options and exit codes
(`cosmo_assets.cli`), the answer (`advice`).
"""

from math import isfinite
from typing import Any

import yaml
from rich.markup import escape
from rich.table import Table

from cosmo_assets.charts.bars import ranges
from cosmo_assets.charts.drawing import human
from cosmo_assets.composition.advice import Advice, Best
from cosmo_assets.composition.validation import Interval

NOTHING = (
    "The runs say nothing about weights: no method predicts runs that it was not fitted to better than the mean of the "
    "losses, beyond chance. Train more runs, or runs whose weights differ more."
)
DIGITS = 6


def scores_table(found: Advice) -> Table:
    """How well each method predicts runs that it was not fitted to."""
    targets = found.runs.targets
    table = Table("method", title=f"cross-validation with {len(found.runs.weights)} runs", title_justify="left")
    for target in targets:
        table.add_column(f"{escape(target)}: error", justify="right")
        table.add_column("Spearman", justify="right")
    table.add_column("error", justify="right")
    for name, score in found.scores.items():
        cells = [name]
        for error, rank in zip(score.errors, score.spearman, strict=True):
            cells += [f"{error:.4g}", f"{rank:.3f}" if isfinite(rank) else ""]
        table.add_row(*cells, f"{score.error:.4g}")
    table.caption = "error: mean absolute error of runs that were left out of the fit"
    return table


def gaps_table(found: Advice) -> Table:
    """Which method predicts better, and whether that is a finding."""
    table = Table("error of", "minus that of", title="differences", title_justify="left")
    for column in ("is", "95 % interval", "beyond chance"):
        table.add_column(column, justify="right")
    for (one, other), gap in found.gaps.items():
        beyond = "yes" if gap.low > 0 or gap.high < 0 else "no"
        table.add_row(one, other, f"{gap.value:.4g}", f"{gap.low:.4g} to {gap.high:.4g}", beyond)
    return table


def best_table(found: Advice, best: Best) -> Table:
    """The weights of least predicted loss by domain, the largest first."""
    table = Table("domain", title=f"weights of least predicted loss, by the {found.method}", title_justify="left")
    for column in ("weight", "95 % interval", "mean of the runs", "at most"):
        table.add_column(column, justify="right")
    for number in _order(best):
        weight, bound = best.weights[number], found.bounds[number]
        reached = " (reached)" if weight.value > bound - 1e-9 else ""
        table.add_row(
            escape(found.runs.domains[number]),
            human(weight.value, "%"),
            f"{human(weight.low, '%')} to {human(weight.high, '%')}",
            human(found.runs.mean[number], "%"),
            f"{human(bound, '%')}{reached}" if bound < 1 else "",
        )
    loss, gain = best.loss, best.gain
    table.caption = (
        f"predicted loss {loss.value:.4f} ({loss.low:.4f} to {loss.high:.4f}), by {gain.value:.4f} ({gain.low:.4f} to "
        f"{gain.high:.4f}) below that at the mean of the runs; targets: {_targets(found)}"
    )
    return table


def fragment(found: Advice, best: Best) -> str:
    """`mixture.components` of a recipe with the weights; domains without any are left out."""
    weights = {found.runs.domains[number]: round(best.weights[number].value, DIGITS) for number in _order(best)}
    components = {domain: {"weight": weight} for domain, weight in weights.items() if weight > 0}
    return yaml.safe_dump({"mixture": {"components": components}}, sort_keys=False, allow_unicode=True)


def advice_values(found: Advice) -> dict[str, Any]:
    """The same as plain values, unrounded; `weights` is null where the runs say nothing about them."""
    runs, best = found.runs, found.best
    return {
        "runs": len(runs.weights),
        "bad_rows": list(runs.bad),
        "targets": dict(zip(runs.targets, found.shares.tolist(), strict=True)),
        "scores": {
            name: {
                "error": score.error,
                "errors": dict(zip(runs.targets, score.errors.tolist(), strict=True)),
                "spearman": {
                    target: rank if isfinite(rank) else None
                    for target, rank in zip(runs.targets, score.spearman.tolist(), strict=True)
                },
            }
            for name, score in found.scores.items()
        },
        "error_above": {f"{worse} - {better}": _values(of) for (worse, better), of in found.gaps.items()},
        "method": found.method,
        "weights": {
            runs.domains[number]: {
                **_values(best.weights[number]),
                "runs_mean": float(runs.mean[number]),
                "at_most": float(found.bounds[number]),
            }
            for number in _order(best)
        }
        if best
        else None,
        "loss": _values(best.loss) if best else None,
        "gain": _values(best.gain) if best else None,
        "beyond_runs": best.beyond if best else None,
        "laws": {
            target: {
                "c": law.floor,
                "log_k_plus_mean_t": law.scale,
                "t_minus_mean_t": dict(zip(runs.domains, law.centred.tolist(), strict=True)),
            }
            for target, law in zip(runs.targets, best.laws, strict=True)
        }
        if best and best.laws
        else None,
        "warnings": found.warnings,
    }


def weights_chart(found: Advice, best: Best) -> str:
    """A bar for each domain with its interval and the mean of the runs, as SVG."""
    rows = [
        (found.runs.domains[number], weight.value, weight.low, weight.high, float(found.runs.mean[number]))
        for number in _order(best)
        for weight in [best.weights[number]]
    ]
    names = ("least predicted loss", "95 % interval", "mean of the runs")
    return ranges(f"Weights by the {found.method}", rows, names, unit="%")


def _order(best: Best) -> list[int]:
    return sorted(range(len(best.weights)), key=lambda number: -best.weights[number].value)


def _values(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _targets(found: Advice) -> str:
    pairs = zip(found.runs.targets, found.shares, strict=True)
    return ", ".join(f"{escape(target)} {human(share, '%')}" for target, share in pairs)
