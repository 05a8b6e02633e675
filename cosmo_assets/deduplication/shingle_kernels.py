"""Compiled loops over texts: their words, normalized; hashes of runs of words; the least of many hashes of these.

Belongs here: the loops, on arrays alone. Does not belong here: what becomes of each character (`spelling`), or files of
signatures (`signer`).

Words lie one after the other with one space between them, so that a shingle, a run of n words, is one slice of bytes.
Hashes of shingles: XXH64 (of xxHash 0.8), seed 0. Hashes of a hash x, one for each pair of a factor a and a summand b:
(a x + b modulo 2^64) modulo 2^61 - 1, which is what datatrove's come to, as its products wrap around.
"""

import numpy as np

from cosmo_assets.words.compiled import Bytes, Hashes, Ints, Offsets, code_point, compiled

LETTERS, DIGIT, DECIMAL_MARK, IN_CONTEXT = 0, 1, 2, 3
"""What a character is: letters or spaces of its own; a digit; a mark that may stand within a number; one whose letters
depend on those around it."""

_SPACE = np.uint8(ord(" "))
_ZERO = np.uint8(ord("0"))
_PRIME = np.uint64((1 << 61) - 1)
_ABOVE = np.uint64(61)

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


@compiled
def sign_texts(
    data: Bytes,
    offsets: Offsets,
    kinds: Bytes,
    starts: Ints,
    letters: Bytes,
    growth: int,
    size: int,
    factors: Hashes,
    summands: Hashes,
    found: Hashes,
    shingles: Offsets,
) -> None:
    """Sign texts that lie in `data`, text d from `offsets[d]` to `offsets[d + 1]`, by shingles of `size` words.

    `found` (texts x hashes) takes the signatures, `shingles` their number of shingles: 0 where there is no signature,
    -1 where the text has a character whose letters depend on those around it. A text grows at most by the factor
    `growth`. Cost: linear in the bytes, plus hashes x shingles.
    """
    room = growth * np.max(np.diff(offsets)) + 1
    spelled, ends = np.empty(room, np.uint8), np.empty(room // 2 + 1, np.int64)
    hashes = np.empty(room // 2 + 1, np.uint64)
    for text in range(len(offsets) - 1):
        words = spell(data[offsets[text] : offsets[text + 1]], kinds, starts, letters, spelled, ends)
        count = hash_shingles(spelled, ends[: max(words, 0)], size, hashes)
        least_hashes(hashes[:count], factors, summands, found[text])
        shingles[text] = count if words >= 0 else -1


@compiled
def shingles_of(text: Bytes, kinds: Bytes, starts: Ints, letters: Bytes, growth: int, size: int) -> Hashes | None:
    """The hashes of the shingles of one text; None if it has a character that is `IN_CONTEXT`."""
    room = growth * len(text) + 1
    spelled, ends = np.empty(room, np.uint8), np.empty(room // 2 + 1, np.int64)
    words = spell(text, kinds, starts, letters, spelled, ends)
    if words < 0:
        return None
    hashes = np.empty(max(words - size + 1, 0), np.uint64)
    hash_shingles(spelled, ends[:words], size, hashes)
    return hashes


@compiled
def shingles_of_words(spelled: Bytes, size: int) -> Hashes:
    """The hashes of the shingles of words that lie in `spelled`, one space between them."""
    ends, words = np.empty(len(spelled) // 2 + 1, np.int64), 0
    for at in range(len(spelled)):
        if spelled[at] == _SPACE:
            ends[words] = at
            words += 1
    if len(spelled):
        ends[words] = len(spelled)
        words += 1
    hashes = np.empty(max(words - size + 1, 0), np.uint64)
    hash_shingles(spelled, ends[:words], size, hashes)
    return hashes


@compiled
def spell(text: Bytes, kinds: Bytes, starts: Ints, letters: Bytes, spelled: Bytes, ends: Offsets) -> int:
    """Write the words of a text, and where each ends. Returns how many; -1 at a character that is `IN_CONTEXT`.

    The letters of code point c are `letters[starts[c] : starts[c + 1]]`. Each number, with its decimals, is one zero.
    Without a branch for most bytes: where words end cannot be foretold.
    """
    at, end, count, words, last = 0, len(text), 0, 0, _SPACE
    while at < end:
        byte = text[at]
        if byte < 128 and kinds[byte] != DIGIT:
            letter = letters[byte]
            at += 1
            spelled[count], ends[words] = letter, count
            words += letter == _SPACE and last != _SPACE
            count += letter != _SPACE or last != _SPACE
            last = letter
            continue
        point, width = code_point(text, at)
        kind = kinds[point]
        if kind == IN_CONTEXT:
            return -1
        if kind == DIGIT:
            at = number_end(text, at, kinds)
            spelled[count], last = _ZERO, _ZERO
            count += 1
            continue
        at += width
        for place in range(starts[point], starts[point + 1]):
            letter = letters[place]
            spelled[count], ends[words] = letter, count
            words += letter == _SPACE and last != _SPACE
            count += letter != _SPACE or last != _SPACE
            last = letter
    if last != _SPACE:
        ends[words] = count
        words += 1
    return words


@compiled
def number_end(text: Bytes, at: int, kinds: Bytes) -> int:
    """Where a number ends that begins at a byte: digits, and at most once a mark between two digits."""
    marked = False
    while at < len(text):
        point, width = code_point(text, at)
        if kinds[point] != DIGIT:
            after = at + width
            if marked or kinds[point] != DECIMAL_MARK or after >= len(text):
                return at
            point, _ = code_point(text, after)
            if kinds[point] != DIGIT:
                return at
            marked = True
        at += width
    return at


@compiled
def hash_shingles(spelled: Bytes, ends: Offsets, size: int, hashes: Hashes) -> int:
    """Hash every run of `size` words. Returns how many there are."""
    count, start = max(len(ends) - size + 1, 0), 0
    for number in range(count):
        hashes[number] = xxh64(spelled, start, ends[number + size - 1])
        start = ends[number] + 1
    return count


@compiled
def least_hashes(shingles: Hashes, factors: Hashes, summands: Hashes, least: Hashes) -> None:
    """For each pair of a factor and a summand the least hash of all shingles.

    The inner loops have no branches, so that a processor works on several pairs at once; four shingles are taken
    together, for one reading and writing of `least`.
    """
    least[:] = ~np.uint64(0)
    whole = len(shingles) // 4 * 4
    for number in range(0, whole, 4):
        one, two, three, four = shingles[number], shingles[number + 1], shingles[number + 2], shingles[number + 3]
        for place in range(len(least)):
            factor, summand = factors[place], summands[place]
            left = min(_residue(one * factor + summand), _residue(two * factor + summand))
            right = min(_residue(three * factor + summand), _residue(four * factor + summand))
            least[place] = min(least[place], min(left, right))
    for number in range(whole, len(shingles)):
        one = shingles[number]
        for place in range(len(least)):
            least[place] = min(least[place], _residue(one * factors[place] + summands[place]))


@compiled
def _residue(value: np.uint64) -> np.uint64:
    """Modulo 2^61 - 1, for which 2^61 is 1. What is taken away too much comes back as a number above all residues."""
    folded = (value & _PRIME) + (value >> _ABOVE)
    return min(folded, folded - _PRIME)


@compiled
def xxh64(data: Bytes, start: int, stop: int) -> np.uint64:
    """The XXH64 of a slice, seed 0."""
    at = start
    if stop - start >= 32:
        first, second, third, fourth = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= stop:
            first = _round(first, _eight_bytes(data, at))
            second = _round(second, _eight_bytes(data, at + 8))
            third = _round(third, _eight_bytes(data, at + 16))
            fourth = _round(fourth, _eight_bytes(data, at + 24))
            at += 32
        value = _turned(first, 1) + _turned(second, 7) + _turned(third, 12) + _turned(fourth, 18)
        for lane in (first, second, third, fourth):
            value = (value ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        value = _P5
    value += np.uint64(stop - start)
    while at + 8 <= stop:
        value = _turned(value ^ _round(np.uint64(0), _eight_bytes(data, at)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= stop:
        value = _turned(value ^ _four_bytes(data, at) * _P1, 23) * _P2 + _P3
        at += 4
    while at < stop:
        value = _turned(value ^ np.uint64(data[at]) * _P5, 11) * _P1
        at += 1
    value = (value ^ value >> np.uint64(33)) * _P2
    value = (value ^ value >> np.uint64(29)) * _P3
    return value ^ value >> np.uint64(32)


@compiled
def _round(value: np.uint64, lane: np.uint64) -> np.uint64:
    return _turned(value + lane * _P2, 31) * _P1


@compiled
def _turned(value: np.uint64, places: int) -> np.uint64:
    """The bits of a value, turned to the left."""
    return value << np.uint64(places) | value >> np.uint64(64 - places)


@compiled
def _four_bytes(data: Bytes, at: int) -> np.uint64:
    """Little-endian; the compiler makes one reading of the four."""
    low = np.uint64(data[at]) | np.uint64(data[at + 1]) << np.uint64(8)
    return low | np.uint64(data[at + 2]) << np.uint64(16) | np.uint64(data[at + 3]) << np.uint64(24)


@compiled
def _eight_bytes(data: Bytes, at: int) -> np.uint64:
    return _four_bytes(data, at) | _four_bytes(data, at + 4) << np.uint64(32)
