"""Texts as MinHash reads them, simplified as by datatrove: lower case, no accents, no punctuation, zeros for numbers.

Belongs here: what becomes of each character, as a table for compiled code. Does not belong here: the loops
(`shingle_kernels`), shingles and signatures (`signer`).

The words are those of datatrove's `simplify_text`, whose steps are: lower case, numbers to zeros, punctuation to
spaces, NFD without nonspacing marks. Nearly every character can be taken by itself. Those that cannot are marked: the
capital sigma, which is another letter at the end of a word, and the few combining marks that stay, whose order depends
on each other. A text that has one is left to datatrove.
"""

import sys
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from datatrove.utils.text import NUMBERS_PATTERN, PUNCTUATION_TRANS, simplify_text

from cosmo_assets.deduplication.shingle_kernels import DECIMAL_MARK, DIGIT, IN_CONTEXT

_DECIMAL_MARKS = ".,\u060c\u066b\u2396\u2397\u2398"
_CAPITAL_SIGMA = "\u03a3"
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True)
class Spelling:
    """What becomes of each code point c: its kind, uint8 of 1,114,112, and its letters in UTF-8,
    `letters[starts[c] : starts[c + 1]]`, a space where a word ends. A character's bytes become at most `growth` times
    as many. About 10 MB."""

    kinds: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    letters: npt.NDArray[np.uint8]
    growth: int

    @property
    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.uint8], int]:
        """As the compiled loops take them."""
        return self.kinds, self.starts, self.letters, self.growth


def simplified(text: str) -> str:
    """The words of a text with one space between them, through datatrove."""
    return " ".join(simplify_text(text).split())


@cache
def spelling() -> Spelling:
    """The table, as this Python's and the regex module's Unicode versions have it. Cost: half a second, once a
    process."""
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    characters = [*map(chr, range(_SURROGATES.start)), *map(chr, range(_SURROGATES.stop, sys.maxunicode + 1))]
    kinds[[ord(digit.group()) for digit in NUMBERS_PATTERN.finditer("\n".join(characters))]] = DIGIT
    kinds[[*map(ord, _DECIMAL_MARKS)]] = DECIMAL_MARK
    starts = np.zeros(sys.maxunicode + 2, np.int32)
    letters, growth = bytearray(), 1
    for character in characters:
        point = ord(character)
        parts = character
        if unicodedata.category(character) not in ("Cn", "Co"):  # told apart first, as they are the most
            parts = unicodedata.normalize("NFD", character.lower().translate(PUNCTUATION_TRANS))
            if character == _CAPITAL_SIGMA or any(map(_moves, parts)):
                kinds[point] = IN_CONTEXT
            parts = "".join(" " if part.isspace() else part for part in parts if unicodedata.category(part) != "Mn")
        spelled = parts.encode()
        letters += spelled
        starts[point + 1] = len(letters)
        growth = max(growth, -(-len(spelled) // len(character.encode())))
    starts[_SURROGATES.start + 1 : _SURROGATES.stop + 1] = starts[_SURROGATES.start]
    return Spelling(kinds, starts, np.frombuffer(bytes(letters), np.uint8), growth)


def _moves(part: str) -> bool:
    """Whether a character stays that may change places with its neighbours in NFD."""
    return unicodedata.combining(part) > 0 and unicodedata.category(part) != "Mn"
