"""Heuristic statistics of documents: the numbers by which Gopher, C4 and FineWeb choose web pages, for any text.

Belongs here: the table of the statistics of texts. Does not belong here: their names (`catalogue`), how words and lines
are counted (`word_kernels`, `line_kernels`), or which numbers are too low or too high (`rule_sets`).

Definitions are those of datatrove's filters `GopherQualityFilter` and `GopherRepetitionFilter` (Rae et al. 2021),
`C4QualityFilter` (Raffel et al. 2020) and `FineWebQualityFilter` (Penedo et al. 2024); words and sentences are those of
`word_kernels`. Shares lie between 0 and 1, and are 0 where there is nothing to take a share of. Characters are code
points. Nothing is changed in a text: what C4 would drop of it is counted.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.signals import catalogue
from cosmo_assets.signals.characters import Kinds, kinds
from cosmo_assets.signals.line_kernels import (
    fineweb_statistics,
    line_statistics,
    marks_of,
    paragraph_statistics,
    repeated_line_statistics,
)
from cosmo_assets.signals.word_kernels import gram_statistics, table_size, word_statistics
from cosmo_assets.words.compiled import Bytes, Offsets, code_point, compiled, utf8

SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind, *_ in catalogue.STATISTICS])
"""The columns of the table of statistics (see `catalogue`)."""

_END_OF_WORDS = 1 + len(catalogue.WORDS)
_END_OF_MARKS = _END_OF_WORDS + len(catalogue.MARKS)
_END_OF_LINES = _END_OF_MARKS + len(catalogue.LINES)
_END_OF_PARAGRAPHS = _END_OF_LINES + len(catalogue.PARAGRAPHS)
_END_OF_REPEATED = _END_OF_PARAGRAPHS + len(catalogue.REPEATED_LINES)
_END_OF_GRAMS = _END_OF_REPEATED + len(catalogue.GRAMS)
_END_OF_C4 = _END_OF_GRAMS + len(catalogue.C4)


def statistics_of(texts: pa.ChunkedArray | pa.Array | Sequence[str]) -> pa.Table:
    """The statistics of texts, one row for each, with the columns of `SCHEMA`. A null counts as an empty text.

    Cost: linear in the bytes, one thread; the interpreter is free for others meanwhile. Memory: some 30 bytes for each
    byte of the longest text, and at most 140, where each is a word.
    """
    if not isinstance(texts, pa.ChunkedArray):
        texts = pa.chunked_array([texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())])
    tables = [_table(chunk) for chunk in texts.chunks]
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _table(texts: pa.Array) -> pa.Table:
    data, offsets = utf8(texts)
    found = np.empty((len(texts), len(SCHEMA)))
    fill_statistics(data, offsets, kinds(), found)
    columns = [found[:, place].astype(field.type.to_pandas_dtype()) for place, field in enumerate(SCHEMA)]
    return pa.table(columns, schema=SCHEMA)


@compiled
def fill_statistics(data: Bytes, offsets: Offsets, kinds: Kinds, found: npt.NDArray[np.float64]) -> None:
    """Fill a row of `found` for each text of `data`, text d from `offsets[d]` to `offsets[d + 1]`."""
    room = 1
    for text in range(len(offsets) - 1):
        room = max(room, offsets[text + 1] - offsets[text])
    decoded, spare = np.empty(room, np.uint32), np.empty(room, np.uint32)
    lengths, sums = np.empty(room, np.int64), np.empty(room + 1, np.uint64)
    inverses, grams = np.empty(room, np.uint64), np.empty(room, np.uint64)
    size = table_size(room + 1)
    table, seen, first = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
    for text in range(len(offsets) - 1):
        at, end, count, row = offsets[text], offsets[text + 1], 0, found[text]
        while at < end:
            point, width = code_point(data, at)
            decoded[count] = point
            count += 1
            at += width
        points = decoded[:count]
        words = word_statistics(points, kinds, lengths, sums, inverses, row[1:_END_OF_WORDS])
        hashes, ellipses = marks_of(points)
        row[0] = count
        row[_END_OF_WORDS] = hashes / words if words else 0.0
        row[_END_OF_WORDS + 1] = ellipses / words if words else 0.0
        paragraph_statistics(points, kinds, table, row[_END_OF_LINES:_END_OF_PARAGRAPHS])
        repeated_line_statistics(points, table, row[_END_OF_PARAGRAPHS:_END_OF_REPEATED])
        grams_row = row[_END_OF_REPEATED:_END_OF_GRAMS]
        gram_statistics(count, words, lengths, sums, inverses, grams, table, seen, first, grams_row)
        gopher, c4 = row[_END_OF_MARKS:_END_OF_LINES], row[_END_OF_GRAMS:_END_OF_C4]
        line_statistics(points, kinds, spare, gopher, c4)
        fineweb_statistics(points, kinds, words, table, row[_END_OF_C4:])
