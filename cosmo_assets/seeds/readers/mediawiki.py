"""Reader of MediaWiki XML dumps (Wikipedia's pages-articles).

Belongs here: pages, namespaces, redirects. Does not belong here: the markup of a page (`wikitext`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped, sound
from cosmo_assets.seeds.readers.streams import elements, local_name
from cosmo_assets.seeds.readers.wikitext import plain_text

MEDIAWIKI_OPTIONS: Mapping[str, Any] = {}

_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)


def mediawiki(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """One seed per article of a dump (.xml, .xml.bz2, .xml.gz, .xml.xz), streamed: native id is the page id, text the
    lead section and the body. Of a page with its history, the last revision counts. Skipped are redirects, pages
    outside the main namespace and pages that are all templates. The licence is left to the recipe, for the dump does
    not state it."""
    for item in elements(path, "page"):
        yield item if isinstance(item, BadRow) else _page(path, item)


def _page(path: Path, page: Element) -> Row:
    fields = {local_name(child): child for child in page}
    native_id = (page.findtext("{*}id") or "").strip()
    place = f"{path.name}:page {native_id or '?'}"
    if not native_id:
        return BadRow(place, "missing_field", "id")
    namespace = page.findtext("{*}ns")
    if namespace is not None and namespace.strip() != "0":
        return Skipped(place, "not_an_article")
    if "redirect" in fields:
        return Skipped(place, "redirect")
    revision = fields.get("revision")
    if revision is None:
        return BadRow(place, "missing_field", "revision")
    wikitext = revision.findtext("{*}text")
    if wikitext is None:
        return BadRow(place, "missing_field", "text")
    if _REDIRECT.match(wikitext):
        return Skipped(place, "redirect")
    text = sound(plain_text(wikitext))
    if not text:
        return Skipped(place, "no_text")
    return RawSeed(native_id, text, title=(page.findtext("{*}title") or "").strip() or None)
