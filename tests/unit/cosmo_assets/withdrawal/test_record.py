"""The record of withdrawals: nothing is lost from it, whoever writes at the same time and wherever a process dies."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.checks import CHECKS
from cosmo_assets.withdrawal.keys import Item, read_items
from cosmo_assets.withdrawal.record import IN_FORCE, RECORD, Entry, Note, Size
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import ROOT, wait_until
from tests.unit.cosmo_assets.synthetic import recipe

NOTE = Note("the owner asked", "ann", "2026-01-02T03:04:05+00:00")
OTHER = Note("a fault in the licence", "bob", "2026-02-03T04:05:06+00:00")
WEB, BOOKS = Item("source", "web"), Item("source", "books")

WRITER = """
import sys
from pathlib import Path
from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import Item
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import recipe

folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
space = Workspace(CorpusStore(folder), recipe())
(folder / f"{name}.ready").touch()
while not (folder / "go").exists():
    pass
for number in range(count):
    note = record.Note(f"reason {number}", name)
    record.withdraw(space, {Item("topic", f"{name}/{number}"): record.Size(1, number)}, note)
"""


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(CorpusStore(tmp_path), recipe())


def version(space: Workspace) -> str:
    return space.store.open(record.ASSET).manifest.version


def sizes(*items: Item) -> Mapping[Item, Size]:
    return {item: Size(3, 100) for item in items}


def test_who_why_when_and_how_much_stand_in_the_record(space: Workspace) -> None:
    record.build(space)
    made = record.withdraw(space, {WEB: Size(7, 1234)}, NOTE)
    assert made == [Entry("withdraw", "source", "web", "ann", "the owner asked", NOTE.when, 7, 1234)]
    assert record.entries(space.store) == record.entries(space.store, IN_FORCE) == made
    assert space.store.open(record.ASSET).manifest.flow.balanced


def test_what_is_withdrawn_is_not_withdrawn_again(space: Workspace) -> None:
    record.withdraw(space, sizes(WEB), NOTE)
    before = version(space)
    assert record.withdraw(space, sizes(WEB), OTHER) == []
    assert version(space) == before
    assert [entry.item for entry in record.withdraw(space, sizes(WEB, BOOKS), OTHER)] == [BOOKS]


def test_what_is_restored_is_in_the_record_and_no_longer_in_force(space: Workspace) -> None:
    empty = record.build(space)
    record.withdraw(space, sizes(WEB, BOOKS), NOTE)
    record.restore(space, [WEB], OTHER)
    assert [(entry.action, entry.item, entry.who) for entry in record.entries(space.store)] == [
        ("withdraw", BOOKS, "ann"),
        ("withdraw", WEB, "ann"),
        ("restore", WEB, "bob"),
    ]
    assert [entry.item for entry in record.entries(space.store, IN_FORCE)] == [BOOKS]
    record.restore(space, [BOOKS], OTHER)
    now = space.store.open(record.ASSET).manifest
    assert now.ref(IN_FORCE) == empty.ref(IN_FORCE)
    assert now.version != empty.version
    assert (now.flow.rows_in, now.flow.rows_out, now.flow.dropped) == (2, 0, {"restored": 2})


def test_a_second_withdrawal_after_a_restoration_keeps_both_records(space: Workspace) -> None:
    record.withdraw(space, sizes(WEB), NOTE)
    record.restore(space, [WEB], NOTE)
    record.withdraw(space, sizes(WEB), OTHER)
    assert [entry.who for entry in record.entries(space.store)] == ["ann", "ann", "bob"]
    assert [entry.who for entry in record.entries(space.store, IN_FORCE)] == ["bob"]


def test_what_is_not_withdrawn_cannot_be_restored(space: Workspace) -> None:
    record.withdraw(space, sizes(WEB), NOTE)
    before = version(space)
    with pytest.raises(CosmoError, match="source books is not withdrawn"):
        record.restore(space, [WEB, BOOKS], NOTE)
    assert version(space) == before


def test_a_version_says_what_and_not_who_or_when(tmp_path: Path) -> None:
    versions = set()
    for folder, note in (("a", NOTE), ("b", OTHER)):
        space = Workspace(CorpusStore(tmp_path / folder), recipe())
        record.withdraw(space, {WEB: Size(1, len(versions))}, note)
        versions.add(version(space))
    assert len(versions) == 1


def test_the_order_in_which_things_were_withdrawn_is_no_matter_of_what_is_in_force(tmp_path: Path) -> None:
    references = set()
    for folder, order in (("a", (WEB, BOOKS)), ("b", (BOOKS, WEB))):
        space = Workspace(CorpusStore(tmp_path / folder), recipe())
        for item in order:
            record.withdraw(space, sizes(item), NOTE)
        references.add(space.store.open(record.ASSET).ref(IN_FORCE))
    assert len(references) == 1


@pytest.mark.parametrize(("why", "who"), [("", "ann"), ("  ", "ann"), ("because", " ")], ids=["no", "blank", "who"])
def test_an_entry_says_who_and_why(why: str, who: str) -> None:
    with pytest.raises(CosmoError, match="says who makes it and why"):
        Note(why, who)


def test_the_checks_see_a_nameless_entry_and_a_record_that_does_not_add_up(space: Workspace) -> None:
    record.withdraw(space, sizes(WEB), NOTE)
    manifest = space.store.open(record.ASSET).manifest
    attributed, adds_up = CHECKS
    assert attributed.test(manifest, space.recipe)[0]
    assert adds_up.test(manifest, space.recipe)[0]
    nameless = record._write(space, [replace(record.entries(space.store)[0], why=""), *record.entries(space.store)[1:]])
    assert nameless.version == manifest.version, "names are no part of it: the first version stands"
    other = record._write(space, [Entry("withdraw", "source", "x", "", "", "", 0, 0)])
    assert not attributed.test(other, space.recipe)[0]
    lost = manifest.model_copy(update={"files": [file for file in manifest.files if file.bucket == RECORD]})
    assert not adds_up.test(lost, space.recipe)[0]


def test_a_damaged_record_is_an_error_and_never_an_empty_one(space: Workspace) -> None:
    record.withdraw(space, sizes(WEB), NOTE)
    dataset = space.store.open(record.ASSET)
    dataset.paths(bucket=RECORD)[0].unlink()
    for action in (lambda: record.withdraw(space, sizes(BOOKS), NOTE), lambda: record.build(space)):
        with pytest.raises(CosmoError, match="missing"):
            action()


def writers(folder: Path, count: int, names: tuple[str, ...]) -> list["subprocess.Popen[str]"]:
    """Processes that withdraw at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), name, str(count)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in names
    ]
    wait_until(lambda: all((folder / f"{name}.ready").exists() for name in names), process=started[0])
    (folder / "go").touch()
    return started


def test_those_who_withdraw_at_the_same_time_all_stand_in_the_record(tmp_path: Path, space: Workspace) -> None:
    names, count = ("ann", "bob", "cem"), 8
    for process in writers(tmp_path, count, names):
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    found = record.entries(space.store)
    assert sorted(entry.value for entry in found) == sorted(f"{name}/{n}" for name in names for n in range(count))
    assert len(record.entries(space.store, IN_FORCE)) == len(found)


@pytest.mark.parametrize("wanted", [1, 3, 6], ids=str)
def test_a_killed_writer_leaves_a_whole_record(tmp_path: Path, space: Workspace, wanted: int) -> None:
    (process,) = writers(tmp_path, 1000, ("ann",))
    wait_until(lambda: len(list((tmp_path / record.ASSET / "all").glob("*/_manifest.json"))) >= wanted, process=process)
    process.kill()
    process.wait()
    found = record.entries(space.store)
    assert [entry.value for entry in found] == [f"ann/{number}" for number in range(len(found))]
    assert len(found) >= wanted - 1
    record.withdraw(space, sizes(WEB), NOTE)
    assert len(record.entries(space.store)) == len(found) + 1


def test_the_record_can_be_read_back_as_a_list(tmp_path: Path, space: Workspace) -> None:
    record.withdraw(space, sizes(WEB, BOOKS, Item("topic", "Rivers, seas")), NOTE)
    lines = [json.dumps(asdict(entry)) for entry in record.entries(space.store, IN_FORCE)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert read_items(tmp_path / "list.jsonl") == [BOOKS, WEB, Item("topic", "Rivers, seas")]
