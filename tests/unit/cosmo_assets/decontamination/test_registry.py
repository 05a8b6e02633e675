"""The registry, against the benchmarks of the sample data: every item is searched for in texts that make sense, and
found, or listed."""

import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cosmo_assets.decontamination.benchmarks import ALONE, LONG, Item, read_items, sources
from cosmo_assets.decontamination.index import BenchmarkIndex, build_index
from cosmo_assets.decontamination.rules import Rule, rules_of
from cosmo_assets.decontamination.stage import index_summary
from cosmo_assets.recipe.decontamination import Benchmark, Decontamination, known_benchmarks
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.words.alphabet import words_of
from tests.sample_benchmarks import sample_items, sample_sources

DEFAULT = Decontamination(benchmarks=())
SIZES = {
    "arc_challenge": 1172,
    "arc_easy": 2376,
    "boolq": 3270,
    "gsm8k": 1319,
    "hellaswag": 10042,
    "humaneval": 164,
    "mbpp": 974,
    "mmlu": 14042,
    "openbookqa": 500,
    "piqa": 1838,
    "siqa": 1954,
    "triviaqa": 3000,
    "winogrande": 1267,
}
"""Items of each, as SOURCE.md of the sample data counts them."""


def test_the_registry_names_the_thirteen_and_each_is_a_benchmark_by_its_name_alone() -> None:
    assert known_benchmarks().keys() == SIZES.keys()
    for name, known in known_benchmarks().items():
        found = Benchmark(name=name, path="x.jsonl")
        assert found.licence == known["licence"]
        assert list(found.parts) == known["parts"]
        assert "answer" not in found.parts
        assert len(found.fields) == len(known["fields"])


def test_what_a_recipe_says_goes_before_the_registry() -> None:
    given: dict[str, Any] = {"name": "mmlu", "path": "x", "licence": "CC0-1.0", "parts": ["answer"], "split": "dev"}
    found = Benchmark(**given, fields={"question": "ask"})
    assert (found.licence, found.parts, found.split, found.config) == ("CC0-1.0", ("answer",), "dev", "all")
    assert [layout.question for layout in found.fields] == ["ask"]


@pytest.fixture(scope="module")
def items(samples_folder: Path) -> dict[tuple[str, str], dict[str, Item]]:
    """The texts of every item, by their parts."""
    found: dict[tuple[str, str], dict[str, Item]] = defaultdict(dict)
    for item in sample_items(samples_folder):
        assert item.part not in found[item.benchmark, item.id]
        found[item.benchmark, item.id][item.part] = item
    return found


@pytest.mark.samples
def test_every_item_of_every_benchmark_says_something(items: dict[tuple[str, str], dict[str, Item]]) -> None:
    assert Counter(benchmark for benchmark, _ in items) == SIZES
    for texts in items.values():
        assert all(words_of(item.text, "folded") for item in texts.values())
    parts = {name: {part for (known, _), texts in items.items() if known == name for part in texts} for name in SIZES}
    assert parts == {name: set(known["parts"]) for name, known in known_benchmarks().items()}, "a part never says any"


@pytest.mark.samples
def test_blanks_are_filled_and_contexts_go_on(
    items: dict[tuple[str, str], dict[str, Item]], samples_folder: Path
) -> None:
    filled = {key: texts["filled"].text for key, texts in items.items() if "filled" in texts}
    assert len([key for key in filled if key[0] == "winogrande"]) == SIZES["winogrande"]
    assert not any("_" in text for (name, _), text in filled.items() if name == "winogrande")
    assert filled["winogrande", "winogrande/validation/0"] == (
        "Sarah was a much better surgeon than Maria so Maria always got the easier cases."
    )
    assert filled["hellaswag", "hellaswag/validation/0"] == (
        "A man is sitting on a roof. he starts pulling up roofing on a roof."
    )
    assert len([key for key in filled if key[0] == "hellaswag"]) == SIZES["hellaswag"] - 1


@pytest.mark.samples
def test_a_stem_is_not_searched_for_alone(items: dict[tuple[str, str], dict[str, Item]]) -> None:
    texts = [item for parts in items.values() for part in ALONE if (item := parts.get(part))]
    stems = [item for item in texts if item.benchmark in ("mmlu", "arc_easy", "arc_challenge", "openbookqa", "piqa")]
    assert len(stems) > 10_000
    assert min(len(words_of(item.text, "folded")) for item in stems) >= LONG
    assert {item.benchmark for item in texts if len(words_of(item.text, "folded")) < LONG} <= {
        "boolq",
        "mbpp",
        "triviaqa",
        "siqa",
    }


@pytest.mark.samples
@pytest.mark.parametrize(
    "rules", [None, [{"rule": "cosmopedia"}], [{"rule": "label"}]], ids=["default", "cosmopedia", "label"]
)
def test_every_text_is_found_or_listed(
    rules: list[dict[str, str]] | None, samples_folder: Path, tmp_path: Path
) -> None:
    """The texts of every seventh item, each looked for in itself: found exactly where the index says that it can be."""
    section = Decontamination(benchmarks=(), **({"rules": rules} if rules else {}))
    known = rules_of(section)
    shared = sample_sources(samples_folder)
    few = [item for source in shared for number, item in enumerate(read_items(source)) if number // 8 % 7 == 0]
    table = build_index(few, known, tmp_path)
    index = BenchmarkIndex.open(known, table, tmp_path.iterdir())
    found: dict[int, set[str]] = defaultdict(set)
    for match in index.matches(pa.array([item.text for item in few], pa.large_string())):
        if (match.benchmark, match.item, match.part) == (
            few[match.text].benchmark,
            few[match.text].id,
            few[match.text].part,
        ):
            found[match.text].add(match.rule)
    assert [found[number] for number in range(len(few))] == [set(names) for names in table["rules"].to_pylist()]
    summary = index_summary(table, shared, section)
    lost = [row for row in table.to_pylist() if not row["rules"]]
    assert sum(row["unchecked_texts"] for row in summary["benchmarks"]) == len(lost)
    assert len(summary["unchecked"]) == min(len(lost), 20)
    assert not lost if rules is None else lost


def test_an_item_is_unchecked_where_none_of_its_texts_can_be_found_and_these_are_listed_first(tmp_path: Path) -> None:
    rows = [("a", ["?!", "!!"]), ("b", ["What is it, and why?", "?!"]), ("c", ["..."])]
    items = [
        Item("bench", key, text, "", part)
        for key, texts in rows
        for part, text in zip(("question", "context"), texts, strict=False)
    ]
    (tmp_path / "bench.jsonl").write_text("{}", encoding="utf-8")
    benchmark = Benchmark(name="bench", path="bench.jsonl", licence="MIT", parts=("question", "context"))
    section = Decontamination(benchmarks=(benchmark,))
    (source,) = sources(Recipe.model_construct(name="r", folder=tmp_path, decontamination=section))
    (tmp_path / "index").mkdir()
    summary = index_summary(build_index(items, rules_of(section), tmp_path / "index"), [source], section)
    (counts,) = summary["benchmarks"]
    assert (counts["items"], counts["texts"], counts["unchecked"], counts["unchecked_texts"]) == (3, 5, 2, 4)
    listed = [(row["item"], row["part"]) for row in summary["unchecked"]]
    assert listed == [("a", "question"), ("a", "context"), ("c", "question"), ("b", "context")]


def build(items: list[Item], folder: Path, rules: dict[str, Rule]) -> tuple[BenchmarkIndex, pa.Table]:
    table = build_index(items, rules, folder)
    return BenchmarkIndex.open(rules, table, folder.iterdir()), table


@pytest.mark.samples
def test_answers_and_contexts_are_searched_for_where_a_recipe_wants_it(samples_folder: Path, tmp_path: Path) -> None:
    """A short answer stands everywhere: it is listed and never condemns; a long solution or passage is found."""
    wanted = {"gsm8k": "answer", "boolq": "context", "winogrande": "answer", "mmlu": "answer"}
    asked = [
        source
        for name, part in wanted.items()
        for source in sample_sources(samples_folder, parts=[part])
        if source.benchmark.name == name
    ]
    items = [item for source in asked for item in list(read_items(source))[:400]]
    index, table = build(items, tmp_path, rules_of(DEFAULT))
    texts = [f"Before it: {item.text}, as it is said." for item in items]
    found = {(match.text, match.item) for match in index.matches(pa.array([*texts, "Yes", "4", "Maria", "Sarah"]))}
    assert all(text < len(texts) for text, _ in found)
    findable = {number for number, rules in enumerate(table["rules"].to_pylist()) if rules}
    assert {number for number, item in enumerate(items) if (number, item.id) in found} == findable
    assert {items[number].benchmark for number in findable} == {"gsm8k", "boolq", "mmlu"}
    summary = index_summary(table, asked, DEFAULT)
    unchecked = {row["benchmark"]: row["unchecked"] for row in summary["benchmarks"]}
    assert unchecked["winogrande"] == 400
    assert unchecked["boolq"] == 0
    assert unchecked["gsm8k"] < unchecked["mmlu"] < 400
    assert {row["part"] for row in summary["unchecked"]} == {"answer"}


def as_printed(item: dict[str, Any], form: str) -> str:
    asked = "\n".join(text for text in (item.get("context"), item["question"]) if text)
    choices = item["choices"] or []
    match form:
        case "lettered":
            return f"Question: {asked}\n" + "\n".join(f"({'abcde'[n]}) {text}" for n, text in enumerate(choices))
        case "listed":
            return f"{asked}\n" + "\n".join(f"- {text}" for text in choices)
        case "answered":
            return f"Question: {asked}\nAnswer: {item['answer']}"
        case _:
            return f"Q: {asked}\nA: {item['answer']}"


@pytest.mark.samples
@pytest.mark.parametrize("form", ["lettered", "listed", "answered", "q and a"])
def test_an_item_is_found_as_exercises_and_evaluation_prompts_print_it(
    form: str, samples_folder: Path, printed: tuple[BenchmarkIndex, list[tuple[str, str, dict[str, Any]]]]
) -> None:
    """In every form; of HellaSwag, whose contexts and endings are long, 99 of 100."""
    index, rows = printed
    texts = [f"Some words before it. {as_printed(row, form)}\nSome words after it." for _, _, row in rows]
    found = {(match.text, match.benchmark, match.item) for match in index.matches(pa.array(texts, pa.large_string()))}
    missed = [key for number, (*key, _) in enumerate(rows) if (number, *key) not in found]
    assert [key for key in missed if key[0] != "hellaswag"] == []
    assert len(missed) <= 0.01 * SIZES["hellaswag"] / 5


@pytest.fixture(scope="module")
def printed(samples_folder: Path) -> tuple[BenchmarkIndex, list[tuple[str, str, dict[str, Any]]]]:
    """An index of every fifth item, and their rows."""

    rows = []
    kept: set[tuple[str, str]] = set()
    items: list[Item] = []
    for source in sample_sources(samples_folder):
        name, path = source.benchmark.name, source.units[0].files[0]
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
        few = [json.loads(line) for line in lines[::5]]
        rows += [(name, row["id"], row) for row in few]
        kept |= {(name, row["id"]) for row in few}
        items += [item for item in read_items(source) if (name, item.id) in kept]
    with tempfile.TemporaryDirectory() as folder:
        rules = rules_of(DEFAULT)
        table = build_index(items, rules, Path(folder))
        return BenchmarkIndex.open(rules, table, Path(folder).iterdir()), rows
