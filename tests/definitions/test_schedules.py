"""Schedules and automation: off by default, within their bounds, nothing twice, never a GPU by itself."""

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from cosmo_assets.automation import QUIET
from cosmo_assets.build import ON_REQUEST, assets_of, build_defs, name_of
from cosmo_assets.operations.automation import EXPECTED_TAG, FOLLOWING, NEXT_BUCKET, NIGHT_TAG
from cosmo_assets.recipe.proof import Proof
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_assets.recipe.selection import Selection, SignalBound
from cosmo_resources.deployments import deployment, settings
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer

EVENING = datetime(2031, 3, 10, 20, 0, tzinfo=UTC)
"""In the future: a tick of a night that has ended begins nothing."""
BUCKETS = 5
SELECTING = load_recipe("demo").model_copy(
    update={
        "signals": ("statistics",),
        "selection": Selection(bounds=(SignalBound(signal="statistics.words", low=1),)),
    }
)


class Installation:
    """A corpus with prompts, a deployment file with a `nightly` section, and an instance."""

    def __init__(self, folder: Path, replay: ReplayServer, instance: dg.DagsterInstance, **nightly: Any) -> None:
        self.corpus = Corpus(folder / "corpus", buckets=BUCKETS).write(seeds(20))
        self.site = folder / "site.yaml"
        self.replay, self.instance = replay, instance
        self.allow(**nightly)

    def allow(self, **nightly: Any) -> None:
        fields = {"server": {"engine": "embedded", "model": "smollm2-135m-instruct"}, "nightly": nightly}
        self.site.write_text(yaml.safe_dump(fields), encoding="utf-8")

    @property
    def definitions(self) -> dg.Definitions:
        recipe = self.corpus.recipe
        chosen = self.corpus.settings(self.replay.url, deployment=str(self.site))
        return build_defs(recipe, deployment(chosen, recipe.name))

    def tick(self, at: datetime = EVENING, schedule: str = "nightly") -> Any:
        definitions = self.definitions
        resources = {name: (definitions.resources or {})[name] for name in ("store", "recipe")}
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            repository_def=definitions.get_repository_def(),
            resources=resources,
        ) as context:
            return definitions.resolve_schedule_def(schedule).evaluate_tick(context)

    def asked(self, at: datetime = EVENING) -> list[str]:
        """The buckets that a tick asks for; their runs are then in the queue, as the daemon would put them there."""
        requests = self.tick(at).run_requests or []
        for request in requests:
            run = dg.DagsterRun(
                job_name=NEXT_BUCKET,
                run_id=str(uuid.uuid4()),
                status=dg.DagsterRunStatus.NOT_STARTED,
                tags={**request.tags, "dagster/partition": request.partition_key},
            )
            self.runs[request.partition_key] = self.instance.add_run(run)
        return [request.partition_key for request in requests]

    @property
    def runs(self) -> dict[str, dg.DagsterRun]:
        return self.__dict__.setdefault("_runs", {})

    def end(self, bucket: str, *, well: bool = True) -> None:
        """Do a queued run's work as the daemon's process would, or let it fail."""
        run = self.runs[bucket]
        if not well:
            self.instance.report_run_failed(run)
            return
        self.instance.delete_run(run.run_id)
        found = self.definitions.resolve_job_def(NEXT_BUCKET).execute_in_process(
            instance=self.instance, run_config=QUIET, partition_key=bucket, run_id=run.run_id, tags=run.tags
        )
        assert found.success


@pytest.fixture
def site(tmp_path: Path, replay: ReplayServer) -> Iterator[Installation]:
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        found = Installation(tmp_path, replay, instance, buckets=4, at_once=2, gpu_hours=1)
        found.corpus.changes = {"budget": {"tokens_per_second": 1e9}}
        found.corpus.write()
        yield found


def test_every_schedule_is_off_until_somebody_switches_it_on() -> None:
    definitions = build_defs(load_recipe("demo"), deployment(settings({}), "demo"))
    found = {schedule.name: schedule.default_status for schedule in definitions.schedules or []}
    assert set(found) == {"nightly", "weekly_seeds", "daily_checks", "daily_smoke", "weekly_pruning"}
    assert set(found.values()) == {dg.DefaultScheduleStatus.STOPPED}
    on = {sensor.name for sensor in definitions.sensors or [] if sensor.default_status.value == "RUNNING"}
    assert on == {"dead_runs"}, "it starts nothing"


def test_nights_generate_every_bucket_once(site: Installation) -> None:
    """Ticks every four hours, by a clock of the test; runs do real work against the replay server."""
    assert "no other bucket needs work" in site.tick().skip_message, "there are no prompts yet"
    site.corpus.build(site.replay.url, automation_up_to_prompts())
    site.replay.calls.clear()
    began: list[tuple[datetime, str]] = []
    clock = EVENING
    while clock < EVENING + timedelta(days=2):
        began += [(clock, bucket) for bucket in site.asked(clock)]
        for bucket in [bucket for bucket, run in site.runs.items() if is_queued(site, run)]:
            site.end(bucket)
        clock += timedelta(hours=4)
    assert sorted(bucket for _, bucket in began) == [f"b{index:03d}" for index in range(BUCKETS)]
    first = [bucket for at, bucket in began if at < EVENING + timedelta(hours=12)]
    assert len(first) == 4, "a night has four buckets"
    assert len({at for at, _ in began[:4]}) == 2, "two at a time"
    assert len(site.replay.generation_calls) == 20, "nothing was generated twice"
    assert len(site.corpus.rows()) == 20


def is_queued(site: Installation, run: dg.DagsterRun) -> bool:
    found = site.instance.get_run_by_id(run.run_id)
    return found is not None and found.status == dg.DagsterRunStatus.NOT_STARTED


def automation_up_to_prompts() -> list[str]:
    from cosmo_assets.build import UP_TO_PROMPTS

    return list(UP_TO_PROMPTS)


def test_the_bounds_of_a_night(site: Installation) -> None:
    site.corpus.build(site.replay.url, automation_up_to_prompts())
    assert "outside the window" in site.tick(EVENING.replace(hour=12)).skip_message
    assert "has ended" in site.tick(EVENING.replace(year=2021)).skip_message
    assert site.asked() == ["b000", "b001"]
    assert "at work" in site.tick().skip_message
    site.end("b000")
    site.end("b001", well=False)
    assert site.asked() == ["b002", "b003"], "what failed tonight waits for the next night"
    site.end("b002")
    site.end("b003")
    assert "has had its buckets" in site.tick().skip_message
    tomorrow = EVENING + timedelta(days=1)
    assert site.asked(tomorrow) == ["b001", "b004"]


def test_a_bucket_that_somebody_else_is_at_work_on_is_left_out(site: Installation) -> None:
    site.corpus.build(site.replay.url, automation_up_to_prompts())
    job = site.definitions.resolve_job_def("pilot")
    site.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "b000"})
    assert site.asked() == ["b001", "b002"]


def test_the_budget_counts_what_was_spent_and_what_is_expected(site: Installation) -> None:
    site.corpus.build(site.replay.url, automation_up_to_prompts())
    site.corpus.changes = {"budget": {"tokens_per_second": 200 / 3600}}  # an hour a document, before any is measured
    site.corpus.write()
    sizes = [0] * BUCKETS
    for entry in site.corpus.store.open("prompt_table").manifest.files:
        if entry.role == "rows":
            sizes[int(str(entry.bucket)[1:])] += entry.rows
    site.allow(buckets=4, at_once=4, gpu_hours=sizes[0] + sizes[1] + 0.5)
    requests = site.tick().run_requests
    assert [request.partition_key for request in requests] == ["b000", "b001"]
    assert [float(request.tags[EXPECTED_TAG]) for request in requests] == sizes[:2]
    assert {request.tags[NIGHT_TAG] for request in requests} == {"2031-03-10"}
    assert len({request.run_key for request in requests}) == 2
    site.asked()
    site.end("b000", well=False)
    assert "0.50 are left of the budget" in site.tick().skip_message, "a failed run has cost what was expected of it"


def test_the_weekly_seeds_wait_for_a_corpus(site: Installation) -> None:
    assert "cluster_model, topic_labels not built yet" in site.tick(schedule="weekly_seeds").skip_message
    site.corpus.build(site.replay.url, automation_up_to_prompts())
    (request,) = site.tick(schedule="weekly_seeds").run_requests
    assert request.run_key == "2031-03-10"


def test_the_job_build_asks_for_a_backfill_of_everything_but_what_is_on_request(site: Installation) -> None:
    definitions = site.definitions
    found = definitions.resolve_job_def("build").execute_in_process(instance=site.instance, run_config=QUIET)
    assert found.success
    (backfill,) = site.instance.get_backfills()
    assert backfill.status == BulkActionStatus.REQUESTED
    wanted = {name_of(asset) for asset in assets_of(site.corpus.recipe)} - set(ON_REQUEST)
    assert {key.to_user_string() for key in backfill.asset_selection or []} == wanted


def test_what_may_take_a_gpu_does_not_follow_by_itself() -> None:
    assert "text_perplexity" in FOLLOWING
    assert not {"generations", "text_neural"} & set(FOLLOWING)


def test_only_cheap_assets_follow_by_themselves() -> None:
    for recipe in (load_recipe("demo"), load_recipe("cosmopedia-v2"), SELECTING):
        graph = build_defs(recipe, deployment(settings({}), recipe.name)).resolve_asset_graph()
        following = {key for key in graph.get_all_asset_keys() if graph.get(key).automation_condition is not None}
        there = {key.to_user_string() for key in graph.get_all_asset_keys()}
        assert {key.to_user_string() for key in following} == set(FOLLOWING) & there
        for key in following:
            assert not graph.get(key).pools, "it asks a model"


class Reports:
    """Reports materializations with data versions, and evaluates the automation after them."""

    def __init__(self, buckets: int, recipe: Recipe | None = None) -> None:
        recipe = (recipe or load_recipe("demo")).model_copy(update={"buckets": buckets})
        self.definitions = build_defs(recipe, deployment(settings({}), "demo"))
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None
        self.versions: dict[tuple[str, str | None], str] = {}

    def report(self, asset: str, bucket: str | None = None, version: str = "1") -> None:
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=bucket, tags=tags))

    def everything(self, buckets: int, *, but: Sequence[str] = ()) -> None:
        graph = self.definitions.resolve_asset_graph()
        for key in graph.materializable_asset_keys - {dg.AssetKey(name) for name in but}:
            partitioned = graph.get(key).partitions_def is not None
            for index in range(buckets) if partitioned else (None,):
                self.report(key.to_user_string(), None if index is None else f"b{index:03d}")

    def evaluate(self) -> set[tuple[str, str | None]]:
        found = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        return {
            (subset.key.to_user_string(), key.partition_key)
            for subset in (result.true_subset for result in found.results)
            for key in subset.expensively_compute_asset_partitions()
        }


def test_a_changed_data_version_is_followed_once_and_an_unchanged_one_never() -> None:
    reports = Reports(4)
    reports.everything(4)
    assert reports.evaluate() == set(), "what is there is the beginning"
    assert reports.evaluate() == set()
    reports.report("generations", "b001", "1")
    assert reports.evaluate() == set(), "materialized again with the same data version"
    reports.report("generations", "b001", "2")
    bucket = {(asset, "b001") for asset in ("generation_quality", "decontaminated", "text_signatures")}
    assert reports.evaluate() == bucket
    assert reports.evaluate() == set(), "asked for twice"
    for asset, name in sorted(bucket):
        reports.report(asset, name, "2")
    assert not reports.evaluate() - {("text_signatures", "b001")}
    for asset, follower in (("deduplicated", "mixture"), ("token_lineage", "corpus_report")):
        reports.report(asset, "b001" if asset == "deduplicated" else None, "2")
        assert (follower, None) in reports.evaluate()
        assert reports.evaluate() == set()
    reports.report("benchmark_index", None, "2")
    assert reports.evaluate() == set(), "it would redo every bucket: somebody decides that"


def test_a_selection_stands_between_deduplication_and_mixture() -> None:
    """The mixture of an outdated selection would be refused."""
    reports = Reports(2, SELECTING)
    reports.everything(2)
    assert reports.evaluate() == set()
    reports.report("decontaminated", "b001", "2")
    assert reports.evaluate() == {("text_statistics", "b001"), ("text_signatures", "b001")}
    reports.report("deduplicated", "b001", "2")
    assert reports.evaluate() == {("selection", None)}
    reports.report("selection", None, "2")
    assert reports.evaluate() == {("mixture", None)}


def test_the_report_follows_a_proof_and_does_not_wait_for_one() -> None:
    """Nobody has built the proof: the report follows the token index all the same."""
    proven = load_recipe("demo").model_copy(update={"proof": Proof(items="items.jsonl")})
    reports = Reports(1, proven)
    reports.everything(1, but=("proxy_runs", "proxy_evaluation"))
    assert reports.evaluate() == set()
    reports.report("token_lineage", None, "2")
    assert reports.evaluate() == {("corpus_report", None)}
    reports.report("corpus_report", None, "2")
    reports.report("proxy_runs", None, "1")
    assert reports.evaluate() == set()
    reports.report("proxy_evaluation", None, "1")
    assert reports.evaluate() == {("corpus_report", None)}


def test_an_evaluation_of_256_buckets_is_fast() -> None:
    reports = Reports(256)
    reports.everything(256)
    reports.evaluate()
    for index in range(0, 256, 8):
        reports.report("generations", f"b{index:03d}", "2")
    began = time.process_time()
    asked = reports.evaluate()
    assert len([pair for pair in asked if pair[0] == "generation_quality"]) == 32
    assert time.process_time() - began < 10
    began = time.process_time()
    assert reports.evaluate() == set()
    assert time.process_time() - began < 5
