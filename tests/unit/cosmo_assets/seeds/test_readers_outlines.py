"""Topic trees and title lists."""

import json
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.errors import CosmoError


def tree(tmp_path: Path, content: Any) -> list[Row]:
    path = tmp_path / "tree.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return list(read("khan", "topic_tree", path, {}))


def node(title: str | None, *children: Any, **fields: Any) -> dict[str, Any]:
    return {"title": title, "slug": title and title.lower().replace(" ", "-"), "children": list(children), **fields}


def test_a_leaf_is_a_seed_with_the_titles_above_it(tmp_path: Path) -> None:
    lessons = node("Adding", description="How to add.", kind="Lesson"), node("Taking Away", description="")
    root = node("All", node("Math", node("Sums", *lessons)), slug="root")
    assert tree(tmp_path, root) == [
        RawSeed("math/sums/adding", "How to add.", title="Adding", context=("Math", "Sums")),
        RawSeed("math/sums/taking-away", "Taking Away", title="Taking Away", context=("Math", "Sums")),
    ]
    assert [row.native_id for row in tree(tmp_path, [node("A", node("B"))]) if isinstance(row, RawSeed)] == ["a/b"]


def test_what_is_no_lesson_is_skipped_or_bad(tmp_path: Path) -> None:
    rows = tree(tmp_path, node("Top", node("Empty", kind="Topic"), node(None), "text", {"title": "x", "children": 3}))
    assert rows[0] == Skipped("tree.json:top/empty", "empty_topic")
    assert [(row.reason, row.field) for row in rows if isinstance(row, BadRow)] == [
        ("missing_field", "title"),
        ("wrong_type", "children"),
        ("wrong_type", "children"),
    ]


def test_a_deep_tree_is_read_without_recursion(tmp_path: Path) -> None:
    content = '{"title": "t", "children": [' * 300 + '{"title": "leaf"}' + "]}" * 300
    (row,) = tree(tmp_path, content)
    assert isinstance(row, RawSeed)
    assert len(row.context) == 300


@pytest.mark.parametrize("content", ['{"title": "cut', '"text"', "7", "[" * 100_000, "\ud7ff{"])
def test_what_is_no_tree_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(CosmoError, match=r"tree\.json"):
        tree(tmp_path, content)


def test_an_empty_tree_file_is_one_bad_row(tmp_path: Path) -> None:
    assert tree(tmp_path, " \n") == [BadRow("tree.json", "empty_file")]


def test_a_list_of_nodes_is_a_tree_too(tmp_path: Path) -> None:
    path = tmp_path / "tree.jsonl"
    nodes = [
        {"path": ["Math", "Algebra"], "title": " Lines ", "href": "/math/algebra/lines"},
        {"path": ["Math"], "title": "Sums", "description": "How to add.", "url": "https://x.y/sums"},
        {"title": "Talks", "slug": "talks", "path": None},
        {"path": "Math", "title": "Sums"},
        {"path": ["Math"]},
        ["Sums"],
    ]
    path.write_text("\n".join(map(json.dumps, nodes)), encoding="utf-8")
    rows = list(read("khan", "topic_tree", path, {}))
    assert rows[:3] == [
        RawSeed("math/algebra/lines", "Lines", title="Lines", context=("Math", "Algebra")),
        RawSeed("Math/Sums", "How to add.", title="Sums", context=("Math",), url="https://x.y/sums"),
        RawSeed("talks", "Talks", title="Talks"),
    ]
    assert [(row.place, row.reason, row.field) for row in rows[3:] if isinstance(row, BadRow)] == [
        ("tree.jsonl:4", "wrong_type", "path"),
        ("tree.jsonl:5", "missing_field", "title"),
        ("tree.jsonl:6", "wrong_type", "title"),
    ]


def test_titles_are_seeds_once(tmp_path: Path) -> None:
    path = tmp_path / "titles.txt"
    path.write_bytes("How to Sew\n\n  how  to SEW \nHow to Bake \u2028 Bread\r\n\xff".encode("utf-8") + b"\n\xff\n")
    assert list(read("wikihow", "title_list", path, {})) == [
        RawSeed("How to Sew", "How to Sew", title="How to Sew"),
        Skipped("titles.txt:3", "duplicate_title"),
        RawSeed("How to Bake Bread", "How to Bake Bread", title="How to Bake Bread"),
        RawSeed("\xff", "\xff", title="\xff"),
        BadRow("titles.txt:6", "not_utf8", detail="byte 1 of the line: invalid start byte"),
    ]
