"""The readers by the names that recipes use, and the one function that reads a source's file.

Belongs here: names and options. Does not belong here: any format (the modules beside it).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmo_assets.seeds.readers.automathtext import AUTOMATHTEXT_OPTIONS, automathtext
from cosmo_assets.seeds.readers.base import RECORD_OPTIONS, Reader, Row
from cosmo_assets.seeds.readers.conversations import OPENHERMES_OPTIONS, ULTRACHAT_OPTIONS, openhermes, ultrachat
from cosmo_assets.seeds.readers.courses import COURSE_OPTIONS, course_jsonl, explorecourses
from cosmo_assets.seeds.readers.hf_dataset import HF_OPTIONS, hf_dataset
from cosmo_assets.seeds.readers.mediawiki import MEDIAWIKI_OPTIONS, mediawiki
from cosmo_assets.seeds.readers.openstax import OPENSTAX_OPTIONS, openstax
from cosmo_assets.seeds.readers.outlines import OUTLINE_OPTIONS, title_list, topic_tree
from cosmo_assets.seeds.readers.plain_text import PLAIN_TEXT_OPTIONS, plain_text
from cosmo_assets.seeds.readers.records import CSV_OPTIONS, csv_table, jsonl, parquet
from cosmo_assets.seeds.readers.warc import WARC_OPTIONS, warc
from cosmo_assets.seeds.readers.webpages import HTML_OPTIONS, html
from cosmo_resources.errors import CosmoError

READERS: dict[str, Reader] = {
    "jsonl": jsonl,
    "csv": csv_table,
    "parquet": parquet,
    "ultrachat": ultrachat,
    "openhermes": openhermes,
    "openstax": openstax,
    "explorecourses": explorecourses,
    "course_jsonl": course_jsonl,
    "topic_tree": topic_tree,
    "title_list": title_list,
    "mediawiki": mediawiki,
    "plain_text": plain_text,
    "automathtext": automathtext,
    "hf_dataset": hf_dataset,
    "html": html,
    "warc": warc,
}

OPTIONS: dict[str, Mapping[str, Any]] = {
    "jsonl": RECORD_OPTIONS,
    "csv": CSV_OPTIONS,
    "parquet": RECORD_OPTIONS,
    "ultrachat": ULTRACHAT_OPTIONS,
    "openhermes": OPENHERMES_OPTIONS,
    "openstax": OPENSTAX_OPTIONS,
    "explorecourses": COURSE_OPTIONS,
    "course_jsonl": COURSE_OPTIONS,
    "topic_tree": OUTLINE_OPTIONS,
    "title_list": OUTLINE_OPTIONS,
    "mediawiki": MEDIAWIKI_OPTIONS,
    "plain_text": PLAIN_TEXT_OPTIONS,
    "automathtext": AUTOMATHTEXT_OPTIONS,
    "hf_dataset": HF_OPTIONS,
    "html": HTML_OPTIONS,
    "warc": WARC_OPTIONS,
}
"""The options of each reader with their defaults."""


def read(source_name: str, reader_name: str, path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of one file of a source, in order.

    Raises:
        CosmoError: at once, as `check_options`; at the first row for a file of which nothing can be read.
    """
    check_options(source_name, reader_name, options)
    return READERS[reader_name](path, options)


def check_options(source_name: str, reader_name: str, options: Mapping[str, Any]) -> None:
    """Refuse what a reader does not know.

    Raises:
        CosmoError: an unknown reader or option, or an option of the wrong type.
    """
    if reader_name not in READERS:
        raise CosmoError(
            f"source {source_name}: no reader {reader_name!r}", remedy=f"set reader to one of: {', '.join(READERS)}"
        )
    known = OPTIONS[reader_name]
    for name, value in options.items():
        if name not in known:
            raise CosmoError(
                f"source {source_name}: reader {reader_name} has no option {name!r}",
                remedy=f"use {', '.join(known)}" if known else "remove it: this reader has no options",
            )
        if not _fits(value, known[name]):
            expected = {list: "a list of texts", float: "a number", str: "a text"}[type(known[name])]
            raise CosmoError(
                f"source {source_name}: option {name} of reader {reader_name}: expected {expected}, got {value!r}",
                remedy=f"the default is {known[name]!r}",
            )


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, list):
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or not isinstance(default, str)
