"""The dataset card: what a stranger must know of the exported dataset, and what tools read of it.

Belongs here: the card's front matter, tables and wording. Does not belong here: the data files (`export`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import polars as pl
import pyarrow as pa
import yaml

from cosmo_assets.charts.bars import bars
from cosmo_assets.charts.curves import histogram
from cosmo_assets.charts.drawing import human
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.report.figures import falling, settings
from cosmo_assets.schemas.columns import description
from cosmo_assets.schemas.corpus import EXPORTED_DOCUMENTS
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL

CHARTS = "charts"

COUNTED = {"seed_data": "Source", "format": "Format", "audience": "Audience", "licence": "Licence"}
"""The columns by which the card counts documents and tokens."""

REAL = "(real document)"
"""Format and audience of a real document."""

PICTURED = ("seed_data", "format", "audience")
BIN = 100
"""Tokens."""

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
on seed texts. Every document names its prompt and its seed.{real}

```python
from datasets import load_dataset

corpus = load_dataset("path/to/this/folder", split="train")
{one} = load_dataset("path/to/this/folder", "{one}", split="train")
```

The configuration `default` is all of it; each other one has the documents on the seeds of one source.

## Statistics

{pictures}

{statistics}

## Columns

{columns}

A document stands here once; `copies` says how often the mixture repeats it.

## How it was made

{generators}

{decontamination}

## Licences

{licences}

Whose work the corpus is made with:

{parties}

## Where a text is from

`cosmo trace --shard 0 --token 12345` tells the document, prompt, template, topic, seed and model behind a token of the
shards. The other way, `cosmo tokens --doc DOC_ID`, or `--prompt` or `--seed` with the ids of a row, tells which tokens
come from it.

## Versions

{versions}

`provenance.json` has every input with its buckets, its parameters, and what it was made of itself.
"""


class Totals:
    """Documents and tokens by column and value, counted while the rows go by."""

    def __init__(self) -> None:
        self.rows = 0
        self.real = 0
        """Documents without a prompt."""
        self.documents: dict[str, Counter[str]] = defaultdict(Counter)
        self.tokens: dict[str, Counter[str]] = defaultdict(Counter)
        self.sources: dict[str, set[str]] = defaultdict(set)
        """The sources whose seeds have a licence."""
        self.lengths: Counter[int] = Counter()
        """Documents by length, in bins of `BIN` tokens."""

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        frame = pl.DataFrame(table.select([*COUNTED, "token_length"])).with_columns(pl.col(*COUNTED).fill_null(REAL))
        self.real += table["prompt_id"].null_count
        for column in COUNTED:
            for name, documents, tokens in frame.group_by(column).agg(pl.len(), pl.sum("token_length")).iter_rows():
                self.documents[column][name] += documents
                self.tokens[column][name] += tokens
        for licence, source in frame.select("licence", "seed_data").unique().iter_rows():
            self.sources[licence].add(source)
        self.lengths.update(dict(frame.group_by(pl.col("token_length") // BIN).agg(pl.len()).iter_rows()))


def config_of(source: str) -> str:
    """The configuration that holds a source's documents; that of all is called `default`."""
    return f"source_{source}" if source == "default" else source


def data_files(config: str) -> str:
    """The files of a configuration, as a pattern: the folder holds other parquet files, which are none of its rows."""
    return f"data/{config}/train-*.parquet"


def charts(totals: Totals) -> dict[str, str]:
    """The pictures of the card as SVG, by the names of their files."""
    found = {column: bars(f"Tokens by {column_title(column)}", falling(totals.tokens[column])) for column in PICTURED}
    lengths = [(float(number * BIN), totals.lengths[number]) for number in sorted(totals.lengths)]
    found["length"] = histogram("Length of the documents", lengths, unit="tokens")
    return {f"{CHARTS}/{name}.svg": svg for name, svg in found.items()}


def column_title(column: str) -> str:
    return COUNTED[column].lower()


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
        real=f" {totals.real:,} of them are real ones, mixed in: they have no prompt." if totals.real else "",
        one=config_of(falling(totals.tokens["seed_data"])[0][0]),
        pictures="\n\n".join(_pictures(totals)),
        statistics="\n\n".join(
            _statistics(title, column, totals) for column, title in COUNTED.items() if column != "licence"
        ),
        licences=_licences(totals),
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
        "configs": [
            _config("default", "*"),
            *(_config(name, name) for name in sorted(map(config_of, totals.tokens["seed_data"]))),
        ],
    }


def _config(name: str, folder: str) -> dict[str, object]:
    return {"config_name": name, "data_files": [{"split": "train", "path": data_files(folder)}]}


def _pictures(totals: Totals) -> list[str]:
    total = human(sum(totals.tokens["seed_data"].values()), "tokens")
    said = {
        f"{CHARTS}/{column}.svg": f"Bar chart: the {total} by the {column_title(column)} of their documents"
        for column in PICTURED
    }
    said[f"{CHARTS}/length.svg"] = f"Histogram: the {totals.rows:,} documents of the corpus by their length in tokens"
    return [f"![{words}]({name})" for name, words in said.items()]


def _licences(totals: Totals) -> str:
    documents, tokens = totals.documents["licence"], totals.tokens["licence"]
    total = sum(tokens.values()) or 1
    rows = [
        (name, ", ".join(sorted(totals.sources[name])), f"{documents[name]:,}", f"{count:,}", f"{count / total:.1%}")
        for name, count in falling(tokens)
    ]
    return _table(("Licence", "Sources", "Documents", "Tokens", "Share of tokens"), rows)


def _statistics(title: str, column: str, totals: Totals) -> str:
    documents, tokens = totals.documents[column], totals.tokens[column]
    total = sum(tokens.values()) or 1
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
