"""Selection policies: the exact values of small cases, and what they do to sets that are made for them."""

import numpy as np
import pytest

from cosmo_assets.diversity.pruning import d2, d4, message_scores, semdedup

CORNER = np.array([(1, 0), (0.999, 0.04), (0, 1), (0.05, 0.998)], np.float32)


def test_semdedup_removes_what_an_earlier_member_of_its_cluster_says_already() -> None:
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
    scores, distances = message_scores(np.array([[0.0], [1], [3]]), np.array([1.0, 2, 3]), neighbours=1)
    assert scores == pytest.approx([1.73576, 2.77389, 3.27067], abs=1e-5)
    assert distances[0].tolist() == [np.inf, 1.0, np.inf]
    assert distances[1].tolist() == [1.0, np.inf, 2.0]


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
