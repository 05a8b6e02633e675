"""The writer: what a stage may write, and what of it stands in the manifest.

Belongs here: one version while it is written. Does not belong here: publishing it (`test_store`).
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import VOLATILE, file_digest, table_digest
from cosmo_resources.storage.files import write_parquet, write_text
from cosmo_resources.storage.manifest import Manifest, read_manifest
from cosmo_resources.storage.writer import DatasetWriter, read_table

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("seconds", pa.float64(), metadata={VOLATILE: b"true"}),
    ]
)


def rows(*names: str, seconds: float = 0.0) -> pa.Table:
    return pa.Table.from_pylist([{"id": name, "size": len(name), "seconds": seconds} for name in names], schema=SCHEMA)


def finished(writer: DatasetWriter, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {"asset": "things", "bucket": "all", "stage_version": "1", "params": {}, "inputs": ()}
    return writer.finish(**{**fields, "plan": "p", "run": {"run_id": "r"}, **changes})


@pytest.fixture
def writer(tmp_path: Path) -> DatasetWriter:
    writer = DatasetWriter(tmp_path / "build", SCHEMA)
    writer.flow("rows", 0, 0)
    return writer


def test_parts_stand_in_the_manifest_in_the_order_of_writing(writer: DatasetWriter) -> None:
    for names, bucket in (("ab", "b001"), ("c", "b000"), ("", "b002")):
        writer.write(rows(*names), bucket=bucket)
    files = [(entry.name, entry.bucket, entry.rows) for entry in finished(writer).files]
    assert files == [
        ("part-00000.parquet", "b001", 2),
        ("part-00001.parquet", "b000", 1),
        ("part-00002.parquet", "b002", 0),
    ]


def test_what_the_manifest_says_of_a_file_is_true_of_the_file(writer: DatasetWriter) -> None:
    writer.write(rows("a", "b"))
    (entry,) = finished(writer).files
    path = writer.folder / entry.name
    assert (entry.bytes, entry.checksum) == (path.stat().st_size, file_digest(path))
    assert entry.content == table_digest(rows("a", "b"))


def test_the_manifest_is_on_disk_as_it_is_returned(writer: DatasetWriter) -> None:
    writer.write(rows("a"))
    writer.summary = {"words": {"é": 1}}
    writer.run = {"speed": 2.5}
    writer.reused_rows = 1
    manifest = finished(writer)
    assert read_manifest(writer.folder / "_manifest.json") == manifest
    assert manifest.run == {"run_id": "r", "speed": 2.5, "computed_rows": 0, "reused_rows": 1}


def test_columns_come_in_the_order_and_types_of_the_schema(writer: DatasetWriter) -> None:
    writer.write(pa.table({"seconds": [1.0], "more": ["x"], "size": pa.array([3], pa.int16()), "id": ["a"]}))
    assert pq.read_schema(writer.folder / "part-00000.parquet").equals(SCHEMA)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"id": ["a"], "size": [1]}),
        pa.table({"id": ["a"], "size": ["one"], "seconds": [1.0]}),
        pa.table(
            {"id": [None], "size": [1], "seconds": [1.0]},
            schema=pa.schema([(n, t) for n, t in zip(SCHEMA.names, SCHEMA.types, strict=True)]),
        ),
        pa.table({"id": ["a"], "size": [1.5], "seconds": [1.0]}),
    ],
    ids=["column missing", "another type", "null where none may be", "fraction for a whole number"],
)
def test_a_table_that_does_not_fit_the_schema_is_an_error(writer: DatasetWriter, table: pa.Table) -> None:
    with pytest.raises((KeyError, ValueError)):
        writer.write(table)
    assert finished(writer).files == ()


def test_volatile_columns_are_stored_but_are_no_part_of_the_version(tmp_path: Path) -> None:
    manifests = []
    for seconds in (1.0, 2.0):
        writer = DatasetWriter(tmp_path / str(seconds), SCHEMA)
        writer.write(rows("a", seconds=seconds))
        writer.flow("rows", 1, 1)
        manifests.append(finished(writer))
        assert read_table(writer.folder / "part-00000.parquet")["seconds"].to_pylist() == [seconds]
    assert manifests[0].version == manifests[1].version
    assert manifests[0].files[0].checksum != manifests[1].files[0].checksum


def test_an_adopted_shard_is_a_part_without_a_copy(writer: DatasetWriter, tmp_path: Path) -> None:
    shard = tmp_path / "shard.parquet"
    write_parquet(shard, rows("a", "b"))
    writer.write(rows("first"))
    writer.adopt(shard, rows=2, content=table_digest(rows("a", "b")), bucket="b001")
    entry = finished(writer).files[1]
    assert (entry.name, entry.rows, entry.bucket) == ("part-00001.parquet", 2, "b001")
    assert (writer.folder / entry.name).stat().st_ino == shard.stat().st_ino


def test_an_adopted_shard_is_the_same_version_as_the_written_table(tmp_path: Path) -> None:
    versions = set()
    for name in ("written", "adopted"):
        writer = DatasetWriter(tmp_path / name, SCHEMA)
        if name == "written":
            writer.write(rows("a"))
        else:
            write_parquet(tmp_path / "shard.parquet", rows("a"))
            writer.adopt(tmp_path / "shard.parquet", rows=1, content=table_digest(rows("a")))
        writer.flow("rows", 1, 1)
        versions.add(finished(writer).version)
    assert len(versions) == 1


def test_an_artifact_may_lie_in_a_folder_of_its_own(writer: DatasetWriter) -> None:
    writer.artifact("charts/sizes.svg", lambda path: write_text(path, "<svg/>"))
    (entry,) = finished(writer).files
    assert (entry.name, entry.role, entry.rows) == ("charts/sizes.svg", "artifact", 0)
    assert entry.content == file_digest(writer.folder / "charts" / "sizes.svg")


def test_artifacts_do_not_count_as_parts(writer: DatasetWriter) -> None:
    writer.artifact("notes.txt", lambda path: write_text(path, "text"))
    writer.write(rows("a"))
    assert [entry.name for entry in finished(writer).files] == ["notes.txt", "part-00000.parquet"]


def test_rejected_rows_are_kept_with_place_field_reason_and_detail(writer: DatasetWriter) -> None:
    writer.reject("pages.jsonl:3", "too_short", field="text", detail="Hi")
    writer.reject("pages.jsonl:9", "not_json")
    (entry,) = finished(writer).files
    assert (entry.name, entry.role, entry.rows) == ("rejected-00000.parquet", "rejected", 2)
    assert read_table(writer.folder / entry.name).to_pylist() == [
        {"place": "pages.jsonl:3", "field": "text", "reason": "too_short", "detail": "Hi"},
        {"place": "pages.jsonl:9", "field": None, "reason": "not_json", "detail": None},
    ]


def test_a_rejected_row_with_half_a_character_does_not_end_the_stage(writer: DatasetWriter) -> None:
    writer.reject("pages.jsonl:\ud83d", "bad_text", detail="cut here: \udc00")
    finished(writer)
    (row,) = read_table(writer.folder / "rejected-00000.parquet").to_pylist()
    assert (row["place"], row["detail"]) == ("pages.jsonl:?", "cut here: ?")


def test_rejected_rows_are_part_of_the_version(tmp_path: Path) -> None:
    versions = set()
    for detail in ("one", "two"):
        writer = DatasetWriter(tmp_path / detail, SCHEMA)
        writer.reject("a:1", "bad", detail=detail)
        writer.flow("rows", 1, 0, dropped={"bad": 1})
        versions.add(finished(writer).version)
    assert len(versions) == 2


def test_a_stage_that_states_no_flow_is_not_finished(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "build", SCHEMA)
    with pytest.raises(CosmoError, match="things: the stage stated no flow"):
        finished(writer)
    assert not (writer.folder / "_manifest.json").exists()


def test_a_figure_that_json_does_not_have_is_refused(writer: DatasetWriter) -> None:
    writer.summary = {"mean": float("nan")}
    with pytest.raises(ValueError, match="JSON compliant"):
        finished(writer)


def test_what_is_discarded_is_gone(writer: DatasetWriter) -> None:
    writer.write(rows("a"))
    writer.discard()
    assert not writer.folder.exists()


def test_a_damaged_parquet_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(CosmoError, match="not a readable parquet file") as caught:
        read_table(path)
    assert str(path) in caught.value.message
