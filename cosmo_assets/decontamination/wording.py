"""What many items of a benchmark begin with says nothing about any of them, and is not searched for.

Belongs here: finding such beginnings and leaving them out. Does not belong here: putting texts together (`benchmarks`),
or searching for them (`rules`).
"""

import os.path
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from cosmo_assets.decontamination.benchmarks import LONG, Item

COMMON_ITEMS = 10
"""Texts of one part of a benchmark that begin with the same words, from which on these are common wording."""

COMMON_WORDS = 10
"""Words that common wording has at least: fewer make no text contaminated."""


def own_wording(items: Iterable[Item]) -> list[Item]:
    """Items without the words that at least COMMON_ITEMS of a benchmark's texts of the same part begin with, as the
    instructions that MMLU repeats in each of its 895 moral scenarios. What is left of a text stands in every copy of it
    in one piece. Cost: sorting the texts, and comparing neighbours as far as they agree."""
    found = list(items)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, item in enumerate(found):
        groups[item.benchmark, item.part].append(number)
    for group in groups.values():
        group.sort(key=lambda number: found[number].asked)
        lengths = _common_beginnings([found[number].asked for number in group])
        for number, length in zip(group, lengths, strict=True):
            if length:
                found[number] = _without(found[number], length)
    return found


def _common_beginnings(texts: Sequence[str]) -> list[int]:
    """How many characters each of the sorted texts has in common with COMMON_ITEMS - 1 of its neighbours."""
    lasts = texts[COMMON_ITEMS - 1 :]
    shared = [len(os.path.commonprefix(ends)) for ends in zip(texts, lasts, strict=False)]  # noqa: RUF071 - characters
    lengths = np.zeros(len(texts), np.int64)
    for place in range(COMMON_ITEMS if shared else 0):
        np.maximum(lengths[place : place + len(shared)], shared, out=lengths[place : place + len(shared)])
    return list(map(int, lengths))


def _without(item: Item, length: int) -> Item:
    """The item without the whole words among its first characters, as far as LONG words are left."""
    shared, words = item.asked[:length].split(), item.asked.split()
    count = len(shared)
    if shared and words[count - 1] != shared[-1]:
        count -= 1  # the last one is cut in two
    count = min(count, len(words) - LONG)
    return item if count < COMMON_WORDS else replace(item, asked=item.asked.split(maxsplit=count)[count])
