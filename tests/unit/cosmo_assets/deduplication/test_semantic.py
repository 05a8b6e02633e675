"""Semantic duplicates: the rule, its cells, and that blocks and threads make no difference."""

import numpy as np
import numpy.typing as npt
import pytest

from cosmo_assets.deduplication import semantic
from cosmo_assets.deduplication.semantic import similar
from cosmo_assets.recipe.deduplication import SemanticMethod
from tests.unit.cosmo_assets.deduplication.corpus import groups_of

Vectors = npt.NDArray[np.float32]


def families(count: int, size: int, spread: float, seed: int = 0) -> Vectors:
    """Unit vectors (count x size, 32) in families, one of each family after the other."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(count, 32))
    vectors = np.concatenate([centres + spread * draw.normal(size=centres.shape) for _ in range(size)])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plain_similar(vectors: Vectors, threshold: float) -> list[int]:
    """The rule, document by document."""
    found: list[int] = []
    for row, vector in enumerate(vectors):
        stayed = [other for other in range(row) if found[other] == other]
        near = [(float(vectors[other] @ vector), -other) for other in stayed]
        best = max(near, default=(0.0, 0))
        found.append(-best[1] if best[0] >= threshold else row)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_rule_is_that_of_a_plain_reading(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    vectors = families(40, 5, 0.25, seed)
    expected = plain_similar(vectors, 0.93)
    assert 20 < sum(row != twin for row, twin in enumerate(expected)) < 180
    assert similar(vectors, SemanticMethod(similarity=0.93)).tolist() == expected
    monkeypatch.setattr(semantic, "BLOCK", 7)
    assert similar(vectors, SemanticMethod(similarity=0.93)).tolist() == expected


def test_the_best_of_a_family_stays_and_others_are_left_alone() -> None:
    vectors = families(60, 3, 0.01)
    assert groups_of(similar(vectors, SemanticMethod())) == [[row, row + 60, row + 120] for row in range(60)]


def test_cells_find_the_families_that_all_pairs_find() -> None:
    vectors = families(400, 3, 0.01, seed=5)
    whole = similar(vectors, SemanticMethod())
    in_cells = similar(vectors, SemanticMethod(cell=100))
    assert (whole != np.arange(1200)).sum() == 800
    assert (whole == in_cells).mean() > 0.99


def test_without_documents_there_are_no_duplicates() -> None:
    assert similar(np.empty((0, 32), np.float32), SemanticMethod()).tolist() == []
