"""Bytes of a file that may be compressed, damaged or cut off: as blocks, lines, JSON values and XML elements.

Belongs here: decompression, splitting, and the place and reason of damage. Does not belong here: what a line or an
element means (the readers).
"""

import bz2
import itertools
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import zstandard

from cosmo_assets.seeds.readers.base import BadRow
from cosmo_resources.errors import CosmoError

BLOCK_BYTES = 1 << 18
MAX_ROW_BYTES = 64 << 20
"""Longest line or JSON value that is read. A longer one is a bad row, so that a file without line ends, or one in which
a quote is missing, costs bounded memory."""

_FEED_BYTES = 1 << 10
"""Compressed bytes are fed in small portions: of a damaged stream, all but the last portion is still delivered."""
_XZ_MEMORY = 256 << 20

XML_ERRORS = (ElementTree.ParseError, ValueError, LookupError, OverflowError)
"""What ElementTree raises on input that is not well-formed: ValueError and LookupError come from odd encodings."""

_STRUCTURE = re.compile(rb'["{}\[\],]')
_NEXT_ELEMENT = re.compile(rb"\n\{")
_STRING_STOP = re.compile(rb'["\\\n]')


class DamagedFileError(Exception):
    """The rest of a file cannot be read. Carries the reason's slug and a detail; rows before it are good."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_CODECS: dict[str, tuple[bytes, Callable[[], _Decompressor]]] = {
    ".gz": (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    ".bz2": (b"BZh", bz2.BZ2Decompressor),
    ".xz": (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
    ".zst": (b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj()),
}
_CODEC_ERRORS = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError)
_SUFFIXES = {".tgz": ".gz", ".txz": ".xz", ".tbz2": ".bz2", ".zstd": ".zst"}


@dataclass(frozen=True)
class Line:
    """A line without its end: number from 1, and whether a line end followed (the last one of a cut file has none)."""

    number: int
    text: str
    ended: bool


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file in blocks of about 256 KiB, decompressed by its suffix (.gz, .bz2, .xz, .zst); several
    compressed streams in one file count as one.

    Raises:
        CosmoError: it cannot be opened or read, or it is not in the format that its suffix says.
        DamagedFileError: the compressed stream is cut off or corrupt; what comes before it was yielded.
    """
    suffix = _SUFFIXES.get(path.suffix.lower(), path.suffix.lower())
    try:
        with path.open("rb") as stream:
            raw = iter(lambda: stream.read(BLOCK_BYTES), b"")
            if suffix not in _CODECS:
                yield from raw
                return
            magic, codec = _CODECS[suffix]
            first = next(raw, b"")
            if first[: len(magic)] != magic[: len(first)]:
                raise CosmoError(
                    f"{path}: its name ends in {path.suffix}, its content is not {suffix[1:]}-compressed",
                    remedy="give the file its right suffix, or fetch it again",
                )
            yield from _decompressed(itertools.chain([first], raw), codec)
    except OSError as error:
        raise CosmoError(
            f"{path}: cannot be read: {error.strerror or error}", remedy="check the path and its rights"
        ) from error


def _decompressed(raw: Iterable[bytes], codec: Callable[[], _Decompressor]) -> Iterator[bytes]:
    ready: list[bytes] = []
    decoder: _Decompressor | None = None
    for block in raw:
        for start in range(0, len(block), _FEED_BYTES):
            portion = block[start : start + _FEED_BYTES]
            while portion:
                if decoder is None:
                    portion = portion.lstrip(b"\0")  # padding between or after streams
                    if not portion:
                        break
                    decoder = codec()
                try:
                    ready.append(decoder.decompress(portion))
                except _CODEC_ERRORS as error:
                    yield b"".join(ready)
                    raise DamagedFileError("damaged_file", f"the compressed stream is corrupt: {error}") from error
                portion = b""
                if decoder.eof:
                    portion, decoder = decoder.unused_data, None
            if sum(map(len, ready)) >= BLOCK_BYTES:
                yield b"".join(ready)
                ready = []
    yield b"".join(ready)
    if decoder is not None:
        raise DamagedFileError("truncated_file", "the compressed stream ends too early")


def lines(path: Path, *, errors: str = "strict") -> Iterator[Line | BadRow]:
    """The lines of a UTF-8 file, split at "\\n" only (not at U+2028 or U+0085), without "\\r" and byte-order mark. Bad
    bytes and lines that are too long come as a `BadRow` in their place, and so do damage and emptiness.

    `errors` is that of `bytes.decode`: with "surrogateescape" bad bytes stay in the line, for the caller to find.

    Raises:
        CosmoError: as `blocks`; or the file is UTF-16.
    """
    return _lines(_guarded(path), path, errors)


def _guarded(path: Path) -> Iterator[bytes | DamagedFileError]:
    """The blocks, the damage as a last item instead of an exception; byte-order mark removed."""
    first = True
    try:
        for block in blocks(path):
            if first and block:
                first = False
                if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise CosmoError(
                        f"{path}: it is UTF-16, not UTF-8",
                        remedy=f"convert it: iconv -f UTF-16 -t UTF-8 {path.name} > new-{path.name}",
                    )
                block = block.removeprefix(b"\xef\xbb\xbf")
            yield block
    except DamagedFileError as damage:
        yield damage


def _lines(stream: Iterable[bytes | DamagedFileError], path: Path, errors: str) -> Iterator[Line | BadRow]:
    number, size, blank = 1, 0, True
    parts: list[bytes] = []
    for block in stream:
        if isinstance(block, DamagedFileError):
            yield BadRow(f"{path.name}:{number}", block.reason, detail=f"{block.detail}; read up to here")
            return
        first, *others = block.split(b"\n")
        if size <= MAX_ROW_BYTES:
            parts.append(first)
        size += len(first)
        for following in others:
            blank = blank and not any(part.strip() for part in parts)
            yield _line(parts, size, number, path, errors, ended=True)
            number, parts, size = number + 1, [following], len(following)
    blank = blank and not any(part.strip() for part in parts)
    if size:
        yield _line(parts, size, number, path, errors, ended=False)
    if blank:
        yield BadRow(path.name, "empty_file")


def _line(parts: list[bytes], size: int, number: int, path: Path, errors: str, *, ended: bool) -> Line | BadRow:
    place = f"{path.name}:{number}"
    if size > MAX_ROW_BYTES:
        return BadRow(place, "too_long", detail=f"a line of {size} bytes; at most {MAX_ROW_BYTES} are read")
    raw = b"".join(parts).removesuffix(b"\r")
    try:
        return Line(number, raw.decode("utf-8", errors), ended)
    except UnicodeDecodeError as error:
        return BadRow(place, "not_utf8", detail=f"byte {error.start + 1} of the line: {error.reason}")


def json_rows(path: Path) -> Iterator[tuple[str, Any] | BadRow]:
    """The values of a JSON Lines file, or the elements of a file that is one JSON array, each with its place: the
    number of the line, or of the element. Blank lines are no rows.

    Raises:
        CosmoError: as `lines`.
    """
    stream = _guarded(path)
    ahead: list[bytes | DamagedFileError] = []
    for block in stream:
        ahead.append(block)
        if isinstance(block, DamagedFileError) or block.strip():
            break
    start = next((block.lstrip()[:1] for block in ahead if isinstance(block, bytes) and block.strip()), b"")
    everything = itertools.chain(ahead, stream)
    if start == b"[":
        yield from _array(everything, path)
        return
    for line in _lines(everything, path, "strict"):
        if isinstance(line, BadRow):
            yield line
        elif line.text.strip():
            place = f"{path.name}:{line.number}"
            yield _value(line.text, place, "invalid_json" if line.ended else "truncated_file")


def _array(stream: Iterable[bytes | DamagedFileError], path: Path) -> Iterator[tuple[str, Any] | BadRow]:
    """The elements of a JSON array, found by counting brackets outside strings, so that one bad element costs only
    itself. A line end inside a string, which JSON forbids, says that a quote is missing: reading goes on with the next
    line that begins like the first element, so that the rest of the file is not swallowed."""
    number, depth, position = 1, 0, 0
    next_element: re.Pattern[bytes] | None = None
    in_string = broken = False
    held = bytearray()
    damage = DamagedFileError("truncated_file", "the array is not closed")
    for block in stream:
        if isinstance(block, DamagedFileError):
            damage = block
            break
        held += block
        taken = 0
        while found := _array_mark(broken, in_string, next_element).search(held, position):
            mark, position = found[0], found.end()
            if broken:
                yield BadRow(f"{path.name}:{number}", "invalid_json", detail="a line end in a string: a missing quote?")
                number, depth, broken = number + 1, 1, False
                taken = position = found.end() - 1
            elif in_string:
                if mark == b"\\":
                    position += 1
                else:
                    in_string = False
                    if mark == b"\n":
                        broken, position = True, found.start()
            elif mark == b'"':
                in_string = True
            elif mark in b"{[":
                depth += 1
                if depth == 1:
                    taken = position
                elif next_element is None:
                    indent = bytes(held[taken : position - 1]).rpartition(b"\n")[2]
                    next_element = re.compile(rb"\n" + re.escape(indent) + re.escape(mark))
            elif depth == 1:  # the end of an element: a comma or the closing bracket
                element = bytes(held[taken : position - 1]).strip()
                if element:
                    yield _element(element, f"{path.name}:{number}")
                    number += 1
                elif mark == b",":
                    yield BadRow(f"{path.name}:{number}", "invalid_json", detail="an empty element")
                    number += 1
                taken = position
                if mark != b",":
                    if number == 1:
                        yield BadRow(path.name, "empty_file", detail="an empty array")
                    if held[position:].strip() or any(isinstance(more, bytes) and more.strip() for more in stream):
                        detail = "content after the end of the array is not read"
                        yield BadRow(f"{path.name}:{number}", "invalid_json", detail=detail)
                    return
            elif mark in b"}]":
                depth -= 1
        position = (position if broken else max(position, len(held))) - taken
        del held[:taken]
        if len(held) > MAX_ROW_BYTES:
            detail = (
                f"an element of more than {MAX_ROW_BYTES} bytes: is a quote or bracket missing? The rest is not read"
            )
            yield BadRow(f"{path.name}:{number}", "too_long", detail=detail)
            return
    yield BadRow(f"{path.name}:{number}", damage.reason, detail=damage.detail)


def _array_mark(broken: bool, in_string: bool, next_element: re.Pattern[bytes] | None) -> re.Pattern[bytes]:
    """What to look for next in an array."""
    if broken:
        return next_element or _NEXT_ELEMENT
    return _STRING_STOP if in_string else _STRUCTURE


def _element(raw: bytes, place: str) -> tuple[str, Any] | BadRow:
    try:
        return _value(raw.decode("utf-8"), place, "invalid_json")
    except UnicodeDecodeError as error:
        return BadRow(place, "not_utf8", detail=f"byte {error.start + 1} of the element: {error.reason}")


def _value(text: str, place: str, reason: str) -> tuple[str, Any] | BadRow:
    try:
        return place, json.loads(text)
    except RecursionError:
        return BadRow(place, "invalid_json", detail="nested too deeply")
    except ValueError as error:  # JSONDecodeError, and numbers of more than 4,300 digits
        return BadRow(place, reason, detail=str(error))


def elements(path: Path, tag: str) -> Iterator[ElementTree.Element | BadRow]:
    """The outermost elements of a name (whatever their namespace) in an XML file, in order, each forgotten as soon as
    the next is asked for: memory is bounded by the largest one. Entities are not fetched from anywhere, and expansion
    is bounded by expat.

    Raises:
        CosmoError: as `blocks`; or the file does not begin as XML.
    """
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(events=("start", "end"))
    open_elements: list[ElementTree.Element] = []
    inside, begun, count, size = 0, False, 0, 0
    try:
        for block in itertools.chain(blocks(path), [None]):
            if block is None:
                parser.close()
            else:
                size += len(block)
                parser.feed(block)
            for event, element in _events(parser):
                begun = True
                if event == "start":
                    open_elements.append(element)
                    inside += local_name(element) == tag
                    continue
                open_elements.pop()
                if local_name(element) == tag:
                    inside -= 1
                    if not inside:
                        count += 1
                        yield element
                if not inside and open_elements:
                    open_elements[-1].remove(element)
    except DamagedFileError as damage:
        yield BadRow(f"{path.name}:{count + 1}", damage.reason, detail=damage.detail)
    except XML_ERRORS as error:
        if not begun:
            if not size:
                yield BadRow(path.name, "empty_file")
                return
            raise CosmoError(
                f"{path}: it is not XML: {error}", remedy="check the path and the reader in the recipe"
            ) from error
        cut_off = "no element found" in str(error) or "unclosed token" in str(error)
        reason = "truncated_file" if cut_off else "invalid_xml"
        yield BadRow(f"{path.name}:{count + 1}", reason, detail=f"{error}; the rest is not read")


def _events(parser: Any) -> Iterator[tuple[str, ElementTree.Element]]:
    """The parser's start and end events; typeshed's type of `read_events` also covers kinds that are not asked for."""
    yield from parser.read_events()


def local_name(element: ElementTree.Element) -> str:
    """An element's name without its namespace; comments and processing instructions have none."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
