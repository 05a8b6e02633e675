"""Small synthetic datasets, written through the store as the stages would: a recipe, prompts, and rows of any table.

Columns that a test does not care about are filled in by their type, so that a new column breaks no test.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from cosmo_assets.ids import bucket_name, bucket_of, prompt_id
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL
from cosmo_resources.storage.writer import DatasetWriter

MODEL = "replay"


def recipe(*, buckets: int = 1, generation: Mapping[str, Any] | None = None, **sections: Any) -> Recipe:
    """A recipe with one source; `generation` and other sections replace fields of the defaults."""
    fields: dict[str, Any] = {
        "name": "synthetic",
        "description": "for tests",
        "buckets": buckets,
        "sources": [{"name": "pages", "kind": "web", "reader": "jsonl", "path": "pages.jsonl", "licence": "CC0-1.0"}],
        "topics": {"clustering": {"clusters": 1}},
        "prompts": {"mixes": {"web": {"templates": [{"template": "blogpost"}]}}},
        "generation": {
            "model": {"name": MODEL, "revision": "1", "licence": "CC0-1.0"},
            "shard_rows": 4,
            **(generation or {}),
        },
        "decontamination": {"benchmarks": []},
        "mixture": {"components": {"pages": {"weight": 1}}},
    }
    return Recipe.model_validate({**fields, **sections})


def filled(asset: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of an asset's table, with a value of the right type in every column that they leave out."""
    schema = TABLES[asset]
    return pa.Table.from_pylist(
        [{field.name: row[field.name] if field.name in row else _filling(field) for field in schema} for row in rows],
        schema=schema,
    )


def _filling(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_string(field.type):
        return f"some {field.name}"
    if pa.types.is_list(field.type):
        return []
    return pa.scalar(0).cast(field.type).as_py()


def put(
    workspace: Workspace,
    asset: str,
    parts: Mapping[str | None, Iterable[Mapping[str, Any]]],
    *,
    bucket: str = ALL,
    version: str = "1",
    summary: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Manifest:
    """Publish an asset made of these rows, one part for each key (the bucket of the part, or None)."""

    def produce(writer: DatasetWriter) -> None:
        count = 0
        for part, rows in parts.items():
            table = filled(asset, rows)
            writer.write(table, bucket=part)
            count += table.num_rows
        writer.summary = dict(summary or {})
        writer.flow("rows", count, count)

    return workspace.build(asset, produce, bucket=bucket, stage_version=version, inputs=(), params=dict(params or {}))


def prompt(text: str, *, max_tokens: int = 50, **columns: Any) -> dict[str, Any]:
    """A row of the prompt table for a rendered prompt; its bucket is filled in by `put_prompts`."""
    identity = prompt_id(seed=text, template="t", template_version="1", audience="a", format="f", choices={}, text=text)
    return {"prompt_id": identity, "prompt": text, "max_tokens": max_tokens, "source": "pages", **columns}


def prompts(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [prompt(f"prompt {number}") for number in range(start, start + count)]


def put_prompts(workspace: Workspace, rows: Iterable[Mapping[str, Any]], *, version: str = "1") -> Manifest:
    """Publish a prompt table of these rows, stored by bucket as the recipe says."""
    buckets: dict[str | None, list[Mapping[str, Any]]] = {
        bucket_name(index): [] for index in range(workspace.recipe.buckets)
    }
    for row in sorted(rows, key=lambda row: str(row["prompt_id"])):
        bucket = bucket_of(row["prompt_id"], workspace.recipe.buckets)
        buckets[bucket].append({**row, "bucket": bucket})
    return put(workspace, "prompt_table", buckets, version=f"{version}/{workspace.recipe.buckets}")
