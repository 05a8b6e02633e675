"""Advice on the wording of a prompt template: typing errors, and what a prompt should say but does not.

Belongs here: what a careful reader would find in a template that loads. Does not belong here: what makes a file no
template (`templates`), what is wrong with answers (`quality`).
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from spellchecker import SpellChecker

from cosmo_assets.prompts.templates import Template


class Finding(NamedTuple):
    """A piece of advice: `line` of the body, counted from 1, or None where it is about the body as a whole or about the
    front matter."""

    line: int | None
    rule: str
    problem: str


PROJECT_WORDS = frozenset(
    ["backtick", "backticks", "dataset", "datasets", "emoji", "emojis", "faq", "openstax", "programme", "programmes"]
    + ["reddit", "wikihow"]
)
"""Words that no dictionary has, or not every one."""

_BLANK = "\x00"  # stands for what is no wording: no word, quote or white space
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_PRINTED = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_FORMAL = re.compile(
    r"```.*?```|`[^`\n]+`"  # code
    r"|\$\$.+?\$\$|\$[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\]|\\[a-zA-Z]+(?:\{[^{}\n]*\})*"  # LaTeX
    r"|<[^<>\n]+>|\bhttps?://\S+",
    re.DOTALL,
)


def lint(template: Template) -> list[Finding]:
    """What could be better in a template, line by line; nothing of it keeps the template from being used."""
    text = _masked(template.body, _JINJA)
    wording = _masked(text, _FORMAL)
    findings = [
        *_spelling(wording, "", lambda place: _line(wording, place)),
        *_spelling(_masked(template.description, _FORMAL), " (in the description)", lambda _: None),
        *_unbalanced(wording),
        *_doubled(wording),
        *_instruction(template.body, text),
        *_material(template, text),
        *_length(template, text),
        *_audience(template, text),
    ]
    return sorted(findings, key=lambda finding: finding.line or 0)


def _masked(text: str, pattern: re.Pattern[str]) -> str:
    """The text with all that matches blanked out, of the same length and lines."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", _BLANK, found[0]), text)


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


# Typing errors

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_BEGINS = re.compile(r"(?:\A|[.!?:;\n])[\s\"“”‘'(*_#>-]*\Z|\x00\Z")
_BRITISH = (
    (r"our(?=s?\b|ed\b|ing\b|able\b|ful\b|ite|less\b|hood|er)", "or"),
    (r"(?<=.{3})is(?=e\b|es\b|ed\b|ing\b|er|ation)", "iz"),
    (r"(?<=.{3})ys(?=e\b|es\b|ed\b|ing\b)", "yz"),
    (r"(?<=[a-z]{3})ll(?=ed\b|ing\b|ers?\b)", "l"),
    (r"(?<=t)re(?=s?\b)", "er"),
    (r"ence(?=s?\b)", "ense"),
    (r"ogue(?=s?\b)", "og"),
)
"""British endings and the American ones, which are those of the dictionary."""


@functools.cache
def _dictionary() -> SpellChecker:
    return SpellChecker(language="en", distance=1)


@functools.cache
def _known(word: str) -> bool:
    if word in PROJECT_WORDS or word in _dictionary():
        return True
    return any(re.sub(british, american, word) in _dictionary() for british, american in _BRITISH)


def _spelling(text: str, where: str, line: Callable[[int], int | None]) -> Iterator[Finding]:
    """Words in no dictionary. A capital inside a sentence makes a name, one inside a word an abbreviation."""
    for found in _WORD.finditer(text):
        word = found[0].replace("’", "'")
        if not word[1:].islower() or (word[0].isupper() and not _SENTENCE_BEGINS.search(text[: found.start()])):
            continue
        lower = word.lower()
        if not (_known(lower) or _known(lower.removesuffix("'s"))):
            better = _dictionary().correction(lower)
            guess = f"; perhaps {better}" if better and better != lower else ""
            yield Finding(line(found.start()), "spelling", f"{found[0]} is in no dictionary{guess}{where}")


def _doubled(text: str) -> Iterator[Finding]:
    for found in re.finditer(r"\b([^\W\d_]+)(?:[^\S\n]+\n?|\n)[^\S\n]*\1\b", text, re.IGNORECASE):
        yield Finding(_line(text, found.start()), "doubled word", f"{found[1]} stands there twice")


_CLOSES = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»"}
_ENUMERATOR = re.compile(r"(?:\A|[\s\x00])(?:\d{1,2}|[a-zA-Z])\)\Z")
_ELISION = re.compile(r"'(?:tis|twas|em|til|cause|n)\b", re.IGNORECASE)


def _unbalanced(text: str) -> Iterator[Finding]:
    """Quotes and brackets without their other half in the same paragraph. An apostrophe is no quote."""
    start = 0
    for paragraph in re.split(r"(\n\s*\n)", text):
        for place, character in _unpaired(paragraph):
            yield Finding(_line(text, start + place), "unbalanced", f"{character} has no other half in its paragraph")
        start += len(paragraph)


def _unpaired(text: str) -> list[tuple[int, str]]:
    waiting: list[tuple[int, str, str]] = []
    alone: list[tuple[int, str]] = []

    def closes(character: str) -> bool:
        """Whether it closes something that was opened; what was opened inside that stays alone."""
        for depth in range(len(waiting) - 1, -1, -1):
            if waiting[depth][2] == character:
                alone.extend(item[:2] for item in waiting[depth + 1 :])
                del waiting[depth:]
                return True
        return False

    for place, character in enumerate(text):
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        if character in _CLOSES:
            waiting.append((place, character, _CLOSES[character]))
        elif character in ")]}”»":
            if not closes(character) and not _ENUMERATOR.search(text[: place + 1]):
                alone.append((place, character))
        elif character == '"':
            if not closes('"'):
                waiting.append((place, '"', '"'))
        elif character == "‘" and after.isalnum() and not before.isalnum():
            waiting.append((place, "‘", "’"))
        elif character in "'’":
            inside = before.isalnum() and after.isalnum()
            if inside or closes(character) or before.isalnum() or _ELISION.match(text, place):
                continue
            if character == "'" and after.isalpha():
                waiting.append((place, "'", "'"))
            elif character == "’" and not after.isalnum():
                alone.append((place, "’"))
    return sorted([*alone, *(item[:2] for item in waiting)])


# What a prompt should say

_TO_WRITE = re.compile(
    r"\b(?:write|answer|reply|respond|give|return|output|produce|list|rewrite|translate|summari[sz]e|explain|continue"
    r"|complete|tell|begin|start)\b",
    re.IGNORECASE,
)
_NO_ORDERS = re.compile(r"\b(?:not|no|never|nor|ignore)\b[^.!?]*\b(?:instruct|order|command|request|direction)", re.I)
_NUMBER_OF_WORDS = re.compile(r"\b(\d[\d,]*)(?:\s*(?:-|–|to|and|or)\s*(\d[\d,]*))?[\s-]+words?\b")
_PART_WORDS = 50
"""A smaller number of words is about a title, a sentence, an entry."""


def _instruction(body: str, text: str) -> Iterator[Finding]:
    last = 0
    for found in _PRINTED.finditer(body):
        if found[1].strip() != "words":
            last = found.end()
    if not _TO_WRITE.search(text[last:]):
        problem = "nothing after the last text of the seed says what to write: small models then continue the seed"
        yield Finding(_line(body, last), "output instruction", problem)


def _material(template: Template, text: str) -> Iterator[Finding]:
    places = [found.start() for found in _PRINTED.finditer(template.body) if re.search(r"\bextract\b", found[1])]
    if places and not _NO_ORDERS.search(text[: places[0]]):
        problem = "nothing before the extract says that it is material and not instructions"
        yield Finding(_line(text, places[0]), "material", problem)


def _length(template: Template, text: str) -> Iterator[Finding]:
    if not any(found[1].strip() == "words" for found in _PRINTED.finditer(template.body)):
        yield Finding(None, "length", f"words: {template.words} is never printed: write {{{{ words }}}} in the body")
    for found in _NUMBER_OF_WORDS.finditer(text):
        low, high = (int(number.replace(",", "")) for number in (found[1], found[2] or found[1]))
        if high >= _PART_WORDS and not low <= template.words <= high:
            problem = f'"{found[0]}" contradicts words: {template.words}; write {{{{ words }}}} instead'
            yield Finding(_line(text, found.start()), "length", problem)


_SAID_OTHERWISE = {
    "general": r"reader|listener|audience|anyone|anybody|everyone|everybody|people|public|layperson|laypeople",
    "children": r"child|kids?\b|boys and girls|toddler",
    "school": r"pupils?\b|teenager|grader",
    "college": r"undergraduate|universit",
    "researchers": r"research|scientist|scholar|specialist|expert",
    "professionals": r"professional|practitioner|specialist|expert",
}
_OF_NO_USE = frozenset(["young", "students", "readers", "people", "general", "grade", "middle", "high", "school"])


def _audience(template: Template, text: str) -> Iterator[Finding]:
    """Loosely: one word of the audience's name, or another word for it."""
    words = re.findall(r"[^\W\d_]+", template.audience.lower())
    patterns = [re.escape(word) for word in words if word not in _OF_NO_USE]
    patterns += [rf"{before}[\s-]+school" for before, word in itertools.pairwise(words) if word == "school"]
    patterns += [_SAID_OTHERWISE[word] for word in words if word in _SAID_OTHERWISE]
    if not re.search(rf"\b(?:{'|'.join(patterns or map(re.escape, words))})", text, re.IGNORECASE):
        yield Finding(None, "audience", f"the body never says that it is for this audience: {template.audience}")
