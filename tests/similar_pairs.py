"""All pairs of similar texts, by comparing all with all: what a recall is measured against."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cosmo_assets.deduplication.canary import survivors_of
from cosmo_assets.recipe.deduplication import MinHashMethod
from cosmo_assets.seeds.duplicates import shingle_hashes
from cosmo_resources.storage.store import CorpusStore

METHOD = MinHashMethod()


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


def check_recall(texts: Sequence[str], copies: Sequence[str] = (), least: float = 0.8) -> int:
    """Of the pairs of similar texts as many are found as the curve promises: so few or fewer would not be found by
    chance once in 10,000 times, if pairs were independent of one another. With `copies`, one of each of the last texts,
    only these pairs count: copies of two texts that are similar are similar four times. Texts of one cluster count as
    found. Returns how many pairs there are."""
    everything = [*texts, *copies]
    survivor: npt.NDArray[np.int64] = survivors_of(everything, METHOD)
    pairs = similar_pairs(everything, least)
    if copies:
        pairs = {pair: found for pair, found in pairs.items() if pair[1] - pair[0] == len(copies)}
    distribution = np.ones(1)
    for similarity in pairs.values():
        chance = 1 - (1 - similarity**METHOD.rows) ** METHOD.bands
        distribution = np.convolve(distribution, [1 - chance, chance])
    found = sum(survivor[left] == survivor[right] for left, right in pairs)
    assert distribution[: found + 1].sum() > 1e-4, f"{found} of {len(pairs)} pairs found"
    return len(pairs)


def compared_texts(store: CorpusStore) -> list[str]:
    """The texts that deduplication compared, over all buckets."""
    texts = []
    for bucket in store.buckets("text_signatures"):
        compared = set(store.open("text_signatures", bucket).table(["doc_id"])["doc_id"].to_pylist())
        rows = store.open("generations", bucket).table(["doc_id", "text"]).to_pylist()
        texts += [row["text"] for row in rows if row["doc_id"] in compared]
    return texts
