"""Language and script as signals."""

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.seeds.cleaning import language_of
from cosmo_assets.signals.catalogue import SCRIPTS
from cosmo_assets.signals.languages import languages_of

SENTENCES = {
    "latin": ("de", "Der Lehrer erklärte der Klasse, wie Regen entsteht, wenn warme Luft aufsteigt."),
    "cyrillic": ("ru", "Учитель объяснил классу, как образуется дождь, когда поднимается тёплый воздух."),
    "greek": ("el", "Ο δάσκαλος εξήγησε στην τάξη πώς σχηματίζεται η βροχή όταν ανεβαίνει ο ζεστός αέρας."),
    "arabic": ("ar", "شرح المعلم للطلاب كيف يتكون المطر عندما يرتفع الهواء الدافئ فوق الجبال."),
    "devanagari": ("hi", "शिक्षक ने कक्षा को बताया कि गर्म हवा ऊपर उठने पर वर्षा कैसे होती है।"),
    "han": ("zh", "老师向全班解释了暖空气上升并冷却时雨水是怎样形成的。"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_language_and_script_of_a_sentence(script: str) -> None:
    language, text = SENTENCES[script]
    (row,) = languages_of(pa.chunked_array([[text]])).to_pylist()
    assert row["language"] == language
    assert row["confidence"] == round(language_of(text)[1], 6) > 0.5
    assert {name: row[f"{name}_share"] for name in SCRIPTS} == {name: float(name == script) for name in SCRIPTS}


def test_shares_by_hand() -> None:
    rows = languages_of(pa.chunked_array([["abc где 12 カ.", "", "1 + 2 = 3"]])).to_pylist()
    assert [row["letters"] for row in rows] == [7, 0, 0]
    assert (rows[0]["latin_share"], rows[0]["cyrillic_share"], rows[0]["han_share"]) == (3 / 7, 3 / 7, 0)
    assert [(row["language"], row["confidence"]) for row in rows[1:]] == [("zxx", 1.0)] * 2
    assert all(row["latin_share"] == 0 for row in rows[1:])


@given(st.text(max_size=60))
def test_letters_and_scripts_are_those_of_unicode(text: str) -> None:
    (row,) = languages_of(pa.chunked_array([[text]])).to_pylist()
    letters = [char for char in text if char.isalpha()]
    assert row["letters"] == len(letters)
    latin = [char for char in letters if unicodedata.name(char, "").startswith("LATIN ")]
    assert row["latin_share"] == (len(latin) / len(letters) if letters else 0)
