"""MinHash signatures on all cores, and their files: byte for byte datatrove's, in a fraction of the time.

Belongs here: signing texts, the order of records in a file. Does not belong here: the loops (`shingle_kernels`), which
texts are signed (`stages`), or what becomes of equal bands (`minhash`).

A signature has `num_buckets` bands of `hashes_per_bucket` hashes; each is the least, over all shingles of `n_grams`
words, of one hash of the shingle's XXH64. A text with fewer words than a shingle has none.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datatrove.pipeline.dedup.minhash import MinhashConfig

from cosmo_assets.decontamination.tables import utf8
from cosmo_assets.deduplication import shingle_kernels as kernels
from cosmo_assets.deduplication.spelling import simplified, spelling

BATCH_CHARS, BATCH_TEXTS = 1_000_000, 4096
"""What one thread signs at a time: a batch ends when it has reached either."""

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


def signature_batches(texts: Iterable[str], config: MinhashConfig, threads: int | None = None) -> Iterator[Signed]:
    """The signatures of the texts, batch by batch in their order. On as many threads as the process has cores, unless
    told; texts are read one batch a thread ahead of what is asked for.

    Raises:
        UnicodeEncodeError: a text has half a surrogate pair, which no UTF-8 can hold.
    """
    threads = threads or _cores()
    spelling()  # before the threads, each of which would make it
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Signed]] = deque()
        for batch in _batches(texts):
            waiting.append(pool.submit(signatures, batch, config))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def shingle_hashes(text: str, config: MinhashConfig) -> Hashes:
    """The XXH64 of each shingle of a text, in order."""
    data, table = np.frombuffer(bytearray(text.encode()), np.uint8), spelling()
    hashes = kernels.shingles_of(data, *table.arrays, config.n_grams)
    return hashes if hashes is not None else _simplified_shingles(text, config.n_grams)


def write_signatures(
    texts: Iterable[str], config: MinhashConfig, folder: Path, rank: int, threads: int | None = None
) -> None:
    """Write signatures to `folder/bucket_<band>/<rank>.minhash.sig`: for each text that has one the hashes of the band
    and the text's position, sorted.

    Cost: as `signature_batches`, plus sorting. Memory: all signatures (896 bytes a text at 14 bands of 8) and, while a
    band is sorted, four times its share; of the texts a few batches.
    """
    parts, positions, start = [], [], 0
    for found, signed in signature_batches(texts, config, threads):
        parts.append(found[signed])
        positions.append(start + np.flatnonzero(signed))
        start += len(signed)
    record = np.dtype([("hashes", "<u8", (config.hashes_per_bucket,)), ("position", "<u4")])
    records = np.empty(sum(map(len, positions)), record)
    for band in range(config.num_buckets):
        if parts:
            records["hashes"] = np.concatenate([part[:, band] for part in parts])
            records["position"] = np.concatenate(positions)
        path = folder / f"bucket_{band:03d}" / f"{rank:05d}.minhash.sig"
        path.parent.mkdir(parents=True, exist_ok=True)
        records[record_order(records["hashes"], records["position"])].tofile(path)


def record_order(hashes: Hashes, positions: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """The order of records by all hashes of a band, then by position. Few agree in their first hash: only these are
    compared in the others."""
    order = np.argsort(hashes[:, 0])
    first = hashes[order, 0]
    equal = first[1:] == first[:-1]
    tied = np.concatenate([equal, [False]]) | np.concatenate([[False], equal]) if len(order) else equal
    some = order[tied]
    keys = [hashes[some, column] for column in range(hashes.shape[1])]
    order[tied] = some[np.lexsort((positions[some], *reversed(keys)))]
    return order


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


def _batches(texts: Iterable[str]) -> Iterator[pa.Array]:
    held: list[str] = []
    chars = 0
    for text in texts:
        held.append(text)
        chars += len(text)
        if chars >= BATCH_CHARS or len(held) >= BATCH_TEXTS:
            yield pa.array(held, pa.large_string())
            held, chars = [], 0
    if held:
        yield pa.array(held, pa.large_string())


def _simplified_shingles(text: str, size: int) -> Hashes:
    """The shingles of a text that datatrove must simplify."""
    return kernels.shingles_of_words(np.frombuffer(bytearray(simplified(text).encode()), np.uint8), size)


def _cores() -> int:
    """The cores that this process may use: all of the machine's, or a job's share."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
