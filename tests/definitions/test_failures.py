"""People hear of failures: a real run fails, a real HTTP server is told, once; what it did not take is told again."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cosmo_assets.automation import materialize, plan_runs
from cosmo_assets.build import build_defs
from cosmo_assets.operations.sensors import MOST_LINES
from cosmo_resources import notifier
from cosmo_resources.deployments import deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.resources import NotifierResource
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer
from tests.unit.cosmo_resources.test_notifier import Hook, hook, status


class Told:
    """A corpus, its instance, and the sensor with what it remembers."""

    def __init__(self, corpus: Corpus, url: str, instance: dg.DagsterInstance) -> None:
        self.corpus, self.url, self.instance = corpus, url, instance
        self.cursor: str | None = None

    def look(self) -> str:
        """Evaluate the sensor as the daemon would; what it says."""
        recipe = self.corpus.recipe
        definitions = build_defs(recipe, deployment(self.corpus.settings(self.url), recipe.name))
        resources = {"notifier": NotifierResource(way="slack")}
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=definitions.get_repository_def(),
            resources=resources,
        ) as context:
            found = definitions.resolve_sensor_def("failures").evaluate_tick(context)
        self.cursor = found.cursor or self.cursor
        return str(found.skip_message)

    def fail(self) -> None:
        """A run that fails: the corpus has no prompts yet."""
        chosen, recipe = self.corpus.settings(self.url), self.corpus.recipe
        with pytest.raises(CosmoError):
            materialize(recipe, chosen, self.instance, plan_runs(recipe, ["generations"], ["b000"]))


@pytest.fixture
def told(tmp_path: Path, replay: ReplayServer) -> Iterator[Told]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Told(Corpus(tmp_path / "corpus").write(seeds(8)), replay.url, instance)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with hook(status(200)) as found:
        monkeypatch.setenv("COSMO_NOTIFY_URL", found.url)
        yield found


def test_a_failed_run_is_told_once_with_its_cause(told: Told, slack: Hook) -> None:
    told.fail()
    assert told.look() == "from now on", "what failed before it was switched on is old news"
    assert "nothing has failed" in told.look()
    told.fail()
    assert told.look() == "1 failures told"
    (body,) = slack.bodies
    assert "1 runs failed" in body["text"]
    assert "generations of b000" in body["text"]
    assert "prompt_table is not built yet" in body["text"]
    for _ in range(3):
        assert "nothing has failed" in told.look()
    assert len(slack.bodies) == 1


def test_a_run_that_will_be_repeated_is_not_told(told: Told, slack: Hook) -> None:
    told.look()
    told.fail()
    (run,) = told.instance.get_runs()
    told.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert told.look() == "0 failures told"
    assert slack.bodies == []


def test_what_was_not_delivered_is_told_again(told: Told, slack: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    told.look()
    told.fail()
    with hook(status(500)) as broken:
        monkeypatch.setenv("COSMO_NOTIFY_URL", broken.url)
        with pytest.raises(Exception, match="did not take a notice"):
            told.look()
        assert len(broken.bodies) == notifier.ATTEMPTS
    monkeypatch.setenv("COSMO_NOTIFY_URL", slack.url)
    assert told.look() == "1 failures told"
    assert len(slack.bodies) == 1


def test_a_thousand_failures_are_one_message(told: Told, slack: Hook) -> None:
    told.look()
    recipe = told.corpus.recipe
    job = build_defs(recipe, deployment(told.corpus.settings(told.url), recipe.name)).resolve_job_def("smoke")
    for _ in range(60):
        told.instance.report_run_failed(told.instance.create_run_for_job(job))
    assert told.look() == "60 failures told"
    (body,) = slack.bodies
    assert len(body["text"].splitlines()) == MOST_LINES + 2
    assert f"and {60 - MOST_LINES} more" in body["text"]


def test_a_check_that_does_not_hold_is_told(told: Told, slack: Hook) -> None:
    told.look()
    told.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("generations"),
            check_name="truncated",
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="half of them are cut off",
            metadata={"bucket": "b001"},
        )
    )
    assert told.look() == "1 failures told"
    assert "check warns: generations of b001: truncated: half of them are cut off" in slack.bodies[0]["text"]
    assert "nothing has failed" in told.look()


def test_without_an_address_the_tick_says_so(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSMO_NOTIFY_URL", raising=False)
    told.look()
    told.fail()
    with pytest.raises(Exception, match="COSMO_NOTIFY_URL is not set"):
        told.look()
