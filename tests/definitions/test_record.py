"""Dagster's record: pruned, rebuilt, and compared with the disk; on SQLite, and on Postgres where there is one."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from cosmo_assets.automation import QUIET, materialize, plan_runs
from cosmo_assets.build import ON_REQUEST, PER_BUCKET, build_defs
from cosmo_assets.operations.adopt import adopt, differences, failed_attempts, prune, recorded
from cosmo_assets.operations.checks import CORPUS
from cosmo_resources.deployments import deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import identity_of
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import replaying

MANY = 256


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = Corpus(tmp_path_factory.mktemp("record")).write(seeds(16))
    with replaying() as server:
        corpus.build(server.url)
    return corpus


@pytest.fixture
def corpus(built: Corpus, tmp_path: Path) -> Corpus:
    """A copy that a test may spoil."""
    shutil.copytree(built.folder, tmp_path / "corpus")
    return Corpus(tmp_path / "corpus")


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    state = tmp_path / "state"
    state.mkdir()
    if request.param == "sqlite":
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(state))) as found:
            yield found
        return
    if importlib.util.find_spec("dagster_postgres") is None or shutil.which("initdb") is None:
        pytest.skip("no Postgres: dagster-postgres or initdb is missing")
    with postgres() as url:
        overrides = {"storage": {"postgres": {"postgres_url": url}}}
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(state), overrides=overrides)) as found:
            yield found


@contextmanager
def postgres() -> Iterator[str]:
    """A Postgres of its own, on a free port, in a folder that its user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="cosmo-postgres-"))
    shutil.chown(folder, "postgres") if Path("/proc/self").owner() == "root" else None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    become = become if Path("/proc/self").owner() == "root" else []
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    for command in (
        ["initdb", "-D", str(folder / "data"), "-U", "cosmo", "--auth=trust"],
        ["pg_ctl", "-D", str(folder / "data"), "-w", "-l", str(folder / "log"), "-o", options, "start"],
    ):
        subprocess.run([*become, *command], check=True, capture_output=True, timeout=120)
    try:
        yield f"postgresql+psycopg2://cosmo@127.0.0.1:{port}/postgres"
    finally:
        stop = ["pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop"]
        subprocess.run([*become, *stop], check=False, capture_output=True, timeout=60)
        shutil.rmtree(folder)


def definitions(corpus: Corpus) -> dg.Definitions:
    return build_defs(corpus.recipe, deployment(corpus.settings("http://127.0.0.1:9/v1"), corpus.recipe.name))


def run(corpus: Corpus, instance: dg.DagsterInstance, assets: tuple[str, ...], bucket: str) -> str:
    """A run as a queued one: in a job, of one bucket; nothing is left to be generated. Its id."""
    job = definitions(corpus).resolve_implicit_global_asset_job_def()
    found = job.execute_in_process(
        instance=instance,
        partition_key=bucket,
        run_config=QUIET,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        raise_on_error=False,
    )
    return str(found.run_id)


def checks_of(corpus: Corpus) -> list[dg.AssetCheckKey]:
    return sorted(definitions(corpus).resolve_asset_graph().asset_check_keys)


def test_pruning_removes_what_nothing_shows_and_turns_no_bucket_grey(
    corpus: Corpus, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    old = [run(corpus, instance, PER_BUCKET, bucket) for bucket in ("b000", "b001") for _ in range(2)]
    again = run(corpus, instance, ("generation_quality",), "b001")
    keys = [dg.AssetKey(asset) for asset in PER_BUCKET]
    assert instance.get_runs_count() == 5
    untouched = prune(instance, tmp_path / "state", checks_of(corpus))
    assert (untouched.runs, untouched.kept) == (0, 0), "nothing is 30 days old"
    before = {key: recorded(instance, key.to_user_string()) for key in keys}
    pruned = prune(instance, tmp_path / "state", checks_of(corpus), days=0)
    left = {one.run_id for one in instance.get_runs()}
    assert left == {old[1], old[3], again}, "the last runs of each bucket, and of the checks"
    assert (pruned.runs, pruned.kept) == (2, 3)
    assert {key: recorded(instance, key.to_user_string()) for key in keys} == before
    for key in keys:
        assert instance.get_materialized_partitions(key) == {"b000", "b001"}
    shards = {path.stem for path in (tmp_path / "state" / "history" / "runs").glob("*-*.db")}
    assert shards in (left, set()), "the files of removed runs are gone"
    assert adopt(corpus.recipe, corpus.store, instance)[0], "the assets that no run has made"
    assert prune(instance, tmp_path / "state", checks_of(corpus), days=0).runs == 0


def test_a_bucket_that_failed_last_stays_red(corpus: Corpus, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run(corpus, instance, PER_BUCKET, "b000")
    run(corpus, instance, PER_BUCKET, "b000")
    assert list(failed_attempts(instance)) == []
    prompts = corpus.store.place("prompt_table")
    prompts.rename(prompts.with_name("hidden"))
    failed = run(corpus, instance, ("generations",), "b000")
    prompts.with_name("hidden").rename(prompts)
    (attempt,) = failed_attempts(instance)
    assert (attempt.asset, attempt.bucket, attempt.run) == ("generations", "b000", failed)
    assert attempt.remedy == "cosmo run --asset generations --bucket b000"
    prune(instance, tmp_path / "state", checks_of(corpus), days=0)
    assert [one.run for one in failed_attempts(instance)] == [failed]
    run(corpus, instance, ("generations",), "b000")
    assert list(failed_attempts(instance)) == []


def states(corpus: Corpus, instance: dg.DagsterInstance) -> set[tuple[str, str, str]]:
    return {(one.asset, one.bucket, one.state) for one in differences(corpus.recipe, corpus.store, instance)}


def spoil(corpus: Corpus, how: str) -> None:
    dataset = corpus.store.open("generations", "b001")
    file, manifest = dataset.paths()[0], dataset.folder / "_manifest.json"
    if how == "deleted file":
        file.unlink()
    elif how == "cut file":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "edited manifest":
        fields = json.loads(manifest.read_text(encoding="utf-8"))
        fields["summary"]["completion_tokens"] += 1
        manifest.write_text(json.dumps(fields), encoding="utf-8")
    else:
        shutil.rmtree(corpus.store.place("generations", "b001"))


@pytest.mark.parametrize("how", ["deleted file", "cut file", "edited manifest", "deleted bucket"])
def test_the_disk_is_compared_with_the_record(corpus: Corpus, how: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        every = states(corpus, instance)
        assert {state for _, _, state in every} == {"not in the record"}
        assert len(every) == len(corpus.versions_of_everything())
        adopt(corpus.recipe, corpus.store, instance)
        assert states(corpus, instance) == set()
        spoil(corpus, how)
        expected = "not on disk" if how == "deleted bucket" else "damaged"
        assert states(corpus, instance) == {("generations", "b001", expected)}
        if how != "deleted bucket":
            with pytest.raises(CosmoError):
                corpus.store.open("generations", "b001")
        with replaying() as server:
            materialize(
                corpus.recipe,
                corpus.settings(server.url),
                instance,
                plan_runs(corpus.recipe, ["generations"], ["b001"]),
            )
        assert states(corpus, instance) == set(), "what was damaged is built again, and recorded"


def test_the_standing_checks_say_what_they_found(corpus: Corpus) -> None:
    with dg.DagsterInstance.ephemeral() as instance:

        def look() -> dict[str, Any]:
            job = definitions(corpus).resolve_job_def("standing_checks")
            found = job.execute_in_process(instance=instance, run_config=QUIET)
            return {one.check_name: one for one in found.get_asset_check_evaluations()}

        adopt(corpus.recipe, corpus.store, instance)
        assert all(one.passed and one.asset_key == CORPUS for one in look().values())
        spoil(corpus, "deleted file")
        found = look()
        assert found["failed_buckets"].passed
        assert not found["disk_matches_record"].passed
        assert found["disk_matches_record"].metadata["damaged"].value == 1
        assert "cosmo run --asset generations --bucket b001" in found["disk_matches_record"].metadata["table"].value


def test_adoption_reports_checks_and_when_things_were_built(corpus: Corpus) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        adopt(corpus.recipe, corpus.store, instance)
        for asset, bucket in (("generations", "b001"), ("mixture", None)):
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[bucket] if bucket else None), limit=1
            ).records
            manifest = corpus.store.open(asset, bucket or "all").manifest
            assert records[0].timestamp == pytest.approx(manifest.run["built_at"])
        unbuilt = {CORPUS, *map(dg.AssetKey, ON_REQUEST)}
        keys = [key for key in checks_of(corpus) if key.asset_key not in unbuilt]
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        assert set(found) == set(keys)
        assert all(record.evaluation is not None and record.evaluation.passed for record in found.values())


def many(corpus: Corpus) -> None:
    """The manifests of 256 buckets, each a copy of the first one's."""
    for asset in (*PER_BUCKET, "deduplicated"):
        first = corpus.store.open(asset, "b000")
        for index in range(2, MANY):
            fields = {**first.manifest.model_dump(mode="json"), "bucket": f"b{index:03d}"}
            fields["version"] = identity_of(fields)
            place = corpus.store.place(asset, fields["bucket"])
            shutil.copytree(first.folder, place / fields["version"], copy_function=os.link)
            (place / fields["version"] / "_manifest.json").unlink()
            (place / fields["version"] / "_manifest.json").write_text(json.dumps(fields), encoding="utf-8")
            (place / "CURRENT").write_text(fields["version"] + "\n", encoding="utf-8")


def test_256_buckets_are_adopted_and_compared_in_seconds(corpus: Corpus, tmp_path: Path) -> None:
    many(corpus)
    corpus.buckets = MANY
    corpus.write()
    (tmp_path / "state").mkdir()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path / "state"))) as instance:
        began = time.process_time()
        adopted, damaged = adopt(corpus.recipe, corpus.store, instance)
        seconds = time.process_time() - began
        assert len(adopted) >= 5 * MANY
        assert damaged == []
        began = time.process_time()
        assert adopt(corpus.recipe, corpus.store, instance) == ([], [])
        assert states(corpus, instance) == set()
        print(f"adopted {len(adopted)} in {seconds:.1f} s of CPU, again and compared {time.process_time() - began:.1f}")
        assert seconds < 60
        assert time.process_time() - began < 15
