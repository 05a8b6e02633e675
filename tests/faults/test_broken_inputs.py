"""Broken inputs: one clear error or a recorded bad row each; what was finished stays."""

import errno
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import cosmo_resources.storage.files as files
from cosmo_resources.errors import CosmoError
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying


def lines(count: int) -> list[str]:
    return [json.dumps(document) for document in seeds(count)]


def sources(corpus: Corpus, reader: str, path: str) -> Corpus:
    corpus.changes = {
        "sources": [{"name": "pages", "kind": "web", "reader": reader, "path": path, "licence": "CC0-1.0"}]
    }
    return corpus.write()


def test_a_truncated_gzip_gives_its_whole_rows_and_a_recorded_bad_one(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = sources(Corpus(tmp_path, templates=ONE_TEMPLATE), "jsonl", "pages.jsonl.gz")
    whole = gzip.compress(("\n".join(lines(40)) + "\n").encode())
    (tmp_path / "pages.jsonl.gz").write_bytes(whole[: len(whole) * 3 // 4])
    corpus.build(replay.url)
    seeds_there = corpus.store.open("seed_documents")
    assert 15 <= seeds_there.manifest.rows < 40
    rejected = seeds_there.rejected()
    assert rejected is not None
    assert [row["reason"] for row in rejected.to_pylist()] == ["truncated_file"]
    assert "pages.jsonl.gz" in rejected["place"][0].as_py()
    assert len(corpus.rows()) == seeds_there.manifest.rows


def test_invalid_utf8_is_one_recorded_row(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path, templates=ONE_TEMPLATE).write(seeds(20))
    path = tmp_path / "pages.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    rows[6] = rows[6].replace(b" ", b" \xff\xfe", 1)
    path.write_bytes(b"".join(rows))
    warnings = corpus.build(replay.url)
    rejected = corpus.store.open("seed_documents").rejected()
    assert rejected is not None
    (row,) = rejected.to_pylist()
    assert (row["reason"], row["place"]) == ("not_utf8", "pages:pages.jsonl:7")
    assert len(corpus.rows()) == 19
    assert "seed_documents: bad_rows" in warnings, "one bad row of twenty is more than the recipe allows"


def test_a_missing_column_is_one_error_that_names_file_and_column(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = sources(Corpus(tmp_path), "csv", "pages.csv")
    (tmp_path / "pages.csv").write_text("id,body\n1,some text\n", encoding="utf-8")
    with pytest.raises(CosmoError) as error:
        corpus.build(replay.url)
    assert "pages.csv" in error.value.message
    assert "text" in error.value.message
    assert error.value.remedy
    assert replay.calls == []


def test_an_empty_file_is_one_error_that_says_what_to_look_at(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = Corpus(tmp_path).write([])
    (tmp_path / "pages.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(CosmoError, match="only 0 seeds") as error:
        corpus.build(replay.url)
    assert "seed_documents" in error.value.remedy
    assert corpus.store.open("seed_documents").manifest.rows == 0


@pytest.mark.parametrize("clusters", [0, -3, "many"])
def test_impossible_clusters_are_refused_with_the_field(tmp_path: Path, replay: ReplayServer, clusters: Any) -> None:
    corpus = Corpus(tmp_path, clusters=clusters).write(seeds(10))
    with pytest.raises(CosmoError, match=r"topics\.clustering\.clusters"):
        corpus.build(replay.url)


def test_a_missing_source_file_is_refused_with_the_field(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = sources(Corpus(tmp_path), "jsonl", "nowhere/*.jsonl")
    with pytest.raises(CosmoError, match=r"sources\.pages\.path.*nowhere"):
        corpus.build(replay.url)


def nonsense(share: int) -> Any:
    """A fault: every `share`-th label prompt is answered with prose, however often it is asked."""

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        prompt = body["messages"][0]["content"]
        if "response_format" in body and len(prompt) % share == 0:
            message = {"role": "assistant", "content": "I think the topic is nice."}
            return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}})
        return None

    return fault


def test_unreadable_labels_are_asked_again_then_recorded_and_drop_their_seeds(tmp_path: Path) -> None:
    topics = {"clustering": {"clusters": 8}, "labelling": {"votes": 2}}
    corpus = Corpus(tmp_path, changes={"topics": topics}).write(seeds(60))
    with replaying(fault=nonsense(2)) as server:
        warnings = corpus.build(server.url)
        asked = Counter(call["messages"][0]["content"] for call in server.label_calls)
    labels = corpus.store.open("topic_labels")
    statuses = Counter(row["status"] for row in labels.table().to_pylist())
    assert statuses["unreadable"] > 0
    assert statuses["ok"] > 0
    assert sorted(set(asked.values())) == [1, 3], "a readable answer is asked for once, an unreadable one three times"
    assert all(len(row["answers"]) == 6 for row in labels.table().to_pylist() if row["status"] == "unreadable")
    prompts = corpus.store.open("prompt_table").manifest
    assert prompts.flow.dropped["topic_unlabelled"] > 0
    assert prompts.flow.balanced
    assert "topic_labels: labelled" in warnings


def test_a_model_that_answers_nothing_but_nonsense_stops_at_a_blocking_check(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path).write(seeds(20))
    with replaying(fault=nonsense(1)) as server, pytest.raises(CosmoError, match="any_prompts"):
        corpus.build(server.url)
    with replaying() as server:
        assert server.generation_calls == []


def test_a_server_that_breaks_for_good_stops_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, buckets=1).write(seeds(40))
    broken = web.HTTPServiceUnavailable

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        if "response_format" in body or len(server.generation_calls) <= 15:
            return None
        return web.json_response({"error": {"message": "out of order"}}, status=broken.status_code)

    with replaying(fault=fault) as server:
        process = corpus.command(server.url, "run")
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 1
        assert "out of order" in output
        assert "Traceback" not in output
    with replaying() as server:
        corpus.build(server.url)
        assert len(server.generation_calls) == 25
    assert len(corpus.rows()) == 40


def test_refused_rows_are_recorded_and_do_not_stop_their_shard(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path).write(seeds(40))

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        if "response_format" not in body and len(body["messages"][0]["content"]) % 5 == 0:
            return web.json_response({"error": {"message": "context too long"}}, status=400)
        return None

    with replaying(fault=fault) as server:
        warnings = corpus.build(server.url)
        asked = len(server.generation_calls)
        corpus.build(server.url)
        assert len(server.generation_calls) == asked == 40, "a refusal is final"
    refused = [row for row in corpus.rows().values() if row["status"] == "refused"]
    assert refused
    assert all("context too long" in row["error"] for row in refused)
    assert any(warning.startswith("generations: answered") for warning in warnings)


@pytest.mark.parametrize(
    "asset", ["seed_embeddings", "prompt_table", "generations", "tokenized_shards", "corpus_export"]
)
def test_a_full_disk_is_one_error_and_keeps_what_is_finished(
    tmp_path: Path, replay: ReplayServer, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    corpus = Corpus(tmp_path).write(seeds(24))
    real = files.sync

    def full(path: Path) -> None:
        if f"/{asset}/" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path)

    with monkeypatch.context() as patch:
        for module in (files, *_users_of_sync()):
            patch.setattr(module, "sync", full)
        with pytest.raises(CosmoError, match="no space left") as error:
            corpus.build(replay.url)
    assert f"/{asset}/" in error.value.message
    assert corpus.store.current(asset, "b000" if asset == "generations" else "all") is None
    finished = corpus.versions_of_everything()
    calls = len(replay.calls)
    corpus.build(replay.url)
    assert finished.items() <= corpus.versions_of_everything().items()
    assert len(replay.generation_calls) == 24
    assert len(replay.label_calls) == 8, "two votes for each of four clusters"
    assert calls <= len(replay.calls)


def _users_of_sync() -> Iterator[Any]:
    import cosmo_resources.storage.store as store
    import cosmo_resources.storage.writer as writer

    yield from (store, writer)
