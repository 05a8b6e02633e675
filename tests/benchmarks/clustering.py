"""Whether clustering finds the topics that people gave to texts, how fast, and in how much memory: the project's own
against k-means, TF-IDF and the recipe of text-clustering (UMAP to a plane, then DBSCAN).

Belongs here: the comparison that `cosmo_assets.topics.grouping` rests on. Does not belong here: a test.

    python -m tests.benchmarks.clustering quality [--sets newsgroups stackoverflow banking77] [--methods ...]
    python -m tests.benchmarks.clustering speed [--points 100000]
    python -m tests.benchmarks.clustering scale [--share 1.0]

`quality` and `speed` need the sample data (COSMO_SAMPLES) and, for the peer, `pip install umap-learn`; it is left out
with a word otherwise. Embedding takes minutes: `--cache` names a folder that keeps the vectors. Figures:

    NMI       normalized mutual information with the labels, as many clusters as labels; median of the seeds, and range
    noise     share of texts that the method gives to no cluster; for NMI they count as one more cluster
    s         seconds of one run after embedding, on two threads; for `own` features, fit and assignment of all texts
    CPU s     the same of both threads together, which other work on the machine disturbs less
    peak GiB  most resident memory of the process, generation of the vectors included

`mean` is the embedding model as published, `sif` the project's weights in its pooling.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cosmo_assets.recipe.topics import Clustering

SETS = {
    "newsgroups": "topics_20newsgroups/20newsgroups.jsonl",
    "stackoverflow": "topics_stackoverflow/stackoverflow_titles.jsonl",
    "banking77": "topics_banking77_clinc150/banking77.jsonl",
    "clinc150": "topics_banking77_clinc150/clinc150.jsonl",
}
METHODS = ("own", "own-kmeans", "kmeans", "umap-dbscan", "umap-dbscan-sif", "tfidf")
SEEDS, THREADS = 3, 2
JITTER = 0.3
"""Length of the noise on a repeated unit vector."""
DIMENSION, BLOCK = 384, 16_384
MEMORY = 4 * 2**30

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


# ---- methods: vectors and texts to labels, -1 for noise


def own(vectors: Vectors, texts: Sequence[str], clusters: int, seed: int, **fields: Any) -> Labels:
    from cosmo_assets.topics.clustering import ClusterModel

    return ClusterModel.fit(vectors, texts, Clustering(clusters=clusters, seed=seed, **fields))[1]


def spherical_k_means(vectors: Vectors, clusters: int, seed: int) -> Labels:
    """All points, the best of five starts."""
    import faiss

    model = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=40,
        nredo=5,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    model.train(vectors)
    return np.asarray(model.index.search(vectors, 1)[1][:, 0], np.int64)


def umap_dbscan(vectors: Vectors, seed: int | None) -> Labels:
    """The recipe of text-clustering with its defaults. Without a seed UMAP uses all threads."""
    import umap
    from sklearn.cluster import DBSCAN

    plane = umap.UMAP(n_components=2, metric="cosine", random_state=seed).fit_transform(vectors)
    return np.asarray(DBSCAN(eps=0.08, min_samples=50, n_jobs=THREADS).fit_predict(plane), np.int64)


def tfidf(texts: Sequence[str], clusters: int, seed: int) -> Labels:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, min_df=3, max_df=0.5, stop_words="english").fit_transform(texts)
    reduced = normalize(TruncatedSVD(200, random_state=seed).fit_transform(words)).astype(np.float32)
    return spherical_k_means(reduced, clusters, seed)


def labelled(method: str, name: str, cache: Path, seed: int) -> tuple[Labels, Labels, float]:
    """Labels that a method finds in a set, the true ones, and seconds."""
    texts, true = documents(name)
    clusters = int(true.max()) + 1
    vectors = np.load(cache / f"{name}-{'mean' if method == 'umap-dbscan' else 'sif'}.npy")
    calls: dict[str, Callable[[], Labels]] = {
        "own": lambda: own(vectors, texts, clusters, seed),
        "own-kmeans": lambda: own(vectors, texts, clusters, seed, method="kmeans"),
        "kmeans": lambda: spherical_k_means(vectors, clusters, seed),
        "umap-dbscan": lambda: umap_dbscan(vectors, seed),
        "umap-dbscan-sif": lambda: umap_dbscan(vectors, seed),
        "tfidf": lambda: tfidf(texts, clusters, seed),
    }
    before = time.perf_counter()
    return calls[method](), true, time.perf_counter() - before


# ---- data


def documents(name: str) -> tuple[list[str], Labels]:
    """Texts of a set, as seeds are embedded, and the numbers of their labels."""
    from cosmo_assets.topics.embedding import embedded_text

    source = Path(os.environ["COSMO_SAMPLES"]) / SETS[name]
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
    _, labels = np.unique([str(row["label"]) for row in rows], return_inverse=True)
    return [embedded_text(row.get("subject"), row["text"]) for row in rows], labels.astype(np.int64)


def embedded(name: str, pooling: Literal["mean", "sif"], cache: Path) -> Path:
    from cosmo_resources.embedding.minilm import MiniLmEmbedder

    path = cache / f"{name}-{pooling}.npy"
    if not path.exists():
        print(f"embedding {name}, {pooling} pooling ...", file=sys.stderr, flush=True)
        np.save(path, MiniLmEmbedder(pooling=pooling).encode(documents(name)[0]))
    return path


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def repeated(sets: Sequence[str], points: int, cache: Path) -> tuple[Vectors, list[str]]:
    """So many documents of some sets; where they do not suffice, texts again with vectors a little moved."""
    draw = np.random.default_rng(0)
    vectors = np.concatenate([np.load(cache / f"{name}-sif.npy") for name in sets])
    texts = [text for name in sets for text in documents(name)[0]]
    chosen = np.concatenate([draw.permutation(len(texts)), draw.integers(0, len(texts), max(0, points - len(texts)))])
    moved = vectors[chosen]
    noise = draw.standard_normal((len(chosen), DIMENSION), np.float32) * np.float32(JITTER / np.sqrt(DIMENSION))
    moved[len(texts) :] += noise[len(texts) :]
    return unit(moved[:points]), [texts[position] for position in chosen[:points]]


def mixture(start: int, stop: int, count: int) -> Vectors:
    """Rows start to stop of an endless set of unit vectors about `count` directions; made by blocks, so that no more
    than one is held."""
    centres = unit(np.random.default_rng(1).standard_normal((count, DIMENSION), np.float32))
    parts = []
    for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
        draw = np.random.default_rng((2, block))
        noise = draw.standard_normal((BLOCK, DIMENSION), np.float32) * np.float32(1 / np.sqrt(DIMENSION))
        rows = unit(centres[draw.integers(0, count, BLOCK)] + noise)
        parts.append(rows[max(0, start - block * BLOCK) : stop - block * BLOCK])
    return np.concatenate(parts)


def directions(start: int, stop: int, count: int) -> Labels:
    """The direction of each row of `mixture`."""
    blocks = range(start // BLOCK, (stop - 1) // BLOCK + 1)
    parts = []
    for block in blocks:
        draw = np.random.default_rng((2, block))
        draw.standard_normal((BLOCK, DIMENSION), np.float32)
        parts.append(draw.integers(0, count, BLOCK))
    return np.concatenate(parts)[start - blocks[0] * BLOCK :][: stop - start]


def spans(start: int, stop: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + BLOCK, stop)) for at in range(start, stop, BLOCK))


# ---- in a process of its own


def run_quality(method: str, name: str, cache: str) -> dict[str, Any]:
    from sklearn.metrics import normalized_mutual_info_score

    runs = [labelled(method, name, Path(cache), seed) for seed in range(SEEDS)]
    return {
        "nmi": [float(normalized_mutual_info_score(true, found)) for found, true, _ in runs],
        "clusters": [int(found.max()) + 1 for found, _, _ in runs],
        "noise": [float((found < 0).mean()) for found, _, _ in runs],
        "seconds": [seconds for _, _, seconds in runs],
    }


def run_speed(method: str, points: str, clusters: str, cache: str) -> dict[str, Any]:
    vectors, texts = repeated(list(SETS), int(points), Path(cache))
    if method == "own":  # what is loaded and compiled once is no part of the time, of either
        own(vectors[:3_000], texts[:3_000], 10, 0)
    else:
        umap_dbscan(vectors[:6_000], None)
    before, used = time.perf_counter(), time.process_time()
    found = own(vectors, texts, int(clusters), 0) if method == "own" else umap_dbscan(vectors, None)
    seconds, used = time.perf_counter() - before, time.process_time() - used
    return {"seconds": seconds, "cpu": used, "clusters": int(found.max()) + 1, "noise": float((found < 0).mean())}


def run_scale(fitted: str, assigned: str, clusters: str, folder: str) -> dict[str, Any]:
    """Fit on the sample that the recipe's default gives of the fitted rows, assign these and so many more."""
    from sklearn.metrics import normalized_mutual_info_score

    from cosmo_assets.topics.clustering import ClusterModel

    recipe = Clustering(clusters=int(clusters), lexical=0)
    count, total = int(fitted), int(fitted) + int(assigned)
    path = Path(folder) / "vectors.npy"
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (count, DIMENSION))
    for start, stop in spans(0, count):
        stored[start:stop] = mixture(start, stop, recipe.clusters)
    stored.flush()
    del stored
    before = time.perf_counter()
    chosen = np.sort(np.random.default_rng(3).permutation(count)[: recipe.sample])
    held = np.load(path, mmap_mode="r")
    sample = np.concatenate([held[chosen[at : at + BLOCK]].astype(np.float32) for at in range(0, len(chosen), BLOCK)])
    del held
    model, _ = ClusterModel.fit(sample, [""] * len(sample), recipe)
    del sample
    seconds = {"fit": time.perf_counter() - before, "fitted": 0.0, "more": 0.0}
    sizes = np.zeros(len(model.centroids), np.int64)
    truth, labels = [], []
    for start, stop in [*spans(0, count), *spans(count, total)]:
        kept = start < count
        vectors = (
            np.load(path, mmap_mode="r")[start:stop].astype(np.float32)
            if kept
            else mixture(start, stop, recipe.clusters)
        )
        before = time.perf_counter()
        found, _ = model.assign(vectors, [""] * len(vectors))
        seconds["fitted" if kept else "more"] += time.perf_counter() - before
        sizes += np.bincount(found, minlength=len(sizes))
        if not kept and sum(map(len, labels)) < 100_000:
            labels.append(found)
            truth.append(directions(start, stop, recipe.clusters))
    return {
        "seconds": seconds,
        "clusters": int((sizes > 0).sum()),
        "rows": int(sizes.sum()),
        "nmi": float(normalized_mutual_info_score(np.concatenate(truth), np.concatenate(labels))),
        "peak": peak(),
    }


def peak() -> int:
    """Most resident memory of this process, in bytes. (ru_maxrss would begin with that of the one that started it.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024


RUNS: dict[str, Callable[..., dict[str, Any]]] = {"quality": run_quality, "speed": run_speed, "scale": run_scale}


# ---- tables


def apart(mode: str, *values: object) -> dict[str, Any]:
    """The result of a run in a process of its own, on two threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(THREADS)), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tests.benchmarks.clustering", mode, "--one", *map(str, values)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def has_umap(method: str) -> bool:
    if method.startswith("umap") and importlib.util.find_spec("umap") is None:
        print("umap: not installed (pip install umap-learn), left out")
        return False
    return True


def quality(sets: Sequence[str], methods: Sequence[str], cache: Path) -> None:
    print(f"{'set':14} {'method':16} {'NMI':>6} {'range':>15} {'clusters':>9} {'noise':>6} {'s':>7}")
    methods = [method for method in methods if has_umap(method)]
    for name in sets:
        embedded(name, "sif", cache)
        embedded(name, "mean", cache)
        for method in methods:
            found = apart("quality", method, name, cache)
            nmi, clusters = found["nmi"], int(np.median(found["clusters"]))
            middle, spread = np.median(nmi), f"{min(nmi):.3f} to {max(nmi):.3f}"
            noise, seconds = np.median(found["noise"]), np.median(found["seconds"])
            print(
                f"{name:14} {method:16} {middle:6.3f} {spread:>15} {clusters:9} {noise:6.2f} {seconds:7.1f}", flush=True
            )


def speed(points: int, clusters: int, cache: Path) -> None:
    for name in SETS:
        embedded(name, "sif", cache)
    print(f"{'method':14} {'points':>7} {'clusters':>9} {'noise':>6} {'s':>7} {'x own':>6} {'CPU s':>7} {'x own':>6}")
    methods = [method for method in ("own", "umap-dbscan") if has_umap(method)]
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    first: dict[str, Any] = {}
    for _ in range(SEEDS):  # by turns: what else the machine does meets both
        for method in methods:
            runs[method].append(apart("speed", method, points, clusters, cache))
    for method, found in runs.items():
        middle = {kind: np.median([run[kind] for run in found]) for kind in ("clusters", "noise", "seconds", "cpu")}
        first = first or middle
        times = (f"{middle[kind]:7.1f} {middle[kind] / first[kind]:6.1f}" for kind in ("seconds", "cpu"))
        figures = f"{int(middle['clusters']):9} {middle['noise']:6.2f} {' '.join(times)}"
        print(f"{method:14} {points:7} {figures}", flush=True)


def scale(share: float) -> dict[str, Any]:
    """The figures of `run_scale` for a share of one million fitted and ten million assigned vectors."""
    counts = (int(share * 1_000_000), int(share * 10_000_000), max(2, int(share * 1_000)))
    with tempfile.TemporaryDirectory() as folder:
        return apart("scale", *counts, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("mode", choices=RUNS)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["newsgroups", "stackoverflow", "banking77"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--clusters", type=int, default=268, help="of speed")
    parser.add_argument("--share", type=float, default=1.0, help="of scale: of 1 million fitted, 10 million assigned")
    parser.add_argument("--cache", type=Path, help="folder that keeps the embeddings")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(RUNS[chosen.mode](*chosen.one)))
        return
    if chosen.mode == "scale":
        found = scale(chosen.share)
        seconds = found["seconds"]
        print(
            f"rows assigned {found['rows']:,}; clusters {found['clusters']:,}; NMI with directions {found['nmi']:.3f}"
        )
        print(f"seconds: fit {seconds['fit']:.0f}, fitted rows {seconds['fitted']:.0f}, more {seconds['more']:.0f}")
        print(f"peak {found['peak'] / 2**30:.2f} GiB of {MEMORY / 2**30:.0f}")
        sys.exit(0 if found["peak"] < MEMORY else 1)
    with tempfile.TemporaryDirectory() as folder:
        cache = chosen.cache or Path(folder)
        cache.mkdir(parents=True, exist_ok=True)
        if chosen.mode == "quality":
            quality(chosen.sets, chosen.methods, cache)
        else:
            speed(chosen.points, chosen.clusters, cache)


if __name__ == "__main__":
    main()
