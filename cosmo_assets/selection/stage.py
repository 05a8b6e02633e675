"""The selection: which of the documents that are left may stand in the corpus by their signals.

Belongs here: the stage. Does not belong here: what a limit says of a document (`verdicts`), or leaving documents out:
the mixture does, so that another selection redoes nothing before it.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cosmo_assets.charts.bars import bars
from cosmo_assets.composition.dsir import spooled
from cosmo_assets.diversity.vectors import vectors_of
from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE, REAL, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.selection import Keep, KeepDsir, Selection
from cosmo_assets.schemas.signals import SELECTION
from cosmo_assets.selection import likeness
from cosmo_assets.selection.signals import Signals
from cosmo_assets.selection.thinning import STAYS, WithoutTexts, reasons_of, thinned
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
    within the limits, in single precision and up to three times: 4.6 kB each. Where it reads their texts (DSIR), these
    once, hashed into a scratch file of 8 bytes for each word, which is read three times for each target and once
    more; memory for a part file, some 200 bytes and 16 for each target of each document, 8 bytes for each word of the
    targets.

    Raises:
        CosmoError: the recipe selects nothing, or not every bucket got that far yet; as `likeness.chosen`.
    """
    selection = workspace.recipe.selection
    if selection is None:
        raise CosmoError(
            f"recipe {workspace.recipe.name}: there is no selection", remedy="name sets or bounds in `selection`"
        )
    embeddings, texts = selection.reads_embeddings, selection.reads_texts
    read = Read.open(workspace.store, workspace.recipe, selection.families, embeddings=embeddings, texts=texts)
    keep = selection.keep
    targets = likeness.files_of(workspace.recipe, keep) if isinstance(keep, KeepDsir) else {}
    return workspace.build(
        "selection",
        lambda writer: _produce(writer, workspace, read, selection, targets),
        stage_version=STAGE_VERSION,
        inputs=read.inputs,
        params={**params(workspace.recipe), **({"targets": likeness.contents(targets)} if targets else {})},
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `selection` depends on: every limit, so that a published set that changes is a change; and the
    rule over all documents. The bytes of a rule's targets are no part of the recipe, and stand beside these."""
    if recipe.selection is None:
        return {}
    keep = recipe.selection.keep
    return {
        "limits": [asdict(limit) for limit in limits_of(recipe.selection)],
        **({"keep": likeness.params(keep) if isinstance(keep, KeepDsir) else keep.model_dump()} if keep else {}),
    }


def chart(manifest: Manifest) -> str:
    """How many documents each limit drops."""
    dropping = [(row["reason"], row["drops"]) for row in manifest.summary["limits"] if row["drops"]]
    return bars("Documents by the first limit that they break", dropping, unit="documents")


@dataclass(frozen=True)
class Read:
    """The datasets that are read, by bucket: verdicts of deduplication, tokens, the signals, and embeddings where they
    are wanted. Real documents stand in `REAL`; of them there are no embeddings. Their texts stand apart, and are opened
    where texts are read."""

    verdicts: Mapping[str, Dataset]
    generations: Mapping[str, Dataset]
    signals: Signals
    embeddings: Mapping[str, Dataset]
    real: Dataset | None = None
    real_texts: Dataset | None = None

    @classmethod
    def open(
        cls, store: CorpusStore, recipe: Recipe, families: Sequence[str], *, embeddings: bool, texts: bool = False
    ) -> "Read":
        def of(asset: str) -> dict[str, Dataset]:
            return {name: store.open(asset, name) for name in map(bucket_name, range(recipe.buckets))}

        real = store.open(ELIGIBLE) if has_real(recipe) else None
        real_texts = store.open(DOCUMENTS) if has_real(recipe) and texts else None
        vectors = of("text_embeddings") if embeddings else {}
        signals = Signals.open(store, recipe, families)
        return cls(of("deduplicated"), of("generations"), signals, vectors, real, real_texts)

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        before = (*self.verdicts.values(), *self.generations.values())
        real = (one for one in (self.real, self.real_texts) if one)
        after = (*real, *self.embeddings.values())
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

    def texts(self, documents: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Documents, each with the bucket and the doc_id, with their `text`, part file by part file."""
        real = {REAL: self.real_texts} if self.real_texts else {}
        for bucket, dataset in {**self.generations, **real}.items():
            wanted = documents.filter(bucket=bucket)
            for table in dataset.tables(["doc_id", "text"]):
                yield pl.DataFrame(pl.from_arrow(table)).join(wanted, on="doc_id")

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


def _produce(
    writer: DatasetWriter, workspace: Workspace, read: Read, selection: Selection, targets: likeness.Files
) -> None:
    flow, limits, keep = read.flow, limits_of(selection), selection.keep
    gone, likened = None, {}
    if isinstance(keep, KeepDsir):
        with tempfile.TemporaryDirectory(prefix="build-features-", dir=writer.folder.parent) as scratch:
            gone, rows_of_targets = _like(read, keep, limits, targets, Path(scratch) / "features", workspace)
        likened = {"targets": rows_of_targets}
    elif keep:
        gone = _thinned(read, keep, limits)
    of_rule = reasons_of(keep) if keep else ()
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
    rules += [(keep.signal, None, None) for _ in of_rule] if keep else []
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
        ],
        **likened,
    }


def _within(read: Read, rule: Keep, limits: Sequence[Limit]) -> pl.DataFrame:
    """The documents within all limits: bucket, doc_id, and in `score` the rule's signal."""
    signals = [*(limit.signal for limit in limits), *([rule.signal] if rule.signal else [])]
    score = pl.col(rule.signal).cast(pl.Float64) if rule.signal else pl.lit(None, pl.Float64)
    return pl.concat(
        read.documents(bucket, signals)
        .filter(first_broken(limits).is_null())
        .select(pl.lit(bucket).alias("bucket"), "doc_id", score.alias("score"))
        for bucket in read.buckets
    )


def _by_bucket(read: Read, documents: pl.DataFrame, verdicts: npt.NDArray[np.int64]) -> dict[str, pl.DataFrame]:
    """By bucket, the documents that a rule does not keep: doc_id, and in `gone` the number of the reason."""
    gone = documents.with_columns(pl.Series("gone", verdicts)).filter(pl.col("gone") != STAYS)
    return {bucket: gone.filter(bucket=bucket).select("doc_id", "gone") for bucket in read.buckets}


def _like(
    read: Read, rule: KeepDsir, limits: Sequence[Limit], targets: likeness.Files, scratch: Path, workspace: Workspace
) -> tuple[dict[str, pl.DataFrame], list[dict[str, Any]]]:
    """As `_thinned`, by the texts of documents, real ones included; and what is told of each target."""
    within, parts = _within(read, rule, limits), []

    def texts() -> Iterator[str]:
        done = 0
        for part in read.texts(within):
            parts.append(part.select("bucket", "doc_id"))
            yield from part["text"]
            done += part.height
            workspace.progress(done, within.height, "texts")

    raw = spooled(texts(), scratch)
    found = pl.concat([within.select("bucket", "doc_id").clear(), *parts])
    if lost := within.height - found.height:
        raise CosmoError(
            f"{lost} documents have no text in generations or {DOCUMENTS}",
            remedy="they are of other ones: run `cosmo run` to the end",
        )
    verdicts, rows = likeness.chosen(rule, found["doc_id"].to_arrow(), raw, targets, STAYS)
    return _by_bucket(read, found, verdicts), rows


def _thinned(read: Read, rule: WithoutTexts, limits: Sequence[Limit]) -> dict[str, pl.DataFrame]:
    """By bucket, the documents within all limits that the rule does not keep: doc_id, and in `gone` the number of the
    reason. A rule that compares embeddings is about the documents that have one, in the order of their ids."""
    whole = _within(read, rule, limits)
    vectors = np.empty((0, 0), np.float32)
    if read.embeddings:
        whole = whole.filter(pl.col("bucket").is_in(list(read.embeddings))).sort("doc_id")
        vectors = vectors_of(read.embeddings.values(), whole["doc_id"])
    scores = whole["score"].fill_null(float("nan")).to_numpy()
    return _by_bucket(read, whole, thinned(rule, whole["doc_id"].to_arrow(), scores, vectors))
