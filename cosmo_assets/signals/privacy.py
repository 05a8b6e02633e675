"""Personal data in texts as signals: how much of which kind, and where.

Belongs here: the kinds that are only looked for, their check digits, counts. Does not belong here: what masking looks
for (`cosmo_assets.seeds.cleaning`), or masking.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa
from datatrove.pipeline.formatters.pii import PIIFormatter

from cosmo_assets.seeds.cleaning import MASKS, Span, outside_formulas, personal_data
from cosmo_assets.signals.catalogue import PRIVACY

PLACEHOLDER = "placeholder"
COUNTED = {
    "emails": "email",
    "ip_addresses": "ip_address",
    "phones": "phone",
    "cards": "card",
    "ibans": "iban",
    "ssns": "ssn",
}
"""The kind of span that each column counts."""

_SCHEMA = pa.schema([pa.field(signal.name, signal.kind) for signal in PRIVACY])
_APART, _NO_MORE = r"(?<![\w.,/$^={-])(?<!\d )", r"(?![\w-]|[.,]\d| \d{4})"
_CARD = re.compile(rf"{_APART}(?:\d{{4}}([- ]?)(?:\d{{4}}\1\d{{4}}\1\d{{1,7}}|\d{{6}}\1\d{{5}})|\d{{13}}){_NO_MORE}")
_ISSUED = re.compile(r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|2[2-7]\d\d)\d{12}|3[47]\d{13}|6(?:011|5\d\d)\d{12}")
_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])")
_SSN = re.compile(rf"{_APART}(?!000|666|9)\d{{3}}-(?!00)\d\d-(?!0000)\d{{4}}{_NO_MORE}")


def privacy_of(texts: pa.ChunkedArray) -> pa.Table:
    """Counts by kind, and the spans of each text. Cost: linear in the characters."""
    rows = []
    for text in texts.to_pylist():
        spans = personal_spans(text)
        counts = Counter(span.kind for span in spans)
        rows.append(
            {
                **{column: counts[kind] for column, kind in COUNTED.items()},
                "personal": counts.total() - counts[PLACEHOLDER],
                "placeholders": counts[PLACEHOLDER],
                "spans": [span._asdict() for span in spans],
            }
        )
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def personal_spans(text: str) -> list[Span]:
    """Where personal data stands, in order, without overlap: what `personal_data` finds, and outside formulas

    - `card`: 13 to 19 digits in the lengths and with the first digits of Visa, Mastercard, American Express and
      Discover, whose last one is that of Luhn (ISO/IEC 7812-1);
    - `iban`: international bank account numbers with right check digits (ISO 13616, modulo 97);
    - `ssn`: United States social security numbers, 123-45-6789, but for those that are not given out;
    - `placeholder`: what this project's masking or datatrove's puts in place of personal data.
    """
    taken = bytearray(len(text))
    found = []
    for span in (*_placeholders_in(text), *_checked_numbers(text), *personal_data(text)):
        if taken.find(1, span.start, span.end) < 0:
            taken[span.start : span.end] = b"\1" * (span.end - span.start)
            found.append(span)
    return sorted(found, key=lambda span: span.start)


def _placeholders_in(text: str) -> Iterator[Span]:
    return (Span(PLACEHOLDER, *match.span()) for match in _placeholder().finditer(text))


@lru_cache
def _placeholder() -> re.Pattern[str]:
    theirs = PIIFormatter()
    known = {*MASKS.values(), *theirs.emails_replacer.replacements, *theirs.ip_replacer.replacements}
    return re.compile(rf"(?<![\w.+-])(?:{'|'.join(map(re.escape, sorted(known)))})(?![\w-]|\.\w)")


def _checked_numbers(text: str) -> Iterator[Span]:
    for at, piece in outside_formulas(text):
        for kind, pattern, right in (("card", _CARD, _is_card), ("iban", _IBAN, _is_iban), ("ssn", _SSN, bool)):
            for match in pattern.finditer(piece):
                if right(re.sub(r"[ -]", "", match[0])):
                    yield Span(kind, at + match.start(), at + match.end())


def _is_card(digits: str) -> bool:
    """Luhn: every second digit from the right counts twice, by the sum of its own digits."""
    if not _ISSUED.fullmatch(digits):
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _is_iban(number: str) -> bool:
    return 15 <= len(number) <= 34 and int("".join(str(int(char, 36)) for char in number[4:] + number[:4])) % 97 == 1
