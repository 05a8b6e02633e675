"""Language and script of texts as signals.

Belongs here: the detector's answer as columns, letters by script. Does not belong here: detection
(`cosmo_assets.seeds.cleaning`), or which languages are wanted (the recipe's policies).

A script is what the names of its letters in Unicode begin with.
"""

import sys
import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.seeds.cleaning import language_of
from cosmo_assets.signals.catalogue import LANGUAGE, SCRIPTS

_SCHEMA = pa.schema([pa.field(signal.name, signal.kind) for signal in LANGUAGE])
_NO_LETTER, _OTHER = len(SCRIPTS), len(SCRIPTS) + 1
_NAMES = {**{script.upper(): place for place, script in enumerate(SCRIPTS)}, "CJK": SCRIPTS.index("han")}
DECIMALS = 6
"""A probability is rounded, so that it is the same on processors that add up in another order."""


def languages_of(texts: pa.ChunkedArray) -> pa.Table:
    """Language, its probability, letters, and the share of each script in them, 0 where there are none. Cost: linear;
    of long texts the detector reads 2,000 characters."""
    plain = texts.to_pylist()
    detected = [language_of(text) for text in plain]
    counts = np.array([_scripts_in(text) for text in plain], np.int64).reshape(len(plain), len(SCRIPTS) + 2)
    letters = counts.sum(axis=1) - counts[:, _NO_LETTER]
    shares = counts[:, : len(SCRIPTS)] / np.maximum(letters, 1)[:, None]
    return pa.table(
        [
            [language for language, _ in detected],
            [round(probability, DECIMALS) for _, probability in detected],
            letters,
            *shares.T,
        ],
        schema=_SCHEMA,
    )


def _scripts_in(text: str) -> npt.NDArray[np.int64]:
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return np.bincount(_scripts()[points], minlength=len(SCRIPTS) + 2)


@lru_cache
def _scripts() -> npt.NDArray[np.uint8]:
    """The script of each of the 1,114,112 code points. Cost: some tenths of a second, once a process."""
    return np.array([_script(chr(point)) for point in range(sys.maxunicode + 1)], np.uint8)


def _script(char: str) -> int:
    if not char.isalpha():
        return _NO_LETTER
    return _NAMES.get(unicodedata.name(char, "").split(" ")[0], _OTHER)
