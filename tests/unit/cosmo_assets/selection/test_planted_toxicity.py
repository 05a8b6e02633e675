"""Abuse that is planted among real documents at a known rate is found by bounds on toxicity; what is politely worded is
not."""

import json
import random
import textwrap
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cosmo_assets.recipe.sources import SeedPolicy
from cosmo_assets.signals.toxicity import toxicity_of
from tests.corpora import ROOT

PLANTED = 0.05
BOUND = SeedPolicy().max_toxicity
INSULTS = (
    "You are such an idiot",
    "What a stupid moron you are",
    "Shut up, you pathetic loser",
    "Nobody likes a dumb fool like you",
    "You useless piece of crap",
    "Go to hell, you stupid jerk",
)
TAILS = (
    "and everything you say is garbage.",
    "so damn lazy that it makes me sick.",
    "and your whole family is just as dumb.",
    "now get lost and leave us alone.",
    "because your brain is full of crap.",
)
CONTEMPT = (
    "One may regret it, but {group} should not be allowed to live near decent families.",
    "It has to be said that {group} are by nature unable to do honest work.",
    "Experience shows that {group} cannot be trusted with money, children or animals.",
    "Our town was better before {group} arrived, and it would be better again without them.",
    "Nobody hates {group}; they are simply worth less than other human beings.",
)
GROUPS = ("the people of the lower valley", "those who came over the bridge", "the people with the old accent")
"""They are nobody: what is looked for is the contempt."""


def abuse(draw: random.Random, _: str) -> str:
    return " ".join(
        f"{head}, {tail}" for head, tail in zip(draw.sample(INSULTS, 3), draw.sample(TAILS, 3), strict=True)
    )


def abuse_in_a_page(draw: random.Random, page: str) -> str:
    """One paragraph of a harmless page."""
    lines = page.split("\n")
    lines.insert(draw.randrange(len(lines) + 1), abuse(draw, page))
    return "\n".join(lines)


def insult_in_a_paragraph(draw: random.Random, page: str) -> str:
    """One sentence of a harmless paragraph."""
    lines = page.split("\n")
    longest = max(range(len(lines)), key=lambda number: len(lines[number]))
    lines[longest] += f" {draw.choice(INSULTS)}, {draw.choice(TAILS)}"
    return "\n".join(lines)


def polite_contempt(draw: random.Random, _: str) -> str:
    group = draw.choice(GROUPS)
    return " ".join(sentence.format(group=group) for sentence in draw.sample(CONTEMPT, 3))


@pytest.fixture(scope="module")
def documents(samples_folder: Path) -> list[str]:
    """Pieces of web pages, sections of textbooks, and the pages of the demo."""
    path = samples_folder / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt"
    pages = textwrap.wrap(path.read_text(encoding="utf-8"), 3000, replace_whitespace=False)
    books = sorted(samples_folder.glob("openstax_ccby/*.text.jsonl"))
    demo = sorted((ROOT / "cosmo_assets" / "recipes" / "demo" / "web").glob("pages-[!m]*.jsonl"))
    rows = [line for path in (*books, *demo) for line in path.read_text(encoding="utf-8").splitlines()]
    return [*pages, *(text for row in rows if len(text := json.loads(row)["text"]) >= 500)]


@pytest.mark.parametrize(
    ("plant", "by_text", "by_paragraph"),
    [
        (abuse, (1, 1), (1, 1)),
        (abuse_in_a_page, (0, 0.3), (1, 1)),
        (insult_in_a_paragraph, (0, 0), (0, 0.3)),
        (polite_contempt, (0, 0), (0, 0)),
    ],
    ids=["abuse", "abuse in a page", "an insult in a paragraph", "polite contempt"],
)
def test_what_the_default_bound_finds_of_texts_that_are_planted_one_to_twenty(
    plant: Callable[[random.Random, str], str],
    by_text: tuple[float, float],
    by_paragraph: tuple[float, float],
    documents: list[str],
) -> None:
    """Recall by each signal, from and to; of what the worst paragraph finds, nine in ten are planted if all are found,
    and the whole text finds no harmless one. docs/signals.md has the figures."""
    assert len(documents) > 1000
    draw = random.Random(7)
    planted = [plant(draw, page) for page in draw.sample(documents, round(PLANTED * len(documents)))]
    table = toxicity_of(pa.chunked_array([[*documents, *planted]]))
    for signal, (least, most), harmless in (("score", by_text, 0), ("worst_paragraph", by_paragraph, len(planted) / 9)):
        over = pc.fill_null(pc.greater(table[signal], BOUND), False).to_pylist()
        found, false = sum(over[len(documents) :]), sum(over[: len(documents)])
        print(f"{signal}: {found} of {len(planted)} planted, and {false} of {len(documents)} documents")
        assert least <= found / len(planted) <= most
        assert false <= harmless
