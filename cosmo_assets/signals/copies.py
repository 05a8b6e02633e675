"""What a generated text copies verbatim from its prompt, and so from the seed that the prompt shows.

Belongs here: a text beside its prompt, as words. Does not belong here: the runs (`model_scores`), or n-grams that both
have in any order (`cosmo_assets.quality.rules`).

A model that repeats its seed teaches nothing new, and gives away what stands in it (Kandpal et al. 2022 on how
repetition makes models do so).
"""

import numpy as np
import pyarrow as pa

from cosmo_assets.signals.catalogue import COPIES
from cosmo_assets.signals.model_scores import copied_runs, share_in_runs
from cosmo_assets.words.hashing import hashed

RUN = 10
"""Words from which on a run counts as copied; shorter ones are names and phrases."""

_SCHEMA = pa.schema([pa.field(signal.name, signal.kind) for signal in COPIES])


def copies_of(texts: pa.ChunkedArray, prompts: pa.ChunkedArray) -> pa.Table:
    """The longest run of words that each text has from its prompt, and the share of its words in runs of `RUN` or more.
    Words are without case and punctuation. Cost: words of the text times those of its prompt."""
    ours, theirs = (hashed(column.combine_chunks(), "folded") for column in (texts, prompts))
    longest, shares = [], []
    for number in range(len(ours)):
        text, prompt = (
            words.hashes[words.bounds[number] : words.bounds[number + 1]].view(np.int64) for words in (ours, theirs)
        )
        runs = copied_runs(text, prompt)
        longest.append(int(runs.max(initial=0)))
        shares.append(share_in_runs(runs, RUN))
    return pa.table([longest, shares], schema=_SCHEMA)
