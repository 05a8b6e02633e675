"""Equal texts: one hash for all texts of the same words.

Belongs here: that hash, and the first of equal ones. Does not belong here: what is a word
(`cosmo_assets.words.alphabet`).
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.deduplication.records import record_order
from cosmo_assets.words.hashing import hashed

HASH_BYTES = 16


def text_hashes(texts: pa.Array) -> list[str]:
    """Hex digests (blake2b, 128 bits) of the words of texts, without case, punctuation, spaces and Unicode form; two
    texts without words are equal. Cost: linear in the texts."""
    words = hashed(texts, "folded")
    return [
        hashlib.blake2b(words.hashes[start:end].tobytes(), digest_size=HASH_BYTES).hexdigest()
        for start, end in zip(words.bounds[:-1].tolist(), words.bounds[1:].tolist(), strict=True)
    ]


def first_of_equal(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For each row of `keys` (n, m) the number of the first row that is equal to it. Cost: sorting."""
    order = record_order(keys, np.arange(len(keys)))
    new = np.ones(len(keys), np.bool_)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    first = np.empty(len(keys), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))]
    return first


def as_integers(hashes: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Hex digests (n,) as pairs of integers, (n, 2)."""
    joined = "".join(hashes.to_pylist())
    return np.frombuffer(bytes.fromhex(joined), ">u8").astype(np.uint64).reshape(-1, HASH_BYTES // 8)
