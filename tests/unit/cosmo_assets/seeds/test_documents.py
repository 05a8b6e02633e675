"""Seed documents: the same from any history, units read once, parts linked, memory bounded."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosmo_assets.ids import seed_id
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds import documents, files
from cosmo_assets.seeds.assets import funnel_of, steps
from cosmo_assets.seeds.files import UnitFiles
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Skipped
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore, verify_checksums
from tests.corpora import ROOT, Corpus
from tests.doubles.replay_server import prose

Row = Mapping[str, Any]


def page(number: int, words: int = 60) -> dict[str, Any]:
    return {"id": f"page-{number}", "text": prose(f"page/{number}", words)}


def alike(row: Row, tag: str) -> dict[str, Any]:
    """A near-duplicate of a page: its last word is another."""
    return {"id": f"{row['id']}-{tag}", "text": row["text"].rsplit(" ", 1)[0] + f" {tag}."}


class Seeds:
    """Sources in a folder, and their seed documents."""

    def __init__(self, folder: Path, *, sources: tuple[str, ...] = ("pages",), **changes: Any) -> None:
        self.folder = folder
        self.store = CorpusStore(folder / "data")
        source = {"kind": "web", "reader": "jsonl", "licence": "CC0-1.0", **changes.pop("source", {})}
        self.corpus = Corpus(folder / "corpus")
        self.corpus.changes = {
            "sources": [{**source, "name": name, "path": f"{name}/*.jsonl"} for name in sources],
            **changes,
        }
        self.corpus.write()

    def put(self, name: str, rows: list[dict[str, Any]]) -> None:
        path = self.folder / "corpus" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def remove(self, name: str) -> None:
        (self.folder / "corpus" / name).unlink()

    @property
    def recipe(self) -> Recipe:
        return self.corpus.recipe

    def build(self, store: CorpusStore | None = None) -> Manifest:
        return documents.build(Workspace(store or self.store, self.recipe))

    def from_scratch(self) -> Manifest:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            return self.build(CorpusStore(Path(folder)))

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.store.open("seed_documents").table().to_pylist()
        return rows

    def ids(self) -> set[str]:
        return {row["native_id"] for row in self.rows()}

    def rejected(self) -> list[tuple[str, str]]:
        table = self.store.open("seed_documents").rejected()
        return [] if table is None else [(row["place"], row["reason"]) for row in table.to_pylist()]


@pytest.fixture
def seeds(tmp_path: Path) -> Seeds:
    return Seeds(tmp_path)


POOL = [page(number) for number in range(8)]
POOL += [alike(row, tag) for row in POOL[:4] for tag in ("copy", "again")]
POOL += [{**row, "id": f"{row['id']}-same"} for row in POOL[:4]] + [{"id": "short", "text": "too short"}, {"id": 7}]
NAMES = ("pages/a.jsonl", "pages/m.jsonl", "other/a.jsonl")
STEP = st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from(POOL), max_size=7))


@given(
    history=st.lists(STEP, min_size=4, max_size=8), limit=st.sampled_from([None, 4]), part_rows=st.sampled_from([2, 50])
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_history_of_files_gives_the_version_of_a_build_from_scratch(
    history: list[tuple[str, list[dict[str, Any]]]], limit: int | None, part_rows: int
) -> None:
    before, files.PART_ROWS = files.PART_ROWS, part_rows
    folder = Path(tempfile.mkdtemp(prefix="cosmo-seeds-"))
    try:
        seeds = Seeds(folder, sources=("pages", "other"), source={"max_documents": limit})
        seeds.put("pages/first.jsonl", POOL[2:5])
        seeds.put("other/first.jsonl", POOL[8:14])
        for name, rows in history:
            if rows:
                seeds.put(name, rows)
            elif (folder / "corpus" / name).exists():
                seeds.remove(name)
            found = seeds.build()
            assert found.flow.balanced
            assert found.rows == found.flow.rows_out == len(seeds.ids()) > 0
        assert found.version == seeds.from_scratch().version
    finally:
        files.PART_ROWS = before
        shutil.rmtree(folder)


def test_other_near_duplicates_in_a_group_of_the_same_size_are_told_apart(seeds: Seeds) -> None:
    words = page(1, 200)["text"].split()
    texts = [" ".join(words[: 200 - cut] + page(9, 200)["text"].split()[:cut]) for cut in (0, 2, 15)]
    seeds.corpus.changes["seeds"] = {"near_duplicate_threshold": 0.9}
    seeds.corpus.write()
    seeds.put("pages/a.jsonl", [{"id": "whole", "text": texts[0]}])
    seeds.put("pages/b.jsonl", [{"id": "near", "text": texts[1]}, {"id": "far", "text": texts[2]}])
    assert seeds.build().run["candidates"] == 3
    assert seeds.ids() == {"whole", "far"}
    seeds.put("pages/b.jsonl", [{"id": "far", "text": texts[2]}, {"id": "near", "text": texts[1]}])
    assert seeds.build().version == seeds.from_scratch().version
    assert seeds.ids() == {"whole", "far"}


def test_a_unit_is_read_once_and_only_what_is_new_or_changed_is_read_again(seeds: Seeds) -> None:
    for number in range(5):
        seeds.put(f"pages/{number}.jsonl", [page(10 * number + row) for row in range(10)])
    run = seeds.build().run
    assert (run["files_read"], run["files_taken_over"], run["rows_read"], run["rows_taken_over"]) == (5, 0, 50, 0)
    seeds.put("pages/9.jsonl", [page(90), page(91)])
    run = seeds.build().run
    assert (run["files_read"], run["files_taken_over"], run["rows_read"], run["rows_taken_over"]) == (1, 5, 2, 50)
    assert (run["computed_rows"], run["reused_rows"]) == (2, 50)
    seeds.put("pages/0.jsonl", [page(0)])
    seeds.remove("pages/1.jsonl")
    run = seeds.build().run
    assert (run["files_read"], run["files_taken_over"], run["rows_read"], run["rows_taken_over"]) == (1, 4, 1, 32)


def test_a_changed_threshold_reads_nothing_and_a_changed_rule_reads_everything(seeds: Seeds) -> None:
    seeds.put("pages/a.jsonl", [page(1), alike(page(1), "copy")])
    assert seeds.build().rows == 1
    seeds.corpus.changes["seeds"] = {"near_duplicate_threshold": None}
    seeds.corpus.write()
    manifest = seeds.build()
    assert (manifest.rows, manifest.run["files_read"]) == (2, 0)
    seeds.corpus.changes["seeds"] = {"max_chars": 40_000}
    seeds.corpus.write()
    assert seeds.build().run["files_read"] == 1


def inodes(seeds: Seeds) -> dict[str, int]:
    """The files of the current version by the digest of their content."""
    dataset = seeds.store.open("seed_documents")
    entries = [entry for entry in dataset.manifest.files if entry.role == "rows"]
    return {entry.content: (dataset.folder / entry.name).stat().st_ino for entry in entries}


def test_parts_in_which_nothing_changed_are_linked_not_written(seeds: Seeds) -> None:
    seeds.put("pages/a.jsonl", [page(1), page(2)])
    seeds.put("pages/b.jsonl", [page(3), alike(page(1), "copy"), page(4)])
    seeds.build()
    before = inodes(seeds)
    seeds.put("pages/c.jsonl", [page(5), alike(page(3), "copy")])
    seeds.build()
    after = inodes(seeds)
    assert before.items() <= after.items()
    assert len(after) == 3
    seeds.put("pages/0.jsonl", [alike(page(4), "before")])
    seeds.build()
    assert len(after.items() & inodes(seeds).items()) == 2, "b lost a row to the new file, a and c did not"
    assert seeds.ids() == {"page-1", "page-2", "page-3", "page-5", "page-4-before"}


def test_parts_are_small_and_sorted_and_keep_every_row(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_ROWS", 7)
    seeds.put("pages/a.jsonl", [page(number) for number in range(30)])
    seeds.build()
    tables = list(seeds.store.open("seed_documents").tables(["seed_id"]))
    assert [table.num_rows for table in tables] == [7, 7, 7, 7, 2]
    for table in tables:
        ids = table["seed_id"].to_pylist()
        assert ids == sorted(ids)
    assert seeds.ids() == {f"page-{number}" for number in range(30)}


def test_long_texts_close_a_part_early(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_CHARS", 5_000)
    seeds.put("pages/a.jsonl", [page(number, words=300) for number in range(12)])
    seeds.build()
    sizes = [sum(map(len, table["text"].to_pylist())) for table in seeds.store.open("seed_documents").tables(["text"])]
    assert len(sizes) > 3
    assert max(sizes) < 7_000


def test_what_was_read_before_a_failure_is_not_read_again(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        seeds.put(f"pages/{name}.jsonl", [page(ord(name))])
    real = files.rows

    def failing(source: Any, unit: Any) -> Iterator[Any]:
        if unit.name.endswith("c.jsonl"):
            yield from real(source, unit)
            raise CosmoError("the disk is gone", remedy="mend it")
        yield from real(source, unit)

    with monkeypatch.context() as patch:
        patch.setattr(files, "rows", failing)
        with pytest.raises(CosmoError, match="the disk is gone"):
            seeds.build()
    assert seeds.store.current("seed_documents") is None
    run = seeds.build().run
    assert (run["files_read"], run["files_taken_over"]) == (1, 2)


def test_a_damaged_kept_unit_is_read_again(seeds: Seeds) -> None:
    seeds.put("pages/a.jsonl", [page(1)])
    seeds.put("pages/b.jsonl", [page(2)])
    seeds.build()
    damaged, other = sorted((seeds.store.work("seed_documents") / "files").glob("*/unit.json"))
    damaged.write_text("{", encoding="utf-8")
    part = other.with_name("part-00000.parquet")
    copy = part.read_bytes()
    part.unlink()  # the version's own link stays whole
    part.write_bytes(copy[:-5])
    seeds.put("pages/c.jsonl", [page(3)])
    manifest = seeds.build()
    assert manifest.run["files_read"] == 3
    assert manifest.version == seeds.from_scratch().version


def units_kept(seeds: Seeds) -> Path:
    return seeds.store.work("seed_documents") / "files"


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-5])


def flip(path: Path) -> None:
    """Change bytes in place, under all names of a file, but neither its size nor what says that it is a Parquet file
    or JSON."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".json":
        at = content.index(b'"rows":') + len(b'"rows":')
        content[at] = ord("7") if content[at] != ord("7") else ord("8")
    else:
        content[40] ^= 0xFF
    with path.open("r+b") as stream:
        stream.write(content)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(
    "name", ["index.parquet", "drops.parquet", "part-00000.parquet", "left-00000.parquet", "twins.parquet", "unit.json"]
)
def test_damage_to_what_is_kept_is_mended_by_the_next_build(
    seeds: Seeds, name: str, damage: Callable[[Path], None]
) -> None:
    seeds.put("pages/a.jsonl", [page(1), page(2), alike(page(1), "copy"), {"id": "short", "text": "no"}])
    seeds.build()
    (damaged,) = units_kept(seeds).glob(f"**/{name}")
    damage(damaged)
    seeds.put("pages/b.jsonl", [page(3)])
    manifest = seeds.build()
    dataset = seeds.store.open("seed_documents")
    assert verify_checksums(dataset) == []
    assert manifest.version == seeds.from_scratch().version
    again = {"twins.parquet": 0, "left-00000.parquet": 0}.get(name, 1)
    assert manifest.run["files_read"] == 1 + again
    assert manifest.run["candidates_compared"] == (2 if name == "twins.parquet" else 0)


@pytest.mark.parametrize("rows", [[page(1), page(2)], [page(1), page(2), alike(page(1), "copy")]])
def test_doing_what_the_doctor_says_mends_a_part_that_is_damaged_under_both_its_names(
    seeds: Seeds, rows: list[dict[str, Any]]
) -> None:
    seeds.put("pages/a.jsonl", rows)
    before = seeds.build()
    dataset = seeds.store.open("seed_documents")
    flip(dataset.folder / "part-00000.parquet")
    assert verify_checksums(dataset) == ["part-00000.parquet"]
    shutil.rmtree(dataset.folder)
    assert seeds.build().version == before.version
    assert verify_checksums(seeds.store.open("seed_documents")) == []
    assert seeds.ids() == {"page-1", "page-2"}


def test_a_damaged_list_of_the_units_in_use_costs_no_build(seeds: Seeds) -> None:
    seeds.put("pages/a.jsonl", [page(1)])
    seeds.build()
    (units_kept(seeds) / "used.txt").write_bytes(b"\xff\xfe" * 9)
    seeds.put("pages/b.jsonl", [page(2)])
    assert seeds.build().rows == 2


@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_is_written_to_while_it_is_read_is_not_kept(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    seeds.put("pages/a.jsonl", [page(1)])
    real = files.rows

    def meanwhile(source: Any, unit: Any) -> Iterator[Any]:
        if late:
            yield from real(source, unit)
        seeds.put("pages/a.jsonl", [page(2)])
        if not late:
            yield from real(source, unit)

    with monkeypatch.context() as patch:
        patch.setattr(files, "rows", meanwhile)
        with pytest.raises(CosmoError, match=r"a\.jsonl: it changed while it was read") as error:
            seeds.build()
    assert "again" in error.value.remedy
    assert not list(units_kept(seeds).glob("*"))
    seeds.build()
    assert seeds.ids() == {"page-2"}
    seeds.put("pages/a.jsonl", [page(1)])
    seeds.build()
    assert seeds.ids() == {"page-1"}, "nothing of another content stands under the key of this one"


def test_a_file_that_changed_between_its_digest_and_its_reading_is_not_kept(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds.put("pages/a.jsonl", [page(1)])
    real = UnitFiles.take

    def after_a_change(self: UnitFiles, *arguments: Any) -> Any:
        seeds.put("pages/a.jsonl", [page(2)])
        return real(self, *arguments)

    monkeypatch.setattr(UnitFiles, "take", after_a_change)
    with pytest.raises(CosmoError, match="it changed while it was read"):
        seeds.build()
    assert not list(units_kept(seeds).glob("*"))


def test_the_index_of_a_unit_is_read_once_a_build(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        seeds.put(f"pages/{number}.jsonl", [page(number), alike(page(number), "copy")])
    seeds.build()
    seeds.put("pages/9.jsonl", [page(9)])
    opened: list[str] = []
    real = files.read_table

    def counted(path: Path, columns: list[str] | None = None) -> pa.Table:
        opened.append(path.name)
        return real(path, columns)

    monkeypatch.setattr(files, "read_table", counted)
    seeds.build()
    assert opened.count("index.parquet") == 4
    assert not list(units_kept(seeds).glob(".*"))


def test_rows_are_found_by_number_over_many_units_parts_and_batches(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_ROWS", 2)
    monkeypatch.setattr(files, "_BATCH_ROWS", 3)
    for number in range(4):
        rows = [page(10 * number + row) for row in range(number)]
        seeds.put(f"pages/{number}.jsonl", [*rows, {"id": "bad"}, *(alike(row, "copy") for row in rows)])
    seeds.put("pages/9.jsonl", [{**page(10 * number), "id": f"again-{number}"} for number in (1, 2, 3)])
    manifest = seeds.build()
    assert manifest.version == seeds.from_scratch().version
    rejected = seeds.store.open("seed_documents").rejected()
    assert rejected is not None
    told = {
        (row["place"], row["reason"], row["detail"]) for row in rejected.to_pylist() if row["reason"] != "missing_field"
    }
    originals = [10 * number + row for number in range(4) for row in range(number)]
    copies = {(f"pages:page-{row}-copy", "near_duplicate", f"page-{row}") for row in originals}
    assert told == copies | {(f"pages:again-{number}", "exact_duplicate", None) for number in (1, 2, 3)}


def test_duplicates_are_recorded_without_an_object_for_each(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    real = documents._drops
    peak = 0

    def measured(*arguments: Any) -> Any:
        nonlocal peak
        tracemalloc.start()
        found = list(real(*arguments))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return iter(found)

    monkeypatch.setattr(documents, "_drops", measured)
    count = 2000
    seeds.put("pages/a.jsonl", [{**page(1, 40), "id": f"the-same-page-again-{number}"} for number in range(count)])
    assert seeds.build().flow.dropped == {"exact_duplicate": count - 1}
    assert peak < 60 * count


def test_the_summary_names_the_commonest_licences_and_counts_the_others(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LICENCES", 2)
    licences = ["own-1", "MIT", "MIT", "ISC", "ISC", "ISC", "own-2"]
    seeds.put("pages/a.jsonl", [{**page(number), "license": name} for number, name in enumerate(licences)])
    manifest = seeds.build()
    summary = manifest.summary
    assert summary["licences"] == {"ISC": 3, "MIT": 2}
    assert summary["other_licences"] == {"licences": 2, "seeds": 2}
    assert summary["unlicensed"] == 0
    shown = funnel_of(manifest, seeds.recipe, "may become prompts")
    assert shown.charts["licences"].index("ISC") < shown.charts["licences"].index("MIT")
    table = [(row["licence"], row["seeds"]) for row in shown.tables["licence_policy"]]
    assert table == [("ISC", 3), ("MIT", 2), ("2 others", 2)]


def test_kept_units_stay_for_two_builds(seeds: Seeds) -> None:
    kept = seeds.store.work("seed_documents") / "files"
    seeds.put("pages/a.jsonl", [page(1)])
    seeds.put("pages/b.jsonl", [page(2)])
    seeds.build()
    seeds.remove("pages/b.jsonl")
    assert seeds.build().run["files_removed"] == 0
    seeds.put("pages/b.jsonl", [page(2)])
    seeds.put("pages/c.jsonl", [page(3)])
    assert seeds.build().run["files_read"] == 1, "b was still kept"
    seeds.remove("pages/b.jsonl")
    seeds.build()
    seeds.put("pages/c.jsonl", [page(4)])
    assert seeds.build().run["files_removed"] == 1
    assert len(list(kept.glob("*/unit.json"))) == 3
    assert not list(kept.glob(".*"))


def test_places_name_the_file_below_the_folder_of_the_source(seeds: Seeds) -> None:
    for folder in ("a", "b"):
        (seeds.folder / "corpus/pages" / folder).mkdir(parents=True)
        seeds.put(f"pages/{folder}/data.jsonl", [page(ord(folder)), {"id": "bad"}])
    source = dict(seeds.corpus.changes["sources"][0])
    seeds.corpus.changes["sources"] = [{**source, "path": "pages/**/*.jsonl"}]
    seeds.corpus.write()
    seeds.build()
    assert [place for place, _ in seeds.rejected()] == ["pages:a/data.jsonl:2", "pages:b/data.jsonl:2"]


def test_max_documents_are_the_first_ones_over_the_files_in_order(tmp_path: Path) -> None:
    seeds = Seeds(tmp_path, source={"max_documents": 5})
    seeds.put("pages/a.jsonl", [page(1), {"id": "bad"}, page(2), page(3)])
    seeds.put("pages/b.jsonl", [page(4), {"id": "short", "text": "no"}, page(5), {"id": "late", "text": "no"}, page(6)])
    seeds.put("pages/c.jsonl", [page(7), {"id": "never"}])
    manifest = seeds.build()
    assert seeds.ids() == {"page-1", "page-2", "page-3", "page-4", "page-5"}
    assert seeds.rejected() == [("pages:a.jsonl:2", "missing_field"), ("pages:short", "too_short")]
    assert manifest.flow.rows_in == 7
    assert manifest.run["files_read"] == 2, "nothing is read once there are enough"
    seeds.put("pages/a.jsonl", [page(1)])
    assert seeds.build().version == seeds.from_scratch().version
    assert seeds.ids() == {"page-1", "page-4", "page-5", "page-6", "page-7"}


def test_a_component_that_did_not_change_is_not_compared_again(seeds: Seeds) -> None:
    seeds.put("pages/a.jsonl", [page(1), alike(page(1), "copy"), page(2), alike(page(2), "copy"), page(3)])
    run = seeds.build().run
    assert (run["candidates"], run["candidates_compared"]) == (4, 4)
    seeds.put("pages/b.jsonl", [alike(page(2), "late"), page(4)])
    run = seeds.build().run
    assert (run["candidates"], run["candidates_compared"]) == (5, 3)
    assert seeds.ids() == {"page-1", "page-2", "page-3", "page-4"}


def test_duplicates_are_found_across_files_and_sources_and_the_first_stays(tmp_path: Path) -> None:
    seeds = Seeds(tmp_path, sources=("pages", "other"))
    seeds.put("other/a.jsonl", [page(1), alike(page(2), "copy"), page(3)])
    seeds.put("pages/z.jsonl", [{**page(1), "text": page(1)["text"].upper()}, page(2)])
    manifest = seeds.build()
    assert {(row["source"], row["native_id"]) for row in seeds.rows()} == {
        ("pages", "page-1"), ("pages", "page-2"), ("other", "page-3")
    }  # fmt: skip
    assert seeds.rejected() == [("other:page-1", "exact_duplicate"), ("other:page-2-copy", "near_duplicate")]
    assert manifest.summary["funnel"]["other"]["dropped"] == {"exact_duplicate": 1, "near_duplicate": 1}


def test_personal_data_is_masked_in_every_part_of_a_row(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = RawSeed(
        native_id="https://x.org/?mail=ann@example.net",
        text=prose("masked", 60) + " Write to ann.smith@example.net or call (217) 333-1000.",
        title="Letters of bob@example.net",
        context=("Mailing list", "carl@example.net"),
        url="https://x.org/?mail=ann@example.net",
    )
    monkeypatch.setattr(files, "rows", lambda source, unit: iter([raw]))
    seeds.put("pages/a.jsonl", [])
    assert seeds.build().summary["masked"] == 5
    (row,) = seeds.rows()
    shown = json.dumps([row[name] for name in ("text", "title", "context", "url", "native_id")])
    assert "example.net" not in shown
    assert "333-1000" not in shown
    assert row["masked"] == 5
    assert row["native_id"] == row["url"] == "https://x.org/?mail=email@example.com"


def test_personal_data_is_masked_in_native_ids_and_in_what_fell_out(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        RawSeed(native_id=f"{name}@example.net", text=text)
        for name, text in (
            ("ann", page(1)["text"]),
            ("bob", page(2)["text"]),
            ("same", page(1)["text"]),
            ("near", alike(page(2), "copy")["text"]),
            ("short", "no"),
            ("abuse", ABUSE * 3),
        )
    ]
    rows = [
        *found,
        Skipped("dora@example.net", "redirect", "to emil@example.net"),
        BadRow("fritz@example.net", "bad_row"),
    ]
    monkeypatch.setattr(files, "rows", lambda source, unit: iter(rows))
    seeds.put("pages/a.jsonl", [])
    manifest = seeds.build()
    assert manifest.flow.rows_in == 8
    kept = {row["seed_id"]: (row["native_id"], row["masked"]) for row in seeds.rows()}
    ids = [seed_id("pages", row.native_id, row.text) for row in found[:2]]
    assert kept == dict.fromkeys(ids, ("email@example.com", 1)), "ids are those of the source's own names"
    rejected = seeds.store.open("seed_documents").rejected()
    assert rejected is not None
    assert "example.net" not in json.dumps(rejected.to_pylist())
    assert set(rejected["place"].to_pylist()) == {"pages:email@example.com"}
    seeds.corpus.changes["seeds"] = {"mask_personal_data": False}
    seeds.corpus.write()
    seeds.build()
    assert seeds.ids() == {"ann@example.net", "bob@example.net"}


HEADER = "\n".join(f"the row {number:05d} | {number * 7 % 997} | {number * 31 % 499} |" for number in range(60))
ABUSE = "You are a stupid fucking asshole and everything that you ever posted here is shit. Go to hell, you moron. "
MEDICINE = (
    "Cancer of the breast or of the testicles is found early when people know their own bodies. A doctor examines the "
    "genital organs, the anus and the skin; sexual health is part of medicine, and so is the care of rape victims. "
    "The history of slavery, of the murder of Jews and of religious hatred belongs in every school."
)


def test_low_information_and_abuse_are_dropped_and_medicine_and_history_stay(seeds: Seeds) -> None:
    seeds.put(
        "pages/a.jsonl",
        [
            {"id": "numbers", "text": HEADER},
            {"id": "again", "text": "The same sentence stands here once more for you. " * 40},
            {"id": "abuse", "text": ABUSE * 3},
            {"id": "medicine", "text": MEDICINE},
        ],
    )
    manifest = seeds.build()
    assert seeds.ids() == {"medicine"}
    assert dict(seeds.rejected()) == {
        "pages:numbers": "low_information",
        "pages:again": "low_information",
        "pages:abuse": "toxic",
    }
    assert seeds.rows()[0]["toxicity"] < 0.5
    assert sum(manifest.summary["toxicity"]) == 1
    everything = {"max_toxicity": 1, "max_compression": 1000, "min_alphabetic_words": 0, "word_chars": [0, 99]}
    seeds.corpus.changes["seeds"] = everything
    seeds.corpus.write()
    seeds.build()
    assert seeds.ids() == {"medicine", "abuse", "again", "numbers"}


PROGRAM = """
import re, sys
from pathlib import Path
from cosmo_assets.recipe.recipe import load_recipe
from cosmo_assets.seeds import documents, duplicates, files
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.store import CorpusStore

files.PART_CHARS, duplicates.BATCH_CHARS = 400_000, 400_000
status = Path("/proc/self/status")

def kilobytes(name):
    return int(re.search(rf"{name}:\\s+(\\d+) kB", status.read_text())[1])

def build(folder):
    recipe = load_recipe(f"{folder}/corpus/recipe.yaml")
    return documents.build(Workspace(CorpusStore(Path(folder) / "data"), recipe))

build(sys.argv[1])  # models and libraries are loaded
Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here
before = kilobytes("VmRSS")
manifest = build(sys.argv[2])
print(manifest.rows, manifest.summary["characters"], 1024 * (kilobytes("VmHWM") - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory cannot be reset here")
def test_memory_grows_with_ids_not_with_texts(tmp_path: Path) -> None:
    """A third of the rows are near-duplicates, and more than half of the text stands in one file: held as a whole, its
    rows take 90 MB; in parts, everything takes 15 MB."""

    def rows(name: str, count: int) -> list[dict[str, Any]]:
        texts = [prose(f"{name}/{number}", 600) for number in range(count)]
        copies = [{"id": f"{name}-{number}-copy", "text": f"{text} So it ends."} for number, text in enumerate(texts)]
        return [{"id": f"{name}-{number}", "text": text} for number, text in enumerate(texts)] + copies[::2]

    small, large = Seeds(tmp_path / "small"), Seeds(tmp_path / "large")
    small.put("pages/a.jsonl", rows("warm", 4))
    large.put("pages/all.jsonl", rows("all", 1600))
    for number in range(40):
        large.put(f"pages/{number:02d}.jsonl", rows(str(number), 40))
    command = [sys.executable, "-c", PROGRAM, str(small.folder), str(large.folder)]
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # mimalloc keeps some 50 MB for itself
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
    kept, characters, grown = map(int, done.stdout.split())
    assert kept == 3200
    assert characters > 10_000_000
    assert grown < 35_000_000, f"{grown:,} bytes for {characters:,} characters"


def test_the_funnel_ends_with_the_seeds_that_are_kept(seeds: Seeds) -> None:
    seeds.put(
        "pages/a.jsonl",
        [page(1), page(2), {"id": "short", "text": "no"}, {**page(2), "id": "2b"}, {"id": "bad"}, alike(page(1), "x")],
    )
    assert steps(seeds.build().flow) == [
        ("read", 6),
        ("readable", 5),
        ("taken by the reader", 5),
        ("long enough", 4),
        ("not too long", 4),
        ("prose", 4),
        ("in a wanted language", 4),
        ("informative", 4),
        ("not toxic", 4),
        ("no exact duplicate", 3),
        ("no near-duplicate", 2),
        ("kept", 2),
    ]
