"""Every reader that streams reads a file of 100 MB in bounded memory, in a process of its own."""

import gzip
import io
import itertools
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from cosmo_assets.seeds.readers.registry import READERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc to read a process' peak memory from"),
]

SIZE = 100_000_000
GROWTH = 40_000_000
"""Bytes that a file of `SIZE` may cost beyond what a small one does: less than half of it."""

WORDS = " ".join(f"word{number % 97} and river{number % 89}" for number in range(40))

# The peak is that of the process' own memory: ru_maxrss would begin with that of the process which started it.
SCRIPT = """
import json, re, sys
from pathlib import Path
from cosmo_assets.seeds.readers.base import RawSeed
from cosmo_assets.seeds.readers.registry import read

def seeds(path):
    return sum(isinstance(row, RawSeed) for row in read("big", sys.argv[1], Path(path), {}))

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

few, before = seeds(sys.argv[2]), peak()
print(json.dumps([few, seeds(sys.argv[3]), peak() - before]))
"""


def text(number: int) -> str:
    return f"Document {number}: {WORDS}"


def json_lines(**fields: str) -> Callable[[int], Iterator[bytes]]:
    def rows(size: int) -> Iterator[bytes]:
        for number in limited(size, 1400):
            yield (
                json.dumps({**fields, "id": f"{number}", "text": text(number), "title": f"T{number}"}) + "\n"
            ).encode()

    return rows


def limited(size: int, each: int) -> range:
    return range(max(20, size // each))


def chats(size: int) -> Iterator[bytes]:
    yield b"["
    for number in limited(size, 1400):
        turns = [{"from": "human", "value": text(number)}, {"from": "gpt", "value": "Yes."}]
        yield (b"," if number else b"") + json.dumps({"conversations": turns}).encode()
    yield b"]"


def csv_rows(size: int) -> Iterator[bytes]:
    yield b"id,text\n"
    for number in limited(size, 1300):
        yield f'{number},"{text(number)}\nand ""more"""\n'.encode()


def courses(size: int) -> Iterator[bytes]:
    yield b"<xml><courses>"
    for number in limited(size, 6200):
        fields = f"<subject>CS</subject><code>{number}</code><title>T{number}</title>"
        yield f"<course>{fields}<description>{text(number) * 5}</description></course>".encode()
    yield b"</courses></xml>"


def course_lines(size: int) -> Iterator[bytes]:
    for number in limited(size, 6200):
        row = {"subject": "CS", "number": number, "title": f"T{number}", "description": text(number) * 5}
        yield json.dumps(row).encode() + b"\n"


def wiki(size: int) -> Iterator[bytes]:
    yield b"<mediawiki>"
    for number in limited(size, 100_000):
        revision = f"<revision><text>{text(number) * 80}</text></revision>"
        yield f"<page><title>T{number}</title><ns>0</ns><id>{number}</id>{revision}</page>".encode()
    yield b"</mediawiki>"


def lines(size: int) -> Iterator[bytes]:
    for number in limited(size, 1300):
        yield f"{text(number)}\n\n".encode()


def records(size: int) -> Iterator[bytes]:
    """Mostly films, as in a crawl without choice, and some pages."""
    film = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n" + bytes(500_000)
    for number in limited(size, 510_000):
        page = f"<html><head><title>{number}</title></head><body>{f'<p>{text(number)}</p>' * 8}</body></html>"
        for block in (f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{page}".encode(), film):
            head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/{number}\r\n"
            yield f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def parquet(path: Path, size: int) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for batch in batches(size, schema):
            writer.write_batch(batch)


def arrow(path: Path, size: int) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for batch in batches(size, schema):
            writer.write_batch(batch)


def batches(size: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    numbers = iter(limited(size, 1300))
    while chunk := list(itertools.islice(numbers, 1000)):
        yield pa.record_batch([[f"{number}" for number in chunk], [text(number) for number in chunk]], schema)


def book(path: Path, size: int) -> None:
    names = [f"m{number}" for number in limited(size, 100_000)]
    modules = "".join(f'<module document="{name}"/>' for name in names)
    outline = f"<collection><metadata><title>A</title></metadata><content>{modules}</content></collection>"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        add(archive, "META-INF/books.xml", '<container><book href="../collections/a.xml"/></container>')
        add(archive, "collections/a.xml", outline)
        for number, name in enumerate(names):
            content = f"<para>{text(number)}</para>" * 78
            add(archive, f"modules/{name}/index.cnxml", f"<document><content>{content}</content></document>")


def add(archive: tarfile.TarFile, name: str, content: str) -> None:
    member = tarfile.TarInfo(f"book/{name}")
    member.size = len(content.encode())
    archive.addfile(member, io.BytesIO(content.encode()))


def pieces(parts: Callable[[int], Iterator[bytes]]) -> Callable[[Path, int], None]:
    """What writes a file from its pieces, compressed as its name says: by record where it is a web archive."""

    def write(path: Path, size: int) -> None:
        with path.open("wb") as stream:
            if path.name.endswith(".warc.gz"):
                stream.writelines(gzip.compress(part, 1) for part in parts(size))
            elif path.suffix == ".gz":
                with gzip.open(stream, "wb", compresslevel=1) as packed:
                    packed.writelines(parts(size))
            elif path.suffix == ".zst":
                with zstandard.ZstdCompressor().stream_writer(stream) as packed:
                    for part in parts(size):
                        packed.write(part)
            else:
                stream.writelines(parts(size))

    return write


FILES: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "a.jsonl": ("jsonl", pieces(json_lines())),
    "a.jsonl.gz": ("jsonl", pieces(json_lines())),
    "a.jsonl.zst": ("jsonl", pieces(json_lines())),
    "a.csv": ("csv", pieces(csv_rows)),
    "a.parquet": ("parquet", parquet),
    "a.arrow": ("hf_dataset", arrow),
    "math.jsonl": ("automathtext", pieces(json_lines(url="https://a.b/c"))),
    "chat.jsonl": ("ultrachat", pieces(lambda size: (part[1:] + b"\n" for part in chats(size) if len(part) > 9))),
    "chat.json": ("openhermes", pieces(chats)),
    "courses.xml": ("explorecourses", pieces(courses)),
    "courses.jsonl": ("course_jsonl", pieces(course_lines)),
    "tree.jsonl": ("topic_tree", pieces(json_lines())),
    "titles.txt": ("title_list", pieces(lines)),
    "wiki.xml": ("mediawiki", pieces(wiki)),
    "text.txt": ("plain_text", pieces(lines)),
    "a.warc": ("warc", pieces(records)),
    "a.warc.gz": ("warc", pieces(records)),
    "book.tar.gz": ("openstax", book),
}


def test_every_reader_but_that_of_single_pages_is_put_to_the_test() -> None:
    assert {reader for reader, _ in FILES.values()} == set(READERS) - {"html"}


@pytest.mark.parametrize("name", FILES)
def test_a_large_file_is_read_in_bounded_memory(tmp_path: Path, name: str) -> None:
    reader, write = FILES[name]
    small, large = tmp_path / f"small-{name}", tmp_path / f"large-{name}"
    write(small, 2_000_000)
    write(large, SIZE)
    command = [sys.executable, "-c", SCRIPT, reader, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    few, many, growth = json.loads(done.stdout)
    assert few >= 10
    assert many > 30 * few or reader in ("mediawiki", "openstax", "warc")
    assert many > 4 * few
    assert growth < GROWTH, f"{growth:,} bytes"
    print(f"{name}: {many} seeds, {growth / 1e6:.1f} MB")
