"""Finding documents by a piece of their text: the promise of winnowing, and what is found beyond it."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.lineage import find as finding
from cosmo_assets.lineage import index, snippets
from cosmo_assets.lineage.snippets import GRAM, GUARANTEED, WINDOW, winnowed
from cosmo_assets.lineage.trace import Lineage
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.lineage.planted import SEEDS
from tests.unit.cosmo_assets.synthetic import prompt, put, put_prompts, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

WORDS = ["river", "stone", "sand", "bread", "rain", "map", "soil", "tree", "iron", "light", "house", "fish", "field"]
HELD = " ".join(f"held{number}" for number in range(GUARANTEED + 2))
"""A passage that three documents hold."""


def words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


def corpus_texts() -> dict[str, str]:
    draw = random.Random(3)
    texts = [words(draw, count) for count in (5, 30, 60, 200, 400, 900)]
    texts += [f"{words(draw, 70)} {HELD} {words(draw, 90)}", f"{HELD} {words(draw, 20)}", f"{words(draw, 120)}, {HELD}"]
    texts += ["", "…!", "Ein Bär läuft über die Straße und sieht nichts.", "The " * 300, f"{words(draw, 100)} {HELD}"]
    return {digest(f"snippet {number}"): text for number, text in enumerate(texts)}


TEXTS = corpus_texts()
DOCS = list(TEXTS)
HOLDING = {DOCS[6], DOCS[7], DOCS[8]}
OUTSIDE = DOCS[13]
"""Holds the passage and did not get into the corpus."""


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Lineage:
    space = Workspace(CorpusStore(tmp_path_factory.mktemp("snippets")), recipe(tokenization={"shard_tokens": 900}))
    asked = [prompt(f"prompt {number}", seed_id=SEEDS[0]["seed_id"]) for number in range(len(DOCS))]
    put(space, "seed_documents", {None: SEEDS})
    put_prompts(space, asked)
    rows = [
        {"doc_id": doc, "prompt_id": asked[number]["prompt_id"], "text": TEXTS[doc]} for number, doc in enumerate(DOCS)
    ]
    put(space, "generations", {None: rows[:4], "more": [], "rest": rows[4:]}, bucket="b000")
    mixture = [{"doc_id": doc, "bucket": "b000", "tokens": 9, "copies": 1} for doc in DOCS if doc != OUTSIDE]
    put(space, "mixture", {"b000": mixture}, summary={"copies": len(mixture)})
    shards.build(space, tiny_tokenizer())
    index.build(space)
    return Lineage.open(space.store)


def plain_winnow(values: list[int], window: int) -> list[int]:
    """Where the fingerprints stand: Schleimer et al.'s definition, word for word."""
    chosen: list[int] = []
    for start in range(max(len(values) - window + 1, 1 if values else 0)):
        part = values[start : start + window]
        least = min(part)
        place = start + max(at for at, value in enumerate(part) if value == least)
        if place not in chosen:
            chosen.append(place)
    return chosen


PATTERNS = st.tuples(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=30), st.integers(1, 4))
"""Words, and how often they stand one after the other: equal hashes in one window."""


@settings(deadline=None, max_examples=120)
@given(st.lists(PATTERNS.map(lambda pattern: pattern[0] * pattern[1]), max_size=5), st.integers(1, 30))
def test_the_fingerprints_are_those_of_the_definition(texts: list[list[str]], window: int) -> None:
    array = pa.array([" ".join(text) for text in texts], pa.string())
    every, owners = winnowed(array, window=1)
    found, of_text = winnowed(array, window=window)
    for number in range(len(texts)):
        values = every[owners == number].tolist()
        assert len(values) == max(len(texts[number]) - GRAM + 1, 0)
        assert found[of_text == number].tolist() == [values[place] for place in plain_winnow(values, window)]


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(GUARANTEED, 120), st.integers(0, 200), st.integers(0, 200))
def test_a_long_enough_piece_shares_a_fingerprint_with_every_text_that_holds_it(
    draw: random.Random, size: int, before: int, after: int
) -> None:
    piece = words(draw, size)
    whole = f"{words(draw, before)} {piece} {words(draw, after)}"
    wanted = snippets.wanted(piece)
    assert len(wanted.all_of)
    stored, _ = winnowed(pa.array([whole]))
    assert set(wanted.all_of.tolist()) <= set(stored.tolist())


def test_the_documents_that_hold_a_passage_are_found_through_fingerprints(
    lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "SCANNED_BYTES", -1)
    found = lineage.text(HELD)
    assert {match.doc_id for match in found.matches if match.spans} == HOLDING
    assert [match.doc_id for match in found.matches if not match.spans] == [OUTSIDE]
    assert found.matches[-1].doc_id == OUTSIDE, "those of the corpus come first"
    assert (found.sure, found.more, found.unread_bytes) == (True, 0, 0)
    for match in found.matches:
        assert TEXTS[match.doc_id][match.start : match.end] == HELD


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_every_long_piece_of_a_text_leads_to_it(lineage: Lineage, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "SCANNED_BYTES", -1)
    parts = TEXTS[DOCS[number]].split()
    for start in range(0, len(parts) - GUARANTEED - 1, 7):
        piece = " ".join(parts[start : start + GUARANTEED + 2])
        found = lineage.text(piece)
        assert found.sure
        assert DOCS[number] in {match.doc_id for match in found.matches}


def test_case_accents_punctuation_and_cut_words_do_not_matter(
    lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = "ld0 — " + ",\n".join(HELD.upper().split()[1:-1]) + " held"
    found = lineage.text(changed)
    assert {match.doc_id for match in found.matches if match.spans} == HOLDING
    (bear,) = lineage.text("bar lauft uber DIE strasse").matches
    assert bear.doc_id == DOCS[11]
    monkeypatch.setattr(finding, "SCANNED_BYTES", -1)
    assert {match.doc_id for match in lineage.text(changed).matches if match.spans} == HOLDING


def test_a_short_piece_is_found_where_all_is_read_and_else_said_to_be_uncertain(
    lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = "held3 held4 held5"
    read = lineage.text(piece)
    assert {match.doc_id for match in read.matches if match.spans} == HOLDING
    assert read.sure
    monkeypatch.setattr(finding, "SCANNED_BYTES", -1)
    unread = lineage.text(piece)
    assert (unread.matches, unread.sure) == ((), False)
    assert unread.unread_bytes > 0
    assert lineage.text(piece, scan=True).matches == read.matches
    sizes = range(GRAM, GUARANTEED, 3)
    pieces = [" ".join(HELD.split()[start : start + size]) for size in sizes for start in range(0, 50 - size, 5)]
    hits = [bool(lineage.text(one).matches) for one in pieces]
    assert 0 < sum(hits) < len(hits), "some of the shorter ones are found by chance, not all"


def test_what_no_document_holds_is_not_found(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    reversed_passage = " ".join(reversed(HELD.split()))
    for bound in (1 << 28, -1):
        monkeypatch.setattr(finding, "SCANNED_BYTES", bound)
        found = lineage.text(reversed_passage)
        assert (found.matches, found.sure) == ((), True)


def test_more_candidates_than_are_read_are_counted(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "READ", 1)
    found = lineage.text(HELD)
    assert len(found.matches) == 1
    assert found.more == 3


@pytest.mark.parametrize("text", ["", "two words", "?! …"])
def test_too_few_words_are_refused(lineage: Lineage, text: str) -> None:
    with pytest.raises(CosmoError, match="words") as caught:
        lineage.text(text)
    assert "at least 3 words" in caught.value.remedy


def test_a_match_leads_to_the_token_at_which_it_begins(lineage: Lineage) -> None:
    for match in lineage.text(HELD).matches:
        if not match.spans:
            with pytest.raises(CosmoError, match="was generated but is not in the corpus"):
                lineage.match(match)
            continue
        found = lineage.match(match)
        assert found.document["doc_id"] == match.doc_id
        shard = shards.map_shard(lineage.lookup.shards.folder / found.shard)
        rest = lineage._tokenizer.decode(shard[found.token : found.span["end"] - 1].tolist())
        assert rest.lstrip().startswith(HELD)
        assert (match.start == 0) == (found.token == found.span["start"])


def test_density_is_what_the_window_promises() -> None:
    text = words(random.Random(5), 200_000)
    every, _ = winnowed(pa.array([text]), window=1)
    chosen, _ = winnowed(pa.array([text]))
    assert len(chosen) / len(every) == pytest.approx(2 / (WINDOW + 1), rel=0.15)


def test_it_may_be_asked_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="token_lineage is not built yet"):
        Lineage.open(CorpusStore(tmp_path))
