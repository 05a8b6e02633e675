"""The arithmetic of sources: weights are realised to the token, and no source gives more than it may."""

import math
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cosmo_assets.mixture.allocation import Share, Supply, allocate
from cosmo_assets.recipe.mixture import Component, Mixture
from cosmo_resources.errors import CosmoError

NAMES = ("web", "books", "courses", "stories")
WEIGHTS = st.floats(0.01, 1000, allow_nan=False)
SOURCES = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.integers(0, 10**11), WEIGHTS, st.floats(0.01, 8), st.none() | st.integers(1, 10**11)),
    min_size=1,
)
Sources = dict[str, tuple[int, float, float, int | None]]
ROUNDED: Sources = {
    "web": (519420490, 912.1875, 0.048828125, None),
    "books": (1141, 0.048828125, 5.0, None),
    "courses": (1727, 0.0546875, 8.0, None),
}
"""The size is 25,365,206.7 tokens, and `web` is rounded up."""


def supply(tokens: int, factor: float = 1.0) -> Supply:
    return Supply({factor: tokens})


def split(sources: Sources, *, caps: bool = False, **fields: Any) -> tuple[dict[str, Supply], Mixture]:
    components = {
        name: Component(weight=weight, max_epochs=most, max_tokens=cap if caps else None)
        for name, (_, weight, most, cap) in sources.items()
    }
    found = {name: supply(tokens) for name, (tokens, *_) in sources.items()}
    return found, Mixture(components=components, **fields)


def mixed(components: dict[str, Any], available: dict[str, int], **fields: Any) -> dict[str, Share]:
    mixture = Mixture(components=components, **fields)
    return allocate({name: supply(tokens) for name, tokens in available.items()}, mixture)


def targets(shares: dict[str, Share]) -> dict[str, int]:
    return {name: share.target for name, share in shares.items()}


@settings(deadline=None)
@given(SOURCES)
@example(ROUNDED)
def test_the_tokens_stand_in_the_ratio_of_the_weights_to_the_token(sources: Sources) -> None:
    """Each is within one token of its part of the real size, which the whole one is less than a token below."""
    supplies, mixture = split(sources)
    shares = allocate(supplies, mixture)
    size = sum(targets(shares).values())
    weights = sum(mixture.components[name].weight or 0 for name in shares)
    for name, share in shares.items():
        ratio = (mixture.components[name].weight or 0) / weights
        assert abs(share.target - size * ratio) <= 1 + ratio + 1e-9 * size


@settings(deadline=None)
@given(SOURCES, st.booleans())
def test_no_source_gives_more_than_it_may(sources: Sources, caps: bool) -> None:
    supplies, mixture = split(sources, caps=caps)
    for name, share in allocate(supplies, mixture).items():
        part = mixture.components[name]
        assert share.target <= part.max_epochs * supplies[name].tokens * (1 + 1e-9) + 1
        assert share.target <= (part.max_tokens or math.inf)


@settings(deadline=None)
@given(SOURCES, st.booleans())
def test_the_corpus_is_as_large_as_the_bounds_allow(sources: Sources, caps: bool) -> None:
    """A source runs out, or all have reached their caps: nothing could be added in the ratio of the weights."""
    supplies, mixture = split(sources, caps=caps)
    shares = allocate(supplies, mixture)
    assume(shares)
    limits = {share.limits for share in shares.values()}
    assert "epochs" in limits or limits == {"cap"}


@settings(deadline=None)
@given(SOURCES, st.floats(0.01, 1), st.booleans())
def test_a_corpus_of_a_given_size_has_exactly_that_size(sources: Sources, part: float, caps: bool) -> None:
    supplies, mixture = split(sources, caps=caps)
    most = sum(targets(allocate(supplies, mixture)).values())
    wanted = math.floor(most * part)
    assume(wanted)
    sized = allocate(supplies, mixture.model_copy(update={"tokens": wanted}))
    assert sum(targets(sized).values()) == wanted


@settings(deadline=None)
@given(SOURCES)
def test_a_corpus_that_the_sources_cannot_give_is_refused(sources: Sources) -> None:
    supplies, mixture = split(sources)
    shares = allocate(supplies, mixture)
    assume(shares)
    most = sum(targets(shares).values())
    with pytest.raises(CosmoError, match=r"runs out first") as caught:
        allocate(supplies, mixture.model_copy(update={"tokens": most + 1}))
    assert f"{most + 1:,} tokens; the sources give {most:,} at most" in caught.value.message


@settings(deadline=None)
@given(SOURCES, st.lists(st.floats(0.1, 9), min_size=1, max_size=4))
def test_stages_have_their_shares_of_the_corpus(sources: Sources, parts: list[float]) -> None:
    stages = [{"name": f"s{number}", "share": part} for number, part in enumerate(parts)]
    supplies, mixture = split(sources, stages=stages)
    shares = allocate(supplies, mixture)
    size = sum(targets(shares).values())
    for number, part in enumerate(parts):
        tokens = sum(share.tokens[number] for share in shares.values())
        assert abs(tokens - size * part / sum(parts)) <= len(shares) + 1e-9 * size


@settings(deadline=None)
@given(SOURCES, WEIGHTS)
def test_only_the_ratio_of_weights_counts(sources: Sources, scale: float) -> None:
    supplies, mixture = split(sources)
    scaled = {name: (tokens, weight * scale, most, cap) for name, (tokens, weight, most, cap) in sources.items()}
    other = targets(allocate(*split(scaled)))
    for name, target in targets(allocate(supplies, mixture)).items():
        assert abs(other[name] - target) <= 1 + 1e-9 * target


def test_a_worked_example() -> None:
    shares = mixed(
        {"web": {"weight": 3, "max_epochs": 1}, "books": {"weight": 1, "max_epochs": 4}}, {"web": 600, "books": 100}
    )
    assert targets(shares) == {"web": 600, "books": 200}
    assert [shares[name].epochs for name in ("web", "books")] == [1.0, 2.0]
    assert [shares[name].limits for name in ("web", "books")] == ["epochs", None]


def test_the_source_that_runs_out_first_sets_the_size() -> None:
    shares = mixed({"web": {"weight": 1}, "books": {"weight": 1}}, {"web": 1000, "books": 10})
    assert targets(shares) == {"web": 10, "books": 10}


def test_a_capped_source_stops_and_the_others_go_on() -> None:
    shares = mixed(
        {"web": {"weight": 8, "max_tokens": 100}, "books": {"weight": 1}, "courses": {"weight": 1, "max_epochs": 2}},
        {"web": 1000, "books": 60, "courses": 30},
    )
    assert targets(shares) == {"web": 100, "books": 60, "courses": 60}
    assert {name: share.limits for name, share in shares.items()} == {
        "web": "cap",
        "books": "epochs",
        "courses": "epochs",
    }


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, {"web": 900, "books": 100}), (2.0, {"web": 300, "books": 100}), (1e6, {"web": 100, "books": 100})],
    ids=["in proportion", "square roots", "even"],
)
def test_temperature_flattens_what_the_sources_have(temperature: float, expected: dict[str, int]) -> None:
    shares = mixed({"web": {}, "books": {}}, {"web": 900, "books": 100}, temperature=temperature)
    assert targets(shares) == pytest.approx(expected, abs=1)


def test_the_cap_of_a_source_without_weight_bounds_its_weight_too() -> None:
    shares = mixed({"web": {"max_tokens": 400}, "books": {}}, {"web": 10_000, "books": 100}, temperature=2.0)
    assert targets(shares) == {"web": 200, "books": 100}


def test_a_factor_counts_as_more_or_fewer_documents() -> None:
    supplies = {"web": Supply({1.0: 100, 3.0: 100, 0.0: 500})}
    (share,) = allocate(supplies, Mixture(components={"web": Component(weight=1, max_epochs=2)})).values()
    assert (share.target, share.epochs, share.supply.tokens, share.supply.most_factor) == (800, 2.0, 700, 3.0)


def test_stages_weigh_their_sources_and_share_the_limits() -> None:
    stages = [
        {"name": "broad", "share": 3, "weights": {"web": 1}},
        {"name": "fine", "share": 1, "weights": {"web": 1, "books": 1}},
    ]
    shares = mixed({"web": {"weight": 1}, "books": {"weight": 1}}, {"web": 700, "books": 200}, stages=stages)
    assert {name: share.tokens for name, share in shares.items()} == {"web": (600, 100), "books": (0, 100)}


def test_a_stage_without_documents_is_refused() -> None:
    stages = [{"name": "fine", "share": 1, "weights": {"books": 1}}]
    with pytest.raises(CosmoError, match=r"mixture\.stages\.fine: none of its sources has a document"):
        mixed({"web": {"weight": 1}, "books": {"weight": 1}}, {"web": 700, "books": 0}, stages=stages)


@pytest.mark.parametrize("available", [{"web": 100}, {"web": 100, "books": 0}], ids=["missing", "without tokens"])
def test_a_source_without_tokens_is_left_out_of_the_ratio(available: dict[str, int]) -> None:
    assert targets(mixed({"web": {"weight": 1}, "books": {"weight": 9}}, available)) == {"web": 100}


def test_a_source_that_the_recipe_does_not_mix_has_no_share() -> None:
    assert mixed({"web": {"weight": 1}}, {"web": 100, "books": 100}).keys() == {"web"}


def test_nothing_available_is_no_share() -> None:
    assert mixed({"web": {"weight": 1}}, {}) == {}


SIZES = {"books": 10, "courses": 100, "web": 1000}


def test_what_a_source_lacks_is_filled_by_the_others_in_their_ratio() -> None:
    wanted = {"books": 0.5, "courses": 0.3, "web": 0.2}
    components = {name: {"weight": weight, "max_epochs": 4} for name, weight in wanted.items()}
    shares = mixed(components, SIZES, tokens=200, fill=True)
    assert targets(shares) == {"books": 40, "courses": 96, "web": 64}
    assert [share.epochs for share in shares.values()] == [4, 0.96, 0.064]
    assert [share.limits for share in shares.values()] == ["epochs", None, None]


def test_equal_weights_that_are_filled_are_unimax() -> None:
    components = {name: {"weight": 1, "max_epochs": 4} for name in SIZES}
    assert targets(mixed(components, SIZES, tokens=300, fill=True)) == {"books": 40, "courses": 130, "web": 130}


def test_the_temperature_is_that_of_the_literature() -> None:
    shares = mixed({name: {"max_epochs": 1e9} for name in SIZES}, SIZES, tokens=10**6, temperature=1 / 0.3)
    assert [round(target / 10**6, 4) for target in targets(shares).values()] == [0.1433, 0.2860, 0.5707]


@settings(deadline=None)
@given(SOURCES, st.floats(0, 1), st.booleans())
def test_filled_sources_have_run_out_or_stand_in_the_ratio_of_the_weights(
    sources: Sources, part: float, caps: bool
) -> None:
    supplies, plain = split(sources, caps=caps)
    ends = {
        name: min(plain.components[name].max_epochs * found.tokens, plain.components[name].max_tokens or math.inf)
        for name, found in supplies.items()
    }
    size = int(part * sum(ends.values()))
    assume(size > 0)
    mixture = Mixture(components=plain.components, tokens=size, fill=True)
    shares = allocate(supplies, mixture)
    assert sum(targets(shares).values()) == size
    slack = 1 + 1e-9 * size
    scales = {name: share.target / (mixture.components[name].weight or 0) for name, share in shares.items()}
    for name, share in shares.items():
        assert share.target <= ends[name] + slack
        if share.target < ends[name] - slack:
            weight = mixture.components[name].weight or 0
            assert all(
                scales[other] * weight <= share.target + slack * (1 + weight / (mixture.components[other].weight or 0))
                for other in scales
            )


def test_more_than_all_sources_have_cannot_be_filled() -> None:
    components = {name: {"weight": 1} for name in SIZES}
    assert targets(mixed(components, SIZES, tokens=1110, fill=True)) == SIZES
    with pytest.raises(CosmoError, match=r"1,110 at most: every source has reached") as caught:
        mixed(components, SIZES, tokens=1111, fill=True)
    assert "`fill`" not in caught.value.remedy
    with pytest.raises(ValueError, match=r"fill: say with `tokens`"):
        mixed(components, SIZES, fill=True)
