"""Tables of an index: which items have an n-gram, and which short items stand around a window of words.

Belongs here: building the tables that compiled loops look into, and asking them. Does not belong here: the loops
(`lookups`), texts and files (`index`), or what a shared n-gram means (`rules`).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cosmo_assets.decontamination import lookups
from cosmo_assets.words.compiled import Hashes, Ints, Offsets
from cosmo_assets.words.hashing import Words, power

Table = dict[str, npt.NDArray[Any]]
"""Arrays by name: `bits` tells quickly of most keys that they are not there; `slots` are a hash table of the numbers of
`keys`; the items of key i are `items[lists[i]:lists[i + 1]]`; `before`, `lengths`, `wholes` and `powers` tell of each
entry in `items` what must stand around its key."""

DEGENERATE = 0.6
"""An n-gram in which one word fills this share is passed over."""

SHORT_SEED = 3
"""Words of the window by which a short item is looked up; with fewer it cannot be looked for inside other texts."""

BITS_PER_KEY = 16
"""Of the bits, three of which are set for a key: less than one in a hundred keys that are not there passes them."""

PAIRS = 1 << 16
"""Room for pairs, at least."""


def seed_size_of(size: int) -> int:
    """Words of the windows by which n-grams of `size` words are first looked for."""
    return max(size // 2, 1)


def gram_table(words: Words, size: int, *, reaching: Offsets | None = None, degenerate: bool = False) -> Table:
    """Items by their n-grams of `size` words, without those that are degenerate unless these are wanted; with
    `reaching`, by those n-grams alone that reach beyond so many words of their item."""
    starts = words.starts(size)
    if not degenerate:
        repetitive = np.zeros(max(len(words.hashes), 1), np.bool_)
        lookups.degenerate(words.hashes, size, max(math.ceil(DEGENERATE * size) - 1, 1), repetitive)
        starts = starts[~repetitive[starts]]
    if reaching is not None:
        owners = words.owners(starts)
        starts = starts[starts + size > words.bounds[owners] + reaching[owners]]
    seed_size = seed_size_of(size)
    begins_seed = np.zeros(len(words.prefix), np.bool_)
    for offset in range(size - seed_size + 1):
        begins_seed[starts + offset] = True
    seeds = words.windows(np.flatnonzero(begins_seed), seed_size)
    table, _ = _lookup(words.windows(starts, size), words.owners(starts), seeds)
    return table


def whole_table(words: Words, chosen: Ints) -> Table:
    """The items `chosen`, of at least SHORT_SEED words each, by the rarest of their windows of that size."""
    starts = words.starts(SHORT_SEED)
    windows, owners = words.windows(starts, SHORT_SEED), words.owners(starts)
    _, group, counts = np.unique(windows, return_inverse=True, return_counts=True)
    order = np.lexsort((starts, counts[group], owners))  # the rarest of each item first, of equals the first
    firsts = order[np.unique(owners[order], return_index=True)[1]]
    firsts = firsts[np.isin(owners[firsts], chosen)]
    items, keys = owners[firsts], windows[firsts]
    lengths = np.diff(words.bounds)[items]
    table, order = _lookup(keys, items, keys)
    table["before"] = (starts[firsts] - words.bounds[items])[order].astype(np.int32)
    table["lengths"] = lengths[order].astype(np.int32)
    table["powers"] = np.array([power(length) for length in table["lengths"].tolist()], np.uint64)
    table["wholes"] = words.whole(items[order])
    return table


def _lookup(keys: Hashes, items: Ints, seeds: Hashes) -> tuple[Table, npt.NDArray[np.intp]]:
    """The table of pairs (key, item), by item, each once, with `seeds` in its bits; and which of the pairs it has, in
    order."""
    order = np.argsort(keys, kind="stable")
    sorted_keys, sorted_items = keys[order], items[order]
    new_key = np.ones(len(keys), np.bool_)
    new_key[1:] = sorted_keys[1:] != sorted_keys[:-1]
    new_pair = new_key.copy()
    new_pair[1:] |= sorted_items[1:] != sorted_items[:-1]
    distinct, order = sorted_keys[new_key], order[new_pair]
    ends = np.cumsum(np.bincount(np.cumsum(new_key[new_pair]) - 1, minlength=len(distinct)))
    slots = np.full(_power_of_two(2 * len(distinct)), -1, np.int32)
    lookups.fill_slots(slots, _shift(len(slots)), distinct)
    bits = np.zeros(max(_power_of_two(BITS_PER_KEY * len(seeds)) // 64, 2), np.uint64)
    lookups.mark_bits(bits, _shift(len(bits)), seeds)
    lists = np.concatenate([[0], ends]).astype(np.int32)
    return {"bits": bits, "slots": slots, "keys": distinct, "lists": lists, "items": items[order]}, order


def texts_with_grams(texts: Words, table: Table, size: int, items: int) -> Iterator[Ints]:
    """Pairs (text, item) that share an n-gram of `size` words, each pair once, as arrays of pairs x 2, by text."""
    seed_size = seed_size_of(size)

    def find(first: int, seen: Ints, found: Ints) -> tuple[int, int]:
        return lookups.find_shared(
            texts.prefix,
            texts.bounds,
            first,
            size,
            seed_size,
            power(size),
            power(seed_size),
            *_arguments(table),
            seen,
            found,
        )

    return _in_turns(find, len(texts), items)


def texts_with_items(texts: Words, table: Table, items: int) -> Iterator[Ints]:
    """Pairs (text, item) of a text and an item that stands in it as a whole, like `texts_with_grams`."""

    def find(first: int, seen: Ints, found: Ints) -> tuple[int, int]:
        return lookups.find_whole(
            texts.prefix,
            texts.bounds,
            first,
            SHORT_SEED,
            power(SHORT_SEED),
            *_arguments(table),
            table["before"],
            table["lengths"],
            table["wholes"],
            table["powers"],
            seen,
            found,
        )

    return _in_turns(find, len(texts), items)


def _arguments(table: Table) -> tuple[Hashes, np.uint64, Ints, np.uint64, Hashes, Ints, Ints]:
    """A table as the loops take it."""
    bits, slots = table["bits"], table["slots"]
    return bits, _shift(len(bits)), slots, _shift(len(slots)), table["keys"], table["lists"], table["items"]


def _in_turns(find: Callable[[int, Ints, Ints], tuple[int, int]], texts: int, items: int) -> Iterator[Ints]:
    """What a loop finds, as often as its room is full. `find` takes the first text, room for the last text of each item
    and room for pairs; it returns the next text and the number of pairs."""
    seen, found = np.zeros(items, np.int32), np.empty((max(PAIRS, 2 * items), 2), np.int32)
    text = 0
    while text < texts:
        text, count = find(text, seen, found)
        yield found[:count].copy()


def _power_of_two(least: int) -> int:
    """At least 64."""
    return 1 << max(6, (least - 1).bit_length())


def _shift(slots: int) -> np.uint64:
    """How far a spread hash is shifted to be a number below `slots`, a power of two."""
    return np.uint64(64 - (slots.bit_length() - 1))
