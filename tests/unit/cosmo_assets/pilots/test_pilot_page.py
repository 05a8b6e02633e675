"""The page of a pilot: what stands in its cells, which samples stand side by side, and hostile texts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import lxml.html
import pytest

from cosmo_assets.pilots.page import Variant, pilot_page
from cosmo_assets.pilots.statistics import Answer, measure_pilot

HOSTILE = (
    "<script>document.title = 'broken into'</script>",
    "</div></figure><img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "<!--<style>* { display: none }",
    "]]> & &lt; &#60; {{ 7 * 7 }} {% raw %} \x00 \x1b \ud800",
)
LONG = "The river carries small stones and sand from the mountain down to the sea, "


def answer(text: str, *, prompt: str = "Write.", extract: str = "", finish_reason: str | None = "stop") -> Answer:
    return Answer(text, prompt, extract, finish_reason, 7)


def variant(
    label: str, answers: Sequence[Answer], *, facts: Mapping[str, str] | None = None, samples: Sequence[Answer] = ()
) -> Variant:
    return Variant(label, facts or {}, measure_pilot(answers), samples)


def parsed(*variants: Variant, title: str = "Pilot") -> Any:
    return lxml.html.document_fromstring(pilot_page(title, variants))


def said(element: Any) -> str:
    return " ".join(element.text_content().split())


def row(root: Any, name: str, table: str = "figures") -> list[str]:
    """The cells of the first row of that name."""
    rows = root.xpath(f'//table[@class="{table}"]//tr[th[starts-with(normalize-space(.), "{name}")]][td]')
    return [said(cell) for cell in rows[0].xpath("td")]


def texts(root: Any, path: str) -> list[str]:
    return [said(element) for element in root.xpath(path)]


def test_a_page_needs_a_variant() -> None:
    with pytest.raises(ValueError, match="at least one variant"):
        pilot_page("nothing", [])


def test_hostile_texts_stay_texts() -> None:
    def tags(fill: Sequence[str]) -> list[str]:
        answers = [answer(text, prompt=f"p {text}", extract=f"e {text}", finish_reason=text) for text in fill]
        variants = [variant(text, answers, facts={text: text}, samples=answers) for text in fill]
        root = parsed(*variants, title=fill[0])
        assert not root.xpath("//@*[starts-with(name(), 'on')]")
        return [element.tag for element in root.iter() if isinstance(element.tag, str)]

    assert tags(HOSTILE) == tags([re.sub(r"[^\w\s]", " ", text) for text in HOSTILE])
    root = parsed(variant("a", [], samples=[answer(text) for text in HOSTILE[:4]]))
    assert texts(root, '//div[@class="answer"]') == list(HOSTILE[:4])


def test_characters_that_html_cannot_hold_are_replaced() -> None:
    html = pilot_page("t", [variant("a", [], samples=[answer("x\x00y\x1bz\ud800.")])])
    assert "x\ufffdy\ufffdz\ufffd." in html
    assert html.encode("utf-8")


def test_nothing_is_fetched_or_run() -> None:
    html = pilot_page("t", [variant("a", [answer("One two three.")])])
    root = lxml.html.document_fromstring(html)
    assert root.xpath("//meta[@http-equiv]/@content") == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not root.xpath("//script|//link|//img|//iframe|//@src")
    assert all(
        target.startswith("#") and root.get_element_by_id(target[1:]) is not None for target in root.xpath("//@href")
    )
    assert not re.search(r"url\(|@import|https?:", html)
    assert "prefers-color-scheme: dark" in html


def test_the_page_is_a_function_of_its_arguments() -> None:
    variants = [variant("a", [answer("One two three.")], facts={"model": "m"}, samples=[answer("One.")])]
    assert pilot_page("t", variants) == pilot_page("t", list(variants))


def test_shares_are_compared_in_points_and_judged_by_their_direction() -> None:
    first = variant("one", [answer("Once upon a time.")] * 60 + [answer("Rivers flow.", finish_reason="length")] * 40)
    second = variant("two", [answer("Once upon a time.")] * 10 + [answer("Rivers flow.", finish_reason="length")] * 90)
    root = parsed(first, second)
    assert row(root, "Stock opening") == ["60.0%", "10.0% −50.0 points, better"]
    assert row(root, "Cut off") == ["40.0%", "90.0% +50.0 points, worse"]
    assert row(root, "Refusals") == ["0.0%", "0.0% same"]
    assert root.xpath('count(//small[@class="better"])') >= 1
    assert root.xpath('//tr[th[starts-with(normalize-space(.), "Cut off")]]//small/@class') == ["worse"]


@pytest.mark.parametrize(("count", "verdict"), [(39, "may be chance"), (41, "better")])
def test_a_small_difference_of_shares_may_be_chance(count: int, verdict: str) -> None:
    # 50 of 100 and 50 - x of 100: at x = 13.6 pooled z is 1.96
    first = variant("one", [answer("Welcome to it.")] * 50 + [answer("Rivers flow.")] * 50)
    second = variant("two", [answer("Welcome to it.")] * (77 - count) + [answer("Rivers flow.")] * (23 + count))
    assert row(parsed(first, second), "Stock opening")[1].endswith(verdict)


def test_chance_is_told_from_the_numbers_of_answers() -> None:
    few, many = ([answer("Welcome to it.")] * 3 * n + [answer("Rivers flow.")] * 2 * n for n in (1, 100))
    less, fewer = ([answer("Welcome to it.")] * 2 * n + [answer("Rivers flow.")] * 3 * n for n in (1, 100))
    assert row(parsed(variant("a", few), variant("b", less)), "Stock opening")[1] == "40.0% −20.0 points, may be chance"
    assert row(parsed(variant("a", many), variant("b", fewer)), "Stock opening")[1] == "40.0% −20.0 points, better"


def test_other_figures_are_better_worse_or_slightly_different() -> None:
    def words(distinct: int) -> list[Answer]:
        return [answer(" ".join(f"w{number % distinct}" for number in range(100)))]

    root = parsed(variant("a", words(50)), variant("b", words(40)), variant("c", words(49)), variant("d", words(60)))
    assert row(root, "Distinct-1") == ["0.500", "0.400 −0.100, worse", "0.490 −0.010, slight", "0.600 +0.100, better"]
    assert row(root, "Self-BLEU-4") == ["–"] * 4


def test_lengths_are_neither_better_nor_worse() -> None:
    root = parsed(variant("a", [answer("w " * 100)]), variant("b", [answer("w " * 1100)]))
    assert row(root, "Mean") == ["100", "1,100 +1,000"]
    assert row(root, "Answers") == ["1", "1 same"]


def test_figures_that_more_text_moves_are_not_judged_over_unlike_amounts() -> None:
    ten, nine, eight = ([answer(" ".join(f"w{number % 5}" for number in range(words)))] for words in (10, 9, 8))
    root = parsed(variant("a", ten), variant("b", nine), variant("c", eight))
    assert row(root, "Distinct-1") == ["0.500", "0.556 +0.056, better", "0.625 +0.125, unlike amounts"]
    (warning,) = texts(root, '//div[@class="warn"]')
    assert warning.endswith("Words read: a 10 words, b 9 words, c 8 words.")
    assert not parsed(variant("a", ten), variant("b", nine)).xpath('//div[@class="warn"]')


def test_a_variant_without_answers_has_dashes_and_one_variant_no_differences() -> None:
    root = parsed(variant("a", [answer("One two three four.")]), variant("b", []))
    assert row(root, "Refusals") == ["0.0%", "–"]
    assert row(root, "Distinct-4") == ["1.000", "–"]
    assert texts(root, '//h2[@id="lengths"]/following-sibling::div[1]//figure') == [
        "a 0510 words Tallest: 0 to 9 words: 100.0% of the answers",
        "b no answers",
    ]
    alone = parsed(variant("a", [answer("One two three four.")]))
    assert not alone.xpath('//table[@class="figures"]//td/small')


def test_every_figure_with_a_direction_says_it_in_words() -> None:
    heads = parsed(variant("a", []), variant("b", [])).xpath('//table[@class="figures"]//th[@scope="row"]')
    notes = {head.text: said(head.find("small")) for head in heads}
    higher = {name for name, note in notes.items() if note.endswith("Higher is better.")}
    lower = {name for name, note in notes.items() if note.endswith("Lower is better.")}
    assert higher == {"Different openers, 3 words", "Distinct-1", "Distinct-2", "Distinct-3", "Distinct-4"}
    assert lower == {
        "Empty",
        "Refusals",
        "Cut off",
        "Stock opening",
        "Commonest opener, 3 words",
        "Commonest opener, 8 words",
        "Self-BLEU-4",
        "Compression",
        "Copied text",
        "Copying answers",
    }
    assert notes.keys() - higher - lower == {
        "Answers",
        "Mean",
        "Shortest",
        "10th percentile",
        "Median",
        "90th percentile",
        "Longest",
    }


def test_each_row_shows_its_own_figure() -> None:
    extract = "sand and stone go down to the sea"
    answers = [
        answer("Sand and stone go down the hill.", extract=extract),  # one of three 5-grams
        answer("Sand and stone lie here.", extract=extract),
        answer("", extract=extract),
    ]
    root = parsed(variant("a", answers))
    expected = {
        "Answers": "3",
        "Empty": "33.3%",
        "Commonest opener, 3": "100.0%",
        "Commonest opener, 8": "50.0%",
        "Different openers": "1.0",
        "Distinct-1": "0.750",  # 9 of 12 words
        "Distinct-2": "0.800",  # 8 of 10
        "Distinct-3": "0.875",  # 7 of 8
        "Distinct-4": "1.000",
        "Copied text": "16.7%",
        "Copying answers": "50.0%",
        "Shortest": "0",
        "10th": "1",
        "Median": "5",
        "90th": "7",
        "Longest": "7",
    }
    assert {name: row(root, name)[0] for name in expected} == expected


def test_facts_stand_in_one_row_each_and_differences_are_marked() -> None:
    root = parsed(
        variant("a", [], facts={"model": "m", "version": "1"}),
        variant("b", [], facts={"model": "m", "version": "2", "failed": "3"}),
    )
    assert row(root, "model", "facts") == ["m", "m"]
    assert row(root, "version", "facts") == ["1", "2"]
    assert row(root, "failed", "facts") == ["–", "3"]
    assert texts(root, '//tr[@class="differs"]/th') == ["version", "failed"]


def test_openers_and_ends_stand_under_their_variant() -> None:
    root = parsed(
        variant("a", [answer("Welcome to the river."), answer("Sand is old.", finish_reason="length")]),
        variant("b", [answer("Stones roll down.")]),
    )
    three = root.xpath('//h3[.="First 3 words"]/following-sibling::div[1]/figure')
    assert [said(one.find("figcaption")) for one in three] == [
        "a2 different of 2 · 1.0 bits",
        "b1 different of 1 · 0.0 bits",
    ]
    assert texts(three[0], ".//li/span") == ["sand is old", "50.0%", "welcome to the", "50.0%"]
    assert three[1].xpath(".//li/@style") == ["background: linear-gradient(90deg, var(--bar) 100.0%, transparent 0)"]
    stock = root.xpath('//h3[.="Stock phrases"]/following-sibling::div[1]/figure')
    assert [texts(one, ".//li") for one in stock] == [["Welcome to50.0%"], ["none"]]
    ends = root.xpath('//h2[@id="ends"]/following-sibling::div[1]/figure')
    assert [texts(one, ".//li/span[1]") for one in ends] == [["length", "stop"], ["stop"]]
    assert len(root.xpath('//h3[starts-with(., "First ")]')) == 6


def test_histograms_share_both_axes() -> None:
    short = [answer("w " * 5)] * 3 + [answer("w " * 25)]
    long = [answer("w " * 395)] * 2 + [answer("w " * 5)] * 2
    root = parsed(variant("a", short), variant("b", long))
    bars = [figure.xpath(".//i/@style") for figure in root.xpath('//figure[div[@class="histogram"]]')]
    # 400 words are 20 bins of 20; the tallest is three quarters of a
    assert [len(one) for one in bars] == [20, 20]
    assert bars[0][:2] == ["height: 100.0%", "height: 33.3%"]
    assert (bars[1][0], bars[1][-1]) == ("height: 66.7%", "height: 66.7%")
    assert root.xpath("//i/@title")[1] == "20 to 39 words: 25.0% of the answers"
    assert texts(root, '//div[@class="axis"]/span[3]') == ["400 words"] * 2


def samples(root: Any) -> list[list[list[str]]]:
    """Answers by seed and by variant, of those that stand side by side."""
    rows = root.xpath('//h2[@id="answers"]/following-sibling::div[@class="columns"]')
    return [[texts(column, './/div[@class="answer"]') for column in one.xpath("div")] for one in rows]


def test_samples_of_one_seed_stand_side_by_side() -> None:
    ones = [answer("A1", extract="sand"), answer("A2", extract=" stone\n"), answer("A3", extract="only a")]
    others = [answer("B2", extract="stone"), answer("B1", extract="sand"), answer("B1 again", extract="sand")]
    root = parsed(variant("a", [], samples=ones), variant("b", [], samples=others), variant("c", []))
    assert samples(root) == [[["A1"], ["B1", "B1 again"], []], [["A2"], ["B2"], []]]
    assert texts(root, '//p[@class="extract"]') == ["sand", "stone", "only a"]
    assert "no answer to this seed" in said(root)
    assert texts(root, '//div[@class="answer"]')[-1] == "A3"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LONG, LONG + "and on.", True),  # another template shows more of the seed
        (LONG + "and on.", LONG, True),
        (LONG + "one", LONG + "two", False),
        ("The river", "The river carries sand.", False),  # too short to tell
    ],
)
def test_an_extract_that_begins_another_is_of_the_same_seed(one: str, other: str, same: bool) -> None:
    root = parsed(
        variant("a", [], samples=[answer("A", extract=one)]), variant("b", [], samples=[answer("B", extract=other)])
    )
    assert (samples(root) == [[["A"], ["B"]]]) == same


def test_without_an_extract_equal_prompts_are_put_together() -> None:
    one = [answer("A1", prompt="Question 1"), answer("A2", prompt="Question 2")]
    other = [answer("B2", prompt="Question 2"), answer("B3", prompt="Question 3")]
    assert samples(parsed(variant("a", [], samples=one), variant("b", [], samples=other))) == [[["A2"], ["B2"]]]


def test_a_sample_shows_its_length_its_end_and_its_prompt_folded() -> None:
    root = parsed(variant("a", [], samples=[answer("One, two:\n three", prompt="Write\nnow.", finish_reason=None)]))
    (figure,) = root.xpath('//figure[div[@class="answer"]]')
    assert said(figure.find("figcaption/small")) == "3 words · 7 tokens · ended: unknown"
    (fold,) = figure.xpath("details")
    assert fold.get("open") is None
    assert fold.findtext("pre") == "Write\nnow."
