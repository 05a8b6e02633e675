"""The gate on diversity in a corpus: a collapse stops it before the shards, until the model is mended or somebody
accepts the version."""

import hashlib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from cosmo_assets.build import build_defs, steps_of
from cosmo_assets.diversity import stage
from cosmo_assets.diversity.gate import MEANS, PHRASES
from cosmo_assets.recipe.deduplication import Deduplication
from cosmo_assets.stage import Workspace
from cosmo_resources.deployments import deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.resources import EmbedderResource
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import prose, replaying

PATTERN = "In this lesson we are going to explore together the fascinating world of stones."


class Model:
    """Answers as a function of the prompt and of what is called its seed; `alike` is the share that begins alike."""

    def __init__(self) -> None:
        self.alike = 0.0
        self.seed = ""

    def __call__(self, body: dict[str, Any], _: int) -> web.Response | None:
        if "response_format" in body:
            return None
        prompt = body["messages"][-1]["content"]
        alike = hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] < 256 * self.alike
        text = f"{PATTERN if alike else ''} {prose(prompt + self.seed, 60)}"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def asked(corpus: Corpus, model: Model, revision: str, *, alike: float = 0.0, **section: Any) -> Corpus:
    """The same corpus, to be asked of another revision of the model: every answer is new."""
    model.alike, model.seed = alike, revision
    named = {"name": "replay", "revision": revision, "licence": "CC0-1.0"}
    corpus.changes["generation"] = {"model": named, "max_tokens": 200, "shard_rows": 64}
    corpus.changes["diversity"] = {"block": 20, **section}
    return corpus.write()


def built_in_a_queued_run(corpus: Corpus, url: str, assets: list[str]) -> set[str]:
    """What is materialized in one run that, as a queued one, goes on with what a failed check does not hold back."""
    definitions = build_defs(corpus.recipe, deployment(corpus.settings(url), corpus.recipe.name))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            list(definitions.assets or []),  # type: ignore[arg-type]
            selection=assets,
            instance=instance,
            resources=dict(definitions.resources or {}),
            raise_on_error=False,
        )
    assert not result.success
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def test_a_collapse_stops_the_corpus_before_its_shards(tmp_path: Path) -> None:
    model, corpus = Model(), Corpus(tmp_path, shard_rows=64, templates=dict(ONE_TEMPLATE))
    asked(corpus, model, "1").write(seeds(160))
    with replaying(fault=model) as server:
        warnings = asked(corpus, model, "1").build(server.url)
        assert not any("diversity" in warning for warning in warnings)
        first = corpus.store.open("corpus_diversity").manifest
        rows = {row["measure"]: row for row in corpus.store.open("corpus_diversity").table().to_pylist()}
        assert set(rows) == {*MEANS, *PHRASES}
        assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())
        mixed = corpus.store.open("mixture").manifest
        assert {row["n"] for row in rows.values()} == {mixed.rows}
        assert {row["sample"] for row in rows.values()} == {first.summary["sample"]} == {mixed.rows}
        assert rows["coverage"]["value"] > 0.9, "a block of twenty holds nearly all of four clusters"
        assert stage.verdicts(first, corpus.recipe) == [], "there is nothing to compare the first with"
        shards = corpus.store.open("tokenized_shards").manifest.version

        with pytest.raises(CosmoError, match="diversity"):
            asked(corpus, model, "2", alike=0.3).build(server.url)
        second = corpus.store.open("corpus_diversity").manifest
        assert second.run["before"]["of"] == f"version {first.version}"
        found = {verdict.measure: verdict for verdict in stage.verdicts(second, corpus.recipe) if verdict.worse}
        assert found["opener"].phrase == "in this lesson we are"
        assert corpus.store.open("mixture").manifest.version != mixed.version
        assert corpus.store.open("tokenized_shards").manifest.version == shards, "they are those of before"
        assert stage.last_accepted(corpus.store, corpus.recipe)["of"] == f"version {first.version}"

        end = ["corpus_diversity", "tokenized_shards"]
        assert built_in_a_queued_run(corpus, server.url, end) == {"corpus_diversity"}
        with pytest.raises(CosmoError, match="diversity"):
            corpus.build(server.url, end)
        asked(corpus, model, "2", alike=0.3, accepted=[second.version]).build(server.url, end)
    assert corpus.store.open("corpus_diversity").manifest.version == second.version
    assert corpus.store.open("tokenized_shards").manifest.version != shards
    assert stage.last_accepted(corpus.store, corpus.recipe)["of"] == f"version {second.version}"


def test_one_document_of_each_seed_is_measured_with_the_vectors_that_there_are(tmp_path: Path) -> None:
    model, corpus = Model(), Corpus(tmp_path, shard_rows=64, per_seed=2)
    corpus.changes["deduplication"] = {"methods": [{"method": "semantic", "similarity": 1}]}
    asked(corpus, model, "1", sample=40).write(seeds(50))
    with replaying(fault=model) as server:
        asked(corpus, model, "1", sample=40).build(server.url)
    manifest = corpus.store.open("corpus_diversity").manifest
    documents = corpus.store.open("mixture").manifest.rows
    assert documents > 60
    assert manifest.flow.rows_out == 40
    seeds_left = 40 + manifest.flow.dropped["not_in_the_sample"]
    assert documents - manifest.flow.dropped["of_the_same_seed"] == seeds_left <= 50
    assert "text_embeddings" in {ref.asset for ref in manifest.inputs}
    plain = corpus.recipe.model_copy(update={"deduplication": Deduplication()})
    again = stage.build(Workspace(corpus.store, plain), EmbedderResource().create())
    assert "text_embeddings" not in {ref.asset for ref in again.inputs}
    assert again.summary["measures"] == pytest.approx(manifest.summary["measures"])


def test_only_a_recipe_with_the_section_has_the_asset(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path).write(seeds(4))
    plain = corpus.recipe
    gated = asked(corpus, Model(), "1").recipe
    assert "diversity" not in plain.model_dump(mode="json")
    assert "corpus_diversity" not in [name for step, _ in steps_of(plain) for name in step]
    (*_, (last, _)) = steps_of(gated)
    assert last.index("mixture") < last.index("corpus_diversity") < last.index("tokenized_shards")
    key = dg.AssetKey("corpus_diversity")
    chosen = deployment(corpus.settings("http://127.0.0.1:1/v1"), gated.name)
    graph = build_defs(gated, chosen).resolve_asset_graph()
    assert key in graph.get(dg.AssetKey("tokenized_shards")).parent_keys
    (check,) = [found for found in graph.get(key).check_keys if found.name == "diversity"]
    assert graph.get_check_spec(check).blocking
