"""Backfills and nights through Dagster's own daemon, webserver and GraphQL, with everything killed in the middle."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosmo_assets.build import UP_TO_PROMPTS
from tests.corpora import Corpus, contents, seeds
from tests.doubles.replay_server import ReplayServer, replaying
from tests.e2e.services import Services, services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

BUCKETS = 4
NAMES = [f"b{index:03d}" for index in range(BUCKETS)]
SEEDS = 24
IN_FLIGHT = 2


@contextmanager
def installation(folder: Path, **nightly: Any) -> Iterator[tuple[Corpus, ReplayServer, Services]]:
    """A corpus up to its prompts, a slow model, and Dagster's services on it."""
    corpus = Corpus(folder / "corpus", buckets=BUCKETS).write(seeds(SEEDS))
    with ExitStack() as stack:
        server = stack.enter_context(replaying(delay=0.6))
        environment = corpus.environment(server.url, concurrency=IN_FLIGHT)
        if nightly:
            site = folder / "site.yaml"
            model = {"engine": "embedded", "model": "smollm2-135m-instruct"}
            site.write_text(yaml.safe_dump({"server": model, "nightly": nightly}), encoding="utf-8")
            environment["COSMO_DEPLOYMENT"] = str(site)
        corpus.build(server.url, UP_TO_PROMPTS)
        server.calls.clear()
        corpus.state.mkdir(parents=True, exist_ok=True)
        yield corpus, server, stack.enter_context(services(environment, folder))


def check_that_nothing_was_lost_or_doubled(corpus: Corpus, server: ReplayServer, kills: int) -> None:
    rows = contents(corpus)
    assert len(rows) == SEEDS
    asked = [call["messages"][-1]["content"] for call in server.generation_calls]
    assert len(set(asked)) == SEEDS
    assert SEEDS <= len(asked) <= SEEDS + kills * IN_FLIGHT, "only what was in flight may be asked again"


def test_a_backfill_of_all_buckets_survives_the_death_of_the_daemon_and_of_its_runs(tmp_path: Path) -> None:
    with installation(tmp_path) as (corpus, server, dagster):
        backfill = dagster.backfill(("generations", "generation_quality"), NAMES)
        dagster.until("the first answers", lambda: len(server.generation_calls) >= 4)
        dagster.kill("daemon")
        dagster.start("daemon")
        assert dagster.end_of(backfill) == "COMPLETED_SUCCESS"
        states = sorted(run["status"] for run in dagster.runs())
        assert states.count("SUCCESS") == BUCKETS
        assert states.count("FAILURE") >= 1, "the run that was killed is ended, and repeated"
        check_that_nothing_was_lost_or_doubled(corpus, server, 1)


def test_the_nightly_schedule_goes_on_after_the_death_of_the_daemon(tmp_path: Path) -> None:
    night = {"window": "00:00-00:00", "every_minutes": 1, "buckets": BUCKETS, "at_once": BUCKETS}
    with installation(tmp_path, **night) as (corpus, server, dagster):
        corpus.changes = {"budget": {"tokens_per_second": 1e6}}
        corpus.write()
        dagster.kill("daemon")
        dagster.start("daemon")
        dagster.start_schedule("nightly")
        dagster.until("the first answers", lambda: len(server.generation_calls) >= 4)
        dagster.kill("daemon")
        dagster.start("daemon")

        dagster.until("the end of the night", lambda: set(NAMES) <= dagster.succeeded())
        check_that_nothing_was_lost_or_doubled(corpus, server, 1)
