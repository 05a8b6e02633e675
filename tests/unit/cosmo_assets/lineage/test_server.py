"""The server of the lineage's page: its answers, what it refuses, and that it follows the corpus."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.lineage import index
from cosmo_assets.lineage.server import LineageServer, serve
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.lineage.planted import (
    DOCS,
    PROMPTS,
    SEEDS,
    TEXTS,
    TOPICS,
    copies_of,
    planted,
    put_inputs,
)
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return planted(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(space: Workspace) -> Iterator[LineageServer]:
    with serve(space.store, "tiny <b>", "127.0.0.1", 0) as found:
        yield found


def request(server: LineageServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request(method, path, body if isinstance(body, str | None) else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(text) if kind == "application/json" else text, answer.headers
    finally:
        connection.close()


def asked(server: LineageServer, path: str, **parameters: str) -> Any:
    status, value, _ = request(server, "POST", f"/api/{path}", parameters, **{"Content-Type": "application/json"})
    assert status == 200, value
    return value


def test_the_page_lets_nothing_else_run(server: LineageServer) -> None:
    status, page, headers = request(server, "GET", "/")
    assert (status, headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == (200, "DENY", "nosniff")
    assert "<title>tiny &lt;b&gt;: token lineage</title>" in page
    assert "default-src 'none'; connect-src 'self'" in page
    assert "unsafe" not in page.split("<style>")[0]


def test_the_overview_adds_up(server: LineageServer, space: Workspace) -> None:
    found = asked(server, "overview")
    tokens = space.store.open("tokenized_shards").manifest.summary["tokens"]
    assert found["figures"] == {"tokens": tokens, "documents": 10, "prompts": 9, "seeds": 5}
    for facet in found["facets"].values():
        assert sum(value["tokens"] for value in facet["values"]) == tokens
        assert facet["count"] == len(facet["values"])
    assert {value["value"] for value in found["facets"]["topic"]["values"]} == set(TOPICS)


def test_a_trace_says_where_the_token_stands_in_the_text(server: LineageServer, space: Workspace) -> None:
    for row in space.store.open("token_lineage").table().to_pylist():
        found = asked(server, "trace", shard=row["shard"], token=str(row["start"] + 3))
        assert found["document"]["text"] == TEXTS[row["doc_id"]]
        start, end = found["characters"]
        before = tiny_tokenizer().tokenizer.encode(TEXTS[row["doc_id"]][:end], add_special_tokens=False)
        assert start < end
        assert before.offsets[3] == (start, end)
        last = asked(server, "trace", shard=row["shard"], token=str(row["end"] - 1))
        assert last["characters"] == [len(TEXTS[row["doc_id"]])] * 2
    assert asked(server, "trace", doc=DOCS[3][:10])["span"]["doc_id"] == DOCS[3]


def test_a_question_is_an_id_or_a_text(server: LineageServer) -> None:
    found = asked(server, "ask", text=f" {SEEDS[2]['seed_id'][:9].upper()} ")
    assert found["ids"]["seed_id"] == {"names": [SEEDS[2]["seed_id"]], "count": 1}
    assert found["ids"]["doc_id"]["count"] == 0
    held = asked(server, "ask", text=TEXTS[DOCS[4]][3:])["found"]
    assert [match["doc_id"] for match in held["matches"]] == [DOCS[4]]
    assert held["says"].startswith("One document of the corpus holds these")
    outside = asked(server, "ask", text=TEXTS[DOCS[7]])["found"]
    assert outside["says"].startswith("No document of the corpus")
    assert "1 more was generated and did not get into the corpus" in outside["says"]


def test_selections_come_with_what_they_divide_into(server: LineageServer) -> None:
    found = asked(server, "tokens", source="web")
    for key, parts in found["parts"].items():
        assert sum(tokens for _, tokens in parts) == found["totals"]["tokens"], key
    assert sorted(span["copy"] for span in asked(server, "tokens", doc_id=DOCS[3])["spans"]) == [0, 1, 2]
    assert len(asked(server, "tokens", source="web", start="2")["spans"]) == len(found["spans"]) - 2
    none = asked(server, "tokens", none="topic")
    assert none["totals"]["documents"] == sum(1 for number in range(10) if number % 3 == 2 and copies_of(number))
    assert asked(server, "tokens", topic=str(TOPICS[1]))["totals"]["tokens"] > 0


def test_a_seed_and_a_prompt_come_with_their_rows(server: LineageServer) -> None:
    seed = asked(server, "seed", id=SEEDS[1]["seed_id"])
    assert seed["row"]["text"] == SEEDS[1]["text"]
    wanted = {row["prompt_id"]: (row["template"], copies_of(at)) for at, row in enumerate(PROMPTS[2:4], start=2)}
    assert {one["prompt_id"]: (one["template"], one["spans"]) for one in seed["prompts"]} == wanted
    assert (
        sum(one["tokens"] for one in seed["prompts"])
        == asked(server, "tokens", seed_id=SEEDS[1]["seed_id"])["totals"]["tokens"]
    )
    assert asked(server, "prompt", id=PROMPTS[4]["prompt_id"])["row"]["prompt"] == "prompt 4"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/trace?shard=0&token=99999999", 404, "no token 99999999"),
        ("/api/trace?shard=0", 400, "a question without 'token'"),
        ("/api/trace?shard=0&token=x", 400, "a question without"),
        ("/api/seed?id=" + "0" * 32, 404, "is not in the corpus"),
        ("/api/tokens?colour=red", 404, "nothing is selected by colour"),
        ("/api/ask?text=two+words", 404, "the text has 2 words"),
        ("/api/nothing", 404, "there is no /api/nothing"),
        ("/etc/passwd", 404, "there is no /etc/passwd"),
        ("/../../etc/passwd", 404, "there is no"),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else None,
)
def test_what_cannot_be_answered_says_why(server: LineageServer, path: str, status: int, says: str) -> None:
    found, value, _ = request(server, "GET", path)
    assert found == status
    assert says in value["error"]


def test_requests_that_were_addressed_elsewhere_are_refused(server: LineageServer) -> None:
    status, value, _ = request(server, "GET", "/api/overview", Host="evil.example")
    assert (status, value["error"]) == (403, "this is not evil.example")
    status, _, _ = request(server, "POST", "/api/overview", "{}", Host="evil.example")
    assert status == 403
    for host in (f"localhost:{server.server_port}", "127.0.0.1"):
        assert request(server, "GET", "/api/overview", Host=host)[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_bodies_that_are_no_questions_are_refused(server: LineageServer, kind: str) -> None:
    for body in ("[1]", "{", "\x00"):
        status, _, _ = request(server, "POST", "/api/ask", body, **{"Content-Type": kind})
        assert status == 400


def test_it_answers_from_the_index_that_is_current(tmp_path: Path) -> None:
    space = Workspace(CorpusStore(tmp_path), planted(tmp_path).recipe)
    with serve(space.store, "tiny", "127.0.0.1", 0) as server:
        before = asked(server, "overview")["figures"]["documents"]
        put_inputs(space, documents=range(4), version="2")
        status, value, _ = request(server, "GET", "/api/overview")
        assert status == 404
        assert "made from mixture" in value["error"]
        assert "cosmo run" in value["remedy"]
        shards.build(space, tiny_tokenizer())
        index.build(space)
        assert (before, asked(server, "overview")["figures"]["documents"]) == (10, 4)


def test_a_port_that_is_taken_is_told(space: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = pytest.raises(CosmoError, match=f"cannot listen at 127.0.0.1:{port}")
        with refused as caught, serve(space.store, "tiny", "127.0.0.1", port):
            pass
    assert "--port" in caught.value.remedy


def test_without_an_index_it_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="not built yet"), serve(CorpusStore(tmp_path), "x", "127.0.0.1", 0):
        pass
