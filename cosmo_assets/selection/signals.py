"""The signals of documents, read by bucket: what limits are held against.

Belongs here: opening the datasets of some families, joining documents with them. Does not belong here: which documents
(`stage`, `cosmo_assets.proxy.filters`), or what is said of them (`verdicts`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import REAL, has_real
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.selection import REAL_SIGNALS, SIGNAL_ASSETS
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import InputRef
from cosmo_resources.storage.store import CorpusStore, Dataset


@dataclass(frozen=True)
class Signals:
    """By family the datasets of its signals, by bucket. Real documents stand in `REAL`, where there are signals of
    them."""

    by_family: Mapping[str, Mapping[str, Dataset]]

    @classmethod
    def open(cls, store: CorpusStore, recipe: Recipe, families: Sequence[str]) -> "Signals":
        """The current datasets of some families.

        Raises:
            CosmoError: one is not built yet.
        """
        buckets = [bucket_name(index) for index in range(recipe.buckets)]
        found = {family: {name: store.open(SIGNAL_ASSETS[family], name) for name in buckets} for family in families}
        for family in families:
            if has_real(recipe) and family in REAL_SIGNALS:
                found[family][REAL] = store.open(REAL_SIGNALS[family])
        return cls(found)

    @property
    def inputs(self) -> tuple[InputRef, ...]:
        return tuple(dataset.ref() for of in self.by_family.values() for dataset in of.values())

    def of(self, documents: pl.DataFrame, bucket: str, signals: Iterable[str]) -> pl.DataFrame:
        """Documents of a bucket, which have a doc_id, in their order, with each signal by its name; null where there is
        none of such documents.

        Raises:
            CosmoError: some have no signals: they are of other generations.
        """
        found, wanted = documents, [signal.split(".") for signal in dict.fromkeys(signals)]
        for family, datasets in self.by_family.items():
            columns = [column for owner, column in wanted if owner == family]
            if bucket not in datasets:
                none = (pl.lit(None, pl.Float64).alias(f"{family}.{column}") for column in columns)
                found = found.with_columns(none)
                continue
            figures = pl.DataFrame(pl.from_arrow(datasets[bucket].table(["doc_id", *columns])))
            if lost := found.join(figures, on="doc_id", how="anti").height:
                raise CosmoError(
                    f"{lost} documents of bucket {bucket} have no row in {SIGNAL_ASSETS[family]}",
                    remedy="it is of other generations: run `cosmo run` to the end",
                )
            named = figures.rename({column: f"{family}.{column}" for column in columns})
            found = found.join(named, on="doc_id", how="left", maintain_order="left")
        return found
