"""Decontamination: a benchmark item is found however it is disguised, and nothing else is."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.decontamination.ngrams import BenchmarkIndex, Item, matched_share, read_items, words_of
from cosmo_resources.errors import CosmoError
from tests.doubles.replay_server import prose

NGRAM = 10
RATIO = 0.5

QUESTION = "Which organelle of a plant cell turns the energy of sunlight into sugar during photosynthesis?"
ANSWER = "The chloroplast, which holds the green pigment."
SHORT = "Who wrote the novel Molloy? Samuel Beckett"

BEFORE, AFTER = prose("before", 80), prose("after", 80)

ELSEWHERE = """
import json, random, sys
from pathlib import Path
from cosmo_assets.decontamination.ngrams import BenchmarkIndex, read_items

items = [item for path in sys.argv[2:] for item in read_items(Path(path).stem, Path(path))]
texts = json.loads(Path(sys.argv[1]).read_text())
for order in range(3):
    random.Random(order).shuffle(items)
    index = BenchmarkIndex(items, 10)
    matches = [index.worst(text, 0.5) for text in texts]
    print(json.dumps([match and [match.benchmark, match.item, match.ratio, match.span] for match in matches]))
"""


def item(text: str, *, benchmark: str = "bench", id: str = "1") -> Item:
    return Item(benchmark, id, words_of(text))


def index(*items: Item, ngram: int = NGRAM) -> BenchmarkIndex:
    return BenchmarkIndex(items, ngram)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def benchmark_rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": str(n), "question": prose(f"question {n}", 25), "answer": prose(f"answer {n}", 5)} for n in range(count)
    ]


def test_words_are_lower_case_without_marks_and_punctuation() -> None:
    assert words_of("L'Été -- naïve, “QUOTED” x_1\n(42)") == ("l", "ete", "naive", "quoted", "x_1", "42")


@pytest.mark.parametrize(
    "text",
    [
        f"{QUESTION} {ANSWER}",
        f"{BEFORE} {QUESTION} {ANSWER} {AFTER}",
        f"{BEFORE} {QUESTION.upper()} {ANSWER.upper()} {AFTER}",
        f"{BEFORE} {' -- '.join(f'{QUESTION} {ANSWER}'.split())} {AFTER}",
        f"{BEFORE}\n\n> {QUESTION}\n\n* Answer?\n* {ANSWER}\n{AFTER}",
        f"{BEFORE} {QUESTION.replace('e', 'é').replace('o', 'ö')} {ANSWER} {AFTER}",
        f"{BEFORE} {unicodedata.normalize('NFD', QUESTION.replace('a', 'å'))} {ANSWER} {AFTER}",
        f"{BEFORE} {QUESTION} {AFTER}",  # without its answer: more than half of the item
    ],
    ids=["alone", "embedded", "upper case", "punctuation", "lines", "diacritics", "combining marks", "no answer"],
)
def test_an_item_is_found_however_it_is_written(text: str) -> None:
    match = index(item(f"{QUESTION}\n{ANSWER}")).worst(text, RATIO)
    assert match is not None
    assert (match.benchmark, match.item) == ("bench", "1")
    assert match.ratio > 0.6


def test_a_verbatim_item_is_matched_in_full() -> None:
    match = index(item(QUESTION)).worst(f"{BEFORE} {QUESTION} {AFTER}", RATIO)
    assert match is not None
    assert (match.ratio, match.span) == (1.0, " ".join(words_of(QUESTION)))


def test_an_item_with_marks_is_found_in_a_text_without() -> None:
    assert index(item(QUESTION.replace("e", "é"))).worst(f"{BEFORE} {QUESTION}", RATIO) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?!",
        f"{BEFORE} {AFTER}",
        "Photosynthesis turns the energy of sunlight into sugar; it happens in the chloroplast of a plant cell.",
        " ".join(reversed(QUESTION.split())),
    ],
    ids=["empty", "no words", "unrelated", "same subject", "other order"],
)
def test_a_text_that_does_not_hold_an_item_is_clean(text: str) -> None:
    assert index(item(f"{QUESTION}\n{ANSWER}"), item(SHORT, id="2")).worst(text, RATIO) is None


def test_fewer_shared_words_than_an_ngram_are_no_match() -> None:
    words = words_of(QUESTION)
    assert len(words) == 15
    nine, ten = (f"{BEFORE} {' '.join(words[:count])} {AFTER}" for count in (9, 10))
    assert index(item(QUESTION)).worst(nine, RATIO) is None
    assert index(item(QUESTION)).worst(ten, RATIO) is not None


def test_a_shared_ngram_that_is_a_small_part_of_the_item_is_no_match() -> None:
    long = f"{QUESTION} {prose('a long passage', 120)}"
    assert index(item(long)).candidates(words_of(f"{BEFORE} {QUESTION}")) == [0]
    assert index(item(long)).worst(f"{BEFORE} {QUESTION}", RATIO) is None


def test_a_matched_share_must_be_above_the_ratio() -> None:
    held = index(item(QUESTION))
    assert held.worst(QUESTION, 1.0) is None
    assert held.worst(QUESTION, 0.999) is not None


def test_the_item_with_the_highest_matched_share_is_told() -> None:
    half = item(f"{QUESTION} {prose('other', 10)}", benchmark="alpha")
    whole = item(f"{QUESTION} {ANSWER}", benchmark="omega")
    for items in ((half, whole), (whole, half)):
        match = index(*items).worst(f"{BEFORE} {QUESTION} {ANSWER}", RATIO)
        assert match is not None
        assert (match.benchmark, match.ratio) == ("omega", 1.0)


@pytest.mark.parametrize("shared", range(10, 15))
def test_of_equal_shares_the_first_item_by_name_is_told_in_any_order(shared: int) -> None:
    items = [item(QUESTION, benchmark=name, id=key) for name, key in (("b", "1"), ("a", "2"), ("a", "1"), ("b", "0"))]
    text = f"{BEFORE} {' '.join(words_of(QUESTION)[:shared])} {AFTER}"
    for turn in range(4):
        match = index(*items[turn:], *items[:turn]).worst(text, RATIO)
        assert match is not None
        assert (match.benchmark, match.item) == ("a", "1")


def test_candidates_come_in_the_order_of_the_items() -> None:
    items = [item(QUESTION if number in (1, 8) else prose(f"{number}", 12)) for number in range(9)]
    assert index(*items).candidates(words_of(QUESTION)) == [1, 8]


def test_an_ngram_of_several_items_leads_to_all_of_them() -> None:
    items = [item(f"{prose(f'start {n}', 12)} {QUESTION} {prose(f'end {n}', 12)}", id=str(n)) for n in range(5)]
    assert index(*items).candidates(words_of(QUESTION)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "text", [SHORT, f"{BEFORE} {SHORT.lower()} {AFTER}", "who wrote, the novel: MOLLOY Samuel Beckett"]
)
def test_an_item_shorter_than_an_ngram_is_found_where_all_of_it_stands(text: str) -> None:
    match = index(item(SHORT), item(QUESTION, id="2")).worst(text, RATIO)
    assert match is not None
    assert (match.item, match.ratio) == ("1", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        f"{BEFORE} Who wrote the novel Molloy? {AFTER}",
        f"{BEFORE} {SHORT}s {AFTER}",
        "who wrote the novel Murphy samuel beckett",
    ],
)
def test_an_item_shorter_than_an_ngram_is_not_found_in_part(text: str) -> None:
    assert index(item(SHORT)).worst(text, RATIO) is None


def test_a_very_short_item_is_matched_though_it_forms_no_block() -> None:
    match = index(item("is 4")).worst("Well, is 4 right?", RATIO)
    assert match is not None
    assert match.ratio == 1.0


def test_short_matching_blocks_do_not_count() -> None:
    share, span = matched_share(words_of("one two three xx abc"), words_of("one two three yy abc"))
    assert (share, span) == (len("one two three") / len("one two three yy abc"), "one two three")


def test_an_item_without_words_matches_nothing() -> None:
    assert index(item("?!")).worst("Is it so?!", 0.0) is None


def test_items_are_read_with_context_question_and_answer(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "context": "In the cell.", "question": "Which one?", "answer": "This", "choices": ["That"]},
        {"id": "b", "context": None, "question": "Caf\u2028é?", "answer": "", "split": "test"},
    ]
    path = write(tmp_path / "b.jsonl", rows)
    path.write_text("\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n\n"), encoding="utf-8", newline="")
    assert list(read_items("bench", path)) == [
        Item("bench", "7", ("in", "the", "cell", "which", "one", "this")),
        Item("bench", "b", ("caf", "e")),
    ]


def test_an_unescaped_line_separator_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"id": "1", "question": "one\u2028two\u0085three", "answer": "x"}\n', encoding="utf-8")
    assert [found.words for found in read_items("bench", path)] == [("one", "two", "three", "x")]


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "2", "question": "q", "answer": ',
        b'["2", "q", "a"]',
        b'"text"',
        b"null",
        b'{"question": "q", "answer": "a"}',
        b'{"id": "2", "answer": "a"}',
        b'{"id": "2", "question": "q"}',
        b'{"id": "2", "question": "caf\xe9", "answer": "a"}',
    ],
    ids=["cut", "list", "string", "null", "no id", "no question", "no answer", "not UTF-8"],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_bytes(b'{"id": "1", "question": "q", "answer": "a"}\n\n' + line + b"\n")
    with pytest.raises(CosmoError, match=r"bench\.jsonl:3: benchmark science") as caught:
        list(read_items("science", path))
    assert str(path) in caught.value.message
    assert "id, question and answer" in caught.value.remedy


def test_every_planted_item_is_found_in_any_order_in_any_process(tmp_path: Path) -> None:
    rows = benchmark_rows(40)
    paths = [write(tmp_path / f"{name}.jsonl", rows[start::2]) for start, name in enumerate(("even", "odd"))]
    planted = rows[:12]
    texts = [f"{BEFORE} {row['question']} {row['answer']} {AFTER}" for row in planted] + [BEFORE, prose("other", 200)]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    printed = set()
    for seed in ("0", "1"):
        process = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, str(tmp_path / "texts.json"), *map(str, paths)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        printed.update(process.stdout.splitlines())
    (line,) = printed
    matches = json.loads(line)
    assert [match and match[:3] for match in matches] == [
        *(["odd" if int(row["id"]) % 2 else "even", row["id"], 1.0] for row in planted),
        None,
        None,
    ]


@pytest.mark.samples
def test_items_of_real_benchmarks_are_found_in_real_surroundings(samples: Path) -> None:
    folder = samples / "benchmarks"
    names = ("arc_challenge_test", "openbookqa_test", "gsm8k_test")
    missing = [name for name in names if not (folder / f"{name}.jsonl").is_file()]
    if missing:
        pytest.skip(f"no sample benchmarks {missing} in {folder}")
    items = [found for name in names for found in read_items(name, folder / f"{name}.jsonl")]
    held = BenchmarkIndex(items, NGRAM)
    draw = random.Random(7)
    for planted in draw.sample(items, 60):
        words = list(planted.words)
        text = f"{prose(planted.id, 60)} {' '.join(words).title()} {AFTER}"
        match = held.worst(text, RATIO)
        assert match is not None, planted.id
        assert match.ratio == 1.0
    assert [held.worst(prose(f"clean {number}", 200), RATIO) for number in range(30)] == [None] * 30
