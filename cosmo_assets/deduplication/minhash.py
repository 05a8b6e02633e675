"""Near-duplicates by MinHash: signatures of texts in datatrove's format, and who shares a band of them.

Belongs here: signing, shingles, and links between documents. Does not belong here: which documents are signed
(`signatures`), or which one of several is kept (`survivors`).

Method: MinHash LSH (Broder, 1997) as configured for Cosmopedia: word 5-grams, 14 bands of 8 hashes; two documents of
similarity s share a band with probability 1 - (1 - s^8)^14. The signatures are datatrove's, byte for byte.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.text import ngrams, simplify_text
from loguru import logger

from cosmo_assets.deduplication.exact import first_of_equal
from cosmo_assets.deduplication.records import Hashes, Records, write_records
from cosmo_assets.deduplication.signer import signatures_in_parts
from cosmo_assets.recipe.deduplication import MinHashMethod

logger.disable("datatrove")

Ranks = npt.NDArray[np.int64]


def configuration(method: MinHashMethod) -> MinhashConfig:
    return MinhashConfig(
        n_grams=method.ngram, num_buckets=method.bands, hashes_per_bucket=method.rows, seed=method.seed
    )


class MinHashSigner:
    """Signatures of texts; one with fewer words than the n-gram has none, and no duplicates.

    Memory: 8 bytes for each hash of a signature.
    """

    def __init__(self, method: MinHashMethod) -> None:
        self._method = method
        self._texts = 0
        self._found: list[Hashes] = []
        self._positions: list[Ranks] = []

    def add(self, texts: pa.Array) -> None:
        """Cost: linear in the texts."""
        found, signed = signatures_in_parts(texts, configuration(self._method))
        self._found.append(found[signed])
        self._positions.append(self._texts + np.flatnonzero(signed))
        self._texts += len(texts)

    def write(self, folder: Path) -> None:
        """Write a file for each band (`band_name`), in which the position of a text is the number of texts that were
        added before it."""
        method = self._method
        positions = np.concatenate([np.empty(0, np.int64), *self._positions])
        for band in range(method.bands):
            hashes = [np.empty((0, method.rows), np.uint64), *(part[:, band] for part in self._found)]
            write_records(np.concatenate(hashes), positions, folder / band_name(band))


def band_name(band: int) -> str:
    """The name of a band's signatures of one bucket of the corpus."""
    return f"bucket_{band:03d}.minhash.sig"


def linked(bands: Iterable[tuple[Records, Ranks]]) -> Iterator[tuple[Ranks, Ranks]]:
    """For each band the ranks of documents that are equal in it to a better one, and that one's ranks.

    `bands` gives the records of each, with the rank of the document of each record. Cost: sorting the records.
    """
    for records, ranks in bands:
        by_rank = np.argsort(ranks)
        ranks, hashes = ranks[by_rank], records["hashes"][by_rank]
        first = first_of_equal(hashes)
        later = first != np.arange(len(first))
        yield ranks[later], ranks[first[later]]


def shingles(text: str, method: MinHashMethod) -> set[str]:
    """The word n-grams that a signature is made of."""
    words = simplify_text(text, configuration(method).norm_config).split()
    return {" ".join(gram) for gram in ngrams(words, method.ngram)}
