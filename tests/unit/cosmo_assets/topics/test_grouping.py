import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import normalized_mutual_info_score

from cosmo_assets.recipe.topics import Clustering
from cosmo_assets.topics.clustering import ClusterModel
from cosmo_assets.topics.features import FeatureSpace, Vectors, unit, word_pieces
from cosmo_assets.topics.grouping import (
    EXACT,
    Labels,
    density_clusters,
    graph_communities,
    k_means,
    linked,
    merged,
    nearest_neighbours,
    neighbourhood,
)

METHODS: dict[str, Callable[[Vectors, int], Labels]] = {
    "graph": lambda features, clusters: communities(features, clusters),
    "kmeans": lambda features, clusters: k_means(features, clusters, 0),
    "hdbscan": density_clusters,
}
WORDS = (
    ("planet", "orbit", "star", "comet", "telescope"),
    ("flour", "oven", "yeast", "dough", "butter"),
    ("goal", "league", "striker", "penalty", "stadium"),
)


def planted(count: int, each: int, *, noise: float = 0.7, dimensions: int = 64) -> tuple[Vectors, Labels]:
    """Unit vectors about as many directions, shuffled, and the number of the direction of each."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((count, dimensions))
    labels = draw.permutation(np.repeat(np.arange(count), each))
    scattered = draw.standard_normal((count * each, dimensions)) * noise
    return unit(unit(centres)[labels] + scattered / np.sqrt(dimensions)), labels


def agreement(found: Labels, true: Labels) -> float:
    return float(normalized_mutual_info_score(true, found))


def communities(features: Vectors, clusters: int) -> Labels:
    nearest = nearest_neighbours(features, neighbourhood(len(features), clusters), 0)
    return graph_communities(features, nearest, clusters, 0)


def sentences(each: int) -> tuple[list[str], Labels]:
    draw = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(WORDS)), each)
    return [" ".join(draw.choice(WORDS[label], 4)) + f" and item {n}" for n, label in enumerate(labels)], labels


@pytest.mark.parametrize("method", METHODS)
def test_planted_clusters_are_recovered(method: str) -> None:
    features, true = planted(12, 60)
    found = METHODS[method](features, 12)
    assert found.shape == (720,)
    assert len(np.unique(found)) == 12
    assert agreement(found, true) > (0.85 if method == "kmeans" else 0.98)  # one start, and so a direction in two


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_labels(method: str) -> None:
    features, _ = planted(8, 40, noise=1.5)
    assert METHODS[method](features, 8).tolist() == METHODS[method](features.copy(), 8).tolist()


def test_the_graph_method_by_way_of_small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosmo_assets.topics.grouping.MERGED", 500)
    features, true = planted(12, 100)
    assert agreement(communities(features, 12), true) > 0.98


def test_neighbours_in_cells_are_almost_those_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = planted(20, 200)
    assert len(features) < EXACT
    similarity, exact = nearest_neighbours(features, 5, 0)
    assert (similarity[:, :-1] >= similarity[:, 1:]).all()
    assert not (exact == np.arange(len(features))[:, None]).any()
    monkeypatch.setattr("cosmo_assets.topics.grouping.EXACT", 1000)
    _, cells = nearest_neighbours(features, 5, 0)
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(exact.tolist(), cells.tolist(), strict=True)]
    assert np.mean(shared) > 0.9


SCRIPT = """
import sys, hashlib, faiss, numpy as np
from cosmo_assets.topics.features import unit
from cosmo_assets.topics.grouping import density_clusters, graph_communities, k_means, nearest_neighbours
faiss.omp_set_num_threads(int(sys.argv[1]))
draw = np.random.default_rng(0)
centres = draw.standard_normal((30, 64))
features = unit(centres[draw.integers(0, 30, 6000)] + 2.0 * draw.standard_normal((6000, 64)))
nearest = nearest_neighbours(features, 12, 0)
few = density_clusters(features[:1500], 30)
for labels in (graph_communities(features, nearest, 30, 0), k_means(features, 30, 0), few):
    print(hashlib.sha256(np.ascontiguousarray(labels, np.int64).tobytes()).hexdigest())
"""


def test_labels_are_the_same_on_one_thread_and_on_two() -> None:
    found = []
    for threads in ("1", "2"):
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        command = [sys.executable, "-c", SCRIPT, threads]
        found.append(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    assert len(found[0].split()) == 3
    assert found[0] == found[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("points", "clusters"), [(1, 1), (2, 1), (2, 2), (3, 3), (5, 4), (12, 12), (14, 12)])
def test_as_few_points_as_clusters(method: str, points: int, clusters: int) -> None:
    features, _ = planted(points, 1)
    found = METHODS[method](features, clusters)
    assert found.shape == (points,)
    assert found.min() >= 0
    assert found.max() < max(clusters, 1)


@pytest.mark.parametrize("method", METHODS)
def test_equal_points_are_no_error_and_lie_together_with_their_like(method: str) -> None:
    features, true = planted(3, 1)
    found = METHODS[method](np.ascontiguousarray(np.repeat(features, 40, axis=0)), 3)
    for label in true:
        assert len(np.unique(found[label * 40 : label * 40 + 40])) == 1
    assert METHODS[method](np.ascontiguousarray(np.repeat(features[:1], 50, axis=0)), 4).shape == (50,)


def test_parts_of_a_graph_that_hang_together_nowhere_stay_apart_or_are_joined() -> None:
    """Six directions at right angles: the neighbours of a point are all of its own direction."""
    draw = np.random.default_rng(0)
    true = np.repeat(np.arange(6), 50)
    features = unit(np.eye(64)[true] + 0.02 * draw.standard_normal((300, 64)))
    _, neighbours = nearest_neighbours(features, 12, 0)
    assert (true[neighbours] == true[:, None]).all()
    assert agreement(communities(features, 6), true) == pytest.approx(1)
    joined = communities(features, 3)
    assert len(np.unique(joined)) == 3
    for part in range(6):
        assert len(np.unique(joined[true == part])) == 1


def test_k_means_and_neighbours_use_the_gpus_that_faiss_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = planted(4, 50)
    asked: list[object] = []
    real = faiss.Kmeans

    def k_means_of_two(*args: int, gpu: bool, **fields: int) -> object:
        asked.append(gpu)
        return real(*args, **fields)

    def moved(index: faiss.Index) -> faiss.Index:
        asked.append(type(index).__name__)
        return index

    plain = k_means(features, 4, 0), nearest_neighbours(features, 5, 0)[1]
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "Kmeans", k_means_of_two)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", moved)
    assert k_means(features, 4, 0).tolist() == plain[0].tolist()
    assert nearest_neighbours(features, 5, 0)[1].tolist() == plain[1].tolist()
    assert asked == [True, "IndexFlatIP", "IndexFlatIP"]


def test_merging_gives_the_number_asked_for() -> None:
    features, _ = planted(5, 20)
    _, neighbours = nearest_neighbours(features, 4, 0)
    graph = np.zeros((100, 100))
    np.put_along_axis(graph, neighbours, 1.0, axis=1)
    assert len(np.unique(merged(features, csr_matrix(np.maximum(graph, graph.T)), 7))) == 7


def test_parts_that_hang_together_nowhere_are_linked_by_few_edges_and_merged_by_nearness() -> None:
    """Families of near-equal texts are parts of their own, thousands of them in a crawl."""
    draw = np.random.default_rng(0)
    tens = unit(draw.standard_normal((10, 64)))
    families = unit(np.repeat(tens, 40, axis=0) + 0.4 * unit(draw.standard_normal((400, 64))))
    points = unit(np.repeat(families, 14, axis=0) + 1e-3 * unit(draw.standard_normal((5600, 64))))
    _, neighbours = nearest_neighbours(points, 12, 0)
    rows = np.repeat(np.arange(5600), 12)
    graph = csr_matrix((np.ones(rows.size, np.float32), (rows, neighbours.ravel())), (5600, 5600))
    assert connected_components(graph, directed=False)[0] == 400
    joined = linked(points, graph)
    assert connected_components(joined, directed=False)[0] == 1
    assert joined.nnz - graph.nnz < 30 * 400
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = communities(points, 10)
    assert agreement(found, np.repeat(np.arange(10), 560)) > 0.99


def test_density_of_nothing_but_noise_is_one_cluster() -> None:
    features = unit(np.random.default_rng(0).standard_normal((40, 64)))
    assert density_clusters(features, 2).tolist() == [0] * 40


def test_density_gives_stray_points_to_the_nearest_cluster() -> None:
    features, true = planted(4, 50)
    between = unit(features[true == 0][:1] * 0.8 + features[true == 1][:1] * 0.6)
    found = density_clusters(np.concatenate([features, between]), 4)
    assert found.min() == 0
    assert found[-1] in (found[:-1][true == 0][0], found[:-1][true == 1][0])


def space_of(embeddings: Vectors, texts: list[str], dimensions: int, lexical: float) -> FeatureSpace:
    space, features = FeatureSpace.fit(
        embeddings, texts, Clustering(clusters=3, dimensions=dimensions, lexical=lexical)
    )
    np.testing.assert_allclose(features, space.apply(embeddings, texts), atol=2e-6)
    return space


def test_no_word_counts_more_than_one_of_half_a_cluster() -> None:
    embeddings, _ = planted(6, 10, dimensions=384)
    texts = [f"common {'sixth' if n % 6 == 0 else 'other'} {'once' if n == 0 else ''}" for n in range(60)]
    pieces = {word: int(word_pieces().bags([word]).indices[0]) for word in ("common", "sixth", "once")}
    rarity = {}
    for clusters in (3, 20):
        space, _ = FeatureSpace.fit(embeddings, texts, Clustering(clusters=clusters))
        rarity[clusters] = {word: space.idf[p] / word_pieces().weights[p] for word, p in pieces.items()}
    assert rarity[3]["common"] == rarity[20]["common"] == 0
    assert rarity[3]["sixth"] == pytest.approx(rarity[3]["once"])
    assert rarity[20]["sixth"] == pytest.approx(np.log(6), rel=1e-5)
    assert rarity[20]["once"] == pytest.approx(np.log(40), rel=1e-5)


def test_features_are_unit_rows_that_do_not_depend_on_their_batch() -> None:
    texts, _ = sentences(30)
    embeddings, _ = planted(9, 10, dimensions=384)
    space = space_of(embeddings, texts, 20, 1.0)
    together = space.apply(embeddings, texts)
    assert together.shape == (90, 20)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    alone = np.concatenate([space.apply(embeddings[n : n + 1], texts[n : n + 1]) for n in range(90)])
    np.testing.assert_allclose(alone, together, atol=2e-6)
    backwards = space.apply(embeddings[::-1], texts[::-1])[::-1]
    np.testing.assert_allclose(backwards, together, atol=2e-6)


def test_a_space_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    texts, _ = sentences(20)
    embeddings, _ = planted(6, 10, dimensions=384)
    for lexical in (1.0, 0.0):
        space = space_of(embeddings, texts, 16, lexical)
        space.save(tmp_path / "space.npz")
        loaded = FeatureSpace.load(tmp_path / "space.npz")
        assert (loaded.lexical, loaded.seed) == (space.lexical, space.seed)
        assert loaded.apply(embeddings, texts).tobytes() == space.apply(embeddings, texts).tobytes()


def test_words_part_what_embeddings_do_not() -> None:
    texts, true = sentences(40)
    embeddings = unit(np.random.default_rng(0).standard_normal((120, 384)))
    with_words = space_of(embeddings, texts, 8, 2.0).apply(embeddings, texts)
    without = space_of(embeddings, texts, 8, 0.0).apply(embeddings, texts)
    assert agreement(k_means(with_words, 3, 0), true) > 0.9
    assert agreement(k_means(without, 3, 0), true) < 0.3


class Unread(list[str]):
    """Texts that must not be looked at."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise AssertionError("the texts were read")


def test_without_weight_words_are_not_read() -> None:
    embeddings, true = planted(5, 20, dimensions=384)
    texts = Unread([""] * 100)
    with pytest.raises(AssertionError, match="texts were read"):
        space_of(embeddings, texts, 10, 1.0)
    space = space_of(embeddings, texts, 10, 0.0)
    assert agreement(communities(space.apply(embeddings, texts), 5), true) > 0.98


def test_a_model_assigns_new_seeds_as_it_does_alone() -> None:
    embeddings, true = planted(6, 60, dimensions=384)
    texts = [""] * 360
    recipe = Clustering(clusters=6, lexical=0)
    model, labels = ClusterModel.fit(embeddings[:300], texts[:300], recipe)
    assert agreement(labels, true[:300]) > 0.98
    found, distances = model.assign(embeddings, texts)
    assert found[:300].tolist() == labels.tolist()
    assert agreement(found, true) > 0.98
    assert ((distances >= 0) & (distances <= 2)).all()
    assert [int(model.assign(embeddings[n : n + 1], [""])[0][0]) for n in range(300, 360)] == found[300:].tolist()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc to read a process' peak memory from")
def test_many_vectors_are_clustered_and_assigned_in_bounded_memory() -> None:
    """A fortieth of the benchmark: enough seeds that small groups are merged, as at full size. What the libraries take
    is not scaled, so the bound is on what comes on top: a fiftieth of that of the benchmark."""
    from tests.benchmarks.clustering import MEMORY, scale

    found = scale(1 / 40)
    assert found["rows"] == 275_000
    assert found["clusters"] == 25
    assert found["nmi"] > 0.9
    libraries = 500 * 2**20
    assert found["peak"] < libraries + MEMORY / 50, f"{found['peak']:,} bytes"
    print(json.dumps(found))


def test_labels_have_the_type_that_tables_want() -> None:
    features, _ = planted(3, 20)
    kinds: list[npt.DTypeLike] = [METHODS[method](features, 3).dtype for method in METHODS]
    assert kinds == [np.int64] * 3
