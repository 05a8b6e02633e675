"""Reader of web archives (WARC): one seed per HTML page, or per converted text.

Belongs here: records, where one ends and the next begins in a damaged file, and which hold a page. Does not belong
here: the text of a page (`webpages`).
"""

import base64
import hashlib
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from warcio.recordloader import ArcWarcRecord, ArcWarcRecordLoader

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped, sound
from cosmo_assets.seeds.readers.streams import BLOCK_BYTES
from cosmo_assets.seeds.readers.webpages import MAX_PAGE_BYTES, PageError, page_of
from cosmo_resources.errors import CosmoError

WARC_OPTIONS: Mapping[str, Any] = {}

MAX_RECORD_BYTES = 8 << 20
"""Bytes of a record that are kept; the rest of a longer one is passed over. No page that is read is so long."""
_MAX_HEADER_BYTES = 64 << 10
_HELD_DAMAGES = 10_000
"""Damages that are held back until the first sound record; later ones are given at once, so before those."""
_AFTER_BYTES = 64
_FEED_BYTES = 1 << 10  # a kilobyte of gzip expands to a megabyte at most

_GZIP = b"\x1f\x8b\x08"
_VERSION = rb"WARC/(?:0\.1[78]|1\.[01])\r?\n"
_BEGIN = re.compile(_VERSION)
_NEXT = re.compile(rb"\n(?=" + _VERSION + rb")")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_LOOKS_LIKE_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head)\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class _Damage:
    """A place where a record, or more of the file, cannot be read."""

    reason: str
    detail: str
    between: bool = False
    """Whether it begins between two records: the one before it is whole."""


def warc(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """WARC 0.17 to 1.1, plain or gzip-compressed (by record or as a whole): one seed per response (or resource) with
    HTML, or per conversion with plain text. The native id is the address, which a later crawl of the page keeps. A
    row's place is the number of its record, from 1.

    Skipped are other records (requests, metadata, revisits), answers other than 200, other types than HTML, and what
    `webpages.page_of` leaves out. A broken record is one bad row; reading goes on with the next that can be found.

    Raises:
        CosmoError: it cannot be opened; or nothing in it is a WARC record, which is known at its end.
    """
    number, sound_records = 0, 0
    held: list[BadRow] = []  # damage, as long as nothing says that it is a WARC file
    for item in _records(_Stream(_pieces(path))):
        number += 1
        place = f"{path.name}:{number}"
        if isinstance(item, _Damage):
            damage = BadRow(place, item.reason, detail=item.detail)
            if sound_records or len(held) == _HELD_DAMAGES:
                yield damage
            else:
                held.append(damage)
            continue
        if not sound_records:
            yield from held
        sound_records += 1
        yield _row(place, item)
    if not sound_records:
        if not held:
            yield BadRow(path.name, "empty_file")
            return
        raise CosmoError(
            f"{path}: no WARC record can be read: {held[0].reason}: {held[0].detail}",
            remedy="check the path and the reader in the recipe, or fetch the file again",
        )


def _row(place: str, content: bytes) -> Row:
    loader = ArcWarcRecordLoader()
    try:
        headers = loader.parse_record_stream(BytesIO(content), known_format="warc", no_record_parse=True).rec_headers
        kind = headers.get_header("WARC-Type")
        if kind not in ("response", "resource", "conversion"):
            return Skipped(place, "no_page", f"a {sound(str(kind))[:40]} record")
        url = sound((headers.get_header("WARC-Target-URI") or "").strip("<> \t"))
        if not url:
            return BadRow(place, "missing_field", "WARC-Target-URI")
        return _page(place, url, loader.parse_record_stream(BytesIO(content), known_format="warc"), content)
    except PageError as error:
        return error.row(place)
    except Exception as error:  # noqa: BLE001 - whatever warcio raises on a hostile record, it is this record's fault
        return BadRow(place, "damaged_record", detail=f"{type(error).__name__}: {error}")


def _page(place: str, url: str, record: ArcWarcRecord, content: bytes) -> Row:
    _verify(record, content)
    kind = record.rec_type
    status = record.http_headers.get_statuscode() if record.http_headers else None
    if status is not None and status != "200":
        return Skipped(place, "http_status", status)
    if kind == "response" and status is None:
        return Skipped(place, "not_html", f"no answer of a web server: {url[:80]}")
    encoding = (record.http_headers.get_header("Content-Encoding") or "").lower() if record.http_headers else ""
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        return Skipped(place, "content_encoding", encoding)
    body = record.content_stream().read(MAX_PAGE_BYTES + 1)
    mime, charset = _type(record)
    if kind == "conversion" and mime == "text/plain":
        text = sound(body.decode("utf-8", "replace"))
        return RawSeed(url, text, url=url) if text.strip() else Skipped(place, "no_text")
    if mime not in _HTML_TYPES and not (mime == "" and _LOOKS_LIKE_HTML.match(body[:1024])):
        return Skipped(place, "not_html", mime or "unknown type")
    page = page_of(body, url=url, charset=charset)
    return RawSeed(url, page.text, title=page.title, url=url, licence=page.licence)


def _verify(record: ArcWarcRecord, content: bytes) -> None:
    """Compare the block with its digest, where the archive has one that can be checked and the block was kept whole.

    Raises:
        PageError: they differ (digest_mismatch).
    """
    algorithm, _, stated = (record.rec_headers.get_header("WARC-Block-Digest") or "").partition(":")
    end = _HEADER_END.search(content)
    if algorithm.lower() != "sha1" or end is None or len(content) - end.end() >= MAX_RECORD_BYTES:
        return
    found = hashlib.sha1(content[end.end() :], usedforsecurity=False)
    if stated.strip().lower() not in (base64.b32encode(found.digest()).decode("ascii").lower(), found.hexdigest()):
        raise PageError("digest_mismatch", "the block is not what was written", failed=True)


def _type(record: ArcWarcRecord) -> tuple[str, str | None]:
    """Type and charset of a payload: as the archive identified it, else as the server or the record says."""
    headers = record.http_headers or record.rec_headers
    declared = headers.get_header("Content-Type") or ""
    identified = record.rec_headers.get_header("WARC-Identified-Payload-Type")
    mime = (identified or declared).partition(";")[0].strip().lower()
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]{2,40})", declared, re.IGNORECASE)
    return mime, charset[1] if charset else None


class _Stream:
    """What is ahead in an archive, up to its end or the next damage."""

    def __init__(self, pieces: Iterator[bytes | _Damage]) -> None:
        self.pieces = pieces
        self.held = bytearray()
        self.stop: _Damage | None = None
        self.ended = False

    def fill(self, size: int) -> bool:
        """Hold at least so many bytes; false where fewer come before the end or the next damage."""
        while len(self.held) < size and not self.ended and self.stop is None:
            piece = next(self.pieces, None)
            if piece is None:
                self.ended = True
            elif isinstance(piece, _Damage):
                self.stop = piece
            else:
                self.held += piece
        return len(self.held) >= size

    def drop(self, size: int) -> bool:
        """Pass over so many bytes; false where fewer come."""
        while size:
            if not self.fill(1):
                return False
            taken = min(size, len(self.held))
            del self.held[:taken]
            size -= taken
        return True

    def at_record(self) -> bool:
        """Pass over blank lines, and say whether a record begins here."""
        while self.fill(1) and self.held[0] in b"\r\n":
            del self.held[: len(self.held) - len(self.held.lstrip(b"\r\n"))]
        self.fill(16)
        return _BEGIN.match(self.held) is not None

    def resume(self) -> _Damage | None:
        """Take the damage that stopped the stream, if any; what comes after it begins on a line of its own."""
        damage, self.stop = self.stop, None
        if damage is not None:
            self.held += b"\r\n\r\n"
        return damage

    def to_next(self) -> bool:
        """Go to the next place where a record seems to begin; false where none does before the end or damage."""
        while not (found := _NEXT.search(self.held)):
            del self.held[:-16]
            size = len(self.held)
            if not self.fill(size + 1):
                self.held.clear()
                return False
        del self.held[: found.end()]
        return True


def _records(stream: _Stream) -> Iterator[bytes | _Damage]:
    """The records of an archive, each with its headers and at most `MAX_RECORD_BYTES` of its block, and the damage in
    its place. Memory is bounded by one record."""
    while True:
        there = stream.at_record()
        if there:
            yield from _one(stream)
        elif stream.held:
            yield _Damage("damaged_record", f"no record begins with {bytes(stream.held[:40])!r}")
            stream.to_next()
        elif damage := stream.resume():
            yield damage
        elif stream.ended:
            return


def _one(stream: _Stream) -> Iterator[bytes | _Damage]:
    """The record that begins here. Where its length cannot be right, reading goes on with what seems to be the next,
    in the bytes that it would have swallowed too."""
    while not (end := _HEADER_END.search(stream.held)) and len(stream.held) < _MAX_HEADER_BYTES:
        if not stream.fill(len(stream.held) + 1):
            break
    length = _LENGTH.search(stream.held, 0, end.end()) if end else None
    if end is None or length is None:
        yield _unfinished(stream, "no end of its headers" if end is None else "no Content-Length")
        stream.to_next()
        return
    rest = max(0, int(length[1]) - MAX_RECORD_BYTES)
    size = end.end() + int(length[1]) - rest
    if not stream.fill(size):
        yield _unfinished(stream, f"it has {len(stream.held) - end.end()} of {int(length[1])} bytes")
        stream.to_next()
        return
    record = bytes(stream.held[:size])
    if not rest:
        stream.fill(size + _AFTER_BYTES)
        after = stream.held[size : size + _AFTER_BYTES]
        blank = after.lstrip(b"\r\n")
        if blank and not after.startswith(b"\r\n\r\n") and not blank.startswith(b"WARC/"):
            yield _Damage("damaged_record", f"it does not end after the {int(length[1])} bytes that it names")
            stream.to_next()
            return
    del stream.held[:size]
    if not stream.drop(rest):
        yield _unfinished(stream, "its block is cut off")
        return
    if not stream.at_record() and not stream.held and stream.stop is not None and not stream.stop.between:
        yield _unfinished(stream, "found at its end")  # in the same gzip member: this is not what was written
        return
    yield record


def _unfinished(stream: _Stream, detail: str) -> _Damage:
    """Why a record is not whole: what stopped the stream, or else its own header."""
    if damage := stream.resume():
        return _Damage(damage.reason, f"{damage.detail}; {detail}")
    cut_off = stream.ended and not _NEXT.search(stream.held)
    return _Damage("truncated_file" if cut_off else "damaged_record", detail)


def _pieces(path: Path) -> Iterator[bytes | _Damage]:
    """The bytes of an archive, decompressed where it is gzip, with damage in its place. A gzip archive has a member for
    each record: after damage, reading goes on with the next member.

    Raises:
        CosmoError: it cannot be opened or read.
    """
    try:
        with path.open("rb") as stream:
            first = stream.read(BLOCK_BYTES)
            raw = itertools.chain([first], iter(lambda: stream.read(BLOCK_BYTES), b""))
            packed = first.startswith(_GZIP[:2]) or (path.suffix == ".gz" and not first.startswith(b"WARC/"))
            yield from _members(raw) if packed else raw
    except OSError as error:
        raise CosmoError(
            f"{path}: cannot be read: {error.strerror or error}", remedy="check the path and its rights"
        ) from error


def _members(raw: Iterable[bytes]) -> Iterator[bytes | _Damage]:
    """The content of gzip members. Damage is reported once, however many false beginnings follow it: a member that is
    found again must begin with a record."""
    decoder: Any = zlib.decompressobj(wbits=31)
    fed = given = 0  # bytes of the present member, before and after decompression
    found = True  # whether what is decompressed is known to be a member
    held = b""
    for block in raw:
        held, at = held + block, 0
        while at < len(held):
            if decoder is None:
                start = held.find(_GZIP, at)
                if start < 0:
                    at = max(at, len(held) - 2)
                    break
                at, fed, given, found, decoder = start, 0, 0, False, zlib.decompressobj(wbits=31)
            portion = held[at : at + _FEED_BYTES]
            try:
                content = decoder.decompress(portion)
            except zlib.error as error:
                if found:
                    yield _Damage("damaged_record", f"the compressed stream is corrupt: {error}", between=not given)
                decoder, at = None, at + 1
                continue
            if content and not found and not content.startswith(b"WARC/"):
                decoder, at = None, at + 1
                continue
            if content:
                found, given = True, given + len(content)
                yield content
            at, fed = at + len(portion), fed + len(portion)
            if decoder.eof:
                at -= len(decoder.unused_data)
                while held[at : at + 1] == b"\0":  # padding between members
                    at += 1
                decoder, fed, given, found = zlib.decompressobj(wbits=31), 0, 0, True
        held = held[at:]
    if decoder is not None and found and fed:
        yield _Damage("truncated_file", "the compressed stream ends too early", between=not given)
