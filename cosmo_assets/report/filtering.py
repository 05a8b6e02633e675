"""The parts of the report that only some corpora have: signals, ages, the selection, what filtering costs, diversity,
proof.

Belongs here: their tables and charts, and the sentence above them, where the recipe asks for what they show. Does not
belong here: the parts of every corpus (`figures`, `examples`), reading (`corpus`), HTML (`html`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from cosmo_assets.charts.bars import bars
from cosmo_assets.diversity import stage as diversity_stage
from cosmo_assets.ids import bucket_name
from cosmo_assets.proxy.stage import EVALUATION
from cosmo_assets.recipe.selection import SIGNAL_ASSETS
from cosmo_assets.recipe.signals import Age
from cosmo_assets.report import proof
from cosmo_assets.report.corpus import Corpus, Section
from cosmo_assets.report.html import Share, Table
from cosmo_assets.selection import costs
from cosmo_assets.selection import stage as selection_stage
from cosmo_assets.signals.ages import ages_of
from cosmo_assets.signals.spread import chart_of, rows_of


def parts(corpus: Corpus, *, compared: bool) -> list[Section]:
    """What this corpus has of them, in order. Their content is a title, a lead and a table. Without `compared`, nothing
    is said of the accepted version: which one that is, is no part of the versions that the report reads."""
    families = [_signals(corpus, family) for family in corpus.workspace.recipe.signals]
    families += [_ages(corpus, section) for section in [corpus.workspace.recipe.age] if section is not None]
    found = [part(corpus) for asset, part in PARTS.items() if asset in corpus.datasets]
    found += [_diversity(corpus, compared)] if diversity_stage.ASSET in corpus.datasets else []
    return [*families, *found, *([proof.part(corpus)] if EVALUATION in corpus.datasets else [])]


def _signals(corpus: Corpus, family: str) -> Section:
    """Of one bucket: quantiles of several cannot be put together, and each is a sample of the corpus."""
    bucket = bucket_name(0)
    spread = corpus.datasets[SIGNAL_ASSETS[family]][bucket].manifest.summary["spread"]
    lead = (
        f"Annotations, which remove nothing. Of the documents of bucket {bucket}, an unbiased sample of the corpus: "
        "how many have each signal, and its quantiles."
    )
    found = {f"{row['signal']}.median": row["quantiles"][3] for row in spread if row["quantiles"]}
    return _section(f"signals-{family}", f"Signals: {family}", lead, rows_of(spread), chart_of(spread), found)


def _ages(corpus: Corpus, asked: Age) -> Section:
    signals = [corpus.scan(asset) for asset in ("text_age", "real_age") if asset in corpus.datasets]
    named = pl.concat([found.select("doc_id", "latest_year") for found in signals])
    documents = corpus.scan("mixture").select("doc_id", "source").join(named, on="doc_id")
    by_source = documents.group_by("source").agg(pl.len(), pl.col("latest_year").drop_nulls()).sort("source")
    older, rows, shares, figures = f"Older than {asked.older} years", [], [], dict[str, float]()
    for source, count, years in by_source.collect().iter_rows():
        found = ages_of(np.array(years, np.int64), asked.evaluated, asked.older, asked.half_life)
        row: dict[str, Any] = {"Source": source, "Documents": count, "Name a year": len(years)}
        row |= {older: None, "Mean gap, years": None, "Mean weight": None}
        if found is not None:
            row |= {older: Share(found.older), "Mean gap, years": found.gap, "Mean weight": found.weight}
            shares.append((source, found.older))
            figures |= {f"{source}.{name}": value for name, value in vars(found).items()}
        rows.append(row)
    lead = (
        "Of the documents in the corpus that name a year, by the latest one: how many years older they are than "
        f"{asked.evaluated}, when models are tested, and what they weigh if {asked.half_life:g} years halve a weight."
    )
    chart = bars(f"{older}, of those that name a year", shares, unit="%")
    return _section("ages", "Age", lead, rows, chart, figures)


def _selection(corpus: Corpus) -> Section:
    manifest, flow = corpus.one("selection").manifest, corpus.flow("selection")
    lead = (
        f"Of {flow.rows_in:,} documents {flow.rows_out:,} may stand in the corpus by their signals. A document counts "
        "for the first limit that it breaks; the texts of the others are still there."
    )
    names = {"reason": "Limit", "signal": "Signal", "low": "Least", "high": "Most", "breaks": "Documents that break it"}
    names |= {"drops": "For which it is the first", "tokens": "Their tokens"}
    rows = [{shown: row[name] for name, shown in names.items()} for row in manifest.summary["limits"]]
    figures = {f"dropped.{row['reason']}": row["drops"] for row in manifest.summary["limits"]}
    return _section("selection", "Selection", lead, rows, selection_stage.chart(manifest), figures)


def _costs(corpus: Corpus) -> Section:
    trials = corpus.summary(costs.ASSET)["trials"]
    lead = (
        "What would be left if only a fraction of the documents were kept by one signal; nothing was filtered for it. "
        "Divergence is that of the domains' shares from those of all (KL, in nats). Worth is that of a training as "
        "long as all tokens, which repeats those left, in new tokens. Retention is the share of the documents that "
        "mention a group of people which stay, of the group that loses most."
    )
    rows = [
        {
            "Signal": f"{row['signal']}, {row['prefer']}",
            "Rule": row["rule"],
            "Kept": Share(row["fraction"]),
            **{name.capitalize(): row[name] for name in ("documents", "tokens", "divergence")},
            "Worth": Share(row["effective"]),
            "Vendi score": row["vendi"],
            "Retention": None if row["retention"] is None else Share(row["retention"]),
            "Group": row["group"],
        }
        for row in trials
    ]
    figures = {
        f"{row['signal']}.{row['prefer']}.{row['rule']}.{row['fraction']:g}.{name}": row[name]
        for row in trials
        for name in ("tokens", "divergence")
    }
    return _section("costs", "What filtering costs", lead, rows, costs.chart(trials), figures)


def _diversity(corpus: Corpus, compared: bool) -> Section:
    manifest = corpus.one(diversity_stage.ASSET).manifest
    table, chart = diversity_stage.shown(manifest, corpus.workspace.recipe, compared=compared)
    lead = (
        f"Of {manifest.summary['sample']:,} documents, each measure with its 95 % interval, beside what it was in the "
        "last accepted version; a dash where there is none. Worse is what is so by more than chance."
    )
    names = ("measure", "value", "low", "high", "accepted", "chance")
    rows = [
        {**{name.capitalize(): row[name] for name in names}, "Worse": "yes" if row["worse"] else ""} for row in table
    ]
    return _section("diversity", "Diversity", lead, rows, chart, manifest.summary["measures"])


PARTS: Mapping[str, Callable[[Corpus], Section]] = {"selection": _selection, costs.ASSET: _costs}


def _section(
    name: str, title: str, lead: str, rows: list[dict[str, Any]], chart: str, figures: Mapping[str, float]
) -> Section:
    table = Table(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])
    return Section(name, {"title": title, "lead": lead, "table": table}, [chart], figures)
