"""A corpus that is built again: the same rates stay quiet, planted drift does not, and a decontamination that finds
nothing any more stops the run."""

import hashlib
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from cosmo_assets.operations.adopt import adopt
from cosmo_assets.reporting import CHECKS_OF
from cosmo_resources.errors import CosmoError
from tests.corpora import QUESTION, Corpus, seeds
from tests.doubles.replay_server import prose, replaying

OPENER = "In the dim and distant past"
DRIFT = tuple(check.name for checks in CHECKS_OF.values() for check in checks if check.name.endswith("_drift"))


class Model:
    """Answers as a function of the prompt; `stock` and `leaky` say which share of them begins with `OPENER` and is cut
    off, and which holds a benchmark's question."""

    def __init__(self) -> None:
        self.stock, self.leaky = 0.0, 0.5

    def __call__(self, body: dict[str, Any], _: int) -> web.Response | None:
        if "response_format" in body:
            return None
        prompt = body["messages"][-1]["content"]
        one, other = (byte / 256 for byte in hashlib.blake2b(prompt.encode(), digest_size=2).digest())
        text, finish = prose(prompt, 90), "stop"
        if one < self.stock:
            text, finish = f"{OPENER} {text}", "length"
        if other < self.leaky:
            text = f"{text} {QUESTION} It was the green one."
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def revised(corpus: Corpus, revision: str) -> Corpus:
    """The same corpus, to be asked of another revision of the model: every answer is new."""
    model = {"name": "replay", "revision": revision, "licence": "CC0-1.0"}
    corpus.changes["generation"] = {"model": model, "max_tokens": 200, "shard_rows": 16}
    return corpus.write()


def drifting(warnings: list[str]) -> set[str]:
    return {warning for warning in warnings if any(name in warning for name in DRIFT)}


def metadata_of(instance: dg.DagsterInstance, asset: str, check: str) -> dict[str, Any]:
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    return {name: value.value for name, value in evaluation.metadata.items()}


def test_drift_of_the_answers_turns_its_checks_and_a_rebuild_does_not(tmp_path: Path) -> None:
    model = Model()
    corpus = Corpus(tmp_path, shard_rows=16, per_seed=2)
    corpus.changes["quality"] = {"min_words": 10, "drop_truncated": False}
    corpus.write(seeds(70))
    with replaying(fault=model) as server, dg.DagsterInstance.ephemeral() as instance:
        first = revised(corpus, "1").build(server.url, instance=instance)
        assert drifting(first) == set()
        assert "before" not in metadata_of(instance, "duplicate_clusters", "duplicate_drift")
        assert metadata_of(instance, "generations", "truncation_drift")["compared with"] == "1 other bucket"

        again = revised(corpus, "2").build(server.url, instance=instance)
        assert drifting(again) == set()
        shown = metadata_of(instance, "generations", "truncation_drift")
        assert shown["compared with"].startswith("version ")
        assert (shown["now"], shown["before"], shown["change"]) == (0.0, 0.0, 0.0)

        model.stock = 0.5
        worse = revised(corpus, "3").build(server.url, instance=instance)
        buckets = ("b000", "b001")
        assert drifting(worse) == {
            *(f"generations: truncation_drift ({bucket})" for bucket in buckets),
            *(f"generation_quality: opener_drift ({bucket})" for bucket in buckets),
        }
        shown = metadata_of(instance, "generation_quality", "opener_drift")
        assert shown["of"] == " ".join(OPENER.lower().split()[:5])
        assert shown["before"] < 0.05 < 0.3 < shown["now"]
        assert drifting(corpus.build(server.url, instance=instance)) == drifting(worse), "looking twice mends nothing"
        with dg.DagsterInstance.ephemeral() as fresh:
            adopt(corpus.recipe, corpus.store, fresh)
            found = metadata_of(fresh, "generation_quality", "opener_drift")
            assert (found["bucket"], found["change"] > 0.3) == ("b000", True), "the first that fails"

        model.leaky = 0.0
        mixed = corpus.store.current_version("mixture")
        with pytest.raises(CosmoError, match="still_found"):
            revised(corpus, "4").build(server.url, instance=instance)
        assert corpus.store.current_version("mixture") == mixed
        shown = metadata_of(instance, "decontaminated", "still_found")
        assert (shown["now"], shown["before"] > 0.3) == (0.0, True)
        corpus.changes["limits"] = {"min_contaminated": 0.0}
        expected = corpus.write().build(server.url, instance=instance)
        assert {f"decontaminated: contamination_drift ({bucket})" for bucket in buckets} <= drifting(expected)
        assert corpus.store.current_version("mixture") != mixed


def test_drift_of_topics_is_seen_before_anything_is_generated(tmp_path: Path) -> None:
    assets = ["seed_documents", "seed_embeddings", "cluster_model", "seed_clusters", "topic_labels", "seed_topics"]

    def topic(prompt: str) -> str:
        return "Lamps and Keepers" if int(hashlib.blake2b(prompt.encode()).hexdigest()[:8], 16) % 2 else "Rivers"

    corpus = Corpus(tmp_path, clusters=6).write(seeds(500))
    with replaying(topic=topic) as server:
        assert drifting(corpus.build(server.url, assets)) == set()
        kept = {row["topic"]: row["kept"] for row in corpus.store.open("seed_topics").manifest.summary["clusters"]}
        assert len(kept) == 2, "one topic would be all of them before and after"
        corpus.write(seeds(510))
        assert drifting(corpus.build(server.url, assets)) == set()
        corpus.changes["topics"] = {"clustering": {"clusters": 6}, "policy": {"deny": ["lamps"]}}
        assert drifting(corpus.write().build(server.url, assets)) == {"seed_topics: topic_drift"}
        shown = corpus.store.open("seed_topics").manifest
        assert json.dumps(shown.run["before"]["parts"], sort_keys=True).startswith('{"Lamps')
