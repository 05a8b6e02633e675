"""Weights of domains by DoReMi, beside a reference model that is trained first, and by DoGE, which needs none.

Belongs here: the trainings, and the weights that follow. Does not belong here: an update (`updates`), a step of the
training (`train`).

Both write weights.parquet (domain, weight), history.parquet (step, domain, excess or score, weight) and losses.parquet
(model, step, loss) into the folder, and answer the mean over the steps of the proxy's weights. The proxy sees each
domain equally often; what is trained already is not trained again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from cosmo_assets.proxy.launch import Progress, identity, rows_digest, train, write_run
from cosmo_assets.proxy.spec import RESULT, Doge, Doremi, Proxy, Shard, Spec
from cosmo_assets.proxy.tokens import examined
from cosmo_assets.proxy.updates import ETA, MU, SMOOTHING
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import write_parquet

Domains = Mapping[str, Sequence[Path]]

_NO_ROWS = {name: np.empty(0, np.int64) for name in ("tokens", "ends", "given")}


def doremi(
    folder: Path,
    domains: Domains,
    proxy: Proxy,
    python: str,
    *,
    seed: int = 0,
    eta: float = ETA,
    smoothing: float = SMOOTHING,
    progress: Progress = lambda done, total: None,
) -> dict[str, float]:
    """The weights of domains by DoReMi (Xie et al. 2023). Reference and proxy are of one size.

    Raises:
        CosmoError: fewer than two domains, tokens that do not go together, a training that failed.
    """
    spec, _ = _spec(domains, proxy, seed)
    reference = write_run(folder, "reference", spec, _NO_ROWS)
    by = Doremi(reference=reference.absolute(), digest=identity(spec), eta=eta, smoothing=smoothing)
    weighed = write_run(folder, "proxy", spec.model_copy(update={"weighing": by}), _NO_ROWS)
    train(folder, [reference, weighed], proxy.steps, python, progress)
    return _weights(folder, [*domains], by.signal, {"reference": reference, "proxy": weighed})


def doge(
    folder: Path,
    domains: Domains,
    proxy: Proxy,
    python: str,
    *,
    seed: int = 0,
    mu: float = MU,
    target: Sequence[Path] = (),
    progress: Progress = lambda done, total: None,
) -> dict[str, float]:
    """The weights of domains by DoGE (Fan et al. 2024), each by what a step on it is worth to the others; or to the
    target, where shards of one are given (there: out-of-domain generalization), which is not trained on.

    Raises:
        CosmoError: fewer than two domains, tokens that do not go together, a target that is part of a domain, a
            training that failed.
    """
    spec, digests = _spec(domains, proxy, seed, target)
    shards = tuple(Shard(path=path.absolute(), digest=digests[path]) for path in target)
    trained = {shard.digest for shard in spec.shards}
    if known := [shard.path for shard in shards if shard.digest in trained]:
        raise CosmoError(
            f"{known[0]}: a domain has this shard of the target", remedy="name shards as the target that no domain has"
        )
    by = Doge(mu=mu, target=shards)
    weighed = write_run(folder, "proxy", spec.model_copy(update={"weighing": by}), _NO_ROWS)
    train(folder, [weighed], proxy.steps, python, progress)
    return _weights(folder, [*domains], by.signal, {"proxy": weighed})


def _spec(domains: Domains, proxy: Proxy, seed: int, target: Sequence[Path] = ()) -> tuple[Spec, Mapping[Path, str]]:
    """A training on equal shares of the domains; the digests of all shards, of a target as well."""
    if len(domains) < 2:
        raise CosmoError("one domain has nothing to weigh against", remedy="name two domains (--domain) or more")
    found = examined([*(shard for shards in domains.values() for shard in shards), *target])
    spec = Spec(
        proxy=proxy,
        shards=tuple(
            Shard(path=path.absolute(), digest=found.digests[path], domain=number)
            for number, paths in enumerate(domains.values())
            for path in paths
        ),
        token_bytes=found.token_bytes,
        vocabulary=found.vocabulary,
        even=True,
        rows=rows_digest(_NO_ROWS),
        seed=seed,
    )
    return spec, found.digests


def _weights(folder: Path, names: list[str], signal: str, runs: Mapping[str, Path]) -> dict[str, float]:
    """The answer of finished trainings, the last of which weighed, and its tables."""
    results = {}
    for model, run in runs.items():
        with np.load(run / RESULT) as arrays:
            results[model] = dict(arrays)
    by_step = results["proxy"]["weights"]
    steps = np.arange(1, len(by_step) + 1)
    weights = dict(zip(names, by_step.mean(axis=0).tolist(), strict=True))
    history = {
        "step": np.repeat(steps, len(names)),
        "domain": names * len(steps),
        signal: results["proxy"][signal].ravel(),
        "weight": by_step.ravel(),
    }
    losses = {
        "model": np.repeat([*results], len(steps)),
        "step": np.tile(steps, len(results)),
        "loss": np.concatenate([of_model["losses"] for of_model in results.values()]),
    }
    write_parquet(folder / "history.parquet", pa.table(history))
    write_parquet(folder / "losses.parquet", pa.table(losses))
    write_parquet(folder / "weights.parquet", pa.table({"domain": names, "weight": [*weights.values()]}))
    return weights
