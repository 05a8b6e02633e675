"""Decontamination as Cosmopedia published it, in plain Python: what the compiled engine is compared with.

The algorithm of decontaminate.py in its repository, mended in two places: an n-gram leads to all of its items, not to
the last one, and every candidate is measured, not the first that the order of a set yields. With `short`, an item of
fewer words than an n-gram is a candidate where all of its words stand in a row.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher

MIN_BLOCK = 6

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    return tuple(re.findall(r"\w+", plain.lower()))


def grams(words: Words, size: int) -> set[Words]:
    return set(zip(*(words[start:] for start in range(size)), strict=False))


def matched_share(text: Words, item: Words) -> tuple[float, str]:
    """The share of an item's characters in blocks of more than five that it has in common with a text, as difflib
    finds them, and the longest such block. Cost: text x item, in characters."""
    document, wanted = " ".join(text), " ".join(item)
    found = SequenceMatcher(None, document, wanted, autojunk=False).get_matching_blocks()
    blocks = [document[block.a : block.a + block.size] for block in found if block.size >= MIN_BLOCK]
    return len(" ".join("".join(blocks).split())) / len(wanted), max(blocks, key=len, default="").strip()


class PlainIndex:
    """Items by their n-grams, in a dictionary."""

    def __init__(self, items: Sequence[str], ngram: int, *, short: bool = False) -> None:
        self.items = [words_of(item) for item in items]
        self._by_gram: dict[Words, list[int]] = defaultdict(list)
        self._sizes: set[int] = set()
        for number, words in enumerate(self.items):
            size = min(ngram, len(words)) if short else ngram
            for gram in grams(words, size):
                self._by_gram[gram].append(number)
                self._sizes.add(size)

    def candidates(self, words: Words) -> list[int]:
        """The numbers of the items that share an n-gram with a text, ascending."""
        shared = (gram for size in self._sizes for gram in grams(words, size) if gram in self._by_gram)
        return sorted({number for gram in shared for number in self._by_gram[gram]})

    def contaminated(self, text: str, ratio: float) -> dict[int, float]:
        """The items of which a text holds more than `ratio`, and how much."""
        words = words_of(text)
        shares = {number: matched_share(words, self.items[number])[0] for number in self.candidates(words)}
        return {number: share for number, share in shares.items() if share > ratio}
