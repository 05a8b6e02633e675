"""Toxicity of a text as a score, by a small model that comes with its package and needs no network.

Belongs here: asking the model, and whom it would remove for nothing. Does not belong here: the threshold (the recipe's
seed policy).

Method: the linear SVM of alt-profanity-check over TF-IDF of words, calibrated to a probability; trained on 200,000
labelled English comments. It judges words, not meaning: insults and obscenity are found, politely worded hatred is not.
Of 15,471 newsgroup posts it scores 75 above 0.9, of which those that were read are abuse; of 2,000 pages of textbooks,
encyclopedias, catalogues and educational web pages (medicine, religion, history and slavery among them) none scores
above 0.5. Long texts dilute what stands in one paragraph of them.
"""

import functools
from collections.abc import Sequence
from typing import Any

from cosmo_assets.selection.disparity import TEMPLATES, Disparity, disparities

JUDGED_CHARS = 100
"""Shorter texts are not judged: in a title one word decides ("Penis" scores 0.999, "How to Kill Weeds" 0.95)."""

DECIMALS = 4
"""A score is rounded, so that it is the same on processors that add up in another order."""


def toxicity(texts: Sequence[str]) -> list[float | None]:
    """The score of each text, from 0 to 1; None for texts that are too short to be judged. Cost: linear, about 4 MB a
    second."""
    judged = [text for text in texts if len(text) >= JUDGED_CHARS]
    scores = iter(_model()(judged) if judged else [])
    return [round(float(next(scores)), DECIMALS) if len(text) >= JUDGED_CHARS else None for text in texts]


@functools.lru_cache
def disparities_of(limit: float) -> tuple[Disparity, ...]:
    """By group, how harmless paragraphs fare that are about it, where a text with a score above `limit` is removed.
    Paragraphs of three sentences, for shorter texts are not judged."""
    paragraphs = [" ".join((TEMPLATES * 2)[at : at + 3]) for at in range(len(TEMPLATES))]

    def removes(texts: list[str]) -> list[bool]:
        return [score is not None and score > limit for score in toxicity(texts)]

    return tuple(disparities(removes, paragraphs))


@functools.cache
def _model() -> Any:
    """The model, loaded when it is first asked: it takes a second, and scikit-learn with it."""
    from profanity_check import predict_prob

    return predict_prob
