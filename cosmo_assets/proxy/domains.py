"""Weights of domains by DoReMi: a reference model, then a proxy beside it whose domains are weighted anew at each step.

Belongs here: the two trainings, and the weights that follow. Does not belong here: an update (`updates`), a step of the
training (`train`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cosmo_assets.proxy.launch import Progress, identity, rows_digest, train, write_run
from cosmo_assets.proxy.spec import RESULT, Doremi, Proxy, Shard, Spec
from cosmo_assets.proxy.tokens import examined
from cosmo_assets.proxy.updates import ETA, SMOOTHING
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import write_parquet

_NO_ROWS = {name: np.empty(0, np.int64) for name in ("tokens", "ends", "given")}


def doremi(
    folder: Path,
    domains: Mapping[str, Sequence[Path]],
    proxy: Proxy,
    python: str,
    *,
    seed: int = 0,
    eta: float = ETA,
    smoothing: float = SMOOTHING,
    progress: Progress = lambda done, total: None,
) -> dict[str, float]:
    """The weights of domains by DoReMi (Xie et al. 2023): the mean over the steps of a proxy's.

    Reference and proxy are of one size and see each domain equally often. Writes weights.parquet (domain, weight),
    history.parquet (step, domain, excess, weight) and losses.parquet (model, step, loss) into the folder; what is
    trained already is not trained again.

    Raises:
        CosmoError: fewer than two domains, tokens that do not go together, a training that failed.
    """
    if len(domains) < 2:
        raise CosmoError("one domain has nothing to weigh against", remedy="name two domains (--domain) or more")
    found = examined(shard for shards in domains.values() for shard in shards)
    given: dict[str, Any] = {
        "proxy": proxy,
        "token_bytes": found.token_bytes,
        "vocabulary": found.vocabulary,
        "rows": rows_digest(_NO_ROWS),
        "seed": seed,
    }
    shards = {
        name: tuple(Shard(path=path.absolute(), digest=found.digests[path], domain=number) for path in paths)
        for number, (name, paths) in enumerate(domains.items())
    }
    every = tuple(shard for of_domain in shards.values() for shard in of_domain)
    reference_spec = Spec(**given, shards=every, even=True)
    reference = write_run(folder, "reference", reference_spec, _NO_ROWS)
    described = Doremi(reference=reference.absolute(), digest=identity(reference_spec), eta=eta, smoothing=smoothing)
    weighed = write_run(folder, "proxy", reference_spec.model_copy(update={"doremi": described}), _NO_ROWS)
    train(folder, [reference, weighed], proxy.steps, python, progress)
    with np.load(weighed / RESULT) as result, np.load(reference / RESULT) as before:
        steps, names = np.arange(1, proxy.steps + 1), [*domains]
        weights = dict(zip(names, result["weights"].mean(axis=0).tolist(), strict=True))
        history = {
            "step": np.repeat(steps, len(names)),
            "domain": names * len(steps),
            "excess": result["excess"].ravel(),
            "weight": result["weights"].ravel(),
        }
        losses = {
            "model": ["reference"] * len(steps) + ["proxy"] * len(steps),
            "step": np.tile(steps, 2),
            "loss": np.concatenate([before["losses"], result["losses"]]),
        }
    write_parquet(folder / "history.parquet", pa.table(history))
    write_parquet(folder / "losses.parquet", pa.table(losses))
    write_parquet(folder / "weights.parquet", pa.table({"domain": names, "weight": [*weights.values()]}))
    return weights
