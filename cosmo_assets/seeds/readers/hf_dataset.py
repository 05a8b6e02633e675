"""Reader of Hugging Face data sets: saved on disk as Arrow, in the files of a snapshot, or streamed from the hub.

Belongs here: what `datasets` writes and the hub serves. Does not belong here: how a path names a data set of the hub
(`sources`), or Parquet, JSON Lines and CSV themselves (`records`).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cosmo_assets.seeds.readers.base import RECORD_OPTIONS, BadRow, Reader, Row, record
from cosmo_assets.seeds.readers.records import (
    BATCH_ROWS,
    arrow,
    csv_table,
    jsonl,
    needed_columns,
    parquet,
    require_columns,
)
from cosmo_resources.errors import CosmoError

HF_OPTIONS: Mapping[str, Any] = {**RECORD_OPTIONS, "config": "", "split": "train"}
"""The fields as for other records; `config` (that of the data set's own choice by default) and `split`."""

_COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
_BY_SUFFIX: dict[str, Reader] = {
    ".arrow": arrow,
    ".parquet": parquet,
    ".csv": csv_table,
    ".jsonl": jsonl,
    ".json": jsonl,
    ".ndjson": jsonl,
}


def hf_dataset(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """A data set on disk: the folder of `Dataset.save_to_disk` (or of `DatasetDict`'s, of which `split` is read), or a
    file of a hub repository's snapshot: Arrow, or Parquet, JSON Lines and CSV, which are read as by the readers of
    those names. No network is asked. A row of a folder has its place in the file that holds it.

    Raises:
        CosmoError: no such format, or a file of which nothing can be read.
    """
    fields = {name: value for name, value in options.items() if name in RECORD_OPTIONS}
    if path.is_dir():
        for file in _saved_files(path, {**HF_OPTIONS, **options}["split"]):
            yield from arrow(file, fields)
        return
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = next((item for item in reversed(suffixes) if item not in _COMPRESSED), "")
    if suffix not in _BY_SUFFIX:
        raise CosmoError(
            f"{path}: no format by its name",
            remedy=f"name the folder of a saved data set, or files of {', '.join(_BY_SUFFIX)}",
        )
    yield from _BY_SUFFIX[suffix](path, fields)


def hub_dataset(name: str, revision: str, options: Mapping[str, Any]) -> Iterator[Row]:
    """A data set of the hub at a commit, streamed by `datasets`: only what is read is fetched. A row's place is its
    number from 1.

    Raises:
        CosmoError: the hub cannot be reached, has no such data set, configuration or split, or breaks off. A row that
            was not fetched is no bad row: the source is read again another time.
    """
    chosen = {**HF_OPTIONS, **options}
    names = {option: chosen[option] for option in RECORD_OPTIONS}

    def needed(columns: list[str]) -> list[str]:
        require_columns(f"hub:{name}@{revision}", columns, names, options)
        return needed_columns(columns, names)

    for item in hub_rows(name, revision, chosen["config"], chosen["split"], needed):
        yield item if isinstance(item, BadRow) else record(*item, names)


def hub_rows(
    name: str, revision: str, config: str, split: str, choose: Callable[[list[str]], list[str]]
) -> Iterator[tuple[str, Any] | BadRow]:
    """The rows of one split of a data set of the hub at a commit, each with its place; where the hub tells the columns,
    those that `choose` takes. Without a `config`, the data set's own choice.

    Raises:
        CosmoError: as `hub_dataset`; or as `choose`.
    """
    rows = _guarded(f"hub:{name}@{revision}", lambda: _stream(name, revision, config, split, choose))
    number = 0
    for number, row in enumerate(rows, start=1):
        yield f"{name}:{number}", row
    if not number:
        yield BadRow(name, "empty_file", detail=f"no row in split {split}")


def _stream(
    name: str, revision: str, config: str, split: str, choose: Callable[[list[str]], list[str]]
) -> Iterator[Any]:
    import datasets
    from datasets.packaged_modules.parquet.parquet import Parquet

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it asks hosts that the recipe does not name
    builder = datasets.load_dataset_builder(name, config or None, revision=revision)
    stream = builder.as_streaming_dataset(split=split)
    columns = list(stream.features or [])
    if columns:
        columns = choose(columns)
        stream = stream.select_columns(columns)
    if isinstance(builder, Parquet):
        for file in builder.config.data_files[split]:
            yield from _parquet_rows(file, columns)
    else:
        yield from stream


def _parquet_rows(url: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file of the hub, a batch at a time. `datasets` itself reads it with threads of Arrow that
    call back into Python; where one still does when Python ends, the process is aborted."""
    from huggingface_hub import HfFileSystem

    with HfFileSystem().open(url, "rb") as stream, pq.ParquetFile(stream, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns or None, use_threads=False):
            yield from batch.to_pylist()


def _guarded(place: str, rows: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    count = 0
    try:
        for row in rows():
            count += 1
            yield row
    except CosmoError:
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:500]
        after = f" after {count} rows" if count else ""
        raise CosmoError(
            f"{place}: cannot be read{after}: {type(error).__name__}: {detail}",
            remedy="check name, commit, config and split, the network, HF_TOKEN for a gated data set, and that "
            "HF_HUB_OFFLINE is not set; or download the files and name them as the path",
        ) from error


def _saved_files(folder: Path, split: str) -> list[Path]:
    """The Arrow files of a saved data set, in their order."""
    if (folder / "dataset_dict.json").is_file():
        if not (folder / split / "state.json").is_file():
            splits = ", ".join(sorted(state.parent.name for state in folder.glob("*/state.json")))
            raise CosmoError(
                f"{folder}: no split {split!r}", remedy=f"set the source's option split to one of: {splits}"
            )
        folder = folder / split
    state = folder / "state.json"
    try:
        listed = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        return [folder / Path(item["filename"]).name for item in listed]
    except FileNotFoundError as error:
        raise CosmoError(
            f"{folder}: it is not what Dataset.save_to_disk writes: no state.json",
            remedy="name the data files of the folder instead, for example data/train-*.parquet",
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CosmoError(f"{state}: it cannot be read: {error}", remedy="save the data set again") from error
