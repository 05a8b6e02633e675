"""Noise, boilerplate and loops that are planted in real text at a known rate are found by bounds on its statistics."""

import json
import random
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from cosmo_assets.recipe.selection import Selection
from cosmo_assets.selection.verdicts import first_broken, limits_of
from cosmo_assets.signals.statistics import statistics_of

PLANTED = 0.05
COOKIES = "This site uses cookies to improve your experience."
MENU = ("Home", "About us", "Contact", "Log in", "Subscribe", "Share", "Next", "Previous")


@pytest.fixture
def pages(samples: Path) -> list[str]:
    """Pieces of web pages that FineWeb-Edu has kept."""
    path = samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt"
    return textwrap.wrap(path.read_text(encoding="utf-8"), 3000, replace_whitespace=False)


@pytest.fixture
def lessons(samples: Path) -> list[str]:
    """Sections of textbooks, of 100 words and more."""
    paths = sorted(samples.glob("openstax_ccby/*.text.jsonl"))
    texts = [json.loads(line)["text"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text in texts if len(text.split()) >= 100]


def dropped(texts: list[str], **selection: Any) -> list[bool]:
    limits = limits_of(Selection.model_validate(selection))
    table = statistics_of(pa.array(texts, pa.large_string()))
    frame = pl.DataFrame(pl.from_arrow(table.rename_columns([f"statistics.{name}" for name in table.column_names])))
    return frame.select(first_broken(limits).is_not_null().alias("dropped"))["dropped"].to_list()


def noise(number: int) -> str:
    """Letters, digits and signs in words of chance lengths."""
    draw = random.Random(number)
    signs = "abcdefghijklmnopqrstuvwxyz0123456789#/%&=+*"
    return " ".join("".join(draw.choices(signs, k=draw.randint(1, 14))) for _ in range(200))


def menus(number: int) -> str:
    """The parts of a web page around its text, line by line."""
    draw = random.Random(number)
    return "\n".join([*draw.choices(MENU, k=60), COOKIES, *draw.choices(MENU, k=20)])


def looping(number: int) -> str:
    """A model that has fallen into a loop."""
    sentence = f"The result of experiment {number} is that the temperature of the water rises with the pressure. "
    return sentence * 12


@pytest.mark.parametrize("plant", [noise, menus, looping], ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found_and_pages_stay(plant: Callable[[int], str], pages: list[str]) -> None:
    """Of texts planted among web pages, one to twenty, all are found; of what is found, nine in ten are planted. The
    bounds are the published ones for repetition, and two of their own for English prose."""
    assert len(pages) > 300
    planted = [plant(number) for number in range(round(PLANTED * len(pages)))]
    prose = [{"signal": "statistics.stop_words", "low": 2}, {"signal": "statistics.letter_word_share", "low": 0.55}]
    found = dropped([*pages, *planted], sets=["gopher_repetition"], bounds=prose)
    hits = sum(found[len(pages) :])
    print(f"{plant.__name__}: {hits} of {len(planted)}, and {sum(found) - hits} of {len(pages)} pages")
    assert hits == len(planted)
    assert hits >= 0.9 * sum(found)


def test_rules_for_web_pages_take_textbooks_of_programming_and_mathematics(lessons: list[str]) -> None:
    """Why a published set is not the same as quality: words without a letter are as common there as in noise."""
    assert len(lessons) > 500
    found = dropped(lessons, sets=["gopher_quality"])
    assert 0.1 < sum(found) / len(lessons) < 0.3
