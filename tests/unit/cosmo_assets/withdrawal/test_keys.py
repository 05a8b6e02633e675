"""Lists of what is to be withdrawn: what they may look like, and what is said of faulty lines."""

from pathlib import Path

import pytest

from cosmo_assets.withdrawal.keys import MAX_SHOWN, Item, read_items
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest

SEED = digest("a seed")


def listed(folder: Path, text: str, key: str | None = None) -> list[Item]:
    path = folder / "list.txt"
    path.write_text(text, encoding="utf-8")
    return read_items(path, key)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (f"seed {SEED}\n\n# a remark\ntopic  Rivers and seas \n", None, [("seed", SEED), ("topic", "Rivers and seas")]),
        (f"seed\t{SEED}\r\nseed {SEED}\r\n", None, [("seed", SEED)]),
        (f"{SEED}\n", "doc", [("doc", SEED)]),
        ("\ufeffA topic: of two parts\n", "topic", [("topic", "A topic: of two parts")]),
        ('{"key": "licence", "value": "CC-BY-4.0", "why": "x"}\n', None, [("licence", "CC-BY-4.0")]),
    ],
    ids=["lines", "twice", "ids of a key", "names of a key", "json"],
)
def test_a_list_is_read(tmp_path: Path, text: str, key: str | None, expected: list[tuple[str, str]]) -> None:
    assert listed(tmp_path, text, key) == [Item(*pair) for pair in expected]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seed 12ab", "'12ab' is no id of a seed: 32 hexadecimal digits"),
        (f"seed {SEED.upper()}", "is no id of a seed"),
        ("author Somebody", "no key 'author': one of doc, prompt, seed"),
        (SEED, "is not `KEY VALUE`: which key?"),
        ('{"key": "seed"}', 'the field "value" is missing or no text'),
        ('{"key": 3, "value": "x"}', 'the field "key" is missing or no text'),
        ("{no", "not JSON: "),
    ],
    ids=["short id", "upper case", "unknown key", "bare id", "no value", "key is a number", "no json"],
)
def test_a_faulty_line_is_named_and_nothing_is_taken(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(CosmoError) as caught:
        listed(tmp_path, f"seed {SEED}\n\n{line}\n")
    assert caught.value.message.startswith(f"{tmp_path}/list.txt:3: ")
    assert said in caught.value.message


def test_all_faulty_lines_are_named_but_not_for_ever(tmp_path: Path) -> None:
    with pytest.raises(CosmoError) as caught:
        listed(tmp_path, "\n".join("seed x" for _ in range(MAX_SHOWN + 5)))
    lines = caught.value.message.splitlines()
    assert [line.split(":")[1] for line in lines[:-1]] == [str(number) for number in range(1, MAX_SHOWN + 1)]
    assert lines[-1] == "and 5 more"


def test_an_empty_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="the list is empty"):
        listed(tmp_path, "# nothing\n")


def test_what_is_no_utf8_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"topic fine\ntopic \xff\n")
    with pytest.raises(CosmoError, match=r"list\.txt:2: not UTF-8"):
        read_items(path)
