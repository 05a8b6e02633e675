import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from cosmo_assets.topics.projection import FEWEST, lay_out, nearest, nearest_on_plane, place, principal_plane

Vectors = npt.NDArray[np.float32]


def groups(count: int, each: int, *, noise: float = 0.5, seed: int = 0) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Unit vectors about as many centres, and the number of the centre of each."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(count, 384))
    labels = np.repeat(np.arange(count), each)
    vectors = centres[labels] + noise * draw.normal(size=(count * each, 384))
    return unit(vectors), labels


def unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def kept(plane: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    return float((labels[nearest_on_plane(plane, 5)] == labels[:, None]).mean())


def test_groups_stay_together_where_principal_components_mix_them() -> None:
    vectors, labels = groups(40, 15, noise=1.0)
    plane = lay_out(vectors)
    assert plane.shape == (600, 2)
    assert np.abs(plane).max() == pytest.approx(1.0)
    assert kept(plane, labels) > 0.98
    assert kept(principal_plane(vectors), labels) < 0.6


def test_the_layout_is_the_same_on_one_thread_and_on_two() -> None:
    code = (
        "import numpy as np, hashlib; from cosmo_assets.topics.projection import lay_out;"
        "v = np.random.default_rng(1).normal(size=(700, 384)).astype('f4');"
        "v /= np.linalg.norm(v, axis=1, keepdims=True); print(hashlib.sha256(lay_out(v).tobytes()).hexdigest())"
    )
    found = set()
    for threads in ("1", "2"):
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
        found.add(run.stdout.strip())
    assert len(found) == 1


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((0, 384), np.float32),
        groups(1, 1)[0],
        groups(2, 1)[0],
        groups(1, FEWEST - 1)[0],
        groups(1, FEWEST)[0],
        np.repeat(groups(1, 1)[0], 40, axis=0),
        np.repeat(groups(3, 1)[0], 40, axis=0),
        np.concatenate([np.repeat(groups(1, 1)[0], 60, axis=0), groups(1, 1, seed=5)[0]]),
        np.zeros((30, 384), np.float32),
    ],
    ids=["none", "one", "two", "few", "twelve", "equal", "three places", "one apart", "zero"],
)
def test_any_number_and_any_kind_of_vectors_is_laid_out(vectors: Vectors) -> None:
    plane = lay_out(vectors)
    assert plane.shape == (len(vectors), 2)
    assert np.isfinite(plane).all()
    assert np.abs(plane).max(initial=0.0) <= 1.0
    assert np.isfinite(place(groups(1, 3, seed=9)[0], vectors, plane)).all()


def test_equal_vectors_do_not_lie_on_one_place() -> None:
    plane = lay_out(np.repeat(groups(1, 1)[0], 40, axis=0)).round(3)
    assert len(np.unique(plane, axis=0)) > 10


def test_a_new_vector_goes_to_its_own_group() -> None:
    vectors, labels = groups(16, 60)
    known = np.arange(len(labels)) % 2 == 0
    plane = lay_out(vectors[known])
    placed = place(vectors[~known], vectors[known], plane)
    apart = np.linalg.norm(placed[:, None] - plane[None], axis=-1)
    assert (labels[known][apart.argmin(axis=1)] == labels[~known]).mean() > 0.98


def test_a_vector_between_two_groups_goes_to_one_of_them_and_not_to_the_sea() -> None:
    vectors, labels = groups(2, 40, noise=0.3)
    plane = lay_out(vectors)
    middle = unit(vectors[labels == 0][:1].astype(np.float64) * 1.02 + vectors[labels == 1][:1])
    near, _ = nearest(middle, vectors, 10)
    assert len(set(labels[near[0]])) == 2, "its neighbours are of both"
    placed = place(middle, vectors, plane)
    gap = np.linalg.norm(plane[labels == 0].mean(axis=0) - plane[labels == 1].mean(axis=0))
    assert np.linalg.norm(plane - placed, axis=1).min() < gap / 10


def test_a_vector_is_placed_whatever_is_placed_with_it() -> None:
    vectors, _ = groups(8, 40)
    plane = lay_out(vectors[:200])
    together = place(vectors[200:], vectors[:200], plane)
    alone = np.concatenate([place(vectors[number : number + 1], vectors[:200], plane) for number in range(200, 320)])
    assert together == pytest.approx(alone, abs=1e-9)


def test_of_equal_neighbours_the_first_is_taken() -> None:
    vectors = np.repeat(groups(2, 1)[0], 5, axis=0)
    found, similarity = nearest(vectors[7:8], vectors, 6)
    assert found[0].tolist() == [5, 6, 7, 8, 9, 0]
    assert similarity[0, :5].tolist() == [1.0] * 5
