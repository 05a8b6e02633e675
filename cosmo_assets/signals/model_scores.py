"""Scores of a text by a neural language model's outputs: EL2N, memorization, and what a text copies from another.

Belongs here: arithmetic on logits and token ids. Does not belong here: running a model, or scores by counts
(`language_model`).
"""

import numpy as np
import numpy.typing as npt

from cosmo_assets.words.compiled import compiled

Reals = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int64]

PREFIX, CONTINUATION = 32, 32
"""Tokens that are shown to the model and that it is to continue with (Marion et al. 2023)."""


def el2n(logits: npt.NDArray[np.floating], tokens: Tokens) -> float:
    """The error of a model on a text: the mean over its tokens of the Euclidean norm of p - y, where p is the
    distribution that the model gave and y is 1 at the token that came (Paul et al. 2021; on texts Marion et al. 2023).
    From 0, never surprised, to the square root of 2. Of several checkpoints, take the mean.

    Args:
        logits: tokens x vocabulary; row i is what the model gave for token i.
        tokens: which came, one at least.
    """
    exponents = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    errors = exponents / exponents.sum(axis=1, keepdims=True)
    errors[np.arange(len(tokens)), tokens] -= 1
    return float(np.linalg.norm(errors, axis=1).mean())


def memorization(continued: Tokens, true: Tokens) -> float:
    """The share of the tokens of a text that a model knows by heart (Biderman et al. 2023; Marion et al. 2023): of
    `CONTINUATION` tokens after `PREFIX` that it was shown, those that greedy decoding gives at their place.

    Args:
        continued: what the model gave; tokens that are missing at its end count as wrong.
        true: how the text goes on, one token at least.
    """
    length = min(len(continued), len(true))
    return float(np.count_nonzero(continued[:length] == true[:length]) / len(true))


def longest_copy(text: Tokens, source: Tokens) -> int:
    """The length of the longest run of tokens that a text has verbatim from its source. Cost: text x source; memory in
    proportion to both."""
    return int(copied_runs(text, source).max(initial=0))


def copied_share(text: Tokens, source: Tokens, size: int = CONTINUATION) -> float:
    """The share of a text's tokens that lie in runs of `size` or more which its source has verbatim: what a generation
    copies from its seed. 0 of a text without tokens. Cost as `longest_copy`, and `size` for each token."""
    return share_in_runs(copied_runs(text, source), size)


def share_in_runs(runs: Tokens, size: int) -> float:
    """The share of the tokens that lie in runs of `size` or more, where `copied_runs` gave these."""
    covered = np.unique(np.flatnonzero(runs >= size)[:, None] - np.arange(size))
    return float(len(covered) / max(len(runs), 1))


@compiled
def copied_runs(text: Tokens, source: Tokens) -> Tokens:
    """For each token of the text, the longest run that ends with it and stands in the source: by dynamic programming
    over all pairs of places. Without a branch, so that several pairs are compared at a time."""
    longest = np.zeros(len(text), np.int64)
    before, ending = np.zeros(len(source) + 1, np.int64), np.zeros(len(source) + 1, np.int64)
    for place in range(len(text)):
        token, most = text[place], 0
        for at in range(len(source)):
            run = (before[at] + 1) * (source[at] == token)
            ending[at + 1] = run
            most = max(most, run)
        longest[place] = most
        before, ending = ending, before
    return longest
