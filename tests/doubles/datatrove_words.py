"""Words and sentences by this project's rule, in plain Python, as a tokenizer that datatrove's filters take.

Belongs here: the rule of `cosmo_assets.signals.word_kernels`, written a second time. Does not belong here: statistics.
"""

import re
import sys
import unicodedata
from collections.abc import Callable

from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer


def _class(holds: Callable[[str], bool]) -> str:
    points = [point for point in range(sys.maxunicode + 1) if holds(chr(point))]
    starts = [point for place, point in enumerate(points) if not place or points[place - 1] != point - 1]
    ends = [point for place, point in enumerate(points, 1) if place == len(points) or points[place] != point + 1]
    return "[" + "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True)) + "]"


_LETTER = _class(lambda char: char.isalnum() or unicodedata.category(char)[0] == "M" or char == "_")
_ALPHA, _DIGIT, _LOWER, _UPPER = _class(str.isalpha), _class(str.isdecimal), _class(str.islower), _class(str.isupper)
_APPENDED = rf"['’](?:[sdmSDM]|[rRvV][eE]|[lL][lL])(?!{_LETTER})"
_INSIDE = "|".join(
    (
        rf"(?![nN]['’][tT](?!{_LETTER})){_LETTER}",
        rf"(?!{_APPENDED})['’](?={_LETTER})",
        rf"(?!(?<={_LOWER})\.{_UPPER})\.(?={_LETTER})",
        rf"(?<={_DIGIT}),(?={_DIGIT})",
        rf"\((?={_LETTER})",
    )
)
_LAST = rf"://\S*(?<={_LETTER})|(?<={_ALPHA})(?<![{_LETTER[1:-1]}'’].)\.(?!{_LETTER}|\.)"
_WORD = re.compile(rf"{_LETTER}(?:{_INSIDE})*(?:{_LAST})?|(?<={_LETTER}){_APPENDED}|\.+|-+|\S", re.DOTALL)


class PlainWords(WordTokenizer):
    """The project's words and sentences."""

    def word_tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        starts, ended = [], True
        for match in _WORD.finditer(text):
            word = match[0]
            mark = word in TERMINAL_PUNCTUATION
            if not starts or (ended and not mark and not _is_punctuation(word)):
                starts.append(match.start())
                ended = False
            ended = ended or mark
        return list(zip(starts, [*starts[1:], len(text)], strict=True))

    def sent_tokenize(self, text: str) -> list[str]:
        return [text[start:end] for start, end in self.span_tokenize(text)]


def _is_punctuation(word: str) -> bool:
    return all(unicodedata.category(char)[0] == "P" for char in word)
