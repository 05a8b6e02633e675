"""Words as hashes: each of a text's words as 64 bits, and windows of words in one step.

Belongs here: words and windows of texts as numbers. Does not belong here: what is a word (`alphabet`), or what equal
windows mean (`cosmo_assets.decontamination`, `cosmo_assets.deduplication`).

A word's hash is 64 bits of its letters; a window of n words has a polynomial hash, taken in one step from the prefix
sums: gram(i, n) = prefix[i + n] - prefix[i] * BASE**n modulo 2**64.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cosmo_assets.words.alphabet import AlphabetName, alphabet_table
from cosmo_assets.words.compiled import Bytes, Hashes, Ints, Offsets, Points, code_point, compiled, utf8

BASE = np.uint64(0xD6E8FEB86659FD93)
_SEED = np.uint64(0xCBF29CE484222325)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SPACE = np.uint32(ord(" "))


@dataclass(frozen=True)
class Words:
    """Words of texts as hashes: those of text i stand from `bounds[i]` to `bounds[i + 1]`; `prefix` has their sums."""

    hashes: Hashes
    prefix: Hashes
    bounds: Offsets

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def windows(self, starts: Offsets, size: int) -> Hashes:
        """The hashes of the windows of `size` words that begin at `starts`."""
        return self.prefix[starts + size] - self.prefix[starts] * power(size)

    def whole(self, chosen: Offsets | Ints) -> Hashes:
        """The hashes of texts as one window each."""
        begins, ends = self.bounds[:-1][chosen], self.bounds[1:][chosen]
        powers = np.array([power(size) for size in (ends - begins).tolist()], np.uint64)
        return self.prefix[ends] - self.prefix[begins] * powers

    def starts(self, size: int) -> Offsets:
        """Where windows of `size` words begin that lie within one text."""
        counts = np.maximum(np.diff(self.bounds) - size + 1, 0)
        skipped = self.bounds[:-1] - np.cumsum(counts) + counts
        starts: Offsets = np.arange(counts.sum(), dtype=np.int64) + np.repeat(skipped, counts)
        return starts

    def owners(self, starts: Offsets) -> Ints:
        """The text to which each place belongs."""
        return (np.searchsorted(self.bounds, starts, side="right") - 1).astype(np.int32)


def power(size: int) -> np.uint64:
    """BASE to the power of `size`, modulo 2**64."""
    return np.uint64(pow(int(BASE), size, 1 << 64))


def hashed(texts: pa.Array, alphabet: AlphabetName) -> Words:
    """The words of texts. Cost: linear in their bytes. Memory: 16 bytes for each of these while it works, 3 after."""
    data, offsets = utf8(texts)
    table = alphabet_table(alphabet)
    room = int(offsets[-1] - offsets[0]) * 2 + 2  # a character may have several words in it
    hashes, bounds = np.empty(room, np.uint64), np.empty(len(offsets), np.int64)
    hash_words(data, offsets, table.ascii, table.starts, table.letters, hashes, bounds)
    hashes = hashes[: bounds[-1]].copy()
    prefix = np.empty(len(hashes) + 1, np.uint64)
    prefix_sums(hashes, prefix)
    return Words(hashes, prefix, bounds)


def hash_of(word: str) -> int:
    """The hash of one word that is normalized already."""
    value = int(_SEED)
    for letter in word:
        value = (value ^ ord(letter)) * int(_STEP) % (1 << 64)
    return value


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
