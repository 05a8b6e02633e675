"""Ten thousand items of real benchmarks, disguised and planted in real documents: each is found, and nothing else.

Recall is the share of planted copies of which the rules that a recipe has by default find their item. A copy is one of
the item's texts (question and answer, question alone, choices, ...), alone or between the halves of a document, in
another case, Unicode form, spacing and punctuation. A text of fewer than three words would be planted alone: inside
another text no rule looks for it.

Precision is the share of matches where the document holds the item. The rules' own words for "holds", looked up by a
plain search in the text, word by word, not by the engine: the whole of an item where it is short; else a run of as many
words as the rule's n-gram, and the share that the rule asks for. A document about the same matter, or one that quotes
less of an item than that, has to stay clean. That a real text happens to hold an item ("4 3 7" is one, and a definition
that a textbook and a benchmark share) is no fault of the search, and they are few: less than one document in 200.
"""

import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

import pyarrow as pa
import pytest

from cosmo_assets.decontamination.benchmarks import Item
from cosmo_assets.decontamination.index import BenchmarkIndex, Match, build_index
from cosmo_assets.decontamination.rules import CosmopediaRule, GramRule, ShortRule, rules_of
from cosmo_assets.decontamination.wording import own_wording
from cosmo_assets.recipe.decontamination import Decontamination
from cosmo_assets.words.alphabet import words_of
from tests.doubles import plain_decontamination as plain
from tests.sample_benchmarks import sample_items

pytestmark = pytest.mark.samples

COPIES = 10_000
RULES = rules_of(Decontamination(benchmarks=()))

PUNCTUATION = ".,;:!?\"'()-*#|/–—…“”’"


def fullwidth(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def respaced(text: str) -> str:
    """Other white space between words, and lines that break elsewhere."""
    draw = random.Random(text)
    spaces = [" ", "\n", "\t", "   ", "\u00a0", "\r\n", "\u2003", "\n> "]
    return draw.choice(spaces) + re.sub(r"\s+", lambda _: draw.choice(spaces), text)


def repunctuated(text: str) -> str:
    """Marks other than those that were there, and between all words. Underscores are punctuation too."""
    draw = random.Random(text)
    other = "".join(draw.choice(PUNCTUATION) if char in PUNCTUATION + "_" else char for char in text)
    before, after = ["", "", "**", "(", "_", "“"], ["", "", ",", "_", " --", "”"]
    return " ".join(draw.choice(before) + word + draw.choice(after) for word in other.split())


def hyphenated(text: str) -> str:
    """Invisible characters inside words: soft hyphens, joiners, marks of direction."""
    draw = random.Random(text)
    return re.sub(r"(?<=\w)(?=\w)", lambda _: draw.choice(["", "", "", "\u00ad", "\u200b", "\u2060", "\u200e"]), text)


DISGUISES: dict[str, Callable[[str], str]] = {
    "verbatim": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "title case": str.title,
    "swapped case": str.swapcase,
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "NFKD": lambda text: unicodedata.normalize("NFKD", text),
    "full width": fullwidth,
    "white space": respaced,
    "punctuation": repunctuated,
    "invisible characters": hyphenated,
    "all at once": lambda text: respaced(hyphenated(fullwidth(repunctuated(text).upper()))),
}


@pytest.fixture(scope="module")
def items(samples_folder: Path) -> list[Item]:
    return sample_items(samples_folder)


@pytest.fixture(scope="module")
def index(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> BenchmarkIndex:
    folder = tmp_path_factory.mktemp("index")
    return BenchmarkIndex.open(RULES, build_index(items, RULES, folder), folder.iterdir())


@pytest.fixture(scope="module")
def documents(samples_folder: Path) -> list[str]:
    """Web pages, textbooks and generated answers: 6,700 of them, of a few hundred to many thousand words."""
    web = (samples_folder / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt").read_text(encoding="utf-8")
    fields = {"openstax_ccby/*.text.jsonl": "text", "synthetic_gpteacher/*.jsonl": "response"}
    rows = [
        json.loads(line)[field]
        for pattern, field in fields.items()
        for path in sorted(samples_folder.glob(pattern))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]
    return [text for text in [*web.split("\n\n"), *rows] if len(text) > 100]


def names(matches: Sequence[Match]) -> set[tuple[int, str, str]]:
    return {(match.text, match.benchmark, match.item) for match in matches}


def first_of_each(kinds: Sequence[tuple[str, object]], count: int) -> Iterator[int]:
    """The places of the first few of each kind."""
    seen: Counter[tuple[str, object]] = Counter()
    for number, kind in enumerate(kinds):
        seen[kind] += 1
        if seen[kind] <= count:
            yield number


def of_every_length(items: list[Item], count: int) -> list[Item]:
    """Texts of every number of words in every benchmark, and of every part of every benchmark, then as many as are
    asked for."""
    draw = random.Random(17)
    lengths = [(item.benchmark, len(words_of(item.text, "folded"))) for item in items]
    parts = [(item.benchmark, item.part) for item in items]
    chosen = sorted({*first_of_each(lengths, 1), *first_of_each(parts, 30)})
    assert len(chosen) < count / 2
    left = sorted(set(range(len(items))) - set(chosen))
    return [items[number] for number in [*chosen, *draw.sample(left, count - len(chosen))]]


def planted(items: list[Item], documents: list[str]) -> list[str]:
    """Each item disguised, every third one alone, the others between the halves of a document."""
    disguises = list(DISGUISES.values())
    draw, texts = random.Random(23), []
    for number, item in enumerate(items):
        copy = disguises[number % len(disguises)](item.text)
        words = draw.choice(documents).split(" ")
        cut = draw.randrange(len(words) + 1)
        alone = number % 3 == 0 or len(words_of(item.text, "folded")) < 3
        texts.append(copy if alone else f"{' '.join(words[:cut])}\n{copy}\n{' '.join(words[cut:])}")
    return texts


def test_every_planted_item_is_found(index: BenchmarkIndex, items: list[Item], documents: list[str]) -> None:
    chosen = of_every_length(items, COPIES)
    found = names(list(index.matches(pa.array(planted(chosen, documents), pa.large_string()))))
    missed = [
        (list(DISGUISES)[number % len(DISGUISES)], item.benchmark, item.id, item.part, item.text)
        for number, item in enumerate(chosen)
        if (number, item.benchmark, item.id) not in found
    ]
    assert missed == []


def really_holds(text: str, item: str, match: Match) -> bool:
    """Whether a text holds what the rule says that it holds, without a look into the engine's tables."""
    rule = RULES[match.rule]
    shown, held = (words_of(each, rule.alphabet) for each in (text, item))
    line = f" {' '.join(shown)} "
    match rule:
        case ShortRule():
            return len(held) < rule.below and f" {' '.join(held)} " in line
        case CosmopediaRule():
            runs = [" ".join(held[start : start + rule.ngram]) for start in range(len(held) - rule.ngram + 1)]
            share, _ = plain.matched_share(tuple(shown), tuple(held))
            return any(f" {run} " in line for run in runs) and match.ratio == share > rule.ratio
        case GramRule():
            covered: set[int] = set()
            for start in range(len(held) - rule.ngram + 1):
                if f" {' '.join(held[start : start + rule.ngram])} " in line:
                    covered.update(range(start, start + rule.ngram))
            return len(covered) >= rule.ngram and match.ratio == len(covered) / len(held) >= rule.share
    raise AssertionError(rule)


def wrong_ones(matches: list[Match], texts: list[str], items: list[Item]) -> list[Match]:
    held = {(item.benchmark, item.id, item.part): item.text for item in own_wording(items)}
    return [
        match
        for match in matches
        if not really_holds(texts[match.text], held[match.benchmark, match.item, match.part], match)
    ]


def test_real_documents_are_clean_but_for_items_that_stand_in_them(
    index: BenchmarkIndex, items: list[Item], documents: list[str]
) -> None:
    matches = list(index.matches(pa.array(documents, pa.large_string())))
    assert wrong_ones(matches, documents, items) == []
    assert len({match.text for match in matches}) < 0.005 * len(documents)


def test_pieces_of_items_below_the_bounds_are_no_items(
    index: BenchmarkIndex, items: list[Item], documents: list[str]
) -> None:
    """Of each of 3,000 items, planted in a document that is clean without: as many words in a row as no rule finds (one
    fewer than the shortest n-gram; of a short item all but its last word), and, of long items, a third of their words
    in one piece, which rules find as candidates and then let pass. They are pieces of the item's shortest text in its
    own wording: one of a longer text may hold most of a shorter one."""
    soiled = {match.text for match in index.matches(pa.array(documents, pa.large_string()))}
    clean = [text for number, text in enumerate(documents) if number not in soiled]
    draw, texts = random.Random(31), []
    shortest: dict[tuple[str, str], list[str]] = {}
    for item in own_wording(items):
        words = words_of(item.text, "folded")
        if len(words) < len(shortest.setdefault((item.benchmark, item.id), words)):
            shortest[item.benchmark, item.id] = words
    for words in draw.sample(list(shortest.values()), 3000):
        size = min(7, len(words) - 1) if len(words) < 45 or draw.random() < 0.5 else len(words) // 3
        start = draw.randrange(len(words) - size + 1)
        piece = " ".join(words[start : start + size])
        around = draw.choice(clean).split(" ")
        cut = draw.randrange(len(around) + 1)
        texts.append(f"{' '.join(around[:cut])}\n{piece}\n{' '.join(around[cut:])}")
    matches = list(index.matches(pa.array(texts, pa.large_string())))
    assert wrong_ones(matches, texts, items) == []
    assert len({match.text for match in matches}) < 0.005 * len(texts)


def test_what_many_items_begin_with_is_no_item(index: BenchmarkIndex, items: list[Item]) -> None:
    """As MMLU's instructions ("For which of these two scenarios ..."), which are most of what some items say."""
    texts = {item.text.removesuffix(own.text) for item, own in zip(items, own_wording(items), strict=True)} - {""}
    assert len(texts) > 30
    assert list(index.matches(pa.array(sorted(texts), pa.large_string()))) == []


def test_each_disguise_changes_the_text(items: list[Item]) -> None:
    text = "Ou\u0300 est la ﬁn, Zoë? " + items[0].text
    assert sorted(name for name, disguise in DISGUISES.items() if disguise(text) == text) == ["verbatim"]


NEAR_COPIES = {"hellaswag": 0.17, "humaneval": 0.05, "mbpp": 0.28, "mmlu": 0.1, "siqa": 0.03, "winogrande": 0.37}
"""Of the items that are not in the index, those that are near-copies of one that is, at most: HellaSwag's share
contexts, WinoGrande's were written as twins, MMLU's share passages. Elsewhere one in fifty."""


def shared_words(text: str, item: str) -> float:
    """The words that two texts have in common, in order, to those of the shorter one."""
    both = [words_of(each, "folded") for each in (text, item)]
    blocks = SequenceMatcher(None, *both, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(min(map(len, both)), 1)


def test_other_items_of_the_same_benchmarks_stay(items: list[Item], tmp_path: Path) -> None:
    """Every other item of each benchmark is indexed, and the others are looked for, each by its longest question with
    answer. None matches but near-copies of an indexed one, by a plain measure of their words; of 40 matches of each
    benchmark every one really holds what its rule says."""
    keys = sorted({(item.benchmark, item.id) for item in items})
    indexed = set(keys[::2])
    inside = [item for item in items if (item.benchmark, item.id) in indexed]
    longest: dict[tuple[str, str], str] = {}
    for item in items:
        key = item.benchmark, item.id
        if key not in indexed and item.part in ("question", "question_answer", "filled"):
            longest[key] = max(longest.get(key, ""), item.text, key=len)
    index = BenchmarkIndex.open(RULES, build_index(inside, RULES, tmp_path), tmp_path.iterdir())
    outside, texts = list(longest), list(longest.values())
    matches: dict[int, list[Match]] = {}
    for match in index.matches(pa.array(texts, pa.large_string())):
        if match.benchmark == outside[match.text][0]:
            matches.setdefault(match.text, []).append(match)
    held = {(item.benchmark, item.id, item.part): item.text for item in own_wording(inside)}
    others = [
        (outside[text], found[0])
        for text, found in matches.items()
        if max(shared_words(texts[text], held[match[2:5]]) for match in found) < 0.4
    ]
    assert others == []
    asked, hit = Counter(key[0] for key in outside), Counter(outside[text][0] for text in matches)
    assert len(asked) == 13
    assert {name for name in asked if hit[name] > NEAR_COPIES.get(name, 0.02) * asked[name]} == set()
    draw = random.Random(23)
    found = [match for text in draw.sample(list(matches), len(matches)) for match in matches[text]]
    few = [found[place] for place in first_of_each([(match.benchmark, None) for match in found], 40)]
    assert len(few) > 200
    assert wrong_ones(few, texts, inside) == []
