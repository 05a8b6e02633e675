"""An embedding of the words alone, whatever their order."""

import hashlib

import numpy as np
import numpy.typing as npt

from cosmo_assets.schemas.columns import EMBEDDING_DIMENSION


class WordBag:
    """Each word is a direction; a text is the unit vector of their sum."""

    name, revision = "word-bag", "1"

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        vectors = np.zeros((len(texts), EMBEDDING_DIMENSION), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, int(hashlib.md5(word.encode()).hexdigest(), 16) % EMBEDDING_DIMENSION] += 1.0
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
