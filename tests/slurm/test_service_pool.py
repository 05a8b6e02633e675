"""The service pool on a real Slurm: servers that come, go, die and are replaced while clients ask on."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmo_resources.deployment_file import read_deployment
from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import ClientOptions, CompletionClient, Request
from cosmo_resources.inference.leases import Lease, read_leases
from cosmo_resources.pools.agent import DEMANDS, LEASES
from cosmo_resources.pools.demand import DemandWriter
from cosmo_resources.pools.reconcile import Reconciler
from cosmo_resources.pools.service import PoolEndpoints
from cosmo_resources.pools.sites import reconciler
from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.records import JobRecord
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import Corpus, contents, kill_group, wait_until
from tests.doubles.replay_program import calls
from tests.slurm.cluster import Cluster
from tests.slurm.sites import ROWS, UP_TO_PROMPTS, Contents, end, generate, pools_of, site, state_of

IN_FLIGHT = 4
SLOW = 0.6


def jobs() -> list[JobRecord]:
    return Slurm(LocalCommands()).jobs("cosmo-pool")


def leases(corpus: Corpus) -> list[Lease]:
    return [lease for folder in pools_of(corpus).glob("*") for lease in read_leases(folder / LEASES)]


def ready(corpus: Corpus) -> int:
    return sum(lease.state == "ready" for lease in leases(corpus))


def asked(where: Path) -> Counter[str]:
    return Counter(calls(state_of(where)))


def test_servers_are_started_shared_and_end_when_idle(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "service", tasks=3, rows_per_server=20, idle_seconds=3, delay=0.2)
    process = generate(corpus, where)
    wait_until(lambda: ready(corpus) == 3, process=process)
    end(process)
    assert contents(corpus) == undisturbed
    assert Counter(asked(where).values()) == {1: ROWS}
    assert {row["engine"] for row in corpus.rows().values()} == {"command"}
    wait_until(lambda: jobs() == [], seconds=60)
    assert leases(corpus) == []


def test_labels_and_generations_share_a_pool(cluster: Cluster, tmp_path: Path, corpus: Corpus) -> None:
    where = site(tmp_path, "service", tasks=1, delay=0.01)
    fresh = Corpus(tmp_path / "fresh", templates=corpus.templates, buckets=1).write()
    (fresh.folder / "pages.jsonl").write_bytes((corpus.folder / "pages.jsonl").read_bytes())
    process = fresh.command("", "run", "--asset", "generations", *_all(UP_TO_PROMPTS), deployment=str(where))
    wait_until(lambda: jobs() != [], process=process)
    first = {job.id for job in jobs()}
    end(process)
    assert {job.id for job in jobs()} == first, "one server answered labels and prompts"
    assert contents(fresh).keys() == contents(fresh).keys()


def _all(assets: tuple[str, ...]) -> list[str]:
    return [part for asset in assets for part in ("--asset", asset)]


def during(
    corpus: Corpus, where: Path, disturb: Callable[[JobRecord], None], *, servers: int = 2
) -> tuple[Counter[str], int]:
    """Generate, and do something to a server that works; what was asked, and how many jobs there were in all."""
    process = generate(corpus, where)
    wait_until(lambda: ready(corpus) == servers and len(calls(state_of(where))) > 4, process=process)
    seen = {job.id for job in jobs()}
    disturb(next(job for job in jobs() if job.state == "RUNNING"))

    def done() -> bool:
        seen.update(job.id for job in jobs())
        return process.poll() is not None

    wait_until(done, seconds=200)
    end(process)
    return asked(where), len(seen)


def test_a_server_is_preempted_and_drains(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "service", tasks=2, partition="spot", delay=SLOW, server={"gpus": 2}, rows_per_server=10)
    found, _ = during(corpus, where, lambda job: cluster.preempt(job.node, seconds=2) and None)
    assert Counter(found.values()) == {1: ROWS}, "a drained server lost requests"
    assert contents(corpus) == undisturbed


def test_a_node_dies_and_its_server_is_replaced(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "service", tasks=2, delay=SLOW, server={"gpus": 2}, rows_per_server=10)
    found, _ = during(corpus, where, lambda job: cluster.kill_node(job.node, noticed=False))
    assert len(found) == ROWS
    assert sum(found.values()) <= ROWS + IN_FLIGHT
    assert contents(corpus) == undisturbed


def test_a_server_that_slurm_cancels_is_replaced(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "service", tasks=2, delay=SLOW, rows_per_server=10)
    found, jobs_seen = during(corpus, where, lambda job: cluster.run("scancel", job.id) and None)
    assert jobs_seen == 3
    assert len(found) == ROWS
    assert sum(found.values()) <= ROWS + IN_FLIGHT
    assert contents(corpus) == undisturbed


def test_a_killed_client_leaves_a_pool_that_its_heir_uses(cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    where = site(tmp_path, "service", tasks=1, delay=0.3)
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    before = {job.id for job in jobs()}
    kill_group(process)
    end(generate(corpus, where))
    assert {job.id for job in jobs()} == before
    found = asked(where)
    assert len(found) == ROWS
    assert sum(found.values()) <= ROWS + IN_FLIGHT


@pytest.fixture
def pool(cluster: Cluster, tmp_path: Path) -> Callable[..., Reconciler]:
    def make(**options: object) -> Reconciler:
        file = site(tmp_path, "service", **{"tasks": 2, "rows_per_server": 1, **options})  # type: ignore[arg-type]
        return reconciler(read_deployment(file), Slurm(LocalCommands()), tmp_path / "pools")

    return make


def test_a_client_in_this_process_has_its_servers_started(pool: Callable[..., Reconciler], tmp_path: Path) -> None:
    options = ClientOptions(concurrency=64, per_endpoint=2, patience=60)
    client = CompletionClient(PoolEndpoints(pool(), rows=5), "replay", options)
    requests = [Request(str(n), {"messages": [{"role": "user", "content": str(n)}], "seed": n}) for n in range(12)]
    answers = list(client.answers(requests))
    assert {answer.status for answer in answers} == {"ok"}
    assert len({answer.endpoint for answer in answers}) >= 1
    assert len(calls(tmp_path / "servers")) == 12


def test_a_pool_whose_servers_cannot_start_says_why(pool: Callable[..., Reconciler]) -> None:
    broken = ["python3", "-c", "print('CUDA error: no kernel image for {port}'); raise SystemExit(3)"]
    client = CompletionClient(PoolEndpoints(pool(server={"command": broken})), "replay", ClientOptions(patience=120))
    with pytest.raises(CosmoError, match="no kernel image"):
        list(client.answers([Request("0", {"messages": []})]))
    wait_until(lambda: jobs() == [])


def test_callers_in_turn_and_at_once_agree_on_one_pool(pool: Callable[..., Reconciler]) -> None:
    one, other = pool(), pool()
    assert one.folder == other.folder
    for each in (one, other):
        each.prepare()
    (one.folder / "demands" / "x.json").write_text(json.dumps({"name": "x", "rows": 100, "beat": 1}), encoding="utf-8")
    assert one.tick().submit == 2  # type: ignore[union-attr]
    assert other.tick().submit == 0  # type: ignore[union-attr]
    assert len(jobs()) == 2
    deadline = time.monotonic() + 30
    while sum(lease.state == "ready" for lease in read_leases(one.folder / LEASES)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    one.cancel()
    wait_until(lambda: jobs() == [])


def test_a_server_that_only_a_dead_client_wanted_does_not_come_back(
    pool: Callable[..., Reconciler], cluster: Cluster
) -> None:
    dead = pool(tasks=1)
    dead.prepare()
    DemandWriter(dead.folder / DEMANDS, "dead").renew(100)
    dead.tick()
    wait_until(lambda: [lease.state for lease in read_leases(dead.folder / LEASES)] == ["ready"])
    (job,) = jobs()
    cluster.notify(job.id)
    wait_until(lambda: jobs() == [], seconds=30)
    assert Slurm(LocalCommands()).outcome(job.id).succeeded


def test_a_server_that_is_wanted_comes_back_from_its_time_limit(
    pool: Callable[..., Reconciler], cluster: Cluster
) -> None:
    wanted = pool(tasks=1)
    wanted.prepare()
    writer = DemandWriter(wanted.folder / DEMANDS, "alive")
    writer.renew(100)
    wanted.tick()
    wait_until(lambda: [lease.state for lease in read_leases(wanted.folder / LEASES)] == ["ready"])
    for _ in range(4):  # a server looks once a second
        writer.renew(100)
        time.sleep(1)
    (job,) = jobs()
    cluster.notify(job.id)
    wait_until(lambda: [(one.id, one.restarts) for one in jobs()] == [(job.id, 1)], seconds=30)
