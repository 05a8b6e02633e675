"""A source is taken out by command: no token of it is left in the shards, every other document stays as it was, and
what comes back comes back to the byte."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import numpy as np
import pytest
from click.testing import CliRunner

from cosmo_assets.cli.main import main
from cosmo_assets.cli.terminal import console
from cosmo_assets.tokenization.shards import map_shard
from cosmo_assets.withdrawal import record
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying

UP_TO_UNIQUE = ("seed_documents", "seed_embeddings", "cluster_model", "seed_clusters", "topic_labels", "seed_topics")
UP_TO_UNIQUE += ("seed_extracts", "prompt_table", "generations", "generation_quality", "decontaminated", "deduplicated")


LAST = "since_the_last_version"


class TwoSources(Corpus):
    """Pages and notes; of the notes twice as many tokens are wanted, so they come twice."""

    def write(self, documents: Any = None) -> "TwoSources":
        names = ("pages", "notes")
        self.changes = {
            "sources": [
                {"name": name, "kind": "web", "reader": "jsonl", "path": f"{name}.jsonl", "licence": "CC0-1.0"}
                for name in names
            ],
            "mixture": {"components": {"pages": {"weight": 1}, "notes": {"weight": 1, "max_epochs": 3}}},
        }
        super().write(documents)
        return self

    def write_notes(self, count: int) -> None:
        rows = [json.dumps(row) for row in seeds(count, tag="note")]
        (self.folder / "notes.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")

    def tokens(self) -> dict[str, list[bytes]]:
        """The tokens of every copy of every document, read from the shards."""
        shards = self.store.open("tokenized_shards")
        found: dict[str, list[bytes]] = {}
        for row in shards.table().to_pylist():
            ids = map_shard(shards.folder / row["shard"])[row["start"] : row["end"]]
            found.setdefault(row["doc_id"], []).append(np.asarray(ids).tobytes())
        return found

    def all_shard_bytes(self) -> bytes:
        shards = self.store.open("tokenized_shards")
        return b"".join((shards.folder / name).read_bytes() for name, _ in shards.manifest.summary["shards"])

    def files(self) -> dict[str, tuple[int, set[str]]]:
        """Of each shard its inode, and the documents in it."""
        shards = self.store.open("tokenized_shards")
        found = {name: ((shards.folder / name).stat().st_ino, set()) for name, _ in shards.manifest.summary["shards"]}
        for row in shards.table().to_pylist():
            found[row["shard"]][1].add(row["doc_id"])
        return found

    def source_of(self) -> dict[str, str]:
        prompts = {row["prompt_id"]: row["source"] for row in self.store.open("prompt_table").table().to_pylist()}
        return {key: prompts[row["prompt_id"]] for key, row in self.rows().items()}


@pytest.fixture
def corpus(tmp_path: Path) -> Any:
    corpus = TwoSources(tmp_path, templates=ONE_TEMPLATE)
    corpus.write_notes(16)
    corpus.write(seeds(32))
    yield corpus


@dataclass
class Operator:
    """Builds in this process, and calls commands as a terminal would."""

    corpus: TwoSources
    replay: ReplayServer
    instance: dg.DagsterInstance

    def build(self) -> None:
        self.corpus.build(self.replay.url, instance=self.instance)

    def command(self, *arguments: str, code: int = 0) -> str:
        with mock.patch.object(console, "_width", 250):  # nothing is cut or wrapped
            found = CliRunner().invoke(main, arguments, env=self.corpus.environment(self.replay.url))
        assert found.exit_code == code, found.output
        return found.output

    def purge(self, *arguments: str, code: int = 0) -> str:
        return " ".join(self.command("purge", *arguments, code=code).split())

    def said(self, asset: str, table: str) -> str:
        records = self.instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(asset)), limit=1).records
        metadata = records[0].asset_materialization.metadata if records[0].asset_materialization else {}
        return str(metadata[table].value) if table in metadata else ""


@pytest.fixture
def operator(corpus: TwoSources) -> Any:
    with replaying() as replay, dg.DagsterInstance.ephemeral() as instance:
        yield Operator(corpus, replay, instance)


def test_a_source_is_purged_and_restored(operator: Operator) -> None:
    corpus = operator.corpus
    operator.build()
    asked = len(operator.replay.calls)
    before, source_of, versions = corpus.tokens(), corpus.source_of(), corpus.versions_of_everything()
    notes = {key for key in before if source_of[key] == "notes"}
    assert max(len(before[key]) for key in notes) >= 2
    shards = corpus.files()
    going = sum(len(copy) // 2 for key in notes for copy in before[key])

    shown = json.loads(operator.command("purge", "--source", "notes", "--json"))
    assert (shown["documents"], shown["tokens"], shown["sources"]) == (len(notes), going, {"notes": going})
    assert sum(row["tokens"] for row in shown["shards"]) == going
    assert "nothing was changed" in operator.purge("--source", "notes")
    assert "says who makes it and why" in operator.purge("--source", "notes", "--apply", code=1)
    assert "do you mean notes?" in operator.purge("--source", "nots", code=1)
    assert corpus.versions_of_everything() == versions

    said = operator.purge("--source", "notes", "--apply", "--why", "the owner asked", "--who", "ann")
    assert "1 entries recorded" in said
    (entry,) = record.entries(corpus.store)
    assert (entry.who, entry.why, entry.documents, entry.tokens) == ("ann", "the owner asked", len(notes), going)
    operator.build()
    assert f"| withdrawn: source notes | -{len(notes)} | -{going} |" in operator.said("corpus_report", LAST)
    assert "the owner asked" in operator.said("withdrawals", "record")
    after = corpus.tokens()
    assert after == {key: copies for key, copies in before.items() if key not in notes}
    left = corpus.all_shard_bytes()
    assert len(left) == sum(len(copy) for copies in after.values() for copy in copies)
    assert not any(copy in left for key in notes for copy in before[key])
    assert corpus.files().keys() == shards.keys(), "a purge moves no document into another shard"
    assert {name: keys - notes for name, (_, keys) in shards.items()} == {
        name: keys for name, (_, keys) in corpus.files().items()
    }
    mixture = corpus.store.open("mixture").manifest
    assert mixture.flow.balanced
    assert mixture.flow.dropped["withdrawn"] == sum(
        source_of[key] == "notes" and row["keep"] for key, row in corpus.rows("deduplicated").items()
    )
    now = corpus.versions_of_everything()
    assert all(now[place] == version for place, version in versions.items() if place.split("/")[0] in UP_TO_UNIQUE)
    assert len(operator.replay.calls) == asked, "the model was asked again"

    told = json.loads(operator.command("diff", "--json"))
    assert told["why"][0] == {
        "what": "gone",
        "because": "withdrawn: source notes",
        "documents": -len(notes),
        "tokens": -going,
    }
    assert len(told["why"]) == 2, "and nothing else"
    assert told["by"]["source"] == [
        {
            "value": "notes",
            "documents_added": 0,
            "documents_removed": len(notes),
            "tokens_added": 0,
            "tokens_removed": going,
        }
    ]
    assert {row["asset"] for row in told["inputs"]} == {"withdrawals", "mixture", "tokenized_shards"}
    other = ("--from", told["to"]["mixture"], "--to", told["from"]["version"])
    assert json.loads(operator.command("diff", *other, "--json"))["why"][0]["tokens"] == going
    assert "withdrawn: source notes" in operator.command("diff")
    assert told["from"]["version"][:12] in operator.command("diff", "--list")

    operator.purge("--source", "notes", "--restore", "--apply", "--why", "she took it back")
    operator.build()
    assert corpus.tokens() == before
    again = corpus.versions_of_everything()
    assert {place for place in versions if again[place] != versions[place]} == {"withdrawals/all"}
    assert [entry.action for entry in record.entries(corpus.store)] == ["withdraw", "restore"]
    assert "she took it back" in operator.purge("--list")


def test_shards_that_a_purged_document_is_not_in_are_linked_as_they_are(operator: Operator) -> None:
    corpus = operator.corpus
    operator.build()
    before, tokens = corpus.files(), corpus.tokens()
    gone = min(tokens)
    assert len([name for name, (_, keys) in before.items() if gone not in keys]) >= 2
    operator.purge("--doc", gone[:12], "--apply", "--why", "one reader asked")
    operator.build()
    after = corpus.files()
    assert corpus.tokens() == {key: copies for key, copies in tokens.items() if key != gone}
    for name, (inode, keys) in before.items():
        assert after[name][1] == keys - {gone}
        assert (after[name][0] == inode) == (gone not in keys)


def test_documents_of_a_purged_source_that_are_generated_later_stay_out(operator: Operator) -> None:
    corpus = operator.corpus
    operator.purge("--source", "notes", "--apply", "--why", "not ours")
    operator.build()
    asked = len(operator.replay.calls)
    assert {corpus.source_of()[key] for key in corpus.tokens()} == {"pages"}
    corpus.write_notes(24)
    operator.build()
    assert len(operator.replay.calls) > asked, "the new notes were generated"
    assert list(corpus.source_of().values()).count("notes") > 16
    assert {corpus.source_of()[key] for key in corpus.tokens()} == {"pages"}
    edges = {ref.asset for ref in corpus.store.open("mixture").manifest.inputs}
    assert "withdrawals" in edges
