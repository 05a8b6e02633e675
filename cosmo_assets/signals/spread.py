"""The spread of signals over the documents: quantiles for tables, and histograms for charts.

Belongs here: what a manifest keeps of a column of figures, as a table and a chart. Does not belong here: the figures
(`statistics`), or drawing (`cosmo_assets.charts`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.charts.curves import histograms
from cosmo_assets.schemas.columns import numeric_columns

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS = 24


class Spread:
    """Collects the numeric columns of a table, part by part. Memory: 8 bytes for each figure."""

    def __init__(self, schema: pa.Schema) -> None:
        self._parts: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in numeric_columns(schema)}

    def add(self, table: pa.Table) -> None:
        for name, parts in self._parts.items():
            column = table[name].cast(pa.float64()).drop_null()
            parts.append(column.to_numpy())

    def summary(self) -> list[dict[str, Any]]:
        """Of each signal: how many documents have it, its `QUANTILES`, and a histogram of `BINS` bins of equal width
        between the first and the 99th percentile, what lies outside being counted in the outer two: [left end,
        documents]; of a signal that has one value there, one bin."""
        return [{"signal": name, **_of(np.concatenate([np.empty(0), *parts]))} for name, parts in self._parts.items()]


def _of(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    if not len(values):
        return {"documents": 0, "quantiles": [], "histogram": []}
    quantiles = [float(f"{value:.6g}") for value in np.quantile(values, QUANTILES)]
    low, high = np.quantile(values, [0.01, 0.99])
    if low == high:
        return {"documents": len(values), "quantiles": quantiles, "histogram": [[float(f"{low:.6g}"), len(values)]]}
    edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(values, low, high), edges)
    bins = [[float(f"{edge:.6g}"), int(count)] for edge, count in zip(edges, counts, strict=False)]
    return {"documents": len(values), "quantiles": quantiles, "histogram": bins}


def rows_of(spread: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A summary as the rows of a table: signal, documents, quantiles."""
    names = ["least", "5 %", "25 %", "median", "75 %", "95 %", "most"]
    return [
        {
            "signal": row["signal"],
            "documents": row["documents"],
            **dict(zip(names, row["quantiles"] or [None] * len(names), strict=True)),
        }
        for row in spread
    ]


def chart_of(spread: Sequence[Mapping[str, Any]]) -> str:
    """A summary as small histograms."""
    items = [(row["signal"].replace("_", " "), [(left, count) for left, count in row["histogram"]]) for row in spread]
    return histograms("Signals, from the first to the 99th percentile", items)
