"""Arms of data compared by proxies: each is trained with several seeds, and their differences decide.

Belongs here: which trainings there are, reading their results, comparing them. Does not belong here: running them
(`launch`), the interval of a difference (`bootstrap`), tables and the report (`show`).

Trainings of one seed start from the same weights and draw the same places in arms of equal length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from cosmo_assets.proxy.bootstrap import LEAST_SEEDS, Decision, Difference, paired_difference
from cosmo_assets.proxy.launch import Progress, pending, rows_digest, train, write_run
from cosmo_assets.proxy.rows import Item, Rows
from cosmo_assets.proxy.scoring import Array
from cosmo_assets.proxy.spec import RESULT, Proxy, Shard, Spec
from cosmo_assets.proxy.tokens import examined
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import write_parquet

HELD_OUT = "held-out "
"""What the names of measures of held-out domains begin with."""
ANSWERS = "answers"


@dataclass(frozen=True)
class Measure:
    """Scores of every arm by one measure: items (or documents) x seeds."""

    name: str
    scores: Mapping[str, Array]
    lower_is_better: bool
    sizes: Array | None = None
    """What each document counts; items count the same."""

    def mean(self, arm: str) -> float:
        """Over items and seeds."""
        return float(np.average(self.scores[arm].mean(axis=1), weights=self.sizes))


@dataclass(frozen=True)
class Verdict:
    measure: str
    arm: str
    other: str
    difference: Difference
    decision: Decision
    """Of the arm, compared with the other."""


@dataclass(frozen=True)
class Ablation:
    """Arms with their trainings, one for each seed, under a folder."""

    folder: Path
    proxy: Proxy
    seeds: int
    arms: Mapping[str, Sequence[Path]]
    rows: Rows
    runs: Mapping[tuple[str, int], Path]
    """The folder of each arm and seed."""

    @classmethod
    def prepare(
        cls,
        folder: Path,
        arms: Mapping[str, Sequence[Path]],
        items: Sequence[Item],
        held_out: Mapping[str, Sequence[Path]],
        proxy: Proxy,
        seeds: int,
    ) -> "Ablation":
        """Write the folder of each training. Cost: one pass over the bytes of all shards.

        Raises:
            CosmoError: too few arms or seeds, tokens of different tokenizers, an arm shorter than a sequence.
        """
        if len(arms) < 2 or seeds < LEAST_SEEDS:
            raise CosmoError(
                f"{len(arms)} arms and {seeds} seeds are too few to compare",
                remedy=f"name two arms (--arm) or more, and {LEAST_SEEDS} seeds (--seeds) or more",
            )
        found = examined(shard for shards in [*arms.values(), *held_out.values()] for shard in shards)
        rows = Rows(items, held_out, found.tokenizer, found.eos, proxy.sequence)
        arrays = rows.arrays()
        runs = {}
        for arm, shards in arms.items():
            for seed in range(seeds):
                spec = Spec(
                    proxy=proxy,
                    shards=tuple(Shard(path=shard.absolute(), digest=found.digests[shard]) for shard in shards),
                    token_bytes=found.token_bytes,
                    vocabulary=found.vocabulary,
                    rows=rows_digest(arrays),
                    seed=seed,
                )
                runs[arm, seed] = write_run(folder, arm, spec, arrays)
        return cls(folder, proxy, seeds, arms, rows, runs)

    @property
    def pending(self) -> list[Path]:
        """The folders of trainings that are not finished."""
        return pending([*self.runs.values()])

    def train(self, python: str, progress: Progress = lambda done, total: None) -> None:
        """Run the pending trainings (see `launch.train`)."""
        train(self.folder, [*self.runs.values()], self.proxy.steps, python, progress)

    def measures(self) -> list[Measure]:
        """The scores of all arms; the first is the one to decide by.

        Writes losses.parquet, items.parquet and held_out.parquet beside the runs.

        Raises:
            CosmoError: a training is not finished.
        """
        if left := self.pending:
            raise CosmoError(f"{left[0]} is not trained", remedy="train first: the same command goes on")
        losses, items, documents = [], [], []
        for (arm, seed), run in self.runs.items():
            with np.load(run / RESULT) as found:
                loss, likelihoods = found["losses"], found["log_likelihoods"]
            of: dict[str, str | int] = {"arm": arm, "seed": seed}
            losses.append(_table(of, step=np.arange(1, len(loss) + 1), loss=loss))
            answered = self.rows.answers(likelihoods)
            numbers = np.arange(1, len(answered.accuracy) + 1)
            items.append(_table(of, item=numbers, **vars(answered)))
            for domain, texts in self.rows.held_out(likelihoods).items():
                documents.append(
                    _table(
                        {**of, "domain": domain},
                        document=np.arange(1, len(texts.tokens) + 1),
                        tokens=texts.tokens,
                        bytes=texts.sizes,
                        loss=-texts.log_likelihoods / texts.tokens,
                        bits_per_byte=texts.bits_per_byte,
                    )
                )
        answered_by = pa.concat_tables(items)
        write_parquet(self.folder / "losses.parquet", pa.concat_tables(losses))
        write_parquet(self.folder / "items.parquet", answered_by)
        found_measures = [
            Measure(f"{ANSWERS}: bits per byte", self._scores(answered_by, "bits_per_byte"), True),
            Measure(f"{ANSWERS}: accuracy", self._scores(answered_by, "accuracy"), False),
            Measure(f"{ANSWERS}: accuracy by character", self._scores(answered_by, "accuracy_norm"), False),
        ]
        if documents:
            held_out = pa.concat_tables(documents)
            write_parquet(self.folder / "held_out.parquet", held_out)
            for domain in held_out["domain"].unique().to_pylist():
                of_domain = held_out.filter(pa.compute.equal(held_out["domain"], domain))
                sizes = of_domain["bytes"].to_numpy()[: pa.compute.max(of_domain["document"]).as_py()]
                scores = self._scores(of_domain, "bits_per_byte")
                found_measures.append(Measure(f"{HELD_OUT}{domain}: bits per byte", scores, True, sizes))
        return found_measures

    def _scores(self, table: pa.Table, column: str) -> dict[str, Array]:
        """By arm, a column as items x seeds; rows are in the order of arms, seeds and items."""
        values = table[column].to_numpy().reshape(len(self.arms), self.seeds, -1)
        return {arm: of_arm.T for arm, of_arm in zip(self.arms, values, strict=True)}


def verdicts(measures: Sequence[Measure]) -> list[Verdict]:
    """The differences of all pairs of arms by all measures."""
    found = []
    for measure in measures:
        for arm, other in combinations(measure.scores, 2):
            of = paired_difference(measure.scores[arm], measure.scores[other], sizes=measure.sizes)
            decision = of.decision(lower_is_better=measure.lower_is_better)
            found.append(Verdict(measure.name, arm, other, of, decision))
    return found


def _table(
    constant: Mapping[str, str | int], **columns: Array | np.ndarray[tuple[int], np.dtype[np.int64]]
) -> pa.Table:
    rows = len(next(iter(columns.values())))
    return pa.table({**{name: [value] * rows for name, value in constant.items()}, **columns})
