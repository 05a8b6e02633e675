"""Tokenized shards: the mixture as token files that a trainer maps into memory.

Belongs here: the order of documents, the files, and where each document lies in them. Does not belong here: what a
span comes from (`cosmo_assets.lineage`).

Format: datatrove's. `NAME.ds` holds token ids (uint16, or uint32 for vocabularies above 65,536), little-endian, each
document followed by the end-of-text token; `NAME.ds.index` holds the documents' ends (uint64); `NAME.ds.metadata` names
the tokenizer and counts the tokens. `tokenizer.json` lies beside them.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger

from cosmo_assets.ids import uniform
from cosmo_assets.schemas import TOKENIZED_SHARDS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import link_or_copy, write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import NamedTokenizer

logger.disable("datatrove")

STAGE_VERSION = "1"
TOKENIZER_NAME = "tokenizer.json"
ROUND_TRIPS = 64
"""Documents that are decoded again from the finished shards."""


def build(workspace: Workspace, tokenizer: NamedTokenizer) -> Manifest:
    """Build `tokenized_shards`. Cost: linear in the tokens; memory for the texts of its buckets.

    Raises:
        CosmoError: the tokenizer does not know the end-of-text token.
    """
    recipe = workspace.recipe.tokenization
    if tokenizer.tokenizer.token_to_id(recipe.eos) is None:
        raise CosmoError(
            f"the tokenizer {tokenizer.name} has no token {recipe.eos!r}",
            remedy="set tokenization.eos in the recipe to its end-of-text token",
        )
    mixture = workspace.store.open("mixture")
    buckets = mixture_buckets(mixture)
    generations = {bucket: workspace.store.open("generations", bucket) for bucket in buckets}
    return workspace.build(
        "tokenized_shards",
        lambda writer: _produce(writer, workspace, tokenizer, mixture, generations),
        stage_version=STAGE_VERSION,
        inputs=(mixture.ref(), *(dataset.ref() for dataset in generations.values())),
        params={"tokenizer": tokenizer.digest, "eos": recipe.eos, "shard_tokens": recipe.shard_tokens},
    )


def mixture_buckets(mixture: Dataset) -> list[str]:
    """The buckets whose documents are in a mixture."""
    return [entry.bucket for entry in mixture.manifest.files if entry.role == "rows" and entry.bucket is not None]


def map_shard(path: Path) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
    """The tokens of a `.ds` file as a read-only memory map."""
    size = int(path.with_name(path.name + ".metadata").read_text(encoding="utf-8").splitlines()[0].split("|")[-1])
    return np.memmap(path, dtype=np.uint16 if size == 2 else np.uint32, mode="r")


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    tokenizer: NamedTokenizer,
    mixture: Dataset,
    generations: dict[str, Dataset],
) -> None:
    recipe = workspace.recipe.tokenization
    texts: dict[str, str] = {}
    for dataset in generations.values():
        for table in dataset.tables(["doc_id", "text"]):
            texts.update(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    order = [
        (row["doc_id"], copy, row["tokens"])
        for row in mixture.table(["doc_id", "tokens", "copies"]).to_pylist()
        for copy in range(row["copies"])
    ]
    order.sort(key=lambda entry: (uniform("shuffle", entry[0], str(entry[1])), entry[0]))
    writer.artifact(TOKENIZER_NAME, lambda path: write_text(path, tokenizer.tokenizer.to_str()))
    rows: list[dict[str, Any]] = []
    vocabulary = tokenizer.tokenizer.get_vocab_size()
    for number, documents in enumerate(_cut(order, recipe.shard_tokens)):
        name = f"shard-{number:05d}.ds"
        ends = _write_shard(writer, name, [texts[doc] for doc, _ in documents], recipe.eos)
        starts = [0, *ends[:-1]]
        rows += [
            {"shard": name, "start": start, "end": end, "doc_id": doc, "copy": copy}
            for (doc, copy), start, end in zip(documents, starts, ends, strict=True)
        ]
        workspace.progress(len(rows), len(order), "documents")
    writer.write(pa.Table.from_pylist(rows, schema=TOKENIZED_SHARDS))
    sampled = sorted(rows, key=lambda row: uniform("round trip", row["doc_id"]))[:ROUND_TRIPS]
    same = sum(_decoded(writer.folder, row, tokenizer) == texts[row["doc_id"]] for row in sampled)
    writer.flow("copies", mixture.manifest.summary["copies"], len(rows))
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["shard"]] = row["end"]
    writer.summary = {
        "tokens": sum(sizes.values()),
        "documents": len({row["doc_id"] for row in rows}),
        "shards": [[name, size] for name, size in sizes.items()],
        "tokenizer": tokenizer.name,
        "vocabulary": vocabulary,
        "round_trips": [len(sampled), same],
    }


def _decoded(folder: Path, row: dict[str, Any], tokenizer: NamedTokenizer) -> str:
    ids = map_shard(folder / row["shard"])[row["start"] : row["end"] - 1].tolist()
    return str(tokenizer.tokenizer.decode(ids, skip_special_tokens=False))


def _cut(order: list[tuple[str, int, int]], shard_tokens: int) -> Iterator[list[tuple[str, int]]]:
    """Runs of documents, each run closed when its (estimated) tokens reach the size of a shard."""
    run: list[tuple[str, int]] = []
    size = 0
    for doc, copy, tokens in order:
        run.append((doc, copy))
        size += tokens
        if size >= shard_tokens:
            yield run
            run, size = [], 0
    if run:
        yield run


def _write_shard(writer: DatasetWriter, name: str, texts: list[str], eos: str) -> list[int]:
    """Tokenize one shard's documents with datatrove, in the given order; the documents' ends, in tokens."""
    work = writer.folder / ".tokenizing"
    step = DocumentTokenizer(
        str(work),
        str(writer.folder / TOKENIZER_NAME),
        eos_token=eos,
        shuffle_documents=False,
        save_final_metadata=False,
    )
    step.tokenizer.encode_special_tokens = True  # a text that spells one out holds its letters, not the end of a text
    step.run((Document(text=text, id=str(number)) for number, text in enumerate(texts)), rank=0, world_size=1)
    (tokens,) = work.glob("*.ds")
    ends = [int(end) for end in np.fromfile(f"{tokens}.index", dtype="<u8")]
    # datatrove would name the tokenizer by its path on this machine
    metadata = f"{TOKENIZER_NAME}|{step.token_size}\n{ends[-1]}\n{ends[-1]}"
    writer.artifact(name, partial(link_or_copy, tokens))
    writer.artifact(f"{name}.index", partial(link_or_copy, Path(f"{tokens}.index")))
    writer.artifact(f"{name}.metadata", lambda path: write_text(path, metadata))
    for path in work.iterdir():
        path.unlink()
    work.rmdir()
    return ends
