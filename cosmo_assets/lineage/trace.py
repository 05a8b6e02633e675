"""Asking the token index: from a token to its whole chain, and from a prompt, seed, topic, ... to its tokens.

Belongs here: the two queries and the reading of what they point at. Does not belong here: printing
(`cosmo_assets.cli`).
"""

from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.tokenizers import load_tokenizer

Key = Literal["prompt_id", "seed_id", "doc_id", "source", "topic", "template", "model", "licence"]


@dataclass(frozen=True)
class Trace:
    """Everything behind one token. `token_text` is what the document's tokens decode to, read from the shard;
    `document`, `prompt` and `seed` are the rows themselves."""

    shard: str
    token: int
    token_id: int
    span: dict[str, Any]
    token_text: str
    document: dict[str, Any]
    prompt: dict[str, Any]
    seed: dict[str, Any]
    manifests: dict[str, str]
    run_id: str


def trace(store: CorpusStore, shard: str, token: int) -> Trace:
    """The chain behind the token at position `token` of a shard (its name, or its number).

    Raises:
        CosmoError: there is no such shard or token.
    """
    shards, index = store.open("tokenized_shards"), store.open("token_lineage")
    name = f"shard-{int(shard):05d}.ds" if shard.isdigit() else shard
    frame = _scan(index).filter((pl.col("shard") == name) & (pl.col("start") <= token) & (pl.col("end") > token))
    rows = frame.collect().to_dicts()
    if not rows:
        sizes = ", ".join(f"{known} ({size} tokens)" for known, size in shards.manifest.summary["shards"])
        raise CosmoError(f"no token {token} in {name}", remedy=f"the shards are {sizes}")
    (span,) = rows
    tokens = map_shard(shards.folder / name)
    ids = tokens[span["start"] : span["end"] - 1].tolist()
    tokenizer = load_tokenizer(str(shards.folder / TOKENIZER_NAME)).tokenizer
    generations = store.open("generations", span["bucket"])
    prompts, seeds = store.open("prompt_table"), store.open("seed_documents")
    return Trace(
        shard=name,
        token=token,
        token_id=int(tokens[token]),
        span=span,
        token_text=tokenizer.decode(ids, skip_special_tokens=False),
        document=_row(generations, "doc_id", span["doc_id"]),
        prompt=_row(prompts, "prompt_id", span["prompt_id"]),
        seed=_row(seeds, "seed_id", span["seed_id"]),
        manifests={
            asset: dataset.manifest.version
            for asset, dataset in (
                ("seed_documents", seeds),
                ("prompt_table", prompts),
                ("generations", generations),
                ("tokenized_shards", shards),
            )
        },
        run_id=str(generations.manifest.run.get("run_id", "")),
    )


def tokens(store: CorpusStore, key: Key, value: str) -> pl.DataFrame:
    """The token spans that come from something: shard, start, end, doc_id, prompt_id, sorted by place.

    An id may be abbreviated to its first characters.
    """
    match = pl.col(key).str.starts_with(value) if key.endswith("_id") else pl.col(key) == value
    columns = ["shard", "start", "end", "doc_id", "prompt_id"]
    return _scan(store.open("token_lineage")).filter(match).select(columns).sort("shard", "start").collect()


def _scan(dataset: Dataset) -> pl.LazyFrame:
    return pl.scan_parquet(dataset.paths(), hive_partitioning=False)


def _row(dataset: Dataset, key: str, value: str) -> dict[str, Any]:
    rows = _scan(dataset).filter(pl.col(key) == value).collect().to_dicts()
    if not rows:
        raise CosmoError(
            f"{dataset.manifest.asset} has no row {key} = {value}: it was built again since the shards were",
            remedy="run `cosmo run` to the end, so that the shards follow",
        )
    return dict(rows[0])
