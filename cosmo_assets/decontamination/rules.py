"""The rules of decontamination: what a text must share with a benchmark item to be contaminated by it.

Belongs here: for each rule, its table of items, the items that it cannot check, and the pairs that it condemns. Does
not belong here: lookups and measures (`tables`, `overlap`), or files (`index`).

Every rule looks at every item that a text shares something with, in the same order on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.decontamination.overlap import Overlaps, Spelling, block_overlaps, spelled, word_overlaps
from cosmo_assets.decontamination.tables import (
    SHORT_SEED,
    Table,
    gram_table,
    texts_with_grams,
    texts_with_items,
    whole_table,
)
from cosmo_assets.recipe import decontamination as recipe
from cosmo_assets.words.alphabet import AlphabetName, words_of
from cosmo_assets.words.compiled import Ints, utf8
from cosmo_assets.words.hashing import Words

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Items:
    """Benchmark items: their texts, the texts' words in one alphabet, and how many of these come before the answer."""

    texts: pa.Array
    words: Words
    before_answer: npt.NDArray[np.int64]

    def sizes(self) -> npt.NDArray[np.int64]:
        return np.diff(self.words.bounds)


class Condemned(NamedTuple):
    """A text, the item that contaminates it, the item's share that it holds, and the longest piece of that."""

    text: int
    item: int
    ratio: float
    span: str


class Rule(Protocol):
    @property
    def alphabet(self) -> AlphabetName: ...

    @property
    def says(self) -> str:
        """When a text is contaminated, in words: "it ..."."""

    def table(self, items: Items) -> Table:
        """What `condemned` looks into; its arrays may come back from a file."""

    def checkable(self, items: Items, table: Table) -> Mask:
        """The items that this rule can find."""

    def condemned(self, texts: pa.Array, words: Words, items: Items, table: Table) -> Iterator[Condemned]:
        """The texts that hold an item, with each such item. `words` are those of the texts."""


def rules_of(section: recipe.Decontamination) -> dict[str, Rule]:
    """The rules of a recipe by name, in its order."""
    return {rule.rule: _rule(rule) for rule in section.rules}


def _rule(rule: recipe.DecontaminationRule) -> Rule:
    match rule:
        case recipe.CosmopediaRule():
            return CosmopediaRule(rule.ngram, rule.ratio)
        case recipe.NgramRule():
            return GramRule(rule.ngram)
        case recipe.LabelRule():
            return GramRule(rule.ngram, label=True)
        case recipe.CoverageRule():
            return GramRule(rule.ngram, share=rule.share)
        case recipe.ShortRule():
            return ShortRule(rule.below)


@dataclass(frozen=True)
class CosmopediaRule:
    """Cosmopedia's: a shared n-gram makes a candidate, and the text is contaminated where the matching blocks that it
    has in common with the item are more than `ratio` of the item's characters. Computed as published, for all
    candidates instead of one. Items of fewer words than the n-gram cannot be checked."""

    ngram: int
    ratio: float
    alphabet: AlphabetName = "published"

    @property
    def says(self) -> str:
        return f"shares {self.ngram} words in a row with an item and holds more than {self.ratio:.0%} of its characters"

    def table(self, items: Items) -> Table:
        letters = Spelling.of(items.texts, self.alphabet)
        grams = gram_table(items.words, self.ngram, degenerate=True)
        return {**grams, "letters": letters.letters, "bounds": letters.bounds}

    def checkable(self, items: Items, table: Table) -> Mask:
        return items.sizes() >= self.ngram

    def condemned(self, texts: pa.Array, words: Words, items: Items, table: Table) -> Iterator[Condemned]:
        spelling = Spelling(table["letters"], table["bounds"])
        data, offsets = utf8(texts)
        for pairs in texts_with_grams(words, table, self.ngram, len(items.texts)):
            for text, chosen in _by_text(pairs):
                letters = spelled(data[offsets[text] : offsets[text + 1]], self.alphabet)
                found = block_overlaps(letters, spelling, chosen)
                for number in np.flatnonzero(found.shares > self.ratio).tolist():
                    start, length = int(found.starts[number]), int(found.lengths[number])
                    span = "".join(map(chr, letters[start : start + length])).strip()
                    yield Condemned(text, int(chosen[number]), float(found.shares[number]), span)


@dataclass(frozen=True)
class GramRule:
    """A text is contaminated where the n-grams that it shares with an item hold at least `share` of the item's words;
    with `share` 0, by any shared n-gram (GPT-3, Brown et al. 2020, appendix C, and Qwen2.5, both with 13 words). With
    `label`, only n-grams that reach the item's answer count (datatrove's NGramsDecontConfig, with 12). Degenerate
    n-grams are passed over."""

    ngram: int
    share: float = 0.0
    label: bool = False
    alphabet: AlphabetName = "folded"

    @property
    def says(self) -> str:
        if self.share:
            return f"holds {self.share:.0%} of an item's words in runs of {self.ngram} or more"
        return f"shares {self.ngram} words in a row with an item" + (
            ", some of them its answer's" if self.label else ""
        )

    def table(self, items: Items) -> Table:
        return gram_table(items.words, self.ngram, reaching=items.before_answer if self.label else None)

    def checkable(self, items: Items, table: Table) -> Mask:
        found = np.zeros(len(items.texts), np.bool_)
        found[table["items"]] = True
        return found

    def condemned(self, texts: pa.Array, words: Words, items: Items, table: Table) -> Iterator[Condemned]:
        for pairs in texts_with_grams(words, table, self.ngram, len(items.texts)):
            found = word_overlaps(words, items.words, pairs, self.ngram)
            yield from _condemned(pairs, found, found.shares >= self.share, items, self.alphabet)


@dataclass(frozen=True)
class ShortRule:
    """Items of fewer than `below` words, which n-grams cannot find: a text is contaminated where the whole item stands
    in it. Of fewer than three words only a text that is nothing else is: they stand everywhere. So do answers alone
    ("Yes", "in the morning"): an item that asks nothing is passed over."""

    below: int
    alphabet: AlphabetName = "folded"

    @property
    def says(self) -> str:
        return f"holds an item of fewer than {self.below} words as a whole"

    def table(self, items: Items) -> Table:
        sizes, checkable = items.sizes(), self.checkable(items, {})
        long_enough = checkable & (sizes >= SHORT_SEED)
        tiny = np.flatnonzero(checkable & (sizes < SHORT_SEED))
        table = whole_table(items.words, np.flatnonzero(long_enough).astype(np.int32))
        return {**table, "tiny": items.words.whole(tiny), "tiny_items": tiny.astype(np.int32)}

    def checkable(self, items: Items, table: Table) -> Mask:
        return (items.sizes() < self.below) & (items.before_answer > 0)

    def condemned(self, texts: pa.Array, words: Words, items: Items, table: Table) -> Iterator[Condemned]:
        pairs = list(texts_with_items(words, table, len(items.texts)))
        equal = np.flatnonzero(np.diff(words.bounds) < SHORT_SEED)
        known = words.whole(equal)
        same = [(t, i) for t, key in zip(equal, known, strict=True) for i in table["tiny_items"][table["tiny"] == key]]
        pairs.append(np.array(same, np.int32).reshape(-1, 2))
        for text, item in np.concatenate(pairs).tolist():
            yield Condemned(text, item, 1.0, " ".join(words_of(items.texts[item].as_py(), self.alphabet)))


def _by_text(pairs: Ints) -> Iterator[tuple[int, Ints]]:
    """Pairs of (text, item) as each text with its items."""
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    for part in np.split(pairs, starts[1:]) if len(pairs) else ():
        yield int(part[0, 0]), np.ascontiguousarray(part[:, 1])


def _condemned(pairs: Ints, found: Overlaps, chosen: Mask, items: Items, alphabet: AlphabetName) -> Iterator[Condemned]:
    for number in np.flatnonzero(chosen).tolist():
        text, item = pairs[number].tolist()
        start, length = int(found.starts[number]), int(found.lengths[number])
        span = words_of(items.texts[item].as_py(), alphabet)[start : start + length]
        yield Condemned(text, item, float(found.shares[number]), " ".join(span))
