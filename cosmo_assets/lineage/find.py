"""Finding the documents that hold a piece of text.

Belongs here: reading the texts that fingerprints point at, or all of them, and comparing words. Does not belong here:
fingerprints (`snippets`), or what is behind a document (`trace`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.lineage import snippets
from cosmo_assets.lineage.lookup import Lookup
from cosmo_assets.lineage.rows import Rows
from cosmo_assets.lineage.snippets import ALPHABET, GRAM, GUARANTEED, Fingerprints
from cosmo_assets.words.alphabet import located_words, words_of
from cosmo_assets.words.hashing import hashed, power
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import Dataset

READ = 50
"""Texts that are read, of those that fingerprints point at."""

SCANNED_BYTES = 1 << 28
"""A corpus whose texts are not larger is read whole where fingerprints cannot tell."""

MIN_WORDS = 3


@dataclass(frozen=True)
class Match:
    """A document that holds the text; `start` and `end` say where, in characters of its own text. `spans` are the
    numbers of its copies in the corpus: none, if it was generated or read and did not get in."""

    doc_id: str
    bucket: str
    row: int
    start: int
    end: int
    spans: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """The documents that hold a text, those of the corpus first. `more` are texts that may hold it as well and were not
    read. `sure` says that no other document holds it; else it is shorter than what is always found."""

    matches: tuple[Match, ...]
    words: int
    more: int
    sure: bool
    unread_bytes: int


def find(lookup: Lookup, texts: Iterable[tuple[str, Dataset]], text: str, *, scan: bool = False) -> Found:
    """The documents that hold a piece of text, word for word; case, accents, punctuation and white space do not matter.
    The first and last word may be cut off.

    With `GUARANTEED` whole words or more (and one at each end, where those are cut) every document that holds it is
    found through its fingerprints. Shorter pieces, down to `MIN_WORDS`, are found for certain only where all texts are
    read: in a small corpus (`SCANNED_BYTES`) always, else if `scan` asks for it.

    Raises:
        CosmoError: the piece has less than `MIN_WORDS` words.
    """
    words = words_of(text, ALPHABET)
    if len(words) < MIN_WORDS:
        raise CosmoError(f"the text has {len(words)} words", remedy=f"give at least {MIN_WORDS} words of it")
    buckets = list(texts)
    size = sum(dataset.manifest.bytes for _, dataset in buckets)
    inner = words[1:-1] if len(words) - 2 >= GRAM else words
    wanted = snippets.wanted(" ".join(inner))
    sure = len(inner) >= GUARANTEED
    if not sure and (scan or size <= SCANNED_BYTES):
        sure, size = True, 0
        candidates = [(bucket, dataset, row) for bucket, dataset in buckets for row in _holding(dataset, inner)]
    else:
        candidates = [
            (bucket, dataset, row)
            for bucket, dataset in buckets
            for row in Fingerprints(lookup.files, bucket).rows(wanted).tolist()
        ]
    matches = []
    for bucket, dataset, row in candidates[:READ]:
        found = Rows(dataset, "doc_id").read(row)
        place = _place(found["text"], words) or (_place(found["text"], inner) if inner is not words else None)
        if place:
            matches.append((place[2], _match(lookup, bucket, row, found["doc_id"], *place[:2])))
    whole = [match for exact, match in matches if exact == len(words)] or [match for _, match in matches]
    ordered = sorted(whole, key=lambda match: (not match.spans, match.doc_id))
    return Found(tuple(ordered), len(words), max(len(candidates) - READ, 0), sure, 0 if sure else size)


def _match(lookup: Lookup, bucket: str, row: int, doc_id: str, start: int, end: int) -> Match:
    document = lookup.documents.find(doc_id)
    spans = () if document is None else tuple(lookup.spans_of_document(document))
    return Match(doc_id, bucket, row, start, end, spans)


def _place(text: str, words: list[str]) -> tuple[int, int, int] | None:
    """Where these words stand in a text, from and to in characters, and how many they are."""
    located = located_words(text, ALPHABET)
    names = [name for name, _, _ in located]
    for first in range(len(names) - len(words) + 1):
        if names[first] == words[0] and names[first : first + len(words)] == words:
            return located[first][1], located[first + len(words) - 1][2], len(words)
    return None


def _holding(dataset: Dataset, words: list[str]) -> Iterator[int]:
    """The rows of a bucket whose texts have these words in a row. Cost: linear in the texts."""
    size = len(words)
    target = hashed(pa.array([" ".join(words)]), ALPHABET).prefix[-1]
    first = 0
    for table in dataset.tables(["text"]):
        if table.num_rows:
            found = hashed(table["text"].combine_chunks(), ALPHABET)
            grams = found.prefix[size:] - found.prefix[:-size] * power(size)
            starts = np.flatnonzero(grams == target)
            owners = found.owners(starts)
            inside = starts + size <= found.bounds[1:][owners]
            yield from (first + np.unique(owners[inside])).tolist()
        first += table.num_rows


def shown(found: Found, limit: int = 10) -> list[dict[str, Any]]:
    """The matches as plain values."""
    return [
        {"doc_id": match.doc_id, "copies": len(match.spans), "start": match.start, "end": match.end}
        for match in found.matches[:limit]
    ]
