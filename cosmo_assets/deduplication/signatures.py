"""Signatures of documents: what each method compares, made of a bucket's texts once.

Belongs here: the stage, and what it takes over from an earlier version. Does not belong here: the methods (`exact`,
`minhash`, `passages`).
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.deduplication.exact import text_hashes
from cosmo_assets.deduplication.minhash import MinHashSigner, band_name
from cosmo_assets.deduplication.passages import FILE, PassageSigner
from cosmo_assets.deduplication.records import merge_records
from cosmo_assets.recipe.deduplication import Deduplication, MinHashMethod, PassagesMethod
from cosmo_assets.schemas.screening import TEXT_SIGNATURES
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
BATCH = 4096
"""Texts that are signed at a time."""


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `text_signatures` of a bucket: of the documents that decontamination kept.

    Cost: linear in the text of documents that no earlier version signed; reading the others, and sorting signatures.
    Memory: the signatures of the bucket, 8 bytes for each hash.
    """
    store = workspace.store
    verdicts, generations = store.open("decontaminated", bucket), store.open("generations", bucket)
    quality = store.open("generation_quality", bucket)
    return workspace.build_rows(
        "text_signatures",
        lambda writer, earlier: _sign(writer, workspace, verdicts, generations, quality, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text",))],
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(verdicts.ref(), generations.ref(), quality.ref()),
        params=signed_as(workspace.recipe.deduplication),
    )


def signed_as(recipe: Deduplication) -> dict[str, Any]:
    """What signatures depend on; those of two corpora can be compared where this is equal."""
    return {
        method.method: method.model_dump(include=_SIGNED[type(method)])
        for method in recipe.methods
        if type(method) in _SIGNED
    }


_SIGNED: dict[type, set[str]] = {
    MinHashMethod: {"ngram", "bands", "rows", "seed"},
    PassagesMethod: {"words"},
}


def documents_left(verdicts: Dataset, generations: Dataset, columns: list[str]) -> Iterator[pa.Table]:
    """Columns of the generations that decontamination kept, beside their `doc_id`, part by part."""
    table = verdicts.table(["doc_id", "keep"])
    kept = table["doc_id"].filter(table["keep"])
    for part in generations.tables(["doc_id", *columns]):
        yield part.filter(pc.is_in(part["doc_id"], kept.combine_chunks()))


class Signers:
    """The methods that keep a file, and their names."""

    def __init__(self, recipe: Deduplication) -> None:
        self._signers: list[MinHashSigner | PassageSigner] = []
        self.files: list[tuple[str, int]] = []
        """Each file, and how many hashes a record of it has."""
        for method in recipe.methods:
            if isinstance(method, MinHashMethod):
                self._signers.append(MinHashSigner(method))
                self.files += [(band_name(band), method.rows) for band in range(method.bands)]
            elif isinstance(method, PassagesMethod):
                self._signers.append(PassageSigner(method))
                self.files.append((FILE, 1))

    def add(self, texts: pa.Array) -> None:
        for signer in self._signers:
            signer.add(texts)

    def write(self, folder: Path) -> None:
        for signer in self._signers:
            signer.write(folder)


def _sign(
    writer: DatasetWriter,
    workspace: Workspace,
    verdicts: Dataset,
    generations: Dataset,
    quality: Dataset,
    earlier: Earlier,
) -> None:
    signers = Signers(workspace.recipe.deduplication)
    measured = quality.table(["doc_id", "words", "repetition"])
    words = dict(zip(measured["doc_id"].to_pylist(), measured["words"].to_pylist(), strict=True))
    repetition = dict(zip(measured["doc_id"].to_pylist(), measured["repetition"].to_pylist(), strict=True))
    flow = verdicts.manifest.flow
    done, tokens = 0, 0
    tables = [TEXT_SIGNATURES.empty_table()]
    new: list[int] = []
    moved = np.full(earlier.dataset.manifest.rows if earlier.dataset else 0, -1, np.int64)
    for part in documents_left(verdicts, generations, ["prompt_id", "text", "finish_reason", "completion_tokens"]):
        for start in range(0, part.num_rows, BATCH):
            documents = part.slice(start, BATCH)
            ids = documents["doc_id"].to_pylist()
            known = earlier.take(ids)
            fresh = [number for number, key in enumerate(ids) if key not in known]
            texts = documents["text"].combine_chunks().take(pa.array(fresh, pa.int64())).cast(pa.large_string())
            hash_of = dict(zip((ids[number] for number in fresh), text_hashes(texts), strict=True))
            signers.add(texts)
            new += [done + number for number in fresh]
            for number, key in enumerate(ids):
                if key in known:
                    (row,) = known[key]
                    moved[row["position"]] = done + number
                    hash_of[key] = row["text_hash"]
            tokens += pc.sum(documents["completion_tokens"]).as_py()
            finished = documents["finish_reason"].to_pylist()
            rows = {
                "doc_id": ids,
                "position": range(done, done + len(ids)),
                "prompt_id": documents["prompt_id"],
                "text_hash": [hash_of[key] for key in ids],
                "words": [words[key] for key in ids],
                "quality": [_quality(end, repetition[key]) for end, key in zip(finished, ids, strict=True)],
                "tokens": documents["completion_tokens"],
            }
            tables.append(pa.table(rows, schema=TEXT_SIGNATURES))
            done += len(ids)
            workspace.progress(done, flow.rows_out, "documents")
    writer.write(pa.concat_tables(tables))
    with tempfile.TemporaryDirectory(prefix="build-signatures-", dir=writer.folder.parent) as work:
        signers.write(Path(work))
        for name, hashes in signers.files:
            parts = [(Path(work) / name, np.array(new, np.int64))]
            if earlier.dataset:
                parts.append((earlier.dataset.folder / name, moved))
            writer.artifact(name, partial(merge_records, parts, hashes))
    writer.reused_rows = done - len(new)
    writer.flow("documents", flow.rows_out, done, tokens=flow.tokens_through({"keep": tokens}))


def _quality(finish_reason: str | None, repetition: float) -> float:
    """In steps of a tenth, so that a nuance does not decide before the length does."""
    return round(1.0 - repetition, 1) if finish_reason == "stop" else 0.0
