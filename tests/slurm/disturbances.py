"""Disturbances: what happens to a generation on a cluster, and how many requests each may cost.

Belongs here: doing each of them to a `Scene`, and undoing those that pass. Does not belong here: which of them happen
when (`rounds`).
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cosmo_resources.slurm.commands import LocalCommands, SlurmError
from cosmo_resources.slurm.records import JobRecord
from cosmo_resources.slurm.slurm import Slurm
from tests.doubles.clock import Clock
from tests.doubles.replay_program import set_faults
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import Hanging, kill_all, with_environment
from tests.slurm.operators import Operator, Queue, command_line

WORKER = "-m cosmo_assets.generation.worker "
SERVER = "-m tests.doubles.replay_program "
TASK = ("-m cosmo_resources.pools.task ", "-m cosmo_resources.pools.agent ")
DISK_MB = 48
HOUR = 3600.0
UNSAVED_SECONDS = 10
"""A controller that is killed forgets the jobs of the last seconds, and their nodes then end them."""

LIMIT_SECONDS = 35.0
"""Slurm looks for jobs that are over their time limit every 30 s."""


@dataclass
class Scene:
    """A round under way. `concurrency` requests are in flight on each server at most, `servers` are in each task."""

    draw: random.Random
    cluster: Cluster
    operator: Operator
    state: Path
    """What the servers keep: their calls, and the faults they are to show."""
    data: Path
    mark: str
    """NAME=value in the environment of every process of the round."""
    clock: Clock | None
    way: str
    concurrency: int
    servers: int
    tasks: int
    later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    """What is to be done at which moment of the monotonic clock."""
    disk_full: bool = False

    @property
    def per_task(self) -> int:
        return self.concurrency * self.servers

    @property
    def everything(self) -> int:
        """Most requests that can be in flight."""
        return self.per_task * self.tasks

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self.later.append((time.monotonic() + seconds, action))

    def jobs(self) -> list[JobRecord]:
        """The round's jobs; none, where the controller is away."""
        try:
            return Slurm(LocalCommands(), patience=0).jobs("cosmo")
        except SlurmError:
            return []

    def running(self) -> list[JobRecord]:
        return [job for job in self.jobs() if job.state == "RUNNING"]

    def processes(self, *programs: str) -> list[int]:
        lines = {pid: command_line(pid) for pid in with_environment(self.mark)}
        return sorted(
            pid
            for pid, line in lines.items()
            if any(program in line for program in programs) and "/guard.py " not in line
        )


Disturb = Callable[[Scene], int | None]
"""Does it, and returns how many requests it may cost; None where there is nothing yet that it could be done to."""


def kill_client(scene: Scene) -> int:
    scene.operator.kill()
    return 0 if scene.way == "batch" else scene.everything


def kill_worker(scene: Scene) -> int | None:
    workers = scene.processes(WORKER)
    if not workers:
        return None
    kill_all([scene.draw.choice(workers)])
    return scene.per_task if scene.way == "batch" else scene.everything


def kill_server(scene: Scene) -> int | None:
    servers = scene.processes(SERVER)
    if not servers:
        return None
    kill_all([scene.draw.choice(servers)])
    return scene.concurrency


def kill_task(scene: Scene) -> int | None:
    tasks = scene.processes(*TASK)
    if not tasks:
        return None
    kill_all([scene.draw.choice(tasks)])
    return scene.per_task


def kill_node(scene: Scene) -> int | None:
    """The node comes back; the controller may have noticed nothing."""
    jobs = scene.running()
    if not jobs:
        return None
    node = scene.draw.choice(sorted({job.node for job in jobs}))
    with suppress(AssertionError):  # the controller is away
        scene.cluster.kill_node(node, noticed=scene.draw.random() < 0.5)
    scene.after(scene.draw.uniform(2, 8), lambda: scene.cluster.start_node(node))
    return scene.per_task * sum(job.node == node for job in jobs)


def kill_controller(scene: Scene) -> int:
    young = [job for job in scene.jobs() if job.elapsed < UNSAVED_SECONDS]
    scene.cluster.kill_controller()
    scene.after(scene.draw.uniform(1, 6), scene.cluster.start_controller)
    return scene.per_task * len(young)


def preempt(scene: Scene) -> int | None:
    jobs = scene.running()
    if not jobs:
        return None
    node = scene.draw.choice(sorted({job.node for job in jobs}))
    try:
        scene.cluster.preempt(node, seconds=scene.draw.uniform(1, 6))
    except AssertionError:
        return None
    return scene.per_task * sum(job.node == node for job in jobs)


def notice(scene: Scene) -> int | None:
    """What a job is sent some time before its limit."""
    return _to_a_job(scene, lambda job: scene.cluster.notify(job.id))


def cancel_task(scene: Scene) -> int | None:
    return _to_a_job(scene, lambda job: scene.cluster.run("scancel", job.id))


def _to_a_job(scene: Scene, act: Callable[[JobRecord], object]) -> int | None:
    jobs = scene.running()
    if not jobs:
        return None
    try:
        act(scene.draw.choice(jobs))
    except AssertionError:
        return None
    return scene.per_task


def overrun(scene: Scene) -> int | None:
    """A job hangs until its time limit ends it: it hears neither the notice nor TERM, and does not come back.

    Of a batch all of a job stands still, of a service its server: without a beat the pool would end it first."""
    programs = (*TASK, WORKER, SERVER) if scene.way == "batch" else (SERVER,)
    jobs = scene.running()
    if not jobs:
        return None
    job = scene.draw.choice(jobs)
    still = with_environment(scene.mark, f"SLURM_JOB_ID={job.raw}") & set(scene.processes(*programs))
    if not any(SERVER in command_line(pid) for pid in still):
        return None
    hanging = Hanging(still)

    def expire() -> None:
        if hanging.hold():
            with suppress(AssertionError):  # the controller is away, or has forgotten what it was told last
                scene.cluster.near_time_limit(job.id, 0)
            scene.after(LIMIT_SECONDS, expire)

    def hold() -> None:
        if hanging.hold():
            scene.after(0, hold)

    expire()
    hold()
    return scene.per_task


def full_disk(scene: Scene) -> int:
    """Every worker comes to its end, and those that are started anew meanwhile. Then somebody frees space."""
    ballast = scene.data / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while stream.write(b"\0" * 65536):
            continue

    def free() -> None:
        ballast.unlink(missing_ok=True)
        scene.disk_full = False

    scene.disk_full = True
    scene.after(scene.draw.uniform(2, 6), free)
    return 2 * scene.everything


def clock_jumps(scene: Scene) -> int:
    """In jobs, and in a service's client too: an hour ahead or back, and some seconds later right again."""
    clock = scene.clock
    assert clock is not None
    clock.set(scene.draw.choice([HOUR, -HOUR]))
    scene.after(scene.draw.uniform(4, 10), lambda: clock.set(0))
    return 0


def kill_daemon(scene: Scene) -> int:
    assert isinstance(scene.operator, Queue)
    scene.operator.kill_daemon()
    scene.after(scene.draw.uniform(0, 4), scene.operator.start_daemon)
    return 0


def kill_run(scene: Scene) -> int | None:
    assert isinstance(scene.operator, Queue)
    runs = scene.operator.workers()
    if not runs:
        return None
    kill_all(runs)
    return 0 if scene.way == "batch" else scene.everything


def fault(mode: str | int) -> Disturb:
    """A share of the calls goes wrong for some seconds, up to twice on each server."""

    def disturb(scene: Scene) -> int:
        set_faults(scene.state, mode=mode, share=scene.draw.choice([0.1, 0.3, 1.0]), times=scene.draw.randint(1, 2))
        scene.after(scene.draw.uniform(3, 8), lambda: set_faults(scene.state))
        return 0  # calls that met a fault are counted apart

    return disturb


MODES: Sequence[str | int] = ("hang", "garbage", "truncate", "reset", 429, 500)
ALWAYS: dict[str, Disturb] = {
    "client": kill_client,
    "worker": kill_worker,
    "server": kill_server,
    "task": kill_task,
    "node": kill_node,
    "slurmctld": kill_controller,
    "notice": notice,
    "scancel": cancel_task,
    **{f"{mode}": fault(mode) for mode in MODES},
}
ON_SPOT: dict[str, Disturb] = {"preempt": preempt}
LAST: dict[str, Disturb] = {"overrun": overrun}
"""Drawn after all else of a round, so that older rounds are drawn as they were."""
WITH_DAEMON: dict[str, Disturb] = {"daemon": kill_daemon, "run": kill_run}
WITH_SMALL_DISK: dict[str, Disturb] = {"disk": full_disk}
WITH_CLOCK: dict[str, Disturb] = {"clock": clock_jumps}
EVERY: dict[str, Disturb] = {**ALWAYS, **ON_SPOT, **WITH_DAEMON, **WITH_SMALL_DISK, **WITH_CLOCK, **LAST}
