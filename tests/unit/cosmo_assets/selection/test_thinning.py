"""Rules over all documents, as a recipe names them."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from cosmo_assets.recipe.selection import Keep
from cosmo_assets.selection.thinning import kept, reason_of
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.selection.test_keeping import ids

COUNT = 4000
SCORES = np.linspace(0, 1, COUNT)


def rule(**fields: object) -> Keep:
    found: Keep = TypeAdapter(Keep).validate_python({"signal": "quality.repetition", **fields})
    return found


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
    "fields", [{"rule": "ranks"}, {"rule": "pareto"}, {"rule": "gumbel", "fraction": 0.1}], ids=lambda row: row["rule"]
)
def test_documents_without_the_signal_stay(fields: dict[str, object]) -> None:
    scores = SCORES.copy()
    scores[::4] = np.nan
    found = kept(rule(**fields), ids(COUNT), scores)
    assert found[::4].all()
    assert not found.all()


def test_the_reason_names_rule_and_signal() -> None:
    assert reason_of(rule(rule="ranks")) == "ranks by quality.repetition"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rule": "ranks", "low": 0.5, "high": 0.5}, "low 0.5 is not below high 0.5"),
        ({"rule": "gumbel"}, "fraction"),
        ({"rule": "best"}, "'ranks', 'pareto', 'gumbel'"),
        ({"rule": "ranks", "signal": "quality.length"}, "quality has no such signal"),
    ],
    ids=["empty range", "no fraction", "unknown", "signal"],
)
def test_a_rule_that_keeps_nothing_or_is_none_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rule(**fields)
