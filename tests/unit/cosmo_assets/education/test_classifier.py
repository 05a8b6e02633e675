"""The classifier: it learns planted words, and nothing from shuffled labels; too little is refused."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.education import classifier
from cosmo_assets.education.checks import CLASSIFIER_CHECKS
from cosmo_assets.education.classifier import Classifier, fitted, report
from cosmo_assets.education.features import BITS, Embeddings, Ngrams
from cosmo_assets.ids import seed_id
from cosmo_assets.signals import stage
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import Embedder
from cosmo_resources.embedding.minilm import MiniLmEmbedder, pipeline_embedder
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


@pytest.fixture(scope="module")
def embedder() -> MiniLmEmbedder:
    return pipeline_embedder()


class Remembering:
    """An embedder for which a text that comes again costs nothing."""

    def __init__(self, embedder: MiniLmEmbedder) -> None:
        self.embedder, self.known = embedder, dict[str, npt.NDArray[np.float32]]()
        self.name, self.revision = embedder.name, embedder.revision

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        new = [text for text in texts if text not in self.known]
        self.known.update(zip(new, self.embedder.encode(new), strict=True))
        return np.array([self.known[text] for text in texts])


class Letters:
    """An embedder by the marks and noise among the words, of which there are two revisions."""

    name = "letters"

    def __init__(self, revision: str = "1") -> None:
        self.revision, self.encoded = revision, 0

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        self.encoded += len(texts)
        counts = [[sum(word in text for word in words.split()) for words in (MARKS, NOISE)] for text in texts]
        vectors = np.zeros((len(texts), 384), np.float32)
        vectors[:, :2] = np.array(counts) + 0.1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def no_embedder() -> Embedder:
    raise AssertionError("nothing is embedded")


def auc(good: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
    """The chance that a good text has the higher score."""
    above = scores[good][:, None] - scores[~good][None, :]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def test_held_out_scores_tell_two_kinds_of_texts_apart_and_shuffled_labels_nothing() -> None:
    """N12 of two synthetic classes: an area under the curve above .99, and of shuffled labels about a half."""
    names, column, scores = labelled(400)
    good = scores >= 3
    _, held = fitted(names, column, np.where(good, 5.0, 0.0), 3000, Ngrams())
    assert auc(good, held) > 0.99
    areas = []
    for seed in range(4):
        shuffled = np.random.default_rng(seed).permutation(np.where(good, 5.0, 0.0))
        areas.append(auc(shuffled >= 3, fitted(names, column, shuffled, 3000, Ngrams())[1]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)


def test_embeddings_tell_the_same_apart_and_of_shuffled_labels_nothing(embedder: MiniLmEmbedder) -> None:
    """N12 as above: two kinds of texts, of which every sixth word speaks for a textbook or for a shop."""
    vectors = Embeddings(Remembering(embedder))
    found = [written(number, 5 * (number % 2)) for number in range(160)]
    good = np.arange(160) % 2 == 1
    names, column = [seed_id("pages", text, text) for text in found], pa.array(found)
    classifier, held = fitted(names, column, np.where(good, 5.0, 0.0), 3000, vectors)
    assert auc(good, held) > 0.99
    areas = []
    for seed in range(6):
        shuffled = np.random.default_rng(seed).permutation(np.where(good, 5.0, 0.0))
        areas.append(auc(shuffled >= 3, fitted(names, column, shuffled, 3000, vectors)[1]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
    others = pa.array([written(number, share) for share in range(6) for number in range(1000, 1016)])
    scores = classifier.score(others).reshape(6, 16).mean(axis=1)
    assert scores.tolist() == sorted(scores), "it rises with the share of good text"
    assert scores[5] - scores[0] > 2


def test_an_embedding_is_that_of_the_beginning_alone(embedder: MiniLmEmbedder) -> None:
    texts = pa.array(["tide wave foam", "tide", "", "tide 🌊"])
    matrix = Embeddings(embedder).of(texts, 6)
    assert matrix.shape == (4, 384)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx([1, 1, 1, 1])
    assert (matrix == embedder.encode(["tide w", "tide", "", "tide 🌊"])).all()


def test_texts_that_nobody_labelled_are_found() -> None:
    """By probability: of 300 new texts, whose kind the classifier was never told."""
    found, _ = fitted(*labelled(600), 3000, Ngrams())
    _, column, scores = labelled(300, first=600)
    figures = found.figures(pa.chunked_array([column])).to_pydict()
    good, said = scores >= 3, np.array(figures["probability"]) >= 0.5
    assert (good & said).sum() / said.sum() > 0.9
    assert (good & said).sum() / good.sum() > 0.9
    assert np.corrcoef(scores, figures["score"])[0, 1] > 0.9


def test_the_score_rises_with_the_share_of_good_text() -> None:
    found, _ = fitted(*labelled(600), 3000, Ngrams())
    scores = [found.score(pa.array([written(number, share) for number in range(50)])).mean() for share in range(6)]
    assert scores == sorted(scores)
    assert scores[5] - scores[0] > 2


def test_probabilities_are_calibrated() -> None:
    """Of the texts whose probability is said to be so and so, about as many have a label of 3 and more."""
    names, column, scores = labelled(900)
    noisy = np.clip(scores + np.random.default_rng(4).integers(-2, 3, len(scores)), 0, 5)
    found, held = fitted(names, column, noisy, 3000, Ngrams())
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
    before, after = (fitted(names, column, labels, 3000, Ngrams())[1] for labels in (scores, turned))
    assert before[7] == after[7]
    assert (before != after).sum() > 30


@settings(deadline=None, max_examples=50)
@given(st.lists(texts, min_size=1, max_size=6))
def test_features_of_a_text_are_of_unit_length_and_its_own(found: list[str]) -> None:
    matrix = Ngrams().of(pa.array(found), 3000)
    assert matrix.shape == (len(found), 1 << BITS)
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    assert lengths == pytest.approx([1.0 if text else 0.0 for text in found])
    for row, text in enumerate(found):
        alone = Ngrams().of(pa.array([text.upper()]), 3000)
        assert abs(alone - matrix[row]).sum() == 0, "nor do its neighbours, case or punctuation matter"
        assert alone.nnz <= len({*text.split()}) + max(len(text.split()) - 1, 0)


def test_words_and_pairs_count_by_their_logarithm_and_only_at_the_beginning() -> None:
    once, thrice = Ngrams().of(pa.array(["tide", "tide tide tide"]), 3000)
    assert once.nnz == 1
    assert sorted(thrice.data) == pytest.approx(np.log([3, 4]) / np.hypot(*np.log([3, 4])))
    assert abs(Ngrams().of(pa.array(["tide wave"]), 4) - once).sum() == 0
    assert abs(Ngrams().of(pa.array(["tide wave"]), 3000) - Ngrams().of(pa.array(["wave tide"]), 3000)).nnz == 2


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


def stored(folder: Path, count: int = 60, *, same: int | None = None, turn: bool = False, **fields: Any) -> Workspace:
    """Labels of texts, two of which have none."""
    workspace = Workspace(CorpusStore(folder), recipe(**fields))
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
        manifests.append(classifier.build(workspace, no_embedder))
        found = Classifier.load(workspace.store.open("quality_classifier"), Ngrams())
        fresh, held = fitted(*labelled(60), 3000, Ngrams())
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
    manifest = classifier.build(workspace, no_embedder)
    page = (workspace.store.open("quality_classifier").folder / classifier.CARD).read_text(encoding="utf-8")
    assert "60 texts (60 of seed_documents)" in page
    assert "replay (revision 1)" in page
    assert f"| Spearman correlation | {manifest.summary['spearman']} |" in page
    assert page.count("\n| 5 |") == 2, "the label's meaning, and its row of the confusion"


def test_too_few_labels_and_labels_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="18 labels with 6 different scores: 20 labels or more") as caught:
        classifier.build(stored(tmp_path / "few", 18), no_embedder)
    assert "educational.labels" in str(caught.value.remedy)
    with pytest.raises(CosmoError, match="24 labels with 1 different scores"):
        classifier.build(stored(tmp_path / "same", 24, same=4), no_embedder)


def test_labels_that_are_all_below_three_have_a_probability_of_next_to_nothing() -> None:
    names, column, scores = labelled(60)
    found, held = fitted(names, column, np.minimum(scores, 2), 3000, Ngrams())
    assert found.probability(held) == pytest.approx(0.5 / 61, abs=1e-4)


def test_labels_that_words_do_not_explain_are_warned_of(tmp_path: Path) -> None:
    workspace = stored(tmp_path)
    manifest = classifier.build(workspace, no_embedder)
    verdicts = {check.name: check.test(manifest, workspace.recipe)[0] for check in CLASSIFIER_CHECKS}
    assert verdicts == {"agrees": True, "better_than_the_mean": True}
    worse = manifest.model_copy(update={"summary": {**manifest.summary, "spearman": 0.3, "mae": 1.6}})
    assert not any(check.test(worse, workspace.recipe)[0] for check in CLASSIFIER_CHECKS)


# By embeddings

BY_EMBEDDINGS = {"signals": ["educational"], "educational": {"features": "embeddings"}}


def test_a_classifier_on_embeddings_says_by_whom_and_scores_texts_by_no_other(tmp_path: Path) -> None:
    workspace = stored(tmp_path, **BY_EMBEDDINGS)
    manifest = classifier.build(workspace, Letters)
    assert manifest.params == {"features": "letters 1"}
    dataset = workspace.store.open("quality_classifier")
    page = (dataset.folder / classifier.CARD).read_text(encoding="utf-8")
    assert "the sentence embedding by letters (revision 1)" in page
    assert "hashed words" not in page
    assert "256 word pieces" in page
    found = Classifier.load(dataset, Embeddings(Letters()))
    fresh, _ = fitted(*labelled(60), 3000, Embeddings(Letters()))
    assert found.weights == pytest.approx(fresh.weights, abs=1e-6)
    facts = [(one.intercept, one.slope, one.offset, one.chars) for one in (found, fresh)]
    assert facts[0] == pytest.approx(facts[1], rel=1e-4)
    with np.load(dataset.folder / classifier.WEIGHTS, allow_pickle=False) as arrays:
        assert arrays["weights"].shape == (384,)
    for others in (Embeddings(Letters("2")), Ngrams()):
        with pytest.raises(CosmoError, match=f"fitted on letters 1, and texts are to be scored by {others.name}"):
            Classifier.load(dataset, others)


def test_another_embedder_fits_anew_and_words_are_stored_as_they_always_were(tmp_path: Path) -> None:
    workspace = stored(tmp_path)
    words = classifier.build(workspace, no_embedder)
    assert words.params == {}
    with np.load(workspace.store.open("quality_classifier").folder / classifier.WEIGHTS) as arrays:
        assert sorted(arrays) == ["facts", "weights"]
    by_embeddings = Workspace(workspace.store, recipe(**BY_EMBEDDINGS))
    first = classifier.build(by_embeddings, Letters)
    second = classifier.build(by_embeddings, lambda: Letters("2"))
    assert len({words.version, first.version, second.version}) == 3
    assert classifier.build(workspace, no_embedder).version == words.version


def test_every_text_is_embedded_once_and_scored_as_the_classifier_says(tmp_path: Path) -> None:
    workspace = stored(tmp_path, **BY_EMBEDDINGS)
    letters = Letters()
    classifier.build(workspace, lambda: letters)
    assert letters.encoded == 60
    rows = [{"seed_id": seed_id("pages", str(n), "x"), "text": written(n, n % 6)} for n in range(100, 130)]
    put(workspace, "seed_documents", {None: rows[:20]})
    stage.build_seeds(workspace, "educational", lambda: letters)
    assert letters.encoded == 80
    put(workspace, "seed_documents", {None: rows}, version="2")
    manifest = stage.build_seeds(workspace, "educational", lambda: letters)
    assert letters.encoded == 90, "those that were scored are taken over"
    assert manifest.run["reused_rows"] == 20
    found = Classifier.load(workspace.store.open("quality_classifier"), Embeddings(Letters()))
    stored_rows = workspace.store.open("seed_educational").table().to_pylist()
    assert [row["score"] for row in stored_rows] == found.score(pa.array([row["text"] for row in rows])).tolist()
    assert stage.build_seeds(workspace, "educational", no_embedder).version == manifest.version
    classifier.build(workspace, lambda: Letters("2"))
    other = stage.build_seeds(workspace, "educational", lambda: Letters("2"))
    assert (other.run["reused_rows"], other.inputs != manifest.inputs) == (0, True)


def test_a_recipe_that_says_nothing_of_features_keeps_its_digest() -> None:
    plain, said = (recipe(educational={"labels": 50, **more}) for more in ({}, {"features": "ngrams"}))
    assert "features" not in plain.model_dump(mode="json")["educational"]
    assert plain.digest == said.digest != recipe(educational={"labels": 50, "features": "embeddings"}).digest
