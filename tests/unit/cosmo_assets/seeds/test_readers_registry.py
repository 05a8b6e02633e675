"""The registry: names and options, and what is said about unknown ones."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.seeds.readers.registry import OPTIONS, READERS, read
from cosmo_resources.errors import CosmoError


def test_every_reader_declares_its_options() -> None:
    assert READERS.keys() == OPTIONS.keys()
    assert set(READERS) == {
        *("jsonl", "csv", "parquet", "ultrachat", "openhermes", "openstax", "explorecourses", "course_jsonl"),
        *("topic_tree", "title_list", "mediawiki", "plain_text", "html", "warc", "hf_dataset", "automathtext"),
    }


def test_an_unknown_reader_is_refused_at_once_with_the_known_ones() -> None:
    with pytest.raises(CosmoError, match="source pages: no reader 'jsonlines'") as error:
        read("pages", "jsonlines", Path("a"), {})
    assert "jsonl, csv, parquet" in error.value.remedy


@pytest.mark.parametrize(
    ("reader", "options", "said", "remedy"),
    [
        ("jsonl", {"txt": "body"}, "no option 'txt'", "text, id, title, url"),
        ("mediawiki", {"text": "x"}, "no option 'text'", "no options"),
        ("jsonl", {"text": 3}, "option text", "'text'"),
        ("openhermes", {"exclude_sources": "camelai"}, "a list of texts", "[]"),
        ("openhermes", {"languages": [1]}, "a list of texts", "English"),
        ("plain_text", {"separator": 1}, "option separator", "blank_line"),
        ("automathtext", {"min_score": "0.5"}, "expected a number", "0.0"),
        ("automathtext", {"min_score": True}, "expected a number", "0.0"),
        ("automathtext", {"domains": "x.org"}, "a list of texts", "[]"),
    ],
)
def test_unknown_and_unfit_options_are_refused_at_once(
    reader: str, options: dict[str, Any], said: str, remedy: str
) -> None:
    with pytest.raises(CosmoError, match=said) as error:
        read("pages", reader, Path("a"), options)
    assert remedy in error.value.remedy
    assert "source pages" in error.value.message
