"""Near-duplicates: planted ones are found, others are not, however the texts are spread over ranks."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cosmo_assets.deduplication.canary import PAIRS, planted_recall
from cosmo_assets.deduplication.minhash import clusters, near_duplicate_groups, shingles, sign
from cosmo_assets.recipe import Deduplication
from tests.doubles.replay_server import prose

RECIPE = Deduplication()


def text(key: str, words: int = 200) -> str:
    return prose(key, words)


def changed(original: str, *positions: int) -> str:
    """A text with some of its words replaced."""
    words = original.split()
    for position in positions:
        words[position] = f"changed{position}"
    return " ".join(words)


def similarity(left: str, right: str) -> float:
    one, other = shingles(left, RECIPE), shingles(right, RECIPE)
    return len(one & other) / len(one | other)


def groups_over_ranks(texts: Sequence[str], ranks: int, work: Path) -> list[list[int]]:
    """The groups found when text i is signed by rank i mod n, as sorted positions in the whole list."""
    for rank in range(ranks):
        sign(texts[rank::ranks], RECIPE, work / "signatures", rank)
    found = clusters(work / "signatures", RECIPE, work)
    return sorted(sorted(rank + ranks * position for rank, position in group) for group in found)


@pytest.fixture(scope="module")
def planted() -> tuple[list[str], list[list[int]]]:
    """Thirty texts, five of them with near-duplicates among ten more, and the groups that they form."""
    texts = [text(f"text {number}") for number in range(30)]
    groups = []
    for number in range(0, 25, 5):
        copies = [changed(texts[number], 100), changed(texts[number], 199)]
        groups.append([number, len(texts), len(texts) + 1])
        texts += copies
    return texts, groups


def test_planted_near_duplicates_are_found_and_nothing_else(
    planted: tuple[list[str], list[list[int]]], tmp_path: Path
) -> None:
    texts, groups = planted
    assert near_duplicate_groups(texts, RECIPE, tmp_path) == groups


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_the_number_of_ranks_changes_no_group(
    planted: tuple[list[str], list[list[int]]], tmp_path: Path, ranks: int
) -> None:
    texts, groups = planted
    assert groups_over_ranks(texts, ranks, tmp_path) == groups


def test_groups_come_sorted_by_rank_and_position(planted: tuple[list[str], list[list[int]]], tmp_path: Path) -> None:
    texts, _ = planted
    for rank in range(3):
        sign(texts[rank::3], RECIPE, tmp_path / "signatures", rank)
    found = clusters(tmp_path / "signatures", RECIPE, tmp_path)
    assert found == sorted(sorted(group) for group in found)


def test_two_runs_find_the_same_groups(planted: tuple[list[str], list[list[int]]], tmp_path: Path) -> None:
    texts, _ = planted
    assert groups_over_ranks(texts, 2, tmp_path / "a") == groups_over_ranks(texts, 2, tmp_path / "b")


def test_texts_of_little_similarity_are_no_duplicates(tmp_path: Path) -> None:
    pairs = [(text(f"{n}"), changed(text(f"{n}"), *range(0, 200, 10))) for n in range(20)]
    assert all(0.25 < similarity(left, right) < 0.4 for left, right in pairs)
    assert near_duplicate_groups([part for pair in pairs for part in pair], RECIPE, tmp_path) == []


def test_case_punctuation_and_space_make_no_difference(tmp_path: Path) -> None:
    original = text("one")
    disguised = original.upper().replace(".", " ... ").replace(" ", "\n\t")
    assert near_duplicate_groups([original, text("two"), disguised], RECIPE, tmp_path) == [[0, 2]]


def test_duplicates_of_duplicates_are_one_group(tmp_path: Path) -> None:
    chain = [text("one")]
    for step in range(4):
        chain.append(changed(chain[-1], 40 * step + 5))
    assert near_duplicate_groups(chain, RECIPE, tmp_path) == [[0, 1, 2, 3, 4]]


def test_texts_shorter_than_a_shingle_are_never_duplicates(tmp_path: Path) -> None:
    texts = ["one two three four", "one two three four", "", "?!", text("a"), text("a")]
    assert near_duplicate_groups(texts, RECIPE, tmp_path) == [[4, 5]]


@pytest.mark.parametrize("texts", [[], [""], ["only one text of a few words"]], ids=["none", "empty", "one"])
def test_without_pairs_there_are_no_groups(tmp_path: Path, texts: list[str]) -> None:
    assert near_duplicate_groups(texts, RECIPE, tmp_path) == []


@pytest.mark.parametrize("empty", [0, 1])
def test_a_rank_without_texts_hides_no_other(tmp_path: Path, empty: int) -> None:
    sign([], RECIPE, tmp_path / "signatures", empty)
    sign([text("a"), text("b"), text("a")], RECIPE, tmp_path / "signatures", 1 - empty)
    assert clusters(tmp_path / "signatures", RECIPE, tmp_path) == [[(1 - empty, 0), (1 - empty, 2)]]


@pytest.mark.parametrize(("bands", "rows", "found"), [(14, 8, False), (200, 8, True), (14, 2, True), (1, 8, False)])
def test_bands_and_rows_say_how_similar_is_similar(tmp_path: Path, bands: int, rows: int, found: bool) -> None:
    pair = [text("one"), changed(text("one"), *range(0, 200, 18))]
    assert 0.5 < similarity(*pair) < 0.6
    groups = near_duplicate_groups(pair, Deduplication(bands=bands, rows=rows), tmp_path)
    assert groups == ([[0, 1]] if found else [])


def test_shingles_are_runs_of_words_without_case_and_punctuation() -> None:
    assert shingles("One, two; three four. Five six", RECIPE) == {"one two three four five", "two three four five six"}


def test_the_canaries_of_the_default_recipe_are_found_and_nothing_else() -> None:
    assert PAIRS >= 10
    assert planted_recall(RECIPE) == (1.0, 0)


def test_the_canaries_notice_a_recipe_that_finds_nothing() -> None:
    assert planted_recall(Deduplication(bands=1, rows=200))[0] < 1.0


@pytest.mark.samples
@pytest.mark.parametrize(("size", "pairs"), [(100, 5), (1000, 10)])
def test_exactly_the_true_pairs_of_the_articles_are_found(samples: Path, tmp_path: Path, size: int, pairs: int) -> None:
    folder = samples / "neardup_minhash_articles"
    if not (folder / f"articles_{size}.train").is_file():
        pytest.skip(f"no sample articles_{size}.train in {folder}")
    lines = (folder / f"articles_{size}.train").read_text(encoding="utf-8").split("\n")
    names, texts = zip(*(line.split(" ", 1) for line in lines if line), strict=True)
    truth = (folder / f"articles_{size}.truth").read_text(encoding="utf-8").split("\n")
    expected = {frozenset(line.split()) for line in truth if line}
    assert (len(names), len(expected)) == (size, pairs)
    groups = near_duplicate_groups(texts, RECIPE, tmp_path)
    assert {frozenset(names[position] for position in group) for group in groups} == expected
