"""The corpus parted by filters: which of its documents each bound on a signal drops.

Belongs here: holding signals against the bounds of a proof. Does not belong here: writing parts (`parts`), bounds that
keep documents out of the corpus (`cosmo_assets.selection`).

Filters overlap, so the parts are what one set of filters drops and no other: one file for each set that occurs, and the
arm of a filter is those of the sets that have it, or lack it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from cosmo_assets.proxy.parts import Numbers, Parting
from cosmo_assets.recipe.selection import SignalBound
from cosmo_assets.selection.signals import Signals
from cosmo_assets.selection.verdicts import limit_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import Dataset


def by_filters(lineage: Dataset, signals: Signals, bounds: Sequence[SignalBound]) -> Parting:
    """The parting by what each bound drops; a document without its signal is in none.

    Cost: the signals of the bounds of all documents, a bucket at a time. Memory: some 50 bytes for each document.

    Raises:
        CosmoError: a bound drops all documents or none, or some have no signals: they are of other generations.
    """
    documents = pl.scan_parquet(lineage.paths()).select("doc_id", "bucket").unique().collect()
    dropped_by = pl.sum_horizontal(limit_of(bound).broken.cast(pl.Int64) * 2**n for n, bound in enumerate(bounds))
    dropped = pl.concat(
        signals.of(found, found["bucket"][0], [bound.signal for bound in bounds]).select(
            "doc_id", dropped_by.alias("by")
        )
        for found in documents.partition_by("bucket")
    )
    sets: list[int] = dropped["by"].unique().sort().to_list()
    held = {bound.outside: {str(one) for one in sets if one & 2**number} for number, bound in enumerate(bounds)}
    for name, those in held.items():
        if len(those) in (0, len(sets)):
            raise CosmoError(
                f"proof.filters: {'all' if those else 'none'} of the {len(dropped):,} documents of the corpus have "
                f"{name}",
                remedy="choose another bound; the report shows quantiles of each signal",
            )
    part_of = dropped.with_columns(pl.col("by").replace_strict(sets, range(len(sets)), return_dtype=pl.Int64))

    def numbers(spans: pa.Table) -> Numbers:
        found = pl.DataFrame(pl.from_arrow(spans)).join(part_of, on="doc_id", how="left", maintain_order="left")
        return np.asarray(found["by"].to_numpy())

    return Parting(("doc_id",), [*map(str, sets)], numbers, held)
