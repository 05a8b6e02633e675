"""Equal texts: every form of the same words, and nothing else."""

import unicodedata

import numpy as np
import pyarrow as pa

from cosmo_assets.deduplication.exact import as_integers, first_of_equal, text_hashes
from cosmo_assets.recipe.deduplication import ExactMethod
from tests.unit.cosmo_assets.deduplication.corpus import groups
from tests.unit.cosmo_assets.deduplication.texts import changed, text

METHOD = ExactMethod()


def test_case_punctuation_space_and_unicode_form_make_no_difference() -> None:
    original = "Das Café öffnet um 9 Uhr; ﬁne “quotes” – und Straße."
    forms = [
        original,
        unicodedata.normalize("NFD", original),
        unicodedata.normalize("NFKC", original),
        original.upper(),
        original.replace(" ", "\n\t").replace("“", '"').replace("”", '"'),
    ]
    assert groups(["Something else", *forms], METHOD) == [[1, 2, 3, 4, 5]]


def test_another_word_or_another_order_is_another_text() -> None:
    one = text("one")
    first, second, *others = one.split()
    texts = [one, changed(one, 199), f"{one} more", " ".join([second, first, *others]), " ".join(others)]
    assert groups(texts, METHOD) == []


def test_texts_too_short_for_any_signature_are_found() -> None:
    assert groups(["Yes.", "yes", "No.", "!?", "..."], METHOD) == [[0, 1], [3, 4]]


def test_words_in_one_batch_or_another_have_the_same_hash() -> None:
    texts = [text(f"{number}", number) for number in range(1, 40)]
    one_by_one = [text_hashes(pa.array([one], pa.large_string()))[0] for one in texts]
    assert text_hashes(pa.array(texts, pa.large_string())) == one_by_one
    assert len(set(one_by_one)) == len(texts)


def test_the_first_of_equal_rows_is_named() -> None:
    keys = np.array([[5, 1], [0, 7], [5, 1], [5, 2], [0, 7], [5, 1]], np.uint64)
    assert first_of_equal(keys).tolist() == [0, 1, 0, 3, 1, 0]
    assert first_of_equal(np.empty((0, 2), np.uint64)).tolist() == []


def test_hex_digests_become_integers_of_the_same_order_and_equality() -> None:
    digests = [f"{number:032x}" for number in (1, 2**64, 2**127 + 5, 1)]
    assert as_integers(pa.chunked_array([digests])).tolist() == [[0, 1], [1, 0], [2**63, 5], [0, 1]]
