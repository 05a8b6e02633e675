"""Readers of outlines: topic trees and lists of titles, of which a seed is little more than a name in its place.

Belongs here: sources that say what there is to write about, not how it goes. Does not belong here: course
descriptions (`courses`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmo_assets.seeds.readers.base import (
    BadFieldError,
    BadRow,
    RawSeed,
    Row,
    Skipped,
    field,
    optional_text,
    required_text,
    sound,
)
from cosmo_assets.seeds.readers.streams import MAX_ROW_BYTES, DamagedFileError, blocks, json_rows, lines
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest

OUTLINE_OPTIONS: Mapping[str, Any] = {}


def topic_tree(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """A JSON tree (Khan Academy's shape: title, slug, description, children): one seed per leaf lesson. Its native id
    is the path of slugs, its context the titles above it (without that of a node with the slug "root"), its text the
    description, or the title where there is none. A topic without children is skipped.

    The file is read whole, at most 64 MiB: a tree that is cut off has no leaf whose place is certain. JSON Lines
    (.jsonl, streamed) hold one node a line, with the titles above it in `path` and its place in `href` or `slug`.

    Raises:
        CosmoError: it is not JSON, or neither an object nor a list of them.
    """
    if ".jsonl" in path.suffixes:
        for item in json_rows(path):
            yield item if isinstance(item, BadRow) else _listed(*item)
        return
    tree = _json(path)
    if tree is None:
        yield BadRow(path.name, "empty_file")
        return
    roots = tree if isinstance(tree, list) else [tree]
    stack: list[tuple[Any, tuple[str, ...], tuple[str, ...]]] = [(node, (), ()) for node in reversed(roots)]
    while stack:
        node, slugs, titles = stack.pop()
        place = f"{path.name}:{'/'.join(slugs) or '/'}"
        try:
            if not isinstance(node, Mapping):
                raise BadFieldError("wrong_type", "children", "expected an object with title and children")
            title, slug = optional_text(node, "title"), optional_text(node, "slug")
            children = node.get("children") or []
            if not isinstance(children, list):
                raise BadFieldError("wrong_type", "children", "expected a list")
            is_root = slug == "root" and not slugs
            own = slugs if is_root else (*slugs, slug or title or "?")
            if children:
                above = titles if is_root or title is None else (*titles, title)
                stack.extend((child, own, above) for child in reversed(children))
                continue
            place = f"{path.name}:{'/'.join(own)}"
            yield _leaf(place, node, own, titles, title)
        except BadFieldError as bad:
            yield bad.row(place)


def _leaf(
    place: str, node: Mapping[str, Any], slugs: tuple[str, ...], titles: tuple[str, ...], title: str | None
) -> Row:
    if optional_text(node, "kind") == "Topic":
        return Skipped(place, "empty_topic")
    if title is None:
        raise BadFieldError("missing_field", "title")
    text = optional_text(node, "description") or title
    return RawSeed("/".join(slugs), text, title=title, context=titles, url=optional_text(node, "url"))


def _listed(place: str, node: Any) -> Row:
    """A node that stands by itself in a list of them."""
    try:
        title = required_text(node, "title").strip()
        above = field(node, "path") or []
        if not isinstance(above, list) or not all(isinstance(name, str) for name in above):
            raise BadFieldError("wrong_type", "path", "expected a list of titles")
        titles = tuple(sound(name) for name in above)
        href = optional_text(node, "href") or optional_text(node, "slug")
        return RawSeed(
            native_id=href.strip("/") if href else "/".join((*titles, title)),
            text=optional_text(node, "description") or title,
            title=title,
            context=titles,
            url=optional_text(node, "url"),
        )
    except BadFieldError as bad:
        return bad.row(place)


def _json(path: Path) -> Any:
    held = bytearray()
    try:
        for block in blocks(path):
            held += block
            if len(held) > MAX_ROW_BYTES:
                raise CosmoError(f"{path}: a tree of more than {MAX_ROW_BYTES} bytes", remedy="split it by subject")
        if not held.strip():
            return None
        tree = json.loads(held.decode("utf-8-sig"))
    except DamagedFileError as error:
        raise CosmoError(f"{path}: {error.detail}", remedy="fetch the file again") from error
    except RecursionError as error:
        raise CosmoError(f"{path}: it is nested too deeply", remedy="check that it is the right file") from error
    except ValueError as error:  # bad UTF-8 included
        raise CosmoError(
            f"{path}: it is not JSON: {error}", remedy="fetch the file again; it may be cut off"
        ) from error
    if not isinstance(tree, Mapping | list):
        raise CosmoError(f"{path}: neither an object nor a list of topics", remedy="check that it is the right file")
    return tree


def title_list(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """One title per line, which is native id, title and text at once. Blank lines are no rows; a title that came
    before (whatever its case and spaces) is skipped."""
    seen: set[str] = set()
    for line in lines(path):
        if isinstance(line, BadRow):
            yield line
            continue
        title = " ".join(sound(line.text).split())
        if not title:
            continue
        key = digest(title.casefold())
        if key in seen:
            yield Skipped(f"{path.name}:{line.number}", "duplicate_title")
            continue
        seen.add(key)
        yield RawSeed(title, title, title=title)
