"""Compiled loops over the words of a text: where each begins and ends, what they are, and which runs of them repeat.

Belongs here: words and n-grams of one text. Does not belong here: its lines (`line_kernels`), or the names of what is
counted (`statistics`).

A word is, by this rule, a run of word characters (letters, digits, combining marks, underscores) or one other
character that is no space; runs of full stops or hyphens are one word. Between two word characters these do not end a
word: a full stop (unless it stands between a lower-case letter and a capital), a comma between two digits, an opening
parenthesis and an apostrophe. But what an English contraction appends is a word of its own: n't, 's, 're, 've, 'll, 'd,
'm. A full stop after a single letter belongs to it, as in U.S. and in J. Smith; what follows :// belongs to an address,
up to the last word character before a space.

n-grams are compared by 64 bits: two different ones of a text of a thousand words count as equal once in 10^13 texts.
"""

import numpy as np

from cosmo_assets.signals.characters import (
    DIGIT,
    LETTER,
    LOWER,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    TERMINAL,
    UPPER,
    WORD,
    Kinds,
)
from cosmo_assets.words.compiled import Hashes, Offsets, Points, compiled
from cosmo_assets.words.hashing import BASE

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's: a text has two of them."""

INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ONE, _NONE = np.uint64(1), np.uint64(0)
_STOP, _COMMA, _HYPHEN, _APOSTROPHE, _QUOTE, _OPEN, _COLON, _SLASH = (np.uint32(ord(char)) for char in ".,-'’(:/")
_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))


def _hash_of(word: str) -> int:
    return sum((ord(char) + 1) * pow(int(BASE), place, 1 << 64) for place, char in enumerate(word)) % (1 << 64)


_STOP_HASHES = np.array([_hash_of(word) for word in STOP_WORDS], np.uint64)


@compiled
def _letter(points: Points, at: int, end: int) -> int:
    """The ASCII letter at a place, in lower case; 0 where there is none."""
    if at >= end or points[at] >= 128:
        return 0
    letter = int(points[at]) | 32
    return letter if 97 <= letter <= 122 else 0


@compiled
def _appended(points: Points, mark: int, end: int, kinds: Kinds) -> int:
    """The length of what a contraction appends with the apostrophe at `mark`: 0 if none, and -2 for n't."""
    first, second = _letter(points, mark + 1, end), _letter(points, mark + 2, end)
    if first in (115, 100, 109, 116):  # s d m t
        if mark + 2 < end and kinds[points[mark + 2]] & WORD:
            return 0
        if first == 116:
            return -2 if _letter(points, mark - 1, end) == 110 else 0
        return 2
    if (second == 101 and first in (114, 118)) or (first == 108 and second == 108):  # re ve ll
        return 0 if mark + 3 < end and kinds[points[mark + 3]] & WORD else 3
    return 0


@compiled
def _address_end(points: Points, colon: int, end: int, kinds: Kinds) -> int:
    """Where an address ends whose :// begins at `colon`: there, if no word character follows before a space."""
    stop, at = colon, colon + 3
    while at < end and not kinds[points[at]] & SPACE:
        at += 1
        if kinds[points[at - 1]] & WORD:
            stop = at
    return stop


@compiled
def _stop_of_initial(points: Points, at: int, end: int, kinds: Kinds) -> int:
    """1 where a full stop at `at` follows a single letter, and is no ellipsis."""
    if points[at] != _STOP or not kinds[points[at - 1]] & LETTER or (at + 1 < end and points[at + 1] == _STOP):
        return 0
    if at < 2:
        return 1
    before = points[at - 2]
    return 0 if kinds[before] & WORD or before in (_APOSTROPHE, _QUOTE) else 1


@compiled
def word_end(points: Points, start: int, end: int, kinds: Kinds) -> int:
    """Where the word ends that begins at `start`, which is no space, in a text that ends at `end`."""
    point, at = points[start], start + 1
    if not kinds[point] & WORD:
        if point in (_STOP, _HYPHEN):
            while at < end and points[at] == point:
                at += 1
        elif (point in (_APOSTROPHE, _QUOTE)) and start and kinds[points[start - 1]] & WORD:
            at = start + max(_appended(points, start, end, kinds), 1)
        return at
    while at < end:
        point = points[at]
        if not kinds[point] & WORD:
            if point == _COLON and at + 2 < end and points[at + 1] == _SLASH and points[at + 2] == _SLASH:
                return _address_end(points, at, end, kinds)
            if at + 1 >= end or not kinds[points[at + 1]] & WORD:
                return at + _stop_of_initial(points, at, end, kinds)
            before, after = kinds[points[at - 1]], kinds[points[at + 1]]
            if point in (_APOSTROPHE, _QUOTE):
                appended = _appended(points, at, end, kinds)
                if appended > 0:
                    break
                if appended < 0 and at - 1 > start:
                    return at - 1
            elif point == _STOP:
                if before & LOWER and after & UPPER:
                    break
            elif point == _COMMA:
                if not before & DIGIT or not after & DIGIT:
                    break
            elif point != _OPEN:
                break
        at += 1
    return at


@compiled
def sentences(points: Points, kinds: Kinds) -> int:
    """The number of sentences: after a word that is one terminal mark the next begins with the next word that is not
    punctuation alone."""
    found, ended, at, end = 0, False, 0, len(points)
    while at < end:
        if kinds[points[at]] & SPACE:
            at += 1
            continue
        stop, every = word_end(points, at, end, kinds), PUNCTUATION
        terminal = stop == at + 1 and kinds[points[at]] & TERMINAL
        for place in range(at, stop):
            every &= kinds[points[place]]
        if not found or (ended and not every and not terminal):
            found += 1
            ended = False
        if terminal:
            ended = True
        at = stop
    return found


@compiled
def word_statistics(
    points: Points, kinds: Kinds, lengths: Offsets, sums: Hashes, inverses: Hashes, row: np.ndarray
) -> int:
    """Fill the statistics of words: words and marks, words, mean length, words with a letter, stop words.

    `lengths` takes the length of each word or mark, `sums` the sums of a polynomial over the letters before each,
    `inverses` what they are multiplied by for a slice's own hash. Returns how many words and marks there are.
    """
    at, end, count = 0, len(points), 0
    words, letters, with_letter, met = 0, 0, 0, 0
    value, power, inverse = _NONE, _ONE, _ONE
    while at < end:
        if kinds[points[at]] & SPACE:
            at += 1
            continue
        stop = word_end(points, at, end, kinds)
        sums[count], inverses[count], lengths[count] = value, inverse, stop - at
        some, every, before = np.uint16(0), SYMBOL, value
        for place in range(at, stop):
            point = points[place]
            some |= kinds[point]
            every &= kinds[point]
            value += (np.uint64(point) + _ONE) * power
            power *= BASE
            inverse *= INVERSE
        if not every:
            words += 1
            letters += stop - at
        if some & LETTER:
            with_letter += 1
            if stop - at <= _LONGEST_STOP_WORD:
                own = (value - before) * inverses[count]
                for number in range(len(_STOP_HASHES)):
                    if own == _STOP_HASHES[number]:
                        met |= 1 << number
        count += 1
        at = stop
    sums[count] = value
    distinct = 0
    while met:
        distinct += met & 1
        met >>= 1
    row[0], row[1], row[2] = count, words, letters / words if words else 0.0
    row[3], row[4] = with_letter / count if count else 0.0, distinct
    return count


@compiled
def key_of(value: np.uint64) -> np.uint64:
    """A hash as a key of a table: not 0."""
    return value if value else _ONE


@compiled
def slot_of(table: Hashes, key: np.uint64) -> int:
    """The place of a key, or the empty one where it belongs. The length of the table is a power of two; a key is not
    0, which is an empty place."""
    last = len(table) - 1
    mixed = (key ^ key >> np.uint64(32)) * _MIX
    slot = int(mixed >> np.uint64(33)) & last
    while table[slot] != _NONE and table[slot] != key:
        slot = (slot + 1) & last
    return slot


@compiled
def table_size(count: int) -> int:
    """A power of two of which `count` keys fill at most half."""
    size = 4
    while size < 2 * count:
        size *= 2
    return size


@compiled
def top_gram_letters(lengths: Offsets, grams: Hashes, size: int, table: Hashes, seen: Offsets, first: Offsets) -> int:
    """The characters of all copies of the commonest n-gram of `size` words, with a space between words; of several the
    first of the text. `grams` has their hashes. 0 where the text has fewer words."""
    table[:] = 0
    most, where = 0, 0
    for start in range(len(grams)):
        key = key_of(grams[start])
        slot = slot_of(table, key)
        if table[slot] == _NONE:
            table[slot], seen[slot], first[slot] = key, 0, start
        seen[slot] += 1
        if seen[slot] > most or (seen[slot] == most and first[slot] < where):
            most, where = seen[slot], first[slot]
    if not most:
        return 0
    letters = size - 1
    for place in range(where, where + size):
        letters += lengths[place]
    return most * letters


@compiled
def duplicate_gram_letters(
    count: int, lengths: Offsets, sums: Hashes, inverses: Hashes, size: int, table: Hashes
) -> int:
    """The letters of n-grams of `size` words that stood in the text before: counted from left to right without overlap,
    n-grams equal that have the same letters, wherever their words end."""
    table[:] = 0
    letters, start = 0, 0
    while start + size <= count:
        key = key_of((sums[start + size] - sums[start]) * inverses[start])
        slot = slot_of(table, key)
        if table[slot] == key:
            for place in range(start, start + size):
                letters += lengths[place]
            start += size
        else:
            table[slot] = key
            start += 1
    return letters


@compiled
def gram_statistics(
    characters: int,
    count: int,
    lengths: Offsets,
    sums: Hashes,
    inverses: Hashes,
    grams: Hashes,
    table: Hashes,
    seen: Offsets,
    first: Offsets,
    row: np.ndarray,
) -> None:
    """Fill the shares of the characters in the commonest 2, 3 and 4-gram and in duplicate 5 to 10-grams."""
    table = table[: table_size(count)]
    for place in range(count):
        own = (sums[place + 1] - sums[place]) * inverses[place]
        grams[place] = (own ^ own >> np.uint64(29)) * _MIX
    for size in range(2, 5):
        held = max(count - size + 1, 0)
        for place in range(held):
            following = (sums[place + size] - sums[place + size - 1]) * inverses[place + size - 1]
            grams[place] = grams[place] * BASE + (following ^ following >> np.uint64(29)) * _MIX
        letters = top_gram_letters(lengths, grams[:held], size, table, seen, first)
        row[size - 2] = letters / characters if characters else 0.0
    for size in range(5, 11):
        letters = duplicate_gram_letters(count, lengths, sums, inverses, size, table)
        row[size - 2] = letters / characters if characters else 0.0
