"""The spread of signals: quantiles and histograms of every numeric column."""

import numpy as np
import pyarrow as pa

from cosmo_assets.signals.spread import BINS, Spread, rows_of

SCHEMA = pa.schema([("doc_id", pa.string()), ("size", pa.int64()), ("share", pa.float64())])


def spread(*parts: pa.Table) -> Spread:
    found = Spread(SCHEMA)
    for part in parts:
        found.add(part)
    return found


def table(sizes: list[int], shares: list[float | None]) -> pa.Table:
    return pa.table({"doc_id": ["x"] * len(sizes), "size": sizes, "share": shares}, schema=SCHEMA)


def test_quantiles_are_those_of_all_parts_together() -> None:
    sizes = list(range(1001))
    halves = [table(part, [0.5] * len(part)) for part in (sizes[::2], sizes[1::2])]
    size, share = spread(*halves).summary()
    assert (size["signal"], size["documents"]) == ("size", 1001)
    assert size["quantiles"] == [0, 50, 250, 500, 750, 950, 1000]
    assert sum(count for _, count in size["histogram"]) == 1001
    assert len(size["histogram"]) == BINS
    assert size["histogram"][0][0] == 10, "from the first percentile on"
    assert share["histogram"] == [[0.5, 1001]], "one value, one bar"


def test_documents_without_a_signal_are_not_counted() -> None:
    _, share = spread(table([1, 2, 3], [None, 0.25, 0.75])).summary()
    assert share["documents"] == 2
    assert np.isclose(share["quantiles"][3], 0.5)


def test_no_documents_are_a_row_without_figures() -> None:
    rows = rows_of(spread().summary())
    assert [row["signal"] for row in rows] == ["size", "share"]
    assert all(row["documents"] == 0 and row["median"] is None for row in rows)
