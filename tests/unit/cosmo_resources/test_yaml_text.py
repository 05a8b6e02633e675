"""Values in the text of YAML files."""

import pytest
import yaml

from cosmo_resources.yaml_text import Scalar, drop, put, remark

BLOCK = """# site
a: 1   # one
in:
    # what b is
    b: 2
    c:  # nothing
    long: >-
      two
      lines
    # after all
d: {e: 1, f: "2"}
"""


@pytest.mark.parametrize(
    ("keys", "value", "line", "new"),
    [
        pytest.param("a", 7, "a: 1   # one", "a: 7   # one", id="a number"),
        pytest.param("in b", None, "    b: 2", "    b: null", id="null"),
        pytest.param("in c", True, "    c:  # nothing", "    c: true  # nothing", id="in place of nothing"),
        pytest.param("in new", "x, y", "    # after all", "    new: 'x, y'\n    # after all", id="new"),
        pytest.param("d e", '{"k": 1}', "d: {e: 1", "d: {e: '{\"k\": 1}'", id="JSON in braces"),
        pytest.param("d new", 0.5, '"2"}', '"2", new: 0.5}', id="new in braces"),
        pytest.param("d", {}, '{e: 1, f: "2"}', "{}", id="a mapping"),
        pytest.param("g", "x: y", 'f: "2"}\n', "f: \"2\"}\ng: 'x: y'\n", id="new at the end"),
        pytest.param("in long", 3, ">-\n      two\n      lines\n", "3\n", id="in place of lines"),
    ],
)
def test_a_value_is_put_and_nothing_else_changes(keys: str, value: Scalar, line: str, new: str) -> None:
    found = put(BLOCK, keys.split(), value)
    assert found == BLOCK.replace(line, new) != BLOCK
    place = yaml.safe_load(found)
    for key in keys.split():
        place = place[key]
    assert place == value


@pytest.mark.parametrize(
    ("keys", "gone"),
    [
        ("a", "a: 1   # one\n"),
        ("in b", "    b: 2\n"),
        ("in long", "    long: >-\n      two\n      lines\n"),
        ("d e", "e: 1, "),
        ("d f", ', f: "2"'),
        ("d", 'd: {e: 1, f: "2"}\n'),
    ],
)
def test_a_key_is_dropped_and_nothing_else_changes(keys: str, gone: str) -> None:
    assert drop(BLOCK, keys.split()) == BLOCK.replace(gone, "") != BLOCK


def test_the_last_key_of_a_mapping_leaves_an_empty_one() -> None:
    assert drop("a:\n  b: 1  # b\nc: 2\n", ["a", "b"]) == "a:\n  {}  # b\nc: 2\n"
    assert yaml.safe_load(drop("a: {b: 1}", ["a", "b"])) == {"a": {}}


def test_a_file_need_not_end_in_a_line_break() -> None:
    assert put("a:\n  b: 1", ["a", "c"], 2) == "a:\n  b: 1\n  c: 2\n"
    assert drop("a: 1\nb: 2", ["b"]) == "a: 1\n"


def test_a_remark_stands_above_its_key() -> None:
    assert remark(BLOCK, ["in", "b"], "two") == BLOCK.replace("    b: 2", "    # two\n    b: 2")
    assert remark(BLOCK, ["d", "f"], "two") == BLOCK.replace("d: {", "# two\nd: {")


def test_what_is_not_there_is_an_error() -> None:
    for change in (lambda: put(BLOCK, ["x", "y"], 1), lambda: put(BLOCK, ["a", "y"], 1), lambda: drop(BLOCK, ["x"]),
                   lambda: remark(BLOCK, ["in", "x"], "")):  # fmt: skip
        with pytest.raises(KeyError):
            change()
