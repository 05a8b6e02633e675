"""Web pages as text: the main content of HTML, its title, address and licence; and the reader of HTML files.

Belongs here: one page. Does not belong here: archives of pages (`warc`).
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped, sound, unescaped
from cosmo_assets.seeds.readers.licences import all_of, stated_licence
from cosmo_assets.seeds.readers.streams import DamagedFileError, blocks

HTML_OPTIONS: Mapping[str, Any] = {}

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
"""It warns of every page without text; those are skipped rows, which are counted."""

MAX_PAGE_BYTES = 2 << 20
MAX_ELEMENTS = 30_000
"""Larger pages are skipped. trafilatura takes up to 0.3 milliseconds an element on pages made to be slow, and a page of
a few hundred kilobytes can have a hundred thousand elements. The bounds keep the worst page to seconds; they are
counts, not a clock, so that the same pages are read on every machine."""

_FALLBACK_ELEMENTS = 5_000
"""On larger pages trafilatura's own rules decide alone: jusText, which it compares them with, takes time that grows
with the square of a page's paragraphs (half a minute for a table of 8,000 cells)."""

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_WINDOWS = {"iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii", "windows-1252"}
_CHARSET = re.compile(
    r"utf-?(?:8|16(?:[bl]e)?)|us-ascii|ascii|(?:windows-?|cp|ibm)\d+|iso-?8859-?\d+\w?|latin-?\d+|koi8-\w|gb(?:2312|k|18030)"
    r"|big5(?:-?hkscs)?|euc-\w\w|(?:x-)?s(?:hift)?_?-?jis|iso-2022-\w\w|tis-620|mac-?\w+",
    re.IGNORECASE,
)
"""Charsets of texts. Python knows other codecs by name, of which some (punycode) are slow on purpose-made input."""
_HEAD_BYTES = 4096
_TAG = re.compile(r"<(?:!doctype|html|head|body|title|div|p|a|meta|table|span|h[1-6])\b", re.IGNORECASE)
_LICENCE_NAMES = {"dcterms.license", "dc.rights.license", "dc.license", "license"}


@dataclass(frozen=True)
class Page:
    """What a page holds. `licence` only where the page states it, `url` only where it names its own."""

    text: str
    title: str | None
    url: str | None
    licence: str | None


class PageError(Exception):
    """A page that gives no text. Carries the reason's slug and a detail; `failed` where it could not be read at all,
    unlike one that is left out on purpose."""

    def __init__(self, reason: str, detail: str | None = None, *, failed: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.failed = failed

    def row(self, place: str) -> Row:
        return (
            BadRow(place, self.reason, detail=self.detail) if self.failed else Skipped(place, self.reason, self.detail)
        )


def html(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """One HTML file (plain or compressed), one seed: the page's main content. The native id is the address that the
    page gives as its own, else the file's name. A page of more than 2 MiB or 30,000 elements is skipped.

    Raises:
        CosmoError: the file cannot be opened, or is not compressed as its name says.
    """
    held = bytearray()
    try:
        for block in blocks(path):
            held += block
            if len(held) > MAX_PAGE_BYTES:
                break
    except DamagedFileError as error:
        yield BadRow(path.name, error.reason, detail=error.detail)
        return
    if not held.strip():
        yield BadRow(path.name, "empty_file")
        return
    try:
        page = page_of(bytes(held))
    except PageError as error:
        yield error.row(path.name)
        return
    yield RawSeed(page.url or path.name, page.text, title=page.title, url=page.url, licence=page.licence)


def page_of(content: bytes, *, url: str | None = None, charset: str | None = None) -> Page:
    """The text of a page by trafilatura (Barbaresi 2021): precision before recall, with tables, without comments, and
    without its memory of earlier pages, which would make a page depend on those before it.

    `url` is where the page was found (relative addresses start there), `charset` what the server said.
    Cost: about 10 to 50 milliseconds for a usual page; see `MAX_ELEMENTS` for the worst.

    Raises:
        PageError: too_large, no_text, or it cannot be read (not_html, unreadable_html).
    """
    if len(content) > MAX_PAGE_BYTES:
        raise PageError("too_large", f"more than {MAX_PAGE_BYTES} bytes")
    text = _decoded(content, charset)
    if not _TAG.search(text):
        raise PageError("not_html", "no element of HTML in it", failed=True)
    try:
        return _read(text, url)
    except PageError:
        raise
    except Exception as error:
        raise PageError("unreadable_html", f"{type(error).__name__}: {error}", failed=True) from error


def _read(text: str, url: str | None) -> Page:
    from trafilatura import extract
    from trafilatura.metadata import extract_title

    tree = _tree(text)
    count = sum(1 for _ in tree.iter())
    if count > MAX_ELEMENTS:
        raise PageError("too_large", f"{count} elements")
    own = _own_address(tree, url)
    licence = _licence(tree, own or url)
    title = extract_title(tree)
    alone = count > _FALLBACK_ELEMENTS
    main = extract(tree, no_fallback=alone, favor_precision=True, include_comments=False, deduplicate=False)
    if not main or not main.strip():
        raise PageError("no_text")
    return Page(sound(main), unescaped(sound(title or "")) or None, own, licence)


def _tree(text: str) -> HtmlElement:
    """The page's elements without comments, of which trafilatura's cost grows with the square. libxml2 stops at a depth
    of 256."""
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False)
    try:
        return document_fromstring(sound(text).replace("\0", "\ufffd").encode("utf-8"), parser=parser)
    except etree.ParserError as error:  # "Document is empty"
        raise PageError("no_text", str(error)) from error


def _decoded(content: bytes, charset: str | None) -> str:
    """The text by its byte-order mark; as UTF-8 where it is (a page cut off within a character too), whatever is said;
    by the server's charset, then the page's own; at last as Windows-1252, the web's fallback."""
    for mark, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(name, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(content) - error.start < 4:
            return content[: error.start].decode("utf-8")
    declared = _META_CHARSET.search(content[:_HEAD_BYTES])
    for stated in (charset, declared[1].decode("ascii", "replace") if declared else None):
        if stated and _CHARSET.fullmatch(stated):
            try:
                return content.decode("windows-1252" if stated.lower() in _WINDOWS else stated, "replace")
            except LookupError:
                continue
    return content.decode("windows-1252", "replace")


def _own_address(tree: HtmlElement, url: str | None) -> str | None:
    """The page's address as it gives it itself, made absolute."""
    found = tree.xpath(
        "//link[contains(concat(' ', normalize-space(@rel), ' '), ' canonical ')]/@href"
        " | //meta[@property='og:url']/@content"
    )
    for address in found:
        try:
            absolute = urljoin(url or "", str(address).strip())
            urlsplit(absolute)
        except ValueError:  # brackets that enclose no address
            continue
        if re.match(r"https?://[^\s/]+", absolute):
            return sound(absolute)
    return None


def _licence(tree: HtmlElement, url: str | None) -> str | None:
    """What the page states about its licence: links with rel="license", elements with itemprop="license", and the meta
    names of Dublin Core. A mere link to a licence says nothing about the page."""
    found = [
        *tree.xpath(
            "//*[self::a or self::link or self::area]"
            "[contains(concat(' ', translate(normalize-space(@rel), 'LICENSE', 'license'), ' '), ' license ')]/@href"
        ),
        *tree.xpath("//*[@itemprop='license']/@href | //*[@itemprop='license']/@content"),
        *(meta.get("content", "") for meta in tree.iter("meta") if meta.get("name", "").lower() in _LICENCE_NAMES),
    ]
    stated = (stated_licence(sound(_absolute(item, url) if "/" in item else item)) for item in map(str, found))
    return all_of(filter(None, stated))


def _absolute(address: str, url: str | None) -> str:
    """An address made absolute, or as it is where it is none: it may still name a licence."""
    try:
        return urljoin(url or "", address)
    except ValueError:
        return address
