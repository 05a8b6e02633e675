"""Features that clusters are found in: what a text means beside which words it uses, in one short unit vector.

Belongs here: the lexical view of a text, its fusion with the sentence embedding, the reduction. Does not belong here:
the sentence embedding itself (`cosmo_resources.embedding`) or grouping (`grouping`).

Two views of a text from one bag of word pieces join its embedding: the mean of the pieces' own embeddings, and a random
projection of the bag (Johnson and Lindenstrauss, 1984), both weighted by rarity. Sentence embeddings blur names and
terms of art; the words alone miss paraphrases. Principal components of the three, as in latent semantic analysis,
are what is clustered.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse as sp

from cosmo_assets.recipe.topics import Clustering
from cosmo_resources.embedding.minilm import WordPieces

Vectors = npt.NDArray[np.float32]

PROJECTED = 256
"""Dimensions of the random projection of a bag of word pieces."""
PART = 8_192
"""Texts whose views are made at a time."""
SPECTRUM = 20_000
"""Principal components are those of at most so many texts, evenly spread."""
MEANING, WORDS = 0.7, 0.6
"""Weights of the two lexical views, relative to the embedding's."""


@dataclass(frozen=True)
class FeatureSpace:
    """A fitted space: the rarity of each word piece, the centre of each view, and the principal components.

    Attributes:
        idf: (vocabulary,), zero for pieces that do not count; empty where the lexical views are switched off.
        centres: the mean of each view, joined: (views' dimensions,).
        components: (views' dimensions, dimensions).
        lexical: weight of the lexical views relative to the default; 0 leaves them out.
        seed: of the random projection.
    """

    idf: Vectors
    centres: Vectors
    components: Vectors
    lexical: float
    seed: int

    @staticmethod
    def fit(embeddings: Vectors, texts: Sequence[str], recipe: Clustering) -> "tuple[FeatureSpace, Vectors]":
        """The space of these seeds, embeddings (n, d) and texts, and their features. Cost: linear in them, and d cubed.
        Memory: 4 kB a seed, and 8 bytes for each distinct word piece of each.

        A word counts by its inverse document frequency, no more than one that half the texts of an average cluster
        hold: words rarer than that tell texts apart, not clusters.
        """
        dimensions = max(1, min(recipe.dimensions, len(embeddings) - 1))
        lexical, seed = recipe.lexical, recipe.seed
        parts = [slice(start, start + PART) for start in range(0, len(embeddings), PART)]
        bags = word_pieces().bags(texts) if lexical else None
        idf = np.zeros(0, np.float32) if bags is None else _rarity(bags, 2 * recipe.clusters)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            chosen = [(embeddings[part], None if bags is None else bags[part], idf, seed) for part in parts]
            views = list(pool.map(_views, *zip(*chosen, strict=True)))
            sums = zip(*pool.map(_sums, views), strict=True)
            centres = [(np.sum(parts_of, axis=0) / len(embeddings)).astype(np.float32) for parts_of in sums]

            def join(number: int) -> Vectors:
                view, views[number] = views[number], []
                return _joined(view, centres, lexical)

            joined = list(pool.map(join, range(len(parts))))
        covariance = np.zeros((joined[0].shape[1],) * 2, np.float64)
        every = -(-len(embeddings) // SPECTRUM)
        for part in joined:
            covariance += part[::every].T @ part[::every]
        last = len(covariance) - 1
        _, vectors = scipy.linalg.eigh(covariance, subset_by_index=(max(0, last + 1 - dimensions), last))
        components = vectors[:, ::-1]
        components = components * np.sign(components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])])
        space = FeatureSpace(idf, np.concatenate(centres), components.astype(np.float32), lexical, seed)
        return space, np.concatenate([unit(part @ space.components) for part in joined])

    def apply(self, embeddings: Vectors, texts: Sequence[str]) -> Vectors:
        """Unit features (n, dimensions) of embeddings (n, d) and texts (not read where lexical is 0). Every row depends
        on its own seed alone."""
        bags = word_pieces().bags(texts) if self.lexical else None
        views = _views(embeddings, bags, self.idf, self.seed)
        ends = np.cumsum([view.shape[1] for view in views])[:-1]
        return unit(_joined(views, np.split(self.centres, ends), self.lexical) @ self.components)

    def save(self, path: Path) -> None:
        settings = np.array([self.lexical, self.seed], np.float64)
        with path.open("wb") as file:
            np.savez(file, idf=self.idf, centres=self.centres, components=self.components, settings=settings)

    @staticmethod
    def load(path: Path) -> "FeatureSpace":
        with np.load(path) as found:
            lexical, seed = found["settings"].tolist()
            return FeatureSpace(found["idf"], found["centres"], found["components"], lexical, int(seed))


def unit(vectors: npt.NDArray[np.floating], out: Vectors | None = None) -> Vectors:
    """Rows of length one, into `out` if that is given; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled = np.multiply(vectors, (1 / np.maximum(lengths, 1e-12))[:, None], out=out)
    return np.ascontiguousarray(scaled, np.float32) if out is None else out


@cache
def word_pieces() -> WordPieces:
    return WordPieces()


@cache
def _pieces(count: int, seed: int) -> Vectors:
    """The embedding of each word piece and its direction in the random projection, side by side."""
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = (generator.standard_normal((count, PROJECTED)) / np.sqrt(PROJECTED)).astype(np.float32)
    return np.hstack([word_pieces().embeddings, drawn])


def _rarity(bags: sp.csr_matrix, most: float) -> Vectors:
    """Inverse document frequencies, at most that of a piece in one of `most` texts, times the pieces' own weights."""
    shares = np.bincount(bags.indices, minlength=bags.shape[1]) / bags.shape[0]
    rarity = np.minimum(-np.log(np.where(shares > 0, shares, 1.0)), np.log(most))
    weighted: Vectors = (rarity * word_pieces().weights).astype(np.float32)
    return weighted


def _views(embeddings: Vectors, bags: sp.csr_matrix | None, idf: Vectors, seed: int) -> list[Vectors]:
    views = [unit(embeddings)]
    if bags is not None:
        weighted = (bags @ sp.diags(idf)).tocsr()
        weighted.eliminate_zeros()
        pieces = _pieces(bags.shape[1], seed)
        lexical = weighted @ pieces
        views += [unit(view, out=view) for view in np.split(lexical, [pieces.shape[1] - PROJECTED], axis=1)]
    return views


def _sums(views: Sequence[Vectors]) -> list[npt.NDArray[np.float64]]:
    return [view.sum(axis=0, dtype=np.float64) for view in views]


def _joined(views: Sequence[Vectors], centres: Sequence[Vectors], lexical: float) -> Vectors:
    weights = (1.0, lexical * MEANING, lexical * WORDS)
    ends = np.cumsum([0, *(view.shape[1] for view in views)])
    joined = np.empty((len(views[0]), ends[-1]), np.float32)
    for number, (view, centre) in enumerate(zip(views, centres, strict=True)):
        part = joined[:, ends[number] : ends[number + 1]]
        np.subtract(view, centre, out=part)
        unit(part, out=part)
        part *= np.float32(weights[number])
    return unit(joined, out=joined)
