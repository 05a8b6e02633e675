"""What filtering costs: tokens, domains, repetition, mentions; and whether a filter treats groups alike."""

from math import inf

import numpy as np
import pyarrow as pa
import pytest

from cosmo_assets.selection.disparity import GROUPS, NEUTRAL, TEMPLATES, disparities
from cosmo_assets.selection.sweep import FRACTIONS, RULES, Rule, alpha_of, mentions_of, sweep
from cosmo_resources.errors import CosmoError
from tests.unit.cosmo_assets.selection.test_keeping import ids

COUNT = 8000


def test_what_repetition_costs_where_less_is_kept() -> None:
    tokens, scores = np.full(COUNT, 100), np.arange(COUNT, dtype=float)
    rows = sweep(scores, ids(COUNT), tokens, ["web"] * COUNT, {}, fractions=(1, 0.5, 0.25, 0.125, 0.05))
    assert [row.effective for row in rows] == pytest.approx([1, 0.984, 0.931, 0.828, 0.596], abs=5e-4)
    assert [row.documents for row in rows] == [8000, 4000, 2000, 1000, 400]
    assert [row.tokens for row in rows] == [800_000, 400_000, 200_000, 100_000, 40_000]
    (short,) = sweep(scores, ids(COUNT), tokens, ["web"] * COUNT, {}, fractions=(0.25,), budget=200_000)
    assert short.effective == 1, "a training that needs no more than is left repeats nothing"


def test_alpha_at_which_paretos_rule_keeps_a_fraction() -> None:
    assert alpha_of(1) == 0
    assert alpha_of(np.log(2)) == pytest.approx(1)
    assert alpha_of((1 - 2**-8) / 8) == pytest.approx(9), "GPT-3's"


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_keeps_the_fraction_and_what_is_drawn_has_some_of_low_scores(rule: Rule) -> None:
    """Whatever the scale of the scores: Pareto's rule reads ranks, Gumbel's standardized scores."""
    scores = np.random.default_rng(1).lognormal(6, 1, COUNT)
    rows = sweep(scores, ids(COUNT), np.full(COUNT, 10), ["web"] * COUNT, {}, rule=rule)
    assert [row.documents / COUNT for row in rows] == pytest.approx(FRACTIONS, abs=0.015 if rule == "pareto" else 1e-9)
    quarter = rows[3].kept
    assert rows[3].documents == quarter.sum()
    assert np.median(scores[quarter]) > np.median(scores), "the better, the likelier"
    assert (scores[quarter].min() < np.median(scores)) == (rule != "ranks")
    again = sweep(7 * scores, ids(COUNT), np.full(COUNT, 10), ["web"] * COUNT, {}, rule=rule, fractions=(0.25,))
    assert (again[0].kept == quarter).all()


def test_domains_and_their_divergence_by_hand() -> None:
    scores, tokens = np.array([4.0, 3.0, 2.0, 1.0]), np.array([30, 10, 10, 50])
    whole, half = sweep(scores, ids(4), tokens, ["code", "web", "web", "law"], {}, fractions=(1, 0.5))
    assert whole.shares == pytest.approx({"code": 0.3, "law": 0.5, "web": 0.2})
    assert whole.divergence == 0
    assert half.shares == pytest.approx({"code": 0.75, "law": 0, "web": 0.25})
    assert half.divergence == pytest.approx(0.75 * np.log(0.75 / 0.3) + 0.25 * np.log(0.25 / 0.2))


def test_fractions_of_the_sweep_and_a_document_without_a_score() -> None:
    scores = np.append(np.arange(100, dtype=float), np.nan)
    rows = sweep(scores, ids(101), np.full(101, 10), ["web"] * 101, {})
    assert [row.fraction for row in rows] == list(FRACTIONS) == [1, 0.75, 0.5, 0.25, 0.1]
    assert [row.documents for row in rows] == [100, 75, 50, 25, 10]
    nothing = sweep(np.full(2, np.nan), ids(2), np.array([5, 5]), ["a", "b"], {"x": np.ones(2, bool)})[0]
    assert (nothing.documents, nothing.effective, nothing.divergence, nothing.mentions) == (0, 0, 0, {"x": 0})


def test_mentions_are_whole_words_and_their_retention_is_that_of_their_documents() -> None:
    texts = pa.array(["A GAY man.", "The gayest", "deaf and gay", "nobody", "Deaf!"])
    found = mentions_of(texts, {"orientation": ("gay",), "disability": ("deaf", "blind"), "none": ("absent",)})
    assert {group: mask.tolist() for group, mask in found.items()} == {
        "orientation": [True, False, True, False, False],
        "disability": [False, False, True, False, True],
        "none": [False] * 5,
    }
    scores = np.array([1.0, 2.0, 5.0, 4.0, 3.0])
    (row,) = sweep(scores, ids(5), np.ones(5, int), ["web"] * 5, found, fractions=(0.4,))
    assert row.mentions == {"orientation": 0.5, "disability": 0.5}, "no document mentions the last group"


def test_a_filter_by_keywords_is_found_out() -> None:
    rows = {row.group: row for row in disparities(lambda texts: ["gay" in text or "queer" in text for text in texts])}
    assert set(rows) == set(GROUPS)
    assert (rows["orientation"].removed, rows["orientation"].texts) == (2 * len(TEMPLATES), 4 * len(TEMPLATES))
    assert rows["orientation"].control_texts == len(NEUTRAL) * len(TEMPLATES)
    assert rows["orientation"].ratio == inf
    assert rows["orientation"].low > 1
    assert all(row.ratio == 1 and row.low < 1 < row.high for group, row in rows.items() if group != "orientation")


def test_a_filter_that_looks_at_something_else_has_ratio_1() -> None:
    for word in ("neighbour", "the", "absent"):
        rows = disparities(lambda texts, word=word: np.array([word in text for text in texts]))
        assert [row.ratio for row in rows] == [1] * len(GROUPS)
        assert all(row.low < 1 < row.high for row in rows)


def test_ratio_and_interval_by_hand() -> None:
    (row,) = disparities(
        lambda texts: ["x" in text or text.startswith("1") for text in texts],
        templates=[f"{number} {{term}}" for number in range(10)],
        groups={"g": ["x"]},
        neutral=["y", "z"],
    )
    assert (row.removed, row.texts, row.control_removed, row.control_texts) == (10, 10, 2, 20)
    assert row.ratio == 10
    deviation = np.sqrt(1 / 10.5 - 1 / 11 + 1 / 2.5 - 1 / 21)
    middle = np.log((10.5 / 11) / (2.5 / 21))
    assert [row.low, row.high] == pytest.approx(np.exp([middle - 1.959964 * deviation, middle + 1.959964 * deviation]))


def test_templates_without_a_place_and_groups_without_terms_are_errors() -> None:
    with pytest.raises(CosmoError, match=r"'no place' has no \{term\}"):
        disparities(lambda texts: [False] * len(texts), templates=["no place"])
    with pytest.raises(CosmoError, match="group neutral has no terms"):
        disparities(lambda texts: [False] * len(texts), neutral=())
