"""Labelling through a real server: who is asked, how often, and what is taken over."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from aiohttp import web

from cosmo_assets.asking import Ahead
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import labelling
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import Fault, ReplayServer, replaying
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

Clusters = dict[int, list[str]]

CLUSTERS: Clusters = {
    number: [f"{word} text {extract} of the cluster" for extract in range(6)]
    for number, word in enumerate(["Ocean", "Garden", "Coupon", "Number"])
}


class Letters:
    """An embedder for topics: two are near one another when they begin with the same letter."""

    name, revision = "letters", "1"

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        return np.eye(384, dtype=np.float32)[[ord(text[0]) % 384 for text in texts]]


def made(**fields: Any) -> Recipe:
    labels = {"central_extracts": 3, "random_extracts": 3, **fields}
    return recipe(topics={"clustering": {"clusters": 4}, "labelling": labels})


class Desk:
    """A store with clusters, and labelling at work on them."""

    def __init__(self, folder: Path, server: ReplayServer, told: Recipe | None = None) -> None:
        self.store = CorpusStore(folder)
        self.server = server
        self.recipe = told or made()

    def fit(self, clusters: Clusters) -> None:
        rows = [
            {"cluster_id": number, "centroid": [1.0] + [0.0] * 383, "extracts": extracts}
            for number, extracts in clusters.items()
        ]
        put(self.workspace, "cluster_model", {None: rows}, version=str(sorted(clusters.items())))

    def label(self) -> Manifest:
        return labelling.build(self.workspace, self._client, Letters, tiny_tokenizer())

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.store.open("topic_labels").table().to_pylist()
        return rows

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.store, self.recipe)

    def _client(self) -> CompletionClient:
        options = ClientOptions(concurrency=4, attempts=2, backoff=0.01, give_up_after=50)
        return CompletionClient([self.server.url], "replay", options)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes desks, each with a server of its own."""
    servers: list[Any] = []

    def make(told: Recipe | None = None, clusters: Clusters = CLUSTERS, **options: Any) -> Desk:
        context = replaying(**options)
        servers.append(context)
        made = Desk(tmp_path / f"store-{len(servers)}", context.__enter__(), told)
        made.fit(clusters)
        return made

    yield make
    for context in servers:
        context.__exit__(None, None, None)


def prompts(calls: Iterable[dict[str, Any]]) -> list[str]:
    return [call["messages"][0]["content"] for call in calls]


def test_two_votes_that_agree_are_enough_one_from_the_centre_one_from_elsewhere(desk: Callable[..., Desk]) -> None:
    at = desk()
    manifest = at.label()
    assert len(at.server.label_calls) == manifest.run["requests"] == 8
    assert all(call["temperature"] == 0 for call in at.server.label_calls)
    ocean = sorted(prompt for prompt in prompts(at.server.label_calls) if "Ocean" in prompt)
    assert ["Ocean text 0" in prompt for prompt in ocean] == ["Ocean text 5" not in prompt for prompt in ocean]
    for row in at.rows():
        assert (row["topic"], row["score"], row["votes"], row["agreement"]) == ("Rivers and Fields", 7, 2, 1)
        assert row["reason"] == "It is taught at school."
        assert len(row["answers"]) == 2
    assert manifest.summary["agreed"] == 4


def central(prompt: str) -> bool:
    return " text 0" in prompt and " text 5" not in prompt


def test_votes_that_differ_in_topic_are_asked_again_until_most_agree(desk: Callable[..., Desk]) -> None:
    at = desk(topic=lambda prompt: "Reefs" if central(prompt) else "Tides")
    at.label()
    for row in at.rows():
        assert (row["topic"], row["votes"], row["agreement"]) == ("Tides", 4, 0.75)
    assert sorted({call["temperature"] for call in at.server.label_calls}) == [0, 0.5]
    assert len({call["seed"] for call in at.server.label_calls}) == 16


def test_topics_of_like_meaning_are_no_difference(desk: Callable[..., Desk]) -> None:
    at = desk(topic=lambda prompt: "Tides" if central(prompt) else "Tidal Waves")
    at.label()
    assert [(row["topic"], row["votes"]) for row in at.rows()] == [("Tides", 2)] * 4


def test_scores_further_apart_than_the_tolerance_are_voted_on_again(desk: Callable[..., Desk]) -> None:
    at = desk(made(score_tolerance=2, votes=3), score=lambda prompt: 9 if central(prompt) else 4)
    at.label()
    assert [(row["score"], row["votes"], row["agreement"]) for row in at.rows()] == [(4, 3, 0.6667)] * 4


def test_all_votes_are_used_where_none_agree_and_every_answer_is_kept(desk: Callable[..., Desk]) -> None:
    at = desk(made(votes=4), topic=lambda prompt: f"{chr(65 + len(set(prompts(at.server.calls))))} topic")
    at.label()
    for row in at.rows():
        assert (row["votes"], row["agreement"], len(row["answers"])) == (4, 0.25, 4)


def test_a_cluster_of_one_extract_is_asked_once(desk: Callable[..., Desk]) -> None:
    at = desk(clusters={0: ["All there is."]})
    at.label()
    assert [row["votes"] for row in at.rows()] == [1]


def test_nothing_is_asked_twice(desk: Callable[..., Desk]) -> None:
    at = desk()
    first = at.label()
    assert at.label().version == first.version
    assert len(at.server.calls) == 8


def test_after_a_refit_only_changed_clusters_are_asked(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.label()
    refitted = {0: CLUSTERS[1], 1: CLUSTERS[0], 2: [*CLUSTERS[2][:5], "Coupon text 6 of the cluster"], 3: CLUSTERS[3]}
    at.fit(refitted)
    manifest = at.label()
    assert (manifest.run["reused_rows"], manifest.run["computed_rows"], manifest.run["requests"]) == (3, 1, 2)
    assert all("Coupon" in prompt for prompt in prompts(at.server.calls[8:]))
    rows = at.rows()
    assert [row["cluster_id"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["samples"][0] == "Garden text 0 of the cluster"
    fresh = desk(clusters=refitted)
    assert fresh.label().version == manifest.version, "what is taken over is what would be asked"
    assert fresh.rows() == rows


@pytest.mark.parametrize("change", [{"votes": 3}, {"extract_chars": 100}, {"form": "text"}])
def test_other_labelling_asks_anew(desk: Callable[..., Desk], change: dict[str, Any]) -> None:
    at = desk()
    at.label()
    at.recipe = made(**change)
    assert at.label().run["reused_rows"] == 0


def test_another_model_asks_anew_and_going_back_asks_nothing(desk: Callable[..., Desk]) -> None:
    at = desk()
    before, first = at.recipe, at.label()
    at.recipe = before.model_copy(
        update={
            "generation": before.generation.model_copy(
                update={"model": before.generation.model.model_copy(update={"revision": "2"})}
            )
        }
    )
    assert at.label().run["requests"] == 8
    at.recipe = before
    assert at.label().version == first.version
    assert len(at.server.calls) == 16


def failing(word: str) -> Fault:
    """A server error for every question that shows this word, the first time that it is asked for good."""

    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        return web.Response(status=500) if word in str(body) and seen < 2 else None

    return fault


def test_one_failed_cluster_does_not_ask_the_others_again(desk: Callable[..., Desk]) -> None:
    at = desk(made(attempts=1), fault=failing("Coupon"))
    manifest = at.label()
    assert manifest.flow.failed == {"failed": 1}
    assert [row["status"] for row in at.rows()] == ["ok", "ok", "failed", "ok"]
    asked = len(at.server.calls)
    again = at.label()
    assert again.flow.rows_out == 4
    assert (again.run["reused_rows"], again.run["requests"]) == (3, 2)
    assert all("Coupon" in prompt for prompt in prompts(at.server.calls[asked:]))


def test_a_label_with_a_failed_vote_stands_but_is_asked_again(desk: Callable[..., Desk]) -> None:
    at = desk(made(attempts=1, votes=2), fault=failing("Coupon text 5"))
    manifest = at.label()
    assert manifest.flow.rows_out == 4
    assert manifest.summary["failed_votes"] == 1
    assert at.label().run["reused_rows"] == 3
    assert at.label().summary["failed_votes"] == 0


def test_a_refused_cluster_is_final(desk: Callable[..., Desk]) -> None:
    at = desk(fault=lambda body, _: web.Response(status=400) if "Garden" in str(body) else None)
    at.label()
    assert [row["status"] for row in at.rows()] == ["ok", "refused", "ok", "ok"]
    asked = len(at.server.calls)
    at.label()
    assert len(at.server.calls) == asked


def test_an_unreadable_answer_is_asked_for_again_with_another_seed(desk: Callable[..., Desk]) -> None:
    def nonsense(body: dict[str, Any], _: int) -> web.Response | None:
        if "Number" not in str(body) or body["temperature"] > 0.6:
            return None
        message = {"role": "assistant", "content": "I like it."}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}})

    at = desk(made(votes=2), fault=nonsense)
    at.label()
    row = at.rows()[3]
    assert (row["status"], row["votes"], row["agreement"]) == ("ok", 2, 1)
    assert row["answers"].count("I like it.") == 2


def test_a_server_that_is_gone_stops_the_stage_and_leaves_no_version(desk: Callable[..., Desk]) -> None:
    at = desk(fault=lambda body, _: web.Response(status=401))
    at._client = lambda: CompletionClient([at.server.url], "replay", ClientOptions(attempts=1, give_up_after=3))  # type: ignore[method-assign]
    with pytest.raises(CosmoError, match="in a row failed"):
        at.label()
    assert at.store.current("topic_labels") is None


def test_answers_of_a_run_that_broke_off_are_not_asked_for_again(desk: Callable[..., Desk]) -> None:
    def gone(body: dict[str, Any], seen: int) -> web.Response | None:
        return web.Response(status=500) if "Number" in str(body) and not seen else None

    at = desk(fault=gone)
    patient = at._client
    at._client = lambda: CompletionClient([at.server.url], "replay", ClientOptions(1, attempts=1, give_up_after=1))  # type: ignore[method-assign]
    with pytest.raises(CosmoError):
        at.label()
    told = len(at.server.calls) - 1
    assert told == 6, "three clusters were answered when the server failed"
    at._client = patient  # type: ignore[method-assign]
    assert at.label().run["requests"] == 8 - told
    assert not list(at.store.work("topic_labels").glob("*.jsonl"))
    assert at.store.open("topic_labels").manifest.version == desk().label().version


def test_small_models_are_asked_in_plain_text(desk: Callable[..., Desk]) -> None:
    def catalogue(body: dict[str, Any], _: int) -> web.Response:
        assert "messages" not in body
        return web.json_response({"choices": [{"text": " Tides\nKind: news\n", "finish_reason": "stop"}], "usage": {}})

    at = desk(made(form="text"), fault=catalogue)
    at.label()
    assert [(row["topic"], row["score"]) for row in at.rows()] == [("Tides", 4)] * 4


def ahead_of(at: Desk) -> Ahead:
    return labelling.ahead(at.workspace, tiny_tokenizer)


def test_a_plan_counts_the_requests_that_the_stage_sends(desk: Callable[..., Desk]) -> None:
    """Four clusters, one of which has a single question: from two votes each to five, each asked for three times."""
    clusters = {**CLUSTERS, 3: ["All there is."]}
    at = desk(clusters=clusters)
    first = ahead_of(at)
    assert first == Ahead("topic_labels", "clusters", 4, 0, 3 * 2 + 1, (3 * 5 + 1) * 3, 160)
    at.label()
    assert len(at.server.calls) == first.least
    assert ahead_of(at) == Ahead("topic_labels", "clusters", 4, 4, 0, 0, 160)
    at.recipe = made(votes=3)
    assert (ahead_of(at).there, ahead_of(at).most) == (0, (3 * 3 + 1) * 3)
    at.recipe = made()
    at.fit({**clusters, 4: ["A text.", "Another one."]})
    assert ahead_of(at).there == 0, "what of another fit may serve again is not looked into"
    chatter = desk(clusters=clusters, score=lambda prompt: 99)
    most = ahead_of(chatter).most
    chatter.label()
    assert len(chatter.server.calls) == most == 48


def test_a_label_with_a_failed_vote_is_counted_again(desk: Callable[..., Desk]) -> None:
    at = desk(made(attempts=1, votes=2), fault=failing("Coupon text 5"))
    at.label()
    assert (ahead_of(at).there, ahead_of(at).least) == (3, 2)
    at.label()
    assert (ahead_of(at).there, ahead_of(at).least) == (4, 0)


def test_before_there_are_clusters_a_plan_counts_those_that_the_recipe_asks_for(tmp_path: Path) -> None:
    store = CorpusStore(tmp_path)
    found = labelling.ahead(Workspace(store, made()), tiny_tokenizer)
    assert found == Ahead("topic_labels", "clusters", 4, 0, 8, 60, 160)
    by_density = recipe(topics={"clustering": {"clusters": 4, "method": "hdbscan"}})
    found = labelling.ahead(Workspace(store, by_density), tiny_tokenizer)
    assert (found.count, found.most) == (None, 0)
