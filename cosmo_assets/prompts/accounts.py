"""What became of every seed and every prompt, in figures.

Belongs here: the flow, the rejected rows and the summary of the prompt table. Does not belong here: making it
(`table`)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from cosmo_assets.prompts.draw import Draw
from cosmo_assets.prompts.items import Inputs
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds.licences import DENIED, refusal
from cosmo_resources.storage.writer import REJECTED, DatasetWriter

NOT_DRAWN, NO_EXTRACT, NEAR_DUPLICATE = "not_drawn", "no_extract", "near_duplicate"
"""Why a seed makes no prompts though it may: no template drew it; no extract fits; all its prompts were
near-duplicates."""

NEAR_DUPLICATE_PROMPT = "near_duplicate_prompt"
GROUPS = ["use", "source", "kind", "licence"]


@dataclass
class Tally:
    """What was stored, counted."""

    prompts: int = 0
    distinct: int = 0
    repeated: int = 0
    """Prompts with the id of another one: the same seed, template and text."""
    reused: int = 0
    """Those that the version before has as well."""
    groups: list[pl.DataFrame] = field(default_factory=list)
    """Prompts by `GROUPS` and bucket, with the tokens of their extracts."""
    dropped: list[pl.DataFrame] = field(default_factory=list)
    """Use and seed of the near-duplicates."""


def account(writer: DatasetWriter, inputs: Inputs, plan: Draw, tally: Tally, recipe: Recipe) -> None:
    """State the fate of all seeds and the figures of the table."""
    found = plan.survey
    _reject_refused(writer, found.why, recipe)
    _reject_near_duplicates(writer, plan, tally)
    used, asked, listed = (np.zeros(found.seeds, dtype=bool) for _ in range(3))
    for items in found.items.values():
        listed[items.seeds] = True
    for use, mask, dropped in zip(plan.uses, plan.masks, plan.dropped, strict=True):
        items = found.items[use.view]
        stays = mask.copy()
        stays[dropped] = False
        asked[items.seeds[mask]] = True
        used[items.seeds[stays]] = True
    fates: Counter[str] = Counter(dict(found.why["why"].value_counts().iter_rows()))
    allowed = found.seeds - fates.total()
    fates[NEAR_DUPLICATE] = int((asked & ~used).sum())
    fates[NOT_DRAWN] = int((listed & ~asked).sum())
    fates[NO_EXTRACT] = allowed - int(listed.sum())
    dropped_seeds = {why: count for why, count in fates.items() if count}
    writer.flow("seeds", inputs.seeds.manifest.rows, int(used.sum()), dropped=dropped_seeds)
    writer.reused_rows = tally.reused
    groups = pl.concat(tally.groups)
    cells = _cells(plan, groups)
    denied = found.why.filter(pl.col("why") == DENIED)["licence"].value_counts()
    writer.summary = {
        "prompts": tally.prompts,
        "distinct": tally.distinct,
        "repeated": tally.repeated,
        "cells": cells,
        "counts": _counts(plan, groups),
        "near_duplicates": _near_duplicates(plan),
        "licence_denied": dict(sorted(denied.iter_rows())),
        "of_a_unit": int(groups["of_a_unit"].sum()),
        "named_topic": int(groups["topic_clause"].sum()),
        "max_tokens": sum(cell["max_tokens"] for cell in cells),
    }


def _reject_refused(writer: DatasetWriter, why: pl.DataFrame, recipe: Recipe) -> None:
    licences = why.filter(pl.col("why") == DENIED)["licence"].unique().to_list()
    reasons = {licence: f"{licence}: {refusal(licence, recipe.licences)}" for licence in licences}
    denied = pl.col("why") == DENIED
    rows = why.select(
        pl.col("seed_id").alias("place"),
        pl.when(denied).then(pl.lit("licence")).alias("field"),
        pl.col("why").alias("reason"),
        pl.when(denied)
        .then(pl.col("licence").replace_strict(reasons, default=None, return_dtype=pl.String))
        .otherwise("topic")
        .alias("detail"),
    )
    _reject(writer, rows)


def _reject(writer: DatasetWriter, rows: pl.DataFrame) -> None:
    table = rows.select(REJECTED.names).to_arrow()
    if table.num_rows:
        writer.reject_rows(pa.table([column.cast(pa.string()) for column in table.columns], schema=REJECTED))


def _reject_near_duplicates(writer: DatasetWriter, plan: Draw, tally: Tally) -> None:
    templates = pl.Series([use.template.id for use in plan.uses], dtype=pl.String)
    for dropped in tally.dropped:
        rows = dropped.select(
            pl.col("seed_id").alias("place"),
            pl.lit("template").alias("field"),
            pl.lit(NEAR_DUPLICATE_PROMPT).alias("reason"),
            templates.gather(dropped["use"]).alias("detail"),
        )
        _reject(writer, rows)


def _cells(plan: Draw, groups: pl.DataFrame) -> list[dict[str, Any]]:
    """Prompts by mix, source and template, as planned and as stored, with what they may cost in tokens."""
    stored = {
        (use, source): (prompts, tokens)
        for use, source, prompts, tokens in groups.group_by("use", "source")
        .agg(pl.col("prompts").sum(), pl.col("extract_tokens").sum())
        .iter_rows()
    }
    use_of = [number for number, use in enumerate(plan.uses) for _ in use.sources]
    rows = []
    for number, cell, quota in zip(use_of, plan.cells, plan.quotas, strict=True):
        prompts, tokens = stored.get((number, cell.source), (0, 0))
        use = plan.uses[number]
        rows.append(
            {
                "mix": cell.mix,
                "source": cell.source,
                "kind": use.view.kind,
                "template": cell.template,
                "audience": cell.audience,
                "format": cell.format,
                "seeds": cell.seeds,
                "planned": quota,
                "prompts": prompts,
                "extract_tokens": tokens,
                "max_tokens": prompts * use.max_tokens,
            }
        )
    return rows


def _counts(plan: Draw, groups: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Stored prompts by the value of some columns."""
    of_use = pl.DataFrame(
        {
            "use": range(len(plan.uses)),
            "mix": [use.mix for use in plan.uses],
            "template": [use.template.id for use in plan.uses],
            "audience": [use.template.audience for use in plan.uses],
            "format": [use.template.format for use in plan.uses],
        },
        schema_overrides={"use": pl.Int16},
    )
    joined = groups.join(of_use, on="use", how="left")
    return {
        column: dict(joined.group_by(column).agg(pl.col("prompts").sum()).sort(column).iter_rows())
        for column in ("bucket", "source", "kind", "licence", "mix", "template", "audience", "format")
    }


def _near_duplicates(plan: Draw) -> list[dict[str, Any]]:
    """Of every template that made any: how many of its prompts were near-duplicates, and dropped."""
    made: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for use, mask, places in zip(plan.uses, plan.masks, plan.dropped, strict=True):
        made[use.template.id] += int(mask.sum())
        dropped[use.template.id] += len(places)
    return [
        {"template": template, "rendered": made[template], "near_duplicates": dropped[template]}
        for template in sorted(made)
        if made[template]
    ]
