"""How much of an item stands in a text: by characters, as published, and by words.

Belongs here: measuring pairs of texts and items. Does not belong here: finding the pairs (`tables`), or from what share
on a text is contaminated (`rules`).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.decontamination import matching
from cosmo_assets.words.alphabet import AlphabetName, alphabet_table
from cosmo_assets.words.compiled import Bytes, Ints, Offsets, Points, utf8
from cosmo_assets.words.hashing import Words, power

MOST_LETTERS = 8
"""Code points that one byte of a text becomes at most: U+FDFA, three bytes, has eighteen letters."""


@dataclass(frozen=True)
class Spelling:
    """Texts as their words with one space between them, in code points: text i from `bounds[i]` to `bounds[i + 1]`."""

    letters: Points
    bounds: Offsets

    @classmethod
    def of(cls, texts: pa.Array, alphabet: AlphabetName) -> Self:
        data, offsets = utf8(texts)
        table, bounds = alphabet_table(alphabet), np.empty(len(offsets), np.int64)
        letters = np.empty(MOST_LETTERS * int(offsets[-1] - offsets[0]) + 1, np.uint32)
        matching.spell_all(data, offsets, table.ascii, table.starts, table.letters, letters, bounds)
        return cls(letters[: bounds[-1]].copy(), bounds)

    def __getitem__(self, number: int) -> Points:
        return self.letters[self.bounds[number] : self.bounds[number + 1]]


def spelled(text: Bytes, alphabet: AlphabetName) -> Points:
    """The words of one text in UTF-8 with one space between them, in code points; a view of much more memory."""
    table = alphabet_table(alphabet)
    letters = np.empty(MOST_LETTERS * len(text) + 1, np.uint32)
    return letters[: matching.spell(text, table.ascii, table.starts, table.letters, letters)]


@dataclass(frozen=True)
class Overlaps:
    """Of each pair: the share of the item that the text has too, and its longest piece, from `starts` on `lengths`:
    characters of the text as it is spelled, or words of the item."""

    shares: npt.NDArray[np.float64]
    starts: Ints
    lengths: Ints


def block_overlaps(text: Points, items: Spelling, chosen: Ints) -> Overlaps:
    """The matching blocks of difflib's SequenceMatcher with more than five characters, put together: their length to
    the item's, as Cosmopedia has it (decontaminate.py of its repository).

    Cost: linear in the text once, then in each item, plus its common runs x blocks; difflib's is text x item.
    """
    matched, starts, lengths = (np.empty(len(chosen), np.int32) for _ in range(3))
    matching.block_overlaps(text, items.letters, items.bounds, chosen, matched, starts, lengths)
    return Overlaps(matched / np.maximum(np.diff(items.bounds)[chosen], 1), starts, lengths)


def word_overlaps(texts: Words, items: Words, pairs: Ints, size: int) -> Overlaps:
    """The words of items that stand in n-grams of `size` words which the text has too, to all of the item's. `pairs`
    are (text, item), by text. Cost: linear in texts and items."""
    covered, starts, lengths = (np.empty(len(pairs), np.int32) for _ in range(3))
    longest = int(np.diff(texts.bounds).max(initial=1))
    slots = np.empty(1 << max(1, (2 * longest - 1).bit_length()), np.int32)
    matching.coverage(
        texts.prefix,
        texts.bounds,
        items.prefix,
        items.bounds,
        size,
        power(size),
        pairs,
        slots,
        covered,
        starts,
        lengths,
    )
    return Overlaps(covered / np.maximum(np.diff(items.bounds)[pairs[:, 1]], 1), starts, lengths)
