"""Deduplication: signatures per bucket, clusters over all buckets, the verdict per bucket.

Belongs here: the three stages and the choice of a survivor. Does not belong here: the method (`minhash`).
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.deduplication.minhash import clusters, renumber, sign, signature_name
from cosmo_assets.ids import bucket_name
from cosmo_assets.schemas import DEDUPLICATED, DUPLICATE_CLUSTERS, MINHASH_SIGNATURES
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.files import link_or_copy
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

SIGNATURE_VERSION = "1"
CLUSTER_VERSION = "1"
VERDICT_VERSION = "1"
MAX_EXAMPLES = 5


def build_signatures(workspace: Workspace, bucket: str) -> Manifest:
    """Build `minhash_signatures` of a bucket: of the documents that decontamination kept.

    Cost: linear in the text of documents that no earlier version signed; reading the others, and sorting signatures.
    """
    store = workspace.store
    verdicts, generations = store.open("decontaminated", bucket), store.open("generations", bucket)
    return workspace.build_rows(
        "minhash_signatures",
        lambda writer, earlier: _sign(writer, workspace, verdicts, generations, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text", "completion_tokens"))],
        bucket=bucket,
        stage_version=SIGNATURE_VERSION,
        inputs=(verdicts.ref(), generations.ref()),
        params=workspace.recipe.deduplication.model_dump(),
    )


def build_clusters(workspace: Workspace) -> Manifest:
    """Build `duplicate_clusters` over all buckets, stored by bucket. Cost: linear in the signatures, plus sorting."""
    names = [bucket_name(index) for index in range(workspace.recipe.buckets)]
    signatures = {name: workspace.store.open("minhash_signatures", name) for name in names}
    return workspace.build(
        "duplicate_clusters",
        lambda writer: _cluster(writer, workspace, signatures),
        stage_version=CLUSTER_VERSION,
        inputs=tuple(dataset.ref() for dataset in signatures.values()),
        params=workspace.recipe.deduplication.model_dump(),
    )


def build_verdicts(workspace: Workspace, bucket: str) -> Manifest:
    """Build `deduplicated` of a bucket. Cost: linear in its documents."""
    signatures = workspace.store.open("minhash_signatures", bucket)
    found = workspace.store.open("duplicate_clusters")
    return workspace.build(
        "deduplicated",
        lambda writer: _verdicts(writer, signatures, found, bucket),
        bucket=bucket,
        stage_version=VERDICT_VERSION,
        inputs=(signatures.ref(), found.ref(bucket)),
        params={},
    )


def _sign(
    writer: DatasetWriter, workspace: Workspace, verdicts: Dataset, generations: Dataset, earlier: Earlier
) -> None:
    recipe = workspace.recipe.deduplication
    table = verdicts.table(["doc_id", "keep"])
    kept = {row["doc_id"] for row in table.to_pylist() if row["keep"]}
    rows: list[dict[str, Any]] = []
    new: list[int] = []
    moved = np.full(earlier.dataset.manifest.rows if earlier.dataset else 0, -1, np.int64)

    def texts() -> Iterator[str]:
        for part in generations.tables(["doc_id", "text", "completion_tokens"]):
            documents = [row for row in part.to_pylist() if row["doc_id"] in kept]
            known = earlier.take([document["doc_id"] for document in documents])
            for document in documents:
                key, position = document["doc_id"], len(rows)
                if key in known:
                    (row,) = known[key]
                    moved[row["position"]] = position
                    rows.append({**row, "position": position})
                    continue
                new.append(position)
                measures = {"words": len(document["text"].split()), "tokens": document["completion_tokens"]}
                rows.append({"doc_id": key, "position": position, **measures})
                yield document["text"]

    with tempfile.TemporaryDirectory(prefix="build-signatures-", dir=writer.folder.parent) as work:
        sign(texts(), recipe, Path(work), 0)
        for band in range(recipe.bands):
            name = signature_name(band)
            parts = [(Path(work) / f"bucket_{band:03d}" / "00000.minhash.sig", np.array(new, np.int64))]
            if earlier.dataset:
                parts.append((earlier.dataset.folder / name, moved))
            writer.artifact(name, partial(renumber, parts, recipe))
    writer.reused_rows = len(rows) - len(new)
    writer.write(pa.Table.from_pylist(rows, schema=MINHASH_SIGNATURES))
    flow = verdicts.manifest.flow
    tokens = flow.tokens_through({"keep": sum(row["tokens"] for row in rows)})
    writer.flow("documents", flow.rows_out, len(rows), tokens=tokens)


def _cluster(writer: DatasetWriter, workspace: Workspace, signatures: dict[str, Dataset]) -> None:
    documents = {
        name: dataset.table(["doc_id", "position", "words"]).to_pylist() for name, dataset in signatures.items()
    }
    with tempfile.TemporaryDirectory(prefix="build-clusters-", dir=writer.folder.parent) as work:
        gathered = Path(work) / "signatures"
        for rank, dataset in enumerate(signatures.values()):
            for path in dataset.paths(role="artifact"):
                band = gathered / path.name.removesuffix(".minhash.sig")
                band.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, band / f"{rank:05d}.minhash.sig")
        groups = clusters(gathered, workspace.recipe.deduplication, Path(work))
    names = list(signatures)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in names}
    sizes: Counter[int] = Counter()
    examples = []
    for group in groups:
        members = [(names[rank], documents[names[rank]][position]) for rank, position in group]
        survivor = min(members, key=lambda member: (-member[1]["words"], member[1]["doc_id"]))[1]["doc_id"]
        cluster = min(member["doc_id"] for _, member in members)
        sizes[len(members)] += 1
        examples.append(sorted(member["doc_id"] for _, member in members))
        for bucket, member in members:
            rows[bucket].append(
                {
                    "doc_id": member["doc_id"],
                    "bucket": bucket,
                    "cluster": cluster,
                    "cluster_size": len(members),
                    "survivor": survivor,
                }
            )
    for bucket, found in rows.items():
        found.sort(key=lambda row: str(row["doc_id"]))
        writer.write(pa.Table.from_pylist(found, schema=DUPLICATE_CLUSTERS), bucket=bucket)
    came = sum(dataset.manifest.flow.rows_out for dataset in signatures.values())
    writer.flow("documents", came, sum(len(found) for found in documents.values()))
    writer.summary = {
        "clusters": len(groups),
        "in_clusters": sum(len(group) for group in groups),
        "sizes": [[size, count] for size, count in sorted(sizes.items())],
        "examples": sorted(examples, key=lambda example: (-len(example), example))[:MAX_EXAMPLES],
    }


def _verdicts(writer: DatasetWriter, signatures: Dataset, found: Dataset, bucket: str) -> None:
    survivor_of = {
        row["doc_id"]: row["survivor"] for row in found.table(["doc_id", "survivor"], bucket=bucket).to_pylist()
    }
    rows = []
    tokens: Counter[str] = Counter()
    for document, count in zip(*_columns(signatures, "doc_id", "tokens"), strict=True):
        survivor = survivor_of.get(document, document)
        rows.append(
            {
                "doc_id": document,
                "keep": survivor == document,
                "duplicate_of": None if survivor == document else survivor,
            }
        )
        tokens["keep" if survivor == document else "near_duplicate"] += count
        if survivor != document:
            writer.reject(document, "near_duplicate", detail=survivor)
    writer.write(pa.Table.from_pylist(rows, schema=DEDUPLICATED))
    kept = sum(bool(row["keep"]) for row in rows)
    flow = signatures.manifest.flow
    dropped = {"near_duplicate": len(rows) - kept} if kept < len(rows) else {}
    writer.flow("documents", flow.rows_out, kept, dropped=dropped, tokens=flow.tokens_through(tokens))


def _columns(dataset: Dataset, *names: str) -> tuple[list[Any], ...]:
    table = dataset.table(list(names))
    return tuple(table[name].to_pylist() for name in names)
