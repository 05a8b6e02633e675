"""Which projection draws the best map, and at what cost: the project's own against principal components, Barnes-Hut
t-SNE of scikit-learn and UMAP, on labelled texts.

Belongs here: the comparison that `cosmo_assets.topics.projection` rests on. Does not belong here: a test.

    python tests/benchmarks/projection.py [--points 2000 10000] [--sets banking77 stackoverflow] [method ...]

Needs the sample data (COSMO_SAMPLES); `umap` also `pip install umap-learn`, and is left out with a word otherwise. Each
method runs in a process of its own, on one thread, twice, the second time on two threads; seconds are CPU seconds of
the first run, in which UMAP compiles itself. Figures:

    labels        share of the ten nearest points of a point that have its label (0.1 by chance on ten equal labels)
    neighbours    share of the fifteen nearest vectors that are among the fifteen nearest points
    trust         trustworthiness (Venna and Kaski, 2001) on 3,000 points
    silhouette    of the labels, on 3,000 points
    same          whether two threads give the same map, bit for bit
    placed        `labels` of points that were placed into a map of as many others (the project's own only)
"""

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

SETS = {
    "banking77": "topics_banking77_clinc150/banking77.jsonl",
    "clinc150": "topics_banking77_clinc150/clinc150.jsonl",
    "stackoverflow": "topics_stackoverflow/stackoverflow_titles.jsonl",
    "newsgroups": "topics_20newsgroups/20newsgroups.jsonl",
}
METHODS = ("own", "pca", "sklearn", "umap")
NEIGHBOURS, NEAR, SAMPLE = 15, 10, 3_000

Vectors = npt.NDArray[np.float32]


def project(method: str, vectors: Vectors) -> npt.NDArray[np.float64]:
    from cosmo_assets.topics.projection import lay_out, principal_plane

    if method == "own":
        return lay_out(vectors)
    start = principal_plane(vectors)
    if method == "pca":
        return start
    if method == "umap":
        import umap

        return np.asarray(umap.UMAP(n_neighbors=NEIGHBOURS, metric="cosine", random_state=0).fit_transform(vectors))
    from sklearn.manifold import TSNE

    threads = int(os.environ["OMP_NUM_THREADS"])
    start = (start / start[:, 0].std() * 1e-4).astype(np.float32)
    return np.asarray(TSNE(init=start, random_state=0, n_jobs=threads).fit_transform(vectors))


def quality(plane: npt.NDArray[np.float64], vectors: Vectors, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    from sklearn.manifold import trustworthiness
    from sklearn.metrics import silhouette_score

    from cosmo_assets.topics.projection import nearest, nearest_on_plane

    near = nearest_on_plane(plane, NEIGHBOURS)
    some = np.random.default_rng(1).permutation(len(plane))[:SAMPLE]
    true, _ = nearest(vectors[some], vectors, NEIGHBOURS + 1)
    shared = [
        len((set(found.tolist()) - {int(own)}) & set(near[own].tolist())) for own, found in zip(some, true, strict=True)
    ]
    return {
        "labels": float((labels[near[:, :NEAR]] == labels[:, None]).mean()),
        "neighbours": float(np.mean(shared)) / NEIGHBOURS,
        "trust": float(trustworthiness(vectors[some], plane[some], n_neighbors=NEIGHBOURS, metric="cosine")),
        "silhouette": float(silhouette_score(plane[some], labels[some])),
    }


def placed(vectors: Vectors, labels: npt.NDArray[np.int64]) -> float:
    from scipy.spatial import cKDTree

    from cosmo_assets.topics.projection import lay_out, place

    half = len(vectors) // 2
    plane = lay_out(vectors[:half])
    _, near = cKDTree(plane).query(place(vectors[half:], vectors[:half], plane), k=NEAR)
    return float((labels[:half][near] == labels[half:, None]).mean())


def one(method: str, path: Path) -> None:
    """In a process of its own: project, print figures as JSON."""
    data = np.load(path)
    vectors, labels = data["vectors"], data["labels"]
    before = time.process_time()
    plane = project(method, vectors)
    found: dict[str, float | str] = {"seconds": time.process_time() - before}
    found["digest"] = hashlib.sha256(np.ascontiguousarray(plane).tobytes()).hexdigest()
    if os.environ["OMP_NUM_THREADS"] == "1":
        found |= quality(np.asarray(plane, np.float64), vectors, labels)
        if method == "own":
            found["placed"] = placed(vectors, labels)
    print(json.dumps(found))


def run(method: str, path: Path, threads: int) -> dict[str, float | str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, __file__, "--one", method, str(path)]
    output = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
    found: dict[str, float | str] = json.loads(output.splitlines()[-1])
    return found


def embedded(name: str, points: int, folder: Path) -> Path:
    """So many texts of a set, embedded, with the numbers of their labels."""
    from cosmo_resources.embedding.minilm import MiniLmEmbedder

    source = Path(os.environ["COSMO_SAMPLES"]) / SETS[name]
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
    chosen = np.random.default_rng(0).permutation(len(rows))[:points]
    texts = [f"{rows[n].get('subject') or ''}\n{rows[n]['text']}".strip() for n in chosen]
    _, labels = np.unique([str(rows[n]["label"]) for n in chosen], return_inverse=True)
    path = folder / f"{name}-{points}.npz"
    np.savez(path, vectors=MiniLmEmbedder().encode(texts), labels=labels)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    parser.add_argument("--points", nargs="+", type=int, default=[2_000, 10_000])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["banking77", "stackoverflow"])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen.one[0], Path(chosen.one[1]))
        return
    columns = ("labels", "neighbours", "trust", "silhouette", "placed")
    print(f"{'set':14} {'points':>7} {'method':8} {'CPU s':>7} {'x own':>6}", *(f"{c:>10}" for c in columns), "same")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.sets:
            for points in chosen.points:
                path, own = embedded(name, points, Path(folder)), 0.0
                for method in chosen.methods:
                    if method == "umap" and importlib.util.find_spec("umap") is None:
                        print("umap: not installed, left out")
                        continue
                    first, second = run(method, path, 1), run(method, path, 2)
                    seconds = float(first["seconds"])
                    own = seconds if method == "own" else own
                    figures = [f"{float(first[c]):10.3f}" if c in first else f"{'':10}" for c in columns]
                    ratio = f"{seconds / own:6.1f}" if own else f"{'':6}"
                    same = "yes" if first["digest"] == second["digest"] else "no"
                    print(f"{name:14} {points:7} {method:8} {seconds:7.1f} {ratio}", *figures, same, flush=True)


if __name__ == "__main__":
    main()
