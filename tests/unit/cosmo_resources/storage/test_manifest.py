"""The manifest: what is part of a version's identity, and what a reader refuses.

Belongs here: one manifest by itself. Does not belong here: finding and building versions (`test_store`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.files import write_text
from cosmo_resources.storage.manifest import FileEntry, Flow, InputRef, Manifest, identity_of, read_manifest


def entry(name: str, bucket: str | None, content: str, **changes: Any) -> FileEntry:
    fields = {"name": name, "role": "rows", "bucket": bucket, "rows": 2, "bytes": 100, "checksum": "c", **changes}
    return FileEntry(content=content, **fields)


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "asset": "things",
        "bucket": "all",
        "stage_version": "1",
        "params": {"threshold": 0.5, "names": ["é", "\u2028"]},
        "inputs": (InputRef(asset="seeds", bucket="all", version="s1"),),
        "schema_fingerprint": "f",
        "files": (entry("part-00000.parquet", "b000", "x"), entry("part-00001.parquet", "b001", "y")),
        "flow": Flow(unit="rows", rows_in=6, rows_out=4, dropped={"short": 2}),
        "summary": {"words": 10},
        "plan": "p",
        "run": {"run_id": "r1", "wall_seconds": 1.5},
        **changes,
    }
    draft = Manifest(version="", **fields)
    return Manifest(version=identity_of(draft.model_dump(mode="json")), **fields)


def written(folder: Path, value: Manifest) -> Path:
    path = folder / "_manifest.json"
    write_text(path, json.dumps(value.model_dump(mode="json")))
    return path


def edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads(path.read_text(encoding="utf-8"))
    edit(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    original = manifest()
    assert read_manifest(written(tmp_path, original)) == original


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields.update(asset="other"),
        lambda fields: fields.update(bucket="b000"),
        lambda fields: fields.update(stage_version="2"),
        lambda fields: fields["params"].update(threshold=0.6),
        lambda fields: fields["inputs"][0].update(version="s2"),
        lambda fields: fields["inputs"].clear(),
        lambda fields: fields.update(schema_fingerprint="g"),
        lambda fields: fields["files"].pop(),
        lambda fields: fields["files"].reverse(),
        lambda fields: fields["files"][0].update(name="part-00007.parquet"),
        lambda fields: fields["files"][0].update(role="artifact"),
        lambda fields: fields["files"][0].update(bucket=None),
        lambda fields: fields["files"][0].update(rows=3),
        lambda fields: fields["files"][0].update(content="z"),
        lambda fields: fields["flow"].update(rows_out=5),
        lambda fields: fields["flow"]["dropped"].update(short=1),
        lambda fields: fields["summary"].update(words=11),
        lambda fields: fields.update(plan="q"),
        lambda fields: fields.update(version="0" * 32),
    ],
    ids=[
        *("asset", "bucket", "stage version", "params", "input version", "inputs", "schema", "fewer files"),
        *("order of files", "file name", "role", "file bucket", "rows", "content", "flow", "dropped", "summary"),
        *("plan", "version"),
    ],
)
def test_a_manifest_edited_by_hand_is_refused(tmp_path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = written(tmp_path, manifest())
    edited(path, edit)
    with pytest.raises(CosmoError, match="does not match its version") as caught:
        read_manifest(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy == f"remove the folder {tmp_path} and materialize the asset again"


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields["files"][0].update(bytes=999),
        lambda fields: fields["files"][0].update(checksum="other"),
        lambda fields: fields["run"].update(run_id="r2", host="elsewhere"),
    ],
    ids=["bytes", "checksum", "run"],
)
def test_bytes_checksums_and_the_run_are_no_part_of_the_identity(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    path = written(tmp_path, manifest())
    edited(path, edit)
    assert read_manifest(path).version == manifest().version


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"asset": "things"}', "\ufffd" * 3],
    ids=["empty", "cut", "list", "null", "fields missing", "not JSON"],
)
def test_what_is_no_manifest_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "_manifest.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CosmoError, match="not a readable manifest") as caught:
        read_manifest(path)
    assert str(path) in caught.value.message


def test_a_manifest_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"_manifest\.json: not a readable manifest"):
        read_manifest(tmp_path / "_manifest.json")


def test_a_field_that_cosmo_does_not_know_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, manifest())
    edited(path, lambda fields: fields.update(colour="red"))
    with pytest.raises(CosmoError, match="colour"):
        read_manifest(path)


def test_a_buckets_ref_changes_with_that_bucket_alone() -> None:
    before = manifest()
    after = manifest(files=(before.files[0], entry("part-00001.parquet", "b001", "changed")))
    assert after.ref("b000") == before.ref("b000")
    assert after.ref("b001") != before.ref("b001")


def test_a_buckets_ref_does_not_count_the_parts_of_other_buckets() -> None:
    before = manifest()
    after = manifest(
        files=(
            entry("part-00000.parquet", "b000", "x"),
            entry("part-00001.parquet", "b000", "new"),
            entry("part-00002.parquet", "b001", "y"),
        )
    )
    assert after.ref("b001") == before.ref("b001")
    assert after.ref("b000") != before.ref("b000")


def test_a_buckets_ref_changes_with_the_order_of_its_parts() -> None:
    parts = (entry("part-00000.parquet", "b000", "x"), entry("part-00001.parquet", "b000", "y"))
    swapped = (entry("part-00000.parquet", "b000", "y"), entry("part-00001.parquet", "b000", "x"))
    assert manifest(files=parts).ref("b000") != manifest(files=swapped).ref("b000")


def test_a_buckets_ref_changes_with_the_schema() -> None:
    assert manifest(schema_fingerprint="g").ref("b000") != manifest().ref("b000")


def test_the_ref_of_the_whole_is_the_version() -> None:
    value = manifest()
    assert value.ref() == value.ref("all") == InputRef(asset="things", bucket="all", version=value.version)


def test_rows_are_those_of_the_table_alone() -> None:
    rejected = entry("rejected-00000.parquet", None, "z", role="rejected", rows=7)
    assert manifest(files=(*manifest().files, rejected)).rows == 4


@pytest.mark.parametrize(
    ("flow", "balanced"),
    [
        (Flow(unit="rows", rows_in=6, rows_out=3, dropped={"short": 2}, failed={"failed": 1}), True),
        (Flow(unit="rows", rows_in=0, rows_out=0), True),
        (Flow(unit="rows", rows_in=6, rows_out=3, dropped={"short": 2}), False),
        (Flow(unit="rows", rows_in=5, rows_out=5, failed={"failed": 1}), False),
    ],
)
def test_a_flow_is_balanced_where_every_row_is_accounted_for(flow: Flow, balanced: bool) -> None:
    assert flow.balanced is balanced
