"""Selection policies: the exact values of small cases, and what they do to sets that are made for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.diversity import pruning
from cosmo_assets.diversity.pruning import d2, d4, message_scores, neighbour_graph, semdedup
from tests.doubles.plain_d2 import plain_d2, plain_distances, plain_scores

CORNER = np.array([(1, 0), (0.999, 0.04), (0, 1), (0.05, 0.998)], np.float32)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_semdedup_removes_what_an_earlier_member_of_its_cluster_says_already(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BLOCK", block)
    vectors = CORNER / np.linalg.norm(CORNER, axis=1, keepdims=True)
    together, apart = np.zeros(4, np.int64), np.array([0, 1, 0, 1])
    assert semdedup(vectors, together, 0.01).tolist() == [False, True, False, True]
    assert semdedup(vectors, together, 0.01, keep_hard=False).tolist() == [True, False, True, False]
    assert not semdedup(vectors, apart, 0.01).any()
    assert semdedup(vectors, together, 0.001).tolist() == [False, True, False, False]  # cosines .9992 and .9988


def test_d4_drops_duplicates_and_then_what_is_nearest_to_a_centroid() -> None:
    random = np.random.default_rng(3)
    centres = np.eye(32)[:2]
    spread = np.repeat([0.02, 0.15], 50)[:, None]
    points = np.concatenate([centre + spread * random.normal(size=(100, 32)) for centre in centres])
    points = np.concatenate([points, points[:20]])
    vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    found = d4(vectors, clusters=2, keep_different=200 / 220, keep_atypical=0.5, seed=1)
    assert found.duplicate.sum() == 20
    assert all(found.duplicate[at] != found.duplicate[200 + at] for at in range(20)), "one of each pair goes"
    assert (found.prototype.sum(), found.kept.sum()) == (100, 100)
    dense = np.concatenate([np.arange(50), np.arange(100, 150), np.arange(200, 220)])
    assert found.prototype[dense].sum() == 100, "the dense middle goes, the rim stays"
    assert found.distance[found.prototype].max() < found.distance[found.kept].min()


def test_forward_messages_have_their_known_values() -> None:
    graph = neighbour_graph(np.array([[0.0], [1], [3]]), 1)
    assert message_scores(graph, np.array([1.0, 2, 3])) == pytest.approx([1.73576, 2.77389, 3.27067], abs=1e-5)
    assert graph.starts.tolist() == [0, 1, 3, 4]
    assert graph.neighbours.tolist() == [1, 0, 2, 1]
    assert graph.distances.tolist() == [1.0, 1.0, 2.0, 2.0]


def test_reverse_messages_take_the_next_point_from_elsewhere() -> None:
    points, difficulty = np.array([[0.0], [0.1], [5], [5.1]]), np.array([4.0, 3.9, 3, 2.9])
    assert d2(points, difficulty, 2, neighbours=1).tolist() == [0, 2]
    assert np.argsort(-difficulty)[:2].tolist() == [0, 1]
    assert d2(points, difficulty, 2, neighbours=1, gamma=100.0).tolist() == [0, 1], "nothing is taken from neighbours"


def test_d2_takes_a_fifth_from_a_small_easy_cluster_that_difficulty_alone_would_leave_out() -> None:
    random = np.random.default_rng(0)
    points = np.concatenate([random.normal(0, 0.5, (40, 2)), random.normal(8, 0.5, (10, 2))])
    difficulty = np.concatenate([random.uniform(0.6, 1.0, 40), random.uniform(0.3, 0.5, 10)])
    chosen = d2(points, difficulty, 10)
    assert (np.argsort(-difficulty)[:10] >= 40).sum() == 0
    assert (chosen >= 40).sum() == 2
    assert len(set(chosen.tolist())) == 10


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Points, difficulties, neighbours, gamma. Half of them are on a small grid, with many equal points, distances and
    scores; half are so far from 0 that single precision, a last digit of 1/2048, puts them in another order."""
    count, dimensions = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    on_a_grid, far = draw(st.booleans()), draw(st.booleans())
    points = random.integers(0, 3, (count, dimensions)) / 4 if on_a_grid else random.normal(size=(count, dimensions))
    difficulty = random.integers(0, 3, count) / 2 if on_a_grid else random.uniform(size=count)
    return (
        4096 + points / 1024 if far else points,
        difficulty,
        draw(st.integers(1, 8)),
        draw(st.sampled_from([0.1, 1.0, 10.0])),
    )


@given(problems())
def test_the_graph_of_neighbours_is_that_of_all_pairs(problem: tuple[np.ndarray, np.ndarray, int, float]) -> None:
    points, difficulty, neighbours, _ = problem
    graph, distances = neighbour_graph(points, neighbours), plain_distances(points, neighbours)
    ones, others = np.nonzero(np.isfinite(distances))
    assert np.repeat(np.arange(len(points)), np.diff(graph.starts)).tolist() == ones.tolist()
    assert graph.neighbours.tolist() == others.tolist()
    assert graph.distances.tolist() == distances[ones, others].tolist()
    assert message_scores(graph, difficulty).tolist() == plain_scores(distances, difficulty).tolist()


@given(problems(), st.floats(0, 1))
def test_d2_chooses_as_the_plain_method_does(
    problem: tuple[np.ndarray, np.ndarray, int, float], fraction: float
) -> None:
    """Whole orders are compared, ties included, down to scores below 0, which raise those of their neighbours."""
    points, difficulty, neighbours, gamma = problem
    chosen = round(fraction * len(points))
    found = d2(points, difficulty, chosen, neighbours=neighbours, gamma=gamma)
    assert found.tolist() == plain_d2(points, difficulty, chosen, neighbours, gamma)


def test_hundreds_of_equal_points_have_the_first_of_them_as_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are looked at in one go; and few points at a time."""
    monkeypatch.setattr(pruning, "NUMBERS", 5000)
    random = np.random.default_rng(5)
    points = np.concatenate([np.tile(random.normal(size=24), (300, 1)), random.normal(size=(300, 24))])
    graph, distances = neighbour_graph(points, 5), plain_distances(points, 5)
    assert graph.neighbours[graph.starts[299] : graph.starts[300]].tolist() == [0, 1, 2, 3, 4]
    assert graph.neighbours.tolist() == np.nonzero(np.isfinite(distances))[1].tolist()


def test_nothing_and_few_documents_are_pruned_as_well() -> None:
    for count in range(4):
        vectors = np.eye(4, dtype=np.float32)[:count]
        found = d4(vectors, clusters=9, keep_different=0.1, keep_atypical=0.5, seed=1)
        assert found.duplicate.sum() == round(0.9 * count)
        assert d2(vectors, np.ones(count), count).tolist() == list(range(count))
