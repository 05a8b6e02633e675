"""Copied passages: who holds whose windows, the best document first."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cosmo_assets.deduplication.passages import FILE, PassageSigner, copies
from cosmo_assets.deduplication.records import read_records
from cosmo_assets.recipe.deduplication import PassagesMethod
from tests.unit.cosmo_assets.deduplication.corpus import groups
from tests.unit.cosmo_assets.deduplication.texts import METHOD as MINHASH
from tests.unit.cosmo_assets.deduplication.texts import text

METHOD = PassagesMethod(words=20)


def plain_copies(windows: list[set[int]], share: float) -> list[int]:
    """The rule, document by document."""
    holder: dict[int, int] = {}
    found = []
    for rank, own in enumerate(windows):
        held = [holder[window] for window in own if window in holder]
        if held and len(held) >= share * len(own):
            found.append(min(set(held), key=lambda one: (-held.count(one), one)))
        else:
            found.append(rank)
            for window in own:
                holder.setdefault(window, rank)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_the_rule_is_that_of_a_plain_reading(seed: int, share: float) -> None:
    draw = random.Random(seed)
    windows = [set(draw.choices(range(60), k=draw.randint(0, 12))) for _ in range(80)]
    pairs = [(window, rank) for rank, own in enumerate(windows) for window in own]
    draw.shuffle(pairs)
    hashes, ranks = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    expected = plain_copies(windows, share)
    assert copies(hashes.astype(np.uint64), ranks, 80, share).tolist() == expected
    assert expected != list(range(80))


def test_an_excerpt_of_a_longer_text_is_found_where_sets_of_ngrams_differ() -> None:
    book = text("book", 2000)
    excerpt = " ".join(book.split()[700:900])
    assert groups([book, text("other", 400), excerpt], METHOD) == [[0, 2]]
    assert groups([book, text("other", 400), excerpt], MINHASH) == []


def test_a_text_that_is_half_another_goes_and_one_that_is_a_fifth_stays() -> None:
    first, second = text("first", 1000), text("second", 1000)
    half = " ".join([*first.split()[:600], *text("own", 400).split()])
    fifth = " ".join([*second.split()[:200], *text("more", 800).split()])
    assert groups([first, second, half, fifth], METHOD) == [[0, 2]]


def test_what_a_dropped_document_alone_holds_condemns_nobody() -> None:
    first, own, last = text("first", 600), text("own", 200), text("last", 60)
    dropped = f"{first} {own}"
    survivor = f"{own} {last}"
    assert groups([first, dropped, survivor], METHOD) == [[0, 1]]


def test_windows_are_the_same_wherever_a_passage_stands(tmp_path: Path) -> None:
    passage = text("passage", 300)
    texts = [passage, f"{text('before', 37)} {passage}", f"{passage} {text('after', 90)}", "too short"]
    signer = PassageSigner(METHOD)
    signer.add(pa.array(texts[:2], pa.large_string()))
    signer.add(pa.array(texts[2:], pa.large_string()))
    signer.write(tmp_path)
    records = read_records(tmp_path / FILE, 1)
    found = [set(records["hashes"][records["position"] == number, 0].tolist()) for number in range(4)]
    assert found[0] and found[0] < found[1] and found[0] < found[2]
    assert 300 / 8 / 2 < len(found[0]) < 300 / 8 * 2
    assert not found[3]


def test_a_window_that_a_text_repeats_is_remembered_once(tmp_path: Path) -> None:
    passage = text("passage", 300)
    signer = PassageSigner(METHOD)
    signer.add(pa.array([passage, f"{passage} {passage}"], pa.large_string()))
    signer.write(tmp_path)
    records = read_records(tmp_path / FILE, 1)
    pairs = list(zip(records["hashes"][:, 0].tolist(), records["position"].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


def test_a_passage_in_every_document_is_that_of_the_best() -> None:
    passage = text("passage", 400)
    texts = [f"{passage} {text(f'own {number}', 50)}" for number in range(3000)]
    assert groups(texts, METHOD) == [list(range(3000))]
