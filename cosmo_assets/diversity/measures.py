"""Measures of the diversity of documents: Vendi score, distinct n-grams, coverage of clusters, commonest phrases.

Belongs here: what is computed from vectors, words or labels of one set of documents. Does not belong here: intervals,
or comparing two sets (`gate`).

All but the shares of phrases depend on how many documents there are: compare sets of one size only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.words.alphabet import AlphabetName, words_of
from cosmo_assets.words.hashing import Words, hashed, power

Matrix = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

ALPHABET: AlphabetName = "folded"
OPENER = 5
"""Words of a beginning, as in `quality.rules`."""
PHRASE = 8
"""Words of a phrase: documents that were written apart hardly share so many by chance."""


class Commonest(NamedTuple):
    """Phrases by the number of documents that hold them: the commonest `listed` ones, what any other has at most, how
    many different ones there are, and the hashes of those `others` (see `hashes_of`)."""

    listed: dict[str, int]
    unlisted: int
    kinds: int
    others: Hashes


def vendi(vectors: Matrix, q: float = 1.0) -> float:
    """The Vendi score of unit vectors (n, d) with the cosine as similarity, from 1 (all the same) to n (all
    orthogonal): the effective number of different documents (Friedman and Dieng 2022).

    Computed from the smaller of the two Gram matrices, which have the same positive eigenvalues. Cost: n d min(n, d).
    `q` as in `vendi_of`.
    """
    vectors = np.asarray(vectors, np.float64)
    gram = vectors.T @ vectors if vectors.shape[1] < len(vectors) else vectors @ vectors.T
    return _effective_number(np.linalg.eigvalsh(gram / len(vectors)), q)


def vendi_of(similarity: Matrix, q: float = 1.0) -> float:
    """The same of any positive semi-definite similarity (n, n) with ones on its diagonal. Cost: n cubed.

    `q` is the order of the Renyi entropy of the eigenvalues of similarity / n (Pasarkar and Dieng 2023): 1 is
    Shannon's; the larger it is, the more the commonest kinds decide, at infinity the commonest alone.
    """
    return _effective_number(np.linalg.eigvalsh(np.asarray(similarity, np.float64) / len(similarity)), q)


def _effective_number(eigenvalues: Matrix, q: float) -> float:
    shares = eigenvalues[eigenvalues > 1e-12]  # the others are zeros, rounded
    if q == 1:
        return float(np.exp(-(shares * np.log(shares)).sum()))
    if q == np.inf:
        return float(1 / shares.max())
    return float((shares**q).sum() ** (1 / (1 - q)))


def words_in(texts: pa.Array) -> Words:
    """The words of documents, as all measures of words read them."""
    return hashed(texts, ALPHABET)


def distinct(words: Words, documents: slice, size: int) -> float:
    """Distinct-n (Li et al. 2016) of consecutive documents: the share of their windows of `size` words that are
    different ones; 0 without any. Cost: sorting the windows."""
    begin, end = words.bounds[documents.start], words.bounds[documents.stop]
    starts = words.starts(size)
    windows = words.windows(starts[np.searchsorted(starts, begin) : np.searchsorted(starts, end)], size)
    return len(np.unique(windows)) / len(windows) if len(windows) else 0.0


def coverage(labels: Labels, clusters: int) -> float:
    """Share of `clusters` that have a document; `labels` has a cluster for each document."""
    return len(np.unique(labels)) / clusters


def evenness(labels: Labels, clusters: int) -> float:
    """Entropy of the documents' clusters over the largest that there is, log `clusters` (Pielou 1966): 1 where all have
    as many documents, 0 where one has all of them."""
    if clusters < 2:
        return 1.0
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return abs(float((shares * np.log(shares)).sum())) / float(np.log(clusters))


def openers(words: Words, texts: pa.Array, most: int) -> Commonest:
    """The commonest first five words, at most `most` and of more than one document, each with the number of documents
    that begin so. Shorter documents count with all their words."""
    firsts = words.bounds[:-1]
    sizes = np.minimum(np.diff(words.bounds), OPENER)
    powers = np.array([power(size) for size in range(OPENER + 1)], np.uint64)
    begun = words.prefix[firsts + sizes] - words.prefix[firsts] * powers[sizes]
    owners = np.arange(len(words))
    return _commonest(begun, owners, np.zeros(len(words), np.int64), texts, OPENER, most)


def phrases(words: Words, texts: pa.Array, most: int) -> Commonest:
    """The commonest eight words in a row, at most `most` and of more than one document, each with the number of
    documents that hold them; then as `openers`. Cost: sorting all windows."""
    starts = words.starts(PHRASE)
    owners = words.owners(starts)
    return _commonest(words.windows(starts, PHRASE), owners, starts - words.bounds[owners], texts, PHRASE, most)


def hashes_of(phrases: Sequence[str]) -> Hashes:
    """The hashes by which `Commonest.others` knows phrases."""
    return hashed(pa.array(phrases, pa.string()), ALPHABET).whole(np.arange(len(phrases)))


def _commonest(
    hashes: Hashes,
    owners: npt.NDArray[np.integer],
    places: Labels,
    texts: pa.Array,
    size: int,
    most: int,
) -> Commonest:
    if not len(hashes):
        return Commonest({}, 0, 0, hashes)
    order = np.lexsort((owners, hashes))
    hashes, owners, places = hashes[order], owners[order], places[order]
    new = np.append(True, (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1]))
    hashes, owners, places = hashes[new], owners[new], places[new]
    kinds, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    ranked = np.argsort(-counts, kind="stable")
    listed = [at for at in ranked[:most].tolist() if counts[at] > 1]
    others = ranked[len(listed) :]
    rest = int(counts[others[0]]) if len(others) else 0
    found = {}
    for at in listed:
        start = int(places[first[at]])
        spelt = words_of(texts[int(owners[first[at]])].as_py(), ALPHABET)
        found[" ".join(spelt[start : start + size])] = int(counts[at])
    return Commonest(found, rest, len(kinds), kinds[others])
