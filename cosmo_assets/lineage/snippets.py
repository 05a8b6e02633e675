"""Fingerprints of all texts: which documents may hold a piece of text.

Belongs here: choosing fingerprints, storing them by bucket, and finding rows by them. Does not belong here: reading the
texts to see whether they really do (`find`).

Winnowing (Schleimer, Wilkerson and Aiken, "Winnowing: local algorithms for document fingerprinting", SIGMOD 2003): of
every `WINDOW` consecutive hashes of `GRAM` words, the smallest is a fingerprint, the last one of equal ones. Two texts
that have `GUARANTEED` words in a row in common have a fingerprint in common, whatever stands around; of shorter pieces
some are found, by chance. About 2 / (`WINDOW` + 1) of the hashes are stored, at 6 bytes each.

The fingerprints of a bucket depend on its texts alone, so a new index takes those of other buckets over. Rows
that did not make it into the corpus have theirs as well: what they are is only known when they are read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.lineage.arrays import ID_BITS, Array, IndexFiles, IndexWriter, fence, fence_bits, file_name
from cosmo_assets.words.alphabet import AlphabetName
from cosmo_assets.words.compiled import Hashes, Ints, Offsets, compiled
from cosmo_assets.words.hashing import hashed, power
from cosmo_resources.storage.digest import file_digest
from cosmo_resources.storage.files import link_or_copy
from cosmo_resources.storage.store import Dataset

GRAM, WINDOW = 8, 43
GUARANTEED = GRAM + WINDOW - 1
"""Words in a row that are always found."""

ALPHABET: AlphabetName = "folded"
"""Case, accents and punctuation do not matter."""

PARAMETERS = {"gram": GRAM, "window": WINDOW, "alphabet": ALPHABET}
KEY_BITS = 16
"""Bits of a fingerprint that are stored; those before them are the number of its cell."""

_ROW = np.dtype([("key", "<u2"), ("row", "<u4")])
_MIX = np.uint64(0x9E3779B97F4A7C15)

Progress = Callable[[int, int, str], None]


def build(
    files: IndexWriter, texts: Mapping[str, Dataset], earlier: Dataset | None, progress: Progress
) -> dict[str, str]:
    """Write the fingerprints of every bucket, or take them over from an earlier index; the version of each bucket's
    texts. Cost: linear in the texts of the buckets that are new. Memory: a part's texts, and 16 bytes for each
    fingerprint of a bucket."""
    before = earlier.manifest.summary.get("snippets", {}) if earlier else {}
    alike = earlier is not None and earlier.manifest.params.get("snippets") == PARAMETERS
    for done, (bucket, dataset) in enumerate(texts.items()):
        if not (earlier and alike and before.get(bucket) == dataset.manifest.version and _take(files, earlier, bucket)):
            add(files, bucket, *fingerprints(dataset))
        progress(done + 1, len(texts), "buckets")
    return {bucket: dataset.manifest.version for bucket, dataset in texts.items()}


def add(files: IndexWriter, bucket: str, hashes: Hashes, rows: Ints) -> None:
    """Write the fingerprints of a bucket: sorted hashes, and the row of each."""
    bits = fence_bits(len(hashes))
    stored = np.empty(len(hashes), _ROW)
    stored["key"] = (hashes >> np.uint64(ID_BITS - KEY_BITS - bits)) & np.uint64((1 << KEY_BITS) - 1)
    stored["row"] = rows
    files.add(_fence_name(bucket), fence(hashes, bits))
    files.add(_name(bucket), stored)


def fingerprints(generations: Dataset) -> tuple[Hashes, Ints]:
    """The fingerprints of a bucket, sorted: hashes, and the row of each."""
    hashes: list[Hashes] = [np.empty(0, np.uint64)]
    owners: list[Ints] = [np.empty(0, np.int32)]
    first = 0
    for table in generations.tables(["text"]):
        texts = table["text"].combine_chunks() if table.num_rows else pa.array([], pa.string())
        found, rows = winnowed(texts)
        hashes.append(found)
        owners.append(rows + np.int32(first))
        first += table.num_rows
    every, rows = np.concatenate(hashes), np.concatenate(owners)
    order = np.lexsort((rows, every))
    every, rows = every[order], rows[order]
    new = np.ones(len(order), bool)
    new[1:] = (every[1:] != every[:-1]) | (rows[1:] != rows[:-1])
    return every[new], rows[new]


def winnowed(texts: pa.Array, window: int = WINDOW) -> tuple[Hashes, Ints]:
    """The fingerprints of texts in the order in which they stand there, and the text of each. A text with fewer hashes
    than the window has its smallest one; one of fewer than `GRAM` words has none."""
    words = hashed(texts, ALPHABET)
    size = len(words.hashes) + len(words)
    hashes, owners = np.empty(size, np.uint64), np.empty(size, np.int32)
    count = _winnow(words.prefix, words.bounds, power(GRAM), GRAM, window, hashes, owners)
    return hashes[:count].copy(), owners[:count].copy()


@dataclass(frozen=True)
class Wanted:
    """What a piece of text is looked for by. `all_of`: fingerprints that every text which holds the piece has, if the
    piece is long enough for any; `any_of`: hashes of which a text that holds it may have one, otherwise."""

    all_of: Hashes
    any_of: Hashes


def wanted(snippet: str) -> Wanted:
    """What to look for; nothing, where the piece has fewer than `GRAM` words.

    A whole window that lies in the piece has the same fingerprint in every text around it.
    """
    text = pa.array([snippet])
    every, _ = winnowed(text, window=1)
    chosen, _ = winnowed(text)
    full = len(every) >= WINDOW
    return Wanted(np.unique(chosen) if full else every[:0], every[:0] if full else np.unique(every))


class Fingerprints:
    """The stored fingerprints of one bucket."""

    def __init__(self, files: IndexFiles, bucket: str) -> None:
        self._fence = files.array(_fence_name(bucket))
        self._rows = files.array(_name(bucket))
        self._bits = (len(self._fence) - 2).bit_length()

    def rows(self, looked_for: Wanted) -> npt.NDArray[np.uint32]:
        """The rows that may hold the piece, ascending. Now and then one has another hash with the same stored bits."""
        if len(looked_for.all_of):
            found = sorted((self._with(int(key)) for key in looked_for.all_of), key=len)
            rows = found[0]
            for others in found[1:]:
                rows = rows[np.isin(rows, others)]
            return rows
        none = np.empty(0, np.uint32)
        return np.unique(np.concatenate([none, *(self._with(int(key)) for key in looked_for.any_of)]))

    def _with(self, fingerprint: int) -> npt.NDArray[np.uint32]:
        cell = fingerprint >> (ID_BITS - self._bits)
        first, last = (int(bound) for bound in self._fence.slice(cell, cell + 2))
        stored: Array = self._rows.slice(first, last)
        key = (fingerprint >> (ID_BITS - self._bits - KEY_BITS)) & ((1 << KEY_BITS) - 1)
        keys = stored["key"]
        start, stop = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
        return np.unique(stored["row"][start:stop])


def _take(files: IndexWriter, earlier: Dataset, bucket: str) -> bool:
    """Take a bucket's files over from an earlier index; False if they are not what they were."""
    recorded = {entry.name: entry.content for entry in earlier.manifest.files}
    names = (_fence_name(bucket), _name(bucket))
    paths = {name: earlier.folder / file_name(name) for name in names}
    if any(file_digest(path) != recorded.get(file_name(name)) for name, path in paths.items()):
        return False
    for name, path in paths.items():
        files.add_file(name, lambda target, path=path: link_or_copy(path, target))  # type: ignore[misc]
    return True


def _name(bucket: str) -> str:
    return f"snippets/{bucket}"


def _fence_name(bucket: str) -> str:
    return f"snippets/{bucket}.fence"


@compiled
def _winnow(
    prefix: Hashes, bounds: Offsets, factor: np.uint64, gram: int, window: int, hashes: Hashes, owners: Ints
) -> int:
    """Fill `hashes` and `owners` with the fingerprints of texts; how many there are. `prefix` has the sums of the words
    of all texts (see `cosmo_assets.words.hashing`), `factor` is its base to the power of `gram`."""
    count = 0
    for text in range(len(bounds) - 1):
        first, last = bounds[text], bounds[text + 1] - gram
        if last < first:
            continue
        best, best_at, told = np.uint64(0), -1, -1
        for right in range(min(first + window - 1, last), last + 1):
            left = max(right - window + 1, first)
            begin = right if best_at >= left else left
            for at in range(begin, right + 1):
                value = prefix[at + gram] - prefix[at] * factor
                value = (value ^ value >> np.uint64(32)) * _MIX
                value = value ^ value >> np.uint64(29)
                if best_at < left or value <= best:
                    best, best_at = value, at
            if best_at != told:
                hashes[count], owners[count] = best, text
                count += 1
                told = best_at
    return count
