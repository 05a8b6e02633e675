"""Rows of earlier versions: those that were made of equal input in the same way, and no others."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cosmo_resources.storage.earlier import Earlier, RowSource, find_earlier
from cosmo_resources.storage.manifest import InputRef
from cosmo_resources.storage.store import ALL, BuildPlan, CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter

SOURCE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("other", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("words", pa.list_(pa.string())),
    ]
)
MADE = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("length", pa.int64())])
COLUMNS = ("text", "size", "words")


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "store")


def row(key: str, text: str | None = "text", **columns: Any) -> dict[str, Any]:
    return {"id": key, "text": text, "other": "x", "size": 1, "words": ["a"], **columns}


def write(store: CorpusStore, plan: BuildPlan, rows: list[dict[str, Any]]) -> Dataset:
    def produce(writer: DatasetWriter) -> None:
        writer.write(pa.Table.from_pylist(rows, schema=plan.schema))
        writer.flow("rows", len(rows), len(rows))

    manifest = store.build(plan, produce, run={})
    return store.version(InputRef(asset=plan.asset, bucket=plan.bucket, version=manifest.version))


def source(store: CorpusStore, *rows: dict[str, Any], asset: str = "texts", bucket: str = ALL) -> Dataset:
    return write(store, BuildPlan(asset, "1", SOURCE, {"rows": list(rows)}, (), bucket), list(rows))


def plan_of(*datasets: Dataset, fixed: tuple[InputRef, ...] = (), **changes: Any) -> BuildPlan:
    inputs = (*(dataset.ref() for dataset in datasets), *fixed)
    return dataclasses.replace(BuildPlan("lengths", "1", MADE, {"unit": 1, "shown": 1}, inputs), **changes)


def made(store: CorpusStore, plan: BuildPlan, *keys: str) -> Dataset:
    return write(store, plan, [{"id": key, "length": number} for number, key in enumerate(keys)])


def found(store: CorpusStore, plan: BuildPlan, *datasets: Dataset, **options: Any) -> Earlier:
    sources = [RowSource(dataset, COLUMNS) for dataset in datasets]
    return find_earlier(store, plan, key="id", sources=sources, **options)


def keys(earlier: Earlier) -> set[str]:
    return set(earlier.rows()["id"].to_pylist())


def test_the_first_build_has_nothing_to_take_over(store: CorpusStore) -> None:
    texts = source(store, row("a"))
    earlier = found(store, plan_of(texts), texts)
    assert (earlier.dataset, earlier.take(["a"]), earlier.rejected("a")) == (None, {}, None)
    assert earlier.rows(["a"]).schema == MADE


CHANGED: dict[str, dict[str, Any]] = {
    "another text": {"text": "texts"},
    "no text": {"text": None},
    "an empty text": {"text": ""},
    "the text null": {"text": "null"},
    "another number": {"size": 2},
    "no number": {"size": None},
    "another list": {"words": ["a", "a"]},
    "a list of one": {"words": ["aa"]},
}


@pytest.mark.parametrize("before", CHANGED)
@pytest.mark.parametrize("after", CHANGED)
def test_a_row_is_taken_over_only_if_what_it_was_made_of_is_the_same(
    store: CorpusStore, before: str, after: str
) -> None:
    texts = source(store, row("a"), row("b", **CHANGED[before]))
    made(store, plan_of(texts), "a", "b")
    texts = source(store, row("a", other="y"), row("b", **CHANGED[after]), row("c"))
    earlier = found(store, plan_of(texts), texts)
    assert keys(earlier) == ({"a", "b"} if before == after else {"a"})
    assert earlier.take(["a", "c"]) == {"a": [{"id": "a", "length": 0}]}


def test_values_do_not_run_into_one_another(store: CorpusStore) -> None:
    texts = source(store, row("a", "12", size=3))
    made(store, plan_of(texts), "a")
    texts = source(store, row("a", "1", size=23))
    assert keys(found(store, plan_of(texts), texts)) == set()


def test_several_rows_of_a_key_come_together(store: CorpusStore) -> None:
    texts = source(store, row("a"), row("b"))
    made(store, plan_of(texts), "a", "b", "a")
    texts = source(store, row("a"))
    lengths = [item["length"] for item in found(store, plan_of(texts), texts).take(["a"])["a"]]
    assert lengths == [0, 2]


BENCH = InputRef(asset="bench", bucket=ALL, version="1")
OTHERWISE: dict[str, tuple[Mapping[str, Any], tuple[InputRef, ...]]] = {
    "stage version": ({"stage_version": "2"}, (BENCH,)),
    "schema": ({"schema": MADE.append(pa.field("more", pa.string()))}, (BENCH,)),
    "params": ({"params": {"unit": 2, "shown": 1}}, (BENCH,)),
    "bucket": ({"bucket": "b000"}, (BENCH,)),
    "fixed input": ({}, (InputRef(asset="bench", bucket=ALL, version="2"),)),
    "fixed input gone": ({}, ()),
    "one more fixed input": ({}, (BENCH, InputRef(asset="other", bucket=ALL, version="1"))),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_was_made_otherwise_is_not_taken_over(store: CorpusStore, name: str) -> None:
    texts = source(store, row("a"))
    made(store, plan_of(texts, fixed=(BENCH,)), "a")
    changes, fixed = OTHERWISE[name]
    assert found(store, plan_of(texts, fixed=fixed, **changes), texts, fixed=fixed).dataset is None
    assert keys(found(store, plan_of(texts, fixed=(BENCH,)), texts, fixed=(BENCH,))) == {"a"}


def test_params_that_rows_do_not_depend_on_may_change(store: CorpusStore) -> None:
    texts = source(store, row("a"))
    made(store, plan_of(texts), "a")

    def unit(params: Mapping[str, Any]) -> Any:
        return params["unit"]

    assert keys(found(store, plan_of(texts, params={"unit": 1, "shown": 2}), texts, depends=unit)) == {"a"}
    assert keys(found(store, plan_of(texts, params={"unit": 2, "shown": 1}), texts, depends=unit)) == set()


def test_a_row_of_two_sources_must_be_the_same_in_both(store: CorpusStore) -> None:
    left, right = source(store, row("a"), row("b")), source(store, row("a"), row("b"), asset="labels")
    made(store, plan_of(left, right), "a", "b")
    right = source(store, row("a"), row("b", "moved"), asset="labels")
    assert keys(found(store, plan_of(left, right), left, right)) == {"a"}


def test_the_buckets_of_a_source_count_together_and_a_new_one_has_nothing(store: CorpusStore) -> None:
    first, second = source(store, row("a"), bucket="b000"), source(store, row("b"), bucket="b001")
    made(store, plan_of(first, second), "a", "b")
    third = source(store, row("c"), bucket="b002")
    second = source(store, row("b", "new"), row("d"), bucket="b001")
    assert keys(found(store, plan_of(first, second, third), first, second, third)) == {"a"}


def test_the_current_version_is_preferred_then_the_one_with_the_most_rows(store: CorpusStore) -> None:
    texts = source(store, row("a"), row("b"), row("c"))
    large = made(store, plan_of(texts, params={"unit": 1, "shown": 1}), "a", "b", "c")
    made(store, plan_of(texts, params={"unit": 1, "shown": 2}), "a")
    current = made(store, plan_of(texts, params={"unit": 1, "shown": 3}), "a", "b")

    def unit(params: Mapping[str, Any]) -> Any:
        return params["unit"]

    def chosen() -> str:
        dataset = found(store, plan_of(texts, params={"unit": 1, "shown": 4}), texts, depends=unit).dataset
        assert dataset is not None
        return dataset.manifest.version

    assert chosen() == current.manifest.version
    (current.folder / "part-00000.parquet").unlink()
    assert chosen() == large.manifest.version
    made(store, plan_of(texts, params={"unit": 2, "shown": 1}), "a")
    assert chosen() == large.manifest.version
