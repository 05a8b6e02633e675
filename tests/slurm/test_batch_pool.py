"""The batch pool on a real Slurm: one array per bucket, whatever happens to its tasks."""

import time
from collections import Counter
from pathlib import Path

from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.slurm import Slurm
from tests.corpora import Corpus, contents, kill_group, wait_until
from tests.doubles.replay_program import calls, set_faults
from tests.slurm.cluster import Cluster
from tests.slurm.sites import ROWS, Contents, end, generate, site, state_of

IN_FLIGHT = 4


def live_jobs() -> list[str]:
    return [job.id for job in Slurm(LocalCommands()).jobs("cosmo")]


def test_a_bucket_is_one_array_of_tasks_that_share_it(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "batch", tasks=3, server={"gpus": 1}, delay=0.05)
    process = generate(corpus, where)
    wait_until(lambda: len(live_jobs()) == 3, process=process)
    names = {job.name for job in Slurm(LocalCommands()).jobs("cosmo")}
    assert len(names) == 1
    assert names.pop().startswith("cosmo-tiny-b000-")
    end(process)
    assert live_jobs() == []
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}
    assert len(list(state_of(where).glob("calls-*.log"))) == 3
    assert contents(corpus) == undisturbed
    (manifest,) = [corpus.store.open("generations", "b000").manifest]
    assert manifest.run["gpu_hours"] > 0


def test_who_comes_again_finds_the_array_that_is_there(cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    where = site(tmp_path, "batch", tasks=2, delay=0.2)
    first = generate(corpus, where)
    wait_until(lambda: calls(state_of(where)), process=first)
    jobs = live_jobs()
    kill_group(first)
    second = generate(corpus, where)
    time.sleep(1)
    assert set(live_jobs()) <= set(jobs)
    end(second)
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}


def test_cancelling_the_run_cancels_its_jobs_and_keeps_what_is_done(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "batch", tasks=2, delay=0.2)
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 12, process=process)
    process.terminate()
    process.wait(60)
    wait_until(lambda: live_jobs() == [])
    asked = len(calls(state_of(where)))
    assert asked < ROWS
    end(generate(corpus, where))
    assert len(calls(state_of(where))) <= ROWS + 2 * IN_FLIGHT
    assert contents(corpus) == undisturbed


def test_a_task_is_preempted_and_comes_back(
    cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path
) -> None:
    where = site(tmp_path, "batch", tasks=2, partition="spot", delay=0.3, server={"gpus": 2})
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    victim = Slurm(LocalCommands()).jobs("cosmo")[0]
    cluster.preempt(victim.node, seconds=1)
    end(process)
    asked = Counter(calls(state_of(where)))
    assert len(asked) == ROWS
    assert sum(asked.values()) <= ROWS + IN_FLIGHT
    assert contents(corpus) == undisturbed


def test_a_task_whose_time_is_up_finishes_what_is_in_flight(cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    where = site(tmp_path, "batch", tasks=1, delay=0.3)
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    (job,) = Slurm(LocalCommands()).jobs("cosmo")
    cluster.notify(job.id)
    wait_until(lambda: [one.restarts for one in Slurm(LocalCommands()).jobs("cosmo")] == [1], process=process)
    end(process)
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}, "nothing in flight was lost"


def test_a_node_dies_under_a_task(cluster: Cluster, corpus: Corpus, undisturbed: Contents, tmp_path: Path) -> None:
    where = site(tmp_path, "batch", tasks=2, delay=0.3, server={"gpus": 2})
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    cluster.kill_node(Slurm(LocalCommands()).jobs("cosmo")[0].node)
    end(process)
    asked = Counter(calls(state_of(where)))
    assert len(asked) == ROWS
    assert sum(asked.values()) <= ROWS + IN_FLIGHT
    assert contents(corpus) == undisturbed


def test_a_server_that_cannot_start_ends_the_run_with_its_own_words(
    cluster: Cluster, corpus: Corpus, tmp_path: Path
) -> None:
    broken = ["python3", "-c", "print('no such model: {model} at {port}'); raise SystemExit(3)"]
    where = site(tmp_path, "batch", tasks=2, server={"command": broken})
    process = generate(corpus, where)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "no such model: replay" in output
    assert live_jobs() == []


def test_a_server_that_crashes_is_started_again(cluster: Cluster, corpus: Corpus, tmp_path: Path) -> None:
    where = site(tmp_path, "batch", tasks=1, delay=0.1)
    process = generate(corpus, where)
    wait_until(lambda: len(calls(state_of(where))) > 8, process=process)
    set_faults(state_of(where), mode="crash", share=1.0, times=1)
    before = len(calls(state_of(where)))
    wait_until(lambda: len(calls(state_of(where))) > before, process=process)
    set_faults(state_of(where))
    end(process)
    assert len(corpus.rows()) == ROWS
    assert {row["status"] for row in corpus.rows().values()} == {"ok"}
