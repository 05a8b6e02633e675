"""What log-likelihoods say: bits per byte, and answers to multiple-choice questions.

Belongs here: arithmetic on log-likelihoods (nats) and lengths. Does not belong here: the model that gives them
(`train`), whether a difference is a finding (`bootstrap`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


def bits_per_byte(log_likelihoods: Array, sizes: Counts) -> Array:
    """Bits for each byte of UTF-8 of texts with these log-likelihoods: comparable between tokenizers."""
    return np.asarray(-log_likelihoods / (np.log(2) * sizes))


@dataclass(frozen=True)
class Answers:
    """Of each question, what the model made of it."""

    accuracy: Array
    """1 where the right choice has the highest log-likelihood. Of n choices that are equally high each counts 1/n, as
    if one of them were drawn."""
    accuracy_norm: Array
    """The same for the log-likelihood by character of the choice (`acc_norm` of lm-evaluation-harness)."""
    bits_per_byte: Array
    """Of the right choice. It tells arms apart sooner than accuracy does (DataDecide; Magnusson et al. 2025)."""


def answers(log_likelihoods: Array, characters: Counts, sizes: Counts, items: Counts, right: Marks) -> Answers:
    """The answers to questions of which all choices are given, item after item.

    All arrays are by choice: log-likelihood given the question, length in characters and in bytes, number of the item
    (from 0, ascending), and whether it is the right one, which one of each item is.
    """
    return Answers(
        _credit(log_likelihoods, items, right),
        _credit(log_likelihoods / characters, items, right),
        bits_per_byte(log_likelihoods[right], sizes[right]),
    )


def _credit(scores: Array, items: Counts, right: Marks) -> Array:
    """By item, the chance that the right choice is drawn from those of the highest score."""
    starts = np.flatnonzero(np.diff(items, prepend=-1))
    best = scores == np.maximum.reduceat(scores, starts)[items]
    return np.asarray(best[right] / np.add.reduceat(best.astype(np.float64), starts))
