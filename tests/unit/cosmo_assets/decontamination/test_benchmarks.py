"""Benchmarks: rows of files and of the hub as items, which texts of an item are searched for, and rows that cannot be
read."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmo_assets.decontamination.benchmarks import Item, items_of, read_items, sources
from cosmo_assets.decontamination.fields import Question
from cosmo_assets.recipe.decontamination import Benchmark, Decontamination
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.errors import CosmoError
from tests.doubles.hub import serving

COMMIT = "c0ffee" + "0" * 34
ROWS = [{"id": str(number), "question": f"Question {number}?", "answer": "yes"} for number in range(7)]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe(path: Path | str, **fields: Any) -> Recipe:
    benchmark = Benchmark(**{"name": "bench", "licence": "CC0-1.0", "path": str(path), **fields})
    return Recipe.model_construct(name="small", folder=Path(), decontamination=Decontamination(benchmarks=(benchmark,)))


def read(path: Path | str, **fields: Any) -> list[Item]:
    (source,) = sources(recipe(path, **fields))
    return list(read_items(source))


def test_items_are_read_with_context_question_and_answer(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "context": "In the cell.", "question": "Which one?", "answer": "This", "choices": ["That"]},
        {"id": "b", "context": None, "question": "Caf\u2028é?", "answer": "", "split": "test"},
        {"id": "c", "question": "", "answer": "Only an answer"},
        {"id": "d", "question": "", "answer": None},
    ]
    path = write(tmp_path / "b.jsonl", rows)
    path.write_text("\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n\n"), encoding="utf-8", newline="")
    items = read(path)
    assert items == [
        Item("bench", "7", "In the cell.\nWhich one?", "This"),
        Item("bench", "b", "Caf\u2028é?", ""),
        Item("bench", "c", "", "Only an answer"),
        Item("bench", "d", "", ""),
    ]
    assert [item.text for item in items] == ["In the cell.\nWhich one?\nThis", "Caf\u2028é?", "Only an answer", ""]


def test_an_unescaped_line_separator_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"id": "1", "question": "one\u2028two\u0085three", "answer": "x"}\n', encoding="utf-8")
    assert [item.asked for item in read(path)] == ["one\u2028two\u0085three"]


def test_compressed_and_parquet_files_give_the_same_items(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "a.jsonl", ROWS))
    assert [item.id for item in plain] == [row["id"] for row in ROWS]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet", row_group_size=3)
    assert read(tmp_path / "b.jsonl.gz") == read(tmp_path / "c.parquet") == plain


def test_a_row_without_an_id_has_its_number(tmp_path: Path) -> None:
    rows = [{"question": row["question"], "answer": ""} for row in ROWS]
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", rows)
    assert [item.id for item in read(tmp_path / "a.jsonl")] == ["1", "2", "3", "4", "5", "6", "7"]
    several = [item.id for item in read(tmp_path / "*.jsonl")]
    assert several[5:9] == ["a.jsonl:6", "a.jsonl:7", "b.jsonl:1", "b.jsonl:2"]
    write(tmp_path / "c.jsonl", [{"id": "x", "question": "q", "answer": ""}] * 2)
    assert [item.id for item in read(tmp_path / "c.jsonl", fields={"id": None})] == ["1", "2"]


def test_the_version_is_that_of_the_files_and_the_hub_s_commit(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    (one,) = sources(recipe(tmp_path / "a.jsonl"))
    write(tmp_path / "b.jsonl", ROWS)
    (both,) = sources(recipe(tmp_path / "*.jsonl"))
    assert (one.files, both.files) == (1, 2)
    write(tmp_path / "a.jsonl", ROWS[1:])
    (changed,) = sources(recipe(tmp_path / "a.jsonl"))
    assert len({one.version, both.version, changed.version}) == 3
    (hub,) = sources(recipe(f"hub:owner/set@{COMMIT}"))
    assert (hub.version, hub.files) == (COMMIT, 0)
    with pytest.raises(CosmoError, match=r"decontamination\.benchmarks\.bench\.path: .*names no commit"):
        sources(recipe("hub:owner/set@main"))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    (source,) = sources(recipe(path))
    items = read_items(source)
    next(items)
    write(path, ROWS[:3])
    with pytest.raises(CosmoError, match="changed while it was read"):
        list(items)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"id": "2", "question": "q", "answer": ', "invalid_json"),
        (b'["2", "q", "a"]', "wrong_type.*a list"),
        (b'"text"', "wrong_type"),
        (b"null", "wrong_type"),
        (b'{"id": "2", "answer": "a"}', "field 'question': missing_field: it has 'id', 'answer'"),
        (b'{"id": "2", "question": "q"}', "field 'answer': missing_field"),
        (b'{"id": "2", "question": "caf\xe9", "answer": "a"}', "not_utf8"),
        (b'{"id": "2", "question": {"text": "q"}, "answer": "a"}', "field 'question': wrong_type"),
        (b'{"id": "1", "question": "r", "answer": "a"}', r"field 'id': repeated_id: '1' stands in .*bench\.jsonl:1"),
        (b'{"id": "", "question": "q", "answer": "a"}', "field 'id': empty_field"),
    ],
    ids=["cut", "list", "string", "null", "no question", "no answer", "not UTF-8", "object", "same id", "empty id"],
)
def test_a_broken_row_is_named_by_file_line_and_field(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_bytes(b'{"id": "1", "question": "q", "answer": "a"}\n\n' + line + b"\n")
    with pytest.raises(CosmoError, match=rf"bench\.jsonl:3: benchmark bench.*{said}") as caught:
        read(path)
    assert str(path) in caught.value.message
    assert "decontamination.benchmarks.bench.fields" in caught.value.remedy


def test_a_damaged_parquet_file_an_empty_one_and_one_of_no_known_format_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:40] + b"\xff" * 20 + path.read_bytes()[60:])
    with pytest.raises(CosmoError, match=r"a\.parquet:1: benchmark bench: damaged_file"):
        read(path)
    (tmp_path / "b.jsonl").write_text("\n\n", encoding="utf-8")
    with pytest.raises(CosmoError, match=r"b\.jsonl: benchmark bench: empty_file"):
        read(tmp_path / "b.jsonl")
    (tmp_path / "c.xml").write_text("<a/>", encoding="utf-8")
    with pytest.raises(CosmoError, match=r"c\.xml: benchmark bench: no format by its name"):
        read(tmp_path / "c.xml")


HUB = """
import json, sys
from dataclasses import astuple
from tests.unit.cosmo_assets.decontamination.test_benchmarks import read
from cosmo_resources.errors import CosmoError
try:
    print(json.dumps([astuple(item) for item in read(sys.argv[1], **json.loads(sys.argv[2]))]))
except CosmoError as error:
    print(json.dumps([error.message, error.remedy]))
"""


def test_a_benchmark_of_the_hub_is_read_at_its_commit_with_config_and_split(tmp_path: Path) -> None:
    """In a process of its own, whose hub is the double; another benchmark's columns that are not needed stay there."""
    stream = io.BytesIO()
    row = {"question_stem": "The sun is", "choices": {"text": ["a star", "a planet"], "label": ["A", "B"]}}
    pq.write_table(pa.Table.from_pylist([{**row, "id": "8-1", "answerKey": "A", "pixels": "x" * 99}] * 1), stream)
    readme = b"---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/test.parquet\n---\n"
    files = {
        ("owner/set", COMMIT, "README.md"): readme,
        ("owner/set", COMMIT, "main/test.parquet"): stream.getvalue(),
    }
    fields = {"name": "openbookqa", "parts": ["question_answer", "lettered"]}

    def asked(hub: str, offline: int, **given: Any) -> Any:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": str(offline)}
        command = [sys.executable, "-c", HUB, f"hub:owner/set@{COMMIT}", json.dumps({**fields, **given})]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    with serving(files) as hub:
        refused = asked(hub.url, offline=1)
        assert hub.requests == []
        found = asked(hub.url, offline=0)
        no_split = asked(hub.url, offline=0, split="dev")
    assert "cannot be read" in refused[0]
    assert found == [
        ["openbookqa", "8-1", "The sun is", "a star", "question_answer", "\n"],
        ["openbookqa", "8-1", "The sun is", "A. a star\nB. a planet", "lettered", "\n"],
    ]
    assert "dev" in no_split[0]


LONG = "Which of these things in the wide world would a careful reader choose?"
ROW = Question("A passage.", LONG, ("one", "two"), "two")


@pytest.mark.parametrize(
    ("part", "row", "expected"),
    [
        ("question_answer", ROW, f"A passage.\n{LONG}\ntwo"),
        ("question", ROW, LONG),
        ("long_question", ROW, LONG),
        ("long_question", Question("", "Which statement is true?", (), "x"), ""),
        ("long_question", Question("", "太阳系中最大的行星是哪一个", (), "木星"), "太阳系中最大的行星是哪一个"),
        ("answer", ROW, "two"),
        ("context", ROW, "A passage."),
        ("choices", ROW, f"A passage.\n{LONG}\none\ntwo"),
        ("choices", Question("", "q", (), "x"), ""),
        ("lettered", ROW, f"A passage.\n{LONG}\nA. one\nB. two"),
        ("marked", ROW, f"A passage.\n{LONG}\nAnswer: two"),
        ("marked", Question("", "q", (), ""), ""),
        ("q_a", ROW, f"A passage.\n{LONG}\nA: two"),
        ("filled", Question("", "Ann taught Eve, so _ learnt.", (), "Eve"), "Ann taught Eve, so Eve learnt."),
        ("filled", Question("", "_____'s hat is _big_ in x_1.", (), "Eve"), "Eve's hat is _big_ in x_1."),
        ("filled", Question("", "He sat down. he", (), "rose."), "He sat down. he rose."),
        ("filled", Question("", "_ and _ met.", (), "Ann"), ""),
        ("filled", Question("", "So _ learnt.", (), ""), ""),
    ],
)
def test_what_each_part_says(part: Any, row: Question, expected: str) -> None:
    benchmark = Benchmark(name="b", path="p", licence="l", parts=(part,))
    (item,) = items_of(benchmark, "1", row)
    assert (item.part, item.text) == (part, expected)


def parts_of(row: Question, *parts: Any) -> list[str]:
    return [item.part for item in items_of(Benchmark(name="b", path="p", licence="l", parts=parts), "1", row)]


def test_each_text_of_an_item_is_searched_for_once() -> None:
    assert parts_of(Question("", "q", (), ""), "question_answer", "question", "choices") == ["question_answer"]
    assert parts_of(ROW, "filled", "question_answer", "context") == ["filled", "context"]
    assert parts_of(Question("", "", (), ""), "choices", "question") == ["choices"], "it is there, for all to see"


def test_an_item_whose_question_is_searched_for_alone_is_not_searched_for_as_printed() -> None:
    printed = ("marked", "q_a", "lettered")
    short = Question("", "Which is true?", ("one", "two"), "two")
    assert parts_of(ROW, "long_question", "choices", *printed) == ["long_question", "choices"]
    assert parts_of(short, "question", *printed) == ["question"]
    assert parts_of(short, "long_question", *printed) == list(printed)
