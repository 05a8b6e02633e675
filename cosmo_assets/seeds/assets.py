"""The seed asset.

Belongs here: its definition and what it shows. Does not belong here: how seeds are read and cleaned (`documents`).
"""

from collections import Counter

import dagster as dg

from cosmo_assets.charts.bars import bars, funnel, stacked
from cosmo_assets.charts.curves import histogram
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Result, Show, corpus_asset, materialized, workspace
from cosmo_assets.seeds import documents, outlines
from cosmo_assets.seeds.checks import CHECKS, OUTLINE_CHECKS
from cosmo_assets.seeds.documents import TOXICITY_BINS
from cosmo_assets.seeds.licences import refusal
from cosmo_assets.seeds.rows import STEPS
from cosmo_resources.resources import EngineResource, StoreResource
from cosmo_resources.storage.manifest import Flow, Manifest

SHOWN = 30
"""Outlines in the metadata."""


@corpus_asset("seed_documents", group="seeds", kinds={"parquet"}, stage_version=documents.STAGE_VERSION, checks=CHECKS)
def seed_documents(context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe]) -> Result:
    """Seed texts of all sources: read in their own formats, cleaned, masked, without duplicates; every row that falls
    out is listed with its reason."""
    manifest = documents.build(workspace(context, store, recipe))
    return materialized(manifest, recipe, CHECKS, funnel_of(manifest, recipe, "may become prompts"))


@corpus_asset(
    "course_outlines",
    deps=[seed_documents],
    group="seeds",
    kinds={"llm", "parquet"},
    stage_version=outlines.STAGE_VERSION,
    checks=OUTLINE_CHECKS,
    pool="llm",
)
def course_outlines(
    context: dg.AssetExecutionContext, store: StoreResource, recipe: dg.ResourceParam[Recipe], engine: EngineResource
) -> Result:
    """The units of every course, as the model names them from its description, without exams, projects and syllabus.
    A course without an outline gets its prompts from the description."""
    manifest = outlines.build(workspace(context, store, recipe), lambda: engine.client(recipe.generation.model.name))
    rows = store.create().open("course_outlines").table().to_pylist()
    lengths = Counter(len(row["units"]) for row in rows)
    table = [{"course": row["title"], "units": "; ".join(row["units"]), "status": row["status"]} for row in rows]
    figures = {
        "reused_rows": int(manifest.run.get("reused_rows", 0)),
        "requests": int(manifest.run.get("requests", 0)),
    }
    chart = bars("Courses by units", [(str(number), lengths[number]) for number in sorted(lengths)], unit="courses")
    return materialized(manifest, recipe, OUTLINE_CHECKS, Show({"units": chart}, {"outlines": table[:SHOWN]}, figures))


def funnel_of(manifest: Manifest, recipe: Recipe, may: str) -> Show:
    """What a table of texts shows; `may` heads the column that says what the licence policy makes of each licence."""
    found = manifest.summary["funnel"]
    rows = [(name, {"kept": part["kept"], **part["dropped"], **part["bad"]}) for name, part in found.items()]
    table = [
        {"source": name, "kind": part["kind"], "kept": part["kept"]}
        | {"dropped": sum(part["dropped"].values()), "bad": sum(part["bad"].values())}
        for name, part in found.items()
    ]
    by_count = sorted(manifest.summary["licences"].items(), key=lambda item: (-item[1], item[0]))
    licences = [
        {"licence": licence, "seeds": count, may: refusal(licence, recipe.licences) or "yes"}
        for licence, count in by_count
    ]
    if (others := manifest.summary["other_licences"])["licences"]:
        rest = {"licence": f"{others['licences']:,} others", "seeds": others["seeds"]}
        licences.append({**rest, may: "as the policy says of each"})
    scores = [(number / TOXICITY_BINS, count) for number, count in enumerate(manifest.summary["toxicity"])]
    return Show(
        charts={
            "funnel": funnel("From rows to seeds: what is left after each step", steps(manifest.flow)),
            "by_source": stacked("Rows by source: kept, or why not", rows, unit="rows"),
            "licences": bars("Seeds by licence", by_count, unit="seeds"),
            "toxicity": histogram("Seeds by toxicity score", scores),
        },
        tables={"sources": table, "licence_policy": licences},
    )


def steps(flow: Flow) -> list[tuple[str, int]]:
    """The rows that are left after each step, over all sources. A reason that belongs to no step of cleaning is a
    reader's: a redirect, a category that the recipe leaves out."""
    named = {reason for _, reasons in STEPS for reason in reasons}
    left = flow.rows_in - sum(flow.failed.values())
    found = [("read", flow.rows_in), ("readable", left)]
    left -= sum(count for reason, count in flow.dropped.items() if reason not in named)
    found.append(("taken by the reader", left))
    for step, reasons in STEPS:
        left -= sum(flow.dropped.get(reason, 0) for reason in reasons)
        found.append((step, left))
    return [*found, ("kept", left)]
