"""Filters as arms of a proof: planted noise that a bound drops, and proxies that tell whether that helps."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cosmo_assets.build import build_defs
from cosmo_assets.proxy import stage
from cosmo_assets.proxy.filters import by_filters
from cosmo_assets.proxy.parts import CORPUS, arms_of, write_parts
from cosmo_assets.recipe.selection import SignalBound
from cosmo_assets.selection.signals import Signals
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization.shards import map_shard
from cosmo_resources.deployments import deployment
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import WORDS, ReplayServer, prose, replaying
from tests.e2e.test_proof import PROXY, documents
from tests.engines import python_with_torch
from tests.proxies import untrained

READABLE = {"signal": "statistics.mean_word_length", "high": 8}
LONG = {"signal": "quality.words", "low": 75}
REAL = {
    "sources": [{"name": "noise", "reader": "jsonl", "path": "noise.jsonl", "licence": "CC0-1.0"}],
    "filters": {"languages": ["zxx"], "min_alphabetic_words": 0, "word_chars": [1, 50]},
}
ITEMS = [
    {
        "question": prose(f"question/{number}", 12),
        "choices": [" ".join(WORDS[number : number + 4]), "zqx vbk"],
        "answer": 0,
    }
    for number in range(12)
]


def noise(number: int) -> str:
    """Words of sixteen letters that nobody says."""
    drawn = [hashlib.blake2b(f"{number}/{word}".encode(), digest_size=8).hexdigest() for word in range(60)]
    return " ".join(word.translate(str.maketrans("0123456789", "ghijklmnop")) for word in drawn)


def asked(corpus: Corpus, *filters: dict[str, Any], **section: Any) -> Corpus:
    section = {"items": "items.jsonl", "by": "filters", "filters": [*filters], "proxy": PROXY, **section}
    corpus.changes["proof"] = section
    return corpus.write()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, ReplayServer]]:
    """Prose that was generated, and real documents, every one of them noise: these have no signals of `quality`."""
    corpus = Corpus(tmp_path_factory.mktemp("filters"), shard_rows=64)
    mixture = {"components": {"pages": {}, "noise": {}}}
    corpus.changes = {"signals": ["statistics"], "real": REAL, "mixture": mixture}
    (corpus.folder / "items.jsonl").write_text("\n".join(map(json.dumps, ITEMS)), encoding="utf-8")
    lines = [json.dumps({"id": f"noise-{number}", "text": noise(number)}) for number in range(30)]
    (corpus.folder / "noise.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with replaying() as server:
        asked(corpus, READABLE, LONG).write(seeds(60)).build(server.url)
        yield corpus, server


def test_the_arm_of_a_filter_lacks_what_it_drops_and_nothing_else(
    built: tuple[Corpus, ReplayServer], tmp_path: Path
) -> None:
    corpus, _ = built
    store, recipe = corpus.store, asked(corpus, READABLE, LONG).recipe
    section = stage.section_of(recipe)
    shards, lineage = store.open("tokenized_shards"), store.open("token_lineage")
    parting = by_filters(lineage, Signals.open(store, recipe, section.families), section.filters)
    parts, spans = write_parts(tmp_path / "parts", shards, lineage, parting)
    assert len(parts) == 3, "noise, short texts, the others"

    words = {key: row["words"] for key, row in corpus.rows("generation_quality").items()}
    lengths = {key: row["mean_word_length"] for key, row in corpus.rows("text_statistics").items()}
    lengths |= {row["doc_id"]: row["mean_word_length"] for row in store.open("real_statistics").table().to_pylist()}
    rows = lineage.table().to_pylist()
    assert spans == len(rows) > 60
    texts = [tuple(map_shard(shards.folder / row["shard"])[row["start"] : row["end"]].tolist()) for row in rows]
    readable = [text for row, text in zip(rows, texts, strict=True) if lengths[row["doc_id"]] <= 8]
    long = [text for row, text in zip(rows, texts, strict=True) if words.get(row["doc_id"], 75) >= 75]
    assert readable == [text for row, text in zip(rows, texts, strict=True) if row["source"] == "pages"]
    assert {row["source"] for row in rows if row["doc_id"] not in words} == {"noise"}, "without the signal"
    assert 0 < len(long) < len(rows)

    def held(arm: list[Path]) -> list[tuple[int, ...]]:
        return sorted(text for path in arm for text in documents(path))

    assert {name: held(arm) for name, arm in arms_of(parts, parting.held, section).items()} == {
        CORPUS: sorted(texts),
        "without statistics.mean_word_length above 8": sorted(readable),
        "without quality.words below 75": sorted(long),
    }
    only = section.model_copy(update={"arms": "only"})
    arm = arms_of(parts, parting.held, only)["only quality.words below 75"]
    assert held(arm) == sorted(set(texts) - set(long))


def test_a_filter_is_compared_with_the_whole_corpus(
    built: tuple[Corpus, ReplayServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, server = built
    asked(corpus, READABLE)
    monkeypatch.setenv("COSMO_PROXY_PYTHON", str(untrained(tmp_path)))
    assert corpus.build(server.url, ["proxy_runs", "proxy_evaluation"]) == []
    runs = corpus.store.open("proxy_runs").manifest
    rows = corpus.store.open("token_lineage").table().to_pylist()
    prose_tokens = sum(row["end"] - row["start"] for row in rows if row["source"] == "pages")
    whole = corpus.store.open("tokenized_shards").manifest.summary["tokens"]
    arm = "without statistics.mean_word_length above 8"
    assert runs.summary["arms"] == {CORPUS: whole, arm: prose_tokens}
    assert prose_tokens < whole
    read = {(ref.asset, ref.bucket) for ref in runs.inputs}
    assert read == {
        ("tokenized_shards", "all"), ("token_lineage", "all"), ("real_statistics", "all"),
        ("text_statistics", "b000"), ("text_statistics", "b001"),
    }  # fmt: skip
    compared = corpus.store.open("proxy_evaluation").table().to_pylist()
    assert {(row["arm"], row["other"]) for row in compared} == {(CORPUS, arm)}


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ({"signal": "quality.words", "low": 1}, "none of the .* documents of the corpus have quality.words below 1"),
        ({"signal": "statistics.words", "low": 1000}, "all of the .* have statistics.words below 1000"),
    ],
    ids=["drops nothing", "drops everything"],
)
def test_a_filter_that_leaves_nothing_to_compare_is_refused(
    built: tuple[Corpus, ReplayServer], bound: dict[str, Any], said: str
) -> None:
    workspace = Workspace(built[0].store, asked(built[0], READABLE, bound).recipe)
    with pytest.raises(CosmoError, match=f"proof.filters: {said}"):
        stage.build_runs(workspace, "/nowhere")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"filters": [{"signal": "statistics.colour", "low": 1}]}, "statistics has no such signal"),
        ({"filters": [{"signal": "educational.score", "low": 3}]}, "proof reads those of educational; name it here"),
        ({"filters": []}, "go together"),
        ({"filters": [READABLE], "by": "source"}, "go together"),
        ({"filters": [READABLE, LONG, READABLE]}, "mean_word_length above 8 stands there twice"),
    ],
    ids=["no such signal", "family not computed", "no filter", "another parting", "twice"],
)
def test_a_recipe_says_what_is_wrong_with_its_filters(tmp_path: Path, section: dict[str, Any], said: str) -> None:
    corpus = Corpus(tmp_path, changes={"signals": ["statistics"]})
    asked(corpus, **section)
    with pytest.raises(CosmoError, match=said):
        assert corpus.recipe


def test_a_bound_says_in_words_what_it_drops() -> None:
    assert SignalBound(signal="quality.words", low=3).outside == "quality.words below 3"
    assert SignalBound(signal="quality.words", low=3, high=5.5).outside == "quality.words below 3 or above 5.5"


def test_only_a_proof_by_filters_reads_signals(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, changes={"signals": ["statistics"], "real": REAL})
    corpus.changes["mixture"] = {"components": {"pages": {}, "noise": {}}}
    by_source = asked(corpus, by="source", filters=[]).recipe
    assert "filters" not in by_source.model_dump(mode="json")["proof"]
    chosen = deployment(corpus.settings("http://127.0.0.1:1/v1"), by_source.name)
    read = {}
    for name, recipe in (("source", by_source), ("filters", asked(corpus, READABLE, LONG).recipe)):
        graph = build_defs(recipe, chosen).resolve_asset_graph()
        read[name] = {key.to_user_string() for key in graph.get(dg.AssetKey("proxy_runs")).parent_keys}
    assert read["source"] == {"tokenized_shards", "token_lineage"}
    assert read["filters"] - read["source"] == {"text_statistics", "real_statistics", "generation_quality"}


@pytest.mark.slow
def test_proxies_learn_more_without_the_noise(built: tuple[Corpus, ReplayServer]) -> None:
    small = {**PROXY, "sequence": 16, "steps": 40, "rate": 0.03}
    workspace = Workspace(built[0].store, asked(built[0], READABLE, proxy=small).recipe)
    stage.build_runs(workspace, python_with_torch())
    stage.build_evaluation(workspace)
    first = built[0].store.open("proxy_evaluation").manifest.summary["verdicts"][0]
    assert (first["measure"], first["arm_is"]) == ("answers: bits per byte", "worse"), "the corpus with its noise"
    assert first["low"] > 0
