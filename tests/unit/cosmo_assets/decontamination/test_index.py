"""The index: what was built is what is opened, and the matches are the same in any order, process and partition."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosmo_assets.decontamination.benchmarks import Item
from cosmo_assets.decontamination.index import BenchmarkIndex, Match, build_index
from cosmo_assets.decontamination.rules import CosmopediaRule, GramRule, Rule, ShortRule
from tests.doubles.replay_server import prose

RULES: dict[str, Rule] = {
    "cosmopedia": CosmopediaRule(ngram=10, ratio=0.5),
    "short": ShortRule(below=13),
    "ngram": GramRule(ngram=13),
    "label": GramRule(ngram=12, label=True),
    "share": GramRule(ngram=5, share=0.6),
}

ITEMS = [
    Item("odd" if number % 2 else "even", str(number), prose(f"question {number}", 2 + number % 30), prose("answer", 3))
    for number in range(60)
]
TEXTS = [
    None
    if number == 7
    else f"{prose(f'before {number}', number)} {ITEMS[number % 60].text[number // 3 :]} {'é' * number}"
    for number in range(90)
]

ELSEWHERE = """
import json, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from tests.unit.cosmo_assets.decontamination.test_index import ITEMS, RULES, TEXTS
from cosmo_assets.decontamination.index import BenchmarkIndex, build_index

folder, items = Path(sys.argv[1]), Path(sys.argv[2])
if not items.exists():
    pq.write_table(build_index(ITEMS, RULES, folder), items)
index = BenchmarkIndex.open(RULES, pq.read_table(items), folder.iterdir())
print(json.dumps(list(index.matches(pa.array(TEXTS)))))
"""


def opened(folder: Path, items: Sequence[Item] = ITEMS) -> BenchmarkIndex:
    folder.mkdir()
    table = build_index(items, RULES, folder)
    return BenchmarkIndex.open(RULES, table, folder.iterdir())


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkIndex:
    return opened(tmp_path_factory.mktemp("index") / "built")


@pytest.fixture(scope="module")
def expected(held: BenchmarkIndex) -> list[Match]:
    return list(held.matches(pa.array(TEXTS)))


def test_every_rule_finds_something_and_tells_the_item(expected: list[Match]) -> None:
    assert {match.rule for match in expected} == RULES.keys()
    assert len({match.item for match in expected}) > 40
    for match in expected:
        assert match.benchmark == ("odd" if int(match.item) % 2 else "even")
        assert 0 < match.ratio <= 1
        assert match.span


def test_rules_come_in_their_order_and_no_match_twice(expected: list[Match]) -> None:
    ranks = [list(RULES).index(match.rule) for match in expected]
    assert ranks == sorted(ranks)
    assert len({match[:5] for match in expected}) == len(expected)


def test_the_table_of_items_tells_which_rules_can_find_each(tmp_path: Path) -> None:
    items = build_index(ITEMS, RULES, tmp_path)
    rows = [(row["benchmark"], row["item"], row["part"], row["text"]) for row in items.to_pylist()]
    assert rows == [(item.benchmark, item.id, item.part, item.text) for item in ITEMS]
    expected = {(row["item"], rule) for row in items.to_pylist() for rule in row["rules"]}
    held = BenchmarkIndex.open(RULES, items, tmp_path.iterdir())
    matches = held.matches(pa.array([item.text for item in ITEMS]))
    assert {(match.item, match.rule) for match in matches if ITEMS[match.text].id == match.item} == expected
    assert {rule for _, rule in expected} == RULES.keys()


def test_files_are_mapped_into_memory_and_not_written_to(tmp_path: Path) -> None:
    held = opened(tmp_path / "built")
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "built").iterdir()}
    for path in (tmp_path / "built").iterdir():
        path.chmod(0o400)
    assert list(held.matches(pa.array(TEXTS)))
    assert {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "built").iterdir()
    } == before
    assert all(not array.flags.writeable for table in held._tables.values() for array in table.values())


def test_the_files_of_two_builds_are_the_same_to_the_byte(tmp_path: Path) -> None:
    for name in ("first", "second"):
        opened(tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_matches_are_the_same_in_any_order_of_the_items(seed: int, tmp_path: Path, expected: list[Match]) -> None:
    shuffled = random.Random(seed).sample(ITEMS, len(ITEMS))
    assert sorted(opened(tmp_path / "built", shuffled).matches(pa.array(TEXTS))) == sorted(expected)


def test_matches_are_the_same_in_any_order_of_the_texts(held: BenchmarkIndex, expected: list[Match]) -> None:
    order = random.Random(4).sample(range(len(TEXTS)), len(TEXTS))
    found = held.matches(pa.array([TEXTS[number] for number in order]))
    assert sorted(match._replace(text=order[match.text]) for match in found) == sorted(expected)


@given(cuts=st.lists(st.integers(0, len(TEXTS)), max_size=12), kind=st.sampled_from([pa.string(), pa.large_string()]))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_matches_are_the_same_in_any_parts_of_the_texts(
    cuts: list[int], kind: pa.DataType, held: BenchmarkIndex, expected: list[Match]
) -> None:
    bounds = [0, *sorted(cuts), len(TEXTS)]
    array = pa.array(TEXTS, kind)
    found = [
        match._replace(text=match.text + start)
        for start, stop in pairwise(bounds)
        for match in held.matches(array.slice(start, stop - start))
    ]
    assert sorted(found) == sorted(expected)


def test_matches_are_the_same_in_any_process(tmp_path: Path, expected: list[Match]) -> None:
    """The second process opens what the first one built; the third builds anew."""
    root = Path(__file__).parents[4]
    for seed, folder in (("0", "a"), ("1", "a"), ("7", "b")):
        (tmp_path / folder).mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / folder), str(tmp_path / f"{folder}.parquet")]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
        assert [Match(*row) for row in json.loads(done.stdout)] == expected
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    "items", [[], [Item("b", "1", "", "")], [Item("b", "1", "?!", "")]], ids=["none", "empty", "marks"]
)
def test_an_index_without_words_matches_nothing(items: list[Item], tmp_path: Path) -> None:
    assert list(opened(tmp_path / "built", items).matches(pa.array(["", *TEXTS]))) == []


@pytest.mark.parametrize("texts", [[], [None], ["", None], ["?!"]], ids=["none", "null", "empty", "marks"])
def test_texts_without_words_match_nothing(texts: list[str | None], held: BenchmarkIndex) -> None:
    assert list(held.matches(pa.array(texts, pa.string()))) == []
