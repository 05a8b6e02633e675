"""Tokenized shards: the mixture as token files that a trainer maps into memory.

Belongs here: the order of documents, the files, and where each document lies in them. Does not belong here: what a
span comes from (`cosmo_assets.lineage`).

Format: datatrove's. `NAME.ds` holds token ids (uint16, or uint32 for vocabularies above 65,536), little-endian, each
document followed by the end-of-text token; `NAME.ds.index` holds the documents' ends (uint64); `NAME.ds.metadata` names
the tokenizer and counts the tokens. `tokenizer.json` lies beside them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger

from cosmo_assets.ids import uniform
from cosmo_assets.schemas import TOKENIZED_SHARDS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import NamedTokenizer

logger.disable("datatrove")

STAGE_VERSION = "1"
TOKENIZER_NAME = "tokenizer.json"
ROUND_TRIPS = 64
"""Documents that are decoded again from the finished shards."""

TokenIds = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Span = tuple[TokenIds, int, int]
"""Where a document's tokens stand: in which memory map, from, to."""


def build(workspace: Workspace, tokenizer: NamedTokenizer) -> Manifest:
    """Build `tokenized_shards`. Cost: encoding the documents that no earlier version encoded with the same tokenizer,
    and copying the tokens of all; memory for the spans, and for the texts of the new documents.

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
    return workspace.build_rows(
        "tokenized_shards",
        lambda writer, earlier: _produce(writer, workspace, tokenizer, mixture, generations, earlier),
        key="doc_id",
        sources=[RowSource(dataset, ("text",)) for dataset in generations.values()],
        stage_version=STAGE_VERSION,
        inputs=(mixture.ref(), *(dataset.ref() for dataset in generations.values())),
        params={"tokenizer": tokenizer.digest, "eos": recipe.eos, "shard_tokens": recipe.shard_tokens},
    )


def mixture_buckets(mixture: Dataset) -> list[str]:
    """The buckets whose documents are in a mixture."""
    return [entry.bucket for entry in mixture.manifest.files if entry.role == "rows" and entry.bucket is not None]


def map_shard(path: Path) -> TokenIds:
    """The tokens of a `.ds` file as a read-only memory map."""
    size = int(path.with_name(path.name + ".metadata").read_text(encoding="utf-8").splitlines()[0].split("|")[-1])
    return np.memmap(path, dtype=np.uint16 if size == 2 else np.uint32, mode="r")


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    tokenizer: NamedTokenizer,
    mixture: Dataset,
    generations: dict[str, Dataset],
    earlier: Earlier,
) -> None:
    recipe = workspace.recipe.tokenization
    order = [
        (row["doc_id"], copy, row["tokens"])
        for row in mixture.table(["doc_id", "tokens", "copies"]).to_pylist()
        for copy in range(row["copies"])
    ]
    order.sort(key=lambda entry: (uniform("shuffle", entry[0], str(entry[1])), entry[0]))
    spans = _earlier_spans(earlier, {doc for doc, _, _ in order})
    writer.reused_rows = sum(doc in spans for doc, _, _ in order)
    drawn = sorted(range(len(order)), key=lambda position: uniform("round trip", order[position][0]))[:ROUND_TRIPS]
    wanted = {doc for doc, _, _ in order if doc not in spans} | {order[position][0] for position in drawn}
    texts = _texts(generations.values(), wanted)
    writer.artifact(TOKENIZER_NAME, lambda path: write_text(path, tokenizer.tokenizer.to_str()))
    encoder = _Encoder(writer.folder / ".tokenizing", writer.folder / TOKENIZER_NAME, recipe.eos)
    rows: list[dict[str, Any]] = []
    vocabulary = tokenizer.tokenizer.get_vocab_size()
    for number, documents in enumerate(_cut(order, recipe.shard_tokens)):
        name = f"shard-{number:05d}.ds"
        new = [doc for doc in dict.fromkeys(doc for doc, _ in documents) if doc not in spans]
        with encoder.encoded([texts[doc] for doc in new]) as encoded:
            spans.update(zip(new, encoded, strict=True))
            ends = _write_shard(writer, name, [spans[doc] for doc, _ in documents], vocabulary)
        written = [
            {"shard": name, "start": start, "end": end, "doc_id": doc, "copy": copy}
            for (doc, copy), start, end in zip(documents, [0, *ends[:-1]], ends, strict=True)
        ]
        if new:  # further copies of a document are copied from where it stands now
            ids, fresh = map_shard(writer.folder / name), set(new)
            places = zip(documents, [0, *ends[:-1]], ends, strict=True)
            spans.update((doc, (ids, start, end)) for (doc, _), start, end in places if doc in fresh)
        rows += written
        workspace.progress(len(rows), len(order), "documents")
    encoder.close()
    writer.write(pa.Table.from_pylist(rows, schema=TOKENIZED_SHARDS))
    same = sum(_decoded(writer.folder, rows[place], tokenizer) == texts[rows[place]["doc_id"]] for place in drawn)
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
        "round_trips": [len(drawn), same],
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


def _earlier_spans(earlier: Earlier, wanted: set[str]) -> dict[str, Span]:
    """Where the tokens of wanted documents stand in the shards of the earlier version."""
    if earlier.dataset is None:
        return {}
    folder = earlier.dataset.folder
    mapped = {name: map_shard(folder / name) for name, _ in earlier.dataset.manifest.summary["shards"]}
    known = earlier.take(sorted(wanted))
    return {doc: (mapped[row["shard"]], row["start"], row["end"]) for doc, (row, *_) in known.items()}


def _texts(generations: Iterable[Dataset], wanted: set[str]) -> dict[str, str]:
    values = pa.array(sorted(wanted), pa.string())
    texts: dict[str, str] = {}
    for dataset in generations:
        for table in dataset.tables(["doc_id", "text"]):
            found = table.filter(pc.is_in(table["doc_id"], value_set=values))
            texts.update(zip(found["doc_id"].to_pylist(), found["text"].to_pylist(), strict=True))
    return texts


def _write_shard(writer: DatasetWriter, name: str, spans: Sequence[Span], vocabulary: int) -> list[int]:
    """Write one shard of these documents' tokens, its index and its metadata; the documents' ends, in tokens."""
    ends = list(accumulate(end - start for _, start, end in spans))

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            for ids, start, end in spans:
                stream.write(ids[start:end].tobytes())

    width = 2 if vocabulary <= 1 << 16 else 4
    metadata = f"{TOKENIZER_NAME}|{width}\n{ends[-1]}\n{ends[-1]}"
    writer.artifact(name, write)
    writer.artifact(f"{name}.index", lambda path: np.array(ends, "<u8").tofile(path))
    writer.artifact(f"{name}.metadata", lambda path: write_text(path, metadata))
    return ends


class _Encoder:
    """Encodes documents with datatrove, each by itself and followed by the end-of-text token."""

    def __init__(self, work: Path, tokenizer: Path, eos: str) -> None:
        self._work = work
        self._step = DocumentTokenizer(
            str(work), str(tokenizer), eos_token=eos, shuffle_documents=False, save_final_metadata=False
        )

    @contextmanager
    def encoded(self, texts: Sequence[str]) -> Iterator[list[Span]]:
        """The spans of these texts in a temporary file, which is removed in the end."""
        if not texts:
            yield []
            return
        encoding = self._step.tokenizer
        encoding.encode_special_tokens = True  # a text that spells one out holds its letters, not the end of a text
        encoding.no_truncation()
        encoding.no_padding()  # a document's tokens depend on no other document
        documents = (Document(text=text, id=str(number)) for number, text in enumerate(texts))
        self._step.run(documents, rank=0, world_size=1)
        (tokens,) = self._work.glob("*.ds")
        ids = np.memmap(tokens, dtype=np.uint16 if self._step.token_size == 2 else np.uint32, mode="r")
        ends = [int(end) for end in np.fromfile(f"{tokens}.index", dtype="<u8")]
        yield [(ids, start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        for path in self._work.iterdir():
            path.unlink()

    def close(self) -> None:
        if self._work.is_dir():
            self._work.rmdir()
