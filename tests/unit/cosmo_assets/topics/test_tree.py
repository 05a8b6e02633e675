"""The topic tree's file: two formats, the shipped tree, and errors that name the line."""

from pathlib import Path

import pytest

from cosmo_assets.recipe.recipe import load_recipe
from cosmo_assets.topics.expansion import meaning, reason_against
from cosmo_assets.topics.tree import SHIPPED_TREES, Subcategory, load_tree, recipe_tree
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus

YAML = """\
Mathematics:
  - Algebra
  - Geometry: [Triangles,
               Circles  and   arcs]
Music:
  - "Yes"
"""
CSV = """\
Category,Subcategory,Subtopic
Mathematics,Algebra,
Mathematics,Geometry,Triangles

Mathematics,Geometry,"Circles, arcs"
Music,Yes,
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_yaml_tree(tmp_path: Path) -> None:
    assert load_tree(written(tmp_path, "tree.yaml", YAML)) == (
        Subcategory("Mathematics", "Algebra", ()),
        Subcategory("Mathematics", "Geometry", ("Triangles", "Circles and arcs")),
        Subcategory("Music", "Yes", ()),
    )


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_tree(tmp_path: Path, mark: str) -> None:
    assert load_tree(written(tmp_path, "tree.csv", mark + CSV)) == (
        Subcategory("Mathematics", "Algebra", ()),
        Subcategory("Mathematics", "Geometry", ("Triangles", "Circles, arcs")),
        Subcategory("Music", "Yes", ()),
    )


@pytest.mark.parametrize(
    ("name", "text", "line", "word"),
    [
        ("tree.yaml", "Mathematics:\n  - Algebra\n  - {a: [b], c: [d]}\n", 3, "one name"),
        ("tree.yaml", "Mathematics:\n  - Algebra\n  -\n", 3, "is no name"),
        ("tree.yaml", "Mathematics:\n  - Algebra\nMusic: Singing\n", 3, "a list of subcategories"),
        ("tree.yaml", "Mathematics:\n  - Algebra\nMusic: []\n", 3, "at least one subcategory"),
        ("tree.yaml", "Mathematics:\n  - Algebra: [x, {y: z}]\n", 2, "the name of a subtopic"),
        ("tree.yaml", "Mathematics:\n  - Algebra:\n", 2, "a list of subtopics"),
        ("tree.yaml", "- Mathematics\n", 1, "a mapping of categories"),
        ("tree.yaml", "", 1, "a mapping of categories"),
        ("tree.yaml", "A:\n  - b\nC:\n  - d\nA:\n  - e\n", 5, "first in line 1"),
        ("tree.yaml", "A:\n  - b\n  - c\n  - b: [d]\n", 4, "first in line 2"),
        ("tree.yaml", "A:\n  - b:\n    - c\n    - c\n", 4, "first in line 3"),
        ("tree.yaml", f"A:\n  - b\n  - {'x' * 121}\n", 3, "at most 120"),
        ("tree.csv", "topic,subtopic\nA,b\n", 1, "columns are topic, subtopic"),
        ("tree.csv", "", 1, "columns are missing"),
        ("tree.csv", "category,subcategory,subtopic\nA,b,c\nA,,d\n", 3, "is no name"),
        ("tree.csv", "category,subcategory,subtopic\nA,b,c\nA,b,c\n", 3, "first in line 2"),
        ("tree.csv", "category,subcategory\nA,b\nA,b, and c\n", 3, "3 cells, the header has 2"),
    ],
)
def test_a_broken_tree_names_its_file_and_line(tmp_path: Path, name: str, text: str, line: int, word: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(CosmoError) as error:
        load_tree(path)
    assert f"{path}, line {line}: " in error.value.message
    assert word in error.value.message
    assert error.value.remedy


def test_files_that_are_no_text(tmp_path: Path) -> None:
    for name, content, word in (
        ("a.yaml", b"A:\n  - \xff\xfe\n", "not UTF-8"),
        ("a.csv", b"category,subcategory\n\xff,b\n", "not UTF-8"),
        ("b.yaml", b"A: [b\n", "not YAML"),
        ("c.csv", b"category,subcategory\n", "no subcategory"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CosmoError, match=word):
            load_tree(tmp_path / name)


def test_a_recipe_names_a_shipped_tree_or_a_file_beside_it(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path)
    written(tmp_path, "mine.csv", CSV)

    def tree(path: str) -> tuple[Subcategory, ...]:
        corpus.changes = {"topics": {"clustering": {"clusters": 2}, "tree": {"path": path}}}
        return recipe_tree(corpus.write([]).recipe)

    assert tree("mine.csv") == load_tree(tmp_path / "mine.csv")
    assert tree("general") == load_tree(SHIPPED_TREES / "general.yaml")
    with pytest.raises(CosmoError, match="no shipped tree 'generl'") as error:
        tree("generl")
    assert "general" in error.value.remedy
    with pytest.raises(CosmoError, match=r"topics\.tree\.path: no file"):
        tree("other.csv")
    with pytest.raises(CosmoError, match=r"has no topics\.tree"):
        recipe_tree(load_recipe("demo"))


def test_the_shipped_tree_is_broad_and_says_nothing_twice() -> None:
    tree = load_tree(SHIPPED_TREES / "general.yaml")
    categories = {node.category: [other for other in tree if other.category == node.category] for node in tree}
    assert len(categories) >= 25
    assert all(6 <= len(nodes) <= 10 for nodes in categories.values())
    seen: set[frozenset[str]] = set()
    for node in tree:
        assert meaning(node.name), node
        assert reason_against(node.name, Subcategory("", "", ()), seen) is None, node
        seen.add(meaning(node.name))
