"""Checks of the extracts and of the prompt table.

Belongs here: what must hold before anything is generated. Does not belong here: allocation (`table`).
"""

from cosmo_assets.prompts.allocation import Cell
from cosmo_assets.prompts.forecast import NOTHING_MEASURED, forecast
from cosmo_assets.prompts.mixes import used_templates, uses_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict, share_at_most
from cosmo_assets.seeds.licences import refusal
from cosmo_resources.storage.manifest import Manifest


def _distinct(manifest: Manifest, _: Recipe) -> Verdict:
    prompts, distinct = manifest.summary["prompts"], manifest.summary["distinct"]
    return prompts == distinct, {"prompts": prompts, "distinct ids": distinct}


def _any(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.summary["prompts"] > 0, {"prompts": manifest.summary["prompts"]}


def _filled(manifest: Manifest, recipe: Recipe) -> Verdict:
    counts = manifest.summary["counts"].get("bucket", {})
    empty = recipe.buckets - len(counts)
    return empty == 0, {"buckets without prompts": empty}


def _licences_allowed(manifest: Manifest, recipe: Recipe) -> Verdict:
    stored = manifest.summary["counts"].get("licence", {})
    counted = sum(stored.values())
    denied = {licence: count for licence, count in stored.items() if refusal(licence, recipe.licences)}
    figures = {"prompts of denied licences": sum(denied.values()), "licences": ", ".join(denied), "counted": counted}
    return not denied and counted == manifest.rows, figures


def _few_near_duplicates(manifest: Manifest, recipe: Recipe) -> Verdict:
    """One near-duplicate in a template of a few prompts says nothing about the template."""
    limit, found = recipe.limits.max_near_duplicate_prompts, manifest.summary["near_duplicates"]
    rendered, dropped = (sum(row[key] for row in found) for key in ("rendered", "near_duplicates"))
    above = [row["template"] for row in found if row["near_duplicates"] > max(limit * row["rendered"], 1)]
    figures = {
        "share": round(dropped / max(rendered, 1), 5),
        "limit": limit,
        "templates above": ", ".join(above),
        "recipe field": "limits.max_near_duplicate_prompts",
    }
    return not above and dropped <= limit * rendered, figures


def _as_planned(manifest: Manifest, _: Recipe) -> Verdict:
    """What was dropped after the draw takes from some shares more than from others."""
    cells = manifest.summary["cells"]
    planned, prompts = (max(sum(cell[key] for cell in cells), 1) for key in ("planned", "prompts"))
    worst, name = 0.0, ""
    for column in ("kind", "audience", "format"):
        for value in sorted({cell[column] for cell in cells}):
            mine = [cell for cell in cells if cell[column] == value]
            off = abs(sum(c["planned"] for c in mine) / planned - sum(c["prompts"] for c in mine) / prompts)
            worst, name = max((worst, name), (off, f"{column} {value}"))
    return worst <= 0.02, {"largest difference": round(worst, 4), "of": name, "limit": 0.02}


def _within_budget(manifest: Manifest, recipe: Recipe) -> Verdict:
    uses = uses_of(recipe, used_templates(recipe))
    counted = [
        (Cell(**{key: cell[key] for key in _CELL}, per_seed=1), cell["prompts"]) for cell in manifest.summary["cells"]
    ]
    found, budget = forecast(recipe, uses, counted, NOTHING_MEASURED), recipe.budget
    hours, cost = found.hours or 0.0, found.cost or 0.0
    known = found.hours is not None or (budget.gpu_hours is None and budget.cost is None)
    figures = {
        "device hours": round(hours, 2) if found.hours is not None else "unknown: set budget.tokens_per_second",
        "cost": round(cost, 2),
        "budget.gpu_hours": budget.gpu_hours or "",
        "budget.cost": budget.cost or "",
    }
    within = hours <= (budget.gpu_hours or hours) and cost <= (budget.cost or cost)
    return known and within, figures


_CELL = ("mix", "source", "template", "audience", "format", "seeds")

EXTRACT_CHECKS = (
    share_at_most(
        "seeds_cut",
        "The share of seeds whose first word is longer than an extract may be stays below the limit.",
        lambda manifest: sum(manifest.flow.failed.values()),
        lambda manifest: manifest.flow.rows_in,
        "max_failed",
    ),
)

CHECKS = (
    Check("any_prompts", "There is at least one prompt.", _any, blocking=True),
    Check("distinct_ids", "No two prompts have the same id.", _distinct, blocking=True),
    Check(
        "licences_allowed",
        "No stored prompt comes from a seed whose licence the recipe's policy denies; counted from the stored rows.",
        _licences_allowed,
        blocking=True,
    ),
    Check(
        "near_duplicates",
        "At most one prompt in a hundred was a near-duplicate of another one of its template; these are dropped.",
        _few_near_duplicates,
    ),
    Check(
        "shares_as_planned",
        "Every kind of source, audience and format has the share of the prompts that was planned, within 2 points.",
        _as_planned,
    ),
    Check(
        "within_budget",
        "Generation is expected to stay within the recipe's budget, where it has one.",
        _within_budget,
        blocking=True,
    ),
    Check("buckets_filled", "Every bucket has prompts.", _filled),
)
