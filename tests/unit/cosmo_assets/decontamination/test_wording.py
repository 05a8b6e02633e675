"""What many items begin with is left out of them, by whole words, and only where enough is left."""

import pytest

from cosmo_assets.decontamination.benchmarks import LONG, Item
from cosmo_assets.decontamination.wording import COMMON_ITEMS, COMMON_WORDS, own_wording

ORDER = "Read the following story with care, then say which of its people is right."
OWN = "Anna and Ben had a bet about a dog that came home {} days later than it went."


def items(order: str, count: int, own: str = OWN, benchmark: str = "stories") -> list[Item]:
    return [Item(benchmark, str(number), f"{order} {own.format(number)}", f"Anna {number}") for number in range(count)]


def test_what_enough_items_begin_with_is_left_out_of_them() -> None:
    found = own_wording([*items(ORDER, COMMON_ITEMS), Item("stories", "x", "What else is there?", "No")])
    assert {item.asked.split()[0] for item in found[:-1]} < set(OWN.split())
    assert all(item.text in before.text for item, before in zip(found, items(ORDER, COMMON_ITEMS), strict=False))
    assert not any("Read" in item.asked for item in found[:-1])
    assert found[-1].asked == "What else is there?"
    assert [item.answer for item in found[:-1]] == [f"Anna {number}" for number in range(COMMON_ITEMS)]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(items(ORDER, COMMON_ITEMS - 1), id="too few items"),
        pytest.param(items("Who is right?", COMMON_ITEMS, "{} or not, Anna was late that day again."), id="few words"),
        pytest.param(
            [Item(f"b{number}", "0", item.asked, "") for number, item in enumerate(items(ORDER, COMMON_ITEMS))],
            id="other benchmarks",
        ),
        pytest.param([Item("b", str(number), "", f"{ORDER} {number}") for number in range(20)], id="answers"),
        pytest.param([], id="none"),
    ],
)
def test_items_are_left_as_they_are(before: list[Item]) -> None:
    assert own_wording(before) == before


def test_words_are_not_cut_and_enough_are_left() -> None:
    order = " ".join(f"w{number}" for number in range(30))
    found = own_wording([Item("b", str(number), f"{order} alike{number}", "") for number in range(COMMON_ITEMS)])
    assert {item.asked for item in found} == {
        " ".join([*order.split()[-LONG + 1 :], f"alike{number}"]) for number in range(COMMON_ITEMS)
    }
    assert len(order.split()) - LONG + 1 >= COMMON_WORDS


def test_a_word_that_begins_alike_stays_whole() -> None:
    own = "alike{} " + " ".join("abcdefghijkl")
    found = own_wording(items(ORDER, COMMON_ITEMS, own))
    assert sorted(item.asked.split()[0] for item in found) == sorted(f"alike{n}" for n in range(COMMON_ITEMS))
