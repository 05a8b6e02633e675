"""MinHash signatures on all cores: datatrove's, hash for hash, in a fraction of the time.

Belongs here: signing texts. Does not belong here: the loops (`shingle_kernels`), which texts are signed (`signatures`),
their files (`records`), or what becomes of equal bands (`minhash`).

A signature has `num_buckets` bands of `hashes_per_bucket` hashes; each is the least, over all shingles of `n_grams`
words, of one hash of the shingle's XXH64. A text with fewer words than a shingle has none.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datatrove.pipeline.dedup.minhash import MinhashConfig

from cosmo_assets.deduplication import shingle_kernels as kernels
from cosmo_assets.deduplication.spelling import simplified, spelling
from cosmo_assets.words.compiled import utf8

PART = 128
"""Texts that one thread signs at a time."""

Hashes = npt.NDArray[np.uint64]
Signed = tuple[Hashes, npt.NDArray[np.bool_]]
"""Signatures (texts x bands x hashes of a band), and which of the texts have one."""


def signatures(texts: pa.Array, config: MinhashConfig) -> Signed:
    """The signatures of some texts, on one core. Cost: linear in the bytes, plus hashes x shingles. Memory: 8 bytes for
    each hash, and up to 24 for each byte of the longest text."""
    factors, summands = parameters(config)
    found = np.empty((len(texts), len(factors)), np.uint64)
    shingles = np.zeros(len(texts), np.int64)
    if len(texts):
        data, offsets = utf8(texts)
        table = spelling()
        kernels.sign_texts(data, offsets, *table.arrays, config.n_grams, factors, summands, found, shingles)
    for number in np.flatnonzero(shingles < 0):
        hashes = _simplified_shingles(texts[number].as_py(), config.n_grams)
        kernels.least_hashes(hashes, factors, summands, found[number])
        shingles[number] = len(hashes)
    return found.reshape(len(texts), config.num_buckets, config.hashes_per_bucket), shingles > 0


def signatures_in_parts(texts: pa.Array, config: MinhashConfig, threads: int | None = None) -> Signed:
    """The signatures of some texts, on as many threads as the process has cores, unless told.

    Raises:
        UnicodeEncodeError: a text has half a surrogate pair, which no UTF-8 can hold.
    """
    spelling()  # before the threads, each of which would make it
    with ThreadPoolExecutor(threads or _cores()) as pool:
        parts = (texts.slice(start, PART) for start in range(0, max(len(texts), 1), PART))
        found, signed = zip(*pool.map(lambda part: signatures(part, config), parts), strict=True)
    return np.concatenate(found), np.concatenate(signed)


def shingle_hashes(text: str, config: MinhashConfig) -> Hashes:
    """The XXH64 of each shingle of a text, in order."""
    data, table = np.frombuffer(bytearray(text.encode()), np.uint8), spelling()
    hashes = kernels.shingles_of(data, *table.arrays, config.n_grams)
    return hashes if hashes is not None else _simplified_shingles(text, config.n_grams)


@cache
def _parameters(seed: int, count: int) -> tuple[Hashes, Hashes]:
    draws, prime = np.random.RandomState(seed), (1 << 61) - 1
    factors = draws.randint(1, prime, dtype=np.uint64, size=count)
    return factors, draws.randint(0, prime, dtype=np.uint64, size=count)


def parameters(config: MinhashConfig) -> tuple[Hashes, Hashes]:
    """The factors and summands of all hashes, as datatrove draws them.

    Raises:
        ValueError: the configuration asks for other words or hashes than those of `spelling` and `shingle_kernels`.
    """
    known = MinhashConfig(config.n_grams, config.num_buckets, config.hashes_per_bucket, config.seed)
    if config != known:
        raise ValueError(f"only datatrove's default words and 64-bit xxhash are signed here, not {config!r}")
    return _parameters(config.seed, config.num_buckets * config.hashes_per_bucket)


def _simplified_shingles(text: str, size: int) -> Hashes:
    """The shingles of a text that datatrove must simplify."""
    return kernels.shingles_of_words(np.frombuffer(bytearray(simplified(text).encode()), np.uint8), size)


def _cores() -> int:
    """The cores that this process may use: all of the machine's, or a job's share."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
