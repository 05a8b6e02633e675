"""The log of answers: what a killed build had been told is not asked again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from cosmo_resources.inference.answers import AnswerLog
from cosmo_resources.inference.client import ClientOptions, CompletionClient, Request
from cosmo_resources.inference.replies import Choice
from tests.doubles.replay_server import ReplayServer, replaying


def asked(count: int, *, words: str = "Name a river") -> list[Request]:
    return [
        Request(f"k{number}", {"messages": [{"role": "user", "content": f"{words} {number}."}], "max_tokens": 9})
        for number in range(count)
    ]


def log(path: Path, server: ReplayServer, model: str = "replay") -> AnswerLog:
    options = ClientOptions(concurrency=2, attempts=1, backoff=0.01)
    return AnswerLog(path, model, lambda: CompletionClient([server.url], model, options))


def texts(log: AnswerLog, requests: list[Request]) -> dict[str, str]:
    return {answer.key: answer.text for answer in log.answers(requests)}


def test_what_was_answered_before_the_end_is_not_asked_again(tmp_path: Path, replay: ReplayServer) -> None:
    path = tmp_path / "work" / "answers.jsonl"
    stream: Iterator[object] = log(path, replay).answers(asked(8))
    for _ in range(3):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    before = len(replay.calls)
    found = texts(log(path, replay), asked(8))
    assert len(found) == 8
    assert len(replay.calls) - before == 5
    assert texts(log(tmp_path / "none", replay), asked(8)) == found


def test_an_answer_belongs_to_what_was_sent_not_to_its_key(tmp_path: Path, replay: ReplayServer) -> None:
    path = tmp_path / "answers.jsonl"
    first = texts(log(path, replay), asked(2))
    swapped = [Request("k1", asked(2)[0].body), Request("k0", asked(2)[1].body)]
    assert texts(log(path, replay), swapped) == {"k1": first["k0"], "k0": first["k1"]}
    assert len(replay.calls) == 2
    texts(log(path, replay, "another"), asked(1))
    texts(log(path, replay), asked(1, words="Name a lake"))
    assert len(replay.calls) == 4


def test_refusals_are_kept_failures_are_not(tmp_path: Path) -> None:
    def fault(body: dict[str, object], _: int) -> web.Response | None:
        number = str(body["messages"])[-5]
        return web.Response(status={"0": 400, "1": 500}[number]) if number in "01" else None

    path = tmp_path / "answers.jsonl"
    with replaying(fault=fault) as server:
        statuses = {answer.key: answer.status for answer in log(path, server).answers(asked(3))}
        assert statuses == {"k0": "refused", "k1": "failed", "k2": "ok"}
        again = {answer.key: answer.status for answer in log(path, server).answers(asked(3))}
        assert again == statuses
        assert len(server.calls) == 4


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_was_cut_off_is_asked_again_and_spoils_nothing(
    tmp_path: Path, replay: ReplayServer, cut: int
) -> None:
    path = tmp_path / "answers.jsonl"
    found = texts(log(path, replay), asked(3))
    path.write_bytes(path.read_bytes()[:-cut])
    assert texts(log(path, replay), asked(3)) == found
    assert len(replay.calls) == 4
    assert texts(log(path, replay), asked(3)) == found
    assert len(replay.calls) == 4


def test_an_answer_comes_back_from_the_log_as_it_was(tmp_path: Path) -> None:
    first, second = (
        {"message": {"content": text, "reasoning_content": thought}, "finish_reason": "stop"}
        for text, thought in (("One.", "Hm."), ("Two.", None))
    )

    def fault(body: dict[str, object], _: int) -> web.Response:
        return web.json_response({"choices": [first, second]})

    path = tmp_path / "answers.jsonl"
    with replaying(fault=fault) as server:
        (told,) = log(path, server).answers(asked(1))
        (known,) = log(path, server).answers(asked(1))
        assert len(server.calls) == 1
        assert known == told
        assert (known.endpoint, known.reasoning, known.others) == (server.url, "Hm.", (Choice("Two.", "stop"),))


def test_a_log_from_before_answers_named_their_endpoint_is_read(tmp_path: Path, replay: ReplayServer) -> None:
    path = tmp_path / "answers.jsonl"
    (told,) = log(path, replay).answers(asked(1))
    line = json.loads(path.read_text(encoding="utf-8"))
    for field in ("reasoning", "endpoint", "engine", "others"):
        del line[field]
    path.write_text(json.dumps(line), encoding="utf-8")
    (known,) = log(path, replay).answers(asked(1))
    assert len(replay.calls) == 1
    assert (known.text, known.endpoint, known.others) == (told.text, "", ())


def test_after_the_end_everything_is_forgotten(tmp_path: Path, replay: ReplayServer) -> None:
    answers = log(tmp_path / "answers.jsonl", replay)
    texts(answers, asked(2))
    answers.clear()
    texts(answers, asked(2))
    assert len(replay.calls) == answers.sent == 4
