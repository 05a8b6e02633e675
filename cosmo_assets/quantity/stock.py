"""The tokens that a corpus has: unique ones, copies, and topics.

Belongs here: reading them from the datasets that are there. Does not belong here: what they are enough for (`budget`),
or tokens that are only expected (`cosmo_assets.cli.plan_tables`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.storage.store import CorpusStore, Dataset

NO_TOPIC = "(none)"


@dataclass(frozen=True)
class Stock:
    """The tokens of a corpus."""

    unique: int
    basis: str
    """What they were counted from."""
    by_copies: Mapping[int, int] = field(default_factory=dict)
    """Unique tokens by the copies of their documents; empty where nobody has chosen copies yet."""
    by_topic: Mapping[str, int] = field(default_factory=dict)
    """Unique tokens of generated documents; empty before there is a token index."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """What each of these topics should have: its share of the prompts, times the mixture's factor for it."""
    kept: float | None = None
    """The part of the generated tokens that was left after the last filter; None where nothing was filtered yet."""
    by_source: Mapping[str, int] = field(default_factory=dict)
    """Unique tokens of all documents; empty before there is a token index."""

    @property
    def corpus(self) -> int:
        """Tokens of the corpus with all copies."""
        return sum(copies * tokens for copies, tokens in self.by_copies.items())


def stock(store: CorpusStore, recipe: Recipe) -> Stock | None:
    """What `token_lineage` says, or before there is one `mixture`, which counts as the server did and knows no topics;
    None before that. Cost: the short columns of all spans, or of all documents."""
    if (lineage := store.current("token_lineage")) is not None:
        return _of_lineage(lineage, store, recipe)
    if (mixture := store.current("mixture")) is not None:
        found = pl.scan_parquet(mixture.paths()).group_by("copies").agg(pl.col("tokens").sum()).collect()
        by_copies = dict(found.select("copies", "tokens").iter_rows())
        basis = "the documents of the mixture, as the server counted"
        return Stock(sum(by_copies.values()), basis, by_copies, kept=_kept(store, recipe))
    return None


def _of_lineage(lineage: Dataset, store: CorpusStore, recipe: Recipe) -> Stock:
    spans = (
        pl.scan_parquet(lineage.paths())
        .group_by("copy", pl.col("topic").fill_null(NO_TOPIC), "source", pl.col("prompt_id").is_null().alias("real"))
        .agg((pl.col("end") - pl.col("start")).sum().alias("tokens"))
        .collect()
    )
    at_least = dict(spans.group_by("copy").agg(pl.col("tokens").sum()).sort("copy").iter_rows())
    by_copies = {copy + 1: tokens - at_least.get(copy + 1, 0) for copy, tokens in at_least.items()}
    once = spans.filter(pl.col("copy") == 0)
    by_topic, by_source = (
        dict(found.group_by(facet).agg(pl.col("tokens").sum()).sort(facet).iter_rows())
        for facet, found in (("topic", once.filter(~pl.col("real"))), ("source", once))
    )
    prompts = pl.scan_parquet(store.open("prompt_table").paths()).group_by(pl.col("topic").fill_null(NO_TOPIC))
    asked = dict(prompts.len().collect().iter_rows())
    factor = recipe.mixture.factors.topic
    wanted = {topic: asked.get(topic, 0) * factor.get(topic, 1.0) for topic in by_topic}
    total = sum(wanted.values())
    shares = {topic: count / total for topic, count in wanted.items() if count}
    unique = sum(by_copies.values())
    return Stock(unique, "the token index of the corpus", by_copies, by_topic, shares, _kept(store, recipe), by_source)


def _kept(store: CorpusStore, recipe: Recipe) -> float | None:
    names = [bucket_name(index) for index in range(recipe.buckets)]
    filtered = [store.current("deduplicated", name) for name in names]
    written = [store.current("generations", name) for name in names]
    left = [one.manifest.flow.tokens.tokens_out for one in filtered if one and one.manifest.flow.tokens]
    tokens = sum(one.manifest.summary.get("completion_tokens", 0) for one in written if one)
    return sum(left) / tokens if tokens and len(left) == len(names) else None
