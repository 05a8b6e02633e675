"""Seed documents: all sources of a recipe read, cleaned, and every row accounted for.

Belongs here: the funnel from a source's rows to `seed_documents`, with a reason for every row that falls out.
Does not belong here: file formats (`readers`) or what cleaning does to a text (`cleaning`).
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.deduplication.minhash import near_duplicate_groups, shingles
from cosmo_assets.ids import normalized, seed_id
from cosmo_assets.recipe import Deduplication, SeedPolicy, Source
from cosmo_assets.schemas import SEED_DOCUMENTS
from cosmo_assets.seeds.cleaning import boilerplate_share, clean, language_of, mask_personal_data
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import digest, files_digest
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
MINHASH = Deduplication()
"""Near-duplicate candidates among seeds are found as among generations, then verified by their true similarity."""


@dataclass(frozen=True)
class Drop:
    """A row that does not become a seed: where it stood and why."""

    place: str
    reason: str
    field: str | None = None
    detail: str | None = None
    failed: bool = False


def build(workspace: Workspace) -> Manifest:
    """Build `seed_documents`. Cost: linear in the sources' text; texts are held in memory for near-duplicates."""
    recipe = workspace.recipe
    files = {source.name: recipe.paths(source.path, field=f"sources.{source.name}.path") for source in recipe.sources}
    inputs = tuple(_source_ref(source, files[source.name], recipe.folder) for source in recipe.sources)
    params = {"seeds": recipe.seeds.model_dump(), "sources": [_reading(source) for source in recipe.sources]}
    return workspace.build(
        "seed_documents",
        lambda writer: _produce(writer, workspace, files),
        stage_version=STAGE_VERSION,
        inputs=inputs,
        params=params,
    )


def _produce(writer: DatasetWriter, workspace: Workspace, files: dict[str, list[Path]]) -> None:
    rows: list[dict[str, Any]] = []
    drops: dict[str, list[Drop]] = defaultdict(list)
    seen: set[str] = set()
    for number, source in enumerate(workspace.recipe.sources):
        workspace.progress(number, len(workspace.recipe.sources), "sources")
        for outcome in _rows_of(source, files[source.name], workspace.recipe.seeds):
            if isinstance(outcome, Drop):
                drops[source.name].append(outcome)
                continue
            key = digest(normalized(outcome["text"]).casefold())
            if key in seen:
                drops[source.name].append(Drop(outcome["native_id"], "exact_duplicate"))
                continue
            seen.add(key)
            rows.append(outcome)
    threshold = workspace.recipe.seeds.near_duplicate_threshold
    if threshold is not None:
        rows = _without_near_duplicates(rows, threshold, drops)
    rows.sort(key=lambda row: (row["source"], row["seed_id"]))
    writer.write(pa.Table.from_pylist(rows, schema=SEED_DOCUMENTS))
    _account(writer, workspace, rows, drops)


def _rows_of(source: Source, paths: list[Path], policy: SeedPolicy) -> Iterator[dict[str, Any] | Drop]:
    """The rows of one source, cleaned, or why one is none."""
    taken = 0
    for path in paths:
        for item in read(source.name, source.reader, path, source.options):
            if isinstance(item, BadRow):
                yield Drop(item.place, item.reason, item.field, item.detail, failed=True)
            elif isinstance(item, Skipped):
                yield Drop(item.place, item.reason)
            elif source.max_documents is not None and taken >= source.max_documents:
                return
            else:
                outcome = _cleaned(item, source, policy)
                taken += isinstance(outcome, dict)
                yield outcome


def _cleaned(raw: RawSeed, source: Source, policy: SeedPolicy) -> dict[str, Any] | Drop:
    """One raw seed as a row, or the first rule that it breaks."""
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
    text, masked = mask_personal_data(text) if policy.mask_personal_data else (text, 0)
    return {
        "seed_id": seed_id(source.name, raw.native_id, text),
        "source": source.name,
        "kind": source.kind,
        "native_id": raw.native_id,
        "title": clean(raw.title) if raw.title else None,
        "text": text,
        "context": list(raw.context),
        "url": raw.url,
        "language": language,
        "licence": raw.licence or source.licence,
        "attribution": raw.attribution or source.attribution,
        "masked": masked,
    }


def _without_near_duplicates(
    rows: list[dict[str, Any]], threshold: float, drops: dict[str, list[Drop]]
) -> list[dict[str, Any]]:
    """The rows without those whose 5-gram Jaccard similarity to an earlier one of their group exceeds the threshold."""
    with tempfile.TemporaryDirectory(prefix="cosmo-seeds-") as work:
        groups = near_duplicate_groups([row["text"] for row in rows], MINHASH, Path(work))
    removed: set[int] = set()
    for group in groups:
        grams = {position: shingles(rows[position]["text"], MINHASH) for position in group}
        kept: list[int] = []
        for position in group:
            twin = next((other for other in kept if _jaccard(grams[position], grams[other]) > threshold), None)
            if twin is None:
                kept.append(position)
                continue
            removed.add(position)
            row = rows[position]
            drops[row["source"]].append(Drop(row["native_id"], "near_duplicate", detail=rows[twin]["native_id"]))
    return [row for position, row in enumerate(rows) if position not in removed]


def _account(
    writer: DatasetWriter, workspace: Workspace, rows: list[dict[str, Any]], drops: dict[str, list[Drop]]
) -> None:
    kept = Counter(row["source"] for row in rows)
    funnel = {}
    for source in workspace.recipe.sources:
        found = drops[source.name]
        funnel[source.name] = {
            "kind": source.kind,
            "kept": kept[source.name],
            "dropped": dict(sorted(Counter(drop.reason for drop in found if not drop.failed).items())),
            "bad": dict(sorted(Counter(drop.reason for drop in found if drop.failed).items())),
        }
        for drop in found:
            writer.reject(f"{source.name}:{drop.place}", drop.reason, field=drop.field, detail=drop.detail)
    everything = [drop for found in drops.values() for drop in found]
    writer.flow(
        "rows",
        len(rows) + len(everything),
        len(rows),
        dropped=Counter(drop.reason for drop in everything if not drop.failed),
        failed=Counter(drop.reason for drop in everything if drop.failed),
    )
    writer.summary = {
        "funnel": funnel,
        "licences": dict(sorted(Counter(row["licence"] for row in rows).items())),
        "characters": sum(len(row["text"]) for row in rows),
        "masked": sum(row["masked"] for row in rows),
    }


def _source_ref(source: Source, paths: list[Path], folder: Path) -> InputRef:
    """A source as an input: the digest of its files' names and bytes, or of a whole book where one file names it."""
    roots = [path.parent.parent if path.name == "books.xml" else path for path in paths]
    files = [file for root in roots for file in (sorted(root.rglob("*")) if root.is_dir() else [root])]
    parents = [path.parent for path in paths]
    base = min(parents, key=lambda path: len(path.parts)) if len(parents) > 1 else roots[0].parent
    version = files_digest([file for file in files if file.is_file()], relative_to=base if base else folder)
    return InputRef(asset=f"sources/{source.name}", bucket="all", version=version)


def _reading(source: Source) -> dict[str, Any]:
    """The part of a source's description that its rows depend on."""
    return source.model_dump(include={"name", "kind", "reader", "licence", "attribution", "options", "max_documents"})


def _jaccard(left: set[str], right: set[str]) -> float:
    union = len(left | right)
    return len(left & right) / union if union else 1.0
