"""The quality classifier: the model's educational labels, learned from texts, so that every text has a score.

Belongs here: fitting, held-out scores, the stored weights. Does not belong here: what is read of a text (`features`),
the labels (`labels`), or the words of the model card (`card`).

Method: ridge regression of the label on features of unit length; held-out scores come from ten folds by the text's id;
the probability of a label of 3 and more is a logistic function of the score, fitted on held-out scores (Platt 1999).
Labels by a large model that a small one learns are what FineWeb-Edu did (Penedo et al. 2024), by a regression on
embeddings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import issparse
from scipy.special import expit, logit
from scipy.stats import spearmanr

from cosmo_assets.education.card import card
from cosmo_assets.education.features import Features, Matrix, Ngrams, features_of
from cosmo_assets.education.questions import BEST
from cosmo_assets.ids import uniform
from cosmo_assets.schemas.signals import QUALITY_CLASSIFIER
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import Embedder
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

FIT_VERSION = VERSION = "1"
FOLDS = 10
LEAST = 2 * FOLDS
"""Labels without which nothing is fitted."""
GOOD = 3
"""The label from which a text counts as educational."""
PENALTY = 1.0
DECIMALS = 4
"""Of every score, so that it is the same on processors that add up in another order."""
WEIGHTS, CARD = "weights.npz", "card.md"

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Classifier:
    """Weights of features, and what makes a score and a probability of their sum."""

    features: Features
    weights: npt.NDArray[np.float32]
    intercept: float
    slope: float
    """The logit of the probability rises by so much with each point of the score, from `offset` at 0."""
    offset: float
    chars: int
    """So many characters of a text are looked at, as of those that were labelled."""

    def score(self, texts: pa.Array) -> Reals:
        """Scores from 0 to 5. Cost: that of the features."""
        return _clipped(self.features.of(texts, self.chars) @ self.weights.astype(np.float64) + self.intercept)

    def probability(self, scores: Reals) -> Reals:
        """The probability that the model would give `GOOD` or more."""
        return np.asarray(np.round(expit(self.slope * scores + self.offset), DECIMALS))

    def figures(self, texts: pa.ChunkedArray) -> pa.Table:
        """The signals of the family `educational`: a row for each text, in order."""
        scores = self.score(texts.combine_chunks())
        return pa.table({"score": scores, "probability": self.probability(scores)})

    def save(self, path: Path) -> None:
        facts = np.array([self.intercept, self.slope, self.offset, self.chars])
        arrays = {"weights": self.weights, "facts": facts}
        if self.features.name != Ngrams.name:
            arrays["features"] = np.array(self.features.name)
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(dataset: Dataset, features: Features) -> "Classifier":
        """Raises:
        CosmoError: it was fitted on other features.
        """
        with np.load(dataset.folder / WEIGHTS) as found:
            name = str(found["features"]) if "features" in found else Ngrams.name
            if name != features.name:
                raise CosmoError(
                    f"quality_classifier was fitted on {name}, and texts are to be scored by {features.name}",
                    remedy="materialize quality_classifier: it is fitted on what the recipe's educational.features say",
                )
            intercept, slope, offset, chars = found["facts"].tolist()
            return Classifier(features, found["weights"], intercept, slope, offset, int(chars))


def build(workspace: Workspace, embedder: Callable[[], Embedder]) -> Manifest:
    """Build `quality_classifier` of the labels there are; the embedder is made only if the recipe asks for embeddings.

    Cost: the features of the labelled texts, and as many passes over these as there are folds; memory for them.

    Raises:
        CosmoError: there are too few labels, or all are the same.
    """
    labels = workspace.store.open("educational_labels")
    features = features_of(workspace.recipe, embedder)
    return workspace.build(
        "quality_classifier",
        lambda writer: _produce(writer, labels, features),
        stage_version=FIT_VERSION,
        inputs=(labels.ref(),),
        params={} if features.name == Ngrams.name else {"features": features.name},
    )


def fitted(ids: list[str], texts: pa.Array, labels: Reals, chars: int, features: Features) -> tuple[Classifier, Reals]:
    """A classifier of labelled texts, and the score of each by one that has not seen it.

    Raises:
        CosmoError: there are too few labels, or all are the same.
    """
    if len(labels) < LEAST or len(np.unique(labels)) < 2:
        raise CosmoError(
            f"quality_classifier: educational_labels has {len(labels)} labels with {len(np.unique(labels))} different "
            f"scores: {LEAST} labels or more are needed, and not all the same",
            remedy="raise educational.labels in the recipe, give it more texts, or look at the answers in "
            "educational_labels; without them leave `educational` out of its signals",
        )
    whole = features.of(texts, chars)
    met = np.unique(whole.nonzero()[1])
    matrix = whole[:, met]
    fold = np.array([int(FOLDS * uniform("fold", name)) for name in ids])
    held = np.empty(len(labels))
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            slopes, intercept = _ridge(matrix[~out], labels[~out])
            held[out] = _clipped(matrix[out] @ slopes + intercept)
    weights = np.zeros(whole.shape[1], np.float32)
    weights[met], intercept = _ridge(matrix, labels)
    return Classifier(features, weights, intercept, *_calibrated(held, labels >= GOOD), chars), held


def report(labels: Reals, held: Reals, probability: Reals) -> dict[str, Any]:
    """How held-out scores agree with the labels. `confusion` has a row for each label and a column for each score,
    rounded; of labels of `GOOD` and more, those count as found that have a probability of a half and more."""
    confusion = np.zeros((BEST + 1, BEST + 1), np.int64)
    np.add.at(confusion, (labels.astype(np.int64), np.rint(held).astype(np.int64)), 1)
    good, found = labels >= GOOD, probability >= 0.5
    hits = int((good & found).sum())
    rank = float(spearmanr(labels, held).statistic) if held.min() < held.max() else 0.0
    figures = {
        "spearman": rank,
        "mae": float(np.abs(labels - held).mean()),
        "mae_of_the_mean": float(np.abs(labels - labels.mean()).mean()),
        "precision": hits / max(int(found.sum()), 1),
        "recall": hits / max(int(good.sum()), 1),
        "f1": 2 * hits / max(int(good.sum() + found.sum()), 1),
    }
    return {**{name: round(value, DECIMALS) for name, value in figures.items()}, "confusion": confusion.tolist()}


def _clipped(scores: Reals) -> Reals:
    return np.asarray(np.round(np.clip(scores, 0.0, float(BEST)), DECIMALS), np.float64)


def _ridge(matrix: Matrix, labels: Reals) -> tuple[Reals, float]:
    from sklearn.linear_model import Ridge  # a second, and only who fits needs it

    solver = {"solver": "sparse_cg", "tol": 1e-10} if issparse(matrix) else {"solver": "cholesky"}
    found = Ridge(PENALTY, **solver).fit(matrix, labels)
    return found.coef_, float(found.intercept_)


def _calibrated(scores: Reals, good: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of the logit; of labels that are all good, or none, the probability is about their share."""
    if good.all() or not good.any():
        return 0.0, float(logit((good.sum() + 0.5) / (len(good) + 1)))
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=100.0, tol=1e-8, max_iter=1000).fit(scores[:, None], good)
    return float(found.coef_[0, 0]), float(found.intercept_[0])


def _produce(writer: DatasetWriter, labels: Dataset, features: Features) -> None:
    table = labels.table(["text_id", "extract", "score"])
    table = table.filter(pc.is_valid(table["score"])).sort_by("text_id")
    ids, scores = table["text_id"].to_pylist(), table["score"].to_numpy().astype(np.float64)
    chars = labels.manifest.params["extract_chars"]
    classifier, held = fitted(ids, table["extract"].combine_chunks(), scores, chars, features)
    probability = classifier.probability(held)
    columns = {"text_id": table["text_id"], "label": table["score"], "score": held, "probability": probability}
    writer.write(pa.table(columns).cast(QUALITY_CLASSIFIER))
    writer.artifact(WEIGHTS, classifier.save)
    unusable = labels.manifest.rows - len(ids)
    writer.flow("labels", labels.manifest.rows, len(ids), dropped={"without_a_score": unusable} if unusable else {})
    counts = labels.manifest.summary["scores"]
    writer.summary = {"labels": len(ids), "scores": counts, **report(scores, held, probability)}
    text = card(labels.manifest, writer.summary, features)
    writer.artifact(CARD, lambda path: write_text(path, text))
