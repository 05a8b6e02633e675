"""Real documents that may stand in the corpus, and what deduplication compares of them.

Belongs here: the two stages of real data; licences, benchmarks and signatures of what was read. Does not belong here:
reading and cleaning (`cosmo_assets.seeds.documents`), duplicates (`cosmo_assets.deduplication`), shares
(`cosmo_assets.mixture`).
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.decontamination.cases import Cases
from cosmo_assets.decontamination.search import CLEAN, Search, names, open_search
from cosmo_assets.decontamination.stage import rule_params
from cosmo_assets.deduplication.exact import text_hashes
from cosmo_assets.deduplication.records import merge_records
from cosmo_assets.deduplication.signatures import Signers, signed_as
from cosmo_assets.real.texts import DOCUMENTS, ELIGIBLE
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.sources import REAL_ELIGIBLE
from cosmo_assets.seeds.documents import Texts, read_texts
from cosmo_assets.seeds.licences import DENIED, refusal
from cosmo_assets.stage import Workspace
from cosmo_assets.words.hashing import hashed
from cosmo_resources.storage.manifest import Manifest, Tokens
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import NamedTokenizer

STAGE_VERSION = "1"
BATCH = 4096
"""Documents that are looked at, and signed, at a time."""

Row = dict[str, Any]


def read(workspace: Workspace) -> Manifest:
    """Build `real_documents` (see `read_texts`)."""
    return read_texts(workspace, wanted_texts(workspace.recipe))


def wanted_texts(recipe: Recipe) -> Texts:
    """What `real_documents` reads."""
    return Texts(DOCUMENTS, recipe.real.sources, recipe.real.filters)


def params(recipe: Recipe, tokenizer: NamedTokenizer) -> dict[str, Any]:
    """What of the recipe `real_eligible` depends on."""
    return {
        **rule_params(recipe),
        "licences": recipe.licences.model_dump(mode="json"),
        "signed_as": signed_as(recipe.deduplication),
        "tokenizer": tokenizer.digest,
    }


def build(workspace: Workspace, tokenizer: NamedTokenizer) -> Manifest:
    """Build `real_eligible`: of the real documents those with a licence that the recipe's policy allows and without a
    benchmark item, with their tokens, and signatures as those of generated documents.

    Cost: linear in the texts: all are searched, encoded and signed again when a source, the benchmarks, the licence
    policy or the tokenizer changes. Memory: a batch of texts, and 8 bytes for each hash of all signatures.
    """
    documents, index = workspace.store.open(DOCUMENTS), workspace.store.open("benchmark_index")
    return workspace.build(
        ELIGIBLE,
        lambda writer: _produce(writer, workspace, documents, index, tokenizer),
        stage_version=STAGE_VERSION,
        inputs=(documents.ref(), index.ref()),
        params=params(workspace.recipe, tokenizer),
    )


def _produce(
    writer: DatasetWriter, workspace: Workspace, documents: Dataset, index: Dataset, tokenizer: NamedTokenizer
) -> None:
    recipe = workspace.recipe
    search = open_search(index, recipe.decontamination)
    signers, tally = Signers(recipe.deduplication), _Tally()
    for rows in _batches(documents):
        sizes = _token_counts(tokenizer, rows)
        refused = [refusal(row["licence"], recipe.licences) for row in rows]
        hits = _hits(search, rows)
        kept = []
        for row, size, denied, hit in zip(rows, sizes, refused, hits, strict=True):
            row["tokens"] = size
            if denied is not None:
                writer.reject(row["doc_id"], DENIED, field="licence", detail=f"{row['licence']}: {denied}")
                tally.add(row, DENIED)
            elif hit is not None:
                reason = f"contaminated_{hit['benchmark']}"
                writer.reject(row["doc_id"], reason, field="text", detail=hit["item"])
                tally.cases.add([({"key": row["doc_id"], **{name: hit[name] for name in CLEAN}}, row["text"])])
                tally.add(row, reason)
            else:
                tally.add(row, "keep")
                kept.append(row)
        texts = pa.array([row["text"] for row in kept], pa.large_string())
        signers.add(texts)
        writer.write(_table(kept, texts, first=tally.of["keep"] - len(kept)))
        workspace.progress(sum(tally.of.values()), documents.manifest.rows, "documents")
    if not tally.of["keep"]:
        writer.write(REAL_ELIGIBLE.empty_table())
    with tempfile.TemporaryDirectory(prefix="build-signatures-", dir=writer.folder.parent) as work:
        signers.write(Path(work))
        positions = np.arange(tally.of["keep"])
        for name, hashes in signers.files:
            writer.artifact(name, partial(merge_records, [(Path(work) / name, positions)], hashes))
    _account(writer, documents, index, tally)


class _Tally:
    """Documents and tokens by what becomes of them: "keep", or the reason for leaving them out."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.by_source: dict[str, Counter[str]] = defaultdict(Counter)
        self.kept_tokens: Counter[str] = Counter()
        self.cases = Cases()

    def add(self, row: Row, reason: str) -> None:
        self.of[reason] += 1
        self.tokens[reason] += row["tokens"]
        self.by_source[row["source"]][reason] += 1
        if reason == "keep":
            self.kept_tokens[row["source"]] += row["tokens"]


def _account(writer: DatasetWriter, documents: Dataset, index: Dataset, tally: _Tally) -> None:
    dropped = {reason: count for reason, count in tally.of.items() if reason != "keep"}
    tokens = {reason: count for reason, count in tally.tokens.items() if reason != "keep"}
    flow = Tokens(tokens_in=tally.tokens.total(), tokens_out=tally.tokens["keep"], dropped=dict(sorted(tokens.items())))
    writer.flow("documents", documents.manifest.flow.rows_out, tally.of["keep"], dropped=dropped, tokens=flow)
    writer.summary = {
        "sources": [
            {
                "source": name,
                "kept": counts["keep"],
                "tokens": tally.kept_tokens[name],
                "licence_denied": counts[DENIED],
                "contaminated": counts.total() - counts["keep"] - counts[DENIED],
            }
            for name, counts in sorted(tally.by_source.items())
        ],
        "cases": tally.cases.shown(index),
    }


def _batches(documents: Dataset) -> Iterator[list[Row]]:
    for table in documents.tables(["doc_id", "source", "licence", "title", "text"]):
        for start in range(0, table.num_rows, BATCH):
            yield table.slice(start, BATCH).to_pylist()


def _token_counts(tokenizer: NamedTokenizer, rows: Sequence[Row]) -> list[int]:
    encoded = tokenizer.tokenizer.encode_batch_fast([row["text"] for row in rows], add_special_tokens=False)
    return [len(found.ids) for found in encoded]


def _hits(search: Search, rows: Sequence[Row]) -> list[Row | None]:
    """Of each document the benchmark item in it that speaks for it."""
    found = search.matches([row["text"] for row in rows])
    return [{**search.worst(matches), "items": names(matches)} if matches else None for matches in found]


def _table(kept: Sequence[Row], texts: pa.Array, first: int) -> pa.Table:
    words = np.diff(hashed(texts, "folded").bounds) if len(kept) else np.empty(0, np.int64)
    columns = {
        **{name: [row[name] for row in kept] for name in ("doc_id", "source", "licence", "tokens")},
        "position": range(first, first + len(kept)),
        "text_hash": text_hashes(texts) if len(kept) else [],
        "words": words.tolist(),
        "quality": [1.0] * len(kept),
    }
    return pa.table([columns[name] for name in REAL_ELIGIBLE.names], schema=REAL_ELIGIBLE)
