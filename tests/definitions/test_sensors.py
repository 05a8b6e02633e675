"""The sensor of source folders: what it sees, when it waits, and that what it starts asks no model."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cosmo_assets.automation import QUIET
from cosmo_assets.build import build_defs
from cosmo_assets.recipe.recipe import load_recipe
from cosmo_assets.sensors import JOB, SENSOR, SETTLED_SECONDS
from cosmo_resources.deployments import deployment, settings
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer

UP_TO_PROMPTS = [
    "seed_documents",
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "seed_extracts",
    "prompt_table",
]


class Watched:
    """A corpus whose source is a folder of files, its sensor, and what the sensor remembers."""

    def __init__(self, folder: Path, replay: ReplayServer, instance: dg.DagsterInstance) -> None:
        self.corpus = Corpus(folder)
        source = {"name": "pages", "kind": "web", "reader": "jsonl", "path": "in/*.jsonl", "licence": "CC0-1.0"}
        self.corpus.changes = {"sources": [source]}
        self.corpus.write()
        self.replay, self.instance = replay, instance
        self.cursor: str | None = None
        self.put("a.jsonl", seeds(20))
        self.put("b.jsonl", seeds(10, start=20))

    def put(self, name: str, rows: list[dict[str, str]], *, age: float = 60.0) -> None:
        path = self.corpus.folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.utime(path, (time.time() - age,) * 2)

    def remove(self, name: str) -> None:
        (self.corpus.folder / "in" / name).unlink()

    def build(self) -> None:
        self.corpus.build(self.replay.url, UP_TO_PROMPTS)

    @property
    def definitions(self) -> dg.Definitions:
        recipe = self.corpus.recipe
        return build_defs(recipe, deployment(self.corpus.settings(self.replay.url), recipe.name))

    def evaluate(self) -> Any:
        """Evaluate the sensor as the daemon would, which keeps the cursor of what it accepts."""
        definitions = self.definitions
        resources = {name: (definitions.resources or {})[name] for name in ("store", "recipe")}
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=definitions, resources=resources
        ) as context:
            found = definitions.resolve_sensor_def(SENSOR).evaluate_tick(context)
        self.cursor = found.cursor
        return found

    def asks(self) -> bool:
        found = self.evaluate()
        assert len(found.run_requests or []) <= 1
        return bool(found.run_requests)

    def run(self) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(JOB).execute_in_process(instance=self.instance, run_config=QUIET)


@pytest.fixture
def watched(tmp_path: Path, replay: ReplayServer) -> Iterator[Watched]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(tmp_path, replay, instance)


def test_a_new_file_flows_up_to_the_prompts_and_nothing_else_is_read_or_asked(watched: Watched) -> None:
    watched.build()
    labels = len(watched.replay.calls)
    assert labels
    assert watched.asks(), "the first evaluation does not know what was built"
    assert watched.run().success
    assert watched.corpus.store.open("seed_documents").manifest.rows == 30

    watched.put("c.jsonl", seeds(3, start=900))
    assert watched.asks()
    assert watched.run().success
    store = watched.corpus.store
    run = store.open("seed_documents").manifest.run
    assert (run["files_read"], run["files_taken_over"], run["rows_read"]) == (1, 2, 3)
    assert store.open("seed_embeddings").manifest.run["computed_rows"] == 3
    assert store.open("prompt_table").manifest.flow.rows_in == 33
    assert len(watched.replay.calls) == labels, "no model was asked"
    assert not watched.asks()


def test_changed_and_removed_files_and_ones_that_come_back_are_seen(watched: Watched) -> None:
    watched.build()
    keys = {watched.evaluate().run_requests[0].run_key}
    assert not watched.asks()
    watched.put("a.jsonl", seeds(21), age=50)
    keys.add(watched.evaluate().run_requests[0].run_key)
    assert not watched.asks()
    watched.remove("b.jsonl")
    keys.add(watched.evaluate().run_requests[0].run_key)
    os.utime(watched.corpus.folder / "in" / "a.jsonl", (time.time() - 40,) * 2)
    keys.add(watched.evaluate().run_requests[0].run_key)
    assert not watched.asks()
    assert len(keys) == 4, "Dagster asks for a run key once only"


def test_a_state_that_comes_back_asks_again(watched: Watched) -> None:
    watched.build()
    path = watched.corpus.folder / "in" / "c.jsonl"
    keys = []
    for _ in range(2):
        keys.append(watched.evaluate().run_requests[0].run_key)
        watched.put("c.jsonl", seeds(1, start=50))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        keys.append(watched.evaluate().run_requests[0].run_key)
        path.unlink()
    assert len(set(keys)) == 4


@pytest.mark.parametrize("age", [0.0, SETTLED_SECONDS / 2, -SETTLED_SECONDS / 2])
def test_a_file_that_is_still_being_written_is_waited_for(watched: Watched, age: float) -> None:
    watched.build()
    assert watched.asks()
    watched.put("c.jsonl", seeds(2, start=50), age=age)
    found = watched.evaluate()
    assert not found.run_requests
    assert "c.jsonl" in found.skip_message
    watched.put("c.jsonl", seeds(2, start=50), age=SETTLED_SECONDS + 1)
    assert watched.asks()


def test_a_file_of_the_future_is_not_waited_for_for_ever(watched: Watched) -> None:
    watched.build()
    watched.put("c.jsonl", seeds(2, start=50), age=-10_000)
    assert watched.asks()


def test_nothing_is_asked_before_the_corpus_was_built_once(watched: Watched) -> None:
    found = watched.evaluate()
    assert not found.run_requests
    assert "cluster_model, topic_labels not built yet" in found.skip_message
    watched.build()
    assert watched.asks()


def test_an_emptied_folder_is_a_reason_not_an_error(watched: Watched) -> None:
    watched.build()
    assert watched.asks()
    watched.remove("a.jsonl")
    watched.remove("b.jsonl")
    found = watched.evaluate()
    assert not found.run_requests
    assert "no file matches" in found.skip_message


def test_one_run_at_a_time(watched: Watched) -> None:
    watched.build()
    job = watched.definitions.resolve_job_def(JOB)
    run = watched.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert "under way" in watched.evaluate().skip_message
    watched.instance.report_run_failed(run)
    assert watched.asks()


@pytest.mark.parametrize("recipe", ["demo", "real-sample"])
def test_the_sensor_is_stopped_and_its_job_holds_nothing_that_asks_a_model(recipe: str) -> None:
    definitions = build_defs(load_recipe(recipe), deployment(settings({}), recipe))
    assert definitions.resolve_sensor_def(SENSOR).default_status is dg.DefaultSensorStatus.STOPPED
    graph = definitions.resolve_asset_graph()
    names = {key.to_user_string() for key in definitions.resolve_job_def(JOB).asset_layer.selected_asset_keys}
    assert {"seed_documents", "seed_embeddings", "seed_clusters", "seed_topics", "prompt_table"} <= names
    assert not names & {"cluster_model", "topic_labels", "topic_map", "topic_tree", "generations"}
    assert not [name for name in names if graph.get(dg.AssetKey(name)).pools]
