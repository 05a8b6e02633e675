"""WARC: which records hold a page, and what damage costs."""

import base64
import gzip
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmo_assets.seeds.readers import warc as warc_reader
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.errors import CosmoError

PROSE = "<p>The tide comes twice a day, and a little later each day, for the moon is late by fifty minutes.</p>" * 4


def page(title: str) -> bytes:
    return f"<html><head><title>{title}</title></head><body>{PROSE}<p>{title}.</p></body></html>".encode()


def answer(body: bytes, mime: str = "text/html", status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {mime}\r\n{extra}\r\n".encode() + body


def record(kind: str, url: str, block: bytes, *headers: str) -> bytes:
    named = base64.b32encode(hashlib.sha1(block).digest()).decode()
    lines = [
        *("WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", f"WARC-Block-Digest: sha1:{named}"),
        *headers,
        f"Content-Length: {len(block)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def archive(count: int = 12) -> list[bytes]:
    found = [record("warcinfo", "", b"software: a test\r\n")]
    for number in range(count):
        url = f"https://sea.example/{number}"
        found.append(record("request", url, b"GET / HTTP/1.1\r\n\r\n"))
        found.append(record("response", url, answer(page(f"Tide {number}"))))
    return found


def warc(tmp_path: Path, content: bytes, name: str = "sea.warc") -> list[Row]:
    (tmp_path / name).write_bytes(content)
    return list(read("web", "warc", tmp_path / name, {}))


def pages(rows: list[Row]) -> list[str | None]:
    return [row.title for row in rows if isinstance(row, RawSeed)]


def packed_by_record(records: list[bytes]) -> bytes:
    return b"".join(gzip.compress(item, mtime=0) for item in records)


def packed_as_a_whole(records: list[bytes]) -> bytes:
    return gzip.compress(b"".join(records), mtime=0)


def packed_in_blocks(records: list[bytes]) -> bytes:
    whole = b"".join(records)
    return b"".join(gzip.compress(whole[start : start + 700], mtime=0) for start in range(0, len(whole), 700))


@pytest.mark.parametrize("pack", [b"".join, packed_by_record, packed_as_a_whole, packed_in_blocks])
def test_an_archive_gives_its_pages_however_it_is_packed(tmp_path: Path, pack: Callable[[list[bytes]], bytes]) -> None:
    rows = warc(tmp_path, pack(archive()), "sea.warc" if pack is b"".join else "sea.warc.gz")
    assert pages(rows) == [f"Tide {number}" for number in range(12)]
    first = next(row for row in rows if isinstance(row, RawSeed))
    assert first.native_id == first.url == "https://sea.example/0"
    assert first.text.startswith("The tide comes twice a day")
    assert Counter(row.reason for row in rows if not isinstance(row, RawSeed)) == {"no_page": 13}


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (record("response", "http://a.b/", answer(page("T"), status="404 Not Found")), ("http_status", "404")),
        (record("response", "http://a.b/", answer(b"GIF89a", "image/gif")), ("not_html", "image/gif")),
        (
            record("response", "dns:a.b", b"20240101\r\na.b. 300 IN A 1.2.3.4"),
            ("not_html", "no answer of a web server: dns:a.b"),
        ),
        (record("revisit", "http://a.b/", answer(b"")), ("no_page", "a revisit record")),
        (record("response", "http://a.b/", answer(b"<html></html>")), ("no_text", None)),
        (record("response", "http://a.b/", answer(b"x", extra="Content-Encoding: br\r\n")), ("content_encoding", "br")),
        (
            record("response", "http://a.b/", answer(page("T")), "WARC-Identified-Payload-Type: application/pdf"),
            ("not_html", "application/pdf"),
        ),
    ],
)
def test_other_records_are_skipped_with_a_reason(
    tmp_path: Path, content: bytes, outcome: tuple[str, str | None]
) -> None:
    assert warc(tmp_path, content) == [Skipped("sea.warc:1", *outcome)]


def test_encodings_types_and_kinds_of_records_that_hold_text(tmp_path: Path) -> None:
    body = page("Tide")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    rows = warc(
        tmp_path,
        record("response", "http://a/1", answer(gzip.compress(body), extra="Content-Encoding: gzip\r\n"))
        + record("response", "http://a/2", answer(chunked, extra="Transfer-Encoding: chunked\r\n"))
        + record("response", "<http://a/3>", b"HTTP/1.1 200 OK\r\n\r\n" + b"<!-- x --><!DOCTYPE html>" + body)
        + record("resource", "http://a/4", body, "Content-Type: text/html; charset=utf-8")
        + record("conversion", "http://a/5", "Plain café".encode(), "Content-Type: text/plain"),
    )
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == [
        f"http://a/{number}" for number in range(1, 6)
    ]
    assert isinstance(rows[-1], RawSeed)
    assert rows[-1].text == "Plain café"


def test_a_record_that_is_longer_than_any_page_is_passed_over(tmp_path: Path) -> None:
    film = record("response", "http://a/film", answer(b"\0" * (20 << 20), "video/mp4"))
    rows = warc(tmp_path, packed_by_record([film, archive()[2]]), "sea.warc.gz")
    assert rows[0] == Skipped("sea.warc.gz:1", "not_html", "video/mp4")
    assert pages(rows) == ["Tide 0"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda item: item.replace(b"WARC/1.0", b"WORC/1.0", 1), "damaged_record"),
        (lambda item: item.replace(b"Content-Length: ", b"Content-Length: x", 1), "damaged_record"),
        (lambda item: item.replace(b"Content-Length: ", b"Content-Length: 9", 1), "damaged_record"),
        (lambda item: item.replace(b"Content-Length: 5", b"Content-Length: 4", 1), "damaged_record"),
        (lambda item: item.replace(b"tide", b"time", 1), "digest_mismatch"),
        (lambda item: item.replace(b"WARC-Target-URI", b"WARC-Torget-URI"), "missing_field"),
        (lambda item: item[:300], "damaged_record"),
        (lambda item: b"garbage\n" + b"\xff" * 1000, "damaged_record"),
    ],
)
@pytest.mark.parametrize("pack", [b"".join, packed_by_record, packed_as_a_whole])
def test_a_broken_record_costs_itself(
    tmp_path: Path, broken: Callable[[bytes], bytes], reason: str, pack: Callable[[list[bytes]], bytes]
) -> None:
    records = archive()
    changed = broken(records[10])
    assert changed != records[10]
    rows = warc(tmp_path, pack([*records[:10], changed, *records[11:]]))
    assert pages(rows) == [f"Tide {number}" for number in range(12) if number != 4]
    assert [row.reason for row in rows if isinstance(row, BadRow)] == [reason]


def test_a_changed_byte_in_a_compressed_archive_costs_its_record_and_says_so(tmp_path: Path) -> None:
    content, rng = packed_by_record(archive()), random.Random(3)
    whole = warc(tmp_path, content)
    unnoticed = 0
    for _ in range(150):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        rows = warc(tmp_path, bytes(changed))
        found = [row for row in rows if isinstance(row, RawSeed)]
        assert set(found) <= {row for row in whole if isinstance(row, RawSeed)}, "nothing is given that was not written"
        assert len(found) >= 11
        bad = sum(isinstance(row, BadRow) for row in rows)
        assert bad <= 2
        unnoticed += not bad and rows != whole
    assert not unnoticed


def test_an_archive_that_is_cut_off_gives_what_comes_before(tmp_path: Path) -> None:
    for pack in (b"".join, packed_by_record, packed_as_a_whole):
        content = pack(archive())
        rows = warc(tmp_path, content[: len(content) // 2])
        assert 1 <= len(pages(rows)) <= 6
        assert [row.reason for row in rows if isinstance(row, BadRow)] == ["truncated_file"]


@pytest.mark.parametrize(
    "content", [b"{}", b"no archive", b"\x1f\x8b\x08\x00junk", gzip.compress(b"text" * 99, mtime=0), b"\0" * 99]
)
def test_what_is_no_archive_is_an_error_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CosmoError, match=r"sea\.warc: no WARC record can be read") as error:
        warc(tmp_path, content)
    assert "reader" in error.value.remedy


def test_an_empty_archive_is_one_bad_row(tmp_path: Path) -> None:
    assert warc(tmp_path, b"") == [BadRow("sea.warc", "empty_file")]
    assert warc(tmp_path, gzip.compress(b"")) == [BadRow("sea.warc", "empty_file")]


def test_every_damage_before_the_first_sound_record_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = b"WARC/1.0\r\nWARC-Type: response\r\n\r\nno length\r\n\r\n"
    content = broken * 3 + b"".join(archive(1))
    bad = [f"sea.warc:{number}" for number in (1, 2, 3)]
    for most in (10_000, 2):
        monkeypatch.setattr(warc_reader, "_HELD_DAMAGES", most)
        rows = warc(tmp_path, content)
        assert sorted(row.place for row in rows if isinstance(row, BadRow)) == bad
        assert pages(rows) == ["Tide 0"]
    monkeypatch.undo()
    with pytest.raises(CosmoError, match="no WARC record can be read: damaged_record"):
        warc(tmp_path, broken * 3)
