"""Clusters of duplicates over all buckets: who is a duplicate of whom, and which prompts repeat themselves.

Belongs here: the stage and its account by source, topic and template. Does not belong here: ranks and methods
(`survivors`), or the verdicts by bucket (`verdicts`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cosmo_assets.deduplication.signatures import signed_as
from cosmo_assets.deduplication.survivors import Outcome, Ranked, Ranks, Signed, outcomes, ranked, resolved
from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import ELIGIBLE, REAL, TEMPLATE, has_real
from cosmo_assets.recipe.deduplication import Deduplication
from cosmo_assets.schemas.screening import DUPLICATE_CLUSTERS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "2"
MAX_EXAMPLES, MAX_LISTED = 5, 30
BY = ("source", "topic", "template")


def build(workspace: Workspace) -> Manifest:
    """Build `duplicate_clusters` over all buckets and the real documents, stored by bucket.

    Cost: linear in the signatures, plus sorting each file of them. Memory: 60 bytes for each document, and one file
    (for MinHash a band) of all buckets.
    """
    store, recipe = workspace.store, workspace.recipe.deduplication
    names = [bucket_name(index) for index in range(workspace.recipe.buckets)]
    parts = {name: _signed(store, name, recipe) for name in names}
    if has_real(workspace.recipe):
        parts[REAL] = Signed(store.open(ELIGIBLE), real=True)
    others = [part for corpus in recipe.against for part in _settled(store, corpus, recipe)]
    prompts = store.open("prompt_table")
    own = [dataset.ref() for part in parts.values() for dataset in (part.signatures, part.embeddings) if dataset]
    return workspace.build(
        "duplicate_clusters",
        lambda writer: _produce(writer, workspace, parts, others, prompts),
        stage_version=STAGE_VERSION,
        inputs=(*own, prompts.ref(), *(ref for other in others for ref in other.refs)),
        params=recipe.model_dump(),
    )


@dataclass(frozen=True)
class _Other:
    """A bucket of another corpus."""

    corpus: str
    part: Signed
    refs: tuple[InputRef, ...]


def _signed(store: CorpusStore, bucket: str, recipe: Deduplication) -> Signed:
    embeddings = store.open("text_embeddings", bucket) if recipe.compares_meanings else None
    return Signed(store.open("text_signatures", bucket), embeddings)


def _settled(store: CorpusStore, corpus: str, recipe: Deduplication) -> list[_Other]:
    """The buckets of another corpus, as its own deduplication left them.

    Raises:
        CosmoError: there is no such corpus, or its signatures are made in another way.
    """
    other = CorpusStore(store.root.parent / corpus)
    found = []
    for bucket in other.buckets("deduplicated"):
        part, verdicts = _signed(other, bucket, recipe), other.open("deduplicated", bucket)
        if part.signatures.manifest.params != signed_as(recipe):
            raise CosmoError(
                f"deduplication.against: the signatures of {corpus} are made with {part.signatures.manifest.params}, "
                f"those of this corpus with {signed_as(recipe)}",
                remedy="give both recipes the same methods",
            )
        table = verdicts.table(["doc_id", "keep"])
        kept = frozenset(table["doc_id"].filter(table["keep"]).to_pylist())
        datasets = [dataset for dataset in (part.signatures, part.embeddings, verdicts) if dataset]
        refs = tuple(ref.model_copy(update={"asset": f"{corpus}/{ref.asset}"}) for ref in (d.ref() for d in datasets))
        found.append(_Other(corpus, Signed(part.signatures, part.embeddings, kept), refs))
    if not found:
        raise CosmoError(
            f"deduplication.against: no corpus {corpus} with the asset deduplicated under {store.root.parent}",
            remedy="correct the name, or build that corpus first",
        )
    return found


def _produce(
    writer: DatasetWriter, workspace: Workspace, parts: Mapping[str, Signed], others: Sequence[_Other], prompts: Dataset
) -> None:
    recipe = workspace.recipe.deduplication
    documents = ranked([*parts.values(), *(other.part for other in others)], recipe)
    found = []
    for outcome in outcomes(documents, recipe.methods):
        found.append(outcome)
        workspace.progress(len(found), len(recipe.methods), "methods")
    ids, corpus_of = _names(documents, [None] * len(parts) + [other.corpus for other in others])
    final, account = resolved(found), _Account([_sizes(outcome) for outcome in found])
    for bucket, of_part in zip(parts, documents.of_part, strict=False):
        of_real = ["source"] if parts[bucket].real else ["prompt_id"]
        signatures = parts[bucket].signatures.table(["doc_id", "tokens", *of_real])
        table = pl.DataFrame(
            {"rank": of_part, **{name: pl.from_arrow(signatures[name]) for name in signatures.column_names}}
        )
        if parts[bucket].real:
            table = table.with_columns(topic=pl.lit(None, pl.String), template=pl.lit(TEMPLATE))
        else:
            table = table.join(_prompts(prompts, bucket), on="prompt_id", how="left", maintain_order="left")
        account.add(table, found)
        writer.write(_rows(table, bucket, found, account.sizes, final, ids, corpus_of), bucket=bucket)
    came = sum(part.signatures.manifest.flow.rows_out for part in parts.values())
    writer.flow("documents", came, sum(part.signatures.manifest.rows for part in parts.values()))
    writer.summary = account.summary(found, documents.settled, ids)


def _names(documents: Ranked, corpora: Sequence[str | None]) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.object_]]:
    """The ids of documents and the corpora that they are of, by rank."""
    ids, corpus_of = np.empty(len(documents), "S32"), np.empty(len(documents), object)
    for column, ranks, corpus in zip(documents.column("doc_id"), documents.of_part, corpora, strict=True):
        ids[ranks[ranks >= 0]] = np.array(column.to_pylist(), "S32")[ranks >= 0]
        corpus_of[ranks[ranks >= 0]] = corpus
    return ids, corpus_of


def _prompts(prompts: Dataset, bucket: str) -> pl.DataFrame:
    table = prompts.table(["prompt_id", *BY], bucket=bucket)
    return pl.DataFrame({name: pl.from_arrow(table[name]) for name in table.column_names})


def _sizes(outcome: Outcome) -> Ranks:
    """For each rank the number of documents in its cluster."""
    sizes: Ranks = np.bincount(outcome.survivor)[outcome.survivor]
    return sizes


def _rows(
    table: pl.DataFrame,
    bucket: str,
    found: Sequence[Outcome],
    sizes: Sequence[Ranks],
    final: Ranks,
    ids: npt.NDArray[np.bytes_],
    corpus_of: npt.NDArray[np.object_],
) -> pa.Table:
    """The members of clusters among a bucket's documents, by id and then in the order of the methods."""
    ranks = table["rank"].to_numpy()
    parts = []
    for number, (outcome, size) in enumerate(zip(found, sizes, strict=True)):
        inside = size[ranks] > 1
        chosen = ranks[inside]
        last = final[chosen]
        columns = {
            "order": np.full(len(chosen), number),
            "method": [outcome.method] * len(chosen),
            "survivor": ids[outcome.survivor[chosen]].astype(str),
            "cluster_size": size[chosen],
            "duplicate_of": [
                None if own else name.decode() for own, name in zip(last == chosen, ids[last], strict=True)
            ],
            "corpus": corpus_of[last].tolist(),
        }
        kinds = {"duplicate_of": pl.String, "corpus": pl.String, "method": pl.String, "survivor": pl.String}
        parts.append(
            table.filter(inside).with_columns(
                pl.Series(name, values, kinds.get(name)) for name, values in columns.items()
            )
        )
    members = pl.concat(parts).sort("doc_id", "order").with_columns(bucket=pl.lit(bucket))
    return members.select(DUPLICATE_CLUSTERS.names).to_arrow()


@dataclass
class _Account:
    """What is counted bucket by bucket: documents and duplicates by source, topic and template."""

    sizes: Sequence[Ranks]
    """By method, for each rank, the size of its cluster."""
    _counts: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {name: [] for name in BY})
    _tokens: Counter[str] = field(default_factory=Counter)
    _template_of: dict[int, Any] = field(default_factory=dict)

    def add(self, table: pl.DataFrame, found: Sequence[Outcome]) -> None:
        """Count a bucket's documents: columns rank, tokens and those of `BY`."""
        ranks = table["rank"].to_numpy()
        dropped = np.zeros(len(ranks), np.bool_)
        for outcome in found:
            removed = outcome.survivor[ranks] != ranks
            self._tokens[outcome.method] += int(table["tokens"].to_numpy()[removed].sum())
            dropped |= removed
        counted = table.with_columns(removed=pl.Series(dropped))
        for name in BY:
            sums = counted.group_by(name).agg(documents=pl.len(), removed=pl.col("removed").sum())
            self._counts[name].append(sums)
        for size in self.sizes:
            inside = size[ranks] > 1
            self._template_of.update(
                zip(ranks[inside].tolist(), table["template"].filter(inside).to_list(), strict=True)
            )

    def summary(self, found: Sequence[Outcome], settled: int, ids: npt.NDArray[np.bytes_]) -> dict[str, Any]:
        """Figures and small tables over all buckets."""
        sizes: Counter[int] = Counter()
        methods, largest = [], []
        foreign = 0
        for outcome, size in zip(found, self.sizes, strict=True):
            own = np.arange(len(outcome.survivor))
            heads = np.flatnonzero((outcome.survivor == own) & (size > 1))
            removed = int((outcome.survivor != own).sum())
            foreign += int((heads < settled).sum())
            sizes.update(size[heads].tolist())
            methods.append(
                {
                    "method": outcome.method,
                    "clusters": len(heads),
                    "documents": int(size[heads].sum()),
                    "removed": removed,
                    "tokens": self._tokens[outcome.method],
                }
            )
            for head in heads[np.lexsort((ids[heads], -size[heads]))][:MAX_EXAMPLES].tolist():
                members = np.sort(ids[outcome.survivor == head]).astype(str).tolist()
                example = {"method": outcome.method, "survivor": ids[head].decode(), "size": len(members)}
                largest.append(
                    {**example, "documents": [name for name in members if name != example["survivor"]][:MAX_EXAMPLES]}
                )
        return {
            "clusters": sum(sizes.values()),
            "in_clusters": sum(size * count for size, count in sizes.items()),
            "of_other_corpora": foreign,
            "documents_of_other_corpora": settled,
            "methods": methods,
            "sizes": [[size, count] for size, count in sorted(sizes.items())],
            **{f"by_{name}": self._shares(name) for name in BY},
            "pairs": self._pairs(found),
            "examples": sorted(largest, key=lambda row: (-row["size"], row["survivor"]))[:MAX_EXAMPLES],
        }

    def _shares(self, name: str) -> list[dict[str, Any]]:
        """Documents and duplicates by a column, those with the most duplicates first."""
        counts = pl.concat(self._counts[name]).group_by(name).agg(pl.col("documents", "removed").sum())
        counts = counts.with_columns(share=(pl.col("removed") / pl.col("documents")).round(4))
        return counts.sort("removed", "documents", name, descending=[True, True, False]).head(MAX_LISTED).to_dicts()

    def _pairs(self, found: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Which templates repeat which: duplicates by their template and that of the document kept in their place."""
        pairs: Counter[tuple[str, str]] = Counter()
        for outcome in found:
            for rank in np.flatnonzero(outcome.survivor != np.arange(len(outcome.survivor))).tolist():
                kept = self._template_of.get(int(outcome.survivor[rank]), "(another corpus)")
                pairs[self._template_of[rank], kept] += 1
        ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_LISTED]
        return [{"template": left, "of_template": right, "documents": count} for (left, right), count in ordered]
