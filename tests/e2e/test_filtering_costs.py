"""What filtering costs, from texts to figures: a filter that removes one domain shows it; nothing is filtered."""

import json
import re
from math import log
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from cosmo_assets.build import build_defs, steps_of
from cosmo_assets.diversity.measures import vendi
from cosmo_assets.diversity.stage import shown
from cosmo_assets.drift import KEY
from cosmo_assets.ids import numbers_of, uniforms
from cosmo_assets.recipe.deduplication import Deduplication
from cosmo_assets.reporting import CHECKS_OF
from cosmo_assets.selection import costs
from cosmo_assets.selection.sweep import RULES
from cosmo_assets.stage import Workspace
from cosmo_resources.deployments import deployment
from cosmo_resources.resources import EmbedderResource
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import prose, replaying

BLOCK = 4
SWEEP: dict[str, Any] = {
    "signals": [{"signal": "statistics.words", "prefer": "low"}, {"signal": "quality.words"}],
    "fractions": [1, 0.75, 0.5],
    "domains": "source",
    "sample": 8,
    "block": BLOCK,
}


def test_a_filter_that_removes_one_domain_shows_it(tmp_path: Path) -> None:
    """Letters are the longest texts by far: keeping the shorter ones removes them. Real ones have no `quality`."""
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE))
    letters = seeds(10, tag="letter")
    for letter in letters:
        letter["text"] = prose(letter["id"], 400) + " The gay community sings."
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in letters), encoding="utf-8")
    corpus.changes = {
        "real": {"sources": [{"name": "letters", "reader": "jsonl", "path": "letters.jsonl", "licence": "CC0-1.0"}]},
        "mixture": {"components": {"pages": {}, "letters": {}}},
        "signals": ["statistics"],
        "deduplication": {"methods": [{"method": "semantic", "similarity": 1}]},
        "sweep": SWEEP,
    }
    corpus.write(seeds(30))
    with replaying() as server:
        warnings = corpus.build(server.url)
    dataset = corpus.store.open("filtering_costs")
    rows = {
        (row["signal"], row["rule"], row["fraction"], row["measure"], row["part"]): row["value"]
        for row in dataset.table().to_pylist()
    }
    left = {key for key, row in corpus.rows("deduplicated").items() if row["keep"]}
    tokens = {key: row["completion_tokens"] for key, row in corpus.rows().items() if key in left}
    real = {row["doc_id"]: row["tokens"] for row in corpus.store.open("real_eligible").table().to_pylist()}
    assert (len(left), len(real)) == (30, 10)
    whole = sum(tokens.values()) + sum(real.values())
    share = sum(tokens.values()) / whole

    for rule in RULES:
        assert rows["statistics.words", rule, 1, "tokens", None] == whole
        assert rows["statistics.words", rule, 1, "divergence", None] == 0
        assert rows["statistics.words", rule, 1, "share", "letters"] == pytest.approx(1 - share)
        assert rows["quality.words", rule, 1, "documents", None] == 30, "those that have the signal"
    assert rows["statistics.words", "ranks", 0.75, "documents", None] == 30
    assert rows["statistics.words", "ranks", 0.75, "tokens", None] == sum(tokens.values())
    assert rows["statistics.words", "ranks", 0.75, "share", "letters"] == 0
    assert rows["statistics.words", "ranks", 0.75, "divergence", None] == pytest.approx(-log(share))
    assert rows["statistics.words", "ranks", 0.75, "retention", "orientation"] == 0
    assert 0 < rows["statistics.words", "ranks", 0.5, "effective", None] < 1
    assert rows["statistics.words", "gumbel", 0.75, "documents", None] == 30
    assert rows["statistics.words", "gumbel", 0.75, "share", "letters"] > 0, "a draw leaves some"
    assert rows["quality.words", "ranks", 0.5, "divergence", None] == 0, "there is one source of these"
    assert warnings == ["filtering_costs: scored"]
    (_, scored) = CHECKS_OF["filtering_costs"]
    assert scored.test(dataset.manifest, corpus.recipe) == (False, {"documents": 40, "with quality.words": 30})

    vectors = corpus.rows("text_embeddings")
    ids = sorted(left)
    drawn = uniforms(numbers_of(pa.array(ids)), "sweep")
    first = [ids[place] for place in np.argsort(drawn)[: 2 * BLOCK]]
    unit = np.array([vectors[key]["embedding"] for key in first], np.float32)
    wanted = np.mean([vendi(unit[:BLOCK]), vendi(unit[BLOCK:])])
    assert rows["statistics.words", "ranks", 0.75, "vendi", None] == pytest.approx(wanted, abs=1e-6)

    plain = corpus.recipe.model_copy(update={"deduplication": Deduplication()})
    again = costs.build(Workspace(corpus.store, plain), EmbedderResource().create())
    assert "text_embeddings" in {ref.asset for ref in dataset.manifest.inputs}
    assert "text_embeddings" not in {ref.asset for ref in again.inputs}
    assert corpus.store.open("filtering_costs").table().equals(dataset.table()), "vectors are the same either way"


def test_a_sweep_filters_nothing_and_needs_no_selection(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path).write(seeds(16))
    with replaying() as server:
        corpus.build(server.url)
        before = corpus.versions_of_everything()
        plain = corpus.recipe
        corpus.changes = {"sweep": {**SWEEP, "signals": [{"signal": "quality.words"}], "domains": "topic"}}
        corpus.write().build(server.url)
    after = corpus.versions_of_everything()
    changed = {place for place in after if before.get(place) != after[place]}
    assert changed == {"filtering_costs/all", "corpus_report/all"}
    page = (corpus.store.open("corpus_report").folder / "report.html").read_text(encoding="utf-8")
    titles = re.findall(r'<h2 id="([^"]+)">', page)
    assert titles.index("duplicates") + 1 == titles.index("costs") == titles.index("mixture") - 1
    assert titles == re.findall(r'<a href="#([^"]+)">', page.split("</nav>")[0])
    assert "sweep" not in plain.model_dump(mode="json")
    assert "filtering_costs" not in [name for step, _ in steps_of(plain) for name in step]
    (*_, (last, _)) = steps_of(corpus.recipe)
    assert last.index("filtering_costs") < last.index("corpus_report")
    chosen = deployment(corpus.settings("http://127.0.0.1:1/v1"), corpus.recipe.name)
    graph = build_defs(corpus.recipe, chosen).resolve_asset_graph()
    key = dg.AssetKey("filtering_costs")
    assert graph.get(key).child_keys == {dg.AssetKey("corpus_report")}
    wanted = {"deduplicated", "generations", "generation_quality", "prompt_table"}
    assert graph.get(key).parent_keys == {dg.AssetKey(name) for name in wanted}
    topics = {row["part"] for row in corpus.store.open("filtering_costs").table().to_pylist() if row["part"]}
    asked = set(corpus.store.open("prompt_table").table()["topic"].to_pylist())
    assert asked & topics, "domains are topics"


def test_the_report_shows_what_a_corpus_was_asked_for(tmp_path: Path) -> None:
    """Signals, selection, costs and diversity, in this order; and the page's identity does not hang on which version
    was accepted."""
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE)).write(seeds(24))
    with replaying() as server:
        corpus.build(server.url)
        plain = (corpus.store.open("corpus_report").folder / "report.html").read_text(encoding="utf-8")
        corpus.changes = {
            "signals": ["statistics"],
            "selection": {"keep": {"rule": "ranks", "signal": "statistics.mean_word_length", "low": 0.25}},
            "sweep": {**SWEEP, "signals": [{"signal": "statistics.words", "prefer": "low"}]},
            "diversity": {"block": 4},
        }
        corpus.write().build(server.url)
    report = corpus.store.open("corpus_report")
    page = (report.folder / "report.html").read_text(encoding="utf-8")
    wanted = ["signals-statistics", "selection", "costs", "diversity"]
    before, after = (re.findall(r'<h2 id="([^"]+)">', text) for text in (plain, page))
    at = before.index("mixture")
    assert after == [*before[:at], *wanted, *before[at:]]
    for title in ("from the first to the 99th percentile", "the first limit", "by the fraction", "Diversity, relative"):
        assert len(re.findall(rf"<title>[^<]*{title}[^<]*</title>", page)) == 1, title
        assert title not in plain
    read = {(ref.asset, ref.bucket) for ref in report.manifest.inputs}
    assert {("text_statistics", "b000"), ("selection", "all"), ("corpus_diversity", "all")} <= read
    figures = {(row["section"], row["name"]): row["value"] for row in report.table().to_pylist()}
    assert figures["selection", "dropped.ranks by statistics.mean_word_length"] == 6
    assert figures["costs", "statistics.words.low.ranks.0.5.tokens"] > 0
    assert figures["diversity", "vendi"] == corpus.store.open("corpus_diversity").manifest.summary["measures"]["vendi"]
    measured = corpus.store.open("corpus_diversity").manifest
    accepted = measured.model_copy(update={"run": {KEY: {"of": "another", "measured": measured.summary["measured"]}}})
    (tables, charts) = zip(*(shown(one, corpus.recipe, compared=False) for one in (measured, accepted)), strict=True)
    assert (tables[0], charts[0]) == (tables[1], charts[1])
    assert shown(accepted, corpus.recipe)[0] != tables[0]
