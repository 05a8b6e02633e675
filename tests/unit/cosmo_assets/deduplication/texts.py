"""Texts for tests of deduplication."""

from pathlib import Path

import pytest

from cosmo_assets.deduplication.minhash import shingles
from cosmo_assets.recipe.deduplication import MinHashMethod
from tests.doubles.replay_server import prose

METHOD = MinHashMethod()


def text(key: str, words: int = 200) -> str:
    return prose(key, words)


def changed(original: str, *positions: int) -> str:
    """A text with some of its words replaced."""
    words = original.split()
    for position in positions:
        words[position] = f"changed{position}"
    return " ".join(words)


def similarity(left: str, right: str) -> float:
    """Jaccard similarity of the word 5-grams."""
    one, other = shingles(left, METHOD), shingles(right, METHOD)
    return len(one & other) / len(one | other)


def articles(samples: Path, size: int) -> tuple[list[str], list[str], set[frozenset[str]]]:
    """Names and texts of news articles, and the pairs of names that are near-duplicates."""
    folder = samples / "neardup_minhash_articles"
    if not (folder / f"articles_{size}.train").is_file():
        pytest.skip(f"no sample articles_{size}.train in {folder}")
    lines = (folder / f"articles_{size}.train").read_text(encoding="utf-8").split("\n")
    names, texts = zip(*(line.split(" ", 1) for line in lines if line), strict=True)
    truth = (folder / f"articles_{size}.truth").read_text(encoding="utf-8").split("\n")
    return list(names), list(texts), {frozenset(line.split()) for line in truth if line}
