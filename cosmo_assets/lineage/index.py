"""The token index: for every span of tokens the document, prompt, template, topic, seed, source and model behind it.

Belongs here: building the index. Does not belong here: asking it (`trace`).
"""

from collections import Counter

import polars as pl

from cosmo_assets.schemas import PROMPT_TABLE, TOKEN_LINEAGE
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization.shards import mixture_buckets
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"


def build(workspace: Workspace) -> Manifest:
    """Build `token_lineage`. Cost: joins over the spans; memory for the spans and the prompts' ids.

    Raises:
        CosmoError: a span has no prompt, so that a token could not be traced.
    """
    store = workspace.store
    shards, mixture, prompts = (store.open(asset) for asset in ("tokenized_shards", "mixture", "prompt_table"))
    generations = [store.open("generations", bucket) for bucket in mixture_buckets(mixture)]
    return workspace.build(
        "token_lineage",
        lambda writer: _produce(writer, shards, mixture, generations, prompts),
        stage_version=STAGE_VERSION,
        inputs=(shards.ref(), mixture.ref(), *(dataset.ref() for dataset in generations), prompts.ref()),
        params={},
    )


def _produce(
    writer: DatasetWriter, shards: Dataset, mixture: Dataset, generations: list[Dataset], prompts: Dataset
) -> None:
    spans = _frame(shards, ["shard", "start", "end", "doc_id", "copy"])
    documents = pl.concat(
        [_frame(dataset, ["doc_id", "prompt_id", "model", "model_revision", "sampling"]) for dataset in generations]
    )
    columns = [name for name in TOKEN_LINEAGE.names if name in set(PROMPT_TABLE.names) - {"bucket"}]
    joined = (
        spans.join(_frame(mixture, ["doc_id", "bucket"]), on="doc_id", how="left", maintain_order="left")
        .join(documents, on="doc_id", how="left", maintain_order="left")
        .join(_frame(prompts, columns), on="prompt_id", how="left", maintain_order="left")
        .select(TOKEN_LINEAGE.names)
    )
    lost = joined.filter(pl.col("seed_id").is_null() | pl.col("bucket").is_null())
    if lost.height:
        raise CosmoError(
            f"{lost.height} token spans have no prompt, the first is {lost.row(0)[:4]}",
            remedy="the shards were built from other generations than the current ones: run `cosmo run` to the end",
        )
    writer.write(joined.to_arrow())
    writer.flow("spans", shards.manifest.flow.rows_out, joined.height)
    tokens: dict[str, Counter[str]] = {
        name: Counter() for name in ("source", "topic", "template", "audience", "format", "licence")
    }
    for name, counter in tokens.items():
        totals = joined.group_by(name).agg((pl.col("end") - pl.col("start")).sum().alias("tokens"))
        counter.update({"(none)" if key is None else str(key): int(value) for key, value in totals.iter_rows()})
    writer.summary = {
        "tokens": int((joined["end"] - joined["start"]).sum()),
        "documents": joined["doc_id"].n_unique(),
        "seeds": joined["seed_id"].n_unique(),
        "by": {name: dict(sorted(counter.items())) for name, counter in tokens.items()},
    }


def _frame(dataset: Dataset, columns: list[str]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(dataset.table(columns)))
