"""The years that a text names, and how old texts are by them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.signals.ages import Ages, ages_of, half_life_weights, named_years, years_of


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("In 1776, and (Knorr, 2001).", {1776, 2001}),
        ("1914-1918, 1899–1978, 2003/04 and 1987-89", {1914, 1918, 1899, 1978, 2003, 1987}),
        ("the 1990s, on 2012-05-01, 10/12/1986 and 3.5.1988", {1990, 2012, 1986, 1988}),
        ("1998\n2004", {1998, 2004}),
        ("$2000, 1,945, 2000 km, 2011.5, 20.2011, v2010, 1600:2000, #1999, 2050%, 1990-1234, x^{2010}, 19990", set()),
        ("1499 or 2100", set()),
    ],
)
def test_what_is_a_year(text: str, years: set[int]) -> None:
    assert named_years(text) == years


@given(st.lists(st.integers(1500, 2099), max_size=8))
def test_the_latest_and_how_many(years: list[int]) -> None:
    (row,) = years_of(pa.chunked_array([[f"What happened in {' and in '.join(map(str, years))}?"]])).to_pylist()
    assert row == {"latest_year": max(years, default=None), "years": len(set(years))}


def test_two_years_have_exact_shares_gaps_and_weights() -> None:
    years = np.array([2010, 2010, 2010, 2020])
    assert ages_of(years, 2020, 9, 10.0) == Ages(older=0.75, gap=7.5, weight=(3 * 0.5 + 1) / 4)
    assert ages_of(years, 2020, 10, 5.0) == Ages(older=0.0, gap=7.5, weight=(3 * 0.25 + 1) / 4), "not older than 10"
    assert ages_of(years, 2005, 0, 5.0) == Ages(older=0.0, gap=-7.5, weight=1.0), "all of them younger than the test"
    assert ages_of(years[:0], 2020, 9, 10.0) is None


@given(st.lists(st.integers(-50, 500), min_size=1), st.floats(0.5, 100))
def test_a_half_life_more_halves_a_weight(gaps: list[int], half_life: float) -> None:
    weights = half_life_weights(np.array(gaps), half_life)
    assert weights == pytest.approx([min(1.0, 0.5 ** (gap / half_life)) for gap in gaps])
    assert half_life_weights(np.array([0, 7, 14, -3]), 7.0).tolist() == [1, 0.5, 0.25, 1]
