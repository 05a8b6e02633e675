"""AutoMathText: rows by score and domain."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.errors import CosmoError


def rows_of(tmp_path: Path, rows: list[Any], name: str = "0.80-1.00.jsonl", **options: Any) -> list[Row]:
    content = "\n".join(map(json.dumps, rows)).encode()
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(Path(name).suffix, bytes)(content)
    (tmp_path / name).write_bytes(packed)
    return list(read("math", "automathtext", tmp_path / name, options))


def row(url: str, score: Any = 0.9, **fields: Any) -> dict[str, Any]:
    return {"url": url, "text": f"Text of {url}", "date": "2023-05-04", "meta": {"lm_q1q2_score": score}, **fields}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_the_address_is_the_id(tmp_path: Path, name: str) -> None:
    url = "https://a.org/x"
    assert rows_of(tmp_path, [row(url)], name) == [RawSeed(url, f"Text of {url}", url=url)]


def test_rows_below_the_score_are_skipped(tmp_path: Path) -> None:
    scores = [
        row("u:0", 0.5),
        row("u:1", 0.8),
        row("u:2", meta=json.dumps({"lm_q1q2_score": 0.95})),
        row("u:3", 0.1, lm_q1q2_score=0.81),
        row("u:4", meta={}),
        row("u:5", "high"),
        row("u:6", meta="{"),
        row("u:7", True),
        [1],
    ]
    rows = rows_of(tmp_path, scores, min_score=0.8)
    assert [item.native_id for item in rows if isinstance(item, RawSeed)] == ["u:1", "u:2", "u:3"]
    assert rows[0] == Skipped("0.80-1.00.jsonl:1", "low_score", "0.5")
    assert [(item.reason, item.field) for item in rows if isinstance(item, BadRow)] == [
        ("missing_field", "lm_q1q2_score"),
        ("wrong_type", "lm_q1q2_score"),
        ("invalid_json", "meta"),
        ("wrong_type", "lm_q1q2_score"),
        ("wrong_type", "url"),
    ]
    assert len([item for item in rows_of(tmp_path, scores) if isinstance(item, RawSeed)]) == 8, "no score is asked for"
    other = rows_of(tmp_path, [row("u:0", meta={"lm_q1_score": 0.9})], min_score=0.8, score="lm_q1_score")
    assert isinstance(other[0], RawSeed)


def test_domains_are_taken_or_left_with_all_below_them(tmp_path: Path) -> None:
    urls = ["https://math.stackexchange.com/1", "https://STACKEXCHANGE.com/2", "http://notstackexchange.com/", "[x", ""]
    named = [row(url) for url in urls]

    def taken(**options: list[str]) -> list[str | None]:
        return [item.url for item in rows_of(tmp_path, named, **options) if isinstance(item, RawSeed)]

    assert taken(domains=["stackexchange.com"]) == urls[:2]
    assert taken(exclude_domains=["Stackexchange.com"]) == [urls[2], urls[3], None]
    assert taken(domains=["stackexchange.com"], exclude_domains=["math.stackexchange.com"]) == [urls[1]]
    skipped = rows_of(tmp_path, named, domains=["stackexchange.com"])[2]
    assert skipped == Skipped("0.80-1.00.jsonl:3", "excluded_domain", "notstackexchange.com")


def test_a_score_that_is_no_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"option min_score: 80"):
        rows_of(tmp_path, [row("u:0")], min_score=80)
