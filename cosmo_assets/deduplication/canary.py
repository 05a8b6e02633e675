"""Canaries: texts with known duplicates that go through the same methods as the corpus.

Belongs here: the planted texts and what was found of them. Does not belong here: the methods (`survivors`).
"""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from cosmo_assets.deduplication.exact import as_integers, first_of_equal, text_hashes
from cosmo_assets.deduplication.minhash import MinHashSigner, band_name, linked
from cosmo_assets.deduplication.passages import FILE, PassageSigner, copies
from cosmo_assets.deduplication.records import read_records
from cosmo_assets.deduplication.survivors import Ranks, best_connected
from cosmo_assets.ids import uniform
from cosmo_assets.recipe.deduplication import (
    DeduplicationMethod,
    ExactMethod,
    MinHashMethod,
    PassagesMethod,
    SemanticMethod,
)

PAIRS = 12
WORDS = 160
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "ny")


@cache
def planted_recall(method: DeduplicationMethod) -> tuple[float, int]:
    """Plant `PAIRS` texts and a copy of each: the share of the copies found by a method, and how many documents were
    taken for duplicates and are none. The texts are drawn from fixed names, so they are the same everywhere. A copy
    has its last word changed, or for `exact` its case and punctuation. For `semantic`, which needs a model, nothing
    is planted."""
    if isinstance(method, SemanticMethod):
        return 1.0, 0
    texts = [_text(number) for number in range(PAIRS)]
    if isinstance(method, ExactMethod):
        copied = [text.upper().replace(" ", ", ") for text in texts]
    else:
        copied = [text.rsplit(" ", 1)[0] + " canary" for text in texts]
    survivor = survivors_of([*texts, *copied], method)
    found = int((survivor[PAIRS:] == np.arange(PAIRS)).sum())
    return found / PAIRS, int((survivor != np.arange(2 * PAIRS)).sum()) - found


def survivors_of(texts: list[str], method: ExactMethod | MinHashMethod | PassagesMethod) -> Ranks:
    """For each text the first of those that it is a duplicate of, or itself, by one method that needs no model."""
    column = pa.array(texts, pa.large_string())
    if isinstance(method, ExactMethod):
        return first_of_equal(as_integers(pa.chunked_array([text_hashes(column)])))
    with tempfile.TemporaryDirectory(prefix="cosmo-canary-") as work:
        folder = Path(work)
        signer = MinHashSigner(method) if isinstance(method, MinHashMethod) else PassageSigner(method)
        signer.add(column)
        signer.write(folder)
        if isinstance(method, MinHashMethod):
            bands = [read_records(folder / band_name(band), method.rows) for band in range(method.bands)]
            return best_connected(len(texts), linked((band, band["position"].astype(np.int64)) for band in bands))
        records = read_records(folder / FILE, 1)
        return copies(records["hashes"][:, 0], records["position"].astype(np.int64), len(texts), method.share)


def _text(number: int) -> str:
    def word(position: int) -> str:
        draws = (uniform("canary", str(number), str(position), str(part)) for part in range(3))
        return "".join(_SYLLABLES[int(draw * len(_SYLLABLES))] for draw in draws)

    return " ".join(word(position) for position in range(WORDS))
