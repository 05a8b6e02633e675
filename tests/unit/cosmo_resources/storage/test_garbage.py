"""Garbage: what is reachable stays, what nothing refers to goes, and what is being used waits."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.garbage import GONE, READER, collect, reachable
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import BuildPlan, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpus")


def build(
    store: CorpusStore, asset: str, text: str, *inputs: InputRef, bucket: str = "all", parts: tuple[str, ...] = ()
) -> Manifest:
    """A version of one row, or of one row per part, each part a bucket of the table."""

    def produce(writer: DatasetWriter) -> None:
        for part in parts or (None,):
            writer.write(pa.table({"id": [f"{text} {part}"]}), bucket=part)
        writer.flow("rows", len(parts) or 1, len(parts) or 1)

    return store.build(BuildPlan(asset, "1", SCHEMA, {"text": text}, inputs, bucket), produce, run={})


def names(store: CorpusStore, **options: object) -> set[tuple[str, str]]:
    return {(one.asset, one.name) for one in collect(store, **options)}  # type: ignore[arg-type]


def exists(store: CorpusStore, manifest: Manifest) -> bool:
    return (store.place(manifest.asset, manifest.bucket) / manifest.version).is_dir()


def test_what_nothing_refers_to_is_listed_first_and_removed_when_asked(store: CorpusStore) -> None:
    old, new = build(store, "things", "a"), build(store, "things", "b")
    (one,) = collect(store)
    assert (one.asset, one.bucket, one.name, one.kept) == ("things", "all", old.version, "")
    assert one.bytes == sum(path.stat().st_size for path in one.folder.iterdir())
    assert exists(store, old)
    assert [found.name for found in collect(store, delete=True)] == [old.version]
    assert not exists(store, old)
    assert store.open("things").manifest == new
    assert collect(store, delete=True) == []


def test_what_a_current_version_was_made_of_stays_step_by_step(store: CorpusStore) -> None:
    first = build(store, "seeds", "a")
    middle = build(store, "prompts", "a", first.ref())
    last = build(store, "texts", "a", middle.ref(), bucket="b000")
    for asset in ("seeds", "prompts"):
        build(store, asset, "b")
    garbage = build(store, "seeds", "c")
    build(store, "seeds", "b")
    assert names(store, delete=True) == {("seeds", garbage.version)}
    assert all(exists(store, manifest) for manifest in (first, middle, last))
    build(store, "texts", "b", bucket="b000")
    assert names(store, delete=True) == {(manifest.asset, manifest.version) for manifest in (first, middle, last)}


def test_a_bucket_of_a_table_is_referred_to_by_what_it_holds(store: CorpusStore) -> None:
    table = build(store, "prompts", "a", parts=("b000", "b001"))
    build(store, "texts", "a", table.ref("b001"), bucket="b001")
    build(store, "prompts", "b", parts=("b000", "b001"))
    assert names(store) == set()
    old = store.current_version("texts", "b001")
    build(store, "texts", "b", bucket="b001")
    assert names(store) == {("prompts", table.version), ("texts", old)}


def test_files_of_an_earlier_version_that_a_manifest_names_keep_it(store: CorpusStore) -> None:
    old = build(store, "things", "a")
    new = build(store, "things", "b")
    assert ("things", "all", old.version) not in reachable(store)
    file = store.place("things") / old.version / "part-00000.parquet"
    assert ("things", "all", old.version) in reachable(store, also=[file])
    assert names(store, also=[file]) == set()
    assert exists(store, new)


def test_a_current_version_that_cannot_be_read_stops_everything(store: CorpusStore) -> None:
    garbage, current = build(store, "things", "a"), build(store, "things", "b")
    path = store.place("things") / current.version / "_manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"params"', '"parameters"'), encoding="utf-8")
    with pytest.raises(CosmoError, match="not a readable manifest"):
        collect(store, delete=True)
    assert exists(store, garbage)


def test_an_unreferenced_version_that_cannot_be_read_goes(store: CorpusStore) -> None:
    garbage, _ = build(store, "things", "a"), build(store, "things", "b")
    (store.place("things") / garbage.version / "_manifest.json").write_text("{", encoding="utf-8")
    assert names(store, delete=True) == {("things", garbage.version)}
    assert not exists(store, garbage)


def test_a_bucket_under_construction_is_left_alone(store: CorpusStore) -> None:
    garbage, _ = build(store, "things", "a"), build(store, "things", "b")
    with store.lock("things"):
        (one,) = collect(store, delete=True)
        assert one.kept == "its bucket is being built"
    assert exists(store, garbage)


def test_what_was_current_since_somebody_began_stays_until_he_ends(store: CorpusStore) -> None:
    before = build(store, "things", "a")
    build(store, "things", "b")
    pointer = store.place("things") / "CURRENT"
    os.utime(pointer, (time.time() - 60,) * 2)
    with store.hold("a run"):
        assert not next(iter(collect(store))).kept, "it was replaced before the run began"
        build(store, "things", "c")
        assert {one.kept for one in collect(store, delete=True)} == {"a process that may read it is at work"}
    assert exists(store, before)
    assert len(collect(store, delete=True)) == 2
    assert not exists(store, before)


def test_a_version_is_kept_for_a_reason_that_is_shown(store: CorpusStore) -> None:
    garbage, current = build(store, "things", "a"), build(store, "things", "b")
    seen: list[set[tuple[str, str, str]]] = []

    def worth(manifest: Manifest, kept: set[tuple[str, str, str]]) -> str:
        seen.append(kept)
        return "dear" if manifest == garbage else ""

    (one,) = collect(store, worth=worth, delete=True)
    assert one.kept == "dear"
    assert seen == [{("things", "all", current.version)}]
    assert exists(store, garbage)


def test_remains_of_killed_builds_and_collections_are_swept(store: CorpusStore) -> None:
    build(store, "things", "a")
    for name in ("build-1", f"{GONE}2"):
        (store.work("things") / name).mkdir()
        (store.work("things") / name / "part").write_bytes(b"12345")
    (store.root / ".holders").mkdir(exist_ok=True)
    (store.root / ".holders" / f"{READER}dead.lock").touch()
    (store.root / ".holders" / "a-run.lock").touch()
    assert [one.bytes for one in collect(store, delete=True)] == [5, 5]
    assert [path.name for path in store.work("things").iterdir()] == ["lock"]
    assert sorted(path.name for path in (store.root / ".holders").iterdir()) == ["a-run.lock", "garbage"]


def test_a_version_that_was_collected_is_built_again_not_pointed_to(store: CorpusStore) -> None:
    first = build(store, "things", "a")
    build(store, "things", "b")
    found = store.find(BuildPlan("things", "1", SCHEMA, {"text": "a"}, ()))
    assert found is not None
    collect(store, delete=True)
    assert build(store, "things", "a").version == first.version
    assert store.open("things").table()["id"].to_pylist() == ["a None"]
