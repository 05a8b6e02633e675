"""Compiled loops over many texts: which n-grams and which short items of an index stand in them.

Belongs here: the loops, on arrays alone. Does not belong here: the tables that they look into (`tables`), or what a
text and an item have in common (`matching`).
"""

import numpy as np
import numpy.typing as npt

from cosmo_assets.words.compiled import Hashes, Ints, Offsets, compiled

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Multiplied with a hash before its upper bits choose a place in a table."""


@compiled
def number_of(slots: Ints, shift: np.uint64, keys: Hashes, key: np.uint64) -> np.int64:
    """The number of a key, by a hash table with open addressing; -1 where it is not there. -1 marks a free slot."""
    slot = np.int64(key * SPREAD >> shift)
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & (len(slots) - 1)
    return np.int64(slots[slot])


@compiled
def fill_slots(slots: Ints, shift: np.uint64, keys: Hashes) -> None:
    """Put the numbers of distinct keys into an empty table."""
    for number in range(len(keys)):
        slot = np.int64(keys[number] * SPREAD >> shift)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = number


@compiled
def mark_bits(bits: Hashes, shift: np.uint64, keys: Hashes) -> None:
    """Set the bits of each key, all in one word (a blocked Bloom filter, Putze, Sanders and Singler 2007)."""
    for key in keys:
        spread = key * SPREAD
        bits[spread >> shift] |= _bits_of(spread)


@compiled
def may_have(bits: Hashes, shift: np.uint64, key: np.uint64) -> bool:
    """False where a key is not there, by one look at memory; of keys that are not there few give True."""
    spread = key * SPREAD
    wanted = _bits_of(spread)
    there: bool = (bits[spread >> shift] & wanted) == wanted
    return there


@compiled
def _bits_of(spread: np.uint64) -> np.uint64:
    """Three bits of a word, by the lower half of a spread hash; its upper half chooses the word."""
    mixed = (spread ^ spread >> np.uint64(32)) * SPREAD
    one = np.uint64(1)
    first, second = one << (mixed >> np.uint64(58)), one << (mixed >> np.uint64(52) & np.uint64(63))
    return first | second | one << (mixed >> np.uint64(46) & np.uint64(63))


@compiled
def degenerate(words: Hashes, size: int, most: int, found: npt.NDArray[np.bool_]) -> None:
    """Which windows of `size` words hold one word more than `most` times."""
    for start in range(len(words) - size + 1):
        found[start] = False
        for left in range(start, start + size - most):
            count = 0
            for right in range(left, start + size):
                count += words[right] == words[left]
            found[start] |= count > most


@compiled
def find_shared(
    prefix: Hashes,
    bounds: Offsets,
    first: int,
    size: int,
    seed_size: int,
    power: np.uint64,
    seed_power: np.uint64,
    bits: Hashes,
    bits_shift: np.uint64,
    slots: Ints,
    shift: np.uint64,
    keys: Hashes,
    lists: Ints,
    items: Ints,
    seen: Ints,
    found: Ints,
) -> tuple[int, int]:
    """Pairs of a text and an item that share an n-gram of `size` words, each pair once, for the texts from `first` on.

    Of any `size` words in a row, one window of `seed_size` begins at a multiple of the stride: only those are looked up
    in the bits; the n-grams around a seed that is there are looked up in the table. `found` (pairs x 2) takes
    (text, item); when it has no room for another text, the scan ends. Returns the next text and the number of pairs.
    """
    stride, count = size - seed_size + 1, 0
    for text in range(first, len(bounds) - 1):
        if count + len(seen) > len(found):
            return text, count
        begin, end = bounds[text], bounds[text + 1]
        for seed in range(begin, end - seed_size + 1, stride):
            if may_have(bits, bits_shift, prefix[seed + seed_size] - prefix[seed] * seed_power):
                for start in range(max(begin, seed - stride + 1), min(seed, end - size) + 1):
                    key = number_of(slots, shift, keys, prefix[start + size] - prefix[start] * power)
                    if key >= 0:
                        for posting in range(lists[key], lists[key + 1]):
                            item = items[posting]
                            if seen[item] != text + 1:
                                seen[item] = text + 1
                                found[count, 0], found[count, 1] = text, item
                                count += 1
    return len(bounds) - 1, count


@compiled
def find_whole(
    prefix: Hashes,
    bounds: Offsets,
    first: int,
    seed_size: int,
    seed_power: np.uint64,
    bits: Hashes,
    bits_shift: np.uint64,
    slots: Ints,
    shift: np.uint64,
    keys: Hashes,
    lists: Ints,
    items: Ints,
    before: Ints,
    lengths: Ints,
    wholes: Hashes,
    powers: Hashes,
    seen: Ints,
    found: Ints,
) -> tuple[int, int]:
    """Pairs of a text and an item whose words all stand in it in a row, like `find_shared`. An item is looked up by one
    window of `seed_size` words, with `before` words of it in front; `wholes` are the hashes of its `lengths` words."""
    count = 0
    for text in range(first, len(bounds) - 1):
        if count + len(seen) > len(found):
            return text, count
        begin, end = bounds[text], bounds[text + 1]
        for seed in range(begin, end - seed_size + 1):
            key = prefix[seed + seed_size] - prefix[seed] * seed_power
            if may_have(bits, bits_shift, key):
                number = number_of(slots, shift, keys, key)
                if number >= 0:
                    for posting in range(lists[number], lists[number + 1]):
                        item, start = items[posting], seed - before[posting]
                        stop = start + lengths[posting]
                        if start < begin or stop > end or seen[item] == text + 1:
                            continue
                        if prefix[stop] - prefix[start] * powers[posting] == wholes[posting]:
                            seen[item] = text + 1
                            found[count, 0], found[count, 1] = text, item
                            count += 1
    return len(bounds) - 1, count
