"""Toxicity and personal data of what a model wrote: found, left out by bounds, and measured once."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web

from cosmo_assets.signals.copies import copies_of
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


def quoting(body: dict[str, Any], _: int) -> web.Response | None:
    """Every answer ends in the first words of its prompt, up to 40 of them."""
    if "response_format" in body:
        return None
    prompt = body["messages"][-1]["content"]
    text = f"{prose(prompt, 60)} {' '.join(prompt.split()[: 4 + 12 * kind_of(prompt)])}"
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def test_copies_are_those_of_todays_prompt(tmp_path: Path) -> None:
    """Where one of two templates has changed, the figures of the other one's texts are taken over, and no others."""
    corpus = Corpus(tmp_path).write(seeds(24))
    corpus.changes = {"signals": ["copies"]}
    corpus.write()

    def checked() -> dict[str, str]:
        """The prompt of each text, after its figures were compared with those that a plain measurement gives."""
        asked = {row["prompt_id"]: row["prompt"] for row in corpus.store.open("prompt_table").table().to_pylist()}
        rows, texts = corpus.rows("text_copies"), corpus.rows("generations")
        prompts = {key: asked[texts[key]["prompt_id"]] for key in rows}
        columns = (pa.chunked_array([[texts[key]["text"] for key in rows]]), pa.chunked_array([[*prompts.values()]]))
        expected = copies_of(*columns).to_pylist()
        assert list(rows.values()) == [{"doc_id": key, **row} for key, row in zip(rows, expected, strict=True)]
        assert len({row["longest_copy"] for row in rows.values()}) == 4
        return prompts

    with replaying(fault=quoting) as server:
        corpus.build(server.url)
        before = checked()
        corpus.templates["story"] = "Tell a long story in which this matters:\n{{ extract }}"
        corpus.versions["story"] = "2"
        corpus.write()
        corpus.build(server.url)
        after = checked()
    kept = before.keys() & after.keys()
    assert 0 < len(kept) < len(after)
    assert all(before[key] == after[key] for key in kept)
    manifests = [corpus.store.open("text_copies", bucket).manifest for bucket in ("b000", "b001")]
    assert sum(manifest.run["reused_rows"] for manifest in manifests) == len(kept)
    assert all(corpus.store.current_manifest(asset, "all") is None for asset in ("seed_copies", "real_copies"))
