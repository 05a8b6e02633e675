"""A stage refuses what was made as another recipe asks, says what to do, and works again once the recipe is back."""

from collections.abc import Iterator
from typing import Any

import pytest
from tokenizers import Tokenizer

from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def replay() -> Iterator[ReplayServer]:
    with replaying() as server:
        yield server


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, replay: ReplayServer) -> Corpus:
    corpus = Corpus(tmp_path_factory.mktemp("agreement") / "corpus", buckets=2).write(seeds(12))
    corpus.build(replay.url)
    return corpus


@pytest.fixture
def corpus(built: Corpus) -> Iterator[Corpus]:
    yield built
    built.changes = {}
    built.write()


BENCHMARKS = [{"name": "bench", "path": "bench.jsonl", "licence": "CC0-1.0"}]
CHANGES: list[tuple[str, dict[str, Any], str, str]] = [
    ("seeds", {"seeds": {"max_chars": 40_000}}, "seed_topics", "seed_documents was made with other seeds"),
    (
        "rules",
        {"decontamination": {"benchmarks": BENCHMARKS, "rules": [{"rule": "short"}]}},
        "mixture",
        "benchmark_index was made with other rules",
    ),
    (
        "benchmarks",
        {"decontamination": {"benchmarks": [{**BENCHMARKS[0], "name": "another"}]}},
        "tokenized_shards",
        "benchmark_index was made with other benchmarks",
    ),
    (
        "duplicates",
        {"deduplication": {"methods": [{"method": "exact"}]}},
        "mixture",
        "duplicate_clusters was made with other methods",
    ),
    (
        "quality",
        {"quality": {"min_words": 11}},
        "deduplicated",
        "generation_quality of bucket b000 was made with other ",
    ),
    (
        "mixture",
        {"mixture": {"components": {"pages": {"weight": 1, "max_epochs": 2}}}},
        "tokenized_shards",
        "mixture was made with other components",
    ),
    (
        "eos",
        {"tokenization": {"shard_tokens": 2000, "eos": "<|im_end|>"}},
        "token_lineage",
        "tokenized_shards was made",
    ),
]


@pytest.mark.parametrize(("changes", "asset", "told"), [pytest.param(*c[1:], id=c[0]) for c in CHANGES])
def test_what_was_made_as_another_recipe_asks_is_refused(
    changes: dict[str, Any], asset: str, told: str, corpus: Corpus, replay: ReplayServer
) -> None:
    before = corpus.versions_of_everything()
    corpus.changes = changes
    corpus.write()
    with pytest.raises(CosmoError, match=f"{told}.* than the recipe asks for") as refused:
        corpus.build(replay.url, [asset])
    assert "`cosmo run`" in refused.value.remedy
    corpus.changes = {}
    corpus.write()
    corpus.build(replay.url, [asset])
    assert corpus.versions_of_everything() == before


def test_another_tokenizer_is_refused(corpus: Corpus, replay: ReplayServer) -> None:
    (saved,) = corpus.store.open("tokenized_shards").folder.rglob("tokenizer.json")
    tokenizer = Tokenizer.from_file(str(saved))
    tokenizer.add_tokens(["<another>"])
    tokenizer.save(str(corpus.folder / "tokenizer.json"))
    corpus.changes = {"tokenization": {"shard_tokens": 2000, "tokenizer": "tokenizer.json"}}
    corpus.write()
    with pytest.raises(CosmoError, match="tokenized_shards was made with other tokenizer"):
        corpus.build(replay.url, ["token_lineage"])


def test_buckets_of_another_model_may_stand_beside_others(corpus: Corpus, replay: ReplayServer) -> None:
    asked = len(replay.generation_calls)
    corpus.changes = {
        "generation": {
            "model": {"name": "replay", "revision": "2", "licence": "CC0-1.0"}, "max_tokens": 200, "shard_rows": 8
        }
    }  # fmt: skip
    corpus.write()
    corpus.build(replay.url, ["mixture", "tokenized_shards"])
    assert len(replay.generation_calls) == asked
