"""The table of finished trainings: what was trained on in which shares, and how large the losses were.

Belongs here: reading it, and what is wrong with it, row by row. Does not belong here: what follows from it (`advice`).

Domains and targets are put in the order of their names and runs in that of their numbers, so that no answer depends on
the order of rows or columns.
"""

import csv
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_resources.errors import CosmoError

Array = npt.NDArray[np.float64]
Row = tuple[int, dict[str, Any] | str]
"""Its number, from 1, and its fields or why it has none."""

WEIGHT, LOSS = "weight.", "loss."
TOLERANCE = 1e-6
"""By how much the weights of a run may miss 1."""
COLUMNS = "columns are weight.DOMAIN for each domain and loss.TARGET for each validation target"


@dataclass(frozen=True)
class Runs:
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Array
    """Runs x domains; a row sums to 1."""
    losses: Array
    """Runs x targets."""
    bad: tuple[str, ...]
    """Rows that were left out, and why."""

    @property
    def mixtures(self) -> npt.NDArray[np.intp]:
        """For each run the number of its mixture: trainings of equal weights are not independent of one another."""
        numbers: npt.NDArray[np.intp] = np.unique(self.weights, axis=0, return_inverse=True)[1]
        return numbers.ravel()

    @property
    def mean(self) -> Array:
        """The mean weight of each domain."""
        mean: Array = self.weights.mean(axis=0)
        return mean


def read_runs(path: Path, wanted: Collection[str] = ()) -> Runs:
    """The runs of a .csv, .jsonl or .parquet file, with the wanted targets, or all that it has.

    Raises:
        CosmoError: no such file or column, or too few good rows: a law has domains + 1 parameters.
    """
    rows = list(_rows(path))
    names = {str(name) for _, row in rows if isinstance(row, dict) for name in row}
    domains = tuple(sorted(name.removeprefix(WEIGHT) for name in names if name.startswith(WEIGHT)))
    targets = tuple(sorted(name.removeprefix(LOSS) for name in names if name.startswith(LOSS)))
    if len(domains) < 2 or not targets:
        what = "fewer than two columns weight.DOMAIN" if len(domains) < 2 else "no column loss.TARGET"
        raise CosmoError(f"{path}: {what}", remedy=COLUMNS)
    if unknown := sorted(set(wanted) - set(targets)):
        raise CosmoError(
            f"{path}: there is no column {LOSS}{unknown[0]}", remedy=f"--target is one of {', '.join(targets)}"
        )
    targets = tuple(target for target in targets if not wanted or target in wanted)
    columns = [*(WEIGHT + domain for domain in domains), *(LOSS + target for target in targets)]
    good, bad = [], []
    for number, row in rows:
        found = row if isinstance(row, str) else _numbers(row, columns, len(domains))
        if isinstance(found, str):
            bad.append(f"row {number}: {found}")
        else:
            good.append(found)
    table = np.array(sorted(good), dtype=np.float64).reshape(-1, len(columns))
    weights = table[:, : len(domains)]
    runs = Runs(domains, targets, weights / weights.sum(axis=1, keepdims=True), table[:, len(domains) :], tuple(bad))
    _are_enough(path, runs)
    return runs


def _are_enough(path: Path, runs: Runs) -> None:
    needed, there = len(runs.domains) + 2, len(set(runs.mixtures))
    if there < needed:
        lost = f"; {len(runs.bad)} rows cannot be used, the first is {runs.bad[0]}" if runs.bad else ""
        raise CosmoError(
            f"{path}: {there} different mixtures of {len(runs.domains)} domains are too few{lost}",
            remedy=f"give at least {needed} (domains + 2), better four for each domain, or mend the rows",
        )
    for domain, largest in zip(runs.domains, runs.weights.max(axis=0), strict=True):
        if largest == 0:
            raise CosmoError(
                f"{path}: {WEIGHT}{domain} is 0 in every run, which tells nothing about it",
                remedy="leave the column out, or train runs with it",
            )
    if np.linalg.matrix_rank(runs.weights) < len(runs.domains):
        raise CosmoError(
            f"{path}: the weights of some domains follow from those of the others in every run",
            remedy="merge the domains that always go together, or train runs in which they differ",
        )


def _numbers(row: dict[str, Any], columns: list[str], domains: int) -> tuple[float, ...] | str:
    """The numbers of a row, or what is wrong with it."""
    numbers = []
    for column in columns:
        value = row.get(column)
        if value is None or value == "":
            return f"{column} is missing; " + ("write 0" if column.startswith(WEIGHT) else "leave the row out")
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not isfinite(number):
            return f"{column} is {str(value)[:40]!r}, not a finite number; write one"
        if number < 0 and column.startswith(WEIGHT):
            return f"{column} is {number:g}, below 0; weights are shares of the tokens"
        numbers.append(number)
    total = sum(numbers[:domains])
    if abs(total - 1) > TOLERANCE:
        return f"the weights sum to {total:.7g}, not to 1; divide them by their sum"
    return tuple(numbers)


def _rows(path: Path) -> Iterator[Row]:
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix not in readers:
        raise CosmoError(f"{path}: not a table that is read", remedy="give a .csv, .jsonl or .parquet file")
    try:
        yield from readers[path.suffix](path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise CosmoError(f"{path} cannot be read: {error}", remedy="name a readable file, in UTF-8 if text") from error


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        header = [name.strip() for name in next(reader, [])]
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise CosmoError(f"{path}: the column {twice[0]!r} stands there twice", remedy="rename or remove one")
        for number, cells in enumerate((cells for cells in reader if cells), 1):
            if len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            else:
                yield number, f"it has {len(cells)} fields where the first line has {len(header)}; write as many"


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate((line for line in lines if line.strip()), 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                yield number, f"it is no JSON ({error}); write one object a line"
                continue
            yield number, row if isinstance(row, dict) else "it is no JSON object; write one object a line"


def _parquet(path: Path) -> Iterator[Row]:
    yield from enumerate(pq.read_table(path).to_pylist(), 1)
