"""The dataset card: what a stranger must know of the exported dataset, and what tools read of it.

Belongs here: the card's front matter, tables and wording. Does not belong here: the data files (`export`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import polars as pl
import pyarrow as pa
import yaml

from cosmo_assets.charts import human
from cosmo_assets.recipe import Recipe
from cosmo_assets.report.figures import falling, settings
from cosmo_assets.schemas import EXPORTED_DOCUMENTS, description
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL

DATA_FILES = "data/train-*.parquet"
"""The files of the dataset: the folder holds other parquet files, which are none of its rows."""

COUNTED = {"seed_data": "Source", "format": "Format", "audience": "Audience", "licence": "Licence"}
"""The columns by which the card counts documents and tokens."""

HUB_LICENCES = frozenset(
    ("apache-2.0", "mit", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0")
    + ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odc-by", "pddl", "gfdl", "unlicense")
)
"""Licences that the Hugging Face hub knows by these ids; any other is `other` to it."""

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
LARGE = "10M<n<100M"

TEXT = """\
---
{front}---

# {name}

{description}

A synthetic pretraining corpus: {documents:,} documents, {tokens}, written by a language model from prompts that stand
on seed texts. Every document names its prompt and its seed.

```python
from datasets import load_dataset

corpus = load_dataset("path/to/this/folder", split="train")
```

## Statistics

{statistics}

## Columns

{columns}

A document stands here once; `copies` says how often the mixture repeats it.

## How it was made

{generators}

{decontamination}

{parties}

## Where a text is from

`cosmo trace --shard 0 --token 12345` tells the document, prompt, template, topic, seed and model behind a token of the
shards. The other way, `cosmo tokens --doc DOC_ID`, or `--prompt` or `--seed` with the ids of a row, tells which tokens
come from it.

## Versions

{versions}

The versions of the buckets behind them are in `_manifest.json`.
"""


class Totals:
    """Documents and tokens by column and value, counted while the rows go by."""

    def __init__(self) -> None:
        self.rows = 0
        self.documents: dict[str, Counter[str]] = defaultdict(Counter)
        self.tokens: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        frame = pl.DataFrame(table.select([*COUNTED, "token_length"]))
        for column in COUNTED:
            for name, documents, tokens in frame.group_by(column).agg(pl.len(), pl.sum("token_length")).iter_rows():
                self.documents[column][name] += documents
                self.tokens[column][name] += tokens


def card(recipe: Recipe, totals: Totals, manifests: Sequence[Manifest], parties: Sequence[tuple[object, ...]]) -> str:
    """The card as Markdown. `manifests`: what the dataset was made from; `parties`: with whose work, as table rows."""
    external = {ref for item in manifests for ref in item.inputs if ref.asset.startswith(("sources/", "benchmarks/"))}
    refs = {item.ref() for item in manifests if item.bucket == ALL} | external
    makers = {
        (item.params["model"], item.params["revision"], settings(item.params["sampling"]))
        for item in manifests
        if item.asset == "generations"
    }
    return TEXT.format(
        front=yaml.safe_dump(_front(recipe, totals), sort_keys=False, allow_unicode=True),
        name=recipe.name,
        description=recipe.description,
        documents=totals.rows,
        tokens=human(sum(totals.tokens["seed_data"].values()), "tokens"),
        statistics="\n\n".join(_statistics(title, column, totals) for column, title in COUNTED.items()),
        columns=_table(("Column", "Type", "Meaning"), _columns()),
        generators=_table(("Model", "Revision", "Sampling"), sorted(makers)),
        decontamination=_decontamination(manifests),
        parties=_table(("Name", "Part", "Licence", "Attribution", "Homepage"), parties),
        versions=_table(("Input", "Version"), sorted((ref.asset, f"`{ref.version}`") for ref in refs)),
    )


def _front(recipe: Recipe, totals: Totals) -> dict[str, object]:
    licences = {name.lower().replace(" ", "-") for name in totals.documents["licence"]}
    return {
        "pretty_name": recipe.name,
        "license": sorted({name if name in HUB_LICENCES else "other" for name in licences}),
        "language": list(recipe.quality.languages),
        "task_categories": ["text-generation"],
        "size_categories": [next((size for limit, size in SIZES.items() if totals.rows < limit), LARGE)],
        "tags": ["synthetic", "pretraining", "cosmo"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILES}]}],
    }


def _statistics(title: str, column: str, totals: Totals) -> str:
    documents, tokens = totals.documents[column], totals.tokens[column]
    total = sum(tokens.values())
    rows = [(name, f"{documents[name]:,}", f"{count:,}", f"{count / total:.1%}") for name, count in falling(tokens)]
    return _table((title, "Documents", "Tokens", "Share of tokens"), rows)


def _columns() -> list[tuple[str, str, str]]:
    return [(f"`{column.name}`", str(column.type), description(column)) for column in EXPORTED_DOCUMENTS]


def _decontamination(manifests: Iterable[Manifest]) -> str:
    index = next(item for item in manifests if item.asset == "benchmark_index")
    return (
        f"No document is left that, or whose prompt, {'; or '.join(rule['says'] for rule in index.summary['rules'])}."
    )


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = (headers, ["---"] * len(headers), *rows)
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    """A value as a cell of a Markdown table: on one line, with what would end the cell or begin HTML escaped."""
    text = "" if value is None else " ".join(str(value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
