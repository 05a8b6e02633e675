"""The ages of the texts of a corpus in its report, from texts that name years to a table by source."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from cosmo_assets.build import build_defs
from cosmo_resources.deployments import deployment
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import prose, replaying

EVALUATED, OLDER, HALF_LIFE = 2020, 10, 5.0


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """Texts of which a third each say nothing of years, name 2001 and 2015, or name 2005."""
    if "response_format" in body:
        return None
    prompt = body["messages"][-1]["content"]
    said = ("", " It was so in 2001 and in 2015.", " It was so in 2005.")
    text = prose(prompt, 90) + said[hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] % 3]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def figures(store: CorpusStore) -> dict[str, float]:
    rows = store.open("corpus_report").table().to_pylist()
    return {row["name"]: row["value"] for row in rows if row["section"] == "ages"}


def page(store: CorpusStore) -> str:
    return (store.open("corpus_report").folder / "report.html").read_text(encoding="utf-8")


def test_the_report_has_the_ages_of_each_source_and_nothing_else_depends_on_them(tmp_path: Path) -> None:
    """Letters are real: four name 1990, and notes, of which none names a year, have no figures. Without the section the
    report is what it was."""
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE))
    for name, said in (("letter", " Written in 1990."), ("note", "")):
        rows = [{**row, "text": f"{prose(row['id'], 60)}{said}"} for row in seeds(4, tag=name)]
        (tmp_path / f"{name}s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {"reader": "jsonl", "licence": "CC0-1.0"}
    plain = {
        "real": {"sources": [{"name": name, "path": f"{name}.jsonl", **source} for name in ("letters", "notes")]},
        "mixture": {"components": {"pages": {}, "letters": {}, "notes": {}}},
        "signals": ["age"],
    }
    asked = {"evaluated": EVALUATED, "older": OLDER, "half_life": HALF_LIFE}
    corpus.changes = dict(plain)
    with replaying(fault=answer) as server:
        corpus.write(seeds(30)).build(server.url)
        before, without = corpus.versions_of_everything(), page(corpus.store)
        assert "age" not in corpus.recipe.model_dump(mode="json")
        corpus.changes = {**plain, "age": asked}
        corpus.write().build(server.url)
        after = corpus.versions_of_everything()
        assert {place for place in after if before.get(place) != after[place]} == {"corpus_report/all"}
        chosen = {row["doc_id"] for row in corpus.store.open("mixture").table().to_pylist() if row["source"] == "pages"}
        named = [row["latest_year"] for key, row in corpus.rows("text_age").items() if key in chosen]
        years = [year for year in named if year is not None]
        assert set(named) == {None, 2005, 2015}
        assert figures(corpus.store) == {
            "letters.older": 1.0,
            "letters.gap": 30.0,
            "letters.weight": pytest.approx(2**-6),
            "pages.older": pytest.approx(years.count(2005) / len(years)),
            "pages.gap": pytest.approx(EVALUATED - sum(years) / len(years)),
            "pages.weight": pytest.approx(sum(0.5 if year == 2015 else 0.125 for year in years) / len(years)),
        }
        shown = page(corpus.store)
        assert re.findall(r'<h2 id="([^"]+)">', shown).count("ages") == 1
        (part,) = re.findall(r'<h2 id="ages">.*?<h2', shown, re.DOTALL)
        cells = [re.sub("<[^>]+>", " ", row).split() for row in re.findall("<tr><td.*?</tr>", part)]
        assert cells[0] == ["letters", "4", "4", "100.0%", "30", "0.016"]
        assert cells[1] == ["notes", "4", "0", *["\N{EN DASH}"] * 3]
        assert cells[2][:3] == ["pages", str(len(named)), str(len(years))]
        resources = deployment(corpus.settings(server.url), corpus.recipe.name)
        graph = build_defs(corpus.recipe, resources).resolve_asset_graph()
        assert dg.AssetKey("real_age") in graph.get(dg.AssetKey("corpus_report")).parent_keys
        corpus.changes = dict(plain)
        corpus.write().build(server.url)
    assert page(corpus.store) == without
