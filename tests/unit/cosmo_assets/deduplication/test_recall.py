"""Pairs of real texts that are similar, found by comparing all with all: MinHash finds the share that it promises."""

import json
from pathlib import Path

import pytest

from tests.similar_pairs import check_recall, similar_pairs
from tests.unit.cosmo_assets.deduplication.texts import changed, similarity, text


def test_all_pairs_are_compared() -> None:
    originals = [text(f"{number}", 80) for number in range(12)]
    texts = [*originals, *(changed(one, *range(0, number * 6, 6)) for number, one in enumerate(originals))]
    expected = {
        (left, right): similarity(texts[left], texts[right])
        for right in range(len(texts))
        for left in range(right)
        if similarity(texts[left], texts[right]) > 0.3
    }
    assert similar_pairs(texts, 0.3) == pytest.approx(expected)
    assert 4 < len(expected) < 12


@pytest.mark.samples
def test_similar_real_texts_are_found(samples_folder: Path) -> None:
    """Web pages, news, and texts that other models generated."""
    fields = {"synthetic_gpteacher/*.jsonl": "response", "web_pile_toy/*.jsonl": "text"}
    rows = [
        json.loads(line)[field]
        for pattern, field in fields.items()
        for path in sorted(samples_folder.glob(pattern))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line
    ]
    articles = (samples_folder / "neardup_minhash_articles" / "articles_1000.train").read_text(encoding="utf-8")
    web = (samples_folder / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt").read_text(encoding="utf-8")
    assert check_recall([*rows, *articles.split("\n"), *web.split("\n\n")]) > 800
