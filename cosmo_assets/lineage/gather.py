"""The documents of the corpus with what they come from, gathered bucket by bucket.

Belongs here: joining mixture, texts and prompts, and numbering the profiles. Does not belong here: how the index
lies on disk (`arrays`), or where documents stand in the shards (`index`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from cosmo_assets.ids import Numbers
from cosmo_assets.lineage.arrays import halves
from cosmo_assets.real.texts import REAL
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import Dataset

FacetKey = Literal[
    "source",
    "licence",
    "topic",
    "cluster_id",
    "template",
    "template_version",
    "audience",
    "format",
    "model",
    "model_revision",
    "sampling",
]
FACETS: tuple[FacetKey, ...] = get_args(FacetKey)
"""What a document is asked for by beside ids. Documents that agree in all of them have the same profile."""

PROMPT_FACETS = FACETS[: FACETS.index("model")]
GENERATION_FACETS = FACETS[FACETS.index("model") :]
REAL_FACETS: tuple[FacetKey, ...] = ("source", "licence")
"""What a real document has of them; of the others, nothing."""

Profile = tuple[str | int | None, ...]
"""The values of `FACETS`, in order."""

Counts = npt.NDArray[np.uint32]


@dataclass
class Documents:
    """The documents of the mixture, in no order: ids (n x 2), and u32 for each the number of its profile, and its row
    and its prompt's row in the datasets, counted over all parts (of texts, over all buckets). A document that is `real`
    has no prompt and no seed.

    Memory: 61 bytes a document, beside the profiles."""

    ids: Numbers
    prompts: Numbers
    seeds: Numbers
    profile: Counts
    row: Counts
    prompt_row: Counts
    real: npt.NDArray[np.bool_]
    profiles: list[Profile]


def gather(mixture: Dataset, texts: Mapping[str, Dataset], prompts: Dataset) -> Documents:
    """The documents of the mixture, joined a bucket at a time.

    Raises:
        CosmoError: a document has no text, or a generated one no prompt.
    """
    count = mixture.manifest.rows
    ids, prompt_ids, seeds = (np.zeros((count, 2), np.uint64) for _ in range(3))
    profile, row, prompt_row = (np.zeros(count, np.uint32) for _ in range(3))
    found = Documents(ids, prompt_ids, seeds, profile, row, prompt_row, np.zeros(count, np.bool_), [])
    numbers: dict[Profile, int] = {}
    end = 0
    for bucket, start, dataset in starting(texts):
        documents = _frame(mixture, ["doc_id"], bucket)
        joined = (
            _real(documents, dataset, start)
            if bucket == REAL
            else _generated(documents, dataset, start, prompts, bucket)
        )
        asset_of = {"row": dataset.manifest.asset, **({} if bucket == REAL else {"prompt_row": "prompt_table"})}
        for column, asset in asset_of.items():
            lost = joined.filter(pl.col(column).is_null())
            if lost.height:
                raise CosmoError(
                    f"document {lost['doc_id'][0]} of the mixture (and {lost.height - 1} more of bucket {bucket}) is "
                    f"not among the current {asset}",
                    remedy="the mixture was made of other ones: run `cosmo run` to the end",
                )
        start, end = end, end + joined.height
        profiles = joined.select(FACETS).unique()
        codes = [numbers.setdefault(row, len(numbers)) for row in profiles.iter_rows()]
        coded = profiles.with_columns(profile=pl.Series(codes, dtype=pl.UInt32))
        joined = joined.join(coded, on=FACETS, how="left", nulls_equal=True, maintain_order="left")
        found.real[start:end] = bucket == REAL
        names = {"ids": ("doc_id", "mixture")}
        if bucket != REAL:
            names |= {"prompts": ("prompt_id", "generations"), "seeds": ("seed_id", "prompt_table")}
        for name, (column, asset) in names.items():
            getattr(found, name)[start:end] = halves(joined[column].to_arrow(), asset)
        for name in ("profile", *asset_of):
            getattr(found, name)[start:end] = joined[name].to_numpy()
    if end != count:
        raise CosmoError(
            f"{count - end} documents of the mixture are in buckets that have no texts",
            remedy="run `cosmo run` to the end",
        )
    _sort_profiles(found, numbers)
    return found


def _generated(documents: pl.DataFrame, dataset: Dataset, start: int, prompts: Dataset, bucket: str) -> pl.DataFrame:
    """Documents of a bucket with their generation, whose rows are counted from `start`, and their prompt."""
    written = _frame(dataset, ["doc_id", "prompt_id", *GENERATION_FACETS]).with_row_index("row", start)
    asked = _frame(prompts, ["prompt_id", "seed_id", *PROMPT_FACETS], bucket)
    asked = asked.with_row_index("prompt_row", _rows_before(prompts, bucket))
    return documents.join(written, on="doc_id", how="left").join(asked, on="prompt_id", how="left")


def _real(documents: pl.DataFrame, dataset: Dataset, start: int) -> pl.DataFrame:
    """Real documents with what is known of them."""
    read = _frame(dataset, ["doc_id", *REAL_FACETS]).with_row_index("row", start)
    types = {name: pl.Int64 if name == "cluster_id" else pl.String for name in FACETS if name not in REAL_FACETS}
    nothing = [pl.lit(None, kind).alias(name) for name, kind in types.items()]
    return documents.join(read, on="doc_id", how="left").with_columns(nothing)


def starting(texts: Mapping[str, Dataset]) -> Iterator[tuple[str, int, Dataset]]:
    """The buckets, each with the number of its first row when the rows of all are counted."""
    start = 0
    for bucket, dataset in texts.items():
        yield bucket, start, dataset
        start += dataset.manifest.rows


def _sort_profiles(found: Documents, numbers: Mapping[Profile, int]) -> None:
    """Number the profiles by their values, so that the order in which they were met does not show."""
    found.profiles = sorted(numbers, key=lambda profile: [(value is not None, str(value)) for value in profile])
    place = np.empty(len(numbers), np.uint32)
    place[[numbers[profile] for profile in found.profiles]] = np.arange(len(numbers))
    found.profile = place[found.profile]


def _rows_before(dataset: Dataset, bucket: str) -> int:
    """How many rows stand before those of a bucket. Its parts stand together."""
    rows = 0
    for entry in dataset.manifest.files:
        if entry.role == "rows":
            if entry.bucket == bucket:
                return rows
            rows += entry.rows
    return rows


def _frame(dataset: Dataset, columns: list[str], bucket: str | None = None) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(dataset.table(columns, bucket=bucket)))
