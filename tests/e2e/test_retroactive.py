"""A benchmark comes, grows and goes: nothing is generated again, and the shards lose and get back exactly the tokens of
the documents concerned."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from aiohttp import web
from dagster._core.definitions.data_version import StaleStatus

from cosmo_assets.cli.run_tables import change_table
from cosmo_assets.tokenization.shards import map_shard
from cosmo_resources.errors import CosmoError
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import ReplayServer, prose, replaying
from tests.e2e.test_corpus import statuses

SENTENCE = "The lighthouse of the green island was painted twice before its keeper finally sailed home"
TWIN = prose("a text that is written twice", 150)
HELD_SEED = "Two old bridges over the narrow river were closed because their stones had moved apart"

UNTOUCHED = ("seed_documents", "seed_embeddings", "cluster_model", "seed_clusters", "topic_labels", "seed_topics")
UNTOUCHED += ("topic_map", "seed_extracts", "prompt_table", "generations", "generation_quality")
RETROACTIVE = ("benchmark_index", "contaminated_seeds", "decontaminated", "text_signatures", "duplicate_clusters")
RETROACTIVE += ("deduplicated", "mixture", "tokenized_shards", "token_lineage", "corpus_report", "corpus_export")
"""What a benchmark has nothing to do with, and what it makes anew."""


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """Two prompts get nearly the same text; the longer one holds the sentence."""
    prompt = body["messages"][-1]["content"]
    for mark, text in (("twin one", f"{TWIN} {SENTENCE}."), ("twin two", TWIN)):
        if mark in prompt:
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return web.json_response({"id": "1", "object": "chat.completion", "choices": choices, "usage": usage})
    return None


@dataclass
class State:
    """What the corpus holds at one time."""

    versions: dict[str, str]
    tokens: dict[str, bytes]
    """The tokens of each document of the shards."""
    mixture: dict[str, int]
    verdicts: dict[str, dict[str, Any]]
    unique: dict[str, dict[str, Any]]
    totals: tuple[int, int]
    """Tokens of the mixture and of the shards, as their manifests say."""
    reported: dict[str, float]

    @classmethod
    def of(cls, corpus: Corpus) -> "State":
        shards, mixture = corpus.store.open("tokenized_shards"), corpus.store.open("mixture")
        tokens = {}
        for row in shards.table().to_pylist():
            ids = map_shard(shards.folder / row["shard"])[row["start"] : row["end"]]
            assert row["doc_id"] not in tokens, "there is one copy of each"
            tokens[row["doc_id"]] = np.asarray(ids).tobytes()
        sizes = {row["doc_id"]: row["tokens"] * row["copies"] for row in mixture.table().to_pylist()}
        assert set(sizes) == set(tokens)
        figures = corpus.store.open("corpus_report").table().to_pylist()
        return cls(
            corpus.versions_of_everything(),
            tokens,
            sizes,
            corpus.rows("decontaminated"),
            corpus.rows("deduplicated"),
            (mixture.manifest.summary["tokens"], shards.manifest.summary["tokens"]),
            {f"{row['section']}/{row['name']}": row["value"] for row in figures},
        )

    def of_asset(self, names: tuple[str, ...]) -> dict[str, str]:
        return {place: version for place, version in self.versions.items() if place.split("/")[0] in names}

    def marked(self) -> set[str]:
        return {key for key, row in self.verdicts.items() if row["seed_item"]}


@dataclass
class Living:
    """A corpus whose benchmarks change."""

    corpus: Corpus
    replay: ReplayServer
    instance: dg.DagsterInstance
    benchmarks: dict[str, list[str]] = field(default_factory=dict)

    def build(self, **benchmarks: list[str] | None) -> State:
        """Set benchmarks (None: no such one any more), and build what there is."""
        self.benchmarks |= {name: items for name, items in benchmarks.items() if items is not None}
        for name in [name for name, items in benchmarks.items() if items is None]:
            del self.benchmarks[name]
        section = [
            {"name": name, "path": f"{name}.jsonl", "licence": "CC0-1.0"} for name in ("bench", *self.benchmarks)
        ]
        self.corpus.changes = {"decontamination": {"benchmarks": section}}
        self.corpus.write()
        for name, items in self.benchmarks.items():
            rows = [{"id": f"{name}-{number}", "question": text, "answer": ""} for number, text in enumerate(items)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (self.corpus.folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        self.corpus.build(self.replay.url, instance=self.instance)
        return State.of(self.corpus)

    def said(self, asset: str, table: str, bucket: str | None = None) -> list[list[str]]:
        """A table of the last materialization, as cells."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[bucket] if bucket else None), limit=1
        ).records
        metadata = records[0].asset_materialization.metadata if records[0].asset_materialization else {}
        text = str(metadata[table].value) if table in metadata else ""
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def check_changed_by(before: State, after: State, *, gone: set[str], come: Mapping[str, bytes]) -> None:
    """The shards and the mixture differ by these documents, and by nothing else."""
    assert set(before.tokens) - set(after.tokens) == gone
    assert {key: after.tokens[key] for key in set(after.tokens) - set(before.tokens)} == come
    assert {key: text for key, text in after.tokens.items() if key not in come} == {
        key: text for key, text in before.tokens.items() if key not in gone
    }
    for state, other in ((before.mixture, after.mixture), (after.mixture, before.mixture)):
        assert all(other[key] == size for key, size in state.items() if key in other)
    width = 2
    lost = sum(len(before.tokens[key]) for key in gone) // width - sum(map(len, come.values())) // width
    assert before.totals[1] - after.totals[1] == lost
    assert before.totals[0] - after.totals[0] == sum(before.mixture[key] for key in gone) - sum(
        after.mixture[key] for key in come
    )


def check_untouched(before: State, after: State) -> None:
    """What asks or reads the model's answers is of the same version; everything from the index on is of another."""
    assert before.of_asset(UNTOUCHED) == after.of_asset(UNTOUCHED)
    assert before.of_asset(RETROACTIVE).keys() == after.of_asset(RETROACTIVE).keys()
    assert not set(before.of_asset(RETROACTIVE).values()) & set(after.of_asset(RETROACTIVE).values())


@pytest.fixture
def living(tmp_path: Path) -> Any:
    documents = seeds(40)
    documents[3]["text"] = f"twin one {documents[3]['text']}"
    documents[4]["text"] = f"twin two {documents[4]['text']}"
    documents[5]["text"] = f"{documents[5]['text']} {HELD_SEED}."
    corpus = Corpus(tmp_path, templates=ONE_TEMPLATE).write(documents)
    with replaying(fault=answer) as server, dg.DagsterInstance.ephemeral() as instance:
        yield Living(corpus, server, instance)


def excerpt(corpus: Corpus, key: str) -> str:
    """Words from the middle of a document."""
    return " ".join(corpus.rows()[key]["text"].split()[20:40])


def test_a_benchmark_that_comes_grows_and_goes_costs_exactly_its_documents(living: Living) -> None:
    corpus, replay = living.corpus, living.replay
    first = living.build()
    texts = corpus.rows()
    (longer,) = [key for key, row in texts.items() if SENTENCE in row["text"]]
    (twin,) = [key for key, row in texts.items() if row["text"] == TWIN]
    prompts = {row["prompt_id"]: row for row in corpus.store.open("prompt_table").table().to_pylist()}
    (of_seed,) = [key for key, row in texts.items() if HELD_SEED in prompts[row["prompt_id"]]["prompt"]]
    assert first.unique[twin]["duplicate_of"] == longer
    assert {longer, of_seed} <= set(first.tokens)
    assert twin not in first.tokens
    assert living.said("corpus_report", "since_the_last_version") == []
    plain = [key for key in sorted(first.tokens) if key not in (longer, of_seed)]
    planted, later = plain[:3], plain[3]
    asked = len(replay.calls)

    reported = corpus.store.current_manifest("corpus_report")
    assert change_table(corpus.store, reported) is None
    items = [*(excerpt(corpus, key) for key in planted), SENTENCE, HELD_SEED]
    second = living.build(added=items)
    check_untouched(first, second)
    assert twin in second.tokens, "nobody is its longer twin any more"
    check_changed_by(first, second, gone={*planted, longer, of_seed}, come={twin: second.tokens[twin]})
    assert {key: row["place"] for key, row in second.verdicts.items() if not row["keep"]} == {
        **dict.fromkeys((*planted, longer), "text"),
        of_seed: "prompt",
    }
    assert (first.marked(), second.marked()) == (set(), {of_seed})
    sizes = {key: len(tokens) // 2 for key, tokens in {**first.tokens, **second.tokens}.items()}
    lost = sum(sizes[key] for key in (*planted, longer, of_seed))
    assert living.said("corpus_report", "since_the_last_version") == [
        ["gone", "items of added", "-5", str(-lost)],
        ["come", "duplicates", "1", str(sizes[twin])],
        ["all", "", "-4", str(sizes[twin] - lost)],
    ]
    shown = change_table(corpus.store, reported)
    assert shown is not None
    assert list(shown.columns[-1].cells) == [f"{-lost:+,}", f"{sizes[twin]:+,}", f"{sizes[twin] - lost:+,}"]
    assert second.reported["decontamination/added.removed"] == 5
    assert second.reported["decontamination/added.tokens"] == sum(
        texts[key]["completion_tokens"] for key in (*planted, longer, of_seed)
    )
    cases = [row for bucket in ("b000", "b001") for row in living.said("decontaminated", "worst_cases", bucket)]
    ((caption, *sides),) = [case for case in cases if longer in case[0]]
    assert caption == f"added:added-3 (question_answer), 100% by cosmopedia, in the text of {longer}"
    assert [side.count(f"**{SENTENCE}**") for side in sides] == [1, 1]
    splits = [living.said("decontaminated", "removed_by_split", bucket)[-1] for bucket in ("b000", "b001")]
    assert sum(int(split[-1].split(" ")[0]) for split in splits) == 5
    ((_, _, of_seeds),) = living.said("contaminated_seeds", "worst_cases")
    assert f"**{HELD_SEED}**" in of_seeds
    said = [
        row for bucket in ("b000", "b001") for row in living.said("decontaminated", "since_the_last_version", bucket)
    ]
    assert {row[0] for row in said} == {"added"}
    assert sum(int(row[2]) for row in said) == 5
    assert sum(int(row[4]) for row in said) == second.reported["decontamination/added.tokens"]

    third = living.build(added=[*items, excerpt(corpus, later)])
    check_untouched(second, third)
    check_changed_by(second, third, gone={later}, come={})
    assert living.said("corpus_report", "since_the_last_version") == [
        ["gone", "items of added", "-1", str(-sizes[later])],
        ["all", "", "-1", str(-sizes[later])],
    ]

    fourth = living.build(added=None)
    assert fourth.versions == first.versions
    check_changed_by(
        third, fourth, gone={twin}, come={key: first.tokens[key] for key in (*planted, longer, of_seed, later)}
    )
    assert living.said("corpus_report", "since_the_last_version") == [
        ["gone", "duplicates", "-1", str(-sizes[twin])],
        ["come", "items of added", "6", str(lost + sizes[later])],
        ["all", "", "5", str(lost + sizes[later] - sizes[twin])],
    ]
    assert len(replay.calls) == asked, "the model was asked again"


def test_only_what_reads_the_benchmarks_is_stale(living: Living) -> None:
    living.build()
    first = living.corpus.store.open("benchmark_index").manifest.version
    item = {"id": "more", "question": SENTENCE, "answer": ""}
    (living.corpus.folder / "bench.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    living.corpus.build(living.replay.url, ["benchmark_index"], instance=living.instance)
    assert living.corpus.store.open("benchmark_index").manifest.version != first
    found = statuses(living.corpus, living.replay.url, living.instance)
    stale = {name.split("/")[0] for name, status in found.items() if status != StaleStatus.FRESH}
    assert stale == {"contaminated_seeds", "decontaminated", "corpus_report", "corpus_export"}
    for asset in ("mixture", "tokenized_shards", "corpus_export"):
        with pytest.raises(
            CosmoError, match="contaminated_seeds was made of another version of benchmark_index"
        ) as told:
            living.corpus.build(living.replay.url, [asset], instance=living.instance)
        assert "`cosmo run`" in told.value.remedy
    living.corpus.build(living.replay.url, ["corpus_report"], instance=living.instance)
    page = living.corpus.store.open("corpus_report").paths(role="artifact")[0].read_text(encoding="utf-8")
    assert "decontaminated was built from another version of benchmark_index than the current one" in page
