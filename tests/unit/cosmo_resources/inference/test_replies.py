"""What servers reply, in the words of each of them."""

from typing import Any

import pytest
from aiohttp import web

from cosmo_resources.inference.replies import Choice, read_reply, retry_after
from tests.doubles.replay_server import replaying
from tests.unit.cosmo_resources.inference.asking import ask, first_times, request
from tests.unit.cosmo_resources.inference.broken_answers import reply


def choice(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "Rain.", "reasoning_content": "Clouds?"}, "Rain.", "Clouds?"),
        ({"content": "Rain.", "reasoning": "Clouds?"}, "Rain.", "Clouds?"),
        ({"content": "Rain.", "reasoning_content": None, "reasoning": "Clouds?"}, "Rain.", "Clouds?"),
        ({"content": None, "reasoning_content": "Clouds?"}, "", "Clouds?"),
        ({"content": "<think>\nClouds?\n</think>\n\nRain."}, "Rain.", "Clouds?"),
        ({"content": "\n<think></think>Rain."}, "Rain.", ""),
        ({"content": "<think>Clouds, or", "reasoning_content": None}, "", "Clouds, or"),
        ({"content": "Say <think>so</think>."}, "Say <think>so</think>.", None),
        ({"content": "<think>a</think>b</think>"}, "b</think>", "a"),
        ({"content": "<think>a</think>b", "reasoning_content": "Clouds?"}, "<think>a</think>b", "Clouds?"),
        ({"content": " Rain.\n"}, " Rain.\n", None),
        ({"content": "Rain.", "reasoning_content": ""}, "Rain.", None),
    ],
    ids=[
        *("vllm", "newer vllm", "null first", "no content", "block", "empty block", "cut off", "in the middle"),
        *("first end counts", "told already", "none", "empty"),
    ],
)
def test_thoughts_are_told_from_the_text(message: dict[str, Any], text: str, reasoning: str | None) -> None:
    (found,) = read_reply(choice(**message)).choices
    assert found == Choice(text, "stop", reasoning)


def test_a_plain_completion_is_text_as_it_is() -> None:
    (found,) = read_reply({"choices": [{"text": "<think>a</think>b", "finish_reason": "length"}]}).choices
    assert found == Choice("<think>a</think>b", "length", None)


def test_several_choices_are_one_text_and_others() -> None:
    body = reply("one")
    body["choices"] += [{**reply("<think>t</think>two")["choices"][0], "finish_reason": "length"}]
    with replaying(fault=lambda _, seen: web.json_response(body)) as server:
        (answer,) = ask([request("k", n=2)], server)
    assert (answer.text, answer.others) == ("one", (Choice("two", "length", "t"),))


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_what_the_server_broke_off_is_asked_again(reason: str) -> None:
    broken = first_times(1, lambda: web.json_response(choice(reason, content="Half of")))
    with replaying(fault=broken) as server:
        (answer,) = ask([request("k")], server)
    assert (answer.status, answer.attempts, answer.finish_reason) == ("ok", 2, "stop")


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_tokens_that_are_not_counted_are_none(usage: Any) -> None:
    found = read_reply({**choice(content="Rain."), "usage": usage})
    assert (found.prompt_tokens, found.completion_tokens) == (0, 0)


NOON = "Wed, 21 Oct 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "86400"}, 60.0),
        ({"Retry-After": "inf"}, 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 12:00:09 GMT", "Date": NOON}, 9.0),
        ({"Retry-After": "Wed, 21 Oct 2026 14:00:00 +0200", "Date": "Wed, 21 Oct 2026 11:59:50 GMT"}, 10.0),
        ({"Retry-After": "Wed, 21 Oct 2099 12:00:00 GMT"}, 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 11:59:00 GMT", "Date": NOON}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 12:00:00 GMT"}, None),
        ({"Retry-After": "soon", "Date": NOON}, None),
        ({"Retry-After": "Wed, 99 Oct 2026 12:00:00 GMT", "Date": NOON}, None),
        ({"Retry-After": NOON, "Date": "yesterday"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
    ids=lambda value: str(value) if not isinstance(value, dict) else value.get("Retry-After", "none"),
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
