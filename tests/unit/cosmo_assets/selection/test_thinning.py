"""Rules over all documents, as a recipe names them."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from cosmo_assets.recipe.selection import Keep
from cosmo_assets.selection.keeping import Kept, Reals
from cosmo_assets.selection.thinning import STAYS, Vectors, reasons_of, thinned
from cosmo_resources.errors import CosmoError
from tests.doubles.plain_d2 import plain_d2
from tests.unit.cosmo_assets.selection.test_keeping import ids

COUNT = 4000
SCORES = np.linspace(0, 1, COUNT)
NO_VECTORS: Vectors = np.empty((0, 0), np.float32)


def rule(**fields: object) -> Keep:
    signal = {} if fields["rule"] == "d4" else {"signal": "quality.repetition"}
    found: Keep = TypeAdapter(Keep).validate_python({**signal, **fields})
    return found


def kept(by: Keep, documents: pa.Array, scores: Reals, vectors: Vectors = NO_VECTORS) -> Kept:
    return np.asarray(thinned(by, documents, scores, vectors) == STAYS)


def directions(count: int, dimensions: int, seed: int = 1) -> Vectors:
    points = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_ranks_are_shares_of_all_documents() -> None:
    found = kept(rule(rule="ranks", low=0.25, high=0.75), ids(COUNT), SCORES)
    assert found.tolist() == [False] * 1000 + [True] * 2000 + [False] * 1000


def test_pareto_keeps_by_its_chances_from_either_end() -> None:
    high, low = (kept(rule(rule="pareto", prefer=end), ids(COUNT), SCORES) for end in ("high", "low"))
    expected = float(np.mean((2 - SCORES) ** -9.0))
    for found in (high, low):
        assert found.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / COUNT))
    assert high[COUNT // 2 :].sum() > 5 * high[: COUNT // 2].sum() > 0
    assert low[: COUNT // 2].sum() > 5 * low[COUNT // 2 :].sum() > 0


def test_pareto_refuses_a_signal_that_is_no_share() -> None:
    with pytest.raises(CosmoError, match="0 to 1"):
        kept(rule(rule="pareto"), ids(COUNT), 10 * SCORES)


def test_gumbel_keeps_its_fraction_whatever_the_scale_of_the_signal() -> None:
    one = kept(rule(rule="gumbel", fraction=0.5), ids(COUNT), SCORES)
    assert one.sum() == COUNT // 2
    assert (kept(rule(rule="gumbel", fraction=0.5), ids(COUNT), 1000 * SCORES + 7) == one).all()
    assert one[COUNT // 2 :].sum() > 2 * one[: COUNT // 2].sum() > 0
    other = kept(rule(rule="gumbel", fraction=0.5, prefer="low"), ids(COUNT), SCORES)
    assert other[: COUNT // 2].sum() > 2 * other[COUNT // 2 :].sum() > 0
    best = kept(rule(rule="gumbel", fraction=0.5, temperature=1e-4), ids(COUNT), SCORES)
    assert best[COUNT // 2 + 5 :].all()


@pytest.mark.parametrize(
    "fields",
    [{"rule": "ranks"}, {"rule": "pareto"}, {"rule": "gumbel", "fraction": 0.1}, {"rule": "d2", "fraction": 0.1}],
    ids=lambda row: row["rule"],
)
def test_documents_without_the_signal_stay(fields: dict[str, object]) -> None:
    scores = SCORES.copy()
    scores[::4] = np.nan
    found = kept(rule(**fields), ids(COUNT), scores, directions(COUNT, 4))
    assert found[::4].all()
    assert not found.all()


def test_d2_keeps_difficult_documents_from_everywhere() -> None:
    """A fraction of those with the signal, by their ranks, whatever its scale; from either end."""
    vectors, scores = directions(200, 8), np.random.default_rng(2).normal(size=200)
    scores[::10] = np.nan
    there = np.flatnonzero(~np.isnan(scores))
    place = np.argsort(np.argsort(scores[there]))
    for prefer, ranks in (("high", place), ("low", len(there) - 1 - place)):
        expected = there[plain_d2(vectors[there].astype(np.float64), (ranks + 0.5) / len(there), 54, 3, 2.0)]
        by = rule(rule="d2", fraction=0.3, neighbours=3, gamma=2, prefer=prefer)
        found = kept(by, ids(200), scores, vectors)
        assert sorted(np.flatnonzero(found & ~np.isnan(scores))) == sorted(expected)
        assert (kept(by, ids(200), np.exp(scores) - 5, vectors) == found).all()


def test_equal_difficulties_have_the_same_rank() -> None:
    """Of documents with the same signal, all as far from one another, D2 takes the first; ids decide nothing."""
    vectors, scores = np.eye(12, dtype=np.float32), np.array([1.0, 0] * 6)
    found = kept(rule(rule="d2", fraction=0.25, neighbours=11), ids(12), scores, vectors)
    assert np.flatnonzero(found).tolist() == plain_d2(vectors.astype(np.float64), 0.25 + scores / 2, 3, 11, 1.0)


def test_d4_says_which_documents_are_duplicates_and_which_are_prototypes() -> None:
    """Without a signal; in as many clusters as the square root of the documents where no number is named."""
    vectors = np.concatenate([directions(100, 16), directions(20, 16)])
    by = rule(rule="d4", keep_different=100 / 120, keep_atypical=0.4, seed=7)
    nothing = np.full(120, np.nan)
    found = thinned(by, ids(120), nothing, vectors)
    names = np.array([*reasons_of(by), "stays"])[found]
    assert dict(Counter(names.tolist())) == {"d4 duplicate": 20, "d4 prototype": 60, "stays": 40}
    pairs = (names[:20] == "d4 duplicate").astype(int) + (names[100:] == "d4 duplicate")
    assert pairs.tolist() == [1] * 20, "of equal documents one goes"
    named = by.model_copy(update={"clusters": 10})
    assert (thinned(named, ids(120), nothing, vectors) == found).all()
    other = by.model_copy(update={"clusters": 3})
    assert (thinned(other, ids(120), nothing, vectors) != found).any()
    assert (thinned(by.model_copy(update={"seed": 8}), ids(120), nothing, vectors) != found).any()


def test_the_reason_names_rule_and_signal() -> None:
    assert reasons_of(rule(rule="ranks")) == ("ranks by quality.repetition",)
    assert reasons_of(rule(rule="d2", fraction=0.5)) == ("d2 by quality.repetition",)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rule": "ranks", "low": 0.5, "high": 0.5}, "low 0.5 is not below high 0.5"),
        ({"rule": "gumbel"}, "fraction"),
        ({"rule": "best"}, "'ranks', 'pareto', 'gumbel', 'd4', 'd2'"),
        ({"rule": "ranks", "signal": "quality.length"}, "quality has no such signal"),
        ({"rule": "d4"}, "keep_atypical"),
        ({"rule": "d4", "keep_atypical": 0}, "greater than 0"),
        ({"rule": "d4", "keep_atypical": 0.5, "keep_different": 0}, "greater than 0"),
        ({"rule": "d4", "keep_atypical": 0.5, "clusters": 0}, "greater than or equal to 1"),
        ({"rule": "d4", "keep_atypical": 0.5, "signal": "quality.repetition"}, "Extra inputs"),
        ({"rule": "d2"}, "fraction"),
        ({"rule": "d2", "fraction": 0.5, "neighbours": 0}, "greater than or equal to 1"),
        ({"rule": "d2", "fraction": 0.5, "gamma": 0}, "greater than 0"),
        ({"rule": "d2", "fraction": 0.5, "signal": "privacy.spans"}, "privacy has no such signal"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_rule_that_keeps_nothing_or_is_none_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rule(**fields)
