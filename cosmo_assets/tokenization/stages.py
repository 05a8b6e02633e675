"""Shards by the stages of a curriculum: their folders, how many shards each has, and the list that a trainer is given.

Belongs here: from the stages of a mixture to folders of shards and back. Does not belong here: which copies are of a
stage (`cosmo_assets.mixture`), where they stand in it (`layout`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosmo_assets.recipe.mixture import Tokenization
from cosmo_assets.tokenization.layout import shard_count
from cosmo_resources.storage.manifest import Manifest

LISTING = "stages.json"
"""The stages in order, with their shards and where each begins in the training: see docs/format.md."""


@dataclass(frozen=True)
class Stage:
    """A stage: `folder` holds its `cut` shards. Without stages all is one, which has no name and no folder."""

    name: str
    folder: str
    cut: int

    def shard_name(self, number: int) -> str:
        """The name of the stage's shard of this number."""
        return f"{self.folder}shard-{number:05d}.ds"


def folder_of(number: int, name: str) -> str:
    return f"stage-{number:02d}-{name}/"


def stages_of(mixture: Manifest, recipe: Tokenization, tokens: int) -> list[Stage]:
    """The stages of a mixture of so many tokens, withdrawn documents included: a purge merges no shards."""
    found = mixture.summary.get("stages", [])
    if not found:
        return [Stage("", "", recipe.shards or shard_count(tokens, recipe.shard_tokens))]
    return [
        Stage(
            row["stage"],
            folder_of(number, row["stage"]),
            recipe.shards or shard_count(row["wanted"], recipe.shard_tokens),
        )
        for number, row in enumerate(found)
    ]


def counted(
    stages: Sequence[Stage], sizes: Sequence[tuple[str, int]], copies: Sequence[int], mixed: Sequence[int]
) -> list[dict[str, Any]]:
    """What each stage holds: `sizes` are the shards with their tokens, `copies` those of each stage in the shards,
    `mixed` those that the mixture gives it."""
    rows: list[dict[str, Any]] = []
    start = 0
    for stage, here, given in zip(stages, copies, mixed, strict=True):
        tokens = sum(size for name, size in sizes if name.startswith(stage.folder))
        rows.append(
            {
                "stage": stage.name,
                "folder": stage.folder,
                "cut": stage.cut,
                "start_token": start,
                "tokens": tokens,
                "copies": here,
                "copies_in_mixture": given,
            }
        )
        start += tokens
    return rows


def listing(rows: Sequence[Mapping[str, Any]], sizes: Sequence[tuple[str, int]]) -> str:
    """`LISTING`, as JSON."""
    stages = [
        {
            "name": row["stage"],
            "folder": row["folder"].rstrip("/"),
            "start_token": row["start_token"],
            "tokens": row["tokens"],
            "documents": row["copies"],
            "shards": [{"name": name, "tokens": size} for name, size in sizes if name.startswith(row["folder"])],
        }
        for row in rows
    ]
    return json.dumps({"stages": stages}, indent=1, ensure_ascii=False) + "\n"


def stage_of(shard: str) -> str | None:
    """The stage that a shard is of, by its name; None where there are none."""
    folder, _, name = shard.rpartition("/")
    return folder.split("-", 2)[2] if name and folder else None
