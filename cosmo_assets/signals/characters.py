"""What each character is to the heuristics, as a table of code points that compiled code reads.

Belongs here: classes of characters. Does not belong here: where words and lines end (`word_kernels`, `line_kernels`).

Spaces, letters and digits are those of this Python's `str` methods; line ends those of `str.splitlines`; symbols and
terminal marks datatrove's, of many scripts, read from it.
"""

import sys
import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

Kinds = npt.NDArray[np.uint16]

SPACE = np.uint16(1)
WORD = np.uint16(2)
"""Letters, digits, combining marks and the underscore: what words are made of."""
LETTER = np.uint16(4)
DIGIT = np.uint16(8)
SYMBOL = np.uint16(16)
"""A word of symbols alone is no word to Gopher's rules."""
PUNCTUATION = np.uint16(32)
"""Unicode's category P."""
TERMINAL = np.uint16(64)
BREAK = np.uint16(128)
LOWER = np.uint16(256)
UPPER = np.uint16(512)


@lru_cache
def kinds() -> Kinds:
    """The classes of each of the 1,114,112 code points, 2 MB. Cost: a second, once a process."""
    return np.array([_kind(chr(point)) for point in range(sys.maxunicode + 1)], np.uint16)


def _kind(char: str) -> int:
    category = unicodedata.category(char)
    classes = (
        (SPACE, char.isspace()),
        (WORD, char.isalnum() or category[0] == "M" or char == "_"),
        (LETTER, char.isalpha()),
        (DIGIT, char.isdecimal()),
        (SYMBOL, char in PUNCTUATION_SET),
        (PUNCTUATION, category[0] == "P"),
        (TERMINAL, char in TERMINAL_PUNCTUATION),
        (BREAK, len(f"{char}.".splitlines()) == 2),
        (LOWER, char.islower()),
        (UPPER, char.isupper()),
    )
    return sum(int(bit) for bit, holds in classes if holds)
