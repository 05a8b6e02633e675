"""The topic tree's file: categories, subcategories and, where somebody named them, subtopics.

Belongs here: reading a tree from YAML or CSV, with errors that name the line; the shipped trees. Does not belong here:
subtopics that the model names (`expansion`).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError

SHIPPED_TREES = Path(__file__).parent / "trees"
CSV_COLUMNS = ("category", "subcategory", "subtopic")
LONGEST = 120
"""Characters of a name."""


@dataclass(frozen=True)
class Subcategory:
    """One node of the tree: where it stands, and the subtopics that the file names."""

    category: str
    name: str
    subtopics: tuple[str, ...]


Name = tuple[str, int]
"""A name in the file, and its line."""


def recipe_tree(recipe: Recipe) -> tuple[Subcategory, ...]:
    """The tree that the recipe names.

    Raises:
        CosmoError: the recipe has none, there is no such file, or it holds no tree.
    """
    if recipe.topics.tree is None:
        raise CosmoError(f"recipe {recipe.name} has no topics.tree", remedy="name a tree there, for example: general")
    name = recipe.topics.tree.path
    if Path(name).suffix not in (".yaml", ".yml", ".csv"):
        path = SHIPPED_TREES / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in SHIPPED_TREES.glob("*.yaml")))
            raise CosmoError(
                f"recipe {recipe.name}, topics.tree.path: no shipped tree {name!r}",
                remedy=f"name one of {known}, or the path of a .yaml or .csv file",
            )
        return load_tree(path)
    paths = recipe.paths(name, field="topics.tree.path")
    if len(paths) > 1:
        raise CosmoError(f"recipe {recipe.name}, topics.tree.path: {len(paths)} files", remedy="name one file")
    return load_tree(paths[0])


def load_tree(path: Path) -> tuple[Subcategory, ...]:
    """A tree from its file. YAML: a mapping of categories to lists of subcategories; an item is a name, or a mapping of
    one name to a list of its subtopics. CSV: columns category, subcategory and, optionally, subtopic; a row for each
    subtopic, or one without.

    Raises:
        CosmoError: the file is no such tree; the message names file and line.
    """
    try:
        rows = list(_csv_rows(path) if path.suffix == ".csv" else _yaml_rows(path))
    except UnicodeDecodeError as error:
        raise CosmoError(f"{path}: not UTF-8: {error}", remedy="save the file as UTF-8") from error
    if not rows:
        raise CosmoError(f"{path}: the tree has no subcategory", remedy="name at least one")
    nodes: dict[tuple[str, str], dict[str, int]] = {}
    lines: dict[tuple[str, str], int] = {}
    for category, subcategory, subtopic in rows:
        place = (_checked(path, category), _checked(path, subcategory))
        found = nodes.setdefault(place, {})
        first = lines.setdefault(place, subcategory[1])
        if subtopic is None:
            if path.suffix != ".csv" and first != subcategory[1]:
                raise _twice(path, subcategory, f"subcategory of {place[0]!r}", first)
            continue
        name = _checked(path, subtopic)
        if name in found:
            raise _twice(path, subtopic, f"subtopic of {place[1]!r}", found[name])
        found[name] = subtopic[1]
    return tuple(Subcategory(category, name, tuple(found)) for (category, name), found in nodes.items())


def _checked(path: Path, name: Name) -> str:
    text, line = " ".join(name[0].split()), name[1]
    if not any(map(str.isalnum, text)) or len(text) > LONGEST:
        problem = f"{len(text)} characters, at most {LONGEST}" if len(text) > LONGEST else f"{text!r} is no name"
        raise CosmoError(f"{path}, line {line}: {problem}", remedy="give each node a short name")
    return text


def _twice(path: Path, name: Name, what: str, first: int) -> CosmoError:
    return CosmoError(
        f"{path}, line {name[1]}: {name[0]!r} stands there twice as {what}, first in line {first}",
        remedy="remove one of them",
    )


def _csv_rows(path: Path) -> Iterator[tuple[Name, Name, Name | None]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        header = [column.strip().lower() for column in next(reader, [])]
        if not set(header) <= set(CSV_COLUMNS) or not set(CSV_COLUMNS[:2]) <= set(header):
            raise CosmoError(
                f"{path}, line 1: columns are {', '.join(header) or 'missing'}",
                remedy=f"begin the file with {','.join(CSV_COLUMNS)}",
            )
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(header):
                raise CosmoError(
                    f"{path}, line {reader.line_num}: {len(row)} cells, the header has {len(header)}",
                    remedy="quote names that hold a comma",
                )
            cells = dict(zip(header, row, strict=False))
            category, subcategory, subtopic = ((cells.get(name, ""), reader.line_num) for name in CSV_COLUMNS)
            yield category, subcategory, subtopic if subtopic[0].strip() else None


def _yaml_rows(path: Path) -> Iterator[tuple[Name, Name, Name | None]]:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise CosmoError(f"{path}: not YAML: {error}", remedy="mend the file") from error
    for category, subcategories in _pairs(path, root, "a mapping of categories"):
        items = _items(path, subcategories, "a list of subcategories")
        if not items:
            raise _unexpected(path, subcategories, "a list of at least one subcategory")
        for node in items:
            if isinstance(node, yaml.ScalarNode):
                yield category, _name(node), None
                continue
            pairs = list(_pairs(path, node, "a name, or a mapping of one name to its subtopics"))
            if len(pairs) != 1:
                raise _unexpected(path, node, "a mapping of one name, begun with a dash of its own")
            ((name, subtopics),) = pairs
            yield category, name, None
            for item in _items(path, subtopics, "a list of subtopics"):
                if not isinstance(item, yaml.ScalarNode):
                    raise _unexpected(path, item, "the name of a subtopic")
                yield category, name, _name(item)


def _pairs(path: Path, node: yaml.Node | None, wanted: str) -> Iterator[tuple[Name, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise _unexpected(path, node, wanted)
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _unexpected(path, key, "a name")
        name = _name(key)
        if name[0] in seen:
            raise _twice(path, name, "category", seen[name[0]])
        seen[name[0]] = name[1]
        yield name, value


def _items(path: Path, node: yaml.Node, wanted: str) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise _unexpected(path, node, wanted)
    found: list[yaml.Node] = node.value
    return found


def _name(node: yaml.ScalarNode) -> Name:
    return str(node.value), node.start_mark.line + 1


def _unexpected(path: Path, node: yaml.Node | None, wanted: str) -> CosmoError:
    line = node.start_mark.line + 1 if node is not None else 1
    return CosmoError(f"{path}, line {line}: expected {wanted}", remedy="see the topic tree in docs/recipes.md")
