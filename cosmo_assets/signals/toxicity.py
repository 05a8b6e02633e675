"""Toxicity of texts as signals: of the whole, and of the paragraph that is worst.

Belongs here: what of a text the model is shown. Does not belong here: the model (`cosmo_assets.seeds.toxicity`), or a
limit (the recipe's selection).

A long text dilutes what stands in one paragraph of it: the model judges by the share of its words.
"""

import itertools
from collections.abc import Iterator

import pyarrow as pa

from cosmo_assets.seeds.toxicity import JUDGED_CHARS, toxicity
from cosmo_assets.signals.catalogue import TOXICITY

_SCHEMA = pa.schema([pa.field(signal.name, signal.kind) for signal in TOXICITY])


def toxicity_of(texts: pa.ChunkedArray) -> pa.Table:
    """The score of each text, and the highest of its paragraphs; null where there is nothing long enough to be judged.
    Cost: linear, each text is scored twice."""
    plain = texts.to_pylist()
    paragraphs = [list(paragraphs_of(text)) for text in plain]
    scores = iter(toxicity(list(itertools.chain.from_iterable(paragraphs))))
    worst = [
        max((score for score in itertools.islice(scores, len(found)) if score is not None), default=None)
        for found in paragraphs
    ]
    return pa.table([toxicity(plain), worst], schema=_SCHEMA)


def paragraphs_of(text: str) -> Iterator[str]:
    """The lines of a text, each joined with those after it until they are long enough to be judged: a paragraph, or, in
    a text of short lines, a few of them. The last one may be shorter."""
    held = ""
    for line in text.splitlines():
        held = f"{held}\n{line}" if held else line
        if len(held) >= JUDGED_CHARS:
            yield held
            held = ""
    if held:
        yield held
