"""`cosmo budget` of a corpus that was built, and every command of the page on it."""

import json
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.quantity.laws import PRESETS, ScalingLaw
from cosmo_assets.quantity.stock import NO_TOPIC, Stock, stock
from tests.corpora import ROOT, Corpus, seeds
from tests.doubles.replay_server import replaying

PAGE = (ROOT / "docs" / "quantity.md").read_text(encoding="utf-8")
MIXTURE = {"components": {"pages": {"weight": 9, "max_epochs": 2.6}, "books": {"weight": 1, "max_epochs": 9}}}
BOOKS = {"name": "books", "reader": "jsonl", "path": "books.jsonl", "licence": "CC0-1.0"}
CHANGES = {"mixture": MIXTURE, "quality": {"min_words": 80}, "real": {"sources": [BOOKS]}}
"""Some generated texts are too short; some real ones are mixed in."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """A corpus with documents of one copy and of more."""
    with replaying(topic=lambda prompt: ("Rivers", "Hills", "Towns")[crc32(prompt.encode()) % 3]) as server:
        corpus = Corpus(tmp_path_factory.mktemp("budget"), changes=CHANGES).write(seeds(40))
        lines = [json.dumps(document) for document in seeds(20, tag="book")]
        (corpus.folder / "books.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        corpus.build(server.url)
        yield corpus


WEIGHTS = {"Hills": 0.7, "Towns": 0.3}


@pytest.fixture
def corpus(built: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    for name, value in built.environment("http://localhost:1/v1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    rows = {name: {"value": share, "low": share / 2, "high": share} for name, share in WEIGHTS.items()}
    Path("weights.json").write_text(json.dumps({"method": "law", "weights": rows}), encoding="utf-8")
    return built


def cosmo(*arguments: str) -> str:
    found = CliRunner().invoke(main, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


def answer(*arguments: str) -> Any:
    return json.loads(cosmo("budget", *arguments, "--json"))


def there(corpus: Corpus) -> Stock:
    found = stock(corpus.store, corpus.recipe)
    assert found is not None
    return found


def test_the_tokens_are_those_of_the_token_index(corpus: Corpus) -> None:
    sizes: dict[str, list[int]] = defaultdict(list)
    topics: dict[str, str] = {}
    sources: dict[str, str] = {}
    real = set()
    for span in corpus.store.open("token_lineage").table().to_pylist():
        sizes[span["doc_id"]].append(span["end"] - span["start"])
        topics[span["doc_id"]] = span["topic"] or NO_TOPIC
        sources[span["doc_id"]] = span["source"]
        if span["prompt_id"] is None:
            real.add(span["doc_id"])
    assert real
    copies: Counter[int] = Counter()
    by_topic: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    for document, lengths in sizes.items():
        assert len(set(lengths)) == 1
        copies[len(lengths)] += lengths[0]
        by_source[sources[document]] += lengths[0]
        if document not in real:
            by_topic[topics[document]] += lengths[0]
    found = there(corpus)
    assert {2, 3} <= set(copies)
    assert {times: tokens for times, tokens in found.by_copies.items() if tokens} == copies
    assert found.by_topic == by_topic
    assert found.by_source == by_source
    assert found.unique == sum(copies.values())
    assert found.corpus == corpus.store.open("token_lineage").manifest.summary["tokens"]


def test_a_topic_should_have_its_share_of_the_prompts(corpus: Corpus) -> None:
    found = there(corpus)
    prompts = Counter(row["topic"] or NO_TOPIC for row in corpus.store.open("prompt_table").table().to_pylist())
    asked = {topic: count for topic, count in prompts.items() if topic in found.by_topic}
    assert len(asked) > 1
    assert found.shares == pytest.approx({topic: count / sum(asked.values()) for topic, count in asked.items()})
    topic = min(asked)
    for factor in (2.0, 0.0):
        fields = {**MIXTURE, "factors": {"topic": {topic: factor}}}
        recipe = corpus.recipe.model_copy(update={"mixture": type(corpus.recipe.mixture).model_validate(fields)})
        other = stock(corpus.store, recipe)
        assert other is not None
        wanted = {name: count * (factor if name == topic else 1) for name, count in asked.items()}
        wanted = {name: count / sum(wanted.values()) for name, count in wanted.items() if count}
        assert other.shares == pytest.approx(wanted)


def test_what_was_lost_so_far_is_taken_to_be_lost_again(corpus: Corpus) -> None:
    rows = corpus.rows("generations").values()
    kept = {key for key, row in corpus.rows("deduplicated").items() if row["keep"]}
    written = sum(row["completion_tokens"] for row in rows)
    left = sum(row["completion_tokens"] for row in rows if row["doc_id"] in kept)
    assert 0 < left < written
    assert there(corpus).kept == pytest.approx(left / written)


def test_the_command_answers_for_the_corpus(corpus: Corpus) -> None:
    found = answer("--tokens", "1e6")
    stock_of_it = there(corpus)
    assert found["unique"] == {"tokens": stock_of_it.unique, "basis": stock_of_it.basis, "kept": stock_of_it.kept}
    assert found["now"]["epochs"] == pytest.approx(1e6 / stock_of_it.unique)
    assert sum(row["generate"] for row in found["topics"].values()) == found["generate"]["unique_tokens"] > 0
    assert found["seen"]["most"] == pytest.approx(max(stock_of_it.by_copies) * 1e6 / stock_of_it.corpus)
    assert found["generate"]["device_hours"] > 0, "by the speed that was measured"
    shown = cosmo("budget", "--tokens", "1e6")
    for said in ("token index", "of which topics", "how often documents would be seen", "extrapolations", "epoch2024"):
        assert said in " ".join(shown.split())


def test_before_there_is_a_token_index_the_mixture_counts(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    store = corpus.store
    current = store.current
    monkeypatch.setattr(store, "current", lambda asset, *of: None if asset == "token_lineage" else current(asset, *of))
    found = stock(store, corpus.recipe)
    rows = store.open("mixture").table().to_pylist()
    assert found is not None
    assert found.unique == sum(row["tokens"] for row in rows)
    assert found.corpus == sum(row["tokens"] * row["copies"] for row in rows)
    assert (found.by_topic, found.shares) == ({}, {})
    assert found.kept == there(corpus).kept


def test_what_proxies_learnt_says_of_which_topics(corpus: Corpus) -> None:
    found = answer("--tokens", "1e6", "--weights", "weights.json")
    unique = there(corpus).by_topic
    assert {name: of["unique"] for name, of in found["domains"].items()} == {name: unique[name] for name in WEIGHTS}
    enough = found["enough"]["unique"]
    assert enough > sum(unique.values())
    for name, share in WEIGHTS.items():
        wanted = found["domains"][name]["generate"]
        assert wanted["value"] == wanted["high"] == pytest.approx(max(0, share * enough - unique[name]), abs=1)
        assert wanted["low"] == pytest.approx(max(0, share / 2 * enough - unique[name]), abs=1)
    shown = " ".join(cosmo("budget", "--tokens", "1e6", "--weights", "weights.json").split())
    assert "of which domains" in shown
    assert "of which topics" not in shown
    cosmo("budget", "--tokens", "1e6", "--weights", "weights.json", "--chart", "domains.svg")
    assert "Unique tokens by domain" in Path("domains.svg").read_text(encoding="utf-8")
    refused = CliRunner().invoke(
        main, ["budget", "--tokens", "1e6", "--tokens-available", "1e5", "--weights", "weights.json"]
    )
    assert refused.exit_code
    assert "'Hills' is not among the domains of the corpus: none known" in " ".join(refused.output.split())


COMMANDS = [
    line for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_does_what_it_says(corpus: Corpus, tmp_path: Path, line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    assert program == "cosmo"
    shown = cosmo(*arguments)
    assert "extrapolations" in " ".join(shown.split())
    if "--chart" in arguments:
        assert (tmp_path / "loss.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_page_has_commands_and_the_constants_that_are_used() -> None:
    assert len(COMMANDS) == 8
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(PRESETS)
    for name, cells in rows:
        e, a, b, alpha, beta, optimum, ratio = cells.split(" | ")
        law: ScalingLaw = PRESETS[name]
        constants = (law.e, law.a, law.b, law.alpha, law.beta)
        assert tuple(map(float, (e, a, b, alpha, beta))) == pytest.approx(constants, rel=1e-5)
        parameters, tokens = law.optimum(5.76e23)
        assert optimum == f"{parameters / 1e9:.1f}B, {tokens / 1e12:.2f}T"
        assert ratio == f"{tokens / parameters:.0f}"
