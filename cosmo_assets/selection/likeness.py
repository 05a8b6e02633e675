"""Likeness: of the documents within all limits, those that look like the recipe's targets, so many for each.

Belongs here: reading targets, their quotas, DSIR as a recipe's rule. Does not belong here: weights and the draw
(`cosmo_assets.composition.dsir`), which documents there are (`stage`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_assets.composition.dsir import Features, choose, features_of, quotas_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.selection import KeepDsir
from cosmo_assets.seeds.readers.base import BadFieldError, BadRow, required_text
from cosmo_assets.seeds.readers.streams import json_rows
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest

FIELD = "selection.keep.targets"
REASONS = ("dsir short", "dsir")
"""What is said of documents that do not stay: too short to be chosen for any target, or not chosen."""
SHORT, NOT_CHOSEN = range(2)
COLUMNS = ("target", "texts", "asked", "documents", "effective", "before", "after")
"""What is told of a target."""

Files = Mapping[str, Sequence[Path]]
"""By target, in their order."""


def files_of(recipe: Recipe, rule: KeepDsir) -> Files:
    """The files of each target.

    Raises:
        CosmoError: as `Recipe.paths`.
    """
    return {name: recipe.paths(target.path, field=f"{FIELD}.{name}.path") for name, target in rule.targets.items()}


def params(rule: KeepDsir) -> dict[str, Any]:
    """What of the rule a choice depends on: all but where the files lie. Targets are a list, for they are served in
    their order."""
    targets = [{"name": name, **target.model_dump(exclude={"path"})} for name, target in rule.targets.items()]
    return {**rule.model_dump(exclude={"targets"}), "targets": targets}


def contents(files: Files) -> dict[str, list[str]]:
    """What a choice depends on of the targets: digests of their files."""
    return {name: [file_digest(path) for path in paths] for name, paths in files.items()}


def chosen(
    rule: KeepDsir, documents: pa.Array, raw: Features, files: Files, stays: int
) -> tuple[npt.NDArray[np.int64], list[dict[str, Any]]]:
    """For each document the number of the reason, of `REASONS`, for which it goes, `stays` for those that stay; and for
    each target its texts, the documents asked for and chosen, the effective sample size of the weights, and the KL
    divergence of the target from as many documents at random (`before`) and from those chosen (`after`), in nats.

    Where too few documents have `least_words`, the targets that come last get fewer than was asked.

    Raises:
        CosmoError: a target has no text, or a row that is none; more documents are asked for than there are.
    """
    asked = quotas(rule, len(documents))
    targets = {name: features_of(_texts(name, paths)) for name, paths in files.items()}
    long = raw.words >= rule.least_words
    given, left = {}, int(long.sum())
    for name, count in asked.items():
        given[name] = min(count, left)
        left -= given[name]
    found = choose(
        documents, raw, targets, given, seed=rule.seed, least_words=rule.least_words, smoothing=rule.smoothing
    )
    rows = [
        {
            "target": one.target,
            "texts": len(targets[one.target].words),
            "asked": asked[one.target],
            "documents": one.documents,
            "effective": one.effective,
            "before": one.before if one.documents else None,
            "after": one.after if one.documents else None,
        }
        for one in found.choices
    ]
    return np.where(found.numbers >= 0, stays, np.where(long, NOT_CHOSEN, SHORT)), rows


def quotas(rule: KeepDsir, count: int) -> dict[str, int]:
    """How many documents each target asks for, in order, where there are so many; all fractions together make the
    number nearest to their sum.

    Raises:
        CosmoError: more than there are.
    """
    fractions = {name: target.fraction for name, target in rule.targets.items() if target.fraction is not None}
    parts = quotas_of(fractions, round(sum(fractions.values()) * count)) if fractions else {}
    found = {name: parts.get(name, target.documents or 0) for name, target in rule.targets.items()}
    if (whole := sum(found.values())) > count:
        raise CosmoError(
            f"{FIELD}: {whole} documents are asked for, {count} are within all limits",
            remedy="ask for fewer, or widen the limits",
        )
    return found


def _texts(name: str, paths: Sequence[Path]) -> Iterator[str]:
    """The texts of a target's files, JSON Lines, plain or compressed.

    Raises:
        CosmoError: a row has none, or a file no row.
    """
    for path in paths:
        for item in json_rows(path):
            try:
                if isinstance(item, BadRow):
                    raise BadFieldError(item.reason, "row", item.detail)
                yield required_text(item[1], "text")
            except BadFieldError as error:
                place = item.place if isinstance(item, BadRow) else item[0]
                raise CosmoError(
                    f"{FIELD}.{name}: {path.parent / place}: {error}" + (f" ({error.detail})" if error.detail else ""),
                    remedy='write lines like {"text": "what more is wanted of"}',
                ) from error
