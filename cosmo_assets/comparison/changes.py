"""What one version of the corpus has and another has not, to the token, and why.

Belongs here: comparing two versions. Does not belong here: finding them (`versions`), printing (`show`).

A document that is not in a corpus was left out by a stage, which says why, or was never made there: then its prompt
has other answers, its seed other prompts, or its seed is not there; a real one was not among what was read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cosmo_assets.comparison.versions import Version, walk
from cosmo_assets.mixture.documents import DUPLICATE as DUPLICATE_REASON
from cosmo_assets.mixture.documents import SIGNAL
from cosmo_assets.mixture.stage import NOT_DRAWN, NOT_MIXED, WITHDRAWN
from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE
from cosmo_assets.seeds.licences import DENIED
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore

DUPLICATE, COPIES, OTHER = "duplicates", "copies of documents that stay", "anything else"
WEIGHTS, SOURCES, ANSWERS = "weights and bounds of the mixture", "sources of the mixture", "failed answers"
GENERATED, PROMPTS, SEEDS = "generated again", "prompts", "seeds"
LICENCES, REAL_DATA = "licences that are not allowed", "real data"
FACETS = ("source", "topic", "format")

Row = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """How two versions differ. `why`: documents and tokens by what became of them and the reason. `by`: for each facet
    what came and went by value. `inputs`: assets that are of another version, with how many buckets. `settings`: fields
    of the recipe that differ, as the stages used them."""

    before: Row
    after: Row
    why: list[Row]
    by: Mapping[str, list[Row]]
    inputs: list[Row]
    settings: list[Row]

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {"from": fields.pop("before"), "to": fields.pop("after"), **fields}


def changes(store: CorpusStore, before: Manifest | None, after: Manifest) -> list[Row]:
    """The reasons by which the corpora of two versions of `corpus_report` differ (see `Difference.why`). Empty where
    nothing is to be compared, or the earlier files are gone."""
    if before is None or before.version == after.version:
        return []
    try:
        was, now = walk(store, before), walk(store, after)
    except CosmoError:
        return []
    return [] if was.shards.manifest.version == now.shards.manifest.version else reasons(moved(was, now), was, now)


def difference(store: CorpusStore, before: Manifest, after: Manifest) -> Difference:
    """How two versions of the shards differ.

    Cost: the spans of both; of the verdicts, prompts and generations the ids; memory for both versions' ids.

    Raises:
        CosmoError: what one of them was made from is gone.
    """
    was, now = walk(store, before), walk(store, after)
    changed = moved(was, now)
    why, by = reasons(changed, was, now), _facets(changed, was, now)
    return Difference(_head(was), _head(now), why, by, _inputs(was, now), _set(was, now))


def moved(was: Version, now: Version) -> pl.DataFrame:
    """The documents whose tokens differ, all copies together: doc_id, tokens, tokens_now (null where it is not)."""
    both = _documents(was).join(_documents(now), on="doc_id", how="full", coalesce=True, suffix="_now")
    return both.filter(pl.col("tokens").ne_missing(pl.col("tokens_now"))).collect()


def reasons(changed: pl.DataFrame, was: Version, now: Version) -> list[Row]:
    """What is gone, what has come (back), each by reason, and a row for all; more copies are tokens without documents.
    A document has come for the reason for which it was not there before."""
    gone, come = pl.col("tokens_now").is_null(), pl.col("tokens").is_null()
    absent = pl.concat([_why(changed.filter(gone), now, was), _why(changed.filter(come), was, now)])
    table = (
        changed.join(absent, on="doc_id", how="left")
        .with_columns(pl.when(gone | come).then(pl.col("because").fill_null(OTHER)).otherwise(pl.lit(COPIES)))
        .group_by(pl.when(gone).then(pl.lit("gone")).otherwise(pl.lit("come")).alias("what"), "because")
        .agg(
            (come.cast(pl.Int64) - gone.cast(pl.Int64)).sum().alias("documents"),
            (pl.col("tokens_now").fill_null(0) - pl.col("tokens").fill_null(0)).sum().alias("tokens"),
        )
        .select("what", "because", "documents", "tokens")
        .sort("what", "because", descending=[True, False])
    )
    whole = {"what": "all", "because": "", "documents": table["documents"].sum(), "tokens": table["tokens"].sum()}
    return [*table.to_dicts(), whole]


def _documents(version: Version) -> pl.LazyFrame:
    """The documents of the shards with their tokens, of all copies, end-of-text tokens included."""
    spans = _scan(version.shards.paths())
    return spans.group_by("doc_id").agg((pl.col("end") - pl.col("start")).sum().alias("tokens"))


def _why(documents: pl.DataFrame, absent: Version, present: Version) -> pl.DataFrame:
    """Why documents of one version are not in another: doc_id, because. The stage that dropped it says so, the last one
    first; of what was never there, the first thing on its way that is not there."""
    ids = documents["doc_id"].implode()
    dropped = [found.filter(pl.col("doc_id").is_in(ids)).collect() for found in _dropped(absent)]
    none = pl.DataFrame(schema={"doc_id": pl.String, "because": pl.String})
    known = pl.concat([none, *dropped]).unique("doc_id", keep="first", maintain_order=True)
    unknown = documents.select("doc_id").join(known, on="doc_id", how="anti")
    return pl.concat([known, _missing(unknown, absent, present)]) if unknown.height else known


def _dropped(version: Version) -> list[pl.LazyFrame]:
    """What each stage left out, and why."""
    reason = pl.col("reason")
    because = (
        pl.when(reason == WITHDRAWN)
        .then(pl.concat_str(pl.lit("withdrawn: "), "detail"))
        .when(reason == NOT_DRAWN)
        .then(pl.lit(WEIGHTS))
        .when(reason == NOT_MIXED)
        .then(pl.lit(SOURCES))
        .when(reason.str.starts_with(DUPLICATE_REASON))
        .then(pl.lit(DUPLICATE))
        .when(reason.str.starts_with(SIGNAL))
        .then(pl.concat_str(pl.lit("selection: "), reason.str.strip_prefix(SIGNAL)))
    )
    found = []
    if paths := _paths(version, "mixture", "rejected"):
        found.append(_scan(paths).select(pl.col("place").alias("doc_id"), because.alias("because")))
    if paths := _paths(version, ELIGIBLE, "rejected"):
        item = pl.concat_str(pl.lit("items of "), reason.str.strip_prefix("contaminated_"))
        why = pl.when(reason == DENIED).then(pl.lit(LICENCES)).otherwise(item)
        found.append(_scan(paths).select(pl.col("place").alias("doc_id"), why.alias("because")))
    rules: dict[str, pl.Expr] = {
        "deduplicated": pl.lit(DUPLICATE),
        "decontaminated": pl.concat_str(pl.lit("items of "), "benchmark"),
        "generation_quality": pl.concat_str(pl.lit("quality: "), pl.col("reasons").list.first()),
    }
    for asset, rule in rules.items():
        if paths := _paths(version, asset):
            found.append(_scan(paths).filter(~pl.col("keep")).select("doc_id", rule.alias("because")))
    if paths := _paths(version, "generations"):
        failed = _scan(paths).filter(pl.col("status") != "ok")
        found.append(failed.select("doc_id", pl.lit(ANSWERS).alias("because")))
    return found


def _missing(documents: pl.DataFrame, absent: Version, present: Version) -> pl.DataFrame:
    """Why documents were never made in a version, from what they come from in the other one."""
    chain = _chain(documents, present)
    if chain is None or not all(_paths(absent, asset) for asset in ("generations", "prompt_table", "seed_documents")):
        return documents.with_columns(pl.lit(None, pl.String).alias("because"))
    answered = _ids(absent, "generations", "prompt_id", chain)
    prompted = _ids(absent, "prompt_table", "seed_id", chain)
    seeded = _ids(absent, "seed_documents", "seed_id", chain)
    return chain.select(
        "doc_id",
        pl.when(pl.col("prompt_id").is_null())
        .then(pl.lit(REAL_DATA))
        .when(pl.col("prompt_id").is_in(answered))
        .then(pl.lit(GENERATED))
        .when(pl.col("seed_id").is_in(prompted) | pl.col("seed_id").is_in(seeded))
        .then(pl.lit(PROMPTS))
        .otherwise(pl.lit(SEEDS))
        .alias("because"),
    )


def _ids(version: Version, asset: str, column: str, chain: pl.DataFrame) -> pl.Series:
    """Those of the ids of a column of `chain` that an asset has."""
    wanted = pl.col(column).is_in(chain[column].unique().implode())
    found = _scan(_paths(version, asset)).select(column).filter(wanted).unique().collect()
    return found[column].implode()


def _chain(documents: pl.DataFrame, version: Version) -> pl.DataFrame | None:
    """Documents with their prompt, seed, and facets; None where the version does not say. A real document has a source
    alone."""
    generations, prompts = _paths(version, "generations"), _paths(version, "prompt_table")
    if not generations or not prompts:
        return None
    ids = documents["doc_id"].implode()
    answers = _scan(generations).select("doc_id", "prompt_id").filter(pl.col("doc_id").is_in(ids)).collect()
    wanted = pl.col("prompt_id").is_in(answers["prompt_id"].implode())
    found = _scan(prompts).select("prompt_id", "seed_id", *FACETS).filter(wanted).collect()
    chain = documents.join(answers, on="doc_id", how="left").join(found, on="prompt_id", how="left")
    if not (real := _paths(version, DOCUMENTS)):
        return chain
    sources = _scan(real).select("doc_id", pl.col("source").alias("real")).filter(pl.col("doc_id").is_in(ids)).collect()
    chain = chain.join(sources, on="doc_id", how="left")
    return chain.with_columns(pl.coalesce("source", "real").alias("source")).drop("real")


def _facets(changed: pl.DataFrame, was: Version, now: Version) -> dict[str, list[Row]]:
    """What came and went by source, topic and format, the largest changes first."""
    gone = changed.filter(pl.col("tokens_now").is_null())
    chains = [_chain(gone, was), _chain(changed.filter(pl.col("tokens_now").is_not_null()), now)]
    known = [chain.select(*FACETS, "tokens", "tokens_now") for chain in chains if chain is not None]
    if not known:
        return {}
    change = pl.col("tokens_now").fill_null(0) - pl.col("tokens").fill_null(0)
    table = pl.concat(known).with_columns(change.alias("change"))
    come, went = pl.col("tokens").is_null(), pl.col("tokens_now").is_null()
    return {
        facet: table.group_by(pl.col(facet).alias("value"))
        .agg(
            come.sum().alias("documents_added"),
            went.sum().alias("documents_removed"),
            pl.col("change").clip(lower_bound=0).sum().alias("tokens_added"),
            (-pl.col("change").clip(upper_bound=0).sum()).alias("tokens_removed"),
        )
        .sort(pl.col("tokens_added") + pl.col("tokens_removed"), "value", descending=[True, False])
        .to_dicts()
        for facet in FACETS
    }


def _head(version: Version) -> Row:
    shards = version.shards.manifest
    return {
        "version": shards.version,
        "mixture": version.refs.get(("mixture", "all"), ""),
        "documents": shards.summary.get("documents", 0),
        "tokens": shards.summary.get("tokens", 0),
    }


def _inputs(was: Version, now: Version) -> list[Row]:
    differ = {key for key in was.refs.keys() | now.refs.keys() if was.refs.get(key) != now.refs.get(key)}
    assets = sorted({asset for asset, _ in differ})
    return [{"asset": asset, "changed": sum(asset == other for other, _ in differ)} for asset in assets]


def _set(was: Version, now: Version) -> list[Row]:
    before, after = was.settings(), now.settings()
    return [
        {"field": field, "before": before.get(field), "after": after.get(field)}
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]


def _paths(version: Version, asset: str, role: str = "rows") -> list[Path]:
    return [path for dataset in version.datasets.get(asset, ()) for path in dataset.paths(role=role)]


def _scan(paths: list[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(paths, hive_partitioning=False)
