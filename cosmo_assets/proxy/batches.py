"""What a step of a training is given: the rate, and the tokens.

Belongs here: what follows from the spec and the number of the step. Does not belong here: the model, or what a step
does to it (`train`).
"""

import math

import numpy as np
import numpy.typing as npt

from cosmo_assets.proxy.spec import Proxy, Shard, Spec

FLOOR = 0.1
"""Where the cosine ends, as a share of the largest rate."""


def scheduled(proxy: Proxy, step: int) -> float:
    """The rate of a step as a share of the largest: a linear warm-up, then a cosine down to a tenth."""
    warm = round(proxy.warm_up * proxy.steps)
    if step < warm:
        return (step + 1) / warm
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * (step - warm) / max(proxy.steps - warm, 1))) / 2


class Batches:
    """Sequences at drawn places of the shards, which are mapped into memory. What a step draws follows from seed and
    step alone: there is nothing to restore after a crash, and arms of equal length with the same seed draw alike."""

    def __init__(self, spec: Spec, *stream: int) -> None:
        """`stream` draws otherwise, of the same seed."""
        kind = np.uint16 if spec.token_bytes == 2 else np.uint32
        self.spec, self.stream = spec, stream
        self.shards = [np.memmap(shard.path, dtype=kind, mode="r") for shard in spec.shards]
        self.domains = np.array([shard.domain for shard in spec.shards])
        places = np.array([max(len(shard) - spec.proxy.sequence, 0) for shard in self.shards])
        if spec.even or spec.weights:  # as if each domain had as many places as all together, whatever it has
            places = places / np.bincount(self.domains, places)[self.domains]
        if spec.weights:
            places = places * np.array(spec.weights)[self.domains]
        self.shares = places / places.sum()

    @staticmethod
    def of_target(spec: Spec, target: tuple[Shard, ...]) -> "Batches":
        """As many sequences of a target at each step as of the domains, drawn apart from these."""
        return Batches(spec.model_copy(update={"shards": target}), 1)

    def of(self, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The tokens of a step, batch x (sequence + 1), and the domain of each sequence."""
        size, random = self.spec.proxy.sequence, np.random.default_rng([self.spec.seed, step, *self.stream])
        shards = random.choice(len(self.shards), self.spec.proxy.batch, p=self.shares)
        drawn = random.random(self.spec.proxy.batch)
        rows = []
        for shard, place in zip(shards, drawn, strict=True):
            tokens = self.shards[shard]
            start = int(place * (len(tokens) - size))
            rows.append(tokens[start : start + size + 1])
        return np.stack(rows).astype(np.int64), self.domains[shards]
