"""A selection by DSIR, from texts to shards: of planted domains those that the targets are of, real text included."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from cosmo_assets.build import MIXED_IN, UP_TO_PROMPTS, build_defs, name_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.deployments import deployment
from tests.corpora import ONE_TEMPLATE, Corpus, kill_group, seeds, wait_until
from tests.doubles.replay_server import prose, replaying
from tests.faults.test_change_and_kill import BEFORE_SIGNALS, SLOW_DISK

EACH, REAL = 12, 8
ABOUT = {"a": "bees and their honey", "b": "the violin in the orchestra", "c": "the goal in football"}


def told(domain: str, count: int, tag: str) -> list[str]:
    """So many texts of a domain, which repeat what they are about and have nothing else in common."""
    texts = (
        [f"{ABOUT[domain]} {prose(f'{domain}{tag}{at}/{of}', 6).lower()}" for of in range(6)] for at in range(count)
    )
    return [f"Everything about {' '.join(sentences)}" for sentences in texts]


TEXTS = [text for domain in ABOUT for text in told(domain, EACH, "said")]
"""What the model answers, by the number of the page."""
QUOTAS = {"a": {"fraction": 0.25}, "b": {"documents": 9}}
"""Of 44 documents: 11 and 9."""


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    found = re.search(r"Page number (\d+)\.", body["messages"][-1]["content"])
    if found is None or "response_format" in body:
        return None
    text = TEXTS[int(found[1])]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def written(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def corpus_of(folder: Path, buckets: int = 2) -> Corpus:
    """Pages of three domains, and real letters of the first."""
    corpus = Corpus(folder, templates=dict(ONE_TEMPLATE), buckets=buckets)
    targets = {
        domain: {
            "path": written(folder / f"{domain}.jsonl", [{"text": t} for t in told(domain, 60, "wanted")]),
            **quota,
        }
        for domain, quota in QUOTAS.items()
    }
    letters = [{"id": f"{number}", "text": text} for number, text in enumerate(told("a", REAL, "letter"))]
    real = {"name": "letters", "reader": "jsonl", "licence": "CC0-1.0"}
    real["path"] = written(folder / "letters.jsonl", letters)
    corpus.changes = {
        "deduplication": {"methods": [{"method": "exact"}]},
        "selection": {"keep": {"rule": "dsir", "targets": targets, "least_words": 10}},
        "limits": {"max_unselected": 1},
        "real": {"sources": [real]},
        "mixture": {"components": {"pages": {}, "letters": {}}},
    }
    return corpus.write(
        [{**page, "text": f"Page number {at}. {page['text']}"} for at, page in enumerate(seeds(len(TEXTS)))]
    )


def texts(corpus: Corpus) -> dict[str, str]:
    """By document, generated or real."""
    real = corpus.store.open("real_documents").table().to_pylist()
    return {row["doc_id"]: row["text"] for row in (*corpus.rows().values(), *real)}


def reasons(corpus: Corpus) -> dict[str, str | None]:
    return {row["doc_id"]: row["reason"] for row in corpus.store.open("selection").table().to_pylist()}


def domain_of(text: str) -> str:
    return "abc"[TEXTS.index(text) // EACH] if text in TEXTS else "a"


def test_the_corpus_has_of_each_domain_what_its_target_asks_for(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    with replaying(fault=answer) as server, dg.DagsterInstance.ephemeral() as instance:
        warnings = corpus.build(server.url, instance=instance)
        calls = len(server.calls)
        shown = instance.get_latest_materialization_event(dg.AssetKey("selection"))
        assert "selection: quotas" not in warnings
        text, reason = texts(corpus), reasons(corpus)
        assert set(text) == set(reason)
        assert len(text) == len(TEXTS) + REAL
        stays = {key for key, why in reason.items() if why is None}
        assert Counter(domain_of(text[key]) for key in stays) == {"b": 9, "a": 11}
        assert Counter(reason.values()) == {None: 20, "dsir": 24}
        assert stays.intersection(key for key, said in text.items() if said not in TEXTS), "real ones are among them"
        mixture = corpus.store.open("mixture")
        assert set(mixture.table()["doc_id"].to_pylist()) == stays
        rejected = mixture.rejected()
        assert rejected is not None
        assert Counter(rejected["reason"].to_pylist()) == {"signal_dsir": 24}

        assert shown is not None and shown.asset_materialization is not None
        table = str(shown.asset_materialization.metadata["targets"].value).splitlines()
        cells = [line.strip("| ").split(" | ") for line in table]
        assert [row[:4] for row in (cells[0], *cells[2:])] == [
            ["target", "texts", "asked", "documents"],
            ["a", "60", "11", "11"],
            ["b", "60", "9", "9"],
        ]
        assert all(float(row[6]) < float(row[5]) for row in cells[2:]), "nearer to the target than chance"

        before = corpus.versions_of_everything()
        written(tmp_path / "a.jsonl", [{"text": said} for said in told("c", 60, "wanted")])
        corpus.build(server.url)
        assert len(server.calls) == calls, "nothing is asked again"
        after = corpus.versions_of_everything()
        changed = {place.split("/")[0] for place in after if before[place] != after[place]}
        assert {"selection", "mixture", "tokenized_shards"} <= changed
        late = {"selection", "mixture", "tokenized_shards", "token_lineage", "corpus_report", "corpus_export"}
        assert changed <= late, "nothing before the selection is made again"
        text, reason = texts(corpus), reasons(corpus)
        assert Counter(domain_of(text[key]) for key, why in reason.items() if why is None) == {"b": 9, "c": 11}


@pytest.mark.slow
def test_killed_inside_the_selection_and_with_other_buckets_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK, encoding="utf-8")
    whole, killed = corpus_of(tmp_path / "whole"), corpus_of(tmp_path / "killed", buckets=3)
    stages = [*UP_TO_PROMPTS, *map(name_of, MIXED_IN), *BEFORE_SIGNALS, "selection"]
    with replaying(fault=answer) as server:
        whole.build(server.url, stages)
        killed.build(server.url, stages)
        expected = whole.store.open("selection").manifest
        assert reasons(killed) == reasons(whole)
        keep = killed.changes["selection"]["keep"]
        killed.changes["selection"] = {"keep": {**keep, "seed": 1}}
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        process = killed.write().command(server.url, "run", "--asset", "selection")
        work = killed.store.work("selection")
        wait_until(lambda: any(work.glob("build-*")), process=process, seconds=120)
        kill_group(process)
        assert any(work.glob("build-*")), "it was over before it was killed"
        monkeypatch.undo()
        killed.build(server.url, ["selection"])
        assert reasons(killed) != reasons(whole), "another seed"
        assert not list(killed.data.rglob("build-*")), "what was begun is swept away"
        seeded, killed.changes["selection"] = reasons(killed), {"keep": keep}
        killed.write().build(server.url, ["selection"])
        whole.changes["selection"] = {"keep": {**keep, "seed": 1}}
        whole.write().build(server.url, ["selection"])
    assert reasons(whole) == seeded
    assert killed.store.open("selection").manifest.summary == expected.summary, "to the last bit"


def test_a_rule_that_reads_texts_reads_the_real_ones_where_there_are_some(tmp_path: Path) -> None:
    recipe = corpus_of(tmp_path).recipe
    assert recipe.selection is not None
    ranked = {"keep": {"rule": "ranks", "signal": "quality.words"}}
    other = recipe.model_copy(update={"selection": type(recipe.selection).model_validate(ranked)})
    own = {"deduplicated", "generations", "real_eligible"}
    assert read(recipe) == own | {"real_documents"}
    assert read(other) == own | {"generation_quality"}
    assert read(recipe.model_copy(update={"real": type(recipe.real)()})) == own - {"real_eligible"}


def read(recipe: Recipe) -> set[str]:
    chosen = deployment(Corpus(recipe.folder).settings("http://127.0.0.1:1/v1"), recipe.name)
    graph: Any = build_defs(recipe, chosen).resolve_asset_graph()
    return {key.to_user_string() for key in graph.get(dg.AssetKey("selection")).parent_keys}
