"""Near-duplicates by MinHash: planted ones are found, others are not, and datatrove finds the same."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cosmo_assets.deduplication.canary import PAIRS, planted_recall
from cosmo_assets.deduplication.minhash import MinHashSigner, band_name, configuration, shingles
from cosmo_assets.deduplication.records import merge_records, read_records, write_records
from cosmo_assets.recipe.deduplication import ExactMethod, MinHashMethod, PassagesMethod
from tests.doubles.datatrove_minhash import datatrove_clusters, datatrove_pairs, gathered
from tests.unit.cosmo_assets.deduplication.corpus import groups
from tests.unit.cosmo_assets.deduplication.texts import METHOD, articles, changed, similarity, text

Planted = tuple[list[str], list[list[int]]]


def signed(texts: Sequence[str], method: MinHashMethod, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    signer = MinHashSigner(method)
    signer.add(pa.array(texts, pa.large_string()))
    signer.write(folder)


def by_datatrove(folders: Sequence[Path], method: MinHashMethod, work: Path) -> list[list[tuple[int, int]]]:
    """Groups of (folder, position) as datatrove makes them of the same files."""
    datatrove_pairs(gathered(folders, method.bands, work / "signatures"), configuration(method), work)
    return datatrove_clusters(configuration(method), work)


@pytest.fixture(scope="module")
def planted() -> Planted:
    """Thirty texts, five of them with near-duplicates among ten more, and the groups that they form."""
    texts = [text(f"text {number}") for number in range(30)]
    found = []
    for number in range(0, 25, 5):
        copies = [changed(texts[number], 100), changed(texts[number], 199)]
        found.append([number, len(texts), len(texts) + 1])
        texts += copies
    return texts, found


def test_planted_near_duplicates_are_found_and_nothing_else(planted: Planted) -> None:
    texts, expected = planted
    assert groups(texts, METHOD) == expected


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_datatrove_finds_the_same_groups_in_the_same_files(planted: Planted, tmp_path: Path, ranks: int) -> None:
    texts, expected = planted
    for rank in range(ranks):
        signed(texts[rank::ranks], METHOD, tmp_path / f"{rank}")
    found = by_datatrove([tmp_path / f"{rank}" for rank in range(ranks)], METHOD, tmp_path / "work")
    assert sorted(sorted(rank + ranks * position for rank, position in group) for group in found) == expected


@pytest.mark.parametrize("seed", range(6))
def test_datatrove_finds_the_same_groups_in_random_families(tmp_path: Path, seed: int) -> None:
    """Families of texts at every distance from one another, so that groups form in chains."""
    draw = random.Random(seed)
    texts = [text(f"family {seed} {number}", draw.randint(3, 300)) for number in range(20)]
    for _ in range(180):
        words = draw.choice(texts).split()
        texts.append(changed(" ".join(words), *draw.sample(range(len(words)), draw.randint(0, len(words) // 20))))
    method = MinHashMethod(bands=draw.randint(2, 20), rows=draw.randint(2, 8), ngram=draw.randint(1, 6))
    signed(texts, method, tmp_path / "0")
    found = by_datatrove([tmp_path / "0"], method, tmp_path / "work")
    assert groups(texts, method) == sorted(sorted(position for _, position in group) for group in found)
    assert len(found) > 3


def test_texts_of_little_similarity_are_no_duplicates() -> None:
    pairs = [(text(f"{n}"), changed(text(f"{n}"), *range(0, 200, 10))) for n in range(20)]
    assert all(0.25 < similarity(left, right) < 0.4 for left, right in pairs)
    assert groups([part for pair in pairs for part in pair], METHOD) == []


def test_case_punctuation_and_space_make_no_difference() -> None:
    original = text("one")
    disguised = original.upper().replace(".", " ... ").replace(" ", "\n\t")
    assert groups([original, text("two"), disguised], METHOD) == [[0, 2]]


def test_duplicates_of_duplicates_are_one_group() -> None:
    chain = [text("one")]
    for step in range(4):
        chain.append(changed(chain[-1], 40 * step + 5))
    assert groups(chain, METHOD) == [[0, 1, 2, 3, 4]]


def test_texts_shorter_than_a_shingle_are_never_duplicates() -> None:
    texts = ["one two three four", "one two three four", "", "?!", text("a"), text("a")]
    assert groups(texts, METHOD) == [[4, 5]]


@pytest.mark.parametrize("texts", [[], [""], ["only one text of a few words"]], ids=["none", "empty", "one"])
def test_without_pairs_there_are_no_groups(texts: list[str]) -> None:
    assert groups(texts, METHOD) == []


@pytest.mark.parametrize(("bands", "rows", "found"), [(14, 8, False), (200, 8, True), (14, 2, True), (1, 8, False)])
def test_bands_and_rows_say_how_similar_is_similar(bands: int, rows: int, found: bool) -> None:
    pair = [text("one"), changed(text("one"), *range(0, 200, 18))]
    assert 0.5 < similarity(*pair) < 0.6
    assert groups(pair, MinHashMethod(bands=bands, rows=rows)) == ([[0, 1]] if found else [])


def test_a_very_large_cluster_is_one_cluster() -> None:
    one, other = text("one", 20), text("other", 20)
    assert groups([one, other] * 4000, METHOD) == [list(range(0, 8000, 2)), list(range(1, 8000, 2))]


@pytest.mark.parametrize(
    ("level", "share"), [(0.5, 0.053), (0.7, 0.565), (0.8, 0.924), (0.85, 0.988), (0.9, 0.9996), (0.95, 1.0)]
)
def test_pairs_are_found_as_often_as_the_curve_promises(level: float, share: float) -> None:
    """Of 1,000 pairs of each similarity: within four standard deviations of 1 - (1 - s^8)^14."""
    pairs, expected, variance = [], 0.0, 0.0
    words, count = 600, round(596 * (1 - level) / (1 + level) / 5)  # words to change: five of 596 shingles each
    for number in range(1000):
        original = text(f"{level} {number}", words)
        pair = original, changed(original, *range(4 + number % 5, words, words // count)[:count])
        chance = 1 - (1 - similarity(*pair) ** 8) ** 14
        expected, variance = expected + chance, variance + chance * (1 - chance)
        pairs.append(pair)
    assert expected / 1000 == pytest.approx(share, abs=0.01), "the pairs are as similar as they should be"
    found = groups([part for pair in pairs for part in pair], METHOD)
    assert all(group == [group[0], group[0] + 1] and group[0] % 2 == 0 for group in found)
    assert abs(len(found) - expected) <= 4 * max(variance, 0.25) ** 0.5


def test_shingles_are_runs_of_words_without_case_and_punctuation() -> None:
    assert shingles("One, two; three four. Five six", METHOD) == {"one two three four five", "two three four five six"}


@pytest.mark.parametrize("method", [ExactMethod(), METHOD, PassagesMethod()], ids=["exact", "minhash", "passages"])
def test_the_canaries_are_found_and_nothing_else(method: ExactMethod | MinHashMethod | PassagesMethod) -> None:
    assert PAIRS >= 10
    assert planted_recall(method) == (1.0, 0)


def test_the_canaries_notice_methods_that_find_too_little_or_too_much() -> None:
    assert planted_recall(MinHashMethod(bands=1, rows=200))[0] < 1.0
    assert planted_recall(PassagesMethod(words=200))[0] == 0.0
    assert planted_recall(PassagesMethod(words=1, share=0.01))[1] > 0


@pytest.mark.samples
@pytest.mark.parametrize(("size", "pairs"), [(100, 5), (1000, 10)])
def test_exactly_the_true_pairs_of_the_articles_are_found(samples: Path, tmp_path: Path, size: int, pairs: int) -> None:
    names, texts, expected = articles(samples, size)
    assert (len(names), len(expected)) == (size, pairs)
    found = groups(texts, METHOD)
    assert {frozenset(names[position] for position in group) for group in found} == expected
    signed(texts, METHOD, tmp_path / "0")
    theirs = by_datatrove([tmp_path / "0"], METHOD, tmp_path / "work")
    assert found == sorted(sorted(position for _, position in group) for group in theirs)


def test_files_that_are_merged_are_those_of_all_texts_signed_at_once(tmp_path: Path) -> None:
    texts = [text(f"{number}", 30 + number) for number in range(20)] + ["short"]
    signed(texts, METHOD, tmp_path / "whole")
    order = random.Random(7).sample(range(21), 21)
    parts = (order[:9], order[9:])
    for number, part in enumerate(parts):
        signed(
            [texts[position] for position in part] + ["one text more that is left out here"],
            METHOD,
            tmp_path / f"{number}",
        )
    for band in range(METHOD.bands):
        name = band_name(band)
        moved = [(tmp_path / f"{number}" / name, np.array([*part, -1])) for number, part in enumerate(parts)]
        merge_records(moved, METHOD.rows, tmp_path / "merged")
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_empty_file_of_signatures_can_be_read(tmp_path: Path) -> None:
    write_records(np.empty((0, 8), np.uint64), np.empty(0, np.int64), tmp_path / "none")
    assert len(read_records(tmp_path / "none", 8)) == 0
