"""Draws: a template meets its quota of seeds, one change moves as little as possible, and topics weigh what they shall.

Belongs here: draws from made-up numbers and topics. Does not belong here: quotas (`test_allocation`).
"""

import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import Numbers, mixed
from cosmo_assets.prompts.allocation import Cell, capped, drawn, quotas, topic_weights
from cosmo_assets.recipe.prompts import Prompts
from cosmo_resources.errors import CosmoError

Topics = npt.NDArray[np.int64]

CASES = st.integers(0, 2**32).map(random.Random)
COUNT = 20_000


def numbers(count: int, case: int = 0) -> Numbers:
    return mixed(np.arange(count, dtype=np.uint64) + np.uint64((case << 20) + 1))


def asked(balance: float = 1.0, cap: float | None = None, **use: Any) -> Prompts:
    mixes = {"web": {"templates": [{"template": "a", **use}]}}
    return Prompts.model_validate({"mixes": mixes, "topic_balance": balance, "caps": {"topic": cap}})


def met(seeds: Numbers, quota: int, template: str = "a", weights: npt.NDArray[np.float64] | None = None) -> set[int]:
    return set(seeds[drawn(seeds, quota, template, weights)].tolist())


@given(CASES)
def test_a_template_meets_as_many_seeds_as_its_quota(case: random.Random) -> None:
    count = case.randint(0, 500)
    seeds = numbers(count, case.randrange(1000))
    quota = case.randint(0, count)
    weights = np.random.default_rng(case.randrange(1000)).uniform(0.01, 100, count) if case.random() < 0.5 else None
    chosen = drawn(seeds, quota, "a", weights)
    assert chosen.dtype == bool
    assert chosen.sum() == quota
    assert met(seeds, quota + 1, weights=weights) >= met(seeds, quota, weights=weights)
    assert drawn(seeds, count + 1, "a", weights).all()
    order = np.array(case.sample(range(count), count), dtype=np.int64)
    assert drawn(seeds[order], quota, "a", None if weights is None else weights[order]).tolist() == (
        chosen[order].tolist()
    )


@settings(max_examples=300)
@given(CASES)
def test_one_more_seed_changes_one_seeds_prompts(case: random.Random) -> None:
    rate, count = case.uniform(0.001, 1), case.randint(1, 400)
    seeds = numbers(count + 1, case.randrange(1000))
    few, more = (Cell("web", "pages", "a", "general", "blogpost", size, rate) for size in (count, count + 1))
    weights = np.random.default_rng(case.randrange(1000)).uniform(0.1, 10, count + 1)
    for weight in (None, weights):
        before = met(seeds[:-1], quotas([few], asked())[0], weights=None if weight is None else weight[:-1])
        after = met(seeds, quotas([more], asked())[0], weights=weight)
        assert len(before ^ after) <= 2  # the new one for one at the boundary, or either of them more
        assert len(after - before) <= 1
        assert len(before - after) <= int(int(seeds[-1]) in after)


def test_every_seed_is_drawn_as_likely_as_any_other() -> None:
    times = np.zeros(500)
    for place in range(400):
        times += drawn(numbers(500), 100, f"t{place}", None)
    assert abs(((times - 80) ** 2 / (80 * 0.8)).sum() - 500) < 4 * (2 * 500) ** 0.5  # chi squared


def test_the_seeds_of_one_template_say_nothing_about_those_of_another() -> None:
    seeds = numbers(COUNT)
    both = drawn(seeds, COUNT // 4, "a", None) & drawn(seeds, COUNT // 2, "b", None)
    assert abs(both.sum() - COUNT / 8) < 4 * (COUNT / 8) ** 0.5


@pytest.mark.parametrize("weight", [0.25, 2.0, 10.0])
def test_a_seed_of_more_weight_is_drawn_more_often_in_proportion(weight: float) -> None:
    heavy = np.arange(COUNT) % 5 == 0
    chosen = drawn(numbers(COUNT), COUNT // 20, "a", np.where(heavy, weight, 1.0))
    expected = COUNT // 20 * weight / (weight + 4)
    assert abs(chosen[heavy].sum() - expected) < 4 * expected**0.5


def of_topics(sizes: list[int]) -> Topics:
    return np.repeat(np.arange(len(sizes)), sizes)


def by_topic(topics: Topics, weights: Mapping[int, float], quotas: Mapping[str, int]) -> Counter[int]:
    """How many prompts each topic gets from templates that meet all seeds alike."""
    seeds, found = numbers(len(topics)), Counter[int]()
    of_seed = np.array([weights.get(topic, 1.0) for topic in topics.tolist()])
    for template, quota in quotas.items():
        found.update(topics[drawn(seeds, quota, template, of_seed)].tolist())
    return found


SIZES = [100, 400, 1_600, 6_400, 25_600]
QUOTAS = {"a": 400, "b": 600, "c": 500}


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_topics_have_prompts_in_proportion_to_a_power_of_their_seeds(balance: float) -> None:
    weights = topic_weights(dict(enumerate(SIZES)), asked(balance), "web")
    found = by_topic(of_topics(SIZES), weights, QUOTAS)
    powers = [size**balance for size in SIZES]
    for topic, power in enumerate(powers):
        expected = min(1_500 * power / sum(powers), 3 * SIZES[topic])
        assert abs(found[topic] - expected) < 4 * expected**0.5
    assert bool(weights) == (balance != 1)


def test_the_less_balance_the_more_prompts_are_of_rare_topics() -> None:
    balances = [0.0, 0.25, 0.5, 0.75, 1.0]
    weights = [topic_weights(dict(enumerate(SIZES)), asked(balance), "web") for balance in balances]
    found = [by_topic(of_topics(SIZES), weight, QUOTAS) for weight in weights]
    assert [counts[0] for counts in found] == sorted((counts[0] for counts in found), reverse=True)
    assert [counts[4] for counts in found] == sorted(counts[4] for counts in found)
    for weight in weights[:4]:
        assert sorted(weight.values(), reverse=True) == list(weight.values())  # seeds of rare topics are used more


def test_a_topic_of_few_seeds_gives_all_of_them_once_to_each_template() -> None:
    sizes = [5, 2_000, 3_000]
    found = by_topic(of_topics(sizes), topic_weights(dict(enumerate(sizes)), asked(0.0), "web"), {"a": 900, "b": 900})
    assert found[0] == 2 * 5
    assert abs(found[1] - found[2]) < 4 * 900**0.5


@pytest.mark.parametrize("fields", [{"balance": 0.0}, {"balance": 0.4, "cap": 0.3}], ids=str)
def test_topics_change_no_quota(fields: dict[str, float]) -> None:
    cells = [Cell("web", "pages", name, "general", "blogpost", 1_000, rate) for name, rate in (("a", 0.3), ("b", 1))]
    assert quotas(cells, asked(**fields)) == quotas(cells, asked()) == [300, 1_000]


@settings(deadline=None, max_examples=60)
@given(CASES)
def test_no_topic_has_more_than_its_cap(case: random.Random) -> None:
    sizes = [int(10 ** case.uniform(1.5, 4)) for _ in range(case.randint(3, 30))]
    cap = case.uniform(1.2, 3) / len(sizes)
    prompts = asked(case.choice([0.0, 0.5, 1.0]), cap)
    topics = of_topics(sizes)
    room = sum(min(size, min(sizes) * 4) for size in sizes)  # so that no topic must have more than it may
    each = {"a": room // 12, "b": room // 30, "c": 3}
    weights = topic_weights(dict(enumerate(sizes)), prompts, "web")
    assert all(weight * sizes[topic] <= cap * sum(sizes) * (1 + 1e-9) for topic, weight in weights.items())
    held = capped(lambda some: by_topic(topics, some, each), weights, cap)
    found = by_topic(topics, held, each)
    assert sum(found.values()) == sum(each.values())
    assert max(found.values()) <= max(int(cap * sum(each.values()) + 1e-9), 1)
    assert capped(lambda some: by_topic(topics, some, each), held, cap) == held


def test_a_cap_that_all_seeds_keep_holds_for_those_drawn_as_well() -> None:
    sizes = [500, 500, 500, 500]
    weights = topic_weights(dict(enumerate(sizes)), asked(cap=0.26), "web")
    assert weights == {}
    assert max(by_topic(of_topics(sizes), weights, {"a": 100}).values()) > 26
    held = capped(lambda some: by_topic(of_topics(sizes), some, {"a": 100}), weights, 0.26)
    assert max(by_topic(of_topics(sizes), held, {"a": 100}).values()) <= 26


def test_without_a_cap_weights_stay_as_they_are() -> None:
    assert capped(lambda weights: {0: 99, 1: 1}, {0: 2.0}, None) == {0: 2.0}


def test_seeds_of_no_topic_are_not_capped() -> None:
    assert capped(lambda weights: {-1: 80, 0: 10, 1: 10}, {0: 2.0}, 0.1) == {0: 2.0}


def test_of_few_prompts_a_topic_may_have_one() -> None:
    assert capped(lambda weights: {0: 1, 1: 1, 2: 1}, {}, 0.2) == {}


def test_a_cap_that_no_draw_holds_is_refused_with_the_numbers() -> None:
    with pytest.raises(CosmoError, match=r"at most 40\.00% .* 240 of 600 prompts; .* up to 500"):
        capped(lambda weights: by_topic(of_topics([500, 50, 50]), weights, {"a": 600}), {}, 0.4)


@pytest.mark.parametrize("topics", [2, 3, 7, 49, 145, 3_000])
@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_a_cap_that_is_too_small_for_the_topics_is_refused_with_one_that_is_not(topics: int, balance: float) -> None:
    sizes = {topic: 10 + (990 if topic == 0 else 0) for topic in range(topics)}
    with pytest.raises(CosmoError, match=rf"the seeds of web are of {topics} topics") as refusal:
        topic_weights(sizes, asked(balance, 0.97 / topics), "web")
    cap = float(re.findall(r"raise it to (\S+) or more", refusal.value.remedy)[0])
    assert cap <= 1.1 / topics
    assert topic_weights(sizes, asked(balance, cap), "web")
    assert topic_weights(sizes, asked(balance, 1 / topics), "web")


def test_seeds_without_topics_weigh_alike() -> None:
    assert topic_weights({}, asked(0.0, 0.1), "web") == {}
