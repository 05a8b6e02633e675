"""Records: JSON Lines, CSV and Parquet, whole, compressed, damaged and cut off."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from cosmo_assets.seeds.readers import records, streams
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row
from cosmo_assets.seeds.readers.registry import read
from cosmo_assets.seeds.readers.streams import Line
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest


def rows_of(reader: str, path: Path, **options: Any) -> list[Row]:
    return list(read("pages", reader, path, options))


def json_lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def reasons(rows: list[Row]) -> list[tuple[str, str, str | None]]:
    return [(row.place, row.reason, row.field) for row in rows if isinstance(row, BadRow)]


def texts(rows: list[Row]) -> list[str]:
    return [row.text for row in rows if isinstance(row, RawSeed)]


def test_a_row_gives_the_fields_that_the_options_name(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        json_lines(
            {"meta": {"key": 7, "tags": ["x", "y"]}, "body": "Some text.", "head": "A title", "from": "https://a.b"}
        ),
    )
    options = {"text": "body", "id": "meta.key", "title": "head", "url": "from"}
    assert rows_of("jsonl", path, **options) == [RawSeed("7", "Some text.", title="A title", url="https://a.b")]
    assert rows_of("jsonl", path, text="meta.tags.1")[0] == RawSeed(digest("y"), "y")


def test_licence_and_attribution_are_those_of_the_row(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "license": "cc-by-4.0", "attribution": "Ada"},
        {
            "text": "b",
            "license": ["MIT", "https://creativecommons.org/licenses/by/4.0/"],
            "attribution": ["Ada", "Alan"],
        },
        {"text": "c", "license": None, "attribution": " "},
        {"text": "d", "license": "all rights reserved"},
        {"text": "e", "license": 7},
        {"text": "f", "license": [7]},
        {"text": "g", "meta": {"rights": "CC BY-SA 3.0", "by": "Grace"}},
    ]
    path = written(tmp_path / "a.jsonl", json_lines(*rows))
    found = rows_of("jsonl", path)
    assert [(row.licence, row.attribution) for row in found if isinstance(row, RawSeed)] == [
        ("CC-BY-4.0", "Ada"),
        ("MIT AND CC-BY-4.0", "Ada, Alan"),
        (None, None),
        ("all rights reserved", None),
        ("7", None),
        (None, None),
    ]
    assert reasons(found) == [("a.jsonl:6", "wrong_type", "license")]
    named = rows_of("jsonl", path, licence="meta.rights", attribution="meta.by")
    assert [(row.licence, row.attribution) for row in named if isinstance(row, RawSeed)][-1] == (
        "CC-BY-SA-3.0",
        "Grace",
    )
    table = pa.Table.from_pylist([{"body": "a", "rights": "CC0 1.0", "more": "x"}])
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows_of("parquet", tmp_path / "a.parquet", text="body", licence="rights")[0] == RawSeed(
        digest("a"), "a", licence="CC0-1.0"
    )
    written(tmp_path / "a.csv", b"text,license,attribution\na,cc-by-4.0,Ada\n")
    assert rows_of("csv", tmp_path / "a.csv")[0] == RawSeed(digest("a"), "a", licence="CC-BY-4.0", attribution="Ada")
    with pytest.raises(CosmoError, match="no column 'rights' for the licence"):
        rows_of("csv", tmp_path / "a.csv", licence="rights")


def test_a_key_with_dots_goes_before_a_path(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", json_lines({"a.b": "whole key", "a": {"b": "path"}}))
    assert texts(rows_of("jsonl", path, text="a.b")) == ["whole key"]


def test_a_missing_id_falls_back_to_the_url_then_to_a_digest(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        json_lines({"text": "one", "url": "https://x.y", "id": None}, {"text": "two", "id": float("nan"), "title": ""}),
    )
    first, second = rows_of("jsonl", path)
    assert first == RawSeed("https://x.y", "one", url="https://x.y")
    assert second == RawSeed(digest("two"), "two")


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        (b'{"text": "cut', "invalid_json", None),
        (b'{"text": "caf\xe9"}', "not_utf8", None),
        (b'{"body": "x"}', "missing_field", "text"),
        (b'{"text": null}', "missing_field", "text"),
        (b'{"text": ["x"]}', "wrong_type", "text"),
        (b'{"text": 5}', "wrong_type", "text"),
        (b'{"text": " \\n "}', "empty_field", "text"),
        (b'{"text": "x", "id": true}', "wrong_type", "id"),
        (b'{"text": "x", "title": {"a": 1}}', "wrong_type", "title"),
        (b'{"text": "x", "url": ["a"]}', "wrong_type", "url"),
        (b'"only text"', "wrong_type", "text"),
        (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "invalid_json", None),
        (b'{"a":' * 100_000, "invalid_json", None),
    ],
)
def test_a_bad_line_is_recorded_in_its_place_and_costs_only_itself(
    tmp_path: Path, line: bytes, reason: str, field: str | None
) -> None:
    good = json_lines({"text": "before"}), json_lines({"text": "after"})
    rows = rows_of("jsonl", written(tmp_path / "a.jsonl", good[0] + b"\n" + line + b"\n" + good[1]))
    assert texts(rows) == ["before", "after"]
    assert reasons(rows) == [("a.jsonl:3", reason, field)]


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    text = "one\u2028two\u0085three\x0bfour"
    path = written(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + json_lines({"text": text}).replace(b"\n", b"\r\n"))
    assert texts(rows_of("jsonl", path)) == [text]


def test_a_line_is_known_by_its_number_and_by_whether_it_ended(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "\ufeffone\r\ntw\ro\u2028x\n\nlast".encode())
    expected = [Line(1, "one", True), Line(2, "tw\ro\u2028x", True), Line(3, "", True), Line(4, "last", False)]
    assert list(streams.lines(path)) == expected


def test_half_a_surrogate_pair_is_replaced_so_that_the_text_can_be_stored(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b'{"text": "half \\ud83d", "title": "\\ude00", "id": "\\ud83d"}\n')
    assert rows_of("jsonl", path) == [RawSeed("\ufffd", "half \ufffd", title="\ufffd")]


def test_a_json_array_is_read_as_rows(tmp_path: Path) -> None:
    rows: list[Any] = [{"text": 'a "quoted", [bracketed] {text} \\'}, {"text": "b", "n": [[1], {"x": "]"}]}]
    for content in (json.dumps(rows), json.dumps(rows, indent=2), " \n" + json.dumps(rows) + "\n\n"):
        found = rows_of("jsonl", written(tmp_path / "a.json", content.encode()))
        assert texts(found) == [row["text"] for row in rows]
        assert reasons(found) == []


def test_a_bad_element_of_an_array_costs_only_itself(tmp_path: Path) -> None:
    bad = [b'{"text": "b" oops}', b'{"text": "no end quote}', b'{"text": "\xff"}', b'{"text": "raw\nline end"}', b'""']
    good = [b'{"text": "%c"}' % letter for letter in b"abcdef"]
    elements = [element for pair in zip(good, bad, strict=False) for element in pair] + good[-1:]
    for start, between, end in ((b"[", b",\n", b"]"), (b"[\n  ", b",\n  ", b"\n]\n")):
        rows = rows_of("jsonl", written(tmp_path / "a.json", start + between.join(elements) + end))
        assert texts(rows) == ["a", "b", "c", "d", "e", "f"]
        assert reasons(rows) == [
            ("a.json:2", "invalid_json", None),
            ("a.json:4", "invalid_json", None),
            ("a.json:6", "not_utf8", None),
            ("a.json:8", "invalid_json", None),
            ("a.json:10", "wrong_type", "text"),
        ]


def test_elements_are_whole_wherever_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": 'a\\"b", [{\\', "n": [[number], {"x": '"]}'}]} for number in range(40)]
    content = json.dumps(rows, indent=1).encode().replace(b'"x": "', b'"x": "\n', 1)
    path = written(tmp_path / "a.json", content)
    expected = rows_of("jsonl", path)
    assert [type(row) for row in expected].count(BadRow) == 1
    assert len(expected) == 40
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr(streams, "BLOCK_BYTES", size)
        assert rows_of("jsonl", path) == expected


def test_what_follows_an_array_is_not_lost_in_silence(tmp_path: Path) -> None:
    rows = rows_of("jsonl", written(tmp_path / "a.json", b'[{"text": "a"}] [{"text": "b"}]'))
    assert texts(rows) == ["a"]
    assert [reason for _, reason, _ in reasons(rows)] == ["invalid_json"]


def test_an_array_that_is_cut_off_gives_its_whole_elements(tmp_path: Path) -> None:
    whole = json.dumps([{"text": "a"}, {"text": "b"}, {"text": "c"}])
    rows = rows_of("jsonl", written(tmp_path / "a.json", whole[:-5].encode()))
    assert texts(rows) == ["a", "b"]
    assert reasons(rows) == [("a.json:3", "truncated_file", None)]


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"[]"])
def test_an_empty_file_is_one_bad_row(tmp_path: Path, content: bytes) -> None:
    assert reasons(rows_of("jsonl", written(tmp_path / "a.jsonl", content))) == [("a.jsonl", "empty_file", None)]


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def many_rows(count: int = 300) -> list[dict[str, str]]:
    return [{"id": str(number), "text": digest(str(number)) * 4} for number in range(count)]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_are_read_by_their_suffix_however_many_streams_they_hold(tmp_path: Path, suffix: str) -> None:
    compress, rows = COMPRESSORS[suffix], many_rows()
    content = compress(json_lines(*rows[:100])) + compress(b"") + compress(json_lines(*rows[100:]))
    found = rows_of("jsonl", written(tmp_path / f"a.jsonl{suffix}", content))
    assert texts(found) == [row["text"] for row in rows]
    assert reasons(found) == []


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_compressed_file_that_is_cut_off_gives_its_whole_rows_and_one_bad_one(tmp_path: Path, suffix: str) -> None:
    rows = many_rows(6000)
    whole = COMPRESSORS[suffix](json_lines(*rows))
    found = rows_of("jsonl", written(tmp_path / f"a.jsonl{suffix}", whole[: len(whole) * 9 // 10]))
    kept = texts(found)
    assert kept == [row["text"] for row in rows[: len(kept)]]
    assert len(kept) > 600 or suffix == ".bz2", "bzip2 gives nothing of a block that is not whole"
    assert reasons(found) == [(f"a.jsonl{suffix}:{len(kept) + 1}", "truncated_file", None)]


def test_a_corrupt_stream_gives_the_rows_before_the_damage(tmp_path: Path) -> None:
    rows = many_rows(3000)
    whole = bytearray(gzip.compress(json_lines(*rows)))
    middle = len(whole) // 2
    whole[middle : middle + 200] = b"\xff" * 200
    found = rows_of("jsonl", written(tmp_path / "a.jsonl.gz", bytes(whole)))
    assert len(texts(found)) > 1000
    assert {reason for _, reason, _ in reasons(found)} <= {"damaged_file", "invalid_json", "not_utf8"}
    assert reasons(found)


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_file_that_is_not_compressed_as_its_name_says_is_an_error_with_a_remedy(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a.jsonl{suffix}", json_lines({"text": "plain"}))
    with pytest.raises(CosmoError, match=rf"a\.jsonl\{suffix}.*compressed") as error:
        rows_of("jsonl", path)
    assert "suffix" in error.value.remedy


def test_utf16_a_folder_and_a_missing_file_are_errors_with_remedies(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "x"}\n'.encode("utf-16"))
    with pytest.raises(CosmoError, match="UTF-16") as error:
        rows_of("jsonl", path)
    assert "iconv" in error.value.remedy
    for other in (tmp_path, tmp_path / "missing.jsonl"):
        for reader in ("jsonl", "csv", "parquet", "mediawiki", "topic_tree", "openstax"):
            with pytest.raises(CosmoError, match=other.name):
                rows_of(reader, other)


def test_a_line_that_is_too_long_is_skipped_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_ROW_BYTES", 1000)
    content = json_lines({"text": "a"}, {"text": "x" * 600_000}, {"text": "b"})
    rows = rows_of("jsonl", written(tmp_path / "a.jsonl", content))
    assert texts(rows) == ["a", "b"]
    assert reasons(rows) == [("a.jsonl:2", "too_long", None)]
    content = b'[{"text": "a"}, {"text": "' + b"x" * 600_000 + b'"}]'
    rows = rows_of("jsonl", written(tmp_path / "b.json", content))
    assert (texts(rows), [reason for _, reason, _ in reasons(rows)]) == (["a"], ["too_long"])


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", json_lines(*many_rows(20_000)) + b"\xff\xfe")
    first = next(iter(read("pages", "jsonl", path, {})))
    assert isinstance(first, RawSeed)


CSV = 'id,text,title,url\n1,"a text\nof two lines, with ""quotes""",T,https://a.b\n2,second,,\n'


def test_csv_rows_may_span_lines(tmp_path: Path) -> None:
    rows = rows_of("csv", written(tmp_path / "a.csv", CSV.encode()))
    assert rows == [
        RawSeed("1", 'a text\nof two lines, with "quotes"', title="T", url="https://a.b"),
        RawSeed("2", "second"),
    ]


def test_csv_with_another_delimiter_compressed_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    content = "\ufeffid;text\n1;eins, zwei\n".encode()
    path = written(tmp_path / "a.csv.gz", gzip.compress(content))
    assert rows_of("csv", path, delimiter=";") == [RawSeed("1", "eins, zwei")]
    with pytest.raises(CosmoError, match="delimiter"):
        rows_of("csv", path, delimiter=";;")


def test_bad_csv_rows_are_recorded_by_their_line(tmp_path: Path) -> None:
    content = b'id,text\n1,good\n2,too,many\n3,caf\xe9\n4,\n5,"bad" quote\n6,good too\n7,"never closed\n'
    rows = rows_of("csv", written(tmp_path / "a.csv", content))
    assert texts(rows) == ["good", "good too"]
    assert reasons(rows) == [
        ("a.csv:3", "wrong_field_count", None),
        ("a.csv:4", "not_utf8", "text"),
        ("a.csv:5", "empty_field", "text"),
        ("a.csv:6", "invalid_csv", None),
        ("a.csv:8", "invalid_csv", None),
    ]


def test_a_missing_quote_costs_its_own_line_not_the_rest_of_the_file(tmp_path: Path) -> None:
    lines = [
        "id,text",
        "1,good",
        '2,"never closed',
        *(f"{n},row {n}" for n in range(3, 4000)),
        '4000,"a\nb"',
        "4001,end",
    ]
    rows = rows_of("csv", written(tmp_path / "a.csv", "\n".join(lines).encode()))
    assert texts(rows) == ["good", *(f"row {n}" for n in range(3, 4000)), "a\nb", "end"]
    (bad,) = (row for row in rows if isinstance(row, BadRow))
    assert (bad.place, bad.reason) == ("a.csv:3", "invalid_csv")
    assert bad.detail is not None
    assert bad.detail.startswith("lines 3 to 4001 were taken for one row: ")


def test_every_missing_quote_is_found_and_places_stay_right(tmp_path: Path) -> None:
    content = b'id,text\n1,"a\n2,b\n3,"c\n4,d\n5\n6,"e\ne"\n7,\n8,"f'
    rows = rows_of("csv", written(tmp_path / "a.csv", content))
    assert texts(rows) == ["b", "d", "e\ne"]
    assert reasons(rows) == [
        ("a.csv:2", "invalid_csv", None),
        ("a.csv:4", "invalid_csv", None),
        ("a.csv:6", "wrong_field_count", None),
        ("a.csv:9", "empty_field", "text"),
        ("a.csv:10", "invalid_csv", None),
    ]


@pytest.mark.parametrize("line", ['a","b', '"""a', '"a', '""",""', 'a""",b"",""'])
def test_quotes_set_to_swallow_every_later_line_take_linear_time(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0
    real = records._RowLines.__next__

    def counted(self: Any) -> str:
        nonlocal given
        given += 1
        return real(self)

    monkeypatch.setattr(records._RowLines, "__next__", counted)
    count = 20_000
    rows_of("csv", written(tmp_path / "a.csv", f"id,text\n{(line + chr(10)) * count}".encode()))
    assert given < 7 * count


def test_a_row_that_never_ends_takes_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ROW_BYTES", 1000)
    content = 'id,text\n1,"x","' + 'a","b\n' * 500 + '2,"good"\n3,good\n'
    rows = rows_of("csv", written(tmp_path / "a.csv", content.encode()))
    assert texts(rows)[-1:] == ["good"]
    assert rows[0] == BadRow(
        "a.csv:2", "invalid_csv", detail="lines 2 to 167 were taken for one row: a row of more than 1000 characters"
    )


def test_a_header_alone_is_an_empty_file(tmp_path: Path) -> None:
    assert reasons(rows_of("csv", written(tmp_path / "a.csv", b"id,text\n"))) == [("a.csv", "empty_file", None)]
    assert reasons(rows_of("csv", written(tmp_path / "a.csv", b""))) == [("a.csv", "empty_file", None)]


def test_a_table_without_a_column_is_an_error_that_names_file_column_and_what_there_is(tmp_path: Path) -> None:
    paths = {"csv": tmp_path / "a.csv", "parquet": tmp_path / "a.parquet"}
    written(paths["csv"], b"id,body\n1,x\n")
    pq.write_table(pa.table({"id": ["1"], "body": ["x"]}), paths["parquet"])
    for reader, path in paths.items():
        with pytest.raises(CosmoError, match=rf"{path.name}.*'text'.*'body'") as error:
            rows_of(reader, path)
        assert "'text'" in error.value.remedy
        assert texts(rows_of(reader, path, text="body")) == ["x"], "a column that no option names may be missing"
        with pytest.raises(CosmoError, match="'headline'"):
            rows_of(reader, path, text="body", title="headline")


def parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_parquet_rows_nested_fields_and_other_string_types(tmp_path: Path) -> None:
    rows = [{"doc": {"text": f"text {number}", "id": number}, "kind": "x"} for number in range(1200)]
    path = parquet(tmp_path / "a.parquet", rows, row_group_size=700, compression="zstd")
    found = rows_of("parquet", path, text="doc.text", id="doc.id")
    assert found == [RawSeed(str(number), f"text {number}") for number in range(1200)]
    table = pa.table({"text": pa.array(["a", "b"]).dictionary_encode(), "id": pa.array(["1", "2"], pa.large_string())})
    pq.write_table(table, tmp_path / "b.parquet")
    assert rows_of("parquet", tmp_path / "b.parquet") == [RawSeed("1", "a"), RawSeed("2", "b")]


def test_bad_parquet_rows_cost_only_themselves(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", None, b"good too"], pa.binary())
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), 4, raw.buffers())})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = rows_of("parquet", tmp_path / "a.parquet")
    assert texts(rows) == ["good", "good too"]
    assert reasons(rows) == [("a.parquet:2", "not_utf8", None), ("a.parquet:3", "missing_field", "text")]


def test_a_damaged_row_group_is_one_bad_row_that_says_what_is_lost(tmp_path: Path) -> None:
    rows = [{"text": digest(str(number))} for number in range(300)]
    path = parquet(tmp_path / "a.parquet", rows, row_group_size=100, write_page_checksum=True, use_dictionary=False)
    second = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[second.data_page_offset + 200 : second.data_page_offset + 220] = b"\xff" * 20
    found = rows_of("parquet", written(path, bytes(content)))
    assert texts(found) == [row["text"] for row in rows[:100] + rows[200:]]
    (bad,) = [row for row in found if isinstance(row, BadRow)]
    assert (bad.place, bad.reason) == ("a.parquet:101", "damaged_file")
    assert "100 rows" in (bad.detail or "")


def test_what_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "a.parquet", [{"text": "x"}]).read_bytes()
    for content in (whole[: len(whole) // 2], b"not parquet at all", whole[:-1]):
        with pytest.raises(CosmoError, match=r"b\.parquet"):
            rows_of("parquet", written(tmp_path / "b.parquet", content))
    assert reasons(rows_of("parquet", written(tmp_path / "c.parquet", b""))) == [("c.parquet", "empty_file", None)]
    empty = tmp_path / "d.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), empty)
    assert reasons(rows_of("parquet", empty)) == [("d.parquet", "empty_file", None)]
