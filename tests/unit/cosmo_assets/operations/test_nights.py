"""Nights: the window, the choice of buckets, and what a bucket is expected to cost."""

import json
import shutil
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pydantic
import pytest
import yaml
from dagster._utils.schedules import cron_string_iterator

from cosmo_assets.build import UP_TO_PROMPTS
from cosmo_assets.operations.nights import Left, Need, Pace, choose, needs, night_of, pace
from cosmo_resources.deployment_file import NightlySection
from cosmo_resources.storage.manifest import identity_of
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import ReplayServer, replaying

ENOUGH = Left(slots=9, buckets=9, gpu_hours=100.0, seconds=36_000.0)
CHEAP = Pace(gpu_hours=0.01, seconds=1.0)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "night"),
    [
        ("20:00-06:00", "2026-03-10T19:59", None),
        ("20:00-06:00", "2026-03-10T20:00", "2026-03-10"),
        ("20:00-06:00", "2026-03-11T05:59", "2026-03-10"),
        ("20:00-06:00", "2026-03-11T06:00", None),
        ("01:30-02:15", "2026-03-11T02:00", "2026-03-11"),
        ("01:30-02:15", "2026-03-11T02:15", None),
        ("00:00-00:00", "2026-03-11T23:59", "2026-03-11"),
        ("12:00-12:00", "2026-03-11T11:59", "2026-03-10"),
    ],
)
def test_a_window_is_open_from_its_beginning_to_before_its_end(window: str, now: str, night: str | None) -> None:
    found = night_of(NightlySection(window=window), at(now))
    assert (found and found.name) == night


def test_a_window_is_of_its_own_timezone() -> None:
    section = NightlySection(window="20:00-06:00", timezone="Europe/Berlin")
    assert night_of(section, at("2026-07-01T17:59")) is None
    found = night_of(section, at("2026-07-01T18:00"))
    assert found is not None
    assert (found.end - at("2026-07-01T18:00")).total_seconds() == 10 * 3600


@pytest.mark.parametrize(
    "window", ["20:00-06:00", "20:30-06:15", "01:30-02:15", "00:00-00:00", "20:30-20:10", "22:00-22:30", "23:00-01:00"]
)
def test_the_schedule_ticks_in_the_hours_of_its_window_and_in_no_other(window: str) -> None:
    section = NightlySection(window=window, every_minutes=5)
    ticks = cron_string_iterator(at("2026-03-10T00:00").timestamp(), section.cron, "UTC")
    found = list(islice(ticks, 2000))
    inside = [tick for tick in found if night_of(section, tick) is not None]
    outside_hours = {tick.hour for tick in found} - {tick.hour for tick in inside}
    assert not outside_hours
    opens = at(f"2026-03-12T{window[:5]}")
    assert any(abs((tick - opens).total_seconds()) < 300 for tick in inside)


@pytest.mark.parametrize(
    "fields", [{"window": "20-6"}, {"window": "25:00-06:00"}, {"timezone": "Nowhere/Land"}], ids=str
)
def test_a_window_that_cannot_be_read_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(pydantic.ValidationError):
        NightlySection(**fields)


def chosen(documents: list[int], pace: Pace, left: Left) -> tuple[list[str], str]:
    found = choose(iter([Need(f"b{index:03d}", size) for index, size in enumerate(documents)]), pace, left)
    return [bucket for bucket, _ in found.buckets], found.reason


@pytest.mark.parametrize(
    ("left", "buckets", "reason"),
    [
        (ENOUGH, ["b000", "b001", "b002"], "no other bucket needs work"),
        (Left(2, 9, 100.0, 36_000.0), ["b000", "b001"], "more buckets wait"),
        (Left(9, 1, 100.0, 36_000.0), ["b000"], "more buckets wait"),
        (Left(9, 0, 100.0, 36_000.0), [], "has had its buckets"),
        (Left(0, 9, 100.0, 36_000.0), [], "at work"),
        (Left(9, 9, 2.5, 36_000.0), ["b000", "b001"], "b002 needs 1.00 GPU hours, 0.50 are left"),
        (Left(9, 9, -1.0, 36_000.0), [], "0.00 are left"),
        (Left(9, 9, 100.0, 99.0), [], "before the night ends"),
    ],
    ids=["all", "slots", "buckets", "none more", "busy", "budget", "overspent", "too late"],
)
def test_a_night_takes_what_fits(left: Left, buckets: list[str], reason: str) -> None:
    found, why = chosen([100, 100, 100], CHEAP, left)
    assert found == buckets
    assert reason in why


def test_a_dear_bucket_is_not_put_off_for_cheap_ones_but_a_long_one_is() -> None:
    assert chosen([100, 10], CHEAP, Left(9, 9, 0.5, 36_000.0))[0] == []
    assert chosen([100, 10], CHEAP, Left(9, 9, 100.0, 50.0))[0] == ["b001"]


def test_without_any_idea_of_the_cost_nothing_is_begun() -> None:
    found, why = chosen([1], Pace(None, None), ENOUGH)
    assert found == []
    assert "generate a pilot" in why


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = Corpus(tmp_path_factory.mktemp("nights"), buckets=3, templates=ONE_TEMPLATE).write(seeds(24))
    with replaying() as server:
        corpus.build(server.url)
    return corpus


@pytest.fixture
def corpus(built: Corpus, tmp_path: Path) -> Corpus:
    """A copy that a test may spoil."""
    shutil.copytree(built.folder, tmp_path / "corpus")
    return Corpus(tmp_path / "corpus", buckets=3, templates=ONE_TEMPLATE)


def sizes(corpus: Corpus) -> dict[str, int]:
    return {bucket: corpus.store.open("generations", bucket).manifest.rows for bucket in ("b000", "b001", "b002")}


def test_a_corpus_that_is_up_to_date_needs_nothing(corpus: Corpus) -> None:
    assert list(needs(corpus.recipe, corpus.store)) == []


def test_missing_buckets_come_first_then_stale_ones(corpus: Corpus) -> None:
    whole = sizes(corpus)
    shutil.rmtree(corpus.store.place("generations", "b001"))
    assert list(needs(corpus.recipe, corpus.store)) == [Need("b001", whole["b001"])]
    fields = yaml.safe_load(corpus.recipe_path.read_text(encoding="utf-8"))
    fields["generation"]["model"]["revision"] = "2"
    corpus.recipe_path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    assert list(needs(corpus.recipe, corpus.store)) == [
        Need(bucket, whole[bucket]) for bucket in ("b001", "b000", "b002")
    ]


def test_a_bucket_with_one_changed_prompt_needs_one_document(corpus: Corpus, replay: ReplayServer) -> None:
    documents = seeds(24)
    documents[7] = {**documents[7], "text": documents[7]["text"] + " One more sentence was added to this page."}
    corpus.write(documents)
    corpus.build(replay.url, UP_TO_PROMPTS)
    found = list(needs(corpus.recipe, corpus.store))
    assert sum(need.documents for need in found) == 1
    assert len(found) <= 2, "it left one bucket and came to another, perhaps"


def test_a_bucket_with_documents_that_failed_comes_last(corpus: Corpus) -> None:
    manifest = corpus.store.open("generations", "b000").manifest
    flow = manifest.flow.model_copy(update={"rows_out": manifest.flow.rows_out - 1, "failed": {"failed": 1}})
    fields = manifest.model_copy(update={"flow": flow}).model_dump(mode="json")
    fields["version"] = identity_of(fields)
    old = corpus.store.place("generations", "b000")
    (old / manifest.version).rename(old / fields["version"])
    (old / fields["version"] / "_manifest.json").write_text(json.dumps(fields), encoding="utf-8")
    (old / "CURRENT").write_text(fields["version"] + "\n", encoding="utf-8")
    shutil.rmtree(corpus.store.place("generations", "b001"))
    assert [need.bucket for need in needs(corpus.recipe, corpus.store)] == ["b001", "b000"]


def test_the_pace_is_that_of_finished_buckets_and_before_them_the_plan_s(corpus: Corpus) -> None:
    runs = [corpus.store.open("generations", bucket).manifest.run for bucket in sizes(corpus)]
    rows = sum(run["computed_rows"] for run in runs)
    found = pace(corpus.recipe, corpus.store)
    assert rows == 24
    assert found.seconds == pytest.approx(sum(run["generation_seconds"] for run in runs) / rows)
    assert found.gpu_hours == 0.0
    shutil.rmtree(corpus.store.root / "generations")
    assert pace(corpus.recipe, corpus.store) == Pace(None, None)
    budget = corpus.recipe.budget.model_copy(update={"tokens_per_second": 100.0})
    planned = pace(corpus.recipe.model_copy(update={"budget": budget}), corpus.store)
    assert planned == Pace(200 / 100 / 3600, None), "no answer has more than 200 tokens"
