"""Selections that compare embeddings, from texts to shards: which of planted texts D4 and D2 leave out, and why."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from aiohttp import web

from cosmo_assets.build import build_defs, steps_of
from cosmo_assets.recipe.recipe import Recipe
from cosmo_resources.deployments import deployment
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.plain_d2 import plain_d2
from tests.doubles.replay_server import ReplayServer, prose, replaying

RIM = (
    "volcano lava", "violin orchestra", "football goal", "income tax", "bread oven", "desert camel", "surgery heart",
    "chess queen", "satellite orbit", "diamond jewel", "whale ocean", "election vote", "carpet weaving",
    "bridge concrete", "vaccine virus", "castle knight",
)  # fmt: skip
"""What texts are about that have nothing in common; cosines of 0.09 to 0.52."""
TWINS = 6
"""So many of them are told again with one other word; cosines of 0.97 to 0.99."""
MIDDLE = (
    "in the early morning", "after heavy rain", "for the whole village", "without any smoke", "until late autumn",
    "near the old mill", "with wooden tools", "by careful hands", "under the lime trees", "before the first frost",
    "for the winter market", "beside the stone wall",
)  # fmt: skip
"""How texts end that are all about the same; cosines of 0.82 to 0.95."""


def told(about: str) -> str:
    sentences = (f"{about} {prose(f'{about}{number}', 5)[:-1].lower()}" for number in range(6))
    return f"Everything about {about}: {' '.join(sentences)}."


TEXTS = (
    *map(told, RIM),
    *(
        f"Bees make honey from the nectar of flowers, and the keeper takes the full combs out of the hive {end}."
        for end in MIDDLE
    ),
    *(told(about).replace("Everything", "Something") for about in RIM[:TWINS]),
)
LEFT = len(TEXTS) - TWINS
D4 = {
    "rule": "d4",
    "clusters": 2,
    "keep_different": LEFT / len(TEXTS),
    "keep_atypical": 1 - len(MIDDLE) / LEFT,
}
SWEEP = {"signals": [{"signal": "quality.words"}], "sample": 8, "block": 4}
D2 = {"rule": "d2", "signal": "quality.words", "prefer": "low", "fraction": 0.4, "neighbours": 3}


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """The text whose number the prompt has, as all pages begin with it."""
    found = re.search(r"Page number (\d+)\.", body["messages"][-1]["content"])
    if found is None or "response_format" in body:
        return None
    text = TEXTS[int(found[1])]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def corpus_of(folder: Path, keep: dict[str, Any], **changes: Any) -> Corpus:
    corpus = Corpus(folder, templates=dict(ONE_TEMPLATE))
    corpus.changes = {
        "deduplication": {"methods": [{"method": "exact"}]},
        "selection": {"keep": keep},
        "limits": {"max_unselected": 1},
        **changes,
    }
    pages = seeds(len(TEXTS))
    return corpus.write(
        [{**page, "text": f"Page number {number}. {page['text']}"} for number, page in enumerate(pages)]
    )


def reasons(corpus: Corpus) -> dict[str, str | None]:
    return {row["doc_id"]: row["reason"] for row in corpus.store.open("selection").table().to_pylist()}


def numbers(corpus: Corpus) -> dict[str, int]:
    """By document, which of the texts it is."""
    return {key: TEXTS.index(row["text"]) for key, row in corpus.rows().items()}


def build(corpus: Corpus) -> ReplayServer:
    with replaying(fault=answer) as server:
        corpus.build(server.url)
    return server


def test_d4_leaves_out_what_was_said_and_what_is_common_and_says_which(tmp_path: Path) -> None:
    """One of each pair that says the same goes as a duplicate, the texts that are all about the same as prototypes;
    real text stays. Whatever else wants the embeddings takes those that are there."""
    letters = seeds(4, tag="letter")
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in letters), encoding="utf-8")
    real = [{"name": "letters", "reader": "jsonl", "path": str(tmp_path / "letters.jsonl"), "licence": "CC0-1.0"}]
    mixed = {"real": {"sources": real}, "mixture": {"components": {"pages": {}, "letters": {}}}}
    corpus = corpus_of(tmp_path, D4, **mixed, sweep=SWEEP, diversity={"block": 8})
    build(corpus)
    for asset in ("selection", "filtering_costs", "corpus_diversity"):
        assert "text_embeddings" in {ref.asset for ref in corpus.store.open(asset).manifest.inputs}
    number, found = numbers(corpus), reasons(corpus)
    assert len(number) == len(TEXTS)
    text_of = {number[key]: reason for key, reason in found.items() if key in number}
    for twin in range(TWINS):
        pair = [text_of[twin], text_of[LEFT + twin]]
        assert sorted(pair, key=str) == [None, "d4 duplicate"]
    assert {text_of[at] for at in range(TWINS, len(RIM))} == {None}
    assert {text_of[at] for at in range(len(RIM), LEFT)} == {"d4 prototype"}
    assert {reason for key, reason in found.items() if key not in number} == {None}
    assert len(found) == len(TEXTS) + len(letters), "real text is among them"

    manifest = corpus.store.open("selection").manifest
    tokens = {key: row["completion_tokens"] for key, row in corpus.rows().items()}
    expected = []
    for reason, drops in (("d4 duplicate", TWINS), ("d4 prototype", len(MIDDLE))):
        lost = sum(tokens[key] for key, why in found.items() if why == reason)
        row = {"reason": reason, "signal": None, "low": None, "high": None}
        expected.append({**row, "breaks": drops, "drops": drops, "tokens": lost})
    assert manifest.summary["limits"] == expected
    flow = manifest.flow
    assert flow.dropped == {"d4 duplicate": TWINS, "d4 prototype": len(MIDDLE)}
    assert flow.balanced
    assert (flow.rows_in, flow.rows_out) == (len(found), len(RIM) + len(letters))
    assert set(corpus.store.open("mixture").table()["doc_id"].to_pylist()) == {
        key for key, reason in found.items() if reason is None
    }
    rejected = corpus.store.open("mixture").rejected()
    assert rejected is not None
    assert Counter(rejected["reason"].to_pylist()) == {f"signal_{reason}": n for reason, n in flow.dropped.items()}
    page = (corpus.store.open("corpus_report").folder / "report.html").read_text(encoding="utf-8")
    assert page.count("d4 prototype") > 0


def test_another_rule_redoes_the_selection_and_what_follows_it(tmp_path: Path) -> None:
    """D2 keeps what the plain method keeps, of all documents in the order of their ids; nothing before the selection is
    made again, embeddings included, and duplicates are not looked for in them."""
    corpus = corpus_of(tmp_path, D4)
    first = build(corpus)
    assert first.calls
    before = corpus.versions_of_everything()
    assert "text_embeddings" not in {ref.asset for ref in corpus.store.open("duplicate_clusters").manifest.inputs}
    corpus.changes["selection"] = {"keep": D2}
    assert not build(corpus.write()).calls
    after = corpus.versions_of_everything()
    changed = {place.split("/")[0] for place in after if before.get(place) != after[place]}
    assert {"selection", "mixture", "tokenized_shards", "token_lineage"} <= changed
    late = {"selection", "mixture", "tokenized_shards", "token_lineage", "corpus_report", "corpus_export"}
    assert changed <= late

    vectors, words = corpus.rows("text_embeddings"), corpus.rows("generation_quality")
    keys = sorted(vectors)
    unit = np.array([vectors[key]["embedding"] for key in keys], np.float64)
    count = np.array([-words[key]["words"] for key in keys])
    difficulty = np.array([(np.sum(count < one) + np.sum(count == one) / 2) / len(count) for one in count])
    chosen = plain_d2(unit, difficulty, round(0.4 * len(keys)), 3, 1.0)
    found = reasons(corpus)
    assert {key for key, reason in found.items() if reason is None} == {keys[place] for place in chosen}
    assert Counter(found.values()) == {None: len(chosen), "d2 by quality.words": len(keys) - len(chosen)}


def test_only_a_rule_that_compares_them_brings_embeddings_into_the_graph(tmp_path: Path) -> None:
    """They are built before the selection, which reads them and does not follow by itself; duplicate_clusters reads
    them only where it compares meanings."""
    ranked = {"rule": "ranks", "signal": "quality.words"}
    plain = corpus_of(tmp_path / "plain", ranked).recipe
    assert not plain.embeds_texts
    assert "text_embeddings" not in [name for step, _ in steps_of(plain) for name in step]
    meaning = {"deduplication": {"methods": [{"method": "semantic"}]}}
    cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...]
    cases = ((D4, {}), (D2, {}), (D2, meaning), (ranked, meaning), (D4, {"sweep": SWEEP}))
    for number, (keep, changes) in enumerate(cases):
        recipe = corpus_of(tmp_path / f"{number}", keep, **changes).recipe
        assert recipe.embeds_texts
        steps = steps_of(recipe)
        places = {asset: at for at, (step, _) in enumerate(steps) for asset in step}
        assert places["text_embeddings"] < places["selection"]
        assert steps[places["text_embeddings"]][1], "by bucket"
        graph = graph_of(recipe)
        readers = set(graph.get(dg.AssetKey("text_embeddings")).child_keys)
        expected = {"selection"} if keep is not ranked else set()
        expected |= {"duplicate_clusters"} if "deduplication" in changes else set()
        expected |= {"filtering_costs"} if "sweep" in changes else set()
        assert readers == {dg.AssetKey(reader) for reader in expected}
        follows = graph.get(dg.AssetKey("selection")).automation_condition is not None
        assert follows == (keep is ranked)


def graph_of(recipe: Recipe) -> Any:
    chosen = deployment(Corpus(recipe.folder).settings("http://127.0.0.1:1/v1"), recipe.name)
    return build_defs(recipe, chosen).resolve_asset_graph()
