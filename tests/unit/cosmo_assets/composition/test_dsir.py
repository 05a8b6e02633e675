"""DSIR: weights are those of the package, quotas are exact, and a mixed target is not recovered."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.composition import dsir
from cosmo_assets.composition.dsir import (
    BUCKETS,
    Features,
    choose,
    divergence,
    features_of,
    log_ratio,
    quotas_of,
    spooled,
)
from cosmo_assets.ids import gumbels, hexadecimal, numbers_of, uniforms
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from tests.doubles import dsir_package, plain_dsir

SHARES = {"a": 0.6, "b": 0.3, "c": 0.1}
EACH, WORDS = 1000, 40


def ids(count: int, seed: int = 0) -> pa.Array:
    return pa.array(hexadecimal(np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)))


def words_of(domain: str, count: int, seed: int) -> list[str]:
    """Texts of one of three domains, which use the same words, each some more than others."""
    often = np.random.default_rng(ord(domain)).dirichlet(np.full(60, 0.5))
    drawn = np.random.default_rng([seed, ord(domain)]).choice(60, (count, WORDS), p=often)
    return [" ".join(f"w{number}" for number in row) for row in drawn]


@cache
def raw() -> Features:
    return features_of(text for domain in SHARES for text in words_of(domain, EACH, 0))


@cache
def target(domain: str) -> Features:
    return features_of(words_of(domain, 300, 1))


@cache
def mixed_target() -> Features:
    return features_of(text for domain, share in SHARES.items() for text in words_of(domain, int(1000 * share), 1))


def by_domain(chosen: np.ndarray) -> list[int]:
    return [int(part.sum()) for part in np.split(chosen, len(SHARES))]


def test_log_ratios_and_log_weights_are_those_of_the_authors_package() -> None:
    answers = dsir_package.answers()
    raw, target = features_of(dsir_package.RAW), features_of(dsir_package.TARGET)
    ratios = log_ratio(target.shares(), raw.shares())
    assert (len(ratios), np.count_nonzero(ratios)) == (BUCKETS, answers["not_zero"])
    listed = {int(number): value for number, value in answers["buckets"].items()}
    assert len(listed) > 10
    assert ratios[list(listed)] == pytest.approx([*listed.values()], rel=1e-12)
    assert ratios.sum() == pytest.approx(answers["sum"], rel=1e-12)
    assert (ratios**2).sum() == pytest.approx(answers["sum_of_squares"], rel=1e-12)
    assert raw.sums(ratios) == pytest.approx(answers["log_weights"], rel=1e-12, abs=1e-12)
    assert raw.words.tolist() == answers["words"]


def test_one_word_documents_are_resampled_to_the_shares_of_the_target() -> None:
    words = np.random.default_rng(0).choice(["x", "y", "z"], 200_000, p=[0.2, 0.3, 0.5])
    wanted = features_of(["x"] * 50 + ["y"] * 30 + ["z"] * 20)
    found = choose(ids(len(words)), features_of(words.tolist()), {"t": wanted}, {"t": 2000}, least_words=1)
    shares = [(words[found.numbers == 0] == word).mean() for word in "xyz"]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert found.choices[0].documents == 2000


def test_quotas_are_exact_and_bring_the_corpus_nearer_to_a_mixed_target() -> None:
    quotas = quotas_of(SHARES, 900)
    assert quotas == {"a": 540, "b": 270, "c": 90}
    found = choose(ids(3 * EACH), raw(), {name: target(name) for name in SHARES}, quotas, least_words=0)
    assert np.bincount(found.numbers + 1).tolist() == [2100, 540, 270, 90]
    assert by_domain(found.numbers >= 0) == [540, 270, 90], "each target takes from its own domain"
    wanted = mixed_target().shares()
    random = np.isin(np.arange(3 * EACH), np.random.default_rng(0).choice(3 * EACH, 900, replace=False))
    assert divergence(wanted, raw().shares(found.numbers >= 0)) < 0.8 * divergence(wanted, raw().shares(random))


def test_one_target_takes_its_own_domain() -> None:
    found = choose(ids(3 * EACH), raw(), {"b": target("b")}, {"b": 900}, least_words=0)
    assert by_domain(found.numbers == 0)[1] >= 0.99 * 900
    assert found.choices[0].after < 0.5 * found.choices[0].before


def test_a_mixed_target_collapses_onto_its_largest_domain() -> None:
    found = choose(ids(3 * EACH), raw(), {"mixed": mixed_target()}, {"mixed": 900}, least_words=0)
    assert by_domain(found.numbers == 0)[0] >= 0.99 * 900, "a limitation of the method: see docs/composition.md"
    assert found.choices[0].after > found.choices[0].before, "worse than chance"


def test_ratios_and_weights_are_those_of_the_plain_reference() -> None:
    texts = ["Ein Test, ein TEST!", "", "a", "naïve _under_ score?!... 3.14", "a a a b"]
    wanted = ["A test; b a", "Score 3"]
    there, aim = features_of(texts), features_of(wanted)
    ratios = log_ratio(aim.shares(), there.shares())
    plain = plain_dsir.log_ratios(wanted, texts, BUCKETS)
    assert np.abs(ratios - plain).max() <= 1e-12
    weights = [plain_dsir.log_weight(text, plain) for text in texts]
    assert there.sums(ratios) == pytest.approx(weights, abs=1e-10)
    assert there.words.tolist() == [6, 0, 1, 7, 4]


def test_the_ratio_of_a_hand_made_case() -> None:
    aim, there = features_of(["x x", "y"]), features_of(["x y"])
    both = [int(features_of([word]).buckets[0]) for word in ("x", "y")]
    ratios = log_ratio(aim.shares(), there.shares())[both]
    assert ratios == pytest.approx([np.log(2 / 4) - np.log(1 / 3), np.log(1 / 4) - np.log(1 / 3)], abs=1e-6)
    assert log_ratio(aim.shares(smoothing=1), there.shares())[both[0]] == pytest.approx(np.log(9 / 10_004), abs=1e-4)


@given(st.permutations(range(40)), st.integers(1, 39))
def test_neither_order_nor_other_documents_move_the_noise(order: list[int], count: int) -> None:
    texts, names = words_of("a", 20, 0) + words_of("b", 20, 0), ids(40)
    aims = {"a": target("a"), "b": target("b")}
    quotas = {"a": count // 2, "b": count - count // 2}

    def chosen(rows: list[int]) -> dict[str, int]:
        found = choose(
            names.take(pa.array(rows)), features_of([texts[row] for row in rows]), aims, quotas, least_words=0
        )
        return dict(zip(names.take(pa.array(rows)).to_pylist(), found.numbers.tolist(), strict=True))

    assert chosen(order) == chosen(list(range(40)))
    noise = gumbels(numbers_of(names), "dsir", "a", "0")
    assert (
        gumbels(numbers_of(names.take(pa.array(order[:count]))), "dsir", "a", "0").tolist()
        == noise[order[:count]].tolist()
    )


def test_another_seed_and_another_target_draw_other_noise() -> None:
    args = (ids(3 * EACH), raw(), {"b": target("b")}, {"b": 100})
    one, other = (choose(*args, seed=seed, least_words=0).numbers for seed in (0, 1))
    assert (one != other).any()
    numbers = numbers_of(ids(100))
    assert (gumbels(numbers, "dsir", "a", "0") != gumbels(numbers, "dsir", "b", "0")).all()


def test_gumbel_noise_has_its_mean_and_variance() -> None:
    noise = gumbels(numbers_of(ids(200_000)), "test")
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.01)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.02)


def test_gumbel_noise_of_a_draw_of_0_is_finite() -> None:
    salt = np.array([int(digest("draws", "test")[:16], 16)], np.uint64)
    assert uniforms(salt, "test").tolist() == [0]
    assert np.isfinite(gumbels(salt, "test")).all()


def test_short_documents_are_not_chosen_and_too_few_are_an_error() -> None:
    texts = features_of(["x y z"] * 5 + ["x y"] * 5)
    found = choose(ids(10), texts, {"t": features_of(["x y"])}, {"t": 5}, least_words=3)
    assert found.numbers.tolist() == [0] * 5 + [-1] * 5
    assert found.choices[0].effective == pytest.approx(5), "equal weights"
    with pytest.raises(CosmoError, match=r"6 documents are asked for, 5 have 3 words"):
        choose(ids(10), texts, {"t": features_of(["x y"])}, {"t": 6}, least_words=3)


def test_by_default_documents_of_a_hundred_words_are_chosen_and_shorter_ones_are_not() -> None:
    texts = features_of(["x " * 99] * 5 + ["x " * 100] * 5)
    found = choose(ids(10), texts, {"t": features_of(["x x"])}, {"t": 5})
    assert found.numbers.tolist() == [-1] * 5 + [0] * 5
    with pytest.raises(CosmoError, match=r"6 documents are asked for, 5 have 100 words"):
        choose(ids(10), texts, {"t": features_of(["x x"])}, {"t": 6})


def test_the_effective_sample_size_is_that_of_the_weights() -> None:
    texts = features_of(["x", "x", "y"])
    found = choose(ids(3), texts, {"t": features_of(["x", "y", "y", "y"])}, {"t": 1}, least_words=1)
    first, last = (1 / 4) / (2 / 3), (3 / 4) / (1 / 3)
    assert found.choices[0].effective == pytest.approx((2 * first + last) ** 2 / (2 * first**2 + last**2), rel=1e-6)
    assert found.log_weights[:, 0] == pytest.approx(np.log([first, first, last]), abs=1e-6)


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(0.01, 10), min_size=1), st.integers(0, 1000))
def test_quotas_sum_to_the_total_and_miss_it_by_less_than_one(parts: dict[str, float], total: int) -> None:
    quotas = quotas_of(parts, total)
    assert sum(quotas.values()) == total
    whole = sum(parts.values())
    assert all(abs(quotas[name] - total * part / whole) < 1 + 1e-6 for name, part in parts.items())


def test_targets_that_want_the_same_documents_share_them() -> None:
    texts = features_of(["x y z"] * 10)
    found = choose(ids(10), texts, dict.fromkeys("ab", features_of(["x y"])), {"a": 6, "b": 4}, least_words=0)
    assert np.bincount(found.numbers + 1).tolist() == [0, 6, 4]


def test_of_equal_remainders_the_first_name_gets_the_document() -> None:
    assert quotas_of({"b": 1, "a": 1}, 3) == {"b": 1, "a": 2}


@given(st.lists(st.text("ab ", max_size=12), max_size=12), st.integers(1, 9))
def test_features_in_a_file_and_counted_in_blocks_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], block: int
) -> None:
    there = features_of(texts, 50)
    file = spooled(iter(texts), tmp_path_factory.mktemp("spool") / "features", 50)
    values, chosen = np.random.default_rng(0).normal(size=50), np.arange(len(texts)) % 2 == 0
    whole = there.shares(chosen), there.sums(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dsir, "_BLOCK", block)
        parts = file.shares(chosen), file.sums(values)
    assert parts[0].tolist() == whole[0].tolist()
    assert parts[1].tolist() == whole[1].tolist()
    assert file.words.tolist() == there.words.tolist() == [len(text.split()) for text in texts]
    assert isinstance(file.buckets, np.memmap) or not len(file.buckets)
    assert (file.buckets == there.buckets).all()
