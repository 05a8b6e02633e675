"""Personal data as signals: exact spans by kind, check digits, placeholders apart; the same as datatrove where both
look."""

import random

import pyarrow as pa
import pytest
from datatrove.pipeline.formatters.pii import PIIFormatter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cosmo_assets.seeds.cleaning import MASKS, mask_personal_data, personal_data
from cosmo_assets.signals.privacy import personal_spans, privacy_of

ALL_KINDS = (
    "For $a^2 + b^2$ Dana (dana.w@creek.example, from 203.0.113.45) paid with 4111 1111 1111 1111 valid 12/27, then "
    "from DE89 3704 0044 0532 0130 00; her number is 123-45-6789, her telephone (415) 555-0187."
)
CLEAN = (
    "In 1914-1918 the 2nd edition (ISBN 978-0-306-40615-7) named 1234 5678 1234 5670 parts, 4111 1111 1111 1112 of "
    "them in section 1.2.3.4, GB82 WEST 1234 5698 7654 33 in table 000-12-3456; $378282246310005$ is a product."
)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in personal_spans(text)]


def test_the_exact_spans_of_six_kinds() -> None:
    assert kinds(ALL_KINDS) == [
        ("email", "dana.w@creek.example"),
        ("ip_address", "203.0.113.45"),
        ("card", "4111 1111 1111 1111"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("ssn", "123-45-6789"),
        ("phone", "(415) 555-0187"),
    ]


def test_nothing_is_found_where_check_digits_or_shapes_are_wrong() -> None:
    assert kinds(CLEAN) == []


@pytest.mark.parametrize(
    "number", ["5555-5555-5555-4444", "378282246310005", "3782 822463 10005", "6011000990139424", "4222222222222"]
)
def test_cards_of_all_lengths_are_found_and_not_with_another_last_digit(number: str) -> None:
    assert kinds(f"paid by {number}, thanks") == [("card", number)]
    other = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert ("card", other) not in kinds(f"paid by {other}, thanks")


def test_what_masking_has_put_there_is_counted_apart() -> None:
    text = "Write to ann@shop.example or 18.70.200.226, tel. 708.491.5386. "
    masked, count = mask_personal_data(text)
    theirs = PIIFormatter().format(text)
    table = privacy_of(pa.chunked_array([[text, masked, theirs, ""]])).to_pylist()
    assert [(row["personal"], row["placeholders"]) for row in table] == [(3, 0), (0, count), (1, 2), (0, 0)]
    assert [span["kind"] for span in table[2]["spans"]] == ["placeholder", "placeholder", "phone"]
    assert table[0]["emails"] == table[0]["ip_addresses"] == table[0]["phones"] == 1


PIECES = st.sampled_from(
    [
        "18.70.200.226",
        "+1 202-555-0173",
        "555-0119",
        "tel ",
        "call ",
        "a@b.org",
        "2a00:1450:4001:81b::200e",
        "192.0.2.1",
    ]
    + list(":+ -.7$")
    + ["fax: ", "(415) ", "4111 1111 1111 1111", "DE89370400440532013000"]
)


@example("fax: 22 18.70.200.226")  # a number that takes in an address that was masked before
@example("2a00:1450:4001:81b::200e:18.70.200.226")
@given(st.lists(PIECES, max_size=10).map("".join))
@settings(max_examples=300, deadline=None)
def test_spans_lie_in_the_text_one_after_another_and_are_what_is_masked(text: str) -> None:
    for spans in (personal_spans(text), personal_data(text)):
        ends = [0, *(place for _, start, end in spans for place in (start, end)), len(text)]
        assert ends == sorted(ends)
        assert all(start < end for _, start, end in spans)
    masked = text
    for kind, start, end in reversed(personal_data(text)):
        masked = masked[:start] + MASKS[kind] + masked[end:]
    assert masked == mask_personal_data(text)[0]


def test_the_same_addresses_as_datatrove_are_found_of_a_planted_set() -> None:
    """500 sentences with an e-mail address and a public IP address each; where the two are known to differ - numbers of
    sections, prices, addresses after a slash - there is nothing planted (see `personal_data`)."""
    theirs, draw = PIIFormatter(), random.Random(3)
    names = ["ann", "j.doe", "x_y", "info", "sales-2", "a.b.c"]
    hosts = ["shop.org", "mail.uni-x.ac.uk", "creek.example", "post.net"]
    for _ in range(500):
        email = f"{draw.choice(names)}@{draw.choice(hosts)}"
        address = f"{draw.randint(32, 99)}.{draw.randint(64, 99)}.{draw.randint(32, 255)}.{draw.randint(32, 255)}"
        text = f"Mail {email} from {address}, or <{email}>; the {address} server."
        planted = [email, address, email, address]
        assert [piece for _, piece in kinds(text)] == planted
        by_theirs = [
            match[0]
            for replacer in (theirs.emails_replacer, theirs.ip_replacer)
            for match in replacer.regex.finditer(text)
            if replacer.validator is None or replacer.validator(match[0])
        ]
        assert sorted(by_theirs) == sorted(planted)


def test_what_ends_within_a_mask_takes_in_what_was_masked() -> None:
    text = "2a00:1450:4001:81b::200e:18.70.200.226"
    assert personal_data(f"at {text}.") == [("ip_address", 3, 3 + len(text))]
