"""Backup and restore as an operator runs them: the scripts, the commands, and what Dagster then knows. In SQLite; a
record in Postgres is restored in `test_service`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cosmo_assets.automation import open_instance
from cosmo_assets.generation.plan import documents_of
from cosmo_assets.sensors import bury_dead_runs
from tests.corpora import ROOT, Corpus, contents, kill_group, seeds, wait_until
from tests.doubles.replay_server import replaying

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BACKUP, RESTORE = ROOT / "deploy" / "backup.py", ROOT / "deploy" / "restore.py"


def script(program: Path, corpus: Corpus, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        env={**os.environ, **corpus.environment("http://127.0.0.1:9")},
        cwd=corpus.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def back_up(corpus: Corpus, place: Path, *options: str | Path) -> Path:
    done = script(BACKUP, corpus, "--to", place, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return max(path for path in place.iterdir() if path.name != "lock")


def restored(corpus: Corpus, backup: Path, folder: Path) -> Corpus:
    """The corpus that a backup holds, in an empty folder; its recipe is the one of the backup."""
    other = Corpus(folder)
    done = script(RESTORE, other, backup, "--configuration", folder / "configuration")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(folder / "configuration" / "recipe", folder, dirs_exist_ok=True)
    for name in ("pages.jsonl", "bench.jsonl"):  # sources are no part of a backup
        shutil.copy(corpus.folder / name, folder / name)
    return other


def command(corpus: Corpus, url: str, *arguments: str) -> str:
    process = corpus.command(url, *arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Corpus, str]]:
    """A corpus that `cosmo run` built, with its record."""
    with replaying() as model:
        corpus = Corpus(tmp_path_factory.mktemp("built")).write(seeds(24))
        command(corpus, model.url, "run")
        yield corpus, model.url


def test_a_backup_restored_into_an_empty_folder_is_the_same_corpus_and_record(
    built: tuple[Corpus, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, url = built
    settings = tmp_path / "settings.env"
    settings.write_text(
        "COSMO_RECIPE=tiny\nPGPASSWORD=a-secret\nCOSMO_NOTIFY_URL=https://hooks.example/T0/B1\nHF_TOKEN=hf_s3cret\nCOSMO_ENDPOINTS=http://me:mine@host/v1\n"
    )
    backup = back_up(corpus, tmp_path / "backups", "--also", settings)
    kept = "".join(path.read_text(errors="replace") for path in backup.rglob("*") if path.is_file())
    assert "COSMO_RECIPE=tiny" in kept
    assert not [secret for secret in ("a-secret", "hf_s3cret", "me:mine", "hooks.example") if secret in kept]
    other = restored(corpus, backup, tmp_path / "restored")
    assert other.versions_of_everything() == corpus.versions_of_everything()
    assert contents(other) == contents(corpus)
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    with open_instance(other.settings(url)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("generations")) == {"b000", "b001"}
        runs = instance.get_runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert all(instance.all_logs(run.run_id) for run in runs), "every run has its events"
    assert "0 adopted, 0 damaged" in command(other, url, "adopt"), "the record lacks nothing"
    with replaying() as idle:
        command(other, idle.url, "run")
        assert idle.calls == [], "nothing is generated again"
    assert other.versions_of_everything() == corpus.versions_of_everything()


def test_adopting_tells_the_record_what_was_published_after_it_was_copied(
    built: tuple[Corpus, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, url = built
    backup = back_up(corpus, tmp_path / "backups")
    for database in (backup / "state").rglob("*.db"):
        database.unlink()
    other = restored(corpus, backup, tmp_path / "restored")
    command(other, url, "adopt")
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    with open_instance(other.settings(url)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("deduplicated")) == {"b000", "b001"}
        assert instance.get_latest_materialization_event(dg.AssetKey("corpus_export")) is not None


def test_a_backup_taken_while_a_run_writes_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(tmp_path / "corpus", shard_rows=4).write(seeds(40))
    with replaying() as model:
        process = corpus.command(model.url, "run", concurrency=2)
        wait_until(lambda: (corpus.data / "tiny" / "seed_documents").is_dir(), process=process, seconds=120)
        model.delay = 2.0
        wait_until(lambda: len(model.generation_calls) > 4, process=process, seconds=120)
        asked = len(model.generation_calls)
        backup = back_up(corpus, tmp_path / "backups")
        kill_group(process)
    other = restored(corpus, backup, tmp_path / "restored")
    there = sum(documents_of(other.recipe, other.store, bucket)[1] for bucket in ("b000", "b001"))
    assert asked - 2 <= there < 40, "all that had been answered when it began, but for what was in flight"
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    with open_instance(other.settings("http://127.0.0.1:9")) as instance:
        (lost,) = bury_dead_runs(instance, other.store)  # what the sensor `dead_runs` does
        run = instance.get_run_by_id(lost)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.FAILURE, "it was under way when its record was copied"
    with replaying() as model:
        command(other, model.url, "run")
        assert len(model.generation_calls) == 40 - there, "what is in the backup is not asked again"
        command(corpus, model.url, "run")
    assert contents(other) == contents(corpus)
    assert other.versions_of_everything() == corpus.versions_of_everything()


def test_a_second_backup_links_what_the_first_one_has_and_old_ones_go(
    built: tuple[Corpus, str], tmp_path: Path
) -> None:
    corpus, _ = built
    place = tmp_path / "backups"
    first = back_up(corpus, place)
    (place / "unfinished-20200101T000000Z").mkdir()  # a backup was killed
    wait_until(lambda: back_up(corpus, place) != first, seconds=60)  # names have seconds
    second = max(path for path in place.iterdir() if path.name != "lock")
    found = json.loads((second / "backup.json").read_text(encoding="utf-8"))["corpora"]["tiny"]
    assert found["linked"] == found["versions"] > 20
    assert found["damaged"] == []
    back_up(corpus, place, "--keep", "1")
    (last,) = [path for path in place.iterdir() if path.name != "lock"]
    other = restored(corpus, last, tmp_path / "restored")
    assert other.versions_of_everything() == corpus.versions_of_everything(), "links outlive what they were made from"


def test_restoring_mixes_with_nothing_and_takes_nothing_that_is_not_whole(
    built: tuple[Corpus, str], tmp_path: Path
) -> None:
    corpus, _ = built
    backup = back_up(corpus, tmp_path / "backups")
    refused = script(RESTORE, corpus, backup)
    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
    other = Corpus(tmp_path / "other")
    (part,) = (backup / "data").glob("tiny/seed_documents/all/*/part-00000.parquet")
    part.write_bytes(part.read_bytes()[:-8] + bytes(8))
    damaged = script(RESTORE, other, backup)
    assert damaged.returncode == 1
    assert f"seed_documents/all/{part.parent.name}: part-00000.parquet" in damaged.stderr
    (backup / "backup.json").unlink()
    assert "no whole backup" in script(RESTORE, Corpus(tmp_path / "third"), backup).stderr


def test_a_recipe_that_cannot_be_read_is_kept_as_it_is(built: tuple[Corpus, str], tmp_path: Path) -> None:
    corpus, _ = built
    before = corpus.recipe_path.read_text(encoding="utf-8")
    try:
        corpus.recipe_path.write_text(yaml.safe_dump({"name": "tiny"}), encoding="utf-8")
        backup = back_up(corpus, tmp_path / "backups")
    finally:
        corpus.recipe_path.write_text(before, encoding="utf-8")
    assert yaml.safe_load((backup / "configuration" / "recipe" / "recipe.yaml").read_text()) == {"name": "tiny"}
