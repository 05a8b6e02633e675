"""Educational labels: which texts are asked about, how often, and what is never asked twice."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cosmo_assets.asking import Ahead
from cosmo_assets.education import labels
from cosmo_assets.education.checks import LABEL_CHECKS
from cosmo_assets.ids import seed_id
from cosmo_assets.stage import Workspace
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import ReplayServer, prose
from tests.unit.cosmo_assets.synthetic import put, recipe

LETTERS = {"sources": [{"name": "letters", "reader": "jsonl", "path": "letters.jsonl", "licence": "CC0-1.0"}]}


class Desk:
    """A store with texts, and the stage at work on them."""

    def __init__(self, folder: Path, server: ReplayServer, **fields: Any) -> None:
        self.store, self.server = CorpusStore(folder), server
        self.changed(**fields)

    def changed(self, real: dict[str, Any] | None = None, **fields: Any) -> None:
        sections = {"signals": ["educational"], "educational": {"labels": 20, "attempts": 2, **fields}}
        self.recipe = recipe(**sections, **({"real": real} if real else {}))

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.store, self.recipe)

    def texts(self, *numbers: int, asset: str = "seed_documents") -> None:
        key = "doc_id" if asset == "real_documents" else "seed_id"
        rows = [{key: seed_id(asset, str(number), "x"), "text": prose(f"{asset}/{number}", 40)} for number in numbers]
        put(self.workspace, asset, {None: rows}, version=str(numbers))

    def label(self, *, refit: bool = False) -> Manifest:
        return labels.build(self.workspace, self._client, refit=refit)

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.store.open("educational_labels").table().to_pylist()
        return found

    def _client(self) -> CompletionClient:
        return CompletionClient([self.server.url], "replay", ClientOptions(concurrency=4, attempts=1, backoff=0.01))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    servers = []

    def at(*, educational: dict[str, Any] | None = None, **options: Any) -> Desk:
        servers.append(ReplayServer(**options).start())
        return Desk(tmp_path / str(len(servers)), servers[-1], **(educational or {}))

    yield at
    for server in servers:
        server.stop()


def test_as_many_texts_as_are_wanted_are_asked_about_once_in_any_order(desk: Callable[..., Desk]) -> None:
    at, other = desk(), desk()
    at.texts(*range(50))
    other.texts(*range(49, -1, -1))
    manifest = at.label()
    other.label()
    assert at.rows() == other.rows()
    assert len(at.rows()) == len(at.server.calls) == 20
    assert manifest.flow.dropped == {"not_drawn": 30}
    assert manifest.flow.balanced
    assert {row["score"] for row in at.rows()} <= set(range(6))
    assert manifest.summary["scores"] == [sum(row["score"] == score for row in at.rows()) for score in range(6)]
    assert manifest.summary["sources"] == {"seed_documents": 20}


def test_the_model_sees_the_beginning_of_a_text_and_that_is_kept(desk: Callable[..., Desk]) -> None:
    at = desk(educational={"extract_chars": 30})
    at.texts(*range(20))
    at.label()
    shown = "".join(call["messages"][0]["content"] for call in at.server.calls)
    for number in range(20):
        text = prose(f"seed_documents/{number}", 40)
        assert f"----\n{text[:30]}\n----" in shown
        assert text[:31] not in shown
    assert {row["extract"] for row in at.rows()} == {prose(f"seed_documents/{n}", 40)[:30] for n in range(20)}


def test_seeds_and_real_text_are_drawn_alike(desk: Callable[..., Desk]) -> None:
    at = desk(educational={"labels": 40, "real": LETTERS})
    at.texts(*range(100))
    at.texts(*range(100), asset="real_documents")
    manifest = at.label()
    assert sum(manifest.summary["sources"].values()) == 40
    assert 10 <= manifest.summary["sources"]["real_documents"] <= 30
    assert [ref.asset for ref in manifest.inputs] == ["seed_documents", "real_documents"]


def test_new_seeds_are_asked_about_when_somebody_refits_and_the_others_not_again(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.texts(*range(40))
    first, before = at.label(), {row["text_id"] for row in at.rows()}
    at.texts(*range(80))
    assert at.label().version == first.version
    assert len(at.server.calls) == 20
    again = at.label(refit=True)
    after = {row["text_id"] for row in at.rows()}
    new = len(after - before)
    assert 0 < new < 20
    assert len(at.server.calls) == 20 + new
    assert again.run["reused_rows"] == 20 - new
    at.changed(labels=30)
    at.label()
    assert len(at.rows()) == 30
    ever = before | after | {row["text_id"] for row in at.rows()}
    assert len(at.server.calls) == len(ever), "those that were drawn once and then not are remembered, too"


def test_another_length_asks_anew_and_the_old_one_is_remembered(desk: Callable[..., Desk]) -> None:
    at = desk(educational={"extract_chars": 50})
    at.texts(*range(20))
    first = at.label().version
    at.changed(extract_chars=60)
    at.label()
    assert len(at.server.calls) == 40
    at.changed(extract_chars=50)
    assert at.label().version == first
    assert len(at.server.calls) == 40


def unreadable(body: dict[str, Any], seen: int) -> web.Response | None:
    """The first question about some texts is answered with chatter."""
    if "water" not in body["messages"][0]["content"] or body["temperature"] > 0:
        return None
    choice = {"index": 0, "message": {"role": "assistant", "content": "Well, five."}, "finish_reason": "stop"}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})


def test_an_answer_that_cannot_be_read_is_asked_for_again_another_way(desk: Callable[..., Desk]) -> None:
    at = desk(fault=unreadable)
    at.texts(*range(20))
    manifest = at.label()
    twice = [row for row in at.rows() if len(row["answers"]) == 2]
    assert 0 < len(twice) < 20
    assert all(row["answers"][0] == "Well, five." and "water" in row["extract"] for row in twice)
    assert len(at.server.calls) == 20 + len(twice)
    assert manifest.flow.rows_out == 20


def test_a_text_without_a_readable_answer_is_listed_and_warned_of(desk: Callable[..., Desk]) -> None:
    at = desk(value=lambda prompt: 9)
    at.texts(*range(20))
    manifest = at.label()
    assert manifest.flow.failed == {"unreadable": 20}
    assert all(row["score"] is None and len(row["answers"]) == 2 for row in at.rows())
    rejected = at.store.open("educational_labels").rejected()
    assert rejected is not None and rejected.num_rows == 20
    verdicts = {check.name: check.test(manifest, at.recipe)[0] for check in LABEL_CHECKS}
    assert verdicts == {"labelled": False, "both_kinds": False}
    calls = len(at.server.calls)
    at.label()
    assert len(at.server.calls) == calls, "it would say the same again"


def test_what_failed_is_asked_again_and_nothing_else(desk: Callable[..., Desk]) -> None:
    down = [True]

    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        broken = down[0] and "water" in body["messages"][0]["content"]
        return web.Response(status=500, text="out of order") if broken else None

    at = desk(fault=fault)
    at.texts(*range(20))
    first = at.label()
    failed = first.flow.failed["failed"]
    assert 0 < failed < 20
    down[0], calls = False, len(at.server.calls)
    second = at.label()
    assert second.flow.rows_out == 20
    assert len(at.server.calls) == calls + failed
    assert second.run["reused_rows"] == 20 - failed


def test_few_labels_of_one_kind_are_warned_of(desk: Callable[..., Desk]) -> None:
    at = desk(educational={"labels": 60})
    at.texts(*range(60))
    manifest = at.label()
    verdicts = {check.name: check.test(manifest, at.recipe)[0] for check in LABEL_CHECKS}
    assert verdicts == {"labelled": True, "both_kinds": True}
    few = manifest.model_copy(update={"summary": {**manifest.summary, "scores": [10, 31, 0, 10, 8, 1]}})
    assert not LABEL_CHECKS[1].test(few, at.recipe)[0]


def test_the_question_is_asked_in_the_protocol(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.texts(*range(20))
    at.label()
    assert len(at.server.json_calls("educational_label")) == 20
    assert json.dumps(at.server.calls[0]["response_format"]).count("teaching_value") == 2


def test_a_plan_counts_the_requests_that_the_stage_sends(desk: Callable[..., Desk]) -> None:
    """From all answers of use to none, and of what earlier versions answered nothing."""
    at = desk(educational={"max_tokens": 100})
    assert labels.ahead(at.workspace) == Ahead("educational_labels", "texts", 20, 0, 20, 40, 100)
    at.texts(*range(12))
    assert labels.ahead(at.workspace) == Ahead("educational_labels", "texts", 12, 0, 12, 24, 100)
    at.texts(*range(40))
    ahead = labels.ahead(at.workspace)
    assert ahead == Ahead("educational_labels", "texts", 20, 0, 20, 40, 100)
    assert ahead.tokens == 4000
    at.label()
    assert len(at.server.calls) == ahead.least
    at.texts(*range(80))
    assert labels.ahead(at.workspace) == Ahead("educational_labels", "texts", 20, 20, 0, 0, 100), "they are pinned"
    at.changed(labels=30, max_tokens=100)
    ahead = labels.ahead(at.workspace)
    assert 0 < ahead.there < 20
    at.label()
    assert len(at.server.calls) == 20 + ahead.least == 20 + 30 - ahead.there

    chatter = desk(value=lambda prompt: 9)
    chatter.texts(*range(20))
    most = labels.ahead(chatter.workspace).most
    chatter.label()
    assert len(chatter.server.calls) == most == 40


def test_seeds_and_real_text_are_counted_together(desk: Callable[..., Desk]) -> None:
    at = desk(educational={"labels": 40, "real": LETTERS})
    at.texts(*range(10))
    assert labels.ahead(at.workspace).count == 40, "who has not read the real text cannot know that there is less"
    at.texts(*range(15), asset="real_documents")
    assert labels.ahead(at.workspace).count == 25
