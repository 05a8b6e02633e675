"""Prompts that say nearly the same: found by what they take from their seeds, not by the words of their template.

Belongs here: MinHash signatures of very many short texts, groups of similar ones. Does not belong here: what becomes of
them (`table`), or duplicates among whole seed documents (`cosmo_assets.seeds.duplicates`) and generated texts
(`cosmo_assets.deduplication`).

A text is its words (ASCII letters lower-cased) in shingles of `GRAM` words; of fewer words it is one shingle. One
permutation gives all hashes of a signature (one permutation hashing: Li, Owen and Zhang 2012; empty bins filled as by
Shrivastava 2017), so that a text costs a few passes over its bytes, whatever the length of the signature. Candidates
share a band; they are similar if the Jaccard similarity of their shingles says so.
"""

import functools
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.ids import Numbers, mixed
from cosmo_assets.seeds.duplicates import Component, components, jaccard

GRAM = 5
BANDS, ROWS = 16, 6
"""Two texts of similarity s share a band with probability 1 - (1 - s^6)^16: .99 at .8, .22 at .5."""

COMPARED = 64
"""With how many others a text is compared at most: pages that one machine has written from one pattern, by the hundred
thousand, share bands and yet may not be similar enough."""

_BATCH_BYTES = 100_000  # what is computed of them then fits into a core's cache
_ATTEMPTS = 64
_EMPTY = np.uint32(0xFFFFFFFF)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
TextsOf = Callable[[npt.NDArray[np.int64]], Sequence[str]]
"""Gives the texts of some numbers, ascending."""


def _letters() -> Bytes:
    """Every byte as it counts: lower-cased letters, digits, all that is not ASCII; 0 for what separates words."""
    table = np.arange(256, dtype=np.uint8)
    kept = np.array([byte >= 128 or chr(byte).isalnum() for byte in range(256)])
    upper = (table >= ord("A")) & (table <= ord("Z"))
    return np.where(kept, np.where(upper, table + 32, table), 0).astype(np.uint8)


_LETTER = _letters()


def band_hashes(texts: pa.Array | pa.ChunkedArray) -> Numbers:
    """A 64-bit hash for each band of each text's signature (n x `BANDS`). Cost: linear in the bytes of the texts."""
    found = [_bands(_signatures(*_shingles(*part))) for part in _batches(texts)]
    return np.concatenate(found) if found else np.empty((0, BANDS), dtype=np.uint64)


def shingles(text: str) -> Numbers:
    """The shingles of one text as sorted distinct hashes."""
    raw = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    hashes: Numbers = np.unique(_shingles(raw, np.array([0, len(raw)]))[0])
    return hashes


def leaders(bands: Numbers, rank: Numbers, texts_of: TextsOf, threshold: float) -> npt.NDArray[np.int64]:
    """For every text the one that stands for its group: itself, or the text of lowest rank that it is similar to.

    `rank` orders the texts by something that does not depend on where they stand; of similar ones the first in it
    leads. A text without words is similar to none. Cost: sorting each band; reading the texts that share one, and
    comparing each with at most `COMPARED` others. Memory: the bands.
    """
    lead = np.arange(len(bands), dtype=np.int64)
    order = np.argsort(rank)
    order = order[bands[order, 0] != _WORDLESS]
    numbers = np.arange(len(order), dtype=np.int64)
    found = components((numbers, bands[order, band]) for band in range(BANDS))
    for batch in _component_batches(found):
        members = np.unique(order[[row for component in batch for row in component.rows]])
        text_of = dict(zip(members.tolist(), texts_of(members), strict=True))
        for component in batch:
            rows = order[list(component.rows)]
            for place, leader in enumerate(_led(component, [text_of[row] for row in rows.tolist()], threshold)):
                lead[rows[place]] = rows[leader]
    return lead


def _led(component: Component, texts: Sequence[str], threshold: float) -> list[int]:
    """For each row of a component the place of its leader. In order, a row is compared with leaders of the rows that it
    shares a band with: the first ones in each band, and of these the ones that share most."""
    hashes: dict[int, Numbers] = {}
    leaders_in: dict[int, list[int]] = defaultdict(list)
    found = []
    for place, (text, groups) in enumerate(zip(texts, component.groups, strict=True)):
        mine = shingles(text)
        shared = Counter(other for group in groups for other in leaders_in[group])
        candidates = heapq.nsmallest(COMPARED, shared, key=lambda other: (-shared[other], other))
        similar = (other for other in sorted(candidates) if jaccard(mine, hashes[other]) > threshold)
        leader = next(similar, place)
        if leader == place:
            hashes[place] = mine
        for group in groups:
            if len(leaders_in[group]) < COMPARED and leader not in leaders_in[group]:
                leaders_in[group].append(leader)
        found.append(leader)
    return found


def _component_batches(found: Sequence[Component], rows: int = 20_000) -> Iterator[Sequence[Component]]:
    start = held = 0
    for number, component in enumerate(found):
        if held and held + len(component.rows) > rows:
            yield found[start:number]
            start, held = number, 0
        held += len(component.rows)
    if start < len(found):
        yield found[start:]


def _batches(texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[Bytes, Offsets]]:
    """The bytes of the texts and where each begins and ends, some megabytes at a time."""
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        array = chunk.cast(pa.large_string())
        offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        raw = np.frombuffer(array.buffers()[2] or b"", dtype=np.uint8)
        start = 0
        while start < len(array):
            end = int(np.searchsorted(offsets, offsets[start] + _BATCH_BYTES, side="right")) - 1
            end = min(max(end, start + 1), len(array))
            yield raw[offsets[start] : offsets[end]], offsets[start : end + 1] - offsets[start]
            start = end


def _shingles(raw: Bytes, offsets: Offsets) -> tuple[Numbers, npt.NDArray[np.int64], int]:
    """The hash of every shingle, the number of its text, and how many texts there are.

    A word's hash is a polynomial in its letters, of which prefix sums give all at once (Rabin and Karp 1987, modulo
    2^64); a shingle's is one in its words. Every Chinese, Japanese or Korean character begins a word.
    """
    letters = _LETTER[raw]
    unspaced = (raw >= 0xE3) & (raw <= 0xED) | (raw >= 0xF0)
    starts = letters > 0
    starts[1:] &= (letters[:-1] == 0) | unspaced[1:]
    firsts = offsets[:-1][offsets[:-1] < offsets[1:]]
    starts[firsts] = letters[firsts] > 0
    word_at = np.flatnonzero(starts)
    count = len(offsets) - 1
    if not len(word_at):
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64), count
    powers, inverses = _powers_of_two(max(len(raw), _BATCH_BYTES).bit_length())
    sums = np.cumsum(letters * powers[: len(raw)], dtype=np.uint64)
    before = np.concatenate([np.zeros(1, dtype=np.uint64), sums])
    ends = np.append(word_at[1:], len(raw))
    words = mixed((before[ends] - before[word_at]) * inverses[word_at])
    begin = np.searchsorted(word_at, offsets)
    sizes = np.diff(begin)
    # a word begins a shingle if enough words of its text follow; a shorter text is one shingle of all its words
    some = sizes > 0
    shingle = np.ones(len(words), dtype=bool)
    for step in range(1, GRAM):
        shingle[np.maximum(begin[1:] - step, begin[:-1])[some]] = False
    shingle[begin[:-1][some]] = True
    padded = np.concatenate([words, np.zeros(GRAM, dtype=np.uint64)])
    hashes = np.zeros(len(words), dtype=np.uint64)
    for step in range(GRAM):
        hashes = hashes * _BASE + padded[step : step + len(words)]
    for text in np.flatnonzero((sizes > 0) & (sizes < GRAM)).tolist():
        hashes[begin[text] : begin[text] + 1] = _of_few(words[begin[text] : begin[text + 1]])
    counts = np.maximum(sizes - GRAM + 1, sizes > 0)
    return mixed(hashes[shingle]), np.repeat(np.arange(count), counts), count


def _of_few(words: Numbers) -> Numbers:
    hashed = np.zeros(1, dtype=np.uint64)
    for word in words:
        hashed = hashed * _BASE + word
    return hashed


@functools.lru_cache(maxsize=2)
def _powers_of_two(doublings: int) -> tuple[Numbers, Numbers]:
    """The powers of the base and of its inverse."""
    size = 1 << doublings
    up, down = (
        np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(size - 1, base)]), dtype=np.uint64)
        for base in (_BASE, _INVERSE)
    )
    return up, down


def _signatures(hashes: Numbers, text_of: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.uint32]:
    """The signature of each text: of every bin of shingles the smallest hash, an empty bin as another one."""
    bins = BANDS * ROWS
    flat = np.full(count * bins, _EMPTY, dtype=np.uint32)
    high, low = hashes >> np.uint64(32), (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    bin_of = ((high * np.uint64(bins)) >> np.uint64(32)).astype(np.int64)
    np.minimum.at(flat, text_of * bins + bin_of, low)
    signatures = flat.reshape(count, bins)
    filled = signatures.copy()
    some = np.zeros(count, dtype=bool)
    some[text_of] = True
    rows, empty = np.nonzero((signatures == _EMPTY) & some[:, None])
    for attempt in range(1, _ATTEMPTS):
        if not len(rows):
            return filled
        other = (mixed((empty * _ATTEMPTS + attempt).astype(np.uint64)) % np.uint64(bins)).astype(np.int64)
        taken = signatures[rows, other]
        filled[rows, empty] = taken
        rows, empty = rows[taken == _EMPTY], empty[taken == _EMPTY]
    filled[rows, empty] = signatures.min(axis=1)[rows]
    return filled


def _bands(signatures: npt.NDArray[np.uint32]) -> Numbers:
    parts = signatures.reshape(len(signatures), BANDS, ROWS).astype(np.uint64)
    hashes = np.zeros((len(signatures), BANDS), dtype=np.uint64)
    for row in range(ROWS):
        hashes = mixed(hashes * _BASE + parts[:, :, row])
    return hashes


_WORDLESS = _bands(np.full((1, BANDS * ROWS), _EMPTY, dtype=np.uint32))[0, 0]
"""What the first band of a text without words is."""
