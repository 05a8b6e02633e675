"""Limits on signals: which documents break them, and which reason counts."""

import polars as pl
import pytest

from cosmo_assets.recipe.selection import Selection, SignalBound
from cosmo_assets.selection.verdicts import first_broken, limits_of
from cosmo_assets.signals.rule_sets import RULE_SETS

WORDS = SignalBound(signal="quality.words", low=10, high=20)
REPETITION = SignalBound(signal="quality.repetition", high=0.5)


def reasons(bounds: tuple[SignalBound, ...], **signals: list[float | None]) -> list[str | None]:
    frame = pl.DataFrame({f"quality.{name}": values for name, values in signals.items()}, strict=False)
    limits = limits_of(Selection(bounds=bounds))
    numbers = frame.select(first_broken(limits).alias("limit"))["limit"].to_list()
    return [None if number is None else limits[number].reason for number in numbers]


def test_both_ends_of_a_bound_stay() -> None:
    found = reasons((WORDS,), words=[9, 10, 20, 21])
    assert found == ["quality.words", None, None, "quality.words"]


def test_the_first_limit_that_is_broken_counts() -> None:
    both = {"words": [5.0, 15.0, 5.0], "repetition": [0.9, 0.9, 0.1]}
    assert reasons((WORDS, REPETITION), **both) == ["quality.words", "quality.repetition", "quality.words"]
    assert reasons((REPETITION, WORDS), **both) == ["quality.repetition", "quality.repetition", "quality.words"]


def test_a_document_without_the_signal_stays() -> None:
    assert reasons((WORDS,), words=[None, 5.0]) == [None, "quality.words"]


def test_published_sets_come_before_bounds_of_ones_own() -> None:
    limits = limits_of(Selection(sets=("c4", "gopher_quality"), bounds=(WORDS,)))
    wanted = [f"{name}: {bound.reason}" for name in ("c4", "gopher_quality") for bound in RULE_SETS[name]]
    assert [limit.reason for limit in limits] == [*wanted, "quality.words"]
    assert len(wanted) > 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"bounds": [{"signal": "statistics.letters", "low": 1}]},
            "statistics has no such signal; it has characters, ",
        ),
        ({"bounds": [{"signal": "colour.words", "low": 1}]}, "no such family of signals; there are quality"),
        ({"bounds": [{"signal": "quality.opener", "low": 1}]}, "quality has no such signal"),
        ({"bounds": [{"signal": "quality.words"}]}, "name low, high or both"),
        ({"bounds": [{"signal": "quality.words", "low": 2, "high": 1}]}, "low 2 is above high 1"),
        ({"bounds": [{"signal": "quality.words", end: 2} for end in ("low", "high")]}, "stands there twice"),
        ({"sets": ["c4", "c4"]}, "c4 stands there twice"),
        ({}, "name sets, bounds or what to keep"),
    ],
    ids=["column", "family", "text", "no end", "empty range", "signal twice", "set twice", "nothing"],
)
def test_what_selects_by_nothing_is_refused_by_name(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Selection.model_validate(fields)
