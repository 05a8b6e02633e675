"""A full-text index on disk: tantivy behind the few calls that the project needs.

Belongs here: the engine, its English analyzer, building and extending an index, searching it. Does not belong here:
what is indexed, or what a query means (the stages).

The engine was chosen by measurement, tests/benchmarks/search_engines.py; figures in docs/architecture.md.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tantivy

from cosmo_resources.errors import CosmoError

ANALYZER = "simple tokenizer, at most 40 characters, lower case, ASCII folding, English stop words, English stemmer"
HEAP_BYTES = 128_000_000
"""Memory of the writer before it writes a segment: what bounds the memory of building an index."""

THREADS = min(4, os.cpu_count() or 1)
"""Threads that index. The scores of a search do not depend on how documents are spread over segments."""

_FIELD, _NUMBER, _NAME = "text", "number", "cosmo_english"


def identity() -> dict[str, str]:
    """What a search's results depend on beside the texts: for manifests."""
    return {"engine": "tantivy", "version": version("tantivy"), "analyzer": ANALYZER}


@cache
def _analyzer() -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for found in (
        tantivy.Filter.remove_long(40),
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
        tantivy.Filter.stopword("english"),
        tantivy.Filter.stemmer("english"),
    ):
        builder = builder.filter(found)
    return builder.build()


def terms(text: str) -> tuple[str, ...]:
    """The terms of a text as the index sees them, each once, in order: stemmed words without stop words."""
    return tuple(dict.fromkeys(_analyzer().analyze(text)))


@dataclass(frozen=True)
class Hits:
    """Documents by falling score: numbers int64 (n,), scores float64 (n,)."""

    numbers: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


class FullTextIndex:
    """An index in `folder`, made there if there is none. Documents are numbered by the caller, from 0 and each once;
    they are added, never changed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        builder = tantivy.SchemaBuilder().add_unsigned_field(_NUMBER, fast=True)
        self._schema = builder.add_text_field(_FIELD, tokenizer_name=_NAME, index_option="freq").build()
        try:
            self._index = tantivy.Index(self._schema, path=str(folder))
        except (ValueError, OSError) as error:
            raise CosmoError(f"{folder}: not a readable index: {error}", remedy=f"remove {folder}") from error
        self._index.register_tokenizer(_NAME, _analyzer())
        self._searcher = self._index.searcher()

    def __len__(self) -> int:
        return self._searcher.num_docs

    def extend(self, documents: Iterable[tuple[int, str]]) -> None:
        """Add documents, (number, text). They can be found once all of them are there; a process that is killed before
        leaves the index as it was.

        Cost: linear in the text, about 0.06 s of processor time per MB; memory for `HEAP_BYTES`, however many there
        are.
        """
        writer = self._index.writer(max(HEAP_BYTES, THREADS * 16_000_000), THREADS)
        for number, text in documents:
            document = tantivy.Document()
            document.add_unsigned(_NUMBER, number)
            document.add_text(_FIELD, text)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, weights: Sequence[tuple[str, float]], limit: int, *, one_of: Sequence[str] | None = None) -> Hits:
        """The best documents for weighted terms (see `terms`) by BM25 (k1 1.2, b 0.75), a document with any of the
        terms, or only those with at least one of `one_of`. At least `limit` where there are so many: all that score
        as high as the last one are among them, so that the caller may break ties.

        Cost: linear in the documents that hold a term.
        """
        if not weights or (one_of is not None and not one_of):
            return Hits(np.empty(0, np.int64), np.empty(0, np.float64))
        occur = tantivy.Occur
        clauses = [(occur.Should, self._term(term, weight)) for term, weight in weights]
        if one_of is not None:
            needed = [(term, weight) for term, weight in weights if term in set(one_of)]
            rest = [(term, weight) for term, weight in weights if term not in set(one_of)]
            must = tantivy.Query.boolean_query([(occur.Should, self._term(*found)) for found in needed])
            clauses = [(occur.Must, must), *((occur.Should, self._term(*found)) for found in rest)]
        query = tantivy.Query.boolean_query(clauses)
        asked = limit + 1
        while True:
            found = self._searcher.search(query, asked, count=False).hits
            if len(found) < asked or found[-1][0] < found[limit - 1][0]:
                break
            asked *= 2
        last = found[limit - 1][0] if len(found) > limit else -np.inf
        found = [hit for hit in found if hit[0] >= last]
        numbers = self._searcher.fast_field_values(_NUMBER, [address for _, address in found])
        return Hits(np.array(numbers, np.int64), np.array([score for score, _ in found], np.float64))

    def _term(self, term: str, weight: float) -> tantivy.Query:
        return tantivy.Query.boost_query(tantivy.Query.term_query(self._schema, _FIELD, term, "freq"), weight)
