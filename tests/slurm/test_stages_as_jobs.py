"""Heavy stages as Slurm jobs of their own, here and through a login node; jobs whose run is gone."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from cosmo_assets.build import build_defs
from cosmo_assets.sensors import bury_dead_runs
from cosmo_resources.deployments import deployment
from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import ROOT, Corpus, kill_group, wait_until
from tests.doubles.replay_program import calls
from tests.doubles.replay_server import replaying
from tests.slurm.cluster import Cluster
from tests.slurm.sites import UP_TO_PROMPTS, end, generate, site, state_of

JOBS = {"assets": ["seed_embeddings", "text_signatures", "duplicate_clusters"], "options": {"mem": "2G"}}


def ended_jobs(cluster: Cluster, name: str) -> list[str]:
    """States of the jobs that there were, by the accounting."""
    rows = cluster.run("sacct", "-X", "-n", "-P", "--format=JobName,State").splitlines()
    return [state for row in rows for job, state in [row.split("|")] if job.startswith(name)]


def test_embeddings_and_signatures_are_made_by_jobs(cluster: Cluster, tmp_path: Path, made: Path) -> None:
    corpus = Corpus(tmp_path / "corpus", buckets=1).write()
    (corpus.folder / "pages.jsonl").write_bytes((made / "pages.jsonl").read_bytes())
    where = site(tmp_path, "batch", programs=JOBS)
    with replaying() as server:
        assets = [*UP_TO_PROMPTS, "generations", "generation_quality", "decontaminated", "text_signatures"]
        assets.append("duplicate_clusters")
        arguments = [part for asset in assets for part in ("--asset", asset)]
        end(corpus.command(server.url, "run", *arguments, deployment=str(where)))
        other = Corpus(tmp_path / "other", buckets=1).write()
        (other.folder / "pages.jsonl").write_bytes((made / "pages.jsonl").read_bytes())
        other.build(server.url, assets)
    wait_until(lambda: ended_jobs(cluster, "cosmo-seed_embeddings") == ["COMPLETED"])
    wait_until(lambda: ended_jobs(cluster, "cosmo-text_signatures-b000") == ["COMPLETED"])
    wait_until(lambda: ended_jobs(cluster, "cosmo-duplicate_clusters") == ["COMPLETED"])
    assert corpus.versions_of_everything() == other.versions_of_everything()
    for asset, bucket in (("seed_embeddings", "all"), ("text_signatures", "b000"), ("duplicate_clusters", "all")):
        assert corpus.store.open(asset, bucket).manifest.run["run_id"] == "", "it was made here, not by the job"


def test_a_stage_that_fails_as_a_job_says_why(cluster: Cluster, tmp_path: Path, corpus: Corpus) -> None:
    where = site(tmp_path, "batch", programs={**JOBS, "options": {"mem": "2G", "time": "00:05:00"}})
    (version,) = corpus.store.place("seed_documents").glob("*/*.parquet")
    version.write_bytes(b"broken")
    shutil.rmtree(corpus.store.place("seed_embeddings"))
    process = corpus.command("", "run", "--asset", "seed_embeddings", deployment=str(where))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert str(version) in output.replace("\n", "")
    assert ended_jobs(cluster, "cosmo-seed_embeddings")[-1] == "FAILED"


@pytest.fixture
def definitions(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    where = site(tmp_path, "batch", tasks=1, delay=0.3)
    for name, value in corpus.environment("", deployment=str(where)).items():
        monkeypatch.setenv(name, value)
    return build_defs(corpus.recipe, deployment(corpus.settings("", deployment=str(where)), corpus.recipe.name))


def look(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    sensor = definitions.resolve_sensor_def("slurm_orphans")
    resources = {"site": (definitions.resources or {})["site"]}
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=resources, definitions=definitions
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult), result
    return result


def test_jobs_whose_run_was_killed_get_another(
    cluster: Cluster, corpus: Corpus, tmp_path: Path, definitions: dg.Definitions
) -> None:
    where = tmp_path / "site.yaml"
    with dg.DagsterInstance.from_config(str(ROOT)) as instance:
        process = generate(corpus, where)
        wait_until(lambda: len(calls(state_of(where))) > 4, process=process)
        assert look(definitions, instance, None).run_requests == [], "its run waits for them"
        jobs = {job.job for job in Slurm(LocalCommands()).jobs("cosmo-tiny")}
        kill_group(process)
        assert look(definitions, instance, None).run_requests == [], "for Dagster, its run still waits for them"
        assert len(bury_dead_runs(instance, corpus.store)) == 1, "what the sensor of dead runs does"
        first = look(definitions, instance, None)
        assert first.run_requests == [], "it may belong to a run that is just beginning"
        second = look(definitions, instance, first.cursor)
        (request,) = second.run_requests or []
        assert (request.partition_key, request.tags["cosmo/slurm_job"]) == ("b000", *jobs)
    end(generate(corpus, where))
    assert {job.job for job in Slurm(LocalCommands()).jobs("cosmo-tiny")} <= jobs
    assert look(definitions, dg.DagsterInstance.ephemeral(), second.cursor).run_requests == []
