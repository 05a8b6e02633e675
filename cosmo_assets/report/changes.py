"""What the corpus gained and lost since its last report, by reason, to the token.

Belongs here: comparing two versions of the corpus. Does not belong here: the report (`report`), which is a function of
one version alone and so cannot say this itself.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from cosmo_assets.report.corpus import scan
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset

DUPLICATE, COPIES, OTHER = "duplicates", "copies of documents that stay", "anything else"

Datasets = Mapping[str, list[Dataset]]


def changes(store: CorpusStore, before: Manifest | None, after: Manifest) -> list[dict[str, Any]]:
    """Documents and tokens of the shards by which two versions of `corpus_report` differ: what is gone (for a
    benchmark, as duplicates, for anything else), what has come (back), and a row for all; more copies are tokens
    without documents. Empty where nothing is to be compared, or the earlier files are gone.

    Cost: the token index of both versions, where it changed; memory for both versions' ids.
    """
    if before is None or before.version == after.version:
        return []
    try:
        was, now = _opened(store, before), _opened(store, after)
    except CosmoError:
        return []
    if was["tokenized_shards"] == now["tokenized_shards"]:
        return []
    both = _documents(was).join(_documents(now), on="doc_id", how="full", coalesce=True, suffix="_now")
    moved = both.filter(pl.col("tokens").ne_missing(pl.col("tokens_now")))
    gone, come = pl.col("tokens_now").is_null(), pl.col("tokens").is_null()
    reasons = _reasons(now, "reason_now").join(_reasons(was, "reason"), on="doc_id", how="full", coalesce=True)
    because = pl.when(gone).then(pl.col("reason_now")).when(come).then(pl.col("reason")).otherwise(pl.lit(COPIES))
    table = (
        moved.join(reasons, on="doc_id", how="left")
        .group_by(pl.when(gone).then(pl.lit("gone")).otherwise(pl.lit("come")).alias("what"), because.alias("because"))
        .agg(
            (come.cast(pl.Int64) - gone.cast(pl.Int64)).sum().alias("documents"),
            (pl.col("tokens_now").fill_null(0) - pl.col("tokens").fill_null(0)).sum().alias("tokens"),
        )
        .with_columns(pl.col("because").fill_null(OTHER))
        .sort("what", "because", descending=[True, False])
        .collect()
    )
    whole = {"what": "all", "because": "", "documents": table["documents"].sum(), "tokens": table["tokens"].sum()}
    return [*table.to_dicts(), whole]


def _opened(store: CorpusStore, report: Manifest) -> Datasets:
    """The versions that a report was made from, as far as they are compared."""
    found: dict[str, list[Dataset]] = {"decontaminated": [], "deduplicated": [], "tokenized_shards": []}
    for ref in report.inputs:
        if ref.asset in found:
            found[ref.asset].append(store.version(ref))
    return found


def _documents(datasets: Datasets) -> pl.LazyFrame:
    """The documents of the shards with their tokens, of all copies, end-of-text tokens included."""
    spans = scan([path for dataset in datasets["tokenized_shards"] for path in dataset.paths()])
    return spans.group_by("doc_id").agg((pl.col("end") - pl.col("start")).sum().alias("tokens"))


def _reasons(datasets: Datasets, name: str) -> pl.LazyFrame:
    """Why documents are not in a corpus."""
    verdicts, unique = (
        scan([path for dataset in datasets[asset] for path in dataset.paths()]).filter(~pl.col("keep"))
        for asset in ("decontaminated", "deduplicated")
    )
    return pl.concat(
        [
            verdicts.select("doc_id", pl.concat_str(pl.lit("items of "), "benchmark").alias(name)),
            unique.select("doc_id", pl.lit(DUPLICATE).alias(name)),
        ]
    )
