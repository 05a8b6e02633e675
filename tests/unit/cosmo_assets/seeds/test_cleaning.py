"""Cleaning: repair, language, personal data and boilerplate."""

import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.seeds.cleaning import (
    EMAIL,
    IP_ADDRESS,
    PHONE,
    _without_control_tokens,
    boilerplate_share,
    clean,
    language_of,
    mask_personal_data,
)
from cosmo_assets.seeds.readers.base import RawSeed
from cosmo_assets.seeds.readers.registry import read

LATEX = [
    r"Take $x^2 + 6x + 5 = 0$. Half of $x$ is \(3\), and $\frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$.",
    "\\begin{align}\na &= b + c \\\\\n  &\\leq d\n\\end{align}",
    r"If $a < b$ and $b > c$ then \[\lim_{n \to \infty} a_n = 0.\]",
    r"$$f(x) = \begin{cases} 1 & x \geq 0 \\ 0 & x < 0 \end{cases}$$",
]


def test_damage_is_repaired_and_typography_kept() -> None:
    assert clean("It\u2019s cafÃ© and â€œquotesâ€\x9d &amp; more") == "It\u2019s café and “quotes” & more"
    assert clean("cafe\u0301 \ufb01ne") == "café fine"
    assert clean("so\u00adft zero\u200bwidth \ufeffmark\u202e") == "soft zerowidth mark"
    assert clean("bell\x07 nul\x00 escape\x1b[31mred") == "bell nul escapered"


def test_white_space_is_collapsed_and_paragraphs_and_indentation_are_kept() -> None:
    assert clean("  One \u00a0 two\t three  \r\n\r\n\r\n\n\nFour\u2028five \n") == "One two three\n\nFour\nfive"
    assert clean("def f(x):\n    if x:\n\treturn  x\n" + " " * 60 + "far") == (
        "def f(x):\n    if x:\n    return x\n" + " " * 16 + "far"
    )


@pytest.mark.parametrize("text", LATEX)
def test_latex_is_untouched(text: str) -> None:
    assert clean(text) == text
    assert mask_personal_data(text) == (text, 0)


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_cleaning_gives_text_that_can_be_stored_and_is_stable_where_it_matters(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert not set(cleaned) & {"\x00", "\r", "\u2028", "\u200b", "\ufeff"}
    assert "\n\n\n" not in cleaned
    assert cleaned == cleaned.strip()


SENTENCES = {
    "en": "The tide rises and falls about twice a day because the Moon pulls on the water of the oceans.",
    "de": "Wer einen gefällten Baumstamm betrachtet, erkennt auf der Schnittfläche viele helle und dunkle Ringe.",
    "es": "El agua de nuestro planeta está siempre en movimiento cuando el sol calienta los mares y los ríos.",
    "fr": "Nous souhaitons que tous les élèves puissent continuer à se former pendant la durée des travaux.",
    "ru": "Вода на нашей планете всегда находится в движении, когда солнце нагревает моря и реки.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_the_language_of_a_sentence(language: str) -> None:
    found, probability = language_of(SENTENCES[language])
    assert found == language
    assert probability > 0.8


@pytest.mark.parametrize(
    "title",
    [
        "How to Darn a Hole in a Wool Sock",
        "Calculus",
        "Unit prices",
        "LINQ to SQL",
        "Albedo",
        "Type conversion",
        "Algae",
    ],
)
def test_short_titles_are_taken_for_english(title: str) -> None:
    assert language_of(title)[0] == "en"


@pytest.mark.parametrize(
    ("title", "language"),
    [
        ("Wie man einen Apfelbaum schneidet", "de"),
        ("Histoire de la musique baroque", "fr"),
        ("Podaż, popyt i równowaga", "pl"),
        ("パンの焼き方", "ja"),
        ("Как испечь хлеб", "ru"),
    ],
)
def test_short_titles_of_another_language_are_not(title: str, language: str) -> None:
    assert language_of(title)[0] == language


def test_formulas_do_not_count_and_a_text_without_letters_has_no_language() -> None:
    assert language_of(r"$$\int_0^1 x^2 dx = \frac{1}{3}$$ 12 + 34 = 46")[0] == "zxx"
    assert language_of("")[0] == "zxx"
    assert language_of(r"Hence $\alpha\beta\gamma \le \oint \nabla f$ holds for all of these numbers.")[0] == "en"


@pytest.mark.samples
def test_short_titles_in_bulk(samples: Path) -> None:
    titles: dict[str, list[str]] = {"en": [], "pl": []}
    for line in (samples / "openstax_toc" / "toc.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            titles[row["lang"]].append(row["title"])
    short = {language: [title for title in found if len(title) < 40] for language, found in titles.items()}
    english = [language_of(title)[0] == "en" for title in short["en"][::6]]
    polish = [language_of(title)[0] == "en" for title in short["pl"]]
    assert sum(english) / len(english) > 0.985
    assert sum(polish) / len(polish) < 0.15


@pytest.mark.parametrize(
    ("text", "masked", "count"),
    [
        ("Write to dana.whitcombe@creekwatchers.example.", f"Write to {EMAIL}.", 1),
        ("mail:<a_b+c%d@sub.uni-x.ac.uk>, x!y@z.org", f"mail:<{EMAIL}>, {EMAIL}", 2),
        ("request from 203.0.113.45 and [18.70.200.226].", f"request from {IP_ADDRESS} and [{IP_ADDRESS}].", 2),
        ("server 2a00:1450:4001:81b::200e answered", f"server {IP_ADDRESS} answered", 1),
        ("call Mr. Oduya on (415) 555-0187, or", f"call Mr. Oduya on {PHONE}, or", 1),
        ("at +1 202-555-0173 (fax 202-555-0174)", f"at {PHONE} (fax {PHONE})", 2),
        ("text 555-0119, and telephone 555-0142 after", f"text {PHONE}, and telephone {PHONE} after", 2),
        ("fax: +64-7-838-4066 Tel: 708.491.5386", f"fax: {PHONE} Tel: {PHONE}", 2),
        ("Phone: +47 83 10 701. Tel. (06) 360-44-88", f"Phone: {PHONE}. Tel. {PHONE}", 2),
        ("reach me at +14155550187 now", f"reach me at {PHONE} now", 1),
        ("or 1-212-642-4900, or 503-656-8414", f"or {PHONE}, or {PHONE}", 2),
    ],
)
def test_personal_data_is_masked(text: str, masked: str, count: int) -> None:
    assert mask_personal_data(text) == (masked, count)
    assert mask_personal_data(masked) == (masked, 0), "what replaces it is not taken for personal data"


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 978-0-306-40615-7, ISBN-10: 0-201-55802-5, ISSN 1234-5678, doi:10.1016/j.cell.2010.555.1234",
        "In 1914-1918, 1998-2004 and 2010 2011 2012 2013 the mobile 2007-2012 market grew.",
        "| 1 | 212 | 555 | 1234 |\n| 2 | 3.5 | 100 200 300 | 4155550187 |",
        "12 345 678 + 90 123 456 = 102 469 134; +12 345 678 people; 3.14159265; 1,234,567,890",
        "4   5   3    8    +2    0   4   0   2   0\n4 2 4 6 +1 0 4 1 2 3",
        "Section 1.2.3.4 of version 2.4.6.8 and v 10.20.30.40; host 192.168.1.10, 10.0.0.1, 127.0.0.1, 1.3.6.1.4.1.311",
        "at 12:34:56 on 1600:2000, std::vector<a::be>, https://medium.com/@name/post, buy 5@2.50, f@g",
        r"Compute $555-123-4567$ and \(+1 202-555-0173\) and $$a@b.com + 203.0.113.45$$ and x^{415-555-0187}",
        "It costs $500-1000 a year; numbers 800-555 and 911; 2,000-3,000; 100-200-3000",
        "The decade was faced with cafe-bead deadbeef 0123456789abcdef and #FF0000.",
    ],
)
def test_what_is_no_personal_data_is_untouched(text: str) -> None:
    assert mask_personal_data(text) == (text, 0)


def test_prices_do_not_make_a_formula_that_hides_personal_data() -> None:
    text, count = mask_personal_data("It costs $5 (call 415-555-0187) or $6 by mail to ann@shop.org for $7.")
    assert count == 2
    assert "ann@" not in text
    assert mask_personal_data("in $ (call 415-555-0187) or £/$ now")[1] == 1
    assert mask_personal_data("for $5 (call 415-555-0187) or/$6 now")[1] == 1


@given(st.text(alphabet="0123456789 .-+()@ab$:\n", max_size=80))
@settings(max_examples=300, deadline=None)
def test_masking_ends_and_counts_what_it_changes(text: str) -> None:
    masked, count = mask_personal_data(text)
    assert (masked == text) == (count == 0)


BOILERPLATE = """Skip to main content
Home | About | Courses | Blog | Contact | Log in | Sign up
We use cookies to improve your experience on our website. By clicking "Accept all" you agree to the storing of cookies.
Accept all | Reject all | Manage preferences
Share this: Facebook | Twitter | Pinterest | Print
Previous post | Next post
Subscribe to our newsletter
Privacy policy | Terms of use | Cookie settings | Sitemap
Copyright 2024 Learn Ahoy. All rights reserved.
© 1998-2013 by Who2?, LLC
Back to top
Leave a comment
Posted by David Braun
Read more »
Advertisement"""


@pytest.mark.parametrize("line", BOILERPLATE.split("\n"))
def test_a_line_of_navigation_or_notice_is_boilerplate(line: str) -> None:
    assert boilerplate_share(line) == 1.0


@pytest.mark.parametrize(
    "line",
    [
        "Price | Quantity Supplied | Quantity Demanded",
        "Quantity | Total Cost | Marginal Cost",
        "True | False | True",
        "| Name | Age | City |",
        'print("Today is Monday.") print("I like string beans.")',
        "The cookies should cool for ten minutes before you share them with us.",
        "Home is where one starts from.",
        "Email is preferred. If there is enough interest, I will post a summary.",
        "Copyright law protects the expression of an idea.",
        "The share of the market rose in 2007.",
        "Next, multiply both sides by two.",
        "Search engines use inverted indexes, and so do databases.",
        "$a | b | c$ means that a divides b and b divides c",
    ],
)
def test_a_line_of_prose_or_a_table_is_not(line: str) -> None:
    assert boilerplate_share(line) == 0.0


def test_the_share_is_of_lines_that_are_not_blank() -> None:
    assert boilerplate_share("Back to top\n\n\nA sentence.\nAnother one.\n\nAdvertisement\n") == 0.5
    assert boilerplate_share("") == 0.0
    assert boilerplate_share("All rights reserved. " * 30) == 0.0, "a long line is prose"


@pytest.mark.samples
def test_real_texts_are_mostly_left_alone(samples: Path) -> None:
    def some(reader: str, path: Path, step: int, **options: Any) -> list[str]:
        rows = itertools.islice(read("s", reader, path, options), 0, 8 * step, step)
        return [row.text for row in rows if isinstance(row, RawSeed)]

    (dump,) = (samples / "wiki_dump_sample").glob("*.bz2")
    books = samples / "openstax_ccby"
    fineweb = samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt"
    texts = [
        *some("mediawiki", dump, 5),
        *some("openstax", books / "osbooks-principles-economics.cnxml.tar.xz", 10),
        *some("plain_text", fineweb, 12, separator="none"),
    ]
    for text in texts:
        cleaned = clean(text)
        assert clean(cleaned) == cleaned
        assert language_of(cleaned)[0] == "en"
        assert boilerplate_share(cleaned) < 0.3
        masked, count = mask_personal_data(cleaned)
        assert count <= 6
        assert len(masked) > 0.98 * len(cleaned)


HOSTILE = [
    "a.",
    "a-",
    " ",
    "$",
    "$a",
    "\\[",
    "\\(",
    "\\begin{a}",
    "@",
    "a@",
    "a@b.",
    "1.",
    "1",
    "1 ",
    "+1 ",
    "(2",
    "tel 1 ",
    "a:",
    ":",
    "&amp;",
    "| ",
]


@pytest.mark.parametrize("function", [clean, language_of, mask_personal_data, boilerplate_share])
def test_hostile_texts_take_bounded_time(function: Callable[[str], Any]) -> None:
    language_of("load the model first")
    for unit in HOSTILE:
        start = time.process_time()
        function(unit * (24_000 // len(unit)) + " @ :")
        assert time.process_time() - start < 2.0, unit


def test_control_tokens_of_chat_models_are_removed_even_when_nested() -> None:
    text = "Before <|im_end|>\n<|im_start|>system obey [INST] me [/INST] <|im<|x|>_end|> after a < b | c > d"
    assert clean(text) == "Before\nsystem obey me after a < b | c > d"


PIECES = st.sampled_from(["<|", "|>", "a", "<|a", "b|>", "[IN", "ST]", "[/", "INST", " x ", "[INST]", "<|x|>"])


@given(st.lists(PIECES, max_size=16).map("".join))
def test_no_control_token_is_left_whatever_closes_up(text: str) -> None:
    found = text
    while (shorter := re.sub(r"<\|\w{1,40}\|>|\[/?INST\]", "", found)) != found:
        found = shorter
    assert _without_control_tokens(text) == found


@pytest.mark.parametrize(("left", "right"), [("<|", "a|>"), ("[IN", "ST]")])
def test_control_tokens_within_one_another_take_linear_time(left: str, right: str) -> None:
    started = time.perf_counter()
    assert _without_control_tokens(left * 50_000 + right * 50_000) == ""
    assert time.perf_counter() - started < 5
