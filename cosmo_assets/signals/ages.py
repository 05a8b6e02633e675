"""The age of texts as signals: the years that they name.

Belongs here: which numbers are years. Does not belong here: dates that a source states beside its texts (readers drop
them).

Data that are older or younger than what a model is tested on make it worse, and finetuning does not mend it (Longpre et
al. 2023, "A Pretrainer's Guide to Training Data"). A text is no older than the latest year it names as past, so where
nothing else is known this bounds its age from above.
"""

import re

import pyarrow as pa

from cosmo_assets.signals.catalogue import AGE

_SCHEMA = pa.schema([pa.field(signal.name, signal.kind) for signal in AGE])
_NAMED = r"(?:1[5-9]|20)\d\d"
_UNITS = r"km|kg|mm?|cm|g|ml|dpi|percent"
_YEAR = re.compile(
    rf"(?:(?<![\w.,/$£€#+=^\\{{-])(?<!\d:)(?:\d\d?([-/.])\d\d?\1)?|(?<={_NAMED}[-–]))({_NAMED})"
    rf"(?:s|(?:[-–/]\d\d){{1,2}})?(?![\w%°}}]|[.,:]\d|/\d{{3}}|[-–](?!{_NAMED}\b)\d{{3}}|\s?(?:{_UNITS})\b)",
    re.IGNORECASE,
)


def years_of(texts: pa.ChunkedArray) -> pa.Table:
    """The latest year of each text, null where there is none, and how many different ones it names. Cost: linear."""
    found = [named_years(text) for text in texts.to_pylist()]
    return pa.table([[max(years, default=None) for years in found], [len(years) for years in found]], schema=_SCHEMA)


def named_years(text: str) -> set[int]:
    """The numbers from 1500 to 2099 that stand by themselves or in a date, without sign, currency, decimals or unit; of
    a span of years both, of 1990s the first."""
    return {int(match[2]) for match in _YEAR.finditer(text)}
