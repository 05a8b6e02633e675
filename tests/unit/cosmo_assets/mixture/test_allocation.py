"""The mixture's arithmetic: weights are realised, and no source is repeated more than it may."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cosmo_assets.mixture.allocation import allocate, copies
from cosmo_assets.recipe import Component
from cosmo_resources.storage.digest import digest

DOCUMENTS = [digest(str(number)) for number in range(8_000)]
NAMES = ("web", "books", "courses", "stories")
WEIGHTS = st.floats(0.01, 1000, allow_nan=False)
SOURCES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(0, 10**12), WEIGHTS, st.floats(0.01, 8)), min_size=1
)


def split(sources: dict[str, tuple[int, float, float]]) -> tuple[dict[str, int], dict[str, Component]]:
    available = {name: tokens for name, (tokens, _, _) in sources.items()}
    components = {name: Component(weight=weight, max_epochs=most) for name, (_, weight, most) in sources.items()}
    return available, components


@settings(deadline=None)
@given(SOURCES)
def test_the_tokens_stand_in_the_ratio_of_the_weights(sources: dict[str, tuple[int, float, float]]) -> None:
    available, components = split(sources)
    shares = allocate(available, components)
    total = sum(share.tokens for share in shares.values())
    weights = sum(components[name].weight for name in shares)
    for name, share in shares.items():
        assert math.isclose(share.tokens / total, components[name].weight / weights, rel_tol=1e-9)
        assert math.isclose(share.weight, components[name].weight / weights, rel_tol=1e-9)


@settings(deadline=None)
@given(SOURCES)
def test_no_source_is_repeated_more_than_it_may(sources: dict[str, tuple[int, float, float]]) -> None:
    available, components = split(sources)
    for name, share in allocate(available, components).items():
        assert 0 < share.epochs <= components[name].max_epochs


@settings(deadline=None)
@given(SOURCES)
def test_the_corpus_is_as_large_as_the_limits_allow(sources: dict[str, tuple[int, float, float]]) -> None:
    available, components = split(sources)
    shares = allocate(available, components)
    assume(shares)
    most = max(share.epochs / components[name].max_epochs for name, share in shares.items())
    assert math.isclose(most, 1.0, rel_tol=1e-9)


@settings(deadline=None)
@given(SOURCES, WEIGHTS)
def test_only_the_ratio_of_weights_counts(sources: dict[str, tuple[int, float, float]], scale: float) -> None:
    available, components = split(sources)
    scaled = {
        name: Component(weight=part.weight * scale, max_epochs=part.max_epochs) for name, part in components.items()
    }
    for name, share in allocate(available, scaled).items():
        assert math.isclose(share.epochs, allocate(available, components)[name].epochs, rel_tol=1e-9)


def test_a_worked_example() -> None:
    shares = allocate(
        {"web": 600, "books": 100},
        {"web": Component(weight=3, max_epochs=1), "books": Component(weight=1, max_epochs=4)},
    )
    assert (shares["web"].epochs, shares["books"].epochs) == (1.0, 2.0)
    assert (shares["web"].tokens, shares["books"].tokens) == (600, 200)


def test_the_source_that_runs_out_first_sets_the_size() -> None:
    shares = allocate({"web": 1000, "books": 10}, {"web": Component(weight=1), "books": Component(weight=1)})
    assert (shares["books"].epochs, shares["web"].epochs) == (1.0, 0.01)


@pytest.mark.parametrize("available", [{"web": 100}, {"web": 100, "books": 0}], ids=["missing", "without tokens"])
def test_a_source_without_tokens_is_left_out_of_the_ratio(available: dict[str, int]) -> None:
    shares = allocate(available, {"web": Component(weight=1), "books": Component(weight=9)})
    assert shares.keys() == {"web"}
    assert (shares["web"].weight, shares["web"].epochs) == (1.0, 1.0)


def test_a_source_that_the_recipe_does_not_mix_has_no_share() -> None:
    assert allocate({"web": 100, "books": 100}, {"web": Component(weight=1)}).keys() == {"web"}


def test_nothing_available_is_no_share() -> None:
    assert allocate({}, {"web": Component(weight=1)}) == {}


def test_more_epochs_never_mean_fewer_copies() -> None:
    for document in DOCUMENTS[:300]:
        counts = [copies(document, step / 16) for step in range(64)]
        assert counts == sorted(counts)


@settings(deadline=None)
@given(st.text(max_size=5), st.floats(0, 9))
def test_copies_are_the_epochs_rounded_down_or_up(document: str, epochs: float) -> None:
    assert copies(document, epochs) in (math.floor(epochs), math.ceil(epochs))


@pytest.mark.parametrize("epochs", [0.2, 1.0, 1.7, 3.5])
def test_the_mean_of_copies_is_the_epochs(epochs: float) -> None:
    mean = sum(copies(document, epochs) for document in DOCUMENTS) / len(DOCUMENTS)
    assert abs(mean - epochs) < 4 * (0.25 / len(DOCUMENTS)) ** 0.5
