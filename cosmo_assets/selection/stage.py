"""The selection: which of the documents that are left may stand in the corpus by their signals.

Belongs here: the stage. Does not belong here: what a limit says of a document (`verdicts`), or leaving documents out:
the mixture does, so that another selection redoes nothing before it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from cosmo_assets.charts.bars import bars
from cosmo_assets.diversity.vectors import vectors_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import ELIGIBLE, REAL, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.selection import Keep, Selection
from cosmo_assets.schemas.signals import SELECTION
from cosmo_assets.selection.signals import Signals
from cosmo_assets.selection.thinning import STAYS, reasons_of, thinned
from cosmo_assets.selection.verdicts import Limit, first_broken, limits_of
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Flow, InputRef, Manifest, total_flow
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
KEPT = -1
"""What stands for the limit of a document that breaks none."""


def build(workspace: Workspace) -> Manifest:
    """Build `selection`, stored by bucket. Cost: the signals that it reads of all documents; memory for one bucket.
    With a rule over all documents, these twice and a sort; memory for their ids and one signal, some 50 bytes each.
    Where it compares their embeddings, also the cost of comparing (`thinned`); memory for the vectors of all documents
    within the limits, in single precision and up to three times: 4.6 kB each.

    Raises:
        CosmoError: the recipe selects nothing, or not every bucket got that far yet.
    """
    selection = workspace.recipe.selection
    if selection is None:
        raise CosmoError(
            f"recipe {workspace.recipe.name}: there is no selection", remedy="name sets or bounds in `selection`"
        )
    read = Read.open(workspace.store, workspace.recipe, selection.families, embeddings=selection.reads_embeddings)
    return workspace.build(
        "selection",
        lambda writer: _produce(writer, workspace, read, selection),
        stage_version=STAGE_VERSION,
        inputs=read.inputs,
        params=params(workspace.recipe),
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `selection` depends on: every limit, so that a published set that changes is a change; and the
    rule over all documents."""
    if recipe.selection is None:
        return {}
    keep = recipe.selection.keep
    return {
        "limits": [asdict(limit) for limit in limits_of(recipe.selection)],
        **({"keep": keep.model_dump()} if keep else {}),
    }


def chart(manifest: Manifest) -> str:
    """How many documents each limit drops."""
    dropping = [(row["reason"], row["drops"]) for row in manifest.summary["limits"] if row["drops"]]
    return bars("Documents by the first limit that they break", dropping, unit="documents")


@dataclass(frozen=True)
class Read:
    """The datasets that are read, by bucket: verdicts of deduplication, tokens, the signals, and embeddings where they
    are wanted. Real documents stand in `REAL`; of them there are no embeddings."""

    verdicts: Mapping[str, Dataset]
    generations: Mapping[str, Dataset]
    signals: Signals
    embeddings: Mapping[str, Dataset]
    real: Dataset | None = None

    @classmethod
    def open(cls, store: CorpusStore, recipe: Recipe, families: Sequence[str], *, embeddings: bool) -> "Read":
        def of(asset: str) -> dict[str, Dataset]:
            return {name: store.open(asset, name) for name in map(bucket_name, range(recipe.buckets))}

        real = store.open(ELIGIBLE) if has_real(recipe) else None
        vectors = of("text_embeddings") if embeddings else {}
        return cls(of("deduplicated"), of("generations"), Signals.open(store, recipe, families), vectors, real)

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        before = (*self.verdicts.values(), *self.generations.values())
        after = (*([self.real] if self.real else []), *self.embeddings.values())
        return (*(one.ref() for one in before), *self.signals.inputs, *(one.ref() for one in after))

    @property
    def buckets(self) -> list[str]:
        return [*self.verdicts, *([REAL] if self.real else [])]

    @property
    def flow(self) -> Flow:
        real = [self.real] if self.real else []
        return total_flow([dataset.manifest.flow for dataset in (*self.verdicts.values(), *real)])

    def documents(self, bucket: str, signals: Iterable[str]) -> pl.DataFrame:
        """The documents that are left of a bucket: doc_id, tokens, and each signal by its name.

        Raises:
            CosmoError: some have no signals: they are of other generations.
        """
        return self.signals.of(self._left(bucket), bucket, signals)

    def _left(self, bucket: str) -> pl.DataFrame:
        """The documents of a bucket that may be selected: doc_id, tokens."""
        if bucket == REAL and self.real:
            return _frame(self.real, ["doc_id", "tokens"])
        found = _frame(self.verdicts[bucket], ["doc_id", "keep"]).filter("keep").select("doc_id")
        tokens = _frame(self.generations[bucket], ["doc_id", "completion_tokens"])
        found = found.join(tokens, on="doc_id", how="left", maintain_order="left")
        return found.rename({"completion_tokens": "tokens"})


def _frame(dataset: Dataset, columns: list[str]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(dataset.table(columns)))


def _produce(writer: DatasetWriter, workspace: Workspace, read: Read, selection: Selection) -> None:
    flow, limits = read.flow, limits_of(selection)
    gone = _thinned(read, selection.keep, limits) if selection.keep else None
    of_rule = reasons_of(selection.keep) if selection.keep else ()
    reasons = [*(limit.reason for limit in limits), *of_rule]
    documents, tokens, breaks = Counter[int](), Counter[int](), Counter[int]()
    for bucket in read.buckets:
        found = read.documents(bucket, [limit.signal for limit in limits])
        limit = first_broken(limits)
        if gone is not None:
            found = found.join(gone[bucket], on="doc_id", how="left", maintain_order="left")
            limit = pl.coalesce(limit, len(limits) + pl.col("gone"))
        found = found.with_columns(limit.alias("limit"))
        reason = pl.col("limit").replace_strict(dict(enumerate(reasons)), default=None, return_dtype=pl.String)
        rows = found.select("doc_id", pl.col("limit").is_null().alias("keep"), reason.alias("reason"))
        writer.write(rows.to_arrow().cast(SELECTION), bucket=bucket)
        for number, count, size in found.group_by("limit").agg(pl.len(), pl.col("tokens").sum()).iter_rows():
            documents[KEPT if number is None else number] += count
            tokens[KEPT if number is None else number] += size
        if limits:
            counts = found.select(limit.broken.sum().alias(str(number)) for number, limit in enumerate(limits)).row(0)
            breaks.update(dict(enumerate(map(int, counts))))
        workspace.progress(documents.total(), flow.rows_out, "documents")
    dropped, lost = Counter[str](), Counter({"keep": tokens[KEPT]})
    for number, said in enumerate(reasons):
        if documents[number]:
            dropped[said] += documents[number]
            lost[said] += tokens[number]
    writer.flow("documents", flow.rows_out, documents[KEPT], dropped=dropped, tokens=flow.tokens_through(lost))
    rules: list[tuple[str | None, float | None, float | None]]
    rules = [(limit.signal, limit.low, limit.high) for limit in limits]
    rules += [(selection.keep.signal, None, None) for _ in of_rule] if selection.keep else []
    writer.summary = {
        "limits": [
            {
                "reason": said,
                "signal": signal,
                "low": low,
                "high": high,
                "breaks": breaks[number] or documents[number],
                "drops": documents[number],
                "tokens": tokens[number],
            }
            for number, (said, (signal, low, high)) in enumerate(zip(reasons, rules, strict=True))
        ]
    }


def _thinned(read: Read, rule: Keep, limits: Sequence[Limit]) -> dict[str, pl.DataFrame]:
    """By bucket, the documents within all limits that the rule does not keep: doc_id, and in `gone` the number of the
    reason. A rule that compares embeddings is about the documents that have one, in the order of their ids."""
    signals = [*(limit.signal for limit in limits), *([rule.signal] if rule.signal else [])]
    score = pl.col(rule.signal).cast(pl.Float64) if rule.signal else pl.lit(None, pl.Float64)
    whole = pl.concat(
        read.documents(bucket, signals)
        .filter(first_broken(limits).is_null())
        .select(pl.lit(bucket).alias("bucket"), "doc_id", score.alias("score"))
        for bucket in read.buckets
    )
    vectors = np.empty((0, 0), np.float32)
    if read.embeddings:
        whole = whole.filter(pl.col("bucket").is_in(list(read.embeddings))).sort("doc_id")
        vectors = vectors_of(read.embeddings.values(), whole["doc_id"])
    scores = whole["score"].fill_null(float("nan")).to_numpy()
    verdicts = pl.Series("gone", thinned(rule, whole["doc_id"].to_arrow(), scores, vectors))
    gone = whole.with_columns(verdicts).filter(pl.col("gone") != STAYS)
    return {bucket: gone.filter(bucket=bucket).select("doc_id", "gone") for bucket in read.buckets}
