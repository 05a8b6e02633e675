"""What the quality classifier reads of a text: its words and pairs of words, or its sentence embedding.

Belongs here: features of texts, and what a model card says of each. Does not belong here: fitting and scoring
(`classifier`), the embedding model (`cosmo_resources.embedding`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.topics.embedding import Embedder
from cosmo_assets.words.hashing import hashed

BITS = 18
"""Of a word's place among the weights."""

Matrix: TypeAlias = csr_matrix | npt.NDArray[np.float64]
_MIXER = np.uint64(0x9E3779B97F4A7C15)


class Features(Protocol):
    """Texts as rows of numbers, of unit length."""

    @property
    def name(self) -> str:
        """What a fit on other features is told apart by."""

    @property
    def said(self) -> str:
        """In the words of the model card."""

    @property
    def limit(self) -> str:
        """What a score from them cannot know, in the words of the model card."""

    def of(self, texts: pa.Array, chars: int) -> Matrix:
        """A row for each text, of its first `chars` characters."""


@dataclass(frozen=True)
class Ngrams:
    """Hashed words and pairs of words (2**BITS), each weighing log(1 + count)."""

    name = "ngrams"
    said = "hashed words and pairs of words"
    limit = "It knows words, not sense: a text of the right words in any order scores as well."

    def of(self, texts: pa.Array, chars: int) -> csr_matrix:
        """Rows of unit length; a text without words has only zeros. Cost: linear in the words that are looked at, and
        sorting each text's."""
        words = hashed(pc.utf8_slice_codeunits(texts, 0, chars), "folded")
        starts = words.starts(2)
        keys = np.concatenate([words.hashes, words.windows(starts, 2)])
        owners = np.concatenate([words.owners(np.arange(len(words.hashes))), words.owners(starts)])
        places = ((keys ^ keys >> np.uint64(32)) * _MIXER >> np.uint64(64 - BITS)).astype(np.int64)
        found = csr_matrix((np.ones(len(keys)), (owners, places)), (len(texts), 1 << BITS))
        found.data = np.log1p(found.data)
        lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
        found.data /= np.repeat(lengths, np.diff(found.indptr))
        return found


@dataclass(frozen=True)
class Embeddings:
    """The sentence embedding of the beginning of a text, as far as the model reads (384)."""

    embedder: Embedder

    @property
    def name(self) -> str:
        return f"{self.embedder.name} {self.embedder.revision}"

    @property
    def said(self) -> str:
        return f"the sentence embedding by {self.embedder.name} (revision {self.embedder.revision})"

    @property
    def limit(self) -> str:
        return (
            "It knows what a text is about and how it sounds, little of its order and grounds. Of a text it reads the\n"
            "  first 256 word pieces alone, mostly less than the labelling model was shown."
        )

    def of(self, texts: pa.Array, chars: int) -> npt.NDArray[np.float64]:
        """Rows of unit length. Cost: the model's."""
        return self.embedder.encode(pc.utf8_slice_codeunits(texts, 0, chars).to_pylist()).astype(np.float64)


def features_of(recipe: Recipe, embedder: Callable[[], Embedder]) -> Features:
    """Those that the recipe asks for; the embedder is made only if they are embeddings."""
    return Embeddings(embedder()) if recipe.educational.features == "embeddings" else Ngrams()
