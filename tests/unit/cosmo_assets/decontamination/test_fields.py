"""Fields of benchmarks: the layouts of rows, and the ways in which choices and answers are written down."""

import re
from typing import Any

import pytest

from cosmo_assets.decontamination.fields import Question, columns_of, id_of, layout_of, question_of
from cosmo_assets.recipe.decontamination import Benchmark, BenchmarkFields, known_benchmarks
from cosmo_assets.seeds.readers.base import BadFieldError

CHOICES = ["red", "green", "blue"]
LABELLED = {"text": CHOICES, "label": ["1", "2", "3"]}
OBJECTS = [{"text": text, "label": label} for text, label in zip(CHOICES, "XYZ", strict=True)]


def answer(value: Any, choices: Any = None, **fields: Any) -> str:
    row = {"question": "q", "answer": value, "choices": choices}
    return question_of(row, BenchmarkFields(**fields)).answer


@pytest.mark.parametrize(
    ("value", "choices", "answer_as", "expected"),
    [
        ("green", CHOICES, "text", "green"),
        ("greenish", CHOICES, "text", "greenish"),
        (["Onion", "Allium cepa"], None, "text", "Onion"),
        ([], None, "text", ""),
        (42, None, "text", "42"),
        (1, CHOICES, "text", "green"),
        (4, [2, 3, 4], "text", "4"),
        ("A", ["A", "C"], "text", "A"),
        (True, None, "text", "yes"),
        (False, ["no", "yes"], "text", "no"),
        (0, CHOICES, "index", "red"),
        ("2", CHOICES, "index", "blue"),
        (1.0, CHOICES, "index", "green"),
        (-1, CHOICES, "index", ""),
        ("", CHOICES, "index", ""),
        (None, CHOICES, "number", ""),
        ("1", CHOICES, "number", "red"),
        (3, CHOICES, "number", "blue"),
        ("C", CHOICES, "label", "blue"),
        ("3", LABELLED, "label", "blue"),
        ("Y", OBJECTS, "label", "green"),
        ("", OBJECTS, "label", ""),
    ],
    ids=str,
)
def test_the_right_answer_in_words(value: Any, choices: Any, answer_as: str, expected: str) -> None:
    assert answer(value, choices, answer_as=answer_as) == expected


@pytest.mark.parametrize(
    ("value", "choices", "answer_as", "said"),
    [
        ("B", CHOICES, "text", "no_choice.*set answer_as: label"),
        (3, CHOICES, "text", "no_choice.*none of its 3 choices"),
        (3, CHOICES, "index", "no_choice.*none of its 3 choices"),
        (-2, CHOICES, "index", "no_choice"),
        (0, CHOICES, "number", "no_choice"),
        (0, None, "index", "no_choice.*none of its 0"),
        ("green", CHOICES, "index", "wrong_type.*'green'"),
        ("D", CHOICES, "label", "no_choice"),
        ({"value": "x"}, None, "text", "wrong_type"),
        ("red", "red green", "text", "choices.*wrong_type"),
        ("red", {"text": CHOICES, "label": ["1"]}, "text", "choices.*wrong_type"),
    ],
    ids=str,
)
def test_an_answer_that_is_none_of_the_choices_is_refused(value: Any, choices: Any, answer_as: str, said: str) -> None:
    with pytest.raises(BadFieldError) as caught:
        answer(value, choices, answer_as=answer_as)
    told = f"{caught.value.field}: {caught.value.reason}: {caught.value.detail}"
    assert re.search(said, told), told


PUBLISHED: dict[str, tuple[dict[str, Any], Question]] = {
    "arc_easy": (
        {"id": "m-1", "question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"},
        Question("", "Why?", ("a", "b"), "b"),
    ),
    "boolq": ({"question": "is it", "answer": True, "passage": "It is."}, Question("It is.", "is it", (), "yes")),
    "gsm8k": ({"question": "How many?", "answer": "One.\n#### 1"}, Question("", "How many?", (), "One.\n#### 1")),
    "hellaswag": (
        {"ind": 1, "ctx": "He sat. he", "endings": ["rose.", "fell."], "label": "0"},
        Question("", "He sat. he", ("rose.", "fell."), "rose."),
    ),
    "humaneval": (
        {"task_id": "HumanEval/0", "prompt": "def f():", "canonical_solution": "  pass", "test": "f()"},
        Question("", "def f():", (), "  pass"),
    ),
    "mbpp": ({"task_id": 7, "text": "Write it.", "code": "x = 1"}, Question("", "Write it.", (), "x = 1")),
    "mmlu": (
        {"question": "Which?", "subject": "law", "choices": ["a", "b"], "answer": 1},
        Question("", "Which?", ("a", "b"), "b"),
    ),
    "openbookqa": (
        {
            "id": "8",
            "question_stem": "The sun is",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]},
            "answerKey": "A",
        },
        Question("", "The sun is", ("a", "b"), "a"),
    ),
    "piqa": (
        {"goal": "Do it", "sol1": "so", "sol2": "thus", "label": 1},
        Question("", "Do it", ("so", "thus"), "thus"),
    ),
    "siqa": (
        {"context": "Al fell.", "question": "Why?", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"},
        Question("", "Al fell.\nWhy?", ("a", "b", "c"), "c"),
    ),
    "triviaqa": (
        {"question_id": "t", "question": "Who?", "answer": {"value": "Al", "aliases": ["Alan", "Al"]}},
        Question("", "Who?", (), "Al"),
    ),
    "winogrande": (
        {"sentence": "So _ won.", "option1": "Al", "option2": "Bo", "answer": "2"},
        Question("", "So _ won.", ("Al", "Bo"), "Bo"),
    ),
}
PUBLISHED["arc_challenge"] = PUBLISHED["arc_easy"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_row_as_its_benchmark_is_published_and_one_with_plain_names_say_the_same(name: str) -> None:
    layouts = Benchmark(name=name, path="p").fields
    row, expected = PUBLISHED[name]
    assert question_of(row, layout_of(row, layouts)) == expected
    plain = {**vars(expected), "choices": list(expected.choices) or None, "benchmark": name}
    assert question_of(plain, layout_of(plain, layouts)) == expected


def test_every_benchmark_of_the_registry_has_a_published_row_here() -> None:
    assert PUBLISHED.keys() == known_benchmarks().keys()


def test_fields_may_be_nested_joined_and_left_out() -> None:
    fields = BenchmarkFields(
        id="meta.key", question=("stem.lead", "stem.text"), choices="stem.options", context=None, answer=None
    )
    row = {"meta": {"key": 5}, "stem": {"lead": "A box.", "text": "How many?", "options": [3, 4]}, "context": "no"}
    assert layout_of(row, [fields]) is fields
    assert id_of(row, fields) == "5"
    assert question_of(row, fields) == Question("", "A box.\nHow many?", ("3", "4"), "")
    assert columns_of(["meta", "stem", "context", "answer"], [fields]) == ["meta", "stem"]
    assert columns_of(["other"], [fields]) == ["other"]


def test_a_field_that_is_named_must_be_there_and_the_usual_ones_may_be_absent() -> None:
    row = {"question": "q", "answer": None}
    assert id_of(row, layout_of(row, [BenchmarkFields()])) == ""
    for fields in ({"id": "key"}, {"context": "passage"}, {"choices": "options"}, {"choices": ("a", "b")}):
        with pytest.raises(BadFieldError, match="missing_field"):
            layout_of(row, [BenchmarkFields(**fields)])
