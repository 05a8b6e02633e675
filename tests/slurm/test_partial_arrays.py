"""Arrays of which not all tasks live: those that do finish the bucket, and what no task did is told and done later."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cosmo_resources.slurm.commands import LocalCommands
from cosmo_resources.slurm.records import JobRecord
from cosmo_resources.slurm.slurm import Slurm
from cosmo_resources.storage.ledger import ShardLedger, work_folders
from tests.corpora import Corpus, contents, wait_until
from tests.doubles.replay_program import calls
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import Hanging, with_environment
from tests.slurm.disturbances import WORKER
from tests.slurm.operators import command_line
from tests.slurm.sites import ROWS, Contents, end, generate, site, state_of

IN_FLIGHT = 4
SHARDS = 6


def tasks() -> list[JobRecord]:
    """The tasks that live."""
    return Slurm(LocalCommands()).jobs("cosmo-tiny")


@pytest.fixture
def arrays(cluster: Cluster) -> Callable[[], dict[str, dict[int, str]]]:
    """The arrays of this test by their ids, each with the states of its tasks; the controller remembers them."""

    def look() -> dict[str, dict[int, str]]:
        found: dict[str, dict[int, str]] = {}
        listing = ("squeue", "--noheader", "--array", "--states=all", "--format=%F %K %j %T")
        for line in cluster.run(*listing).splitlines():
            array, task, name, state = line.split()
            # Tasks that were cancelled before they started are one line without a number.
            if name.startswith("cosmo-tiny") and array not in earlier and task.isdigit():
                found.setdefault(array, {})[int(task)] = state
        return found

    earlier: set[str] = set()
    earlier = set(look())
    return look


def work(corpus: Corpus) -> ShardLedger:
    """What the tasks of the bucket share."""
    (folder,) = work_folders(corpus.store.place("generations", "b000"))
    return ShardLedger(folder)


def holder(lock: Path, process: "subprocess.Popen[str]") -> tuple[int, int]:
    """The worker that holds a lock, and the number of its task."""
    found: dict[int, int] = {}

    def look() -> bool:
        for task in range(len(tasks())):
            for pid in with_environment(f"SLURM_CONF={os.environ['SLURM_CONF']}", f"SLURM_ARRAY_TASK_ID={task}"):
                with suppress(OSError):
                    opened = {entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()}
                    if lock in opened and WORKER in command_line(pid):
                        found[pid] = task
        return bool(found)

    wait_until(look, process=process)
    return found.popitem()


@pytest.mark.parametrize(
    ("signals", "state"),
    [pytest.param([], "CANCELLED", id="cancelled"), pytest.param(["--signal=KILL", "--batch"], "FAILED", id="killed")],
)
def test_the_others_take_over_what_a_task_leaves(
    cluster: Cluster,
    corpus: Corpus,
    undisturbed: Contents,
    tmp_path: Path,
    arrays: Callable[[], dict[str, dict[int, str]]],
    signals: list[str],
    state: str,
) -> None:
    """It stands still with its first shard, and ends when the others have the last ones: nothing comes after it that
    would make a worker look for shards."""
    where = site(tmp_path, "batch", tasks=3, delay=0.8)
    process = generate(corpus, where)
    wait_until(lambda: any(tmp_path.rglob("shard-00000.lock")), process=process)
    victim, task = holder(work(corpus).folder / "shard-00000.lock", process)
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: any(tmp_path.rglob(f"shard-{SHARDS - 1:05d}.lock")), process=process)
    (array,) = arrays()
    cluster.run("scancel", *signals, f"{array}_{task}")
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGCONT)
    end(process)
    assert contents(corpus) == undisturbed
    assert sum(Counter(calls(state_of(where))).values()) <= ROWS + IN_FLIGHT
    ended = arrays()
    assert list(ended) == [array], "another array was submitted"
    assert ended[array].pop(task) == state
    assert ended[array] == {other: "COMPLETED" for other in range(3) if other != task}


@pytest.mark.slow
def test_a_task_that_hangs_is_killed_at_its_time_limit(
    cluster: Cluster,
    corpus: Corpus,
    undisturbed: Contents,
    tmp_path: Path,
    arrays: Callable[[], dict[str, dict[int, str]]],
) -> None:
    """It hears neither the notice nor TERM. The others have long left when it dies: another array takes its shard."""
    where = site(tmp_path, "batch", tasks=2, delay=0.3)
    process = generate(corpus, where)
    wait_until(lambda: any(tmp_path.rglob("shard-00000.lock")), process=process)
    _, task = holder(work(corpus).folder / "shard-00000.lock", process)
    (victim,) = [one for one in tasks() if one.task == task]
    job = with_environment(f"SLURM_CONF={os.environ['SLURM_CONF']}", f"SLURM_JOB_ID={victim.raw}")
    hanging = Hanging(pid for pid in job if "slurmstepd" not in command_line(pid))
    cluster.near_time_limit(victim.id, 0)
    wait_until(lambda: not hanging.hold())
    end(process)
    assert contents(corpus) == undisturbed
    assert len(calls(state_of(where))) <= ROWS + IN_FLIGHT
    first, second = arrays().values()
    assert first == {task: "TIMEOUT", 1 - task: "COMPLETED"}
    assert second == {0: "COMPLETED"}


def test_tasks_for_which_there_are_no_nodes_hold_nothing_up(
    cluster: Cluster,
    corpus: Corpus,
    undisturbed: Contents,
    tmp_path: Path,
    arrays: Callable[[], dict[str, dict[int, str]]],
) -> None:
    where = site(tmp_path, "batch", tasks=3, delay=0.1, options={"nodelist": "n1"}, server={"gpus": 2})
    process = generate(corpus, where)
    wait_until(lambda: calls(state_of(where)), process=process)
    assert sorted(task.state for task in tasks()) == ["PENDING", "PENDING", "RUNNING"]
    end(process)
    finished_by_one(corpus, where, undisturbed)
    ((states),) = arrays().values()
    assert Counter(states.values())["RUNNING"] == 0
    assert states[0] == "COMPLETED"


def test_an_array_that_is_throttled_to_one_task(
    cluster: Cluster,
    corpus: Corpus,
    undisturbed: Contents,
    tmp_path: Path,
    arrays: Callable[[], dict[str, dict[int, str]]],
) -> None:
    whole = ("--nodes=4", "--exclusive", "--output=/dev/null", "--wrap=sleep 100")
    blocker = cluster.run("sbatch", "--parsable", *whole)
    where = site(tmp_path, "batch", tasks=3, delay=0.1)
    process = generate(corpus, where)
    wait_until(lambda: len(tasks()) == 3, process=process)
    (array,) = arrays()
    Slurm(LocalCommands()).throttle(array, 1)
    cluster.run("scancel", blocker)
    wait_until(lambda: calls(state_of(where)), process=process)
    assert sorted(task.state for task in tasks()) == ["PENDING", "PENDING", "RUNNING"]
    end(process)
    finished_by_one(corpus, where, undisturbed)
    assert list(arrays()) == [array]


def finished_by_one(corpus: Corpus, where: Path, undisturbed: Contents) -> None:
    """A run that has ended, of whose tasks only one had a server."""
    assert tasks() == []
    assert contents(corpus) == undisturbed
    assert Counter(Counter(calls(state_of(where))).values()) == {1: ROWS}
    assert len(list(state_of(where).glob("calls-*.log"))) == 1, "a server was started for nothing"


def test_when_all_have_ended_the_run_says_so_and_the_next_asks_for_the_rest(
    cluster: Cluster,
    corpus: Corpus,
    undisturbed: Contents,
    tmp_path: Path,
    arrays: Callable[[], dict[str, dict[int, str]]],
) -> None:
    gone = tmp_path / "gone"
    setup = f'[ ! -e {gone} ] || {{ echo "the scratch disk of $SLURMD_NODENAME is gone"; exit 3; }}'
    where = site(tmp_path, "batch", tasks=4, delay=0.8, setup=setup)
    process = generate(corpus, where)
    wait_until(lambda: any(tmp_path.rglob(f"shard-{SHARDS - 1:05d}.lock")), process=process)
    last, _ = holder(work(corpus).folder / f"shard-{SHARDS - 1:05d}.lock", process)
    os.kill(last, signal.SIGSTOP)  # so that something is left, however slow this machine is
    wait_until(lambda: len(list(tmp_path.rglob("shard-*.done.json"))) >= 3, process=process)
    gone.touch()
    (first,) = arrays()
    cluster.run("scancel", first)
    os.kill(last, signal.SIGCONT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    ledger = work(corpus)
    rows, left = ledger.finished_rows(), len(ledger.unsealed(SHARDS))
    assert 0 < left < 4
    said = " ".join(output.split())
    assert f"tiny-b000: {rows} of {ROWS} rows are done, and 2 Slurm arrays in a row ended without a new one" in said
    assert f"{left} FAILED" in said
    assert "is gone" in said
    sizes = [len(found) for _, found in sorted(arrays().items(), key=lambda pair: int(pair[0]))]
    assert sizes == [4, left, left]
    gone.unlink()
    again = generate(corpus, where)
    wait_until(lambda: len(arrays()) == 4, process=again)
    assert len(list(arrays().values())[-1]) == left
    end(again)
    assert contents(corpus) == undisturbed
    assert len(calls(state_of(where))) <= ROWS + 4 * IN_FLIGHT
