"""Compiled loops over texts: words as hashes, n-grams of an index, and what a text and an item have in common.

Belongs here: the loops, on arrays alone. Does not belong here: what the arrays hold and mean (`index`, `rules`).

A word's hash is 64 bits of its letters; a window of n words has a polynomial hash, taken in one step from the prefix
sums: gram(i, n) = prefix[i + n] - prefix[i] * BASE**n modulo 2**64.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Points = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def compiled(function: FunctionT) -> FunctionT:
    """Compile a function when it is first called, for threads that run at once; the machine code is kept on disk."""
    return cast(FunctionT, numba.njit(cache=True, nogil=True, boundscheck=False)(function))


BASE = np.uint64(0xD6E8FEB86659FD93)
SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Multiplied with a hash before its upper bits choose a place in a table."""

_SEED = np.uint64(0xCBF29CE484222325)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SPACE = np.uint32(ord(" "))
MIN_BLOCK = 6
"""Matching blocks of fewer characters do not count, as published ("longer than 5")."""


@compiled
def code_point(text: Bytes, at: int) -> tuple[np.int64, int]:
    """The code point that begins at a byte, and its length in bytes. The text is UTF-8."""
    first = np.int64(text[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(text[at + 1]) & 0x3F, 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F, 3
    high = (first & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12
    return high | (np.int64(text[at + 2]) & 0x3F) << 6 | np.int64(text[at + 3]) & 0x3F, 4


@compiled
def hash_words(
    text: Bytes, offsets: Offsets, ascii_letters: Points, starts: Ints, letters: Points, words: Hashes, bounds: Offsets
) -> None:
    """Hash the words of texts that lie one after the other in `text`, text d from `offsets[d]` to `offsets[d + 1]`.

    `words` takes the hashes of all texts, those of text d from `bounds[d]` to `bounds[d + 1]`; it holds one more than
    there can be. Without a branch for each byte: most bytes are letters, and where words end cannot be foretold.
    """
    count = 0
    for number in range(len(offsets) - 1):
        bounds[number] = count
        at, end = offsets[number], offsets[number + 1]
        value, inside = _SEED, 0
        while at < end:
            byte = text[at]
            if byte < 128:
                letter = ascii_letters[byte]
                words[count] = value
                is_letter = 1 if letter != _SPACE else 0
                count += inside & (1 - is_letter)
                inside = is_letter
                value = (value ^ np.uint64(letter)) * _STEP if is_letter else _SEED
                at += 1
            else:
                point, width = code_point(text, at)
                for place in range(starts[point], starts[point + 1]):
                    letter = letters[place]
                    words[count] = value
                    is_letter = 1 if letter != _SPACE else 0
                    count += inside & (1 - is_letter)
                    inside = is_letter
                    value = (value ^ np.uint64(letter)) * _STEP if is_letter else _SEED
                at += width
        words[count] = value
        count += inside
    bounds[len(offsets) - 1] = count


@compiled
def prefix_sums(words: Hashes, prefix: Hashes) -> None:
    """Fill `prefix`, one longer than `words`."""
    value = np.uint64(0)
    prefix[0] = value
    for number in range(len(words)):
        word = words[number]
        value = value * BASE + (word ^ word >> np.uint64(29))
        prefix[number + 1] = value


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
    """Set one bit for each key."""
    for key in keys:
        place = key * SPREAD >> shift
        bits[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))


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
            place = (prefix[seed + seed_size] - prefix[seed] * seed_power) * SPREAD >> bits_shift
            if bits[place >> np.uint64(6)] >> (place & np.uint64(63)) & np.uint64(1):
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
            place = key * SPREAD >> bits_shift
            if bits[place >> np.uint64(6)] >> (place & np.uint64(63)) & np.uint64(1):
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


@compiled
def spell(text: Bytes, ascii_letters: Points, starts: Ints, letters: Points, spelled: Points) -> int:
    """Write the words of one text, one space between them, as code points. Returns how many."""
    count, at = 0, 0
    while at < len(text):
        point, width = code_point(text, at)
        for place in range(starts[point], starts[point + 1]):
            letter = letters[place]
            if letter != _SPACE or (count and spelled[count - 1] != _SPACE):
                spelled[count] = letter
                count += 1
        at += width
    return count - 1 if count and spelled[count - 1] == _SPACE else count


@compiled
def link_starts(text: Points, heads: Ints, links: Ints) -> None:
    """Chains of the places in a text where MIN_BLOCK equal characters may begin: first `heads` of their hash, then
    `links` of each place, ascending, -1 at the end. `heads` has a power of two slots."""
    heads[:] = -1
    for start in range(len(text) - MIN_BLOCK, -1, -1):
        slot = _block_slot(text, start, len(heads))
        links[start] = heads[slot]
        heads[slot] = start


@compiled
def _block_slot(text: Points, start: int, slots: int) -> np.int64:
    value = np.uint64(0)
    for place in range(start, start + MIN_BLOCK):
        value = (value ^ np.uint64(text[place])) * _STEP
    return np.int64(value >> np.uint64(32)) & (slots - 1)


@compiled
def common_runs(text: Points, heads: Ints, links: Ints, item: Points, runs: Ints) -> int:
    """All maximal runs of at least MIN_BLOCK equal characters: (start in the text, start in the item, length), as many
    as fit into `runs`. Returns how many there are."""
    count = 0
    for right in range(len(item) - MIN_BLOCK + 1):
        left = np.int64(heads[_block_slot(item, right, len(heads))])
        while left >= 0:
            if left == 0 or right == 0 or text[left - 1] != item[right - 1]:
                size, most = 0, min(len(text) - int(left), len(item) - right)
                while size < most and text[left + size] == item[right + size]:
                    size += 1
                if size >= MIN_BLOCK:
                    if count < len(runs):
                        runs[count, 0], runs[count, 1], runs[count, 2] = left, right, size
                    count += 1
            left = np.int64(links[left])
    return count


@compiled
def matching_blocks(runs: Ints, text_size: int, item_size: int, windows: Ints, blocks: Ints) -> int:
    """The blocks that difflib's SequenceMatcher(None, text, item, autojunk=False) finds, those of at least MIN_BLOCK
    characters, from the maximal runs: the longest one inside a window, of equals the first in the text and then in the
    item; then the same in the windows on its left and on its right (Ratcliff and Obershelp 1988). A window in which the
    longest is shorter than MIN_BLOCK has no longer ones, so it is left alone. `blocks` takes (start in the text, start
    in the item, length), as they are found; returns how many.

    Cost: runs x blocks.
    """
    count, waiting = 0, 1
    windows[0, 0], windows[0, 1], windows[0, 2], windows[0, 3] = 0, text_size, 0, item_size
    while waiting:
        waiting -= 1
        left, right, low, high = windows[waiting, 0], windows[waiting, 1], windows[waiting, 2], windows[waiting, 3]
        best, best_left, best_low = MIN_BLOCK - 1, 0, 0
        for number in range(len(runs)):
            start, other, size = runs[number, 0], runs[number, 1], runs[number, 2]
            if size < best or start >= right or start + size <= left:
                continue
            skipped = max(0, left - start, low - other)
            length = min(size, right - start, high - other) - skipped
            start, other = start + skipped, other + skipped
            if length > best or (
                length == best
                and length >= MIN_BLOCK
                and (start < best_left or (start == best_left and other < best_low))
            ):
                best, best_left, best_low = length, start, other
        if best < MIN_BLOCK:
            continue
        blocks[count, 0], blocks[count, 1], blocks[count, 2] = best_left, best_low, best
        count += 1
        if best_left - left >= MIN_BLOCK and best_low - low >= MIN_BLOCK:
            windows[waiting, 0], windows[waiting, 1] = left, best_left
            windows[waiting, 2], windows[waiting, 3] = low, best_low
            waiting += 1
        if right - best_left - best >= MIN_BLOCK and high - best_low - best >= MIN_BLOCK:
            windows[waiting, 0], windows[waiting, 1] = best_left + best, right
            windows[waiting, 2], windows[waiting, 3] = best_low + best, high
            waiting += 1
    return count


@compiled
def length_of_blocks(text: Points, blocks: Ints) -> int:
    """Characters of the blocks put one after the other, each run of spaces as one, those at the ends left out. The
    blocks come in the order of the text."""
    count, space = 0, False
    for number in range(len(blocks)):
        for place in range(blocks[number, 0], blocks[number, 0] + blocks[number, 2]):
            if text[place] == _SPACE:
                space = count > 0
            else:
                count += 2 if space else 1
                space = False
    return count


@compiled
def block_overlaps(
    text: Points, letters: Points, bounds: Offsets, items: Ints, matched: Ints, longest: Ints, sizes: Ints
) -> None:
    """For one text and each of `items`, whose letters stand in `letters` between their `bounds`: the characters of
    their matching blocks, the start in the text of the longest one, and its length."""
    slots = 64
    while slots < 2 * len(text):
        slots *= 2
    heads, links = np.empty(slots, np.int32), np.empty(len(text), np.int32)
    link_starts(text, heads, links)
    runs = np.empty((1024, 3), np.int32)
    for number in range(len(items)):
        item = letters[bounds[items[number]] : bounds[items[number] + 1]]
        count = common_runs(text, heads, links, item, runs)
        if count > len(runs):
            runs = np.empty((2 * count, 3), np.int32)
            count = common_runs(text, heads, links, item, runs)
        most = min(len(text), len(item)) // MIN_BLOCK
        blocks, windows = np.empty((most + 1, 3), np.int32), np.empty((most + 2, 4), np.int32)
        found = blocks[: matching_blocks(runs[:count], len(text), len(item), windows, blocks)]
        longest[number] = sizes[number] = 0
        for block in range(len(found)):
            if found[block, 2] > sizes[number] or (
                found[block, 2] == sizes[number] and found[block, 0] < longest[number]
            ):
                longest[number], sizes[number] = found[block, 0], found[block, 2]
        matched[number] = length_of_blocks(text, found[np.argsort(found[:, 0])])


@compiled
def coverage(
    prefix: Hashes,
    bounds: Offsets,
    item_prefix: Hashes,
    item_bounds: Offsets,
    size: int,
    power: np.uint64,
    pairs: Ints,
    slots: Ints,
    covered: Ints,
    run_start: Ints,
    run_size: Ints,
) -> None:
    """For pairs of (text, item), sorted by text: how many words of the item stand in an n-gram of `size` words that the
    text has too, and the longest run of such words in the item. `slots` is room for twice as many as the longest text
    has words, a power of two."""
    shift, grams, table, last = np.uint64(0), np.empty(0, np.uint64), slots, -1
    for pair in range(len(pairs)):
        text, item = pairs[pair, 0], pairs[pair, 1]
        if text != last:
            used, bits, last = 2, 1, text
            while used < 2 * (bounds[text + 1] - bounds[text]):
                used, bits = 2 * used, bits + 1
            shift, table = np.uint64(64 - bits), slots[:used]
            starts = np.arange(bounds[text], bounds[text + 1] - size + 1)
            grams = np.unique(prefix[starts + size] - prefix[starts] * power)
            table[:] = -1
            fill_slots(table, shift, grams)
        begin, end = item_bounds[item], item_bounds[item + 1]
        covered[pair] = run_start[pair] = run_size[pair] = 0
        start_of_run, reached = begin, begin
        for start in range(begin, end - size + 1):
            key = item_prefix[start + size] - item_prefix[start] * power
            if number_of(table, shift, grams, key) >= 0:
                if start > reached:
                    start_of_run, reached = start, start
                covered[pair] += start + size - reached
                reached = start + size
                if reached - start_of_run > run_size[pair]:
                    run_start[pair], run_size[pair] = start_of_run - begin, reached - start_of_run
