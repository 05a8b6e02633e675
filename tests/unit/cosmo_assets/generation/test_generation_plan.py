"""The generation plan: which documents a job has, in which order, and how they fall into shards.

Belongs here: the plan alone. Does not belong here: asking for them (`test_generation_worker`).
"""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_assets.generation.plan import GenerationPlan, documents_of, make_plan, prepare, read_plan
from cosmo_assets.ids import bucket_of, doc_id
from tests.unit.cosmo_assets.generation.jobs import workspace
from tests.unit.cosmo_assets.synthetic import prompts, put_prompts, recipe

SAMPLING = {"temperature": 0.6, "top_k": 50}


def plan(rows: int, **changes: Any) -> GenerationPlan:
    fields: dict[str, Any] = {
        "bucket": "b000",
        "buckets": 1,
        "prompts": (),
        "prompts_version": "v",
        "prompt_rows": rows,
        "model": "m",
        "revision": "1",
        "sampling": SAMPLING,
        "samples": 1,
        "shard_rows": 4,
    }
    return GenerationPlan(**{**fields, **changes})


def table(rows: int) -> pa.Table:
    return pa.Table.from_pylist(
        [{"prompt_id": f"p{number}", "prompt": f"text {number}", "max_tokens": 10 + number} for number in range(rows)],
        schema=pa.schema([("prompt_id", pa.string()), ("prompt", pa.string()), ("max_tokens", pa.int64())]),
    )


@settings(max_examples=150, deadline=None)
@given(rows=st.integers(0, 13), samples=st.integers(1, 5), shard_rows=st.integers(1, 20))
def test_shards_cover_every_sample_of_every_prompt_once_and_in_order(rows: int, samples: int, shard_rows: int) -> None:
    job = plan(rows, samples=samples, shard_rows=shard_rows)
    found = [
        (document["prompt_id"], document["sample_index"])
        for index in range(job.shards)
        for document in job.documents(table(rows), index * shard_rows, shard_rows)
    ]
    assert found == [(f"p{number}", sample) for number in range(rows) for sample in range(samples)]


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 9), samples=st.integers(1, 3), shard_rows=st.integers(1, 8))
def test_every_shard_but_the_last_is_full(rows: int, samples: int, shard_rows: int) -> None:
    job = plan(rows, samples=samples, shard_rows=shard_rows)
    sizes = [len(list(job.documents(table(rows), index * shard_rows, shard_rows))) for index in range(job.shards)]
    assert set(sizes[:-1]) <= {shard_rows}
    assert 0 < sizes[-1] <= shard_rows
    assert sum(sizes) == job.rows


def test_a_document_is_its_prompt_its_sampling_and_its_id() -> None:
    documents = list(plan(2, samples=2).documents(table(2), 3, 1))
    sampling = {**SAMPLING, "max_tokens": 11}
    assert documents == [
        {
            "doc_id": doc_id(prompt="p1", model="m", revision="1", sampling=sampling, sample_index=1),
            "prompt_id": "p1",
            "sample_index": 1,
            "prompt": "text 1",
            "sampling": sampling,
        }
    ]


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"revision": "2"}, {"sampling": {**SAMPLING, "temperature": 0.7}}],
    ids=["model", "revision", "sampling"],
)
def test_another_model_or_sampling_makes_other_documents(change: dict[str, Any]) -> None:
    ids = {document["doc_id"] for document in plan(5).documents(table(5), 0, 5)}
    assert ids.isdisjoint(document["doc_id"] for document in plan(5, **change).documents(table(5), 0, 5))


@pytest.mark.parametrize("change", [{"shard_rows": 3}, {"samples": 3}, {"buckets": 7, "bucket": "b003"}])
def test_sizes_of_shards_samples_and_buckets_make_no_other_documents(change: dict[str, Any]) -> None:
    ids = {document["doc_id"] for document in plan(5).documents(table(5), 0, 5)}
    other = plan(5, **change)
    assert ids <= {document["doc_id"] for document in other.documents(table(5), 0, other.rows)}


def test_where_the_prompts_lie_is_no_part_of_the_plan() -> None:
    assert plan(5, prompts=("/a/part.parquet",)).digest == plan(5, prompts=("/b/part.parquet",)).digest


@pytest.mark.parametrize(
    "change", [{"prompts_version": "w"}, {"shard_rows": 5}, {"samples": 2}, {"sampling": {}}, {"bucket": "b001"}]
)
def test_a_job_of_other_work_has_another_folder(change: dict[str, Any]) -> None:
    assert plan(5, **change).digest != plan(5).digest


def test_a_plan_takes_the_prompts_of_its_own_bucket(tmp_path: Any) -> None:
    space = workspace(tmp_path, recipe(buckets=3))
    rows = prompts(20)
    put_prompts(space, rows)
    made = make_plan(space.recipe, space.store.open("prompt_table"), "b001")
    expected = sorted(row["prompt_id"] for row in rows if bucket_of(row["prompt_id"], 3) == "b001")
    assert made.prompt_table()["prompt_id"].to_pylist() == expected
    assert made.rows == len(expected)


def test_a_worker_reads_the_plan_that_was_prepared(tmp_path: Any) -> None:
    space = workspace(tmp_path, recipe(generation={"samples": 2}))
    put_prompts(space, prompts(3))
    made = make_plan(space.recipe, space.store.open("prompt_table"), "b000")
    assert prepare(made, tmp_path / "job", space.store) == (0, 0)
    assert read_plan(tmp_path / "job") == made


def test_of_a_job_that_was_never_begun_nothing_is_there(tmp_path: Any) -> None:
    space = workspace(tmp_path, recipe(generation={"samples": 2}))
    put_prompts(space, prompts(3))
    assert documents_of(space.recipe, space.store, "b000") == (6, 0)
