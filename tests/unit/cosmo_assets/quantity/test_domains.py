"""What is lacking of each domain by its best share: the arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.composition.answer import Weight
from cosmo_assets.quantity.budget import budget, training_of
from cosmo_assets.quantity.domains import lacks, tokens_of
from cosmo_assets.quantity.repetition import enough_unique
from cosmo_assets.quantity.show import budget_values, domains_chart
from cosmo_assets.quantity.stock import Stock
from cosmo_resources.errors import CosmoError

WEIGHTS = {
    "a": Weight(value=0.5, low=0.4, high=0.6),
    "b": Weight(value=0.3, low=0.2, high=0.45),
    "c": Weight(value=0.2, low=0.1, high=0.3),
}


def test_a_domain_lacks_what_its_share_of_enough_is_above_what_it_has() -> None:
    """1,300 tokens are more than the 1,000 that are enough, but too few of them are of `a`."""
    found = lacks(WEIGHTS, {"a": 100, "b": 300, "c": 900}, 1000)
    assert [(name, lack.there, lack.tokens, lack.least, lack.most) for name, lack in found.items()] == [
        ("a", 100, 400, 300, 500), ("b", 300, 0, 0, 150), ("c", 900, 0, 0, 0),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10**6)), min_size=1, max_size=8), st.integers(1, 10**7))
def test_with_what_is_lacking_each_has_its_share_and_no_token_too_many(
    drawn: list[tuple[int, int]], enough: int
) -> None:
    total = sum(weight for weight, _ in drawn)
    weights = {str(n): Weight(value=weight / total, low=0, high=1) for n, (weight, _) in enumerate(drawn)}
    there = {str(n): tokens for n, (_, tokens) in enumerate(drawn)}
    for lack in lacks(weights, there, enough).values():
        wanted = lack.weight.value * enough
        assert wanted <= lack.there + lack.tokens
        assert lack.tokens == 0 or lack.there + lack.tokens < wanted + 1
        assert (lack.least, lack.most) == (0, max(0, enough - lack.there))


def test_a_budget_gives_each_lacking_domain_the_epochs_of_enough() -> None:
    """In the training with enough unique tokens, each domain that lacked some is repeated as the whole is."""
    trained = training_of("epoch2024", {"tokens": 1e9})
    of_topics = {"a": 10**7, "b": 2 * 10**7, "c": 2 * 10**8}
    stock = Stock(230_000_000, "a test", by_topic=of_topics, by_source={"a": 1, "b": 1, "c": 1})
    found = budget("epoch2024", trained, stock, share=0.005, speed=None, price=0, weights=WEIGHTS)
    enough = enough_unique(trained, 0.005)
    assert found.enough.unique == pytest.approx(enough)
    values = budget_values(found)["domains"]
    assert [*values] == ["a", "b", "c"], "those that lack most first"
    for name, weight in WEIGHTS.items():
        value = values[name]
        unique = value["unique"] + value["generate"]["value"]
        assert value["unique"] == stock.by_topic[name]
        epochs = weight.value * 1e9 / unique
        if value["generate"]["value"]:
            assert epochs == pytest.approx(found.enough.epochs, rel=1e-6)
        else:
            assert epochs < found.enough.epochs
    assert values["a"]["generate"]["value"] > 0 == values["c"]["generate"]["value"]
    chart = domains_chart(found)
    assert "<title>Unique tokens by domain</title>" in chart
    assert ">a<" in chart
    without = budget("epoch2024", trained, stock, share=0.005, speed=None, price=0)
    assert budget_values(without)["domains"] == {}


def test_domains_are_topics_or_sources_of_the_corpus() -> None:
    topics, sources = {"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 5, "b": 6, "c": 7}
    assert tokens_of(WEIGHTS, topics, sources) == {"a": 1, "b": 2, "c": 3}
    assert tokens_of(WEIGHTS, {"x": 1}, sources) == sources
    with pytest.raises(CosmoError, match="--weights: 'c' is not among the domains of the corpus: a, b"):
        tokens_of(WEIGHTS, {"x": 1}, {"a": 5, "b": 6})
    with pytest.raises(CosmoError, match="'a' is not among the domains of the corpus: none known"):
        tokens_of(WEIGHTS, {}, {})
