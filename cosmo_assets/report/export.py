"""The exported dataset: the mixture's documents with their texts as parquet files, and a dataset card beside them.

Belongs here: the stage, and the files that `datasets.load_dataset` opens. Does not belong here: the card's wording
(`card`), tokens (`tokenized_shards`), sending it anywhere (`push`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmo_assets.ids import bucket_name
from cosmo_assets.real.texts import REAL, texts_of
from cosmo_assets.report.card import Totals, card, charts, config_of, data_files
from cosmo_assets.report.figures import described, parties
from cosmo_assets.schemas.corpus import CORPUS_EXPORT, EXPORTED_DOCUMENTS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import COMPRESSION, write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "3"
CARD = "README.md"
PROVENANCE = "provenance.json"
FILE_ROWS = 100_000
"""Documents in a file; the last file of a source holds the rest."""

PROMPT_COLUMNS = ["prompt_id", "prompt", "format", "audience", "source", "topic", "licence", "template", "seed_id"]
GENERATION_COLUMNS = ["doc_id", "prompt_id", "text", "completion_tokens", "model"]
EXPORTED_AS = {"source": "seed_data", "completion_tokens": "token_length"}


def build(workspace: Workspace) -> Manifest:
    """Build `corpus_export`: parquet files under `data/`, in a folder for each source, `README.md`, the charts that it
    shows, and `provenance.json`. Cost: linear in the texts; memory for one part file of generations, one bucket's
    prompts, and what a parquet writer holds back for each source.

    Raises:
        CosmoError: a document of the mixture is not among the current texts and prompts.
    """
    recipe, store = workspace.recipe, workspace.store
    buckets = [bucket_name(index) for index in range(recipe.buckets)]
    seeds, prompts, mixture = (store.open(asset) for asset in ("seed_documents", "prompt_table", "mixture"))
    texts = texts_of(store, mixture)
    verdicts = [store.open("decontaminated", bucket) for bucket in buckets]
    datasets = (seeds, prompts, *texts.values(), store.open("benchmark_index"), *verdicts, mixture)

    def produce(writer: DatasetWriter) -> None:
        totals, manifests = Totals(), [dataset.manifest for dataset in datasets]
        expected = Counter[str]()
        for table in mixture.tables(["source"]):
            expected.update(table["source"].to_pylist())
        _write_files(writer, workspace, _documents(texts, mixture, prompts), expected, totals)
        for name, svg in charts(totals).items():
            writer.artifact(name, partial(write_text, text=svg))
        writer.artifact(PROVENANCE, partial(write_text, text=_provenance(manifests)))
        text = card(recipe, totals, manifests, parties(recipe, seeds, texts.get(REAL)))
        writer.artifact(CARD, partial(write_text, text=text))

    return workspace.build(
        "corpus_export",
        produce,
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in datasets),
        params={**described(recipe), "languages": recipe.quality.languages, "file_rows": FILE_ROWS},
    )


def _write_files(
    writer: DatasetWriter,
    workspace: Workspace,
    tables: Iterable[pa.Table],
    expected: Mapping[str, int],
    totals: Totals,
) -> None:
    """The data files, a run of them for each source: the rows of a source go to its open file, until that is full."""
    total = sum(expected.values())
    files = {source: _SourceFiles(writer, source, rows) for source, rows in sorted(expected.items())}
    for table in tables:
        for source, own in files.items():
            own.write(table.filter(pc.equal(table["seed_data"], source)))
        totals.add(table)
        workspace.progress(totals.rows, total, "documents")
    if totals.rows != total:
        raise CosmoError(
            f"corpus_export: {total - totals.rows} of the mixture's {total} documents are not among the current "
            "texts and prompts",
            remedy="these were built again since the mixture was: run `cosmo run` to the end, so that it follows",
        )
    rows = [row for own in files.values() for row in own.finish()]
    writer.write(pa.Table.from_pylist(rows, schema=CORPUS_EXPORT))
    writer.flow("documents", total, totals.rows)
    writer.summary = {"files": len(rows), "tokens": sum(totals.tokens["seed_data"].values())}


class _SourceFiles:
    """The files of one source, `train-00000-of-00002.parquet` and so on: how many there will be is known before."""

    def __init__(self, writer: DatasetWriter, source: str, expected: int) -> None:
        self._writer = writer
        self._config = config_of(source)
        self._pattern = data_files(self._config)
        self._count = -(-expected // FILE_ROWS)
        self._rows: list[dict[str, Any]] = []
        self._open: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        start = 0
        while start < table.num_rows:
            if self._open is None:
                name = self._pattern.replace("*", f"{len(self._rows):05d}-of-{self._count:05d}")
                path = self._writer.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                self._open = pq.ParquetWriter(path, EXPORTED_DOCUMENTS, compression=COMPRESSION)
                self._rows.append({"file": name, "config": self._config, "split": "train", "rows": 0})
            part = table.slice(start, FILE_ROWS - self._rows[-1]["rows"])
            self._open.write_table(part)
            self._rows[-1]["rows"] += part.num_rows
            start += part.num_rows
            if self._rows[-1]["rows"] == FILE_ROWS:
                self._close()

    def finish(self) -> Sequence[dict[str, Any]]:
        """Close the last file and take all into the version: their rows of the table."""
        self._close()
        for row in self._rows:
            self._writer.artifact(row["file"], lambda path: None)  # it is written already
        return self._rows

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _provenance(manifests: Sequence[Manifest]) -> str:
    """What the dataset was made of: every input by asset, bucket and version, with how it was made, and with what those
    were made of that comes from outside."""
    made = [
        {
            "asset": item.asset,
            "bucket": item.bucket,
            "version": item.version,
            "stage_version": item.stage_version,
            "params": item.params,
            "inputs": [ref.model_dump() for ref in item.inputs],
        }
        for item in manifests
    ]
    return json.dumps({"inputs": made}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _documents(texts: Mapping[str, Dataset], mixture: Dataset, prompts: Dataset) -> Iterator[pa.Table]:
    """The mixture's documents in the order of their buckets and prompts, a table for each part file of texts."""
    for bucket, dataset in texts.items():
        chosen = pl.DataFrame(mixture.table(["doc_id", "copies", "stage_copies", "tokens"], bucket=bucket))
        if bucket == REAL:
            for part in dataset.tables(["doc_id", "text", "source", "licence"]):
                found = pl.DataFrame(part).join(chosen, on="doc_id", maintain_order="left")
                found = found.rename({"source": "seed_data", "tokens": "token_length"})
                yield from _exported(found)
            continue
        known = pl.DataFrame(prompts.table(PROMPT_COLUMNS, bucket=bucket))
        for part in dataset.tables(GENERATION_COLUMNS):
            documents = pl.DataFrame(part).join(chosen, on="doc_id", maintain_order="left")
            joined = documents.join(known, on="prompt_id", maintain_order="left").rename(EXPORTED_AS)
            yield from _exported(joined)


def _exported(documents: pl.DataFrame) -> Iterator[pa.Table]:
    """Documents with the columns of the export; what they do not have is null."""
    missing = [
        pl.lit(None, pl.String).alias(name) for name in EXPORTED_DOCUMENTS.names if name not in documents.columns
    ]
    yield documents.with_columns(missing).select(EXPORTED_DOCUMENTS.names).to_arrow().cast(EXPORTED_DOCUMENTS)
