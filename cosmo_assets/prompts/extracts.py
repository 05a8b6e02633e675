"""Extracts: the beginning of a seed that fits a token budget and ends where a reader would stop.

Belongs here: where a text may be cut. Does not belong here: the tokenizer that counts, or the fence around the
extract (`cosmo_assets.prompts.templates`).
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

_CHARS_PER_TOKEN = 4  # where the search starts; any text may have more or fewer

# Chinese and Japanese are written without spaces: there a cut may follow any of these characters.
_UNSPACED = (
    r"\u3001\u3002\u3008-\u3011\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")

_STOP = re.compile(r"""(?P<stop>[.!?…\u3002\uff01\uff1f])[.!?…"'”\u2019»)\]\u300d\u300f\uff09]*\Z""")
_LOOK_BACK = 20  # characters that decide whether a full stop ends a sentence
_NO_SENTENCE = re.compile(  # before a full stop: abbreviations, initials, numbers of a list
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|Figs?|Eqs?|Vol|pp|cf|vs|approx|ca|Jr|Sr|e\.g|i\.e|[^\W\d_])|^\s*\d{1,3})\Z",
    re.MULTILINE,
)

_OPENING = re.compile(
    r"^ {0,3}(?P<code>`{3,}(?=[^`\n]*$)|~{3,})"
    r"|(?<!\\)(?P<math>\$\$|\$(?=[^\s$])|\\\(|\\\[|\\begin\{(?P<name>[a-zA-Z]+\*?)\})",
    re.MULTILINE,
)
# A lone $ is often money. Pandoc's rule: mathematics opens before and closes after a non-space, no digit following.
_CLOSING = {"$$": r"\$\$", "$": r"(?<![\s\\$])\$(?![\d$])", r"\(": r"(?<!\\)\\\)", r"\[": r"(?<!\\)\\\]"}
_BLANK_LINE = r"\n[^\S\n]*\n"


def cut(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of a text, at most `tokens` tokens long by `count`, without white space at its end.

    It ends at the last sentence end that fits if that lies in the second half of what fits, else at a word end; never
    inside a word, a LaTeX formula, a fenced code block or a combined character. It is empty where not even the first
    word (formula, block) fits. `count` is called about log2(tokens) times, on texts of about the budget's size; the
    search takes it to grow with the text, but nothing is returned that was not counted.
    """
    text = text.rstrip()
    ends = _ends(text)

    def length(end: int) -> int:
        return count(text[:end])

    beyond = bisect_right(ends, tokens * _CHARS_PER_TOKEN)
    while beyond < len(ends) and length(ends[beyond]) <= tokens:
        beyond = 2 * beyond + 1
    fitting = ends[: bisect_right(ends, tokens, hi=min(beyond, len(ends)), key=length)]
    last = fitting[-1] if fitting else 0
    if last == len(text):
        return text
    second_half = reversed(fitting[bisect_left(fitting, last / 2) :])
    return text[: next((end for end in second_half if _ends_sentence(text, end) and length(end) <= tokens), last)]


def _ends(text: str) -> list[int]:
    """Every position, ascending, at which the text may be cut."""
    spans = list(_unbroken(text))
    starts = [start for start, _ in spans]

    def inside(end: int) -> bool:
        before = bisect_left(starts, end)
        return before > 0 and end < spans[before - 1][1]

    return [end for word in _WORD.finditer(text) if not inside(end := word.end()) and not _joins(text, end)]


def _joins(text: str, end: int) -> bool:
    """Whether the character at `end` belongs to the one before: marks, joiners, modifiers, lengthening signs."""
    return end < len(text) and unicodedata.category(text[end]) in {"Mn", "Mc", "Me", "Cf", "Sk", "Lm"}


def _ends_sentence(text: str, end: int) -> bool:
    before = text[max(end - _LOOK_BACK, 0) : end]
    stop = _STOP.search(before)
    if stop is None or (stop["stop"] == "." and _NO_SENTENCE.search(before[: stop.start()])):
        return False
    return not text[end : end + _LOOK_BACK].lstrip()[:1].islower()


def _unbroken(text: str) -> Iterator[tuple[int, int]]:
    """The (start, end) of every formula and fenced code block, ascending, none inside another.

    A formula does not go over a blank line; an unclosed one is plain text, an unclosed code block goes to the end (as
    in CommonMark). The next match of each pattern is remembered: a text full of openings is still read in one pass.
    """
    ahead: dict[str, tuple[int, int]] = {}

    def following(pattern: str, position: int) -> tuple[int, int]:
        if pattern not in ahead or ahead[pattern][0] < position:
            found = re.compile(pattern, re.MULTILINE).search(text, position)
            ahead[pattern] = found.span() if found else (len(text), len(text))
        return ahead[pattern]

    position = 0
    while opening := _OPENING.search(text, position):
        position = opening.end()
        if code := opening["code"]:
            _, position = following(rf"^ {{0,3}}{code[0]}{{{len(code)},}}[ \t]*$", position)
            yield opening.start(), position
        else:
            environment_end = rf"\\end\{{{re.escape(opening['name'] or '')}\}}"
            closing, end = following(_CLOSING.get(opening["math"], environment_end), position)
            if closing < following(_BLANK_LINE, position)[0]:
                position = end
                yield opening.start(), position
