"""The families of signals: what measures texts, and on what its figures depend.

Belongs here: a family as data, all families. Does not belong here: how a figure is computed (a module each), the names
of signals (`catalogue`), or reading texts and writing tables (`stage`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cosmo_assets.education import classifier
from cosmo_assets.education.features import features_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.signals import neural, perplexity
from cosmo_assets.signals.ages import years_of
from cosmo_assets.signals.copies import copies_of
from cosmo_assets.signals.languages import languages_of
from cosmo_assets.signals.privacy import privacy_of
from cosmo_assets.signals.statistics import statistics_of
from cosmo_assets.signals.toxicity import toxicity_of
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.embedding import Embedder

Measure = Callable[..., pa.Table]
"""Given texts, and where the family is one of `OF_GENERATED` their prompts beside them (both `pa.ChunkedArray`), the
signals of the family: a row each, in order."""


def _nothing(_: Recipe) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Family:
    """What measures texts. A figure depends on its text, and prompt, on `models`, `params` and `version`, on nothing
    else, so that what was measured once is not measured again."""

    what: str
    """Of which figures, in the words of an asset's description."""
    version: str
    measure: Callable[[Workspace, Callable[[], Embedder]], Measure]
    """Loads what is needed, where there is a text to measure; the embedder only where it is."""
    models: tuple[str, ...] = ()
    """The assets, without buckets, that it reads."""
    params: Callable[[Recipe], Mapping[str, Any]] = _nothing
    """What of the recipe it depends on."""


FAMILIES: Mapping[str, Family] = {
    "statistics": Family(
        "Figures that the published heuristics judge by: words, lines, repetition, punctuation.",
        "1",
        lambda *_: statistics_of,
    ),
    "toxicity": Family(
        "Toxicity by the offline model: of the whole text, and of its worst paragraph.", "1", lambda *_: toxicity_of
    ),
    "privacy": Family("Personal data: how much of which kind, and where it stands.", "1", lambda *_: privacy_of),
    "language": Family("Language as detected, and the scripts of the letters.", "1", lambda *_: languages_of),
    "copies": Family("What a text copies verbatim from its prompt.", "1", lambda *_: copies_of),
    "age": Family("The years that a text names, the latest of which it is no older than.", "1", lambda *_: years_of),
    "perplexity": Family(
        "How surprising it is to n-gram models of the corpus's reference text, none of which has read it.",
        perplexity.VERSION,
        lambda workspace, _: perplexity.Judges.load(workspace.store.open("language_model")).figures,
        models=("language_model",),
    ),
    "educational": Family(
        "What it teaches, as a classifier has learned it from the model's labels of a sample.",
        classifier.VERSION,
        lambda workspace, embedder: (
            classifier.Classifier.load(
                workspace.store.open("quality_classifier"), features_of(workspace.recipe, embedder)
            ).figures
        ),
        models=("quality_classifier",),
    ),
    "neural": Family(
        "How surprising it is to transformers, and whether one knows it by heart.",
        neural.VERSION,
        lambda workspace, _: neural.Judges.of(workspace.recipe).figures,
        params=neural.params,
    ),
}
"""By the name that the recipe has for it; `CATALOGUE` has their signals."""
