"""The age of texts as signals: the years that they name, and how old that makes them when a model is tested.

Belongs here: which numbers are years, figures of the ages of several texts. Does not belong here: dates that a source
states beside its texts (readers drop them).

Data that are older or younger than what a model is tested on make it worse, and finetuning does not mend it (Longpre et
al. 2023, "A Pretrainer's Guide to Training Data"). A text is no older than the latest year it names as past, so where
nothing else is known this bounds its age from above.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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


@dataclass(frozen=True)
class Ages:
    """How old texts are when a model is tested."""

    older: float
    """Share of those that are older than so many years."""
    gap: float
    """Mean years from a text to the test; below 0 where most are younger than it."""
    weight: float
    """Mean weight by half-life: `half_life_weights`."""


def ages_of(years: npt.NDArray[np.int64], evaluated: int, older: int, half_life: float) -> Ages | None:
    """The ages of texts of these years in the year `evaluated`; None where there is no text. `older` and `half_life`
    are years. The three figures are those of Longpre et al. 2023 and of decay by a half-life."""
    if not len(years):
        return None
    gaps = evaluated - years
    return Ages(float((gaps > older).mean()), float(gaps.mean()), float(half_life_weights(gaps, half_life).mean()))


def half_life_weights(gaps: npt.NDArray[np.int64], half_life: float) -> npt.NDArray[np.float64]:
    """2^-(gap / half_life) of each gap in years: a text that is a half-life old weighs half of a new one. What is
    younger than the test weighs 1."""
    return np.asarray(2.0 ** -(np.maximum(gaps, 0) / half_life))
