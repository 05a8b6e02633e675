"""The mixture: which surviving documents stand in the corpus, and how often. No text is copied.

Belongs here: the stage. Does not belong here: the arithmetic of shares (`allocation`).
"""

from collections import Counter
from typing import Any

import pyarrow as pa

from cosmo_assets.ids import bucket_name
from cosmo_assets.mixture.allocation import allocate, copies
from cosmo_assets.schemas import MIXTURE
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest, total_flow
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"


def build(workspace: Workspace) -> Manifest:
    """Build `mixture`, stored by bucket. Cost: linear in the documents; their ids are held in memory."""
    names = [bucket_name(index) for index in range(workspace.recipe.buckets)]
    store = workspace.store
    verdicts = {name: store.open("deduplicated", name) for name in names}
    generations = {name: store.open("generations", name) for name in names}
    prompts = store.open("prompt_table")
    inputs = [dataset.ref() for group in (verdicts, generations) for dataset in group.values()]
    return workspace.build(
        "mixture",
        lambda writer: _produce(writer, workspace, verdicts, generations, prompts),
        stage_version=STAGE_VERSION,
        inputs=(*inputs, prompts.ref()),
        params=workspace.recipe.mixture.model_dump(),
    )


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    verdicts: dict[str, Dataset],
    generations: dict[str, Dataset],
    prompts: Dataset,
) -> None:
    rows = [row for name in verdicts for row in _eligible(name, verdicts[name], generations[name], prompts)]
    available: Counter[str] = Counter()
    for row in rows:
        available[row["source"]] += row["tokens"]
    shares = allocate(available, workspace.recipe.mixture.components)
    dropped: Counter[str] = Counter()
    left: Counter[str] = Counter()
    by_bucket: dict[str, list[dict[str, Any]]] = {name: [] for name in verdicts}
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for row in rows:
        share = shares.get(row["source"])
        count = copies(row["doc_id"], share.epochs) if share else 0
        if not count:
            reason = "not_drawn" if share else "source_not_in_mixture"
            dropped[reason] += 1
            left[reason] += row["tokens"]
            writer.reject(row["doc_id"], reason, detail=row["source"])
            continue
        by_bucket[row["bucket"]].append({**row, "copies": count})
        left["keep"] += row["tokens"]
        documents[row["source"]] += 1
        tokens[row["source"]] += count * row["tokens"]
    if not documents:
        raise CosmoError(
            "no document is left for the mixture",
            remedy="look at the dropped rows of generation_quality, decontaminated and deduplicated",
        )
    for name, chosen in by_bucket.items():
        writer.write(pa.Table.from_pylist(chosen, schema=MIXTURE), bucket=name)
    flow = total_flow([dataset.manifest.flow for dataset in verdicts.values()])
    chosen_documents = sum(documents.values())
    writer.flow("documents", flow.rows_out, chosen_documents, dropped=dropped, tokens=flow.tokens_through(left))
    total = sum(tokens.values())
    writer.summary = {
        "tokens": total,
        "copies": sum(row["copies"] for chosen in by_bucket.values() for row in chosen),
        "components": [
            {
                "source": name,
                "documents": documents[name],
                "available": share.available,
                "tokens": tokens[name],
                "share": round(tokens[name] / total, 4) if total else 0.0,
                "target": round(share.weight, 4),
                "epochs": round(share.epochs, 4),
            }
            for name, share in sorted(shares.items())
        ],
    }


def _eligible(bucket: str, verdicts: Dataset, generations: Dataset, prompts: Dataset) -> list[dict[str, Any]]:
    kept = {row["doc_id"] for row in verdicts.table(["doc_id", "keep"]).to_pylist() if row["keep"]}
    sources = prompts.table(["prompt_id", "source"], bucket=bucket)
    source_of = dict(zip(sources["prompt_id"].to_pylist(), sources["source"].to_pylist(), strict=True))
    table = generations.table(["doc_id", "prompt_id", "completion_tokens"])
    return [
        {
            "doc_id": row["doc_id"],
            "bucket": bucket,
            "source": source_of[row["prompt_id"]],
            "tokens": row["completion_tokens"],
        }
        for row in table.to_pylist()
        if row["doc_id"] in kept
    ]
