"""The classifier: it learns planted words, and nothing from shuffled labels; too little is refused."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.education import classifier
from cosmo_assets.education.checks import CLASSIFIER_CHECKS
from cosmo_assets.education.classifier import BITS, Classifier, features, fitted, report
from cosmo_assets.ids import seed_id
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe

MARKS = "theorem proof hence lemma therefore definition"
NOISE = "discount basket checkout voucher cookies subscribe"

texts = st.lists(st.sampled_from("abcde"), max_size=10).map(" ".join)


def written(number: int, score: int) -> str:
    """Forty words, and five of which as many as the score speak for a textbook."""
    draw = random.Random(f"{number}/{score}")
    marks = draw.choices(MARKS.split(), k=score) + draw.choices(NOISE.split(), k=5 - score)
    words = prose(f"text/{number}", 40).split() + marks
    draw.shuffle(words)
    return " ".join(words)


def labelled(count: int, first: int = 0) -> tuple[list[str], pa.Array, np.ndarray[Any, np.dtype[np.float64]]]:
    scores = [number % 6 for number in range(first, first + count)]
    found = [written(number, score) for number, score in enumerate(scores, first)]
    return [seed_id("pages", text, text) for text in found], pa.array(found), np.array(scores, np.float64)


def auc(good: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
    """The chance that a good text has the higher score."""
    above = scores[good][:, None] - scores[~good][None, :]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def test_held_out_scores_tell_two_kinds_of_texts_apart_and_shuffled_labels_nothing() -> None:
    """N12 of two synthetic classes: an area under the curve above .99, and of shuffled labels about a half."""
    names, column, scores = labelled(400)
    good = scores >= 3
    _, held = fitted(names, column, np.where(good, 5.0, 0.0), 3000)
    assert auc(good, held) > 0.99
    areas = []
    for seed in range(4):
        shuffled = np.random.default_rng(seed).permutation(np.where(good, 5.0, 0.0))
        areas.append(auc(shuffled >= 3, fitted(names, column, shuffled, 3000)[1]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)


def test_texts_that_nobody_labelled_are_found() -> None:
    """By probability: of 300 new texts, whose kind the classifier was never told."""
    found, _ = fitted(*labelled(600), 3000)
    _, column, scores = labelled(300, first=600)
    figures = found.figures(pa.chunked_array([column])).to_pydict()
    good, said = scores >= 3, np.array(figures["probability"]) >= 0.5
    assert (good & said).sum() / said.sum() > 0.9
    assert (good & said).sum() / good.sum() > 0.9
    assert np.corrcoef(scores, figures["score"])[0, 1] > 0.9


def test_the_score_rises_with_the_share_of_good_text() -> None:
    found, _ = fitted(*labelled(600), 3000)
    scores = [found.score(pa.array([written(number, share) for number in range(50)])).mean() for share in range(6)]
    assert scores == sorted(scores)
    assert scores[5] - scores[0] > 2


def test_probabilities_are_calibrated() -> None:
    """Of the texts whose probability is said to be so and so, about as many have a label of 3 and more."""
    names, column, scores = labelled(900)
    noisy = np.clip(scores + np.random.default_rng(4).integers(-2, 3, len(scores)), 0, 5)
    found, held = fitted(names, column, noisy, 3000)
    said, good = found.probability(held), noisy >= 3
    for low, high in ((0.0, 0.35), (0.35, 0.65), (0.65, 1.0)):
        chosen = (said >= low) & (said <= high)
        assert chosen.sum() > 60
        assert good[chosen].mean() == pytest.approx(said[chosen].mean(), abs=0.12)


def test_held_out_scores_know_nothing_of_their_own_label() -> None:
    """Turning one label over moves no held-out score of its fold, and those of others."""
    names, column, scores = labelled(60)
    turned = scores.copy()
    turned[7] = 5 - turned[7]
    before, after = (fitted(names, column, labels, 3000)[1] for labels in (scores, turned))
    assert before[7] == after[7]
    assert (before != after).sum() > 30


@settings(deadline=None, max_examples=50)
@given(st.lists(texts, min_size=1, max_size=6))
def test_features_of_a_text_are_of_unit_length_and_its_own(found: list[str]) -> None:
    matrix = features(pa.array(found), 3000)
    assert matrix.shape == (len(found), 1 << BITS)
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    assert lengths == pytest.approx([1.0 if text else 0.0 for text in found])
    for row, text in enumerate(found):
        alone = features(pa.array([text.upper()]), 3000)
        assert abs(alone - matrix[row]).sum() == 0, "nor do its neighbours, case or punctuation matter"
        assert alone.nnz <= len({*text.split()}) + max(len(text.split()) - 1, 0)


def test_words_and_pairs_count_by_their_logarithm_and_only_at_the_beginning() -> None:
    once, thrice = features(pa.array(["tide", "tide tide tide"]), 3000)
    assert once.nnz == 1
    assert sorted(thrice.data) == pytest.approx(np.log([3, 4]) / np.hypot(*np.log([3, 4])))
    assert abs(features(pa.array(["tide wave"]), 4) - once).sum() == 0
    assert abs(features(pa.array(["tide wave"]), 3000) - features(pa.array(["wave tide"]), 3000)).nnz == 2


def test_the_report_counts_what_stands_in_the_table() -> None:
    labels, held = np.array([0.0, 2, 3, 5, 4]), np.array([0.4, 3.6, 2.5, 5.0, 1.0])
    found = report(labels, held, np.array([0.1, 0.7, 0.5, 0.9, 0.2]))
    assert (found["precision"], found["recall"], found["f1"]) == (0.6667, 0.6667, 0.6667)
    assert found["mae"] == pytest.approx((0.4 + 1.6 + 0.5 + 0 + 3) / 5)
    assert found["mae_of_the_mean"] == pytest.approx((2.8 + 0.8 + 0.2 + 2.2 + 1.2) / 5)
    assert found["spearman"] == 0.6
    places = {(row, column) for row in range(6) for column in range(6) if found["confusion"][row][column]}
    assert places == {(0, 0), (2, 4), (3, 2), (5, 5), (4, 1)}
    assert report(labels, np.full(5, 2.0), np.full(5, 0.5))["spearman"] == 0


# The stage


def stored(folder: Path, count: int = 60, *, same: int | None = None, turn: bool = False) -> Workspace:
    """Labels of texts, two of which have none."""
    workspace = Workspace(CorpusStore(folder), recipe())
    names, column, scores = labelled(count)
    rows = [
        {"text_id": name, "extract": text, "score": int(score) if same is None else same, "status": "ok"}
        for name, text, score in zip(names, column.to_pylist(), scores, strict=True)
    ]
    rows += [{"text_id": f"{number:032x}", "extract": "?", "score": None, "status": "failed"} for number in (1, 2)]
    summary = {"scores": [count // 6] * 6, "sources": {"seed_documents": count}}
    params = {"extract_chars": 3000, "model": "replay", "revision": "1"}
    put(workspace, "educational_labels", {None: rows[::-1] if turn else rows}, summary=summary, params=params)
    return workspace


def test_what_is_stored_is_what_was_fitted_in_any_order_of_the_labels(tmp_path: Path) -> None:
    manifests = []
    for turn in (False, True):
        workspace = stored(tmp_path / str(turn), turn=turn)
        manifests.append(classifier.build(workspace))
        found = Classifier.load(workspace.store.open("quality_classifier"))
        fresh, held = fitted(*labelled(60), 3000)
        assert np.abs(found.weights - fresh.weights).max() < 1e-6
        rows = {row["text_id"]: row for row in workspace.store.open("quality_classifier").table().to_pylist()}
        names, _, scores = labelled(60)
        assert [rows[name]["label"] for name in names] == scores.tolist()
        assert [rows[name]["score"] for name in names] == pytest.approx(held, abs=2e-4)
    first, second = ([(entry.name, entry.content) for entry in manifest.files] for manifest in manifests)
    assert first == second
    flow = manifests[0].flow
    assert (flow.rows_in, flow.rows_out, flow.dropped, flow.balanced) == (62, 60, {"without_a_score": 2}, True)


def test_the_card_says_on_what_it_rests(tmp_path: Path) -> None:
    workspace = stored(tmp_path)
    manifest = classifier.build(workspace)
    page = (workspace.store.open("quality_classifier").folder / classifier.CARD).read_text(encoding="utf-8")
    assert "60 texts (60 of seed_documents)" in page
    assert "replay (revision 1)" in page
    assert f"| Spearman correlation | {manifest.summary['spearman']} |" in page
    assert page.count("\n| 5 |") == 2, "the label's meaning, and its row of the confusion"


def test_too_few_labels_and_labels_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="18 labels with 6 different scores: 20 labels or more") as caught:
        classifier.build(stored(tmp_path / "few", 18))
    assert "educational.labels" in str(caught.value.remedy)
    with pytest.raises(CosmoError, match="24 labels with 1 different scores"):
        classifier.build(stored(tmp_path / "same", 24, same=4))


def test_labels_that_are_all_below_three_have_a_probability_of_next_to_nothing() -> None:
    names, column, scores = labelled(60)
    found, held = fitted(names, column, np.minimum(scores, 2), 3000)
    assert found.probability(held) == pytest.approx(0.5 / 61, abs=1e-4)


def test_labels_that_words_do_not_explain_are_warned_of(tmp_path: Path) -> None:
    workspace = stored(tmp_path)
    manifest = classifier.build(workspace)
    verdicts = {check.name: check.test(manifest, workspace.recipe)[0] for check in CLASSIFIER_CHECKS}
    assert verdicts == {"agrees": True, "better_than_the_mean": True}
    worse = manifest.model_copy(update={"summary": {**manifest.summary, "spearman": 0.3, "mae": 1.6}})
    assert not any(check.test(worse, workspace.recipe)[0] for check in CLASSIFIER_CHECKS)
