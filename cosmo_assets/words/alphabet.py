"""Words of a text, for matching: in Python, and as a table of code points that compiled code reads.

Belongs here: normalization, and where words begin and end. Does not belong here: words as numbers (`hashing`), or
what equal words mean (`cosmo_assets.decontamination`, `cosmo_assets.deduplication`).

Each code point is normalized by itself, so that a text and any excerpt of it have the same words. Two alphabets:
`published` is Cosmopedia's (NFD, lower case, combining marks dropped, runs of word characters); `folded` finds a text
in every case and every Unicode form: NFKD, case folded from upper case, combining marks and invisible characters
dropped, an underscore is punctuation, and in scripts that put no spaces between words each character is a word.
"""

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

AlphabetName = Literal["published", "folded"]

_WORD = re.compile(r"\w")
_SPACELESS = re.compile(
    "[\u0e01-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Han
)


@dataclass(frozen=True)
class Alphabet:
    """What becomes of each code point c: the code points `letters[starts[c] : starts[c + 1]]`, a space where a word
    ends. `starts` is int32 of 1,114,113, `letters` uint32; about 6 MB. `ascii` has the one letter of each of the first
    128."""

    starts: npt.NDArray[np.int32]
    letters: npt.NDArray[np.uint32]
    ascii: npt.NDArray[np.uint32]


def words_of(text: str, alphabet: AlphabetName) -> list[str]:
    """The words of a text, normalized."""
    return text.translate(_translation(alphabet)).split()


def located_words(text: str, alphabet: AlphabetName) -> list[tuple[str, int, int]]:
    """The words of a text, normalized, each with where it begins and ends in the text."""
    letters_of = _translation(alphabet)
    found: list[tuple[str, int, int]] = []
    word, start, end = "", 0, 0
    for position, char in enumerate(text):
        for letter in letters_of[ord(char)]:
            if letter != " ":
                word, start, end = word + letter, start if word else position, position + 1
            elif word:
                found.append((word, start, end))
                word = ""
    return [*found, (word, start, end)] if word else found


@lru_cache
def alphabet_table(alphabet: AlphabetName) -> Alphabet:
    """The table of an alphabet, as this Python's Unicode version has it. Cost: half a second, once a process."""
    starts = np.zeros(sys.maxunicode + 2, np.int32)
    letters: list[int] = []
    for point in range(sys.maxunicode + 1):
        letters.extend(map(ord, _normalized(chr(point), alphabet)))
        starts[point + 1] = len(letters)
    return Alphabet(starts, np.array(letters, np.uint32), np.array(letters[:128], np.uint32))


class _Translations(dict[int, str]):
    """Normalized characters by code point, filled as texts need them."""

    def __init__(self, alphabet: AlphabetName) -> None:
        super().__init__()
        self._alphabet = alphabet

    def __missing__(self, point: int) -> str:
        self[point] = _normalized(chr(point), self._alphabet)
        return self[point]


@lru_cache
def _translation(alphabet: AlphabetName) -> _Translations:
    return _Translations(alphabet)


def _normalized(char: str, alphabet: AlphabetName) -> str:
    folded = alphabet == "folded"
    if unicodedata.category(char) in ("Cn", "Cs", "Co"):  # no word characters: told apart first, as they are the most
        return " "
    parts = unicodedata.normalize("NFKD" if folded else "NFD", char)
    parts = parts.upper().casefold() if folded else parts.lower()  # before marks go: iota subscript becomes a letter
    dropped = ("Mn", "Cf") if folded else ("Mn",)
    letters = [part for part in parts if unicodedata.category(part) not in dropped]
    letters = [letter if _WORD.match(letter) and not (folded and letter == "_") else " " for letter in letters]
    return "".join(f" {letter} " if folded and _SPACELESS.match(letter) else letter for letter in letters)
