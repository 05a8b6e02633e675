"""What the report reads: the current version of every asset, sums over buckets, the funnel, a few documents.

Belongs here: reading manifests, columns and chosen rows. Does not belong here: what the report says about them
(`figures`, `examples`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE, REAL, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.selection import SIGNAL_ASSETS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Flow, InputRef, Manifest
from cosmo_resources.storage.store import ALL, Dataset

WHOLE = (
    "seed_documents",
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "topic_map",
    "prompt_table",
    "benchmark_index",
    "contaminated_seeds",
    "duplicate_clusters",
    "mixture",
    "tokenized_shards",
    "token_lineage",
)
OF_REAL = (DOCUMENTS, ELIGIBLE)
"""Those that it reads as well where real text is mixed in."""

OPTIONAL: Mapping[str, Callable[[Recipe], object]] = {
    "selection": lambda recipe: recipe.selection,
    "filtering_costs": lambda recipe: recipe.sweep,
    "corpus_diversity": lambda recipe: recipe.diversity,
    "real_age": lambda recipe: recipe.age if has_real(recipe) else None,
}
"""Those that it reads as well where the recipe has a section for them."""

WHERE_BUILT: Mapping[str, Callable[[Recipe], object]] = {"proxy_evaluation": lambda recipe: recipe.proof}
"""Those that it reads as well where the recipe has a section for them and somebody has built them: its next build has
them as inputs, and one before they are built is what it would be without the section."""

BUCKETED = ("generations", "generation_quality", "decontaminated", "text_signatures", "deduplicated")
"""The assets that the report reads: those with one dataset, and those with one per bucket."""

FUNNEL = (
    "seed_documents",
    "prompt_table",
    "generations",
    "generation_quality",
    "decontaminated",
    "deduplicated",
    "mixture",
    "tokenized_shards",
    "token_lineage",
)
"""The stages at which something can be lost, in order."""


@dataclass(frozen=True)
class Section:
    """One part of the report: what the page's template asks for by name, charts, and figures for the table."""

    name: str
    content: Mapping[str, Any] = field(default_factory=dict)
    charts: Sequence[str] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One step of the funnel, summed over buckets. `holds`: every bucket accounts for its rows, and what goes in is
    what came out of the step before."""

    asset: str
    flow: Flow
    holds: bool


@dataclass(frozen=True)
class Corpus:
    """The current version of everything that the report reads, by asset and bucket."""

    workspace: Workspace
    datasets: Mapping[str, Mapping[str, Dataset]]

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        return tuple(dataset.ref() for group in self.datasets.values() for dataset in group.values())

    def one(self, asset: str) -> Dataset:
        return self.datasets[asset][ALL]

    def summary(self, asset: str) -> dict[str, Any]:
        return self.one(asset).manifest.summary

    def manifests(self, asset: str) -> list[Manifest]:
        return [dataset.manifest for dataset in self.datasets[asset].values()]

    def flow(self, asset: str) -> Flow:
        """The flow of all buckets together."""
        flows = [manifest.flow for manifest in self.manifests(asset)]
        dropped, failed = Counter[str](), Counter[str]()
        for flow in flows:
            dropped.update(flow.dropped)
            failed.update(flow.failed)
        rows_in, rows_out = sum(flow.rows_in for flow in flows), sum(flow.rows_out for flow in flows)
        return Flow(unit=flows[0].unit, rows_in=rows_in, rows_out=rows_out, dropped=dropped, failed=failed)

    def funnel(self) -> list[Stage]:
        """The steps from source rows to spans of tokens. Where the unit changes, what goes in is known from elsewhere:
        prompts times samples, and documents times copies."""
        flows = {asset: self.flow(asset) for asset in FUNNEL}
        expected = {after: flows[before].rows_out for before, after in pairwise(FUNNEL)}
        samples = self.manifests("generations")[0].params["samples"]
        if self.has_real:
            expected["mixture"] += self.flow(ELIGIBLE).rows_out
        expected["generations"] = self.summary("prompt_table")["prompts"] * samples
        expected["tokenized_shards"] = self.scan("mixture").select(pl.col("copies").sum()).collect().item()
        return [
            Stage(
                asset,
                flow,
                all(manifest.flow.balanced for manifest in self.manifests(asset))
                and flow.rows_in == expected.get(asset, flow.rows_in),
            )
            for asset, flow in flows.items()
        ]

    @property
    def has_real(self) -> bool:
        return ELIGIBLE in self.datasets

    def stale(self) -> list[tuple[str, str]]:
        """Pairs of an asset and an input that it was built from in another version than the current one. The cluster
        model is in none of them: it is pinned on purpose, and new seeds are assigned to it."""
        found = set()
        for asset, group in self.datasets.items():
            for ref in (ref for dataset in group.values() for ref in dataset.manifest.inputs):
                known = self.datasets.get(ref.asset, {})
                current = known.get(ref.bucket) or known.get(ALL)
                if asset != "cluster_model" and current is not None and current.ref(ref.bucket) != ref:
                    found.add((asset, ref.asset))
        return sorted(found)

    def scan(self, asset: str) -> pl.LazyFrame:
        """All rows of an asset, of every bucket."""
        return scan([path for dataset in self.datasets[asset].values() for path in dataset.paths()])

    def documents(self, bucket_of: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Documents joined with their prompts, by doc_id; real ones, which have none, as they were read. `bucket_of`
        says where each is: no other bucket is read.

        Raises:
            CosmoError: one of them is not among the current texts and prompts.
        """
        found: dict[str, dict[str, Any]] = {}
        for bucket in sorted(set(bucket_of.values())):
            wanted = [doc for doc, place in bucket_of.items() if place == bucket]
            if bucket == REAL:
                rows = self.scan(DOCUMENTS).filter(pl.col("doc_id").is_in(wanted)).collect().to_dicts()
                found |= {row["doc_id"]: row for row in rows}
                continue
            documents = scan(self.datasets["generations"][bucket].paths()).filter(pl.col("doc_id").is_in(wanted))
            columns = documents.select("doc_id", "prompt_id", "text", "completion_tokens")
            prompts = scan(self.one("prompt_table").paths(bucket=bucket))
            found |= {row["doc_id"]: row for row in columns.join(prompts, on="prompt_id").collect().to_dicts()}
        if lost := sorted(set(bucket_of) - set(found)):
            raise CosmoError(
                f"document {lost[0]} (and {len(lost) - 1} more) is not among the current generations and prompts",
                remedy="these were built again since the later stages were: run `cosmo run` to the end",
            )
        return found


def read_corpus(workspace: Workspace) -> Corpus:
    """The current versions of a corpus.

    Raises:
        CosmoError: an asset is not built yet.
    """
    store = workspace.store
    buckets = [bucket_name(index) for index in range(workspace.recipe.buckets)]
    names = (*WHOLE, *(OF_REAL if has_real(workspace.recipe) else ()), *optional(workspace.recipe))
    whole = {asset: {ALL: store.open(asset)} for asset in names}
    asked = [name for name, section in WHERE_BUILT.items() if section(workspace.recipe) is not None]
    whole |= {asset: {ALL: found} for asset in asked if (found := store.current(asset)) is not None}
    by_bucket = (*BUCKETED, *(SIGNAL_ASSETS[family] for family in workspace.recipe.signals))
    bucketed = {asset: {bucket: store.open(asset, bucket) for bucket in buckets} for asset in by_bucket}
    return Corpus(workspace, whole | bucketed)


def optional(recipe: Recipe) -> list[str]:
    """Those of `OPTIONAL` that a corpus has."""
    return [name for name, section in OPTIONAL.items() if section(recipe) is not None]


def scan(paths: list[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(paths, hive_partitioning=False)
