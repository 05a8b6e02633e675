"""Published sets of thresholds for the statistics of a document, as data.

Belongs here: which value of which statistic is too low or too high, by whom, and which bound a document breaks first.
Does not belong here: how a statistic is computed (`statistics`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Bound(NamedTuple):
    """A document breaks it whose `signal`, a column of the statistics, is below `minimum` or above `maximum`."""

    signal: str
    minimum: float | None
    maximum: float | None
    reason: str


GOPHER_QUALITY = (
    Bound("words", 50, None, "gopher_short_doc"),
    Bound("words", None, 100_000, "gopher_long_doc"),
    Bound("mean_word_length", 3, None, "gopher_below_avg_threshold"),
    Bound("mean_word_length", None, 10, "gopher_above_avg_threshold"),
    Bound("hash_ratio", None, 0.1, "gopher_too_many_hashes"),
    Bound("ellipsis_ratio", None, 0.1, "gopher_too_many_ellipsis"),
    Bound("bullet_line_share", None, 0.9, "gopher_too_many_bullets"),
    Bound("ellipsis_line_share", None, 0.3, "gopher_too_many_end_ellipsis"),
    Bound("letter_word_share", 0.8, None, "gopher_below_alpha_threshold"),
    Bound("stop_words", 2, None, "gopher_enough_stop_words"),
)
"""The quality rules of MassiveText (Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from
Training Gopher", appendix A), in the order and with the reasons of datatrove's `GopherQualityFilter`."""

GOPHER_REPETITION = (
    Bound("characters", 1, None, "empty"),
    Bound("duplicate_paragraph_share", None, 0.3, "dup_para_frac"),
    Bound("duplicate_paragraph_char_share", None, 0.2, "dup_para_char_frac"),
    Bound("duplicate_line_share", None, 0.3, "dup_line_frac"),
    Bound("duplicate_line_char_share", None, 0.2, "dup_line_char_frac"),
    Bound("top_2gram_char_share", None, 0.2, "top_2_gram"),
    Bound("top_3gram_char_share", None, 0.18, "top_3_gram"),
    Bound("top_4gram_char_share", None, 0.16, "top_4_gram"),
    Bound("duplicate_5gram_char_share", None, 0.15, "duplicated_5_n_grams"),
    Bound("duplicate_6gram_char_share", None, 0.14, "duplicated_6_n_grams"),
    Bound("duplicate_7gram_char_share", None, 0.13, "duplicated_7_n_grams"),
    Bound("duplicate_8gram_char_share", None, 0.12, "duplicated_8_n_grams"),
    Bound("duplicate_9gram_char_share", None, 0.11, "duplicated_9_n_grams"),
    Bound("duplicate_10gram_char_share", None, 0.1, "duplicated_10_n_grams"),
)
"""The repetition rules of MassiveText (Rae et al. 2021, table A1), in the order and with the reasons of datatrove's
`GopherRepetitionFilter`."""

C4 = (
    Bound("c4_curly_bracket_first", None, 0, "curly_bracket"),
    Bound("c4_lorem_ipsum_lines", None, 0, "lorem_ipsum"),
    Bound("c4_curly_bracket_lines", None, 0, "curly_bracket"),
    Bound("c4_sentences", 5, None, "too_few_sentences"),
)
"""The rules of C4 that drop a page (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer", section 2.2), with the reasons of datatrove's `C4QualityFilter`: of "lorem ipsum" and a curly
bracket, whichever comes first. The rules that drop a line are in the statistics. To leave out curly brackets, where
code is wanted, is to leave out both bounds of that reason."""

FINEWEB = (
    Bound("filled_lines", 1, None, "empty"),
    Bound("ended_line_share", 0.12, None, "line_punct_ratio"),
    Bound("short_line_share", None, 0.67, "short_line_ratio"),
    Bound("repeated_line_char_share", None, 0.01, "char_dup_ratio"),
    Bound("newline_ratio", None, 0.3, "list_ratio"),
)
"""The rules that FineWeb adds (Penedo et al. 2024, "The FineWeb Datasets: Decanting the Web for the Finest Text Data at
Scale"), in the order and with the reasons of datatrove's `FineWebQualityFilter`."""

RULE_SETS = {"gopher_quality": GOPHER_QUALITY, "gopher_repetition": GOPHER_REPETITION, "c4": C4, "fineweb": FINEWEB}


def reasons_of(statistics: pa.Table, bounds: Sequence[Bound]) -> pa.Array:
    """The reason of the first bound that each document breaks; null where it breaks none. Rows as in `statistics`."""
    reasons = [bound.reason for bound in bounds]
    first = np.full(len(statistics), len(bounds), np.int64)
    for place in reversed(range(len(bounds))):
        first[broken(statistics, bounds[place])] = place
    return pa.array([*reasons, None], pa.string()).take(pa.array(first))


def broken(statistics: pa.Table, bound: Bound) -> npt.NDArray[np.bool_]:
    """Which documents break a bound."""
    values = statistics[bound.signal].to_numpy()
    low = values < bound.minimum if bound.minimum is not None else np.zeros(len(values), np.bool_)
    return low | (values > bound.maximum) if bound.maximum is not None else low
