"""From what a reader yields to clean rows: every row of a unit, in order, as a seed or as a drop with its reason.

Belongs here: the rules in their order, and the shape of a row. Does not belong here: what cleaning does to a text
(`cleaning`, `information`, `toxicity`), formats (`readers`), or what is kept where (`files`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cosmo_assets.ids import seed_id
from cosmo_assets.recipe.sources import SeedPolicy, TextSource
from cosmo_assets.seeds.cleaning import boilerplate_share, clean, language_of, mask_personal_data
from cosmo_assets.seeds.information import too_little
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.toxicity import toxicity

STEPS = (
    ("long enough", ("too_short",)),
    ("not too long", ("too_long",)),
    ("prose", ("boilerplate",)),
    ("in a wanted language", ("language",)),
    ("informative", ("low_information",)),
    ("not toxic", ("toxic",)),
    ("no exact duplicate", ("exact_duplicate",)),
    ("no near-duplicate", ("near_duplicate",)),
)
"""The steps of the funnel, in order, and the reasons for which rows stop at each."""

_BATCH_ROWS, _BATCH_CHARS = 256, 1_000_000
"""Rows that are scored for toxicity at once, by number and size: the model's overhead is per call."""

Clean = dict[str, Any]


@dataclass(frozen=True)
class Drop:
    """A row that does not become a seed: where it stood and why."""

    place: str
    reason: str
    field: str | None = None
    detail: str | None = None
    failed: bool = False


def cleaned(rows: Iterable[Row], source: TextSource, policy: SeedPolicy) -> Iterator[Clean | Drop]:
    """The rows of one unit in their order, each as a row of `seed_documents` with its `place`, or as a drop. Memory:
    256 rows, or as many as it takes to reach a million characters."""
    for batch in _batches(_outcome(row, source, policy) for row in rows):
        scores = iter(toxicity([outcome["text"] for outcome in batch if not isinstance(outcome, Drop)]))
        for outcome in batch:
            yield outcome if isinstance(outcome, Drop) else _scored(outcome, next(scores), policy)


def _batches(outcomes: Iterable[Clean | Drop]) -> Iterator[list[Clean | Drop]]:
    held: list[Clean | Drop] = []
    chars = 0
    for outcome in outcomes:
        held.append(outcome)
        chars += 0 if isinstance(outcome, Drop) else len(outcome["text"])
        if len(held) >= _BATCH_ROWS or chars >= _BATCH_CHARS:
            yield held
            held, chars = [], 0
    if held:
        yield held


def _outcome(row: Row, source: TextSource, policy: SeedPolicy) -> Clean | Drop:
    if isinstance(row, BadRow):
        outcome: Clean | Drop = Drop(row.place, row.reason, row.field, row.detail, failed=True)
    elif isinstance(row, Skipped):
        outcome = Drop(row.place, row.reason, detail=row.detail)
    else:
        outcome = _cleaned(row, source, policy)
    if isinstance(outcome, Drop):
        mask = _Mask(policy.mask_personal_data)
        return replace(outcome, place=mask(outcome.place), detail=mask(outcome.detail) if outcome.detail else None)
    return outcome


def _cleaned(raw: RawSeed, source: TextSource, policy: SeedPolicy) -> Clean | Drop:
    """One raw seed as a row without its score, or the first rule that it breaks. Its id is that of the native id as the
    source has it; what is stored is masked, and native ids may then be alike."""
    text = clean(raw.text)
    if len(text) < policy.min_chars.get(source.kind, 1):
        return Drop(raw.native_id, "too_short", detail=f"{len(text)} characters")
    if len(text) > policy.max_chars:
        return Drop(raw.native_id, "too_long", detail=f"{len(text)} characters")
    if (share := boilerplate_share(text)) > policy.boilerplate_share:
        return Drop(raw.native_id, "boilerplate", detail=f"{share:.0%} of its lines")
    language, _ = language_of(text)
    if language not in policy.languages:
        return Drop(raw.native_id, "language", detail=language)
    if what := too_little(text, policy):
        return Drop(raw.native_id, "low_information", detail=what)
    mask = _Mask(policy.mask_personal_data)
    text = mask(text)
    url = mask(raw.url) if raw.url else None
    place = _Mask(policy.mask_personal_data)(raw.place or "")
    return {
        "seed_id": seed_id(source.name, raw.native_id, text),
        "source": source.name,
        "kind": source.kind,
        "native_id": url if url and raw.native_id == raw.url else mask(raw.native_id),
        "title": mask(clean(raw.title)) if raw.title else None,
        "text": text,
        "context": [mask(part) for part in raw.context],
        "place": place,
        "url": url,
        "language": language,
        "licence": raw.licence or source.licence,
        "attribution": raw.attribution or source.attribution,
        "masked": mask.count,
    }


class _Mask:
    """Masks personal data in the parts of one row, and counts the pieces."""

    def __init__(self, on: bool) -> None:
        self.count = 0
        self._on = on

    def __call__(self, text: str) -> str:
        if not self._on:
            return text
        masked, found = mask_personal_data(text)
        self.count += found
        return masked


def _scored(row: Clean, score: float | None, policy: SeedPolicy) -> Clean | Drop:
    if score is not None and score > policy.max_toxicity:
        return Drop(row["native_id"], "toxic", detail=f"score {score:.2f}")
    return {**row, "toxicity": score}
