"""Rollouts: documents that take several requests, and what is kept of those when a worker dies between them."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cosmo_assets.generation.plan import GenerationPlan
from cosmo_assets.generation.rollouts import find_rollout
from cosmo_assets.generation.worker import Worker
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from tests.doubles.replay_server import replaying
from tests.unit.cosmo_assets.generation.jobs import job, sealed_rows, work
from tests.unit.cosmo_assets.synthetic import MODEL, recipe


def said(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]]


def answer(text: str, finish: str = "stop", reasoning: str | None = None) -> web.Response:
    message = {"role": "assistant", "content": text, "reasoning_content": reasoning}
    usage = {"prompt_tokens": 2, "completion_tokens": len(text.split())}
    return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})


def rollout(name: str, **options: Any) -> Any:
    return recipe(generation={"rollout": {"name": name, "options": options}})


def test_an_answer_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def fault(body: dict[str, Any], _: int) -> web.Response:
        if len(body["messages"]) == 1:
            return answer("The lamp was", "length")
        whole = said(body)[1]
        return answer(" green, and", "length") if whole == "The lamp was" else answer("it shone.", "stop")

    plan, folder = job(tmp_path, rollout("continued", turns=4), 1)
    with replaying(fault=fault) as server:
        work(folder, server)
        assert len(server.calls) == 3
        assert [message["role"] for message in server.calls[-1]["messages"]] == ["user", "assistant", "user"]
    (row,) = sealed_rows(plan, folder)
    assert row["text"] == "The lamp was green, and it shone."
    assert (row["finish_reason"], row["completion_tokens"], row["attempts"], row["marks"]) == ("stop", 7, 3, [])
    assert [turn["text"] for turn in json.loads(row["earlier_turns"])] == ["The lamp was", " green, and"]


def test_it_goes_on_no_longer_than_it_may(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, rollout("continued", turns=2), 1)
    with replaying(fault=lambda body, seen: answer("more and", "length")) as server:
        work(folder, server)
        assert len(server.calls) == 2
    (row,) = sealed_rows(plan, folder)
    assert (row["text"], row["finish_reason"], row["marks"]) == ("more and more and", "length", ["truncated"])


def test_a_draft_is_revised(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, rollout("revised", instruction="Shorter."), 1)

    def fault(body: dict[str, Any], _: int) -> web.Response:
        return answer("a draft", reasoning="first thought") if len(body["messages"]) == 1 else answer("short")

    with replaying(fault=fault) as server:
        work(folder, server)
        assert said(server.calls[1])[1:] == ["a draft", "Shorter."]
    (row,) = sealed_rows(plan, folder)
    assert (row["text"], row["reasoning"]) == ("short", None)


def test_reasoning_is_kept_apart(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, recipe(), 1)
    with replaying(fault=lambda body, seen: answer("The lamp.", reasoning="What is asked?")) as server:
        work(folder, server)
    (row,) = sealed_rows(plan, folder)
    assert (row["text"], row["reasoning"]) == ("The lamp.", "What is asked?")


def test_a_request_that_comes_to_nothing_ends_its_document(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, rollout("revised"), 1)

    def fault(body: dict[str, Any], _: int) -> web.Response:
        return answer("a draft") if len(body["messages"]) == 1 else web.Response(status=400, text="too long")

    with replaying(fault=fault) as server:
        work(folder, server)
    (row,) = sealed_rows(plan, folder)
    assert (row["status"], row["text"], row["error"]) == ("refused", "", "HTTP 400: too long")
    assert json.loads(row["earlier_turns"]) == [{"text": "a draft", "finish_reason": "stop"}]


def test_a_worker_that_dies_between_two_turns_asks_the_first_no_more(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, rollout("revised"), 5)

    def fault(body: dict[str, Any], _: int) -> web.Response | None:
        return None if len(body["messages"]) == 1 else web.Response(status=500)

    with replaying(fault=fault) as server:
        with pytest.raises(CosmoError):
            work(folder, server, attempts=1, give_up_after=1, concurrency=1)
        first = [said(call)[0] for call in server.calls if len(call["messages"]) == 1]
        assert len(first) >= 1
        server.fault = None
        server.calls.clear()
        work(folder, server)
        again = [said(call)[0] for call in server.calls if len(call["messages"]) == 1]
        assert not set(first) & set(again)
        assert len(again) == 5 - len(set(first))
    assert {row["status"] for row in sealed_rows(plan, folder)} == {"ok"}
    assert list(folder.glob("*.turns.jsonl")) == []


OWN = """
async def debate(document, generate):
    first = await generate(document.body())
    if "prompt 1" in document.prompt:
        raise ValueError("nothing to say")
    return await generate(document.body(first.text, document.options["question"]))
"""


def test_a_rollout_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "my_rollouts.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    plan, folder = job(tmp_path, rollout("my_rollouts:debate", question="What speaks against it?"), 3)
    with replaying() as server:
        work(folder, server)
        assert {said(call)[2] for call in server.calls if len(call["messages"]) == 3} == {"What speaks against it?"}
    rows = sealed_rows(plan, folder)
    assert sorted(row["status"] for row in rows) == ["ok", "ok", "refused"]
    (refused,) = [row["error"] for row in rows if row["status"] == "refused"]
    assert refused == "the rollout my_rollouts:debate failed: ValueError: nothing to say"


@pytest.mark.parametrize("name", ["twice", "no_such_module:f", "json:no_such_function", ":"])
def test_a_rollout_that_is_none_is_an_error_before_anything_is_asked(name: str, tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"generation\.rollout\.name"):
        find_rollout(name)
    _, folder = job(tmp_path, rollout(name), 1)
    with replaying() as server, pytest.raises(CosmoError):
        Worker(folder, CompletionClient([server.url], MODEL, ClientOptions()), "test")


def test_only_other_rollouts_than_single_are_part_of_the_document() -> None:
    keys = set()
    for made in (recipe(), rollout("single"), rollout("continued"), rollout("continued", turns=5)):
        generation = made.generation
        plan = GenerationPlan(
            bucket="b000",
            buckets=1,
            prompts=(),
            prompts_version="v",
            prompt_rows=1,
            model="m",
            revision="1",
            sampling={},
            rollout=generation.rollout.name,
            rollout_options=generation.rollout.options,
            samples=1,
            shard_rows=1,
        )
        keys.add(json.dumps(plan.identity(9), sort_keys=True))
    assert len(keys) == 3
