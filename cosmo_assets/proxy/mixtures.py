"""Trainings on drawn mixtures of domains, as the table that `cosmo weights` answers from.

Belongs here: which mixtures there are, their trainings, the table. Does not belong here: a training (`train`), which
weights follow from the table (`cosmo_assets.composition`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.composition.runs import LOSS, WEIGHT
from cosmo_assets.proxy.launch import Progress, rows_digest, train, write_run
from cosmo_assets.proxy.rows import Rows
from cosmo_assets.proxy.scoring import Array
from cosmo_assets.proxy.spec import RESULT, Proxy, Shard, Spec
from cosmo_assets.proxy.tokens import examined
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import write_parquet

TABLE = "runs.parquet"
DIGITS = 4
"""Of a weight."""


def drawn(count: int, domains: int, seed: int) -> Array:
    """Mixtures from the uniform distribution over all (a Dirichlet of ones, as RegMix has around the token shares; Liu
    et al. 2024), rounded: count x domains, each row sums to 1."""
    draws = np.random.default_rng([seed, 7]).dirichlet(np.ones(domains), count).round(DIGITS)
    draws[np.arange(count), draws.argmax(axis=1)] += 1 - draws.sum(axis=1)
    return np.asarray(draws.round(DIGITS))


def train_mixtures(
    folder: Path,
    domains: Mapping[str, Sequence[Path]],
    held_out: Mapping[str, Sequence[Path]],
    proxy: Proxy,
    python: str,
    *,
    count: int,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Train a proxy on each of some mixtures, each with a seed of its own, and write the table of `cosmo weights`
    into the folder: weight.DOMAIN, and as loss.TARGET the bits per byte of each held-out domain.

    What is trained already is not trained again; more mixtures go on from fewer.

    Raises:
        CosmoError: fewer than two domains, no held-out text, tokens that do not go together, a training that failed.
    """
    if len(domains) < 2 or not held_out:
        raise CosmoError(
            f"{len(domains)} domains and {len(held_out)} held-out domains give no weights",
            remedy="name two domains (--domain) or more, and text to score (--held-out)",
        )
    found = examined(shard for shards in [*domains.values(), *held_out.values()] for shard in shards)
    rows = Rows([], held_out, found.tokenizer, found.eos, proxy.sequence)
    arrays, mixtures = rows.arrays(), drawn(count, len(domains), seed)
    shards = tuple(
        Shard(path=path.absolute(), digest=found.digests[path], domain=number)
        for number, paths in enumerate(domains.values())
        for path in paths
    )
    runs = []
    for number, weights in enumerate(mixtures):
        spec = Spec(
            proxy=proxy,
            shards=shards,
            token_bytes=found.token_bytes,
            vocabulary=found.vocabulary,
            weights=tuple(weights.tolist()),
            rows=rows_digest(arrays),
            seed=seed + number,
        )
        runs.append(write_run(folder, "mixture", spec, arrays))
    train(folder, runs, proxy.steps, python, progress)
    table: list[dict[str, Any]] = []
    for weights, run in zip(mixtures, runs, strict=True):
        with np.load(run / RESULT) as result:
            texts = rows.held_out(result["log_likelihoods"])
        shares = {f"{WEIGHT}{name}": float(weight) for name, weight in zip(domains, weights, strict=True)}
        losses = {f"{LOSS}{name}": float(np.average(of.bits_per_byte, weights=of.sizes)) for name, of in texts.items()}
        table.append({**shares, **losses})
    write_parquet(folder / TABLE, pa.Table.from_pylist(table))
    return folder / TABLE
