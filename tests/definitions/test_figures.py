"""Every asset reports its most telling numbers as metadata that Dagster plots, and is behind all that it read."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from cosmo_assets.build import assets_of, build_defs, name_of
from cosmo_assets.figures import FIGURES, figures_of
from cosmo_assets.operations.adopt import adopt
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.signals.catalogue import CATALOGUE
from cosmo_resources.deployments import deployment
from cosmo_resources.storage.manifest import Flow, Manifest
from tests.corpora import QUESTION, TEMPLATES, Corpus, seeds
from tests.doubles.replay_server import prose, replaying
from tests.proxies import unread, untrained

SHARED = {"bytes", "computed_rows", "reused_rows", "wall_seconds", "dagster/row_count", "dagster/partition_row_count"}
"""What every asset has."""
NEEDS_A_HUB = "push_to_hub"


def everything(folder: Path) -> Corpus:
    """A corpus with all assets that a recipe can have: a tree of topics, course outlines, embeddings of the texts,
    signals, a selection and a sweep, real text."""
    courses = [{"id": f"course-{number}", "title": prose(f"c/{number}", 3)} for number in range(12)]
    rows = [{**course, "text": prose(course["id"], 60)} for course in courses]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "courses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    letters = [json.dumps(row) for row in seeds(12, tag="letter")]
    (folder / "letters.jsonl").write_text("\n".join(letters) + "\n", encoding="utf-8")
    (folder / "tree.yaml").write_text("Nature:\n  - Water: [Rivers and sand, The sea]\n", encoding="utf-8")
    source = {"reader": "jsonl", "licence": "CC0-1.0"}
    templates = [{"template": name, "per_seed": 0.5} for name in TEMPLATES]
    changes = {
        "sources": [
            {"name": "pages", "kind": "web", "path": "pages.jsonl", **source},
            {"name": "courses", "kind": "course", "path": "courses.jsonl", "topic_filter": False, **source},
        ],
        "topics": {
            "clustering": {"clusters": 2},
            "tree": {"path": "tree.yaml", "subtopics": 2, "pages_per_topic": 20},
        },
        "prompts": {
            "template_folders": ["templates"],
            "outlines": {},
            "mixes": {"web": {"templates": templates}, "course": {"templates": [{"template": "course_unit"}]}},
        },
        "deduplication": {"methods": [{"method": "exact"}, {"method": "minhash"}, {"method": "semantic"}]},
        "signals": list(CATALOGUE),
        "neural": {"models": ["model"]},
        "selection": {"bounds": [{"signal": "statistics.stop_words", "low": 4}]},
        "diversity": {"block": 4},
        "proof": {
            "items": "items.jsonl",
            "by": "template",
            "proxy": {"d_model": 8, "heads": 1, "sequence": 8, "steps": 4},
        },
        "sweep": {"signals": [{"signal": "statistics.words"}], "sample": 4, "block": 4},
        "real": {"sources": [{"name": "letters", "path": "letters.jsonl", **source}]},
        "mixture": {"components": {"pages": {"weight": 1}, "courses": {"weight": 1}, "letters": {"weight": 1}}},
    }
    (folder / "items.jsonl").write_text('{"question": "Which?", "choices": ["this", "that"], "answer": 1}')
    leaky = {"id": "leaky", "text": f"{prose('leaky', 40)} {QUESTION} The green one. {prose('more', 30)}"}
    return Corpus(folder, changes=changes).write([*seeds(40), leaky])


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """Of every ten texts two say the same and three hold a benchmark's question, so that no number is 0."""
    if "response_format" in body:
        return None
    prompt = body["messages"][-1]["content"]
    kind = hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] / 25.6
    text = prose("twin" if kind < 2 else prompt, 90) + (f" {QUESTION} The green one." if kind > 7 else "")
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, dg.DagsterInstance]]:
    corpus = everything(tmp_path_factory.mktemp("everything"))
    with replaying(fault=answer) as server, dg.DagsterInstance.ephemeral() as instance:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COSMO_PROXY_PYTHON", str(unread(corpus.folder)))
            corpus.build(server.url, instance=instance)
            patch.setenv("COSMO_PROXY_PYTHON", str(untrained(corpus.folder)))
            corpus.build(server.url, ["template_pilots", "proxy_runs", "proxy_evaluation"], instance=instance)
        yield corpus, instance


def numbers(event: dg.AssetMaterialization) -> dict[str, float]:
    found = event.metadata.items()
    return {
        name: value.value
        for name, value in found
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue) and value.value is not None
    }


def latest(instance: dg.DagsterInstance, asset: str) -> dg.AssetMaterialization:
    (record,) = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization


def test_every_asset_has_figures() -> None:
    assert sorted(FIGURES) == sorted(TABLES)


def test_the_corpus_of_these_tests_has_every_asset(built: tuple[Corpus, dg.DagsterInstance]) -> None:
    corpus, instance = built
    assert {name_of(asset) for asset in assets_of(corpus.recipe)} == set(TABLES)
    there = {key.to_user_string() for key in instance.all_asset_keys()}
    assert set(TABLES) - there == {NEEDS_A_HUB}


@pytest.mark.parametrize("asset", [name for name in TABLES if name != NEEDS_A_HUB])
def test_a_materialization_shows_the_numbers(asset: str, built: tuple[Corpus, dg.DagsterInstance]) -> None:
    corpus, instance = built
    event = latest(instance, asset)
    shown = numbers(event)
    manifest = corpus.store.open(asset, event.partition or "all").manifest
    own = figures_of(manifest)
    assert own.items() <= shown.items()
    unit = manifest.flow.unit
    assert own.keys() - SHARED - {f"{unit}_in", f"{unit}_out"}, "no number of its own"
    assert any(own.values()) or asset == "withdrawals", "nothing but zeros"


def test_adopted_materializations_show_the_same_numbers(built: tuple[Corpus, dg.DagsterInstance]) -> None:
    corpus, _ = built
    with dg.DagsterInstance.ephemeral() as fresh:
        adopt(corpus.recipe, corpus.store, fresh)
        for asset in TABLES:
            if asset != NEEDS_A_HUB:
                event = latest(fresh, asset)
                own = figures_of(corpus.store.open(asset, event.partition or "all").manifest)
                assert own.items() <= numbers(event).items(), asset


def test_an_asset_is_behind_everything_that_it_read(built: tuple[Corpus, dg.DagsterInstance]) -> None:
    corpus, instance = built
    definitions = build_defs(corpus.recipe, deployment(corpus.settings("http://127.0.0.1:1"), corpus.recipe.name))
    graph, unsaid = definitions.resolve_asset_graph(), set()
    for asset in set(TABLES) - {NEEDS_A_HUB}:
        before = {key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys}
        manifest = corpus.store.open(asset, latest(instance, asset).partition or "all").manifest
        unsaid |= {(asset, ref.asset) for ref in manifest.inputs if ref.asset not in before}
    assert not unsaid


def synthetic(asset: str, summary: Mapping[str, object]) -> Manifest:
    flow = Flow(unit="files", rows_in=3, rows_out=3)
    return Manifest.model_construct(asset=asset, bucket="all", flow=flow, summary=dict(summary), run={}, files=())


def test_a_version_that_counted_otherwise_has_no_numbers() -> None:
    assert figures_of(synthetic("generation_quality", {"other": 1})) == {}
    assert figures_of(synthetic(NEEDS_A_HUB, {})) == {"files_sent": 0}
