"""The exported dataset: the mixture's documents with their texts as parquet files, and a dataset card beside them.

Belongs here: the stage, and the files that `datasets.load_dataset` opens. Does not belong here: the card's wording
(`card`), tokens (`tokenized_shards`).
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_assets.ids import bucket_name
from cosmo_assets.report.card import DATA_FILES, Totals, card
from cosmo_assets.report.figures import described, parties
from cosmo_assets.schemas import CORPUS_EXPORT, EXPORTED_DOCUMENTS
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import COMPRESSION, write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
CARD = "README.md"
FILE_ROWS = 100_000
"""Documents in a file; the last file holds the rest."""

PROMPT_COLUMNS = ["prompt_id", "prompt", "format", "audience", "source", "topic", "licence", "template", "seed_id"]
GENERATION_COLUMNS = ["doc_id", "prompt_id", "text", "completion_tokens", "model"]
EXPORTED_AS = {"source": "seed_data", "completion_tokens": "token_length"}


def build(workspace: Workspace) -> Manifest:
    """Build `corpus_export`: parquet files under `data/` and `README.md`. Cost: linear in the texts; memory for one
    part file of generations and one bucket's prompts.

    Raises:
        CosmoError: a document of the mixture is not among the current generations and prompts.
    """
    recipe, store = workspace.recipe, workspace.store
    buckets = [bucket_name(index) for index in range(recipe.buckets)]
    seeds, prompts, mixture = (store.open(asset) for asset in ("seed_documents", "prompt_table", "mixture"))
    generations = {bucket: store.open("generations", bucket) for bucket in buckets}
    verdicts = [store.open("decontaminated", bucket) for bucket in buckets]
    datasets = (seeds, prompts, *generations.values(), store.open("benchmark_index"), *verdicts, mixture)

    def produce(writer: DatasetWriter) -> None:
        totals = Totals()
        _write_files(writer, workspace, _documents(generations, mixture, prompts), mixture.manifest.rows, totals)
        text = card(recipe, totals, [dataset.manifest for dataset in datasets], parties(recipe, seeds))
        writer.artifact(CARD, partial(write_text, text=text))

    return workspace.build(
        "corpus_export",
        produce,
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in datasets),
        params={**described(recipe), "languages": recipe.quality.languages, "file_rows": FILE_ROWS},
    )


def _write_files(
    writer: DatasetWriter, workspace: Workspace, tables: Iterable[pa.Table], expected: int, totals: Totals
) -> None:
    count = -(-expected // FILE_ROWS)
    rows = []
    for number, parts in groupby(_cut(tables), key=itemgetter(0)):
        before = totals.rows
        name = DATA_FILES.replace("*", f"{number:05d}-of-{count:05d}")
        writer.artifact(name, partial(_write, tables=map(itemgetter(1), parts), totals=totals))
        rows.append({"file": name, "split": "train", "rows": totals.rows - before})
        workspace.progress(totals.rows, expected, "documents")
    if totals.rows != expected:
        raise CosmoError(
            f"corpus_export: {expected - totals.rows} of the mixture's {expected} documents are not among the current "
            "generations and prompts",
            remedy="these were built again since the mixture was: run `cosmo run` to the end, so that it follows",
        )
    writer.write(pa.Table.from_pylist(rows, schema=CORPUS_EXPORT))
    writer.flow("documents", expected, totals.rows)
    writer.summary = {"files": len(rows), "tokens": sum(totals.tokens["seed_data"].values())}


def _documents(generations: Mapping[str, Dataset], mixture: Dataset, prompts: Dataset) -> Iterator[pa.Table]:
    """The mixture's documents in the order of their buckets and prompts, a table for each part file of generations."""
    for bucket, dataset in generations.items():
        chosen = pl.DataFrame(mixture.table(["doc_id", "copies"], bucket=bucket))
        known = pl.DataFrame(prompts.table(PROMPT_COLUMNS, bucket=bucket))
        for part in dataset.tables(GENERATION_COLUMNS):
            documents = pl.DataFrame(part).join(chosen, on="doc_id", maintain_order="left")
            joined = documents.join(known, on="prompt_id", maintain_order="left").rename(EXPORTED_AS)
            yield joined.select(EXPORTED_DOCUMENTS.names).to_arrow().cast(EXPORTED_DOCUMENTS)


def _cut(tables: Iterable[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    """The tables, cut where a file ends, each with the number of its file."""
    done = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            part = table.slice(start, FILE_ROWS - done % FILE_ROWS)
            yield done // FILE_ROWS, part
            start += part.num_rows
            done += part.num_rows


def _write(path: Path, tables: Iterable[pa.Table], totals: Totals) -> None:
    with pq.ParquetWriter(path, EXPORTED_DOCUMENTS, compression=COMPRESSION) as writer:
        for table in tables:
            writer.write_table(table)
            totals.add(table)
