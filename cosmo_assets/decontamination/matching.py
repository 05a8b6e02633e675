"""Compiled loops over one text and one item: what they have in common, by characters as published and by words.

Belongs here: the loops, on arrays alone. Does not belong here: finding the pairs (`lookups`), or what the shares mean
(`overlap`, `rules`).
"""

import numpy as np

from cosmo_assets.decontamination.lookups import fill_slots, number_of
from cosmo_assets.words.compiled import Bytes, Hashes, Ints, Offsets, Points, code_point, compiled

_SPACE = np.uint32(ord(" "))
_STEP = np.uint64(0x9E3779B97F4A7C15)
FEW = 3
"""Items that are each indexed for a text; with more of them the text is."""
MIN_BLOCK = 6
"""Matching blocks of fewer characters do not count, as published ("longer than 5")."""
_LEAVING = np.uint64(pow(int(_STEP), MIN_BLOCK, 1 << 64))


@compiled
def spell(text: Bytes, ascii_letters: Points, starts: Ints, letters: Points, spelled: Points) -> int:
    """Write the words of one text, one space between them, as code points. Returns how many; `spelled` holds one more
    than there can be. Without a branch for each byte, as `hash_words`."""
    count, at, inside = 0, 0, 0
    while at < len(text):
        byte = text[at]
        if byte < 128:
            letter = ascii_letters[byte]
            is_letter = 1 if letter != _SPACE else 0
            spelled[count] = letter
            count += is_letter | inside
            inside = is_letter
            at += 1
        else:
            point, width = code_point(text, at)
            for place in range(starts[point], starts[point + 1]):
                letter = letters[place]
                is_letter = 1 if letter != _SPACE else 0
                spelled[count] = letter
                count += is_letter | inside
                inside = is_letter
            at += width
    return count - 1 if count and not inside else count


@compiled
def spell_all(
    text: Bytes,
    offsets: Offsets,
    ascii_letters: Points,
    starts: Ints,
    letters: Points,
    spelled: Points,
    bounds: Offsets,
) -> None:
    """`spell` for texts that lie one after the other, text d from `offsets[d]` to `offsets[d + 1]`; what is written of
    it stands from `bounds[d]` to `bounds[d + 1]`."""
    bounds[0] = 0
    for number in range(len(offsets) - 1):
        one, room = text[offsets[number] : offsets[number + 1]], spelled[bounds[number] :]
        bounds[number + 1] = bounds[number] + spell(one, ascii_letters, starts, letters, room)


@compiled
def link_starts(text: Points, heads: Ints, links: Ints) -> None:
    """Chains of the places in a text where MIN_BLOCK equal characters may begin: first `heads` of their hash, then
    `links` of each place, ascending, -1 at the end. `heads` has a power of two slots."""
    heads[:] = -1
    value = np.uint64(0)
    for start in range(len(text) - 1, -1, -1):
        value = _block_before(text, start, value)
        if start + MIN_BLOCK <= len(text):
            slot = _block_slot(value, len(heads))
            links[start] = heads[slot]
            heads[slot] = start


@compiled
def _block_before(text: Points, start: int, value: np.uint64) -> np.uint64:
    """The polynomial hash of the MIN_BLOCK letters from `start` on, from that of those one further on: Rabin and Karp's
    rolling hash, towards the beginning of the text."""
    value = value * _STEP + np.uint64(text[start])
    return value - np.uint64(text[start + MIN_BLOCK]) * _LEAVING if start + MIN_BLOCK < len(text) else value


@compiled
def _block_slot(value: np.uint64, slots: int) -> np.int64:
    return np.int64(value * _STEP >> np.uint64(32)) & (slots - 1)


@compiled
def common_runs(text: Points, heads: Ints, links: Ints, item: Points, runs: Ints) -> int:
    """All maximal runs of at least MIN_BLOCK equal characters: (start in the text, start in the item, length), as many
    as fit into `runs`. Returns how many there are."""
    count, value = 0, np.uint64(0)
    for right in range(len(item) - 1, -1, -1):
        value = _block_before(item, right, value)
        left = np.int64(heads[_block_slot(value, len(heads))]) if right + MIN_BLOCK <= len(item) else np.int64(-1)
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
    their matching blocks, the start in the text of the longest one, and its length.

    With more than `FEW` items the text is indexed, once; else each item is: it is short, and stays in the cache.
    """
    few = len(items) <= FEW
    size = 0 if few else len(text)
    for item in items:
        size = max(size, bounds[item + 1] - bounds[item]) if few else size
    slots = 64
    while slots < (32 if few else 2) * size:
        slots *= 2
    heads, links = np.empty(slots, np.int32), np.empty(size, np.int32)
    if not few:
        link_starts(text, heads, links)
    runs = np.empty((max(1024, len(text) // 16), 3), np.int32)
    for number in range(len(items)):
        item = letters[bounds[items[number]] : bounds[items[number] + 1]]
        if few:
            link_starts(item, heads, links)
        indexed, other = (item, text) if few else (text, item)
        count = common_runs(indexed, heads, links, other, runs)
        if count > len(runs):
            runs = np.empty((2 * count, 3), np.int32)
            count = common_runs(indexed, heads, links, other, runs)
        for run in range(count if few else 0):
            runs[run, 0], runs[run, 1] = runs[run, 1], runs[run, 0]
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
