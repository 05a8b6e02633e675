"""Choosing documents by their embeddings: D2 beside its method over all pairs, and what several rules leave of texts.

Belongs here: time of choosing, coverage of what is kept. Does not belong here: whether the choice is that of
the method (`test_pruning`).

    python -m tests.benchmarks.pruning [--points 1000 2000 4000] [--texts 1500] [--fraction 0.3]
        [--signal mean_word_length]

Points are unit vectors of 384 dimensions around as many centres as the square root of their number. Both ways choose in
turns, in CPU seconds of the process; the dense one keeps a matrix of all pairs. With the sample data (COSMO_SAMPLES)
web pages and sections of textbooks are embedded, and rules keep the same fraction of them, by one of the signals
`statistics` where they take one. Coverage is the mean cosine of a text with the nearest one that is kept, and the share
of the groups of k-means (as many as the square root of the texts) of which one is kept.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cosmo_assets.diversity.pruning import d2, d4
from cosmo_assets.selection.keeping import midranks
from cosmo_assets.signals.statistics import statistics_of
from cosmo_assets.topics.grouping import k_means
from cosmo_resources.embedding.minilm import pipeline_embedder
from cosmo_resources.storage.digest import digest
from tests.benchmarks.decontamination import documents_of

DIMENSIONS = 384
NEIGHBOURS = 5
TURNS = 3
EXTRACT = 1000
"""Characters of a text, more than are embedded."""

Vectors = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]


def clustered(count: int) -> Vectors:
    random = np.random.default_rng(1)
    centres = random.normal(size=(round(count**0.5), DIMENSIONS))
    points = centres[random.integers(0, len(centres), count)] + random.normal(size=(count, DIMENSIONS))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def dense_d2(vectors: Vectors, difficulty: Reals, chosen: int) -> npt.NDArray[np.int64]:
    """The method with a matrix of all pairs."""
    apart = np.sqrt(np.maximum(2 - 2 * (vectors @ vectors.T).astype(np.float64), 0))
    np.fill_diagonal(apart, np.inf)
    linked = np.zeros(apart.shape, np.bool_)
    np.put_along_axis(linked, np.argsort(apart, axis=1, kind="stable")[:, :NEIGHBOURS], True, axis=1)
    distances = np.where(linked | linked.T, apart, np.inf)
    scores, order = difficulty + np.exp(-distances) @ difficulty, np.empty(chosen, np.int64)
    for place in range(chosen):
        order[place] = best = int(np.argmax(scores))
        scores -= np.exp(-distances[best]) * scores[best]
        scores[best] = -np.inf
    return order


def cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def compare_speed(count: int, fraction: float) -> None:
    vectors, difficulty = clustered(count), np.random.default_rng(2).uniform(size=count)
    chosen, best = round(fraction * count), [float("inf")] * 2
    for _ in range(TURNS):
        for way, choose in enumerate((d2, dense_d2)):
            spent = cpu(lambda choose=choose: choose(vectors, difficulty, chosen))  # type: ignore[misc]
            best[way] = min(best[way], spent)
    same = len({*d2(vectors, difficulty, chosen).tolist()} & {*dense_d2(vectors, difficulty, chosen).tolist()})
    print(f"{count:,} points: all pairs {best[1] / best[0]:.1f} times as long; {same} of {chosen} choices the same")


def compare_coverage(samples: Path, count: int, fraction: float, name: str) -> None:
    texts = sorted(documents_of(samples), key=digest)[:count]
    vectors = pipeline_embedder().encode([text[:EXTRACT] for text in texts])
    signal = np.array(statistics_of(texts)[name], np.float64)
    difficulty, kept = midranks(signal), round(fraction * len(texts))
    clusters = round(len(texts) ** 0.5)
    groups = k_means(vectors, clusters, 3)
    similar = d4(vectors, clusters=clusters, keep_different=0.75, keep_atypical=fraction / 0.75, seed=1)
    rules = {
        "ranks": np.argsort(-difficulty)[:kept],
        "d2": d2(vectors, difficulty, kept),
        "d2, gamma 0.1": d2(vectors, difficulty, kept, gamma=0.1),
        "d2, 20 neighbours": d2(vectors, difficulty, kept, neighbours=20),
        "d4": np.flatnonzero(similar.kept),
    }
    rules |= {f"random draw {seed}": np.random.default_rng(seed).permutation(len(texts))[:kept] for seed in range(5)}
    print(f"{len(texts):,} texts, {fraction:.0%} kept by {name}")
    for rule, chosen in rules.items():
        nearest = float((vectors @ vectors[chosen].T).max(axis=1).mean())
        covered, mean = len(np.unique(groups[chosen])) / len(np.unique(groups)), float(difficulty[chosen].mean())
        print(f"  {rule}: nearest kept {nearest:.3f}, groups {covered:.0%}, mean rank of the signal {mean:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="*", default=[1000, 2000, 4000])
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--fraction", type=float, default=0.3)
    parser.add_argument("--signal", default="mean_word_length")
    options = parser.parse_args()
    for count in options.points:
        compare_speed(count, options.fraction)
    if samples := os.environ.get("COSMO_SAMPLES"):
        compare_coverage(Path(samples), options.texts, options.fraction, options.signal)


if __name__ == "__main__":
    main()
