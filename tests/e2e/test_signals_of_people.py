"""Toxicity and personal data of what a model wrote: found, left out by bounds, and measured once."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import ReplayServer, prose, replaying

ABUSE = "You are such a stupid idiot, and everything you say is garbage. Shut up, you pathetic loser, and get lost now."
MAIL = "ann@creek.example"


def kind_of(prompt: str) -> int:
    return hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] % 4


def answer(body: dict[str, Any], _: int) -> web.Response | None:
    """Of four answers one has a paragraph of abuse, another one an address."""
    if "response_format" in body:
        return None
    prompt = body["messages"][-1]["content"]
    more = {0: f"\n\n{ABUSE}\n\n{prose(f'more/{prompt}', 60)}", 1: f" Write to {MAIL} for it."}.get(kind_of(prompt), "")
    text = prose(prompt, 90) + more
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    with replaying(fault=answer) as replay:
        yield replay


def test_a_selection_leaves_out_abuse_and_personal_data(tmp_path: Path, server: ReplayServer) -> None:
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE)).write(seeds(24))
    corpus.changes = {
        "signals": ["toxicity", "privacy", "language"],
        "selection": {
            "bounds": [
                {"signal": "toxicity.worst_paragraph", "high": 0.9},
                {"signal": "privacy.personal", "high": 0},
                {"signal": "language.latin_share", "low": 0.9},
            ]
        },
    }
    corpus.write()
    corpus.build(server.url)
    prompts = {row["prompt_id"]: row["prompt"] for row in corpus.store.open("prompt_table").table().to_pylist()}
    texts = corpus.rows("generations")
    kinds = {key: kind_of(prompts[row["prompt_id"]]) for key, row in texts.items()}
    assert {0, 1, 2} <= set(kinds.values())
    toxicity, privacy = corpus.rows("text_toxicity"), corpus.rows("text_privacy")
    assert {key for key, row in toxicity.items() if row["worst_paragraph"] > 0.9} == {
        key for key, kind in kinds.items() if kind == 0
    }
    for key, row in privacy.items():
        found = [texts[key]["text"][span["start"] : span["end"]] for span in row["spans"]]
        assert found == ([MAIL] if kinds[key] == 1 else [])
    mixed = set(corpus.store.open("mixture").table()["doc_id"].to_pylist())
    assert mixed == {key for key, kind in kinds.items() if kind > 1}
    assert corpus.store.open("seed_privacy").manifest.rows == corpus.store.open("seed_documents").manifest.rows == 24

    corpus.write(seeds(25))
    corpus.build(server.url)
    after = corpus.rows("text_privacy")
    assert {key: after[key] for key in privacy} == privacy
    reused = [corpus.store.open("text_privacy", bucket).manifest.run["reused_rows"] for bucket in ("b000", "b001")]
    assert sum(reused) == len(privacy) < len(after)
