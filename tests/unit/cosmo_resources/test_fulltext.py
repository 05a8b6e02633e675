"""The full-text index: what is found, in which order, and that the order does not depend on how the index was built."""

import random
from pathlib import Path

import pytest

from cosmo_resources import fulltext
from cosmo_resources.errors import CosmoError
from cosmo_resources.fulltext import FullTextIndex, Hits, identity, terms
from tests.doubles.replay_server import WORDS, prose

TEXTS = [
    "The river runs to the sea and the sea is deep.",
    "Rivers and riverbanks: a river in the valley of rivers.",
    "A market in the valley.",
    "Nothing of this kind.",
    "A market in the valley.",
]


def pairs(hits: Hits) -> list[tuple[int, float]]:
    return sorted(zip(hits.numbers.tolist(), hits.scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))


@pytest.fixture
def index(tmp_path: Path) -> FullTextIndex:
    found = FullTextIndex(tmp_path / "index")
    found.extend(enumerate(TEXTS))
    return found


def test_terms_are_stemmed_without_stop_words_and_each_once() -> None:
    assert terms("The Rivers, a river & the naïve RIVERBANK of 1984") == ("river", "naiv", "riverbank", "1984")
    assert terms("the of and") == ()
    assert terms("x" * 41) == ()


def test_documents_with_any_of_the_terms_are_found(index: FullTextIndex) -> None:
    assert len(index) == 5
    assert [number for number, _ in pairs(index.search([("river", 1.0)], 10))] == [1, 0]
    assert {number for number, _ in pairs(index.search([("sea", 1.0), ("market", 1.0)], 10))} == {0, 2, 4}
    assert pairs(index.search([("ocean", 1.0)], 10)) == []
    assert pairs(index.search([], 10)) == []


def test_a_weight_multiplies_a_term_s_score(index: FullTextIndex) -> None:
    once, twice = (dict(pairs(index.search([("sea", 1.0), ("river", weight)], 10))) for weight in (1.0, 2.0))
    alone = dict(pairs(index.search([("river", 1.0)], 10)))
    for number in alone:
        assert twice[number] == pytest.approx(once[number] + alone[number], rel=1e-5)


def test_one_of_the_terms_can_be_required(index: FullTextIndex) -> None:
    weights = [("river", 2.0), ("valley", 1.0)]
    required = index.search(weights, 10, one_of=["river"])
    assert [number for number, _ in pairs(required)] == [1, 0]
    free = dict(pairs(index.search(weights, 10)))
    assert dict(pairs(required)) == {number: free[number] for number in (0, 1)}
    assert pairs(index.search(weights, 10, one_of=[])) == []
    assert pairs(index.search(weights, 10, one_of=["ocean"])) == []


def test_all_that_score_like_the_last_one_are_found(tmp_path: Path) -> None:
    index = FullTextIndex(tmp_path / "index")
    index.extend((number, "same words here" if number else "words words same") for number in range(300))
    found = pairs(index.search([("word", 1.0)], 3))
    assert found[0][0] == 0
    assert len(found) == 300
    assert len({score for _, score in found[1:]}) == 1


def texts(count: int) -> list[str]:
    return [prose(f"document {number}", 10 + number % 90) for number in range(count)]


def test_scores_do_not_depend_on_how_the_index_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = list(enumerate(texts(600)))
    whole, parts, threads = (FullTextIndex(tmp_path / name) for name in ("whole", "parts", "threads"))
    whole.extend(documents)
    for start in range(0, 600, 50):
        parts.extend(documents[start : start + 50])
    monkeypatch.setattr(fulltext, "THREADS", 3)
    threads.extend(reversed(documents))
    reopened = FullTextIndex(tmp_path / "parts")
    draw = random.Random(7)
    compared = 0
    for _ in range(60):
        weights = [(term, draw.choice([1.0, 2.0, 2.5])) for term in terms(" ".join(draw.sample(WORDS, 5)))]
        required = [weights[0][0]] if weights and draw.random() < 0.5 else None
        expected = pairs(whole.search(weights, 25, one_of=required))
        compared += len(expected)
        for other in (parts, threads, reopened):
            assert pairs(other.search(weights, 25, one_of=required)) == expected
    assert compared > 1000


def test_documents_of_a_broken_stream_are_not_there(tmp_path: Path) -> None:
    index = FullTextIndex(tmp_path / "index")
    index.extend(enumerate(TEXTS))

    def broken() -> object:
        yield 5, "river"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        index.extend(broken())  # type: ignore[arg-type]
    assert len(FullTextIndex(tmp_path / "index")) == 5
    index.extend([(5, "river")])
    assert len(FullTextIndex(tmp_path / "index")) == 6


def test_a_damaged_index_says_so(tmp_path: Path) -> None:
    index = FullTextIndex(tmp_path / "index")
    index.extend(enumerate(TEXTS))
    (tmp_path / "index" / "meta.json").write_text("{", encoding="utf-8")
    with pytest.raises(CosmoError, match="not a readable index"):
        FullTextIndex(tmp_path / "index")


def test_the_identity_names_engine_version_and_analyzer() -> None:
    import tantivy

    assert identity()["engine"] == "tantivy"
    assert identity()["version"] in tantivy.__version__
    assert "stop words" in identity()["analyzer"]
