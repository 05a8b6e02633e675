"""Educational value from labels to shards: a model rates some seeds by planted words, all texts are scored."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cosmo_resources.embedding.minilm import pipeline_embedder
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import ReplayServer, prose, replaying

MARKS = ("theorem", "lemma", "proof", "hence")
NOISE = ("voucher", "basket", "discount", "checkout")


def with_words(key: str, good: bool, words: int) -> str:
    """Prose in which one word in ten speaks for a textbook, or for a shop."""
    draw = random.Random(key)
    found = prose(key, words).split()
    for place in range(0, len(found), 10):
        found[place] = draw.choice(MARKS if good else NOISE)
    return " ".join(found)


def value(prompt: str) -> int:
    """What the model says of a text: 4 or 5, or 0 or 1, by the planted words."""
    last = hashlib.blake2b(prompt.encode()).digest()[0] % 2
    return 4 + last if any(word in prompt for word in MARKS) else last


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """Half of the generated texts have the words of a textbook, the others those of a shop."""
    if "response_format" in body:
        return None
    prompt = body["messages"][-1]["content"]
    kind = hashlib.blake2b(prompt.encode()).digest()[1] % 2 == 0
    text = with_words(prompt, kind, 90)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 90}})


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    with replaying(fault=answer, value=value) as replay:
        yield replay


def test_texts_with_planted_words_are_found_and_kept(tmp_path: Path, server: ReplayServer) -> None:
    """Labels of 80 of 90 seeds suffice; with one seed more the model is asked for its document, and no other text is
    labelled or scored again."""
    pages = seeds(90)
    for number, page in enumerate(pages):
        page["text"] = with_words(page["id"], number % 2 == 0, 70)
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE)).write(pages)
    corpus.changes = {
        "signals": ["educational"],
        "educational": {"labels": 80},
        "selection": {"bounds": [{"signal": "educational.probability", "low": 0.5}]},
        "limits": {"max_unselected": 0.9},
    }
    corpus.write()
    warnings = corpus.build(server.url)
    assert not [warning for warning in warnings if warning.startswith(("educational_labels", "quality_classifier"))]
    assert len(server.json_calls("educational_label")) == 80
    card = corpus.store.open("quality_classifier").manifest
    assert (card.summary["labels"], card.summary["spearman"] > 0.7, card.summary["f1"] > 0.95) == (80, True, True)

    texts = {key: row["text"] for key, row in corpus.rows().items()}
    scores = corpus.rows("text_educational")
    assert len(scores) == len(texts) == 90
    good = {key for key, text in texts.items() if any(word in text for word in MARKS)}
    found = {key for key, row in scores.items() if row["probability"] >= 0.5}
    assert 30 < len(good) < 60
    assert len(good & found) / len(found) > 0.95
    assert len(good & found) / len(good) > 0.95
    left = {key for key, row in corpus.rows("deduplicated").items() if row["keep"]}
    assert set(corpus.store.open("mixture").table()["doc_id"].to_pylist()) == found & left
    of_seeds = corpus.store.open("seed_educational").table().to_pylist()
    assert sum(row["score"] > 2.5 for row in of_seeds) == 45

    calls, versions = len(server.calls), corpus.versions_of_everything()
    corpus.write([*pages, *seeds(1, tag="new")])
    corpus.build(server.url)
    after = corpus.versions_of_everything()
    for asset in ("educational_labels", "quality_classifier"):
        assert after[f"{asset}/all"] == versions[f"{asset}/all"]
    assert len(server.json_calls("educational_label")) == 80
    assert len(server.calls) == calls + 1, "a document of the new seed"
    reused = [corpus.store.open("text_educational", bucket).manifest.run["reused_rows"] for bucket in ("b000", "b001")]
    assert sum(reused) == 90


def test_the_same_by_embeddings_of_the_corpus(tmp_path: Path, server: ReplayServer) -> None:
    """Seeds and generated texts are scored by what the pipeline's embedder makes of them."""
    pages = seeds(60)
    for number, page in enumerate(pages):
        page["text"] = with_words(page["id"], number % 2 == 0, 70)
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE))
    corpus.changes = {"signals": ["educational"], "educational": {"labels": 60, "features": "embeddings"}}
    corpus.write(pages)
    corpus.build(server.url)
    card = corpus.store.open("quality_classifier").manifest
    assert card.params == {"features": "all-MiniLM-L6-v2 " + pipeline_embedder().revision}
    assert (card.summary["spearman"] > 0.7, card.summary["f1"] > 0.95) == (True, True)
    scores, texts = corpus.rows("text_educational"), corpus.rows()
    good = {key for key, row in texts.items() if any(word in row["text"] for word in MARKS)}
    found = {key for key, row in scores.items() if row["probability"] >= 0.5}
    assert (len(scores), 15 < len(good) < 45) == (60, True)
    assert len(good & found) / len(good | found) > 0.9
