"""The documents that may stand in the corpus, bucket by bucket: source, tokens, factor, what bars them, and whether
they are withdrawn.

Belongs here: joining the columns that the mixture depends on. Does not belong here: choosing among the documents
(`drawing`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import polars as pl

from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import ELIGIBLE, REAL, has_real
from cosmo_assets.recipe.mixture import Factors, QualityBand
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.withdrawal.keys import COLUMNS
from cosmo_assets.withdrawal.record import IN_FORCE
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Flow, InputRef, total_flow
from cosmo_resources.storage.store import CorpusStore, Dataset

DUPLICATE, SIGNAL = "duplicate_", "signal_"
"""The beginning of the reasons for documents that are barred: real ones that are duplicates, by a method; those that
the selection leaves out, by a limit."""

OF_GENERATION = ("prompt_id", "model")
"""The columns of a withdrawal that `generations` has; `prompt_table` has the others."""


@dataclass(frozen=True)
class Eligible:
    """The datasets that say which documents may stand in the corpus."""

    verdicts: Mapping[str, Dataset]
    generations: Mapping[str, Dataset]
    quality: Mapping[str, Dataset]
    """Empty where no factor depends on it."""
    prompts: Dataset
    withdrawals: Dataset
    factors: Factors
    real: Dataset | None = None
    clusters: Dataset | None = None
    """The real documents, and the duplicates among them, where the recipe has any."""
    selection: Dataset | None = None
    """Where the recipe has one."""

    @classmethod
    def open(cls, store: CorpusStore, recipe: Recipe) -> "Eligible":
        """Raises:
        CosmoError: not every bucket got that far yet.
        """
        buckets = [bucket_name(index) for index in range(recipe.buckets)]
        factors = recipe.mixture.factors
        real = (store.open(ELIGIBLE), store.open("duplicate_clusters")) if has_real(recipe) else (None, None)
        return cls(
            {name: store.open("deduplicated", name) for name in buckets},
            {name: store.open("generations", name) for name in buckets},
            {name: store.open("generation_quality", name) for name in buckets if factors.quality},
            store.open("prompt_table"),
            store.open("withdrawals"),
            factors,
            real=real[0],
            clusters=real[1],
            selection=store.open("selection") if recipe.selection else None,
        )

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        """Of the withdrawals only those in force: who made them, and what was restored, changes no document."""
        groups = (self.verdicts, self.generations, self.quality)
        bucketed = (dataset.ref() for group in groups for dataset in group.values())
        real = [self.real.ref()] if self.real else []
        real += [self.clusters.ref(REAL)] if self.clusters else []
        real += [self.selection.ref()] if self.selection else []
        return (*bucketed, *real, self.prompts.ref(), self.withdrawals.ref(IN_FORCE))

    @property
    def flow(self) -> Flow:
        real = [self.real] if self.real else []
        return total_flow([dataset.manifest.flow for dataset in (*self.verdicts.values(), *real)])

    def buckets(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Every bucket with its documents: doc_id, source, tokens, factor, withdrawn (as `KEY VALUE`, or null), and
        `barred`: why one may not stand in the corpus, or null (see `DUPLICATE`). Of duplicates only the real ones are
        still there. Memory: the short columns of one bucket."""
        withdrawn = self._withdrawn()
        for name in self.verdicts:
            yield name, self._documents(name, withdrawn)
        if self.real is not None and self.clusters is not None:
            yield REAL, _real_documents(self.real, self.clusters, self._unselected(REAL), withdrawn)

    def _withdrawn(self) -> dict[str, pl.Series]:
        """The withdrawn values by key, of the keys that have any."""
        table = pl.DataFrame(pl.from_arrow(self.withdrawals.table(["key", "value"], bucket=IN_FORCE)))
        return {key: found["value"] for key in COLUMNS if (found := table.filter(pl.col("key") == key)).height}

    def _documents(self, bucket: str, withdrawn: Mapping[str, pl.Series]) -> pl.DataFrame:
        wanted = {*self.factors.columns, *(COLUMNS[key] for key in withdrawn)} - {"doc_id"}
        of_generation = ["doc_id", "prompt_id", "completion_tokens", *sorted(wanted & {"model"})]
        of_prompt = ["prompt_id", *sorted({"source", *wanted} - set(OF_GENERATION))]
        kept = _frame(self.verdicts[bucket], ["doc_id", "keep"]).filter("keep")
        prompts = pl.DataFrame(pl.from_arrow(self.prompts.table(of_prompt, bucket=bucket)))
        found = (
            _frame(self.generations[bucket], of_generation)
            .join(kept, on="doc_id", how="semi", maintain_order="left")
            .join(prompts, on="prompt_id", how="left", maintain_order="left")
        )
        if self.quality:
            columns = ["doc_id", *self.factors.quality_columns]
            found = found.join(_frame(self.quality[bucket], columns), on="doc_id", how="left", maintain_order="left")
        found = found.join(self._unselected(bucket), on="doc_id", how="left", maintain_order="left")
        if lost := found["source"].null_count():
            raise CosmoError(
                f"{lost} documents of bucket {bucket} have no prompt in the current prompt table",
                remedy="the generations are of another prompt table: run `cosmo run` to the end",
            )
        return found.select(
            "doc_id",
            "source",
            pl.col("completion_tokens").alias("tokens"),
            _factor(self.factors).alias("factor"),
            _reason(withdrawn).alias("withdrawn"),
            _because(SIGNAL, "reason").alias("barred"),
        )

    def _unselected(self, bucket: str) -> pl.DataFrame:
        """The documents that the selection leaves out: doc_id, reason."""
        if self.selection is None:
            return pl.DataFrame(schema={"doc_id": pl.String, "reason": pl.String})
        table = self.selection.table(["doc_id", "keep", "reason"], bucket=bucket)
        return pl.DataFrame(pl.from_arrow(table)).filter(~pl.col("keep")).select("doc_id", "reason")


def _real_documents(
    real: Dataset, clusters: Dataset, unselected: pl.DataFrame, withdrawn: Mapping[str, pl.Series]
) -> pl.DataFrame:
    """The same of real documents. No factor holds for them: they have no topic, audience, format or figures."""
    members = pl.DataFrame(pl.from_arrow(clusters.table(["doc_id", "method", "survivor", "duplicate_of"], bucket=REAL)))
    dropped = members.filter(pl.col("survivor") != pl.col("doc_id")).unique("doc_id", keep="first", maintain_order=True)
    found = (
        _frame(real, ["doc_id", "source", "licence", "tokens"])
        .join(dropped.select("doc_id", "method"), on="doc_id", how="left", maintain_order="left")
        .join(unselected, on="doc_id", how="left", maintain_order="left")
        .with_columns(pl.coalesce(_because(DUPLICATE, "method"), _because(SIGNAL, "reason")).alias("barred"))
    )
    here = {key: values for key, values in withdrawn.items() if COLUMNS[key] in found.columns}
    return found.select(
        "doc_id",
        "source",
        "tokens",
        pl.lit(1.0).alias("factor"),
        _reason(here).alias("withdrawn"),
        "barred",
    )


def _because(kind: str, column: str) -> pl.Expr:
    """Why a document is barred; null where the column is."""
    return pl.concat_str(pl.lit(kind), column)


def _frame(dataset: Dataset, columns: list[str]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(dataset.table(columns)))


def _factor(factors: Factors) -> pl.Expr:
    """The product of all factors that hold for a document."""
    by_column = [
        pl.col(name).replace_strict(dict(getattr(factors, name)), default=1.0, return_dtype=pl.Float64).fill_null(1.0)
        for name in factors.columns
    ]
    bands = [pl.when(_within(band)).then(pl.lit(band.factor)).otherwise(pl.lit(1.0)) for band in factors.quality]
    return reduce(lambda product, factor: product * factor, [*by_column, *bands], pl.lit(1.0))


def _within(band: QualityBand) -> pl.Expr:
    bounds = [pl.lit(True)]
    if band.low is not None:
        bounds.append(pl.col(band.column) >= band.low)
    if band.high is not None:
        bounds.append(pl.col(band.column) < band.high)
    return pl.all_horizontal(bounds)


def _reason(withdrawn: Mapping[str, pl.Series]) -> pl.Expr:
    """The first withdrawal that a document falls under, as `KEY VALUE`."""
    return pl.coalesce(
        *(
            pl.when(pl.col(COLUMNS[key]).is_in(values.implode())).then(
                pl.concat_str(pl.lit(f"{key} "), pl.col(COLUMNS[key]))
            )
            for key, values in withdrawn.items()
        ),
        pl.lit(None, pl.String),
    )
