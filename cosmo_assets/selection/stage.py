"""The selection: which of the documents that are left may stand in the corpus by their signals.

Belongs here: the stage. Does not belong here: what a limit says of a document (`verdicts`), or leaving documents out:
the mixture does, so that another selection redoes nothing before it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import ELIGIBLE, REAL, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.selection import REAL_SIGNALS, SIGNAL_ASSETS
from cosmo_assets.schemas import SELECTION
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

    Raises:
        CosmoError: the recipe selects nothing, or not every bucket got that far yet.
    """
    selection = workspace.recipe.selection
    if selection is None:
        raise CosmoError(
            f"recipe {workspace.recipe.name}: there is no selection", remedy="name sets or bounds in `selection`"
        )
    read = Read.open(workspace.store, workspace.recipe, selection.families)
    return workspace.build(
        "selection",
        lambda writer: _produce(writer, workspace, read, limits_of(selection)),
        stage_version=STAGE_VERSION,
        inputs=read.inputs,
        params=params(workspace.recipe),
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `selection` depends on: every limit, so that a published set that changes is a change."""
    return {"limits": [asdict(limit) for limit in limits_of(recipe.selection)] if recipe.selection else []}


@dataclass(frozen=True)
class Read:
    """The datasets that are read, by bucket: verdicts of deduplication, tokens, and by family the signals. Real
    documents stand in `REAL`, with the signals that there are of them."""

    verdicts: Mapping[str, Dataset]
    generations: Mapping[str, Dataset]
    signals: Mapping[str, Mapping[str, Dataset]]
    real: Dataset | None = None

    @classmethod
    def open(cls, store: CorpusStore, recipe: Recipe, families: Sequence[str]) -> "Read":
        def of(asset: str) -> dict[str, Dataset]:
            return {name: store.open(asset, name) for name in map(bucket_name, range(recipe.buckets))}

        signals = {family: of(SIGNAL_ASSETS[family]) for family in families}
        if not has_real(recipe):
            return cls(of("deduplicated"), of("generations"), signals)
        for family in families:
            if family in REAL_SIGNALS:
                signals[family][REAL] = store.open(REAL_SIGNALS[family])
        return cls(of("deduplicated"), of("generations"), signals, store.open(ELIGIBLE))

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        groups = (self.verdicts, self.generations, *self.signals.values())
        real = [self.real.ref()] if self.real else []
        return (*(dataset.ref() for group in groups for dataset in group.values()), *real)

    @property
    def buckets(self) -> list[str]:
        return [*self.verdicts, *([REAL] if self.real else [])]

    @property
    def flow(self) -> Flow:
        real = [self.real] if self.real else []
        return total_flow([dataset.manifest.flow for dataset in (*self.verdicts.values(), *real)])

    def documents(self, bucket: str, limits: Sequence[Limit]) -> pl.DataFrame:
        """The documents that are left of a bucket: doc_id, tokens, and each signal by its name.

        Raises:
            CosmoError: some have no signals: they are of other generations.
        """
        found = self._left(bucket)
        for family, datasets in self.signals.items():
            columns = dict.fromkeys(limit.column for limit in limits if limit.family == family)
            if bucket not in datasets:
                none = (pl.lit(None, pl.Float64).alias(f"{family}.{column}") for column in columns)
                found = found.with_columns(none)
                continue
            signals = _frame(datasets[bucket], ["doc_id", *columns])
            if lost := found.join(signals, on="doc_id", how="anti").height:
                raise CosmoError(
                    f"{lost} documents of bucket {bucket} have no row in {SIGNAL_ASSETS[family]}",
                    remedy="it is of other generations: run `cosmo run` to the end",
                )
            named = signals.rename({column: f"{family}.{column}" for column in columns})
            found = found.join(named, on="doc_id", how="left", maintain_order="left")
        return found

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


def _produce(writer: DatasetWriter, workspace: Workspace, read: Read, limits: Sequence[Limit]) -> None:
    flow = read.flow
    documents, tokens, breaks = Counter[int](), Counter[int](), Counter[int]()
    reasons = dict(enumerate(limit.reason for limit in limits))
    for bucket in read.buckets:
        found = read.documents(bucket, limits).with_columns(first_broken(limits).alias("limit"))
        reason = pl.col("limit").replace_strict(reasons, default=None, return_dtype=pl.String).alias("reason")
        rows = found.select("doc_id", pl.col("limit").is_null().alias("keep"), reason)
        writer.write(rows.to_arrow().cast(SELECTION), bucket=bucket)
        for number, count, size in found.group_by("limit").agg(pl.len(), pl.col("tokens").sum()).iter_rows():
            documents[KEPT if number is None else number] += count
            tokens[KEPT if number is None else number] += size
        counts = found.select(limit.broken.sum().alias(str(number)) for number, limit in enumerate(limits)).row(0)
        breaks.update(dict(enumerate(map(int, counts))))
        workspace.progress(documents.total(), flow.rows_out, "documents")
    dropped, lost = Counter[str](), Counter({"keep": tokens[KEPT]})
    for number, limit in enumerate(limits):
        if documents[number]:
            dropped[limit.reason] += documents[number]
            lost[limit.reason] += tokens[number]
    writer.flow("documents", flow.rows_out, documents[KEPT], dropped=dropped, tokens=flow.tokens_through(lost))
    writer.summary = {
        "limits": [
            {
                "reason": limit.reason,
                "signal": limit.name,
                "low": limit.low,
                "high": limit.high,
                "breaks": breaks[number],
                "drops": documents[number],
                "tokens": tokens[number],
            }
            for number, limit in enumerate(limits)
        ]
    }
