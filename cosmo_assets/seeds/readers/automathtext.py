"""Reader of AutoMathText: web pages, papers and code on mathematics, each with a language model's scores.

Belongs here: which rows the recipe takes, by score and domain. Does not belong here: records in general (`records`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cosmo_assets.seeds.readers.base import (
    RECORD_OPTIONS,
    BadFieldError,
    BadRow,
    Row,
    Skipped,
    field,
    optional_text,
    record,
)
from cosmo_assets.seeds.readers.streams import json_rows
from cosmo_resources.errors import CosmoError

AUTOMATHTEXT_OPTIONS: Mapping[str, Any] = {
    **RECORD_OPTIONS,
    "id": "url",
    "score": "lm_q1q2_score",
    "min_score": 0.0,
    "domains": [],
    "exclude_domains": [],
}
"""`score` names one of the scores (lm_q1_score, lm_q2_score, or their product), `min_score` the lowest that is taken
(from 0 to 1). `domains`, where it names any, are the only ones taken; a domain stands for all below it."""


def automathtext(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """AutoMathText (Zhang et al. 2024), JSON Lines, plain or compressed: rows with url, text, date and meta, in which
    the scores are (an object, or its JSON). A row without the score is taken only where none is asked for.

    Raises:
        CosmoError: min_score is no share.
    """
    chosen = {**AUTOMATHTEXT_OPTIONS, **options}
    if not 0 <= chosen["min_score"] <= 1:
        raise CosmoError(f"{path}: option min_score: {chosen['min_score']}", remedy="set it to a number from 0 to 1")
    for item in json_rows(path):
        yield item if isinstance(item, BadRow) else _row(*item, chosen)


def _row(place: str, row: Any, chosen: Mapping[str, Any]) -> Row:
    try:
        domain = _domain(optional_text(row, chosen["url"]) or "")
        if (chosen["domains"] and not _within(domain, chosen["domains"])) or _within(domain, chosen["exclude_domains"]):
            return Skipped(place, "excluded_domain", domain)
        if chosen["min_score"]:
            score = _score(row, chosen["score"])
            if score < chosen["min_score"]:
                return Skipped(place, "low_score", f"{score:g}")
    except BadFieldError as bad:
        return bad.row(place)
    return record(place, row, {name: chosen[name] for name in RECORD_OPTIONS})


def _score(row: Any, name: str) -> float:
    value = field(row, name)
    if value is None:
        meta = field(row, "meta")
        if isinstance(meta, str):
            try:
                meta = json.loads(meta)
            except (ValueError, RecursionError) as error:
                raise BadFieldError("invalid_json", "meta", str(error)) from error
        value = field(meta, name) if isinstance(meta, Mapping) else None
    if value is None:
        raise BadFieldError("missing_field", name, "neither in the row nor in its meta")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFieldError("wrong_type", name, "expected a number")
    return float(value)


def _domain(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that enclose no address
        return ""


def _within(domain: str, named: list[str]) -> bool:
    return any(domain == name.lower() or domain.endswith(f".{name.lower()}") for name in named)
