"""The store: a version is built once, appears whole, and what is damaged says so.

Belongs here: building, publishing, opening. Does not belong here: what is written into a version (`test_writer`).
"""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.store import BuildPlan, CorpusStore, verify_checksums
from cosmo_resources.storage.writer import DatasetWriter
from tests.unit.cosmo_resources.storage.full_disk import full_disk, size_limit

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])
PLAN = BuildPlan("things", "1", SCHEMA, {"size": 1}, (InputRef(asset="seeds", bucket="all", version="s"),), "b001")
OTHER_PLAN = dataclasses.replace(PLAN, params={"size": 2})

BUILD = """
import os, signal, sys, time
from pathlib import Path
import pyarrow as pa
from cosmo_resources.storage.manifest import InputRef
from cosmo_resources.storage.store import BuildPlan, CorpusStore

root, behaviour = Path(sys.argv[1]), sys.argv[2]
schema = pa.schema([pa.field("id", pa.string(), nullable=False)])
plan = BuildPlan("things", "1", schema, {"size": 1}, (InputRef(asset="seeds", bucket="all", version="s"),), "b001")

def produce(writer):
    writer.write(pa.table({"id": ["a", "b"]}))
    writer.flow("rows", 2, 2)
    print("producing", flush=True)
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)

print(CorpusStore(root).build(plan, produce, run={"run_id": str(os.getpid())}).version, flush=True)
"""


class Producer:
    """Writes some ids, and counts how often it is called."""

    def __init__(self, *ids: str, then: Callable[[DatasetWriter], None] = lambda writer: None) -> None:
        self.ids = ids
        self.calls = 0
        self._then = then

    def __call__(self, writer: DatasetWriter) -> None:
        self.calls += 1
        writer.write(pa.table({"id": pa.array(self.ids, pa.string())}))
        writer.flow("rows", len(self.ids), len(self.ids))
        self._then(writer)


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpus")


def build(
    store: CorpusStore, produce: Callable[[DatasetWriter], None], plan: BuildPlan = PLAN, **more: Any
) -> Manifest:
    return store.build(plan, produce, run={"run_id": "r"}, **more)


def ids(store: CorpusStore) -> list[str]:
    return store.open("things", "b001").table()["id"].to_pylist()


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder with its inode, size and time of change."""
    return {
        str(path.relative_to(root)): (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        for path in [root, *root.rglob("*")]
        if (stat := path.stat())
    }


def leftovers(store: CorpusStore) -> list[str]:
    """What of unfinished builds lies about (the lock file is always there)."""
    return sorted(path.name for path in store.work("things", "b001").iterdir() if path.name != "lock")


def start(store: CorpusStore, behaviour: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(store.root), behaviour], stdout=subprocess.PIPE, text=True
    )


def test_a_built_version_can_be_opened(store: CorpusStore) -> None:
    manifest = build(store, Producer("a", "b"))
    dataset = store.open("things", "b001")
    assert dataset.manifest == manifest
    assert dataset.table().to_pylist() == [{"id": "a"}, {"id": "b"}]
    assert dataset.folder == store.root / "things" / "b001" / manifest.version


def test_a_manifest_to_compare_with_is_had_where_the_version_is_whole(store: CorpusStore) -> None:
    assert store.current_manifest("things", "b001") is None
    manifest = build(store, Producer("a", "b"))
    assert store.current_manifest("things", "b001") == manifest
    store.open("things", "b001").paths()[0].unlink()
    assert store.current_manifest("things", "b001") is None


def test_the_manifest_says_what_it_was_built_from(store: CorpusStore) -> None:
    manifest = build(store, Producer("a"))
    assert (manifest.asset, manifest.bucket, manifest.stage_version) == ("things", "b001", "1")
    assert (manifest.params, manifest.inputs, manifest.plan) == ({"size": 1}, PLAN.inputs, PLAN.digest)


def test_while_a_version_is_produced_nobody_sees_it(store: CorpusStore) -> None:
    seen: list[Any] = []

    def look(_: DatasetWriter) -> None:
        seen.append((store.current("things", "b001"), store.versions("things", "b001")))

    build(store, Producer("a", then=look))
    assert seen == [(None, [])]


def test_while_a_new_version_is_produced_the_old_one_is_read(store: CorpusStore) -> None:
    seen: list[list[str]] = []
    build(store, Producer("old"))
    build(store, Producer("new", then=lambda _: seen.append(ids(store))), OTHER_PLAN)
    assert seen == [["old"]]
    assert ids(store) == ["new"]


def test_building_an_equal_plan_again_writes_nothing_at_all(store: CorpusStore) -> None:
    first = build(store, Producer("a"))
    before = snapshot(store.root)
    again = Producer("a")
    assert build(store, again) == first
    assert again.calls == 0
    assert snapshot(store.root) == before


def test_what_is_built_already_is_had_while_another_process_builds(store: CorpusStore) -> None:
    first = build(store, Producer("a"))
    again: list[Manifest] = []
    with store.lock("things", "b001"):
        thread = threading.Thread(target=lambda: again.append(build(store, Producer("a"))), daemon=True)
        thread.start()
        thread.join(10)
        assert again == [first]


@pytest.mark.parametrize(
    "change",
    [
        {"asset": "others"},
        {"bucket": "b002"},
        {"stage_version": "2"},
        {"params": {"size": 1, "shape": None}},
        {"inputs": (InputRef(asset="seeds", bucket="all", version="t"),)},
        {"inputs": ()},
        {"schema": pa.schema([*SCHEMA, pa.field("more", pa.string())])},
    ],
    ids=["asset", "bucket", "stage version", "params", "input version", "inputs", "schema"],
)
def test_a_plan_that_differs_in_anything_is_another_plan(change: dict[str, Any]) -> None:
    assert dataclasses.replace(PLAN, **change).digest != PLAN.digest


def test_a_plan_does_not_depend_on_the_order_of_its_params() -> None:
    plans = [dataclasses.replace(PLAN, params=params) for params in ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
    assert plans[0].digest == plans[1].digest


def test_changed_content_is_a_new_version_and_becomes_current(store: CorpusStore) -> None:
    old = build(store, Producer("a"))
    new = build(store, Producer("b"), OTHER_PLAN)
    assert new.version != old.version
    assert store.open("things", "b001").manifest == new
    assert {found.manifest.version for found in store.versions("things", "b001")} == {old.version, new.version}


def test_going_back_to_an_old_plan_points_there_without_producing(store: CorpusStore) -> None:
    old = build(store, Producer("a"))
    build(store, Producer("b"), OTHER_PLAN)
    back = Producer("a")
    assert build(store, back) == old
    assert back.calls == 0
    assert ids(store) == ["a"]


def test_a_version_that_is_not_fresh_is_produced_again(store: CorpusStore) -> None:
    build(store, Producer("a"))
    again = Producer("b")
    build(store, again, fresh=lambda manifest: False)
    assert again.calls == 1
    assert ids(store) == ["b"]


def test_of_two_versions_of_one_plan_the_current_one_is_found(store: CorpusStore) -> None:
    versions = set()
    for name in "abcdefg":
        manifest = build(store, Producer(name), fresh=lambda _: False)
        found = store.find(PLAN)
        assert found is not None
        assert found.manifest == manifest
        versions.add(manifest.version)
    assert len(versions) == 7


def test_the_same_content_produced_again_keeps_the_published_files(store: CorpusStore) -> None:
    manifest = build(store, Producer("a"))
    folder = store.place("things", "b001") / manifest.version
    before = snapshot(folder)
    build(store, Producer("a"), fresh=lambda _: False)
    assert snapshot(folder) == before
    assert leftovers(store) == []


def test_a_failed_build_leaves_the_old_version_current_and_nothing_else(store: CorpusStore) -> None:
    def fail(_: DatasetWriter) -> None:
        raise ZeroDivisionError

    build(store, Producer("old"))
    with pytest.raises(ZeroDivisionError):
        build(store, Producer("new", then=fail), OTHER_PLAN)
    assert ids(store) == ["old"]
    assert leftovers(store) == []
    assert len(store.versions("things", "b001")) == 1


def test_a_build_can_succeed_after_it_failed(store: CorpusStore) -> None:
    def fail(_: DatasetWriter) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(store, Producer("a", then=fail))
    build(store, Producer("a"))
    assert ids(store) == ["a"]


@pytest.mark.parametrize("how", ["no space", "file too large"])
def test_a_disk_that_is_full_while_a_part_is_written_keeps_the_old_version(store: CorpusStore, how: str) -> None:
    def fill(writer: DatasetWriter) -> None:
        if how == "no space":
            full_disk(writer.folder / "part-00001.parquet")
            writer.write(pa.table({"id": ["z"]}))
        else:
            with size_limit(4096):
                writer.write(pa.table({"id": [os.urandom(500).hex() for _ in range(100)]}))

    build(store, Producer("old"))
    with pytest.raises(CosmoError, match="no space left"):
        build(store, Producer("new", then=fill), OTHER_PLAN)
    assert ids(store) == ["old"]
    assert leftovers(store) == []


def test_a_disk_that_is_full_while_the_manifest_is_written_keeps_the_old_version(store: CorpusStore) -> None:
    build(store, Producer("old"))
    with pytest.raises(CosmoError, match="no space left"):
        build(store, Producer("new", then=lambda w: full_disk(w.folder / "_manifest.json")), OTHER_PLAN)
    assert ids(store) == ["old"]
    assert leftovers(store) == []


def test_a_disk_that_is_full_while_a_stage_writes_by_itself_is_an_error_that_names_the_bucket(
    store: CorpusStore,
) -> None:
    def fill(writer: DatasetWriter) -> None:
        Path("/dev/full").write_text("x", encoding="utf-8")

    with pytest.raises(CosmoError, match="no space left") as caught:
        build(store, Producer("a", then=fill))
    assert str(store.place("things", "b001")) in caught.value.message


def test_a_killed_build_is_invisible_and_swept_by_the_next(store: CorpusStore) -> None:
    build(store, Producer("old"), OTHER_PLAN)
    process = start(store, "die")
    assert process.wait() == -signal.SIGKILL
    assert len(leftovers(store)) == 1
    assert ids(store) == ["old"]
    build(store, Producer("a", "b"))
    assert ids(store) == ["a", "b"]
    assert leftovers(store) == []


def test_two_processes_that_build_the_same_bucket_at_once_produce_once(store: CorpusStore) -> None:
    processes = [start(store, "wait") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sorted(len(output) for output in outputs) == [1, 2], outputs
    assert len({output[-1] for output in outputs}) == 1
    assert ids(store) == ["a", "b"]


def test_a_bucket_is_no_obstacle_to_another(store: CorpusStore) -> None:
    with store.lock("things", "b001"):
        build(store, Producer("a"), dataclasses.replace(PLAN, bucket="b002"))
    assert store.buckets("things") == ["b001", "b002"]


def test_the_lock_of_a_bucket_is_not_got_twice(store: CorpusStore) -> None:
    with store.lock("things", "b001"), store.lock("things", "b001", wait=False) as second:
        assert second is False


def test_what_is_not_built_is_none_to_ask_for_and_an_error_to_open(store: CorpusStore) -> None:
    assert store.current("things", "b001") is None
    with pytest.raises(CosmoError, match="things of bucket b001 is not built yet") as caught:
        store.open("things", "b001")
    assert "cosmo run --asset things --bucket b001" in caught.value.remedy


def test_what_is_not_built_in_one_piece_is_asked_for_without_a_bucket(store: CorpusStore) -> None:
    with pytest.raises(CosmoError, match="things is not built yet") as caught:
        store.open("things")
    assert "cosmo run --asset things`" in caught.value.remedy


@pytest.mark.parametrize("damage", ["missing", "truncated", "longer"])
def test_a_damaged_file_is_an_error_that_names_file_and_command(store: CorpusStore, damage: str) -> None:
    build(store, Producer("a"))
    (path,) = store.open("things", "b001").paths()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "truncated" else path.read_bytes() + b"x")
    with pytest.raises(CosmoError, match="the manifest says") as caught:
        store.open("things", "b001")
    assert str(path) in caught.value.message
    assert f"remove {path.parent}" in caught.value.remedy
    assert "cosmo run --asset things --bucket b001" in caught.value.remedy


@pytest.mark.parametrize("damage", ["part", "manifest", "folder"])
def test_a_damaged_version_is_built_again(store: CorpusStore, damage: str) -> None:
    manifest = build(store, Producer("a"))
    folder = store.open("things", "b001").folder
    if damage == "part":
        (folder / "part-00000.parquet").write_bytes(b"PAR1")
    elif damage == "manifest":
        (folder / "_manifest.json").write_text("{", encoding="utf-8")
    else:
        shutil.rmtree(folder)
    again = Producer("a")
    assert build(store, again).version == manifest.version
    assert again.calls == 1
    assert ids(store) == ["a"]


def test_a_copy_of_a_version_under_another_name_is_not_taken_for_it(store: CorpusStore) -> None:
    build(store, Producer("a"))
    folder = store.open("things", "b001").folder
    folder.rename(folder.with_name("backup"))
    build(store, Producer("a"))
    assert ids(store) == ["a"]


def test_a_damaged_version_hides_no_other(store: CorpusStore) -> None:
    good = build(store, Producer("a"))
    build(store, Producer("b"), OTHER_PLAN)
    (store.open("things", "b001").folder / "_manifest.json").unlink()
    assert [found.manifest for found in store.versions("things", "b001")] == [good]


def test_a_pointer_to_nowhere_is_an_error_that_names_the_place(store: CorpusStore) -> None:
    build(store, Producer("a"))
    (store.place("things", "b001") / "CURRENT").write_text("0" * 32 + "\n", encoding="utf-8")
    with pytest.raises(CosmoError, match="0" * 32):
        store.open("things", "b001")


def test_changed_bytes_of_the_same_size_are_found_by_their_checksum(store: CorpusStore) -> None:
    build(store, Producer("a"))
    dataset = store.open("things", "b001")
    assert verify_checksums(dataset) == []
    (path,) = dataset.paths()
    raw = bytearray(path.read_bytes())
    raw[20] ^= 1
    path.write_bytes(raw)
    assert verify_checksums(store.open("things", "b001")) == ["part-00000.parquet"]


def test_rejected_rows_are_read_beside_the_table(store: CorpusStore) -> None:
    build(store, Producer("a", then=lambda writer: writer.reject("pages:1", "too_short")))
    dataset = store.open("things", "b001")
    rejected = dataset.rejected()
    assert rejected is not None
    assert rejected["reason"].to_pylist() == ["too_short"]
    assert dataset.manifest.rows == 1


def test_without_rejected_rows_there_is_no_table_of_them(store: CorpusStore) -> None:
    build(store, Producer("a"))
    assert store.open("things", "b001").rejected() is None


def test_a_bucket_of_a_table_is_read_alone(store: CorpusStore) -> None:
    def produce(writer: DatasetWriter) -> None:
        for bucket, name in (("b000", "a"), ("b001", "b"), ("b000", "c")):
            writer.write(pa.table({"id": [name]}), bucket=bucket)
        writer.flow("rows", 3, 3)

    build(store, produce, dataclasses.replace(PLAN, bucket="all"))
    dataset = store.open("things")
    assert dataset.table(bucket="b000")["id"].to_pylist() == ["a", "c"]
    assert dataset.table()["id"].to_pylist() == ["a", "b", "c"]


def test_a_bucket_without_rows_is_an_empty_table_with_the_columns(store: CorpusStore) -> None:
    build(store, Producer("a"))
    table = store.open("things", "b001").table(bucket="b009")
    assert (table.num_rows, table.column_names) == (0, ["id"])


def test_assets_and_buckets_are_listed_sorted(store: CorpusStore) -> None:
    assert (store.assets(), store.buckets("things")) == ([], [])
    for asset, bucket in (("things", "b001"), ("others", "all"), ("things", "b000")):
        build(store, Producer("a"), dataclasses.replace(PLAN, asset=asset, bucket=bucket))
    assert (store.assets(), store.buckets("things")) == (["others", "things"], ["b000", "b001"])
