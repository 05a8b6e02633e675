"""Changing single values in the text of a YAML file, so that every other character stays as its author wrote it.

Belongs here: where a key stands in the text, and putting another value there. Does not belong here: what the keys mean
(`deployment_file`).
"""

from collections.abc import Sequence

import yaml

Scalar = bool | int | float | str | None
Pair = tuple[yaml.Node, yaml.Node]


def put(text: str, keys: Sequence[str], value: Scalar | dict[str, Scalar]) -> str:
    """The text with a value at the end of a path of keys. A key that is new comes last in its mapping, which must be
    there; comments stay where they are.

    Raises:
        yaml.YAMLError: it is no YAML.
        KeyError: there is no such mapping.
    """
    mapping = _mapping(text, keys[:-1])
    pair = _pair(mapping, keys[-1])
    if pair is not None:
        return _replaced(text, pair[1], _word(value))
    entry = f"{_word(keys[-1])}: {_word(value)}"
    if mapping.flow_style:
        end = mapping.end_mark.index - 1
        return text[:end] + (", " if mapping.value else "") + entry + text[end:]
    last = _line_end(text, _last(mapping).end_mark.index)
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:last].rstrip()}\n{indent}{entry}\n{text[last:].removeprefix(chr(10))}"


def drop(text: str, keys: Sequence[str]) -> str:
    """The text without a key; the comments above it stay.

    Raises:
        yaml.YAMLError: it is no YAML.
        KeyError: there is no such key.
    """
    mapping = _mapping(text, keys[:-1])
    pair = _pair(mapping, keys[-1])
    if pair is None:
        raise KeyError(".".join(keys))
    if len(mapping.value) == 1:
        return put(text, keys[:-1], {})
    begin, end = pair[0].start_mark.index, pair[1].end_mark.index
    if not mapping.flow_style:
        return text[: text.rfind("\n", 0, begin) + 1] + text[_line_end(text, _last(pair[1]).end_mark.index) + 1 :]
    place = mapping.value.index(pair)
    if place:
        return text[: mapping.value[place - 1][1].end_mark.index] + text[end:]
    return text[:begin] + text[mapping.value[1][0].start_mark.index :]


def remark(text: str, keys: Sequence[str], comment: str) -> str:
    """The text with a comment in a line of its own above a key.

    Raises:
        yaml.YAMLError: it is no YAML.
        KeyError: there is no such key.
    """
    pair = _pair(_mapping(text, keys[:-1]), keys[-1])
    if pair is None:
        raise KeyError(".".join(keys))
    line = text.rfind("\n", 0, pair[0].start_mark.index) + 1
    indent = text[line:][: len(text[line:]) - len(text[line:].lstrip(" "))]
    return f"{text[:line]}{indent}# {comment}\n{text[line:]}"


def _mapping(text: str, keys: Sequence[str]) -> yaml.MappingNode:
    node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    for key in keys:
        pair = _pair(node, key) if isinstance(node, yaml.MappingNode) else None
        node = pair[1] if pair else None
    if not isinstance(node, yaml.MappingNode):
        raise KeyError(".".join(keys))
    return node


def _pair(mapping: yaml.MappingNode, key: str) -> Pair | None:
    return next((pair for pair in mapping.value if pair[0].value == key), None)


def _last(node: yaml.Node) -> yaml.Node:
    """The scalar or flow collection in which a node ends: a block ends only where the next one begins."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _line_end(text: str, index: int) -> int:
    """The end of the line in which something ends that ends before `index`."""
    if index and text[index - 1] == "\n":
        return index - 1
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _replaced(text: str, node: yaml.Node, word: str) -> str:
    begin, end = node.start_mark.index, _last(node).end_mark.index
    if begin == end:  # null, written as nothing
        return f"{text[:begin]} {word}{text[end:]}"
    return text[:begin] + word + ("\n" if text[end - 1] == "\n" else "") + text[end:]


def _word(value: Scalar | dict[str, Scalar]) -> str:
    """A value as it can stand everywhere, inside of braces too."""
    return yaml.safe_dump([value], default_flow_style=True, width=1 << 30, allow_unicode=True).strip()[1:-1]
