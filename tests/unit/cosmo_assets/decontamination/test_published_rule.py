"""The `cosmopedia` rule against the published algorithm in plain Python: the same candidates, shares and verdicts."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cosmo_assets.decontamination.rules import CosmopediaRule, Items
from cosmo_assets.words.hashing import hashed
from tests.doubles.plain_decontamination import PlainIndex, matched_share, words_of
from tests.sample_benchmarks import plain_items

pytestmark = [pytest.mark.samples, pytest.mark.slow]

NGRAM = 10
RATIO = 0.5
PAIRS = 20_000
MOST_WORDS = 30
"""Of an item, and twice as many of a text: difflib needs milliseconds for each pair that is longer."""


def texts_of_pieces(items: list[str], count: int) -> list[str]:
    """Texts of three pieces of items, each of ten words or more, so that shares lie on both sides of the ratio."""
    draw, texts = random.Random(41), []
    cases = [str, str.upper, str.title, lambda piece: piece.replace(" ", ", "), lambda piece: piece.replace("e", "é")]
    for _ in range(count):
        pieces = []
        for words in (item.split() for item in draw.sample(items, 3)):
            size = draw.randint(min(NGRAM, len(words)), min(len(words), 20))
            start = draw.randint(0, len(words) - size)
            pieces.append(draw.choice(cases)(" ".join(words[start : start + size])))
        texts.append("\n".join(pieces))
    return texts


@pytest.mark.timeout(600)
def test_candidates_shares_and_verdicts_are_those_that_were_published(samples: Path) -> None:
    read = [item.text for item in plain_items(samples)]
    chosen = [text for text in read if len(words_of(text)) <= MOST_WORDS]
    texts = texts_of_pieces([text for text in chosen if len(words_of(text)) >= NGRAM], PAIRS // 2)

    rule = CosmopediaRule(NGRAM, -1.0)  # all candidates, with their shares
    array, held = pa.array(texts), pa.array(chosen, pa.large_string())
    items = Items(held, hashed(held, rule.alphabet), np.zeros(len(held), np.int64))
    found = list(rule.condemned(array, hashed(array, rule.alphabet), items, rule.table(items)))
    shares = {(match.text, match.item): match.ratio for match in found}
    spans = {(match.text, match.item): match.span for match in found}
    assert len(shares) == len(found) >= PAIRS

    plain = PlainIndex(chosen, NGRAM)
    shown = [words_of(text) for text in texts]
    assert sorted(shares) == [(text, item) for text, words in enumerate(shown) for item in plain.candidates(words)]

    published = {pair: matched_share(shown[pair[0]], plain.items[pair[1]]) for pair in shares}
    assert {pair: share for pair, (share, _) in published.items()} == shares
    assert {pair: span for pair, (_, span) in published.items()} == spans

    strict = CosmopediaRule(NGRAM, RATIO)
    verdicts = strict.condemned(array, hashed(array, rule.alphabet), items, strict.table(items))
    contaminated = {pair for pair, (share, _) in published.items() if share > RATIO}
    assert {(match.text, match.item) for match in verdicts} == contaminated
    assert 0.1 * len(shares) < len(contaminated) < 0.9 * len(shares)
