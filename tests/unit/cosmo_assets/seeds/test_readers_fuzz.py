"""Every reader on files that are cut off or damaged at random: rows, bad rows or a CosmoError, and always an end."""

import base64
import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Skipped
from cosmo_assets.seeds.readers.registry import READERS, read
from cosmo_resources.errors import CosmoError

WORDS = ("rain", "river", "stone", "bridge", "light", "number", "letter", "market", "music", "cell", "star", "engine")
DAMAGES = 40


def sentence(rng: random.Random, count: int = 12) -> str:
    return " ".join(rng.choices(WORDS, k=count)).capitalize() + ". Naïve café – “quoted”."


def records() -> list[dict[str, Any]]:
    rng = random.Random(1)
    return [
        {"id": str(n), "text": sentence(rng, 40), "title": sentence(rng, 3), "url": f"https://x.y/{n}"}
        for n in range(60)
    ]


def json_lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in records()).encode()


def csv_file() -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["id", "text", "title", "url"])
    writer.writeheader()
    writer.writerows(records())
    return stream.getvalue().encode()


def parquet_file() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records()), stream, row_group_size=20)
    return stream.getvalue()


def chats() -> list[dict[str, Any]]:
    keys = ("human", "gpt")
    return [
        {
            "conversations": [{"from": keys[n % 2], "value": row["text"]} for n in range(4)],
            "source": "s",
            "language": None,
        }
        for row in records()
    ]


def catalogue() -> bytes:
    entries = "".join(
        f"<course><subject>CS</subject><code>{row['id']}</code><title>{row['title']}</title>"
        f"<description>{row['text']}</description></course>"
        for row in records()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><xml><courses>{entries}</courses></xml>'.encode()


def courses() -> bytes:
    rows = [
        {"subject": "CS", "number": row["id"], "title": row["title"], "description": row["text"]} for row in records()
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def tree() -> bytes:
    leaves = [{"title": row["title"], "slug": row["id"], "description": row["text"]} for row in records()]
    return json.dumps({"title": "All", "slug": "root", "children": [{"title": "Top", "children": leaves}]}).encode()


def wiki() -> bytes:
    pages = "".join(
        f"<page><title>{row['title']}</title><ns>0</ns><id>{row['id']}</id><revision><text>'''{row['text']}''' "
        "{{box|a=[[b]]}} [[x|y]] &lt;ref&gt;z&lt;/ref&gt;\n== H ==\n{| t\n|}\n* i</text></revision></page>"
        for row in records()
    )
    return f"<mediawiki><siteinfo/>{pages}</mediawiki>".encode()


def book_files() -> dict[str, str]:
    files = {
        "META-INF/books.xml": '<container><book href="../collections/a.collection.xml"/></container>',
        "collections/a.collection.xml": "<collection><metadata><title>A</title></metadata><content>"
        + "".join(f'<module document="m{n}"/>' for n in range(12))
        + "</content></collection>",
    }
    for n, row in enumerate(records()[:12]):
        maths = "<math><mfrac><mi>a</mi><mn>2</mn></mfrac></math>"
        content = (
            f"<para>{row['text']} {maths}</para><list><item>x</item></list><table><row><entry>1</entry></row></table>"
        )
        files[f"modules/m{n}/index.cnxml"] = f"<document><title>{n}</title><content>{content}</content></document>"
    return files


def tar_file() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in book_files().items():
            member = tarfile.TarInfo(f"book/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def zip_file() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in book_files().items():
            archive.writestr(f"book/{name}", text)
    return stream.getvalue()


def text_file() -> bytes:
    return "\n".join(row["text"] for row in records()).encode()


def page(row: dict[str, Any]) -> bytes:
    body = "".join(f"<p>{row['text']} <b>x</b><!-- c --></p>" for _ in range(6))
    head = f"<title>{row['title']}</title><link rel=license href='https://creativecommons.org/licenses/by/4.0/'>"
    return f"<!DOCTYPE html><html><head><meta charset=utf-8>{head}</head><body>{body}</body></html>".encode()


def warc_record(kind: str, row: dict[str, Any], block: bytes, mime: str) -> bytes:
    named = base64.b32encode(hashlib.sha1(block).digest()).decode()
    head = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {row['url']}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{row['id']}>\r\nContent-Type: {mime}\r\nWARC-Block-Digest: sha1:{named}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def warc_records() -> list[bytes]:
    found = []
    for number, row in enumerate(records()[:24]):
        request = b"GET / HTTP/1.1\r\nHost: x.y\r\n\r\n"
        found.append(warc_record("request", row, request, "application/http; msgtype=request"))
        content = page(row)
        encoding = b""
        if number % 3 == 1:
            content, encoding = gzip.compress(content, mtime=0), b"Content-Encoding: gzip\r\n"
        if number % 3 == 2:
            content, encoding = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content), b"Transfer-Encoding: chunked\r\n"
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n" + encoding + b"\r\n" + content
        found.append(warc_record("response", row, answer, "application/http; msgtype=response"))
    return found


def arrow_file(*, footer: bool) -> bytes:
    stream, table = io.BytesIO(), pa.Table.from_pylist(records())
    new = pa.ipc.new_file if footer else pa.ipc.new_stream
    with new(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return stream.getvalue()


def mathematics() -> bytes:
    rows = [{**row, "meta": {"lm_q1q2_score": 0.7}} for row in records()]
    return "\n".join(map(json.dumps, rows)).encode()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a.jsonl": ("jsonl", json_lines),
    "a.jsonl.gz": ("jsonl", lambda: gzip.compress(json_lines())),
    "a.jsonl.bz2": ("jsonl", lambda: bz2.compress(json_lines())),
    "a.jsonl.xz": ("jsonl", lambda: lzma.compress(json_lines())),
    "a.jsonl.zst": ("jsonl", lambda: zstandard.compress(json_lines())),
    "a.csv": ("csv", csv_file),
    "a.parquet": ("parquet", parquet_file),
    "chat.jsonl": ("ultrachat", lambda: "\n".join(map(json.dumps, chats())).encode()),
    "chat.json": ("openhermes", lambda: json.dumps(chats(), indent=1, ensure_ascii=False).encode()),
    "courses.xml": ("explorecourses", catalogue),
    "courses.jsonl": ("course_jsonl", courses),
    "tree.json": ("topic_tree", tree),
    "tree.jsonl": ("topic_tree", lambda: "\n".join(json.dumps({**row, "path": ["A"]}) for row in records()).encode()),
    "titles.txt": ("title_list", text_file),
    "wiki.xml": ("mediawiki", wiki),
    "wiki.xml.bz2": ("mediawiki", lambda: bz2.compress(wiki())),
    "text.txt": ("plain_text", text_file),
    "book.tar": ("openstax", tar_file),
    "book.tar.xz": ("openstax", lambda: lzma.compress(tar_file())),
    "book.zip": ("openstax", zip_file),
    "math.jsonl.gz": ("automathtext", lambda: gzip.compress(mathematics())),
    "a.html": ("html", lambda: page(records()[0])),
    "a.html.gz": ("html", lambda: gzip.compress(page(records()[0]))),
    "a.warc": ("warc", lambda: b"".join(warc_records())),
    "a.warc.gz": ("warc", lambda: b"".join(map(gzip.compress, warc_records()))),
    "whole.warc.gz": ("warc", lambda: gzip.compress(b"".join(warc_records()))),
    "stream.arrow": ("hf_dataset", lambda: arrow_file(footer=False)),
    "file.arrow": ("hf_dataset", lambda: arrow_file(footer=True)),
    "b.jsonl.gz": ("hf_dataset", lambda: gzip.compress(json_lines())),
}


@cache
def whole(name: str) -> bytes:
    return FILES[name][1]()


def seeds(name: str, path: Path) -> int | None:
    """How many seeds a file gives; None where it is an error. Whatever comes is complete and can be stored."""
    count = 0
    try:
        for row in read("fuzz", FILES[name][0], path, {}):
            assert isinstance(row, RawSeed | BadRow | Skipped)
            if isinstance(row, RawSeed):
                count += 1
                assert row.text.strip()
                for value in (row.native_id, row.text, row.title, row.url, *row.context):
                    assert value is None or value.encode("utf-8")
            else:
                assert row.place.startswith(("modules", "META-INF", "collections", path.name))
                assert row.reason.replace("_", "").isalnum()
    except CosmoError as error:
        assert path.name in error.message
        assert error.remedy
        return None
    return count


def damaged(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 40))):
        place = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                del changed[place : place + rng.randrange(1, 40)]
            case 2:
                changed[place:place] = rng.randbytes(rng.randrange(1, 20))
            case _:
                changed[place] = rng.choice(b'"{}[]<>\n\r\\,&\0')
        if not changed:
            break
    return bytes(changed)


def test_every_reader_is_put_to_the_test() -> None:
    assert {reader for reader, _ in FILES.values()} == set(READERS)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(60)
def test_a_file_that_is_cut_off_anywhere_never_raises_or_hangs(tmp_path: Path, name: str) -> None:
    content, path = whole(name), tmp_path / name
    path.write_bytes(content)
    everything = seeds(name, path)
    assert everything
    rng = random.Random(name)
    for length in [0, 1, 2, 7, len(content) - 1, *(rng.randrange(len(content)) for _ in range(DAMAGES))]:
        path.write_bytes(content[:length])
        found = seeds(name, path)
        assert found is None or found <= everything


@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(60)
def test_random_damage_never_raises_or_hangs(tmp_path: Path, name: str) -> None:
    path, rng = tmp_path / name, random.Random(name)
    for _ in range(DAMAGES):
        path.write_bytes(damaged(whole(name), rng))
        seeds(name, path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(60)
def test_noise_never_raises_or_hangs(tmp_path: Path, name: str) -> None:
    path, rng = tmp_path / name, random.Random(name)
    head = whole(name)[:6]
    for size in (1, 10, 1000, 20_000):
        for start in (b"", head):
            path.write_bytes(start + rng.randbytes(size))
            seeds(name, path)


REAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "crawl of 2008": ("warc", "web_warc_samples/aut_example.warc.gz", {}),
    "crawl of 2024": ("warc", "web_warc_samples/dolma_sample-0000.warc.gz", {}),
    "crawl, plain": ("warc", "web_warc_samples/warcio_example.warc", {}),
    "wikipedia": ("mediawiki", "wiki_dump_sample/*.bz2", {}),
    "courses": ("course_jsonl", "curated/uiuc_courses.jsonl", {}),
    "khan": ("topic_tree", "curated/khan_domains_en.jsonl", {}),
    "book": ("openstax", "openstax_ccby/osbooks-introduction-intellectual-property.cnxml.tar.xz", {}),
    "pile": ("jsonl", "web_pile_toy/pile_1000.jsonl", {}),
    "pages": ("plain_text", "web_fineweb_edu_sample/fineweb_edu_sample.txt", {}),
}


@pytest.mark.slow
@pytest.mark.samples
@pytest.mark.parametrize("name", REAL)
@pytest.mark.timeout(600)
def test_real_files_that_are_cut_off_or_damaged_never_raise_or_hang(samples: Path, tmp_path: Path, name: str) -> None:
    reader, pattern, options = REAL[name]
    (real,) = samples.glob(pattern)
    content, path, rng = real.read_bytes(), tmp_path / real.name, random.Random(name)
    start = rng.randrange(max(1, len(content) - 400_000))
    window = content[start : start + 400_000] if reader == "warc" else content[:400_000]
    given = 0
    for _ in range(12):
        for changed in (window[: rng.randrange(len(window))], damaged(window, rng)):
            path.write_bytes(changed)
            try:
                given += sum(isinstance(row, RawSeed) for row in read("fuzz", reader, path, options))
            except CosmoError as error:
                assert path.name in error.message
    assert given or reader == "openstax", "most of a damaged file is still read"
