"""What a generation job has to do: the plan that workers read, and the rows that need no work any more.

Belongs here: the job's description on disk, the order of its documents, taking rows over from earlier versions.
Does not belong here: asking the model (`worker`) or publishing (`generate`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.ids import doc_id
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.generation import GENERATIONS
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest, json_digest
from cosmo_resources.storage.files import write_parquet, write_text
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from cosmo_resources.storage.manifest import Frozen
from cosmo_resources.storage.store import CorpusStore, Dataset
from cosmo_resources.storage.writer import read_table

PLAN_NAME = "plan.json"
REUSED_NAME = "reused.parquet"


class GenerationPlan(Frozen):
    """One bucket's job. Documents stand in the order of the prompts' files, all samples of a prompt together; shard i
    is the i-th run of `shard_rows` documents."""

    bucket: str
    buckets: int
    prompts: tuple[str, ...]
    prompts_version: str
    prompt_rows: int
    model: str
    revision: str
    sampling: dict[str, float | int]
    rollout: str = "single"
    rollout_options: Mapping[str, Any] = {}
    samples: int
    shard_rows: int
    retry_refused: bool = False

    @property
    def asked_again(self) -> tuple[str, ...]:
        """The states of rows that are not taken over."""
        return ("failed", "refused") if self.retry_refused else ("failed",)

    @property
    def rows(self) -> int:
        return self.prompt_rows * self.samples

    @property
    def shards(self) -> int:
        return math.ceil(self.rows / self.shard_rows)

    @property
    def digest(self) -> str:
        """Names the job's folder: equal plans go on with one another's work."""
        return json_digest(self.model_dump(mode="json", exclude={"prompts", "retry_refused"}))

    def identity(self, max_tokens: int) -> dict[str, Any]:
        """What tells a document from others of its prompt: sampling, and the rollout where it is no single request."""
        sampling = {**self.sampling, "max_tokens": max_tokens}
        if self.rollout == "single":
            return sampling
        return {**sampling, "rollout": self.rollout, "rollout_options": self.rollout_options}

    def prompt_table(self) -> pa.Table:
        columns = ["prompt_id", "prompt", "max_tokens"]
        return pa.concat_tables([read_table(Path(path), columns) for path in self.prompts])

    def documents(self, prompts: pa.Table, first: int, count: int) -> Iterator[dict[str, Any]]:
        """The documents `first` to `first + count` of the job: doc_id, prompt_id, sample_index, prompt, sampling."""
        start, stop = first // self.samples, -(-min(first + count, self.rows) // self.samples)
        number = start * self.samples
        for row in prompts.slice(start, stop - start).to_pylist():
            sampling = {**self.sampling, "max_tokens": row["max_tokens"]}
            identity = self.identity(row["max_tokens"])
            for sample_index in range(self.samples):
                if first <= number < first + count:
                    document = doc_id(
                        prompt=row["prompt_id"],
                        model=self.model,
                        revision=self.revision,
                        sampling=identity,
                        sample_index=sample_index,
                    )
                    yield {
                        "doc_id": document,
                        "prompt_id": row["prompt_id"],
                        "sample_index": sample_index,
                        "prompt": row["prompt"],
                        "sampling": sampling,
                    }
                number += 1


def read_plan(folder: Path) -> GenerationPlan:
    return GenerationPlan.model_validate_json((folder / PLAN_NAME).read_text(encoding="utf-8"))


def prepare(plan: GenerationPlan, folder: Path, store: CorpusStore) -> tuple[int, int]:
    """Write the plan and the rows that earlier versions or unfinished jobs already hold.

    Returns: how many rows were taken over, and their completion tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PLAN_NAME, plan.model_dump_json(indent=1) + "\n")
    _reopen_failed(plan, ShardLedger(folder))
    wanted = {row["doc_id"] for row in plan.documents(plan.prompt_table(), 0, plan.rows)}
    found: dict[str, Mapping[str, Any]] = {}
    for row in _earlier_rows(plan, folder, store, wanted):
        found.setdefault(row["doc_id"], row)
    table = pa.Table.from_pylist([found[key] for key in sorted(found)], schema=GENERATIONS)
    write_parquet(folder / REUSED_NAME, table)
    return table.num_rows, sum(int(row["completion_tokens"]) for row in found.values())


def reused_rows(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The rows taken over, by doc_id."""
    return {row["doc_id"]: row for row in read_table(folder / REUSED_NAME).to_pylist()}


def _earlier_rows(
    plan: GenerationPlan, folder: Path | None, store: CorpusStore, wanted: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Usable rows of published versions, then of unfinished jobs, of every bucket that can hold a wanted row. Of a
    bucket the current version comes first, and a row that it has is not read again from older ones.

    With n buckets a prompt is in bucket `id mod n`; if the number has changed from m to n, rows of the old bucket j can
    be in the new bucket i only where i and j agree modulo gcd(m, n).
    """
    left = set(wanted)
    for bucket in store.buckets("generations"):
        current = store.current_version("generations", bucket)
        versions = store.versions("generations", bucket)
        for version in sorted(versions, key=lambda dataset: dataset.folder.name != current):
            if left and _may_share(bucket, int(version.manifest.run.get("buckets", 0)), plan):
                for row in _usable(version, pa.array(left, pa.string()), plan.asked_again):
                    left.discard(row["doc_id"])
                    yield row
        for work in work_folders(store.place("generations", bucket)):
            if work != folder and _may_share(bucket, read_plan(work).buckets, plan):
                for row in ShardLedger(work).rows():
                    if row["doc_id"] in wanted and row["status"] not in plan.asked_again:
                        yield row


def _reopen_failed(plan: GenerationPlan, ledger: ShardLedger) -> None:
    """Open this job's own sealed shards that hold rows to be asked again, since what failed before may not fail now."""
    for index in range(plan.shards):
        done = ledger.done(index)
        if done is not None and any(done.counters.get(f"status_{status}") for status in plan.asked_again):
            ledger.reopen(index)


def _may_share(bucket: str, buckets: int, plan: GenerationPlan) -> bool:
    common = math.gcd(buckets, plan.buckets)
    return (int(bucket[1:]) - int(plan.bucket[1:])) % common == 0


def _usable(version: Dataset, wanted: pa.Array, asked_again: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The wanted rows of a version that need not be asked again. Files that are not what they were written as give
    none: their rows are looked for elsewhere, and asked again where they are nowhere."""
    for entry in version.manifest.files:
        if entry.role != "rows":
            continue
        path = version.folder / entry.name
        try:
            keys = read_table(path, ["doc_id", "status"])
            again = pc.is_in(keys["status"], value_set=pa.array(asked_again))
            usable = pc.and_(pc.is_in(keys["doc_id"], value_set=wanted), pc.invert(again))
            if pc.any(usable).as_py() and file_digest(path) == entry.checksum:
                yield from read_table(path).filter(usable).to_pylist()
        except (CosmoError, FileNotFoundError):  # damaged, or collected just now
            continue


def make_plan(recipe: Recipe, prompts: Dataset, bucket: str, *, retry_refused: bool = False) -> GenerationPlan:
    """The job of one bucket of a prompt table."""
    paths = prompts.paths(bucket=bucket)
    generation = recipe.generation
    return GenerationPlan(
        bucket=bucket,
        buckets=recipe.buckets,
        prompts=tuple(str(path) for path in paths),
        prompts_version=prompts.ref(bucket).version,
        prompt_rows=sum(read_table(path, ["prompt_id"]).num_rows for path in paths),
        model=generation.model.name,
        revision=generation.model.revision,
        sampling=generation.sampling.given,
        rollout=generation.rollout.name,
        rollout_options=generation.rollout.options,
        samples=generation.samples,
        shard_rows=generation.shard_rows,
        retry_refused=retry_refused,
    )


def documents_of(recipe: Recipe, store: CorpusStore, bucket: str) -> tuple[int, int]:
    """How many documents a bucket's job has, and how many of them exist already in any usable form."""
    plan = make_plan(recipe, store.open("prompt_table"), bucket)
    wanted = {row["doc_id"] for row in plan.documents(plan.prompt_table(), 0, plan.rows)}
    there = {row["doc_id"] for row in _earlier_rows(plan, None, store, wanted)}
    return len(wanted), len(there)
