"""Extracts: the part of a seed that fits a token budget and ends where a reader would stop.

Belongs here: where a text may be cut. Does not belong here: which budgets are wanted (`seed_extracts`), the fence
around an extract (`rendering`)."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cosmo_assets.prompts.rendering import harmless_text
from cosmo_resources.tokenizers import NamedTokenizer

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

_PREFIX_CHARS = 6  # per token: what is tokenized of a text at first, which is more than most texts need
_AHEAD = 4_000  # characters in which a formula that is open at the budget's end must close
_STOP_ENDS = re.compile(r"""[.!?…\u3002\uff01\uff1f"'”\u2019»)\]\u300d\u300f\uff09]""")  # the last character of `_STOP`
_UNSPACED_ONE = re.compile(f"[{_UNSPACED}]")


class Cut(NamedTuple):
    """Where an extract ends, and how many tokens it has."""

    end: int
    tokens: int


def cut_all(texts: Sequence[str], tokens: int, tokenizer: NamedTokenizer) -> list[Cut]:
    """The ends of many extracts: of each text its beginning as `cut` would have it, as it stands in a prompt
    (`harmless`), at most `tokens` tokens long. An end at 0 says that not even the first word fits.

    Cost: each text's beginning is tokenized twice, to find the end and to count what was found; all at once, on all
    cores. Texts for which that does not do (control tokens, a first word that is too long) are cut one by one.
    """
    return _cut_all([text.rstrip() for text in texts], tokens, tokenizer, tokens * _PREFIX_CHARS)


def _cut_all(texts: Sequence[str], tokens: int, tokenizer: NamedTokenizer, reach: int) -> list[Cut]:
    """The same of texts without white space at their ends, of which the first `reach` characters are looked at; of
    those that have too few tokens in them, twice as many."""
    begun = [text[:reach] for text in texts]
    shown = [harmless_text(text) for text in begun]
    encoded = tokenizer.tokenizer.encode_batch(shown, add_special_tokens=False)
    found: dict[int, Cut] = {}
    ends: dict[int, int] = {}
    farther: list[int] = []
    for number, (text, encoding) in enumerate(zip(texts, encoded, strict=True)):
        if len(encoding) <= tokens:
            if len(text) <= reach:
                found[number] = Cut(len(text), len(encoding))
            else:
                farther.append(number)
        elif begun[number] == shown[number] and (place := encoding.token_to_chars(tokens - 1)):
            ends[number] = _end_within(text, place[1])
    extracts = [texts[number][:end] for number, end in ends.items()]
    recounted = tokenizer.tokenizer.encode_batch_fast(extracts, add_special_tokens=False)
    for (number, end), encoding in zip(ends.items(), recounted, strict=True):
        if end and len(encoding) <= tokens:
            found[number] = Cut(end, len(encoding))
    if farther:
        beyond = _cut_all([texts[number] for number in farther], tokens, tokenizer, 2 * reach)
        found.update(zip(farther, beyond, strict=True))
    return [found.get(number) or _cut_alone(text, tokens, tokenizer, reach) for number, text in enumerate(texts)]


def _cut_alone(text: str, tokens: int, tokenizer: NamedTokenizer, reach: int) -> Cut:
    """The cut of one text whose first `reach` characters have more than `tokens` tokens."""

    def count(part: str) -> int:
        return tokenizer.count(harmless_text(part))

    rest_of_word = _WORD.match(text, reach + _AHEAD)
    extract = cut(text[: rest_of_word.end()] if rest_of_word else text[: reach + _AHEAD], tokens, count)
    return Cut(len(extract), count(extract))


def first_end(text: str) -> int:
    """Where the first word (formula, code block) of a text ends, be it of any length; 0 where there is none."""
    return next(_ends(text.rstrip()), 0)


def _end_within(text: str, limit: int) -> int:
    """The last good end at or before a position: of a sentence where one ends in the second half, else of a word."""
    inside = _inside(text[: limit + _AHEAD])
    last = limit
    while last > 0 and (not _ends_word(text, last) or inside(last)):
        last -= 1
    for stop in reversed(list(_STOP_ENDS.finditer(text, (last - 1) // 2, last))):
        end = stop.end()
        if _ends_word(text, end) and _ends_sentence(text, end) and not inside(end):
            return end
    return last


def _ends_word(text: str, end: int) -> bool:
    before, after = text[end - 1], text[end : end + 1]
    between = not after or after.isspace() or _UNSPACED_ONE.match(after) or _UNSPACED_ONE.match(before)
    return bool(between) and not before.isspace() and not _joins(text, end)


def cut(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of a text, at most `tokens` tokens long by `count`, without white space at its end.

    It ends at the last sentence end that fits if that lies in the second half of what fits, else at a word end; never
    inside a word, a LaTeX formula, a fenced code block or a combined character. It is empty where not even the first
    word (formula, block) fits. `count` is called about log2(tokens) times, on texts of about the budget's size; the
    search takes it to grow with the text, but nothing is returned that was not counted.
    """
    text = text.rstrip()
    ends = list(_ends(text))

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


def _ends(text: str) -> Iterator[int]:
    """Every position, ascending, at which the text may be cut."""
    inside = _inside(text)
    for word in _WORD.finditer(text):
        if not inside(end := word.end()) and not _joins(text, end):
            yield end


def _inside(text: str) -> Callable[[int], bool]:
    """Whether a position lies inside a formula or code block."""
    spans = list(_unbroken(text))
    starts = [start for start, _ in spans]

    def inside(end: int) -> bool:
        before = bisect_left(starts, end)
        return before > 0 and end < spans[before - 1][1]

    return inside


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
