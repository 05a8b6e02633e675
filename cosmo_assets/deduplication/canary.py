"""Canaries: texts with known duplicates that go through the same stages as the corpus.

Belongs here: the planted texts and what was found of them. Does not belong here: the stages (`minhash`).
"""

import tempfile
from functools import cache
from pathlib import Path

from cosmo_assets.deduplication.minhash import near_duplicate_groups
from cosmo_assets.ids import uniform
from cosmo_assets.recipe import Deduplication

PAIRS = 12
WORDS = 160
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "ny")


@cache
def planted_recall(recipe: Deduplication) -> tuple[float, int]:
    """Plant `PAIRS` texts and a copy of each with its last word changed: the share of pairs found, and how many pairs
    were found that were not planted. The texts are drawn from fixed names, so they are the same everywhere."""
    texts = [_text(number) for number in range(PAIRS)]
    copies = [text.rsplit(" ", 1)[0] + " canary" for text in texts]
    with tempfile.TemporaryDirectory(prefix="cosmo-canary-") as work:
        groups = near_duplicate_groups([*texts, *copies], recipe, Path(work))
    found = {(left, right) for group in groups for left in group for right in group if left < right}
    planted = {(number, number + PAIRS) for number in range(PAIRS)}
    return len(found & planted) / PAIRS, len(found - planted)


def _text(number: int) -> str:
    def word(position: int) -> str:
        draws = (uniform("canary", str(number), str(position), str(part)) for part in range(3))
        return "".join(_SYLLABLES[int(draw * len(_SYLLABLES))] for draw in draws)

    return " ".join(word(position) for position in range(WORDS))
