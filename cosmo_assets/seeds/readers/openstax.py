"""Reader of OpenStax books: collections that give the order, modules that hold the text, as a folder or an archive.

Belongs here: the layout of a book's repository, its outline and licence. Does not belong here: the text of a module
(`cnxml`).
"""

import io
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped, sound
from cosmo_assets.seeds.readers.cnxml import module_text
from cosmo_assets.seeds.readers.licences import all_of, recognised, stated_licence
from cosmo_assets.seeds.readers.streams import XML_ERRORS, DamagedFileError, blocks, local_name
from cosmo_resources.errors import CosmoError

OPENSTAX_OPTIONS: Mapping[str, Any] = {}

_NAME = "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,150}"
_MEMBER = re.compile(
    rf"(?:(?P<root>.*)/)?(?P<name>META-INF/books\.xml|LICEN[CS]E(?:\.(?:txt|md))?|collections/{_NAME}\.xml|modules/{_NAME}/index\.cnxml)"
)
_MAX_MEMBER_BYTES = 32 << 20
_LICENCE_LINES = 40
"""Lines at the beginning of a LICENSE file among which its title is looked for."""


@dataclass(frozen=True)
class Collection:
    """A book's outline: its modules in reading order, each with the titles above it, the book's own first."""

    title: str
    slug: str
    licence: str | None
    attribution: str | None
    modules: tuple[tuple[str, tuple[str, ...]], ...]


def openstax(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """One seed per module, in reading order, native id "book-slug/m00001". `path` is META-INF/books.xml of a book's
    folder, or an archive of one (.tar.xz, .tar.gz, .tar.zst, .tar, .zip), which is unpacked to a temporary folder.

    A module that stands in several collections is given once, by the first that books.xml names; a module that stands
    in none is skipped, and so is one without words (a chapter's opening picture). A module's text is that of
    `cnxml.module_text`.

    A book's licence is that of its collection. Where the repository's LICENSE file or books.xml states another, nobody
    can tell which holds: all modules of that book are skipped (`licence_conflict`, with both in the detail), in other
    collections too. A module that states another licence than its collection is skipped in the same way.

    Raises:
        CosmoError: no collections are where they should be, or it is no archive.
    """
    if path.name == "books.xml" or path.is_dir():
        root = path if path.is_dir() else path.parent.parent
        yield from _books(root, "")
        return
    if path.is_file() and path.stat().st_size == 0:
        yield BadRow(path.name, "empty_file")
        return
    with tempfile.TemporaryDirectory(prefix="cosmo-openstax-") as folder:
        damage: list[BadRow] = []
        roots = _unpack(path, Path(folder), damage)
        books = [(root, label) for root, label in roots.items() if (root / "collections").is_dir()]
        if not books and not damage:
            raise CosmoError(f"{path}: no collections of a book in it", remedy="check that it is the right file")
        for root, label in books:
            yield from _books(root, f"{path.name}/{label}")
        yield from damage


def _unpack(path: Path, folder: Path, damage: list[BadRow]) -> dict[Path, str]:
    """Write the members that matter under `folder`, and give the books' roots there with their names in the archive.
    Members are written under names of our own making, so that none can leave the folder."""
    roots: dict[str, Path] = {}
    for match, content in _members(path, damage):
        if len(content) > _MAX_MEMBER_BYTES:
            detail = f"more than {_MAX_MEMBER_BYTES} bytes"
            damage.append(BadRow(f"{path.name}/{match[0]}", "too_long", detail=detail))
            continue
        root = roots.setdefault(match["root"] or "", folder / str(len(roots)))
        target = root / match["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return {root: f"{label}/" if label else "" for label, root in roots.items()}


def _members(path: Path, damage: list[BadRow]) -> Iterator[tuple[re.Match[str], bytes]]:
    """The members of an archive whose names are those of a book's parts, each with its content, or a byte more of it
    than is allowed. Damage is recorded; what comes before it, or beside it in a zip archive, is given."""
    return _zip_members(path, damage) if path.suffix.lower() == ".zip" else _tar_members(path, damage)


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def _zip_members(path: Path, damage: list[BadRow]) -> Iterator[tuple[re.Match[str], bytes]]:
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise CosmoError(
            f"{path}: it cannot be read as a zip archive: {error}", remedy="fetch the file again"
        ) from error
    with archive:
        for info in archive.infolist():
            match = _MEMBER.fullmatch(info.filename)
            if not match:
                continue
            try:
                with archive.open(info) as stream:
                    content = stream.read(_MAX_MEMBER_BYTES + 1)
            except _ZIP_ERRORS as error:
                damage.append(BadRow(f"{path.name}/{info.filename}", "damaged_file", detail=str(error)))
                continue
            yield match, content


def _tar_members(path: Path, damage: list[BadRow]) -> Iterator[tuple[re.Match[str], bytes]]:
    count = 0
    try:
        with tarfile.open(fileobj=_Bytes(blocks(path)), mode="r|") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                stream = archive.extractfile(member) if match and member.isreg() else None
                if match and stream is not None:
                    content = stream.read(_MAX_MEMBER_BYTES + 1)
                    count += 1
                    yield match, content
    except DamagedFileError as error:
        damage.append(BadRow(path.name, error.reason, detail=f"{error.detail}; {count} files were read"))
    except (tarfile.TarError, EOFError, OSError, ValueError, UnicodeError) as error:
        if not count:
            raise CosmoError(
                f"{path}: it cannot be read as an archive: {error}", remedy="fetch the file again"
            ) from error
        damage.append(BadRow(path.name, "damaged_file", detail=f"{error}; {count} files were read"))


class _Bytes(io.RawIOBase):
    """A stream over blocks, for libraries that want to read from one."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self.source = source
        self.held = b""

    def read(self, size: int = -1) -> bytes:
        parts, wanted = [self.held], size - len(self.held)
        while size < 0 or wanted > 0:
            block = next(self.source, None)
            if block is None:
                break
            parts.append(block)
            wanted -= len(block)
        everything = b"".join(parts)
        end = len(everything) if size < 0 else size
        self.held = everything[end:]
        return everything[:end]


def _books(root: Path, label: str) -> Iterator[Row]:
    """The modules of all collections under a root; places are paths from that root."""
    collections: list[Collection] = []
    for name, problem in _collection_names(root, label):
        if problem:
            yield problem
        if name is None:
            continue
        try:
            collections.append(read_collection(_parsed(root / "collections" / name)))
        except _DOCUMENT_ERRORS as error:
            yield _bad_document(f"{label}collections/{name}", error)
    stated = _stated_licences(root)
    held_back: dict[str, str] = {}
    for collection in collections:
        if conflict := _conflict(collection, stated):
            held_back |= {module: conflict for module, _ in collection.modules if module not in held_back}
    done: set[str] = set()
    for collection in collections:
        for module, context in collection.modules:
            place = f"{label}modules/{module}/index.cnxml"
            if module in done:
                yield Skipped(place, "repeated_module")
                continue
            done.add(module)
            if module in held_back:
                yield Skipped(place, "licence_conflict", held_back[module])
            else:
                yield _module(root, place, module, context, collection)
    for path in sorted(root.glob("modules/*/index.cnxml")):
        if path.parent.name not in done:
            yield Skipped(f"{label}modules/{path.parent.name}/index.cnxml", "in_no_collection")


def _stated_licences(root: Path) -> dict[str, str]:
    """What the repository says about the licence of its books, by the file that says it: the first SPDX identifier, or
    else a line that reserves all rights. Other words (a copyright line, "see the website") state no licence."""
    stated = {}
    for path in sorted(root.glob("LICEN[CS]E*")):
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = [line for line in (stream.readline(1000).strip() for _ in range(_LICENCE_LINES)) if line]
        reserved = (line[:80] for line in lines if "all rights reserved" in line.lower())
        if found := next(filter(None, map(recognised, lines)), next(reserved, None)):
            stated[path.name] = found
    try:
        books = _parsed(root / "META-INF" / "books.xml")
    except _DOCUMENT_ERRORS:
        return stated  # a missing or damaged list is reported where its names are read
    urls = [element.get("url") or "" for element in books.iter() if local_name(element) == "license"]
    if named := all_of(filter(None, map(recognised, urls))):
        stated["META-INF/books.xml"] = named
    return stated


def _conflict(collection: Collection, stated: Mapping[str, str]) -> str | None:
    """Who says what, where the repository does not agree with a collection, or with itself."""
    everyone = {f"{collection.slug}'s collection": collection.licence} if collection.licence else {}
    everyone |= stated
    if len(set(everyone.values())) < 2:
        return None
    return "; ".join(f"{who} says {licence}" for who, licence in everyone.items())


def _collection_names(root: Path, label: str) -> Iterator[tuple[str | None, BadRow | None]]:
    """File names of the collections as books.xml orders them; by name where it is missing or damaged."""
    place = f"{label}META-INF/books.xml"
    present = sorted(path.name for path in root.glob("collections/*.xml"))
    if not present:
        raise CosmoError(
            f"{root}: no collections/*.collection.xml",
            remedy="set the source's path to META-INF/books.xml, with collections/ and modules/ beside META-INF/",
        )
    try:
        books = _parsed(root / "META-INF" / "books.xml")
        names = [(book.get("href") or "").rpartition("/")[2] for book in books if local_name(book) == "book"]
    except _DOCUMENT_ERRORS as error:
        missing = isinstance(error, FileNotFoundError)
        yield None, None if missing else _bad_document(place, error)
        names = present
    for name in names or present:
        if name in present:
            yield name, None
        else:
            yield None, BadRow(place, "missing_collection", "book", name)


_DOCUMENT_ERRORS = (*XML_ERRORS, OSError, RecursionError)


def _parsed(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot()  # noqa: S314 - expat bounds expansion and fetches nothing


def _bad_document(place: str, error: Exception) -> BadRow:
    if isinstance(error, FileNotFoundError):
        return BadRow(place, "missing_module")
    if isinstance(error, RecursionError):
        return BadRow(place, "invalid_xml", detail="nested too deeply")
    if isinstance(error, OSError):
        return BadRow(place, "unreadable_file", detail=str(error.strerror))
    cut_off = "no element found" in str(error) or "unclosed token" in str(error)
    return BadRow(place, "truncated_file" if cut_off else "invalid_xml", detail=str(error))


def _module(root: Path, place: str, module: str, context: tuple[str, ...], collection: Collection) -> Row:
    if module in ("", ".", "..") or "/" in module or "\\" in module:
        return BadRow(place, "missing_module", "document", "the collection names no module")
    try:
        document = _parsed(root / "modules" / module / "index.cnxml")
        title, text = module_text(document)
    except _DOCUMENT_ERRORS as error:
        return _bad_document(place, error)
    if not text.strip():
        return Skipped(place, "no_text")
    own = _licence(document)
    if own and collection.licence and own != collection.licence:
        detail = f"the module says {own}; {collection.slug}'s collection says {collection.licence}"
        return Skipped(place, "licence_conflict", detail)
    return RawSeed(
        native_id=f"{collection.slug}/{module}",
        text=sound(text),
        title=sound(title) or None,
        context=context,
        licence=own or collection.licence,
        attribution=collection.attribution,
    )


def read_collection(root: ElementTree.Element) -> Collection:
    """The outline of a collection (CollXML), with its elements in the default namespace or another.

    Raises:
        RecursionError: subcollections are nested hundreds deep.
    """
    title = _child_text(root, "metadata", "title") or "Untitled"
    authors = [" ".join(name.split()) for name in (root.get("authors") or "").split(",")]
    named = ", ".join(name for name in authors if name)
    return Collection(
        title=title,
        slug=_child_text(root, "metadata", "slug") or re.sub(r"\W+", "-", title.lower()).strip("-"),
        licence=_licence(root),
        attribution=f"{title}, by {named}" if named else None,
        modules=tuple(_outline(root, (title,))),
    )


def _outline(element: ElementTree.Element, above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for child in element:
        match local_name(child):
            case "content":
                yield from _outline(child, above)
            case "module":
                yield child.get("document") or "", above
            case "subcollection":
                title = _child_text(child, "title") or _child_text(child, "metadata", "title")
                yield from _outline(child, (*above, title) if title else above)


def _child_text(element: ElementTree.Element, *path: str) -> str | None:
    found: ElementTree.Element | None = element
    for name in path:
        found = next((child for child in found if local_name(child) == name), None) if found is not None else None
    return (" ".join("".join(found.itertext()).split()) or None) if found is not None else None


def _licence(root: ElementTree.Element) -> str | None:
    metadata = next((child for child in root if local_name(child) == "metadata"), None)
    if metadata is None:
        return None
    stated = next((child for child in metadata if local_name(child) == "license"), None)
    if stated is None:
        return None
    return stated_licence(stated.get("url") or " ".join(stated.itertext())) or None
