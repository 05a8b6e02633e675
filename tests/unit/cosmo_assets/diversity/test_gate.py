"""The gate: clean builds pass as often as it says, planted collapses do not."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom, fisher_exact

from cosmo_assets.diversity.gate import LISTED, MEANS, PHRASES, Mean, Measured, Tally, decide
from cosmo_assets.diversity.measures import openers, words_in
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.diversity.builds import TOPICS, Build, build

RATE = 0.01
CLEAN = 100
SPREAD = ("vendi", "distinct_2", "distinct_3", "coverage", "evenness")
"""The means that differ from block to block in these builds: they have all of their few words in every block."""


def worse(current: Measured, accepted: Measured, rate: float = RATE) -> set[str]:
    return {verdict.measure for verdict in decide(current, accepted, rate) if verdict.worse}


@pytest.fixture(scope="module")
def clean() -> list[Measured]:
    return [build(seed, 400).measured(block=40) for seed in range(CLEAN + 1)]


def test_a_hundred_clean_builds_turn_it_red_at_most_at_the_nominal_rate(clean: list[Measured]) -> None:
    pairs = list(pairwise(clean))
    assert sum(bool(worse(now, before)) for before, now in pairs) <= CLEAN * RATE
    often = 0.2
    margin = 3 * np.sqrt(CLEAN * often * (1 - often))
    assert sum(bool(worse(now, before, often)) for before, now in pairs) <= CLEAN * often + margin
    for name in SPREAD:
        chances = [next(v.chance for v in decide(now, before, RATE) if v.measure == name) for before, now in pairs]
        for bound in (0.1, 0.5):  # neither too small nor too large: uniform, to three standard deviations
            assert abs(np.mean(np.array(chances) <= bound) - bound) < 3 * np.sqrt(bound * (1 - bound) / CLEAN), name


def test_builds_that_share_common_openers_turn_it_red_at_most_at_the_nominal_rate() -> None:
    """Their shares differ from build to build by chance alone, those of the phrases behind them as well."""
    builds = [build(seed, 400).of_common_beginnings(seed).measured(block=40) for seed in range(CLEAN + 1)]
    assert all(found.tallies[name].value > 0.2 for found in builds for name in PHRASES)
    pairs = list(pairwise(builds))
    assert sum(bool(worse(now, before)) for before, now in pairs) <= CLEAN * RATE
    often = 0.2
    margin = 3 * np.sqrt(CLEAN * often * (1 - often))
    assert sum(bool(worse(now, before, often)) for before, now in pairs) <= CLEAN * often + margin
    chances = [next(v.chance for v in decide(now, before, RATE) if v.measure == "opener") for before, now in pairs]
    for bound in (0.1, 0.5):  # at most uniform, and not so cautious that it would see nothing
        share = np.mean(np.array(chances) <= bound)
        assert bound / 3 < share < bound + 3 * np.sqrt(bound * (1 - bound) / CLEAN)


@pytest.mark.parametrize("name", SPREAD)
def test_the_intervals_hold_the_measure_as_often_as_they_say(clean: list[Measured], name: str) -> None:
    truth = np.mean([build.means[name].value for build in clean])
    held = [low <= truth <= high for low, high in (build.means[name].interval for build in clean)]
    assert 0.88 <= np.mean(held) <= 0.995


def test_resampling_documents_with_replacement_would_be_biased_downwards() -> None:
    """Why the intervals are of blocks: none of these resamples comes up to the measure itself."""
    original = build(1, 400)
    value = original.measured(block=200).means["distinct_3"].value
    random = np.random.default_rng(1)
    for _ in range(10):
        drawn = random.integers(0, 400, 400)
        again = Build([original.texts[at] for at in drawn], original.vectors[drawn], original.labels[drawn])
        assert again.measured(block=200).means["distinct_3"].value < value


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("collapse", [Build.beginning_alike, Build.of_one_pattern])
def test_a_collapse_of_one_document_in_a_hundred_turns_it_red(collapse: object, share: float) -> None:
    accepted, current = build(1001, 4000), build(1002, 4000)
    before = accepted.measured(block=200)
    assert worse(current.measured(block=200), before) == set()
    found = decide(collapse(current, share).measured(block=200), before, RATE)  # type: ignore[operator]
    assert "opener" in {verdict.measure for verdict in found if verdict.worse}
    if collapse is Build.beginning_alike:
        (opener,) = (verdict for verdict in found if verdict.measure == "opener")
        assert (opener.phrase, opener.now) == ("in this lesson we are", pytest.approx(share))


def test_ten_documents_of_a_thousand_that_begin_as_no_accepted_one_turn_it_red() -> None:
    before, current = build(1001, 1000).measured(), build(1002, 1000)
    assert worse(current.measured(), before) == set()
    collapsed = current.beginning_alike(0.01).measured()
    assert worse(collapsed, before) == {"opener"}
    forgetful = replace(before, tallies={**before.tallies, "opener": replace(before.tallies["opener"], others="")})
    assert worse(collapsed, forgetful) == set(), "one accepted document may have begun so"


def test_an_opener_that_no_document_has_is_told_from_one_that_is_not_listed() -> None:
    texts = ["one two three four five six"] * 2 + [f"{word} two three four five" for word in "abcdefghi"]
    tally = Tally.of(11, openers(words_in(pa.array(texts)), pa.array(texts), LISTED), keep_others=True)
    assert tally.held(["one two three four five", "a two three four five", "z two three four five"]).tolist() == [
        2,
        1,
        0,
    ]
    assert tally.held([]).tolist() == []
    unknown = [f"z{number} two three four five" for number in range(4000)]
    assert tally.held(unknown).sum() == 0, "18 of 65,536 places are taken: one in thirteen million passes"
    assert replace(tally, others="").held(unknown).tolist() == [1] * 4000


def test_documents_about_fewer_things_turn_it_red() -> None:
    accepted, current = build(1, 2000), build(2, 4000)
    one = np.flatnonzero(current.labels % 3 == 0)
    narrowed = Build([current.texts[at] for at in one], current.vectors[one], current.labels[one])
    assert {"vendi", "coverage", "evenness"} <= worse(narrowed.measured(), accepted.measured())


def test_a_larger_corpus_is_compared_as_one_of_the_same_size() -> None:
    small, large = (build(seed, count).measured(50).means for seed, count in ((1, 300), (2, 3000)))
    for name in MEANS:
        assert large[name].value == pytest.approx(small[name].value, rel=0.05)


EVEN = Mean(1.0, 0.1, 10, "20 documents")
NONE = Tally(100, {}, 1, 5)


def of(mean: Mean = EVEN, opener: Tally = NONE) -> Measured:
    return Measured({"vendi": mean}, {"opener": opener, "phrase": NONE})


def chances(current: Measured, accepted: Measured) -> dict[str, float]:
    return {verdict.measure: verdict.chance for verdict in decide(current, accepted, RATE)}


def test_a_mean_is_compared_by_welchs_test_in_one_direction() -> None:
    fewer = Mean(0.7, 0.1, 10, "20 documents")
    assert chances(of(fewer), of())["vendi"] == pytest.approx(0.0240, abs=1e-4)  # t = 2.1213, 18 degrees of freedom
    assert chances(of(), of(fewer))["vendi"] == pytest.approx(1 - 0.0240, abs=1e-4)


def test_a_mean_without_spread_is_compared_as_it_is() -> None:
    flat = replace(EVEN, error=0.0)
    assert chances(of(replace(flat, value=0.9)), of(flat))["vendi"] == 0.0
    assert chances(of(flat), of(flat))["vendi"] == 1.0


def test_means_of_another_basis_are_not_compared() -> None:
    other = replace(EVEN, value=0.0, basis="30 documents")
    (verdict, *_) = decide(of(other), of(), RATE)
    assert (verdict.before, verdict.chance, verdict.worse) == (None, 1.0, False)


def test_an_opener_is_compared_by_fishers_test_corrected_for_those_that_could_come_out() -> None:
    now, before = Tally(100, {"a": 12, "b": 8}, 1, 60), Tally(100, {"b": 8, "c": 2}, 1, 70)
    p = fisher_exact([[12, 88], [1, 99]], "greater").pvalue
    assert chances(of(opener=now), of(opener=before))["opener"] == pytest.approx(2 * p), "b could have: 16 documents"
    few, many = Tally(10, {"a": 2}, 1, 60), Tally(1000, {}, 1, 70)
    p = fisher_exact([[2, 8], [1, 999]], "greater").pvalue
    assert chances(of(opener=few), of(opener=many))["opener"] == pytest.approx(130 * p), "so could any unlisted one"
    assert chances(of(opener=before), of(opener=now))["opener"] == 1.0, "a share that falls is no loss"


def test_holms_correction_gives_each_measure_its_part_of_the_rate() -> None:
    alone = Mean(0.4, 0.1, 1000, "20 documents")  # t = 4.24: a chance of .00001
    assert worse(of(alone), of(replace(EVEN, blocks=1000)), 3.6e-5) == {"vendi"}
    assert worse(of(alone), of(replace(EVEN, blocks=1000)), 3.0e-5) == set(), "one of three measures"


def test_documents_that_fill_no_two_blocks_cannot_be_judged() -> None:
    with pytest.raises(CosmoError, match=r"39 documents .* two blocks of 20") as caught:
        build(1, 39).measured(block=20)
    assert "diversity.block" in caught.value.remedy


def test_what_was_measured_survives_a_manifest() -> None:
    found = build(1, 100).measured(block=20)
    assert set(found.means) == set(MEANS)
    assert set(found.tallies) == set(PHRASES)
    assert Measured.of_plain(json.loads(json.dumps(found.plain()))) == found


def real_texts(samples: Path) -> list[str]:
    paths = sorted((samples / "synthetic_gpteacher").glob("*.jsonl"))
    lines = (line for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return sorted({json.loads(line)["response"][:1500] for line in lines})


def of_real(texts: list[str]) -> Build:
    """With the frequencies of characters as vectors, and the largest of them as a label: what matters here is words."""
    letters = np.array([[text.lower().count(letter) + 1 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
    vectors = letters / np.linalg.norm(letters, axis=1, keepdims=True)
    return Build(texts, vectors, np.argmax(vectors, axis=1) % TOPICS)


def test_halves_of_real_answers_are_of_one_kind_until_one_collapses(samples: Path) -> None:
    texts, reds = real_texts(samples), 0
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(texts))
        halves = [of_real([texts[at] for at in part]) for part in np.array_split(order, 2)]
        before = halves[0].measured(block=200)
        reds += bool(worse(halves[1].measured(block=200), before))
        assert {"opener", "phrase"} <= worse(halves[1].beginning_alike(0.02).measured(block=200), before)
    assert reds <= 1  # of five at a rate of .01: two would be one chance in a thousand


def test_halves_of_real_answers_turn_it_red_as_seldom_as_the_rate_says(samples: Path) -> None:
    texts, rate, reds = real_texts(samples), 0.05, 0
    for seed in range(40):
        drawn = np.random.default_rng([2, seed]).permutation(len(texts))[:2000]
        before, now = (of_real([texts[at] for at in part]).measured(100) for part in np.array_split(drawn, 2))
        reds += bool(worse(now, before, rate))
    assert reds <= binom.ppf(0.99, 40, rate)
