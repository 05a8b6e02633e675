"""All pairs of similar texts, by comparing all with all: what a recall is measured against."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosmo_assets.deduplication.canary import survivors_of
from cosmo_assets.recipe import MinHashMethod
from cosmo_assets.seeds.duplicates import shingle_hashes
from cosmo_resources.storage.store import CorpusStore


def similar_pairs(texts: Sequence[str], least: float) -> dict[tuple[int, int], float]:
    """The Jaccard similarity of the word 5-grams of all pairs (left, right) that exceed `least`, left before right."""
    hashes = [shingle_hashes(text) for text in texts]
    sizes = np.array([len(found) for found in hashes])
    _, columns = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_inverse=True)
    rows = np.repeat(np.arange(len(texts)), sizes)
    holds = sp.csr_array(
        (np.ones(len(rows), np.int32), (rows, columns)), shape=(len(texts), int(columns.max(initial=0)) + 1)
    )
    shared = sp.triu(holds @ holds.T, k=1).tocoo()
    similarity = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    chosen = similarity > least
    pairs = zip(shared.row[chosen].tolist(), shared.col[chosen].tolist(), strict=True)
    return dict(zip(pairs, similarity[chosen].tolist(), strict=True))


def check_recall(texts: Sequence[str], least: float = 0.8, method: MinHashMethod = MinHashMethod()) -> int:  # noqa: B008
    """Of the pairs above `least` as many are found as the curve promises, but for four standard deviations (documents
    of one cluster count as found). Returns how many pairs there are."""
    survivor: npt.NDArray[np.int64] = survivors_of(list(texts), method)
    pairs = similar_pairs(texts, least)
    chance = 1 - (1 - np.array([*pairs.values()]) ** method.rows) ** method.bands
    found = sum(survivor[left] == survivor[right] for left, right in pairs)
    assert found >= chance.sum() - 4 * (chance * (1 - chance)).sum() ** 0.5, (found, chance.sum(), len(pairs))
    return len(pairs)


def compared_texts(store: CorpusStore) -> list[str]:
    """The texts that deduplication compared, over all buckets."""
    texts = []
    for bucket in store.buckets("text_signatures"):
        compared = set(store.open("text_signatures", bucket).table(["doc_id"])["doc_id"].to_pylist())
        rows = store.open("generations", bucket).table(["doc_id", "text"]).to_pylist()
        texts += [row["text"] for row in rows if row["doc_id"] in compared]
    return texts
