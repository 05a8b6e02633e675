"""From texts to tokens: chunks of documents, encoded by datatrove, several at once, each kept on disk when it is done.

Belongs here: what a chunk is, encoding one, doing many at once. Does not belong here: where documents stand (`layout`),
shards (`shards`).

A chunk is a pair of files named by a digest of all that its tokens depend on: `KEY.ds` holds the tokens of its entries
one after another, `KEY.ends` their ends (uint64), written last. What a killed build has encoded is found by that name.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger

from cosmo_assets.tokenization.layout import Places
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.files import disk_errors, sync
from cosmo_resources.storage.writer import read_table

logger.disable("datatrove")

TokenIds = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

BATCH = 2048
"""Documents that are encoded at a time."""


@dataclass(frozen=True)
class Encoding:
    """How texts become tokens: each by itself, followed by the end-of-text token. `tokenizer` is a tokenizer.json,
    `digest` that of its definition."""

    tokenizer: Path
    digest: str
    eos: str
    width: int
    """Bytes of a token."""

    def mapped(self, path: Path) -> TokenIds:
        """The tokens of a file as a read-only memory map; an empty file has none."""
        kind = np.dtype("<u2") if self.width == 2 else np.dtype("<u4")
        return np.asarray(np.memmap(path, dtype=kind, mode="r")) if path.stat().st_size else np.empty(0, kind)


@dataclass(frozen=True)
class Part:
    """A part file with texts, by path and digest of its content, and which of its rows are wanted."""

    path: Path
    content: str
    rows: Places


@dataclass(frozen=True)
class Chunk:
    """Documents to encode: wanted rows of some parts, counted through; `entries` says which of them stands where in the
    file, one that has several copies several times. `places` are these copies in the layout, in the same order."""

    parts: tuple[Part, ...]
    entries: Places
    places: Places

    def key(self, encoding: Encoding) -> str:
        rows = [value for part in self.parts for value in (part.content, part.rows.tobytes())]
        return digest(encoding.digest, encoding.eos, *rows, self.entries.tobytes())


def encoded(chunks: Iterable[Chunk], encoding: Encoding, folder: Path) -> Iterator[tuple[Chunk, Path, Places]]:
    """Every chunk with its file of tokens and the ends of its entries, as they are done. Those that are there already
    are not encoded again; several are encoded in as many processes as there are processors.

    Memory: the texts of a chunk in each process. Chunks are taken from their iterator as they are needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo: list[tuple[Chunk, str]] = []
    named = ((chunk, chunk.key(encoding)) for chunk in chunks)
    for chunk, key in named:
        if (ends := _finished(folder, key, encoding)) is not None:
            yield chunk, folder / f"{key}.ds", ends
            continue
        todo.append((chunk, key))
        if len(todo) > 1:
            yield from _in_processes(chain(todo, named), encoding, folder)
            return
    for chunk, key in todo:  # one alone: the tokenizer's own threads do
        encode(chunk, encoding, folder, key)
        yield chunk, folder / f"{key}.ds", _ends(folder, key)


def encode(chunk: Chunk, encoding: Encoding, folder: Path, key: str) -> None:
    """Encode one chunk and seal its files."""
    with disk_errors(folder), TemporaryDirectory(prefix=f".{key}-", dir=folder) as temporary:
        work = Path(temporary)
        ids, ends = _tokens(_texts(chunk.parts), encoding, work)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        sizes = (ends - starts)[chunk.entries]
        with (work / "sorted").open("wb") as stream:
            for block in np.array_split(chunk.entries, max(1, len(chunk.entries) // BATCH)):
                write_spans(stream, [(ids, starts[entry], ends[entry]) for entry in block.tolist()])
        np.cumsum(sizes).astype("<u8").tofile(work / "ends")
        for name in ("sorted", "ends"):
            sync(work / name)
        (work / "sorted").replace(folder / f"{key}.ds")
        (work / "ends").replace(folder / f"{key}.ends")
        sync(folder)


def write_spans(stream: BinaryIO, spans: Sequence[tuple[TokenIds, int, int]]) -> None:
    """Append the tokens of some spans (tokens, from, to) to a file."""
    if spans:
        np.concatenate([ids[start:end] for ids, start, end in spans]).tofile(stream)


def _texts(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        yield from read_table(part.path, ["text"])["text"].take(part.rows).to_pylist()


def _tokens(texts: Iterator[str], encoding: Encoding, work: Path) -> tuple[TokenIds, Places]:
    """The tokens of some texts as a memory map, and the ends of each."""
    step = DocumentTokenizer(
        str(work),
        str(encoding.tokenizer),
        eos_token=encoding.eos,
        batch_size=BATCH,
        shuffle_documents=False,
        save_final_metadata=False,
    )
    settings = step.tokenizer
    settings.encode_special_tokens = True  # a text that spells one out holds its letters, not the end of a text
    settings.no_truncation()
    settings.no_padding()  # a document's tokens depend on no other document
    step.run((Document(text=text, id=str(number)) for number, text in enumerate(texts)), rank=0, world_size=1)
    (path,) = work.glob("*.ds")
    return encoding.mapped(path), np.fromfile(f"{path}.index", dtype="<u8").astype(np.int64)


def _finished(folder: Path, key: str, encoding: Encoding) -> Places | None:
    """The ends of a chunk that is done, else None."""
    if not (folder / f"{key}.ends").is_file():
        return None
    ends, path = _ends(folder, key), folder / f"{key}.ds"
    whole = len(ends) and path.is_file() and path.stat().st_size == int(ends[-1]) * encoding.width
    return ends if whole else None


def _ends(folder: Path, key: str) -> Places:
    return np.fromfile(folder / f"{key}.ends", dtype="<u8").astype(np.int64)


def _in_processes(
    named: Iterator[tuple[Chunk, str]], encoding: Encoding, folder: Path
) -> Iterator[tuple[Chunk, Path, Places]]:
    """As `encoded`, of chunks with their keys; a few wait ahead of every process, the others are not planned yet."""
    processes = len(os.sched_getaffinity(0))
    running: dict[Future[None], tuple[Chunk, str]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin) as pool:
        try:
            while True:
                while len(running) < 2 * processes and (found := next(named, None)) is not None:
                    chunk, key = found
                    if (ends := _finished(folder, key, encoding)) is not None:
                        yield chunk, folder / f"{key}.ds", ends
                        continue
                    running[pool.submit(encode, chunk, encoding, folder, key)] = (chunk, key)
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    chunk, key = running.pop(future)
                    future.result()
                    yield chunk, folder / f"{key}.ds", _ends(folder, key)
        finally:
            for future in running:
                future.cancel()


def _begin() -> None:
    """In a new process: one thread to encode with, and an end with the process that started it, however that ends."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for_process([sentinel])
    os._exit(1)
