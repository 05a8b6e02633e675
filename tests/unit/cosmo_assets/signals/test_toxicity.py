"""Toxicity as signals: null where nothing is long enough, and the worst paragraph however long the rest is."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.seeds.toxicity import JUDGED_CHARS, toxicity
from cosmo_assets.signals.toxicity import paragraphs_of, toxicity_of

ABUSE = "You are such a stupid idiot, and everything you say is garbage. Shut up, you pathetic loser, and get lost now."
HARMLESS = (
    "The teacher explained to the class how rain forms when warm air rises and cools over the hills of the coast. "
)


def scores(*texts: str) -> list[tuple[float | None, float | None]]:
    return [(row["score"], row["worst_paragraph"]) for row in toxicity_of(pa.chunked_array([texts])).to_pylist()]


def test_a_long_text_dilutes_what_its_worst_paragraph_shows() -> None:
    page = "\n\n".join([HARMLESS * 3] * 20)
    (whole, worst), (clean, cleanest) = scores(f"{page}\n{ABUSE}\n{page}", page)
    assert whole is not None and whole < 0.5
    assert worst == toxicity([ABUSE])[0] and worst > 0.9
    assert clean is not None and clean < 0.2 and cleanest is not None and cleanest < 0.2


def test_what_is_too_short_is_not_judged() -> None:
    short = ABUSE[: JUDGED_CHARS - 1]
    assert scores("", short, ABUSE) == [(None, None), (None, None), (toxicity([ABUSE])[0],) * 2]
    assert scores(f"{HARMLESS}\n{short}")[0][1] == toxicity([HARMLESS])[0], "nor the rest of a text"


def test_short_lines_are_joined_until_they_can_be_judged() -> None:
    lines = ABUSE.split(" ")
    ((_, worst),) = scores("\n".join(lines))
    assert worst == toxicity(["\n".join(lines)])[0] is not None


@given(st.text(alphabet="ab \n\r", max_size=600))
def test_paragraphs_are_all_lines_and_all_but_the_last_are_long_enough(text: str) -> None:
    found = list(paragraphs_of(text))
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(len(paragraph) >= JUDGED_CHARS for paragraph in found[:-1])
    assert all(len(paragraph.rsplit("\n", 1)[0]) < JUDGED_CHARS for paragraph in found if "\n" in paragraph)
