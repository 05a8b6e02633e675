"""Snapshots: whole at every moment of a build, linked where nothing has changed, and what is damaged stays out."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage import snapshot
from cosmo_resources.storage.ledger import ShardLedger
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.snapshot import take_snapshot
from cosmo_resources.storage.store import BuildPlan, CorpusStore, verify_checksums
from cosmo_resources.storage.writer import DatasetWriter
from tests.corpora import wait_until

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])
CHAIN = ("seeds", "middle", "answers")
"""Each is made of the one before. A walk by name meets `answers` first and `seeds` last."""
SNAPSHOTS = 12


def publish(store: CorpusStore, asset: str, content: str, inputs: tuple[InputRef, ...] = ()) -> Manifest:
    def produce(writer: DatasetWriter) -> None:
        writer.write(pa.table({"id": [content]}))
        writer.flow("rows", 1, 1)

    return store.build(BuildPlan(asset, "1", SCHEMA, {"content": content}, inputs), produce, run={"run_id": "r"})


def publish_chain(store: CorpusStore, content: str) -> None:
    inputs: tuple[InputRef, ...] = ()
    for asset in CHAIN:
        inputs = (publish(store, asset, content, inputs).ref(),)


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "data" / "corpus")


@contextmanager
def meanwhile(work: Callable[[int], None]) -> Iterator[None]:
    """Do something again and again in another thread; what it raises is raised here."""
    ended, failed = threading.Event(), []

    def loop() -> None:
        for number in count():
            if ended.is_set():
                return
            try:
                work(number)
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not failed, failed


def check_whole(copy: CorpusStore) -> None:
    """Everything current is there, and everything that it was made of, to the first."""
    for asset in CHAIN:
        refs = [copy.open(asset).manifest.ref()]
        for ref in refs:
            dataset = copy.version(ref)
            assert verify_checksums(dataset) == []
            refs += dataset.manifest.inputs
        assert len(refs) == CHAIN.index(asset) + 1


def test_a_copy_taken_while_versions_are_published_lacks_nothing(store: CorpusStore, tmp_path: Path) -> None:
    """Before each copy something new is waited for, however busy the disk is; publishing goes on while it is taken."""
    publish_chain(store, "first")
    earlier, published = None, store.current_version("answers")
    with meanwhile(lambda number: publish_chain(store, f"later-{number}")):
        for number in range(SNAPSHOTS):
            before = published
            wait_until(lambda before=before: store.current_version("answers") != before)
            published = store.current_version("answers")
            folder = tmp_path / f"copy-{number}"
            found = take_snapshot(store.root, folder, earlier)
            assert found.damaged == []
            check_whole(CorpusStore(folder))
            assert CorpusStore(folder).version(InputRef(asset="answers", bucket="all", version=str(published)))
            earlier = folder
    assert found.versions > 3 * SNAPSHOTS / 2, "something was published meanwhile"
    assert found.linked > 0


def test_what_a_listing_met_too_early_is_found_by_those_who_refer_to_it(
    store: CorpusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_chain(store, "first")
    late = {Path("answers", "all", str(store.current_version("answers")))}
    monkeypatch.setattr(snapshot, "_versions", lambda source: late)
    assert take_snapshot(store.root, tmp_path / "copy").versions == 3
    check_whole(CorpusStore(tmp_path / "copy"))


def test_finished_rows_are_in_the_copy_whether_their_shard_is_open_or_sealed(
    store: CorpusStore, tmp_path: Path
) -> None:
    place = Path("answers", "all", ".work", "plan")
    ledger, rows = ShardLedger(store.root / place), [{"id": f"row-{number}"} for number in range(200)]

    def seal_or_open(number: int) -> None:
        if number % 2:
            ledger.reopen(0)
        else:
            ledger.seal(0, pa.Table.from_pylist(rows, schema=SCHEMA), {})

    ledger.folder.mkdir(parents=True)
    log = ledger.open_log(0)
    for row in rows:
        log.append(row)
    log.close()
    with meanwhile(seal_or_open):
        for number in range(10 * SNAPSHOTS):
            folder = tmp_path / f"copy-{number}"
            take_snapshot(store.root, folder)
            assert {row["id"] for row in ShardLedger(folder / place).rows()} == {row["id"] for row in rows}, number
            shutil.rmtree(folder)


def test_what_an_earlier_copy_holds_is_linked(store: CorpusStore, tmp_path: Path) -> None:
    publish_chain(store, "first")
    take_snapshot(store.root, tmp_path / "one")
    publish_chain(store, "second")
    found = take_snapshot(store.root, tmp_path / "two", tmp_path / "one")
    assert (found.versions, found.linked) == (6, 3)
    first = store.versions("seeds")[0].folder.name
    same = [tmp_path / copy / "seeds" / "all" / first / "part-00000.parquet" for copy in ("one", "two")]
    linked = {path.stat().st_ino for path in same}
    assert len(linked) == (1 if store.version(_ref(first)).manifest.params["content"] == "first" else 2)
    shutil.rmtree(tmp_path / "one")
    check_whole(CorpusStore(tmp_path / "two"))


def _ref(version: str) -> InputRef:
    return InputRef(asset="seeds", bucket="all", version=version)


def test_a_damaged_version_is_named_and_left_out(store: CorpusStore, tmp_path: Path) -> None:
    publish_chain(store, "first")
    dataset = store.open("middle")
    (part,) = dataset.paths()
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    found = take_snapshot(store.root, tmp_path / "copy")
    assert found.damaged == [f"middle/all/{dataset.folder.name}: part-00000.parquet"]
    assert found.versions == 2
    assert not (tmp_path / "copy" / "middle" / "all" / dataset.folder.name).exists()
    part.unlink()
    found = take_snapshot(store.root, tmp_path / "again")
    assert [line.split(":")[0] for line in found.damaged] == [f"middle/all/{dataset.folder.name}"]


def test_what_is_in_the_making_is_left_out_and_what_lies_beside_is_kept(store: CorpusStore, tmp_path: Path) -> None:
    publish_chain(store, "first")
    half = store.work("seeds") / "build-1"
    half.mkdir(parents=True)
    (half / "part-00000.parquet").write_bytes(b"half")
    (store.root / "seeds" / "all" / ".CURRENT.1.tmp").write_text("half", encoding="utf-8")
    (store.root / "notes.txt").write_text("kept", encoding="utf-8")
    take_snapshot(store.root, tmp_path / "copy")
    files = {
        path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*") if path.is_file()
    }
    assert "notes.txt" in files
    assert not any("build-1" in name or name.endswith(".tmp") for name in files)


def test_pointers_that_never_rest_are_an_error(
    store: CorpusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_chain(store, "first")
    numbers = count()
    monkeypatch.setattr(snapshot, "POINTER_SECONDS", 0.2)
    monkeypatch.setattr(snapshot, "_read_pointers", lambda source: iter([(Path("CURRENT"), str(next(numbers)))]))
    with pytest.raises(CosmoError, match="without a pause"):
        take_snapshot(store.root, tmp_path / "copy")
