"""The page of a pilot: versions of a template, or models, side by side; one self-contained HTML text.

Belongs here: what the page compares, which direction is better, and how hostile texts get into it safely. Does not
belong here: the figures themselves (`statistics`), how the page looks (`html/pilot.html.j2`), or writing files.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from cosmo_assets.pilots.statistics import (
    COMPARED_WORDS,
    COPIED,
    HISTOGRAM_WORDS,
    OPENERS,
    SELF_BLEU_ANSWERS,
    Answer,
    PilotStatistics,
    words_of,
)
from cosmo_assets.report.html import excerpt

FOLDER = Path(__file__).parent / "html"
MAX_BINS = 30
CHANCE = 1.96
"""Differences of shares below so many standard errors are what chance gives 19 times out of 20."""
SLIGHT = 0.05
"""Other figures that differ by less than this share of the larger one are not called better or worse."""
UNEQUAL = 0.1
"""Variants whose amounts of text differ by more than this share get a warning."""
SAME_SEED_CHARS = 60

_LENGTHS = (
    ("Mean", "mean"),
    ("Shortest", "min"),
    ("10th percentile", "p10"),
    ("Median", "p50"),
    ("90th percentile", "p90"),
    ("Longest", "max"),
)

_NOT_IN_HTML = dict.fromkeys(
    [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}"
)


@dataclass(frozen=True)
class Variant:
    """One column of the page: a label, facts on how its answers were made, their statistics, and some of them."""

    label: str
    facts: Mapping[str, str]
    statistics: PilotStatistics
    samples: Sequence[Answer]


_Read = Callable[[PilotStatistics], float | None]


@dataclass(frozen=True)
class _Figure:
    """A row of the comparison. `better` is 1 where higher is better, -1 where lower is, 0 where neither is. `of` gives
    how many answers a share is a share of; numbers have `decimals`; more text alone moves those `by_amount`."""

    name: str
    note: str
    better: int
    read: _Read
    of: Callable[[PilotStatistics], int] | None = None
    share: bool = False
    decimals: int = 0
    by_amount: bool = False


@dataclass(frozen=True)
class _Cell:
    """A figure as the page shows it; `change` is against the first variant, `verdict` what that means in words."""

    value: str
    change: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class _Bin:
    """A bar of a histogram, its height in percent of the tallest one's."""

    height: float
    label: str


@dataclass(frozen=True)
class _Seed:
    """Sample answers of one seed, by variant."""

    title: str
    answers: list[list[Answer]]


def pilot_page(title: str, variants: Sequence[Variant]) -> str:
    """The page as HTML text, a function of its arguments; every text in it is escaped.

    The first variant is what the others are compared with. Samples stand side by side where their extracts are equal
    or one is the beginning of the other (a template with a smaller budget shows less of the seed), and, without an
    extract, where their prompts are equal. Cost: linear in the texts, quadratic in the seeds that are shown.

    Raises ValueError without a variant.
    """
    if not variants:
        raise ValueError("a pilot's page needs at least one variant")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"excerpt": excerpt, "percent": _percent, "words_of": words_of}
    measured = [variant.statistics for variant in variants]
    shared, alone = _by_seed(variants)
    histograms, longest = _histograms(measured)
    html = environment.get_template("pilot.html.j2").render(
        title=title,
        variants=variants,
        facts=_facts(variants),
        groups=[(name, [(figure, _cells(figure, measured)) for figure in figures]) for name, figures in _GROUPS],
        unequal=_unequal(measured),
        openers=[(number, [one.openers[place] for one in measured]) for place, number in enumerate(OPENERS)],
        histograms=histograms,
        longest=longest,
        seeds=shared,
        alone=alone,
        compared_words=COMPARED_WORDS,
        self_bleu_answers=SELF_BLEU_ANSWERS,
    )
    return html + "\n"


def _all(one: PilotStatistics) -> int:
    return one.answers


def _spoken(one: PilotStatistics) -> int:
    return one.answers - one.empty


def _lengths(of: str, notes: Mapping[str, str]) -> tuple[_Figure, ...]:
    def read(part: str) -> _Read:
        return lambda one: getattr(getattr(one, of), part, None)

    return tuple(_Figure(name, notes.get(part, ""), 0, read(part)) for name, part in _LENGTHS)


def _commonest(number: int, note: str) -> _Figure:
    def read(one: PilotStatistics) -> float | None:
        return next((share for _, share in one.openers[number - OPENERS[0]].most_common), None)

    return _Figure(f"Commonest opener, {number} words", note, -1, read, _spoken, share=True)


def _distinct(number: int, note: str) -> _Figure:
    return _Figure(f"Distinct-{number}", note, 1, lambda one: one.distinct[number - 1], decimals=3, by_amount=True)


def _opener_kinds(one: PilotStatistics) -> float | None:
    return one.openers[0].effective if one.openers[0].distinct else None


def _empty(one: PilotStatistics) -> float | None:
    return one.empty / one.answers if one.answers else None


def _cut_off(one: PilotStatistics) -> float | None:
    return dict(one.finish_reasons).get("length", 0.0) if one.answers else None


_STOCK = "Begins with a phrase that models fall back on, such as “Once upon a time”."
_KINDS = "How many equally common openers would be as varied (2 to the power of their entropy)."
_BLEU = "How much of an answer stands in the others too: 0 nothing, 1 all of it."
_ZLIB = "How many times smaller zlib makes the answers; repeated phrases make it higher."
_COPIED = "Mean share of an answer's runs of five words that stand in its extract."
_COPYING = f"Answers that take more than {COPIED:.0%} from their extract."
_GROUPS: tuple[tuple[str, tuple[_Figure, ...]], ...] = (
    (
        "Answers",
        (
            _Figure("Answers", "How many were measured.", 0, _all),
            _Figure("Empty", "Answers without a word.", -1, _empty, _all, share=True),
            _Figure("Refusals", "Refuses, or speaks of itself.", -1, lambda one: one.refusals, _all, share=True),
            _Figure("Cut off", "Stopped by the token limit.", -1, _cut_off, _all, share=True),
        ),
    ),
    (
        "Openings",
        (
            _Figure("Stock opening", _STOCK, -1, lambda one: one.stock_share, _spoken, share=True),
            _commonest(3, "Share of the most common first three words."),
            _commonest(8, "The same, eight words."),
            _Figure("Different openers, 3 words", _KINDS, 1, _opener_kinds, decimals=1, by_amount=True),
        ),
    ),
    (
        "Variety",
        (
            _distinct(1, f"Different words over all words, of the first {COMPARED_WORDS} words of each answer."),
            _distinct(2, "The same of runs of two words."),
            _distinct(3, "Of three."),
            _distinct(4, "Of four; near 1, hardly a phrase stands twice."),
            _Figure("Self-BLEU-4", _BLEU, -1, lambda one: one.self_bleu, decimals=3, by_amount=True),
            _Figure("Compression", _ZLIB, -1, lambda one: one.compression, decimals=2, by_amount=True),
        ),
    ),
    (
        "Copying",
        (
            _Figure("Copied text", _COPIED, -1, lambda one: one.copied_mean, share=True),
            _Figure(
                "Copying answers", _COPYING, -1, lambda one: one.copied_share, lambda one: one.copied_of, share=True
            ),
        ),
    ),
    ("Length in words", _lengths("words", {"mean": "Compare it with what the template asks for."})),
    ("Length in tokens", _lengths("tokens", {"mean": "What an answer costs to generate."})),
)


def _cells(figure: _Figure, measured: Sequence[PilotStatistics]) -> list[_Cell]:
    """The figure of every variant, from the second on with its difference from the first."""
    first, values = figure.read(measured[0]), [figure.read(one) for one in measured]
    scale, decimals, unit = (100, 1, " points") if figure.share else (1, figure.decimals, "")
    cells = []
    for number, (value, one) in enumerate(zip(values, measured, strict=True)):
        shown = "–" if value is None else _percent(value) if figure.share else f"{value:,.{decimals}f}"
        if number == 0 or value is None or first is None:
            cells.append(_Cell(shown))
            continue
        # of the figures as they are shown: a reader who subtracts finds the same
        change = round(round(scale * value, decimals) - round(scale * first, decimals), decimals)
        if change == 0:
            cells.append(_Cell(shown, "same"))
            continue
        if figure.by_amount and _unequal([measured[0], one]):
            doubt = "unlike amounts"
        elif figure.of:
            doubt = "may be chance" if _by_chance(first, figure.of(measured[0]), value, figure.of(one)) else ""
        else:
            doubt = "slight" if abs(value - first) < SLIGHT * max(value, first) else ""
        verdict = doubt or ("better" if change * figure.better > 0 else "worse")
        sign = "+" if change > 0 else "−"
        cells.append(_Cell(shown, f"{sign}{abs(change):,.{decimals}f}{unit}", verdict if figure.better else ""))
    return cells


def _by_chance(one: float, of_one: int, other: float, of_other: int) -> bool:
    """Whether two shares differ by less than chance often makes them: the two-proportion z test, pooled."""
    pooled = (one * of_one + other * of_other) / (of_one + of_other)
    return abs(one - other) < CHANCE * math.sqrt(max(pooled * (1 - pooled), 0) * (1 / of_one + 1 / of_other))


def _unequal(measured: Sequence[PilotStatistics]) -> bool:
    """Whether the figures of variety were told from unlike amounts of text."""
    amounts = [one.distinct_words for one in measured]
    return min(amounts) < (1 - UNEQUAL) * max(amounts)


def _facts(variants: Sequence[Variant]) -> list[tuple[str, list[str], bool]]:
    """Every fact that any variant states, its value for each, and whether they differ."""
    rows = []
    for name in dict.fromkeys(name for variant in variants for name in variant.facts):
        values = [variant.facts.get(name, "–") for variant in variants]
        rows.append((name, values, len(set(values)) > 1))
    return rows


def _histograms(measured: Sequence[PilotStatistics]) -> tuple[list[list[_Bin]], int]:
    """Lengths over axes that all variants share, and where the horizontal one ends: at most 30 bins of 10, 20, 50, 100,
    ... words. The tallest of all bins is 100 high; a variant without answers has no bins."""
    longest = max((edge for one in measured for edge, _ in one.histogram), default=0) + HISTOGRAM_WORDS
    widths = (factor * 10**power * HISTOGRAM_WORDS for power in itertools.count() for factor in (1, 2, 5))
    width = next(width for width in widths if longest <= MAX_BINS * width)
    edges = range(0, longest, width)
    shares = []
    for one in measured:
        counts = dict.fromkeys(edges if one.answers else (), 0)
        for edge, count in one.histogram:
            counts[edge - edge % width] += count
        shares.append({edge: count / one.answers for edge, count in counts.items()})
    tallest = max((share for of_one in shares for share in of_one.values()), default=1.0)
    return [
        [
            _Bin(100 * share / tallest, f"{edge:,} to {edge + width - 1:,} words: {_percent(share)} of the answers")
            for edge, share in of_one.items()
        ]
        for of_one in shares
    ], edges[-1] + width


def _by_seed(variants: Sequence[Variant]) -> tuple[list[_Seed], list[_Seed]]:
    """Samples by seed, in the order in which they are given: those of several variants, and those of one alone."""
    seeds: dict[str, _Seed] = {}
    for number, variant in enumerate(variants):
        for answer in variant.samples:
            text = " ".join((answer.extract.strip() or answer.prompt).split())
            key = next((known for known in seeds if _same(known, text)), text) if answer.extract.strip() else text
            seed = seeds.setdefault(key, _Seed(text, [[] for _ in variants]))
            seed.answers[number].append(answer)
    shared = [seed for seed in seeds.values() if sum(map(bool, seed.answers)) > 1]
    return shared, [seed for seed in seeds.values() if sum(map(bool, seed.answers)) == 1]


def _same(one: str, other: str) -> bool:
    """Whether two extracts are of one seed. Short beginnings, such as a page's header, may be those of several."""
    short, long = sorted((one, other), key=len)
    return one == other or (len(short) >= SAME_SEED_CHARS and long.startswith(short))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _printable(value: object) -> object:
    """What the template may print: characters that HTML or UTF-8 cannot hold are replaced."""
    return value.translate(_NOT_IN_HTML) if isinstance(value, str) and not isinstance(value, Markup) else value
