"""A corpus that got as far as the mixture, made of rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from cosmo_assets.ids import bucket_name
from cosmo_assets.mixture import stage
from cosmo_assets.schemas.screening import DEDUPLICATED
from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import Item
from cosmo_assets.withdrawal.record import Note, Size
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.manifest import Manifest, Tokens
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import put, recipe

COUNT = 240
BUCKETS = 2
NOTE = Note("for a test", "tester", "2026-01-01T00:00:00+00:00")
WEB_AND_BOOKS = {"web": {"weight": 3}, "books": {"weight": 1, "max_epochs": 3}}


def document(number: int) -> dict[str, Any]:
    """All columns of a document; two of three are of the web, a tenth are duplicates."""
    return {
        "doc_id": digest("doc", str(number)),
        "prompt_id": digest("prompt", str(number)),
        "seed_id": digest("seed", str(number // 2)),
        "source": "web" if number % 3 else "books",
        "topic": None if number % 7 == 0 else f"topic {number % 5}",
        "template": f"template {number % 4}",
        "audience": ("children", "students")[number % 2],
        "format": ("story", "lesson")[number // 2 % 2],
        "licence": ("CC0-1.0", "CC-BY-4.0")[number % 11 == 0],
        "model": ("old", "new")[number % 13 == 0],
        "completion_tokens": 50 + number % 97,
        "repetition": number % 10 / 10,
        "words": 100 + number,
        "keep": number % 10 != 3,
        "bucket": bucket_name(number % BUCKETS),
    }


DOCUMENTS = {found["doc_id"]: found for found in map(document, range(COUNT))}
KEPT = {key: found for key, found in DOCUMENTS.items() if found["keep"]}


@dataclass
class Corpus:
    """A corpus that got as far as the mixture."""

    folder: Path
    mixture: Mapping[str, Any] = field(default_factory=lambda: {"components": WEB_AND_BOOKS})
    documents: Iterable[Mapping[str, Any]] = field(default_factory=lambda: list(DOCUMENTS.values()))

    @property
    def space(self) -> Workspace:
        sources = [
            {"name": name, "kind": "web", "reader": "jsonl", "path": "x.jsonl", "licence": "CC0-1.0"}
            for name in ("web", "books")
        ]
        return Workspace(
            CorpusStore(self.folder / "store"), recipe(buckets=BUCKETS, sources=sources, mixture=self.mixture)
        )

    def fill(self) -> "Corpus":
        space = self.space
        by_bucket: dict[str | None, list[Mapping[str, Any]]] = {bucket_name(index): [] for index in range(BUCKETS)}
        for found in self.documents:
            by_bucket[found["bucket"]].append(found)
        version = digest(*(found["doc_id"] for found in self.documents))
        put(space, "prompt_table", by_bucket, version=version)
        for name, rows in by_bucket.items():
            for asset in ("generations", "generation_quality"):
                put(space, asset, {None: rows}, bucket=str(name), version=version)

            def verdicts(writer: Any, rows: list[Mapping[str, Any]] = rows) -> None:
                table = [{"doc_id": row["doc_id"], "keep": row["keep"]} for row in rows]
                writer.write(pa.Table.from_pylist(table, schema=DEDUPLICATED))
                kept, size = sum(row["keep"] for row in rows), sum(row["completion_tokens"] for row in rows)
                left = sum(row["completion_tokens"] for row in rows if row["keep"])
                tokens = Tokens(tokens_in=size, tokens_out=left, dropped={"duplicate": size - left})
                writer.flow("documents", len(rows), kept, dropped={"duplicate": len(rows) - kept}, tokens=tokens)

            space.build("deduplicated", verdicts, bucket=str(name), stage_version=version, inputs=(), params={})
        record.build(space)
        return self

    def build(self) -> tuple[Manifest, dict[str, dict[str, Any]]]:
        manifest = stage.build(self.space)
        rows = self.space.store.open("mixture").table().to_pylist()
        assert manifest.flow.balanced
        assert manifest.flow.rows_out == len(rows)
        assert manifest.summary["tokens"] == sum(row["tokens"] * row["copies"] for row in rows)
        found = {row["doc_id"]: row for row in rows}
        assert len(found) == len(rows)
        return manifest, found

    def withdraw(self, *items: Item) -> None:
        record.withdraw(self.space, dict.fromkeys(items, Size()), NOTE)

    def left_out(self) -> dict[str, tuple[str, str]]:
        rejected = self.space.store.open("mixture").rejected()
        rows = rejected.to_pylist() if rejected is not None else []
        return {row["place"]: (row["reason"], row["detail"]) for row in rows}
