"""Digests: what changes them, and above all what does not.

Belongs here: strings, JSON values, files and Arrow tables. Does not belong here: what goes into which id.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmo_resources.storage.digest import (
    VOLATILE,
    canonical_json,
    content_columns,
    digest,
    file_digest,
    files_digest,
    frozen_mapping,
    json_digest,
    schema_fingerprint,
    table_digest,
)

PARTS = st.lists(st.text(max_size=4), max_size=5)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("count", pa.int64()),
        pa.field("share", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("words", pa.list_(pa.string())),
        pa.field("vector", pa.list_(pa.float16(), 2)),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(max_size=3),
            "count": st.none() | st.integers(-5, 5),
            "share": st.none() | st.floats(-1, 1, width=16),
            "flag": st.none() | st.booleans(),
            "words": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3),
            "vector": st.none() | st.lists(st.sampled_from([0.0, 0.5, -1.5]), min_size=2, max_size=2),
        }
    ),
    max_size=12,
)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@settings(deadline=None)
@given(PARTS, PARTS)
def test_two_sequences_of_parts_have_one_digest_only_if_they_are_equal(left: list[str], right: list[str]) -> None:
    assert (digest(*left) == digest(*right)) == (left == right)


@pytest.mark.parametrize(
    ("left", "right"),
    [(("ab", "c"), ("a", "bc")), (("a",), ("a", "")), ((), ("",)), (("a\0b",), ("a", "b")), (("é",), ("e\u0301",))],
)
def test_parts_cannot_flow_into_one_another(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert digest(*left) != digest(*right)


def test_a_digest_is_128_bits_in_hex_and_fixed_for_all_time() -> None:
    assert digest("seed", "web", "1") == "5416347c549378b5bd01c56b6e91a761"


def test_a_lone_surrogate_has_a_digest() -> None:
    assert digest("\ud800") != digest("\udfff")


def test_bytes_count_like_the_text_that_they_encode() -> None:
    assert digest("né".encode()) == digest("né")


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=5), st.randoms())
def test_the_order_of_keys_is_no_part_of_a_json_value(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert json_digest({key: value[key] for key in keys}) == json_digest(value)


def test_the_order_of_a_list_is_part_of_a_json_value() -> None:
    assert json_digest([1, 2]) != json_digest([2, 1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_numbers_that_json_does_not_have_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


def test_a_frozen_mapping_is_detached_from_its_original() -> None:
    original = {"a": [1]}
    frozen = frozen_mapping(original)
    original["a"].append(2)
    assert frozen == {"a": [1]}


def test_a_file_larger_than_a_block_is_digested_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * (1 << 20) + b"b")
    before = file_digest(path)
    path.write_bytes(b"a" * (1 << 20) + b"c")
    assert file_digest(path) != before


def test_a_set_of_files_has_one_digest_in_any_order_and_any_place(tmp_path: Path) -> None:
    digests = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        (folder / "sub").mkdir(parents=True)
        paths = [folder / "a", folder / "sub" / "b"]
        for path in paths:
            path.write_text(path.name, encoding="utf-8")
        digests += [files_digest(paths, folder), files_digest(paths[::-1], folder)]
    assert len(set(digests)) == 1


def test_a_renamed_file_changes_the_digest_of_its_set(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("text", encoding="utf-8")
    before = files_digest([path], tmp_path)
    assert files_digest([path.rename(tmp_path / "b")], tmp_path) != before


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_chunks_do_not_change_a_tables_digest(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    table = table_of(rows)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    chunked = pa.concat_tables(table.slice(start, end - start) for start, end in itertools.pairwise(bounds))
    assert table_digest(chunked) == table_digest(table)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 12), st.integers(0, 12))
def test_a_slice_has_the_digest_of_its_rows_alone(rows: list[dict[str, Any]], start: int, length: int) -> None:
    assert table_digest(table_of(rows).slice(start, length)) == table_digest(table_of(rows[start : start + length]))


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_two_tables_have_one_digest_only_if_their_rows_are_equal(left: list[Any], right: list[Any]) -> None:
    equal = repr(left) == repr(right)  # unlike ==, it tells 0.0 from -0.0, which differ in their bits
    assert (table_digest(table_of(left)) == table_digest(table_of(right))) == equal


@settings(max_examples=60, deadline=None)
@given(ROWS.filter(bool), st.data())
def test_one_changed_cell_changes_a_tables_digest(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(rows) - 1))
    column, value = data.draw(
        st.sampled_from([("id", "new!"), ("count", 99), ("share", 7.5), ("words", ["new!"]), ("vector", [9.0, 9.0])])
    )
    changed = [{**row, column: value} if at == number else row for at, row in enumerate(rows)]
    assert table_digest(table_of(changed)) != table_digest(table_of(rows))


def test_a_table_of_more_rows_than_a_batch_is_digested_to_its_end() -> None:
    numbers = np.arange(70_000)
    before = table_digest(pa.table({"n": numbers}))
    numbers[-1] = 0
    assert table_digest(pa.table({"n": numbers})) != before


def test_the_order_of_rows_changes_a_tables_digest() -> None:
    assert table_digest(pa.table({"a": [1, 2]})) != table_digest(pa.table({"a": [2, 1]}))


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"b": [1, None]}),
        pa.table({"a": pa.array([1, None], pa.int32())}),
        pa.table({"a": [1, 0]}),
        pa.table([pa.array([1, None])], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])),
    ],
    ids=["name", "type", "null for zero", "nullability"],
)
def test_name_type_nulls_and_nullability_are_part_of_a_tables_digest(other: pa.Table) -> None:
    assert table_digest(other) != table_digest(pa.table({"a": [1, None]}))


def test_what_lies_under_a_null_is_no_part_of_a_tables_digest() -> None:
    masked = pa.table({"a": pa.array(np.array([1, 2, 3]), mask=np.array([False, True, False]))})
    computed = pa.table({"a": pc.if_else(pa.array([True, None, True]), pa.array([1, 5, 3]), 0)})
    plain = pa.table({"a": [1, None, 3]})
    assert len({table_digest(masked), table_digest(computed), table_digest(plain)}) == 1


def test_a_validity_bitmap_without_nulls_is_no_part_of_a_tables_digest() -> None:
    plain = pa.array([1, 2, 3])
    bitmap = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\xf7"), plain.buffers()[1]])
    assert table_digest(pa.table({"a": bitmap})) == table_digest(pa.table({"a": plain}))


def test_a_column_marked_volatile_is_no_part_of_a_tables_digest() -> None:
    schema = pa.schema([pa.field("a", pa.int64()), pa.field("seconds", pa.float64(), metadata={VOLATILE: b"true"})])
    tables = [pa.table({"a": [1, 2], "seconds": seconds}, schema=schema) for seconds in ([0.1, 0.2], [9.0, None])]
    assert content_columns(schema) == ["a"]
    assert table_digest(tables[0]) == table_digest(tables[1])


def test_descriptions_of_table_and_columns_are_no_part_of_a_tables_digest() -> None:
    plain = pa.table({"a": [1, 2]})
    described = pa.table(
        {"a": [1, 2]},
        schema=pa.schema([pa.field("a", pa.int64(), metadata={"description": "a number"})], metadata={"by": "me"}),
    )
    assert table_digest(described) == table_digest(plain)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_table_that_went_through_a_file_keeps_its_digest(tmp_path: Path, compression: str) -> None:
    table = table_of(
        [{"id": str(n), "count": n % 3 or None, "words": ["é", None], "vector": [n, 0]} for n in range(50)]
    )
    pq.write_table(table, tmp_path / "t.parquet", compression=compression, row_group_size=7)
    back = pq.read_table(tmp_path / "t.parquet").cast(SCHEMA)  # parquet calls a list's items "element"
    assert table_digest(back) == table_digest(table)


def test_an_empty_table_has_the_digest_of_its_columns_however_it_came_to_be_empty() -> None:
    empty = SCHEMA.empty_table()
    no_chunks = pa.table([pa.chunked_array([], type=field.type) for field in SCHEMA], schema=SCHEMA)
    sliced = table_of([{"id": "a"}]).slice(0, 0)
    assert table_digest(no_chunks) == table_digest(sliced) == table_digest(empty)
    assert table_digest(empty) != table_digest(pa.schema([pa.field("other", pa.string())]).empty_table())


@pytest.mark.parametrize(
    "field",
    [pa.field("b", pa.int64()), pa.field("a", pa.int32()), pa.field("a", pa.int64(), nullable=False)],
    ids=["name", "type", "nullability"],
)
def test_a_schemas_fingerprint_tells_name_type_and_nullability(field: pa.Field) -> None:
    assert schema_fingerprint(pa.schema([field])) != schema_fingerprint(pa.schema([pa.field("a", pa.int64())]))


def test_a_schemas_fingerprint_is_blind_to_descriptions() -> None:
    described = pa.field("a", pa.int64(), metadata={"description": "a number"})
    assert schema_fingerprint(pa.schema([described])) == schema_fingerprint(pa.schema([pa.field("a", pa.int64())]))
