"""Rounds of chaos: a bucket of prompts generated on a real Slurm while things break, and what must hold afterwards.

Belongs here: what a round's seed draws, its course, and the judgement of what it left. Does not belong here: the single
disturbances (`disturbances`), or printing many rounds (`tests.benchmarks.chaos`).
"""

import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.corpora import Corpus, contents
from tests.doubles.clock import Clock
from tests.doubles.replay_program import outcomes
from tests.slurm.cluster import Cluster
from tests.slurm.daemons import kill_all, until, with_environment
from tests.slurm.disturbances import (
    ALWAYS,
    DISK_MB,
    EVERY,
    LAST,
    ON_SPOT,
    WITH_CLOCK,
    WITH_DAEMON,
    WITH_SMALL_DISK,
    Scene,
)
from tests.slurm.operators import Command, Operator, Queue, command_line
from tests.slurm.sites import Contents, answered, site, state_of, waiting_corpus

PROMPTS = 240
"""Seeds; of some of them the prompt equals another's, and is asked once."""
REFUSED = 0.04
"""Share of the prompts that no server takes."""
SECONDS = 300.0
"""What a round may take before it is given up."""
STARTS = 10
"""How often an operator starts it at most."""
LEFT_SECONDS = 75.0
"""What may be left of a finished round for so long: idle servers of a service, and the server of the code of a
Dagster daemon that was killed, which waits 45 s for it."""


@dataclass(frozen=True)
class Plan:
    """What a seed draws. `moments` are shares of the prompts that were asked when the disturbance comes, in order."""

    name: str
    way: str
    partition: str
    tasks: int
    servers: int
    concurrency: int
    delay: float
    daemon: bool
    small_disk: bool
    clock: bool
    short: bool
    """Whether jobs have a time limit of a minute, and are told long before: they come back several times."""
    moments: tuple[tuple[float, str], ...]

    @property
    def what(self) -> str:
        limit = ["limit"] if self.short else []
        return " ".join([*limit, *(f"{kind}@{moment:.2f}" for moment, kind in self.moments)])


def draw_plan(seed: int, number: int, *, seconds: float = 14.0) -> Plan:
    """The round `number` of a seed; undisturbed and with all servers up it takes about so many seconds."""
    draw = random.Random(f"chaos/{seed}/{number}")
    way = draw.choice(["batch", "service"])
    partition = draw.choice(["main", "spot", "spot"])
    tasks, concurrency = draw.randint(1, 4), draw.randint(2, 6)
    servers = draw.choice([1, 1, 2]) if way == "batch" else 1
    daemon, small_disk, clock = draw.random() < 0.3, draw.random() < 0.3, draw.random() < 0.3 and Clock.available()
    kinds = [*ALWAYS, *(ON_SPOT if partition == "spot" else ()), *(WITH_DAEMON if daemon else ())]
    count = draw.randint(3, 6)
    sure = [*(WITH_SMALL_DISK if small_disk else ()), *(WITH_CLOCK if clock else ())]
    sure += [draw.choice([*WITH_DAEMON])] if daemon else []
    drawn = [*sure, *draw.sample(kinds, count - len(sure))]
    moments = [(draw.uniform(0.0, 0.85), kind) for kind in drawn]
    short = draw.random() < 0.2
    if draw.random() < 0.25:
        moments.append((draw.uniform(0.1, 0.6), draw.choice([*LAST])))
    return Plan(
        name=f"{seed}/{number}",
        way=way,
        partition=partition,
        tasks=tasks,
        servers=servers,
        concurrency=concurrency,
        delay=round(seconds * tasks * servers * concurrency / PROMPTS, 3),
        daemon=daemon,
        small_disk=small_disk,
        clock=clock,
        short=short,
        moments=tuple(sorted(moments)),
    )


@dataclass
class Verdict:
    """What a round left. `faults` are requests that a fault met; `repeated` those beyond one for each prompt, without
    these; `bound` is what the disturbances may have cost."""

    plan: Plan
    rows: int = 0
    requests: int = 0
    faults: int = 0
    repeated: int = 0
    bound: int = 0
    starts: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)


class Course:
    """One round, in a folder of its own."""

    def __init__(self, plan: Plan, given: "Rounds", folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.verdict = Verdict(plan)
        self._began = time.monotonic()
        self._given, self._cluster, self._prompts = given, given.cluster, len(given.undisturbed)
        shutil.copytree(given.made, folder / "corpus", ignore=shutil.ignore_patterns("data"))
        self.corpus = Corpus(folder / "corpus", buckets=1)

    def run(self) -> Verdict:
        with self._data():
            scene = self._scene()
            try:
                self._disturb(scene)
                self._judge(scene)
            except Exception as error:  # noqa: BLE001 - it is the round's failure
                self.verdict.wrong.append(f"{type(error).__name__}: {error}")
            finally:
                self._end(scene)
        self.verdict.seconds = time.monotonic() - self._began
        return self.verdict

    def _scene(self) -> Scene:
        plan, folder = self.plan, self.folder
        clock = Clock(folder) if plan.clock else None
        name, value = "COSMO_CHAOS", str(folder)
        fake = clock.environment if clock else {}
        where = site(
            folder,
            plan.way,
            delay=plan.delay,
            refuse=REFUSED,
            partition=plan.partition,
            options={"time": "00:01:00" if plan.short else "00:10:00"},
            setup="".join(f"export {variable}={setting}\n" for variable, setting in {name: value, **fake}.items()),
            server={"restarts": 20},
            concurrency=plan.concurrency,
            tasks=plan.tasks,
            servers_per_task=plan.servers,
            rows_per_server=self._prompts // plan.tasks,
            timeout_seconds=plan.delay + 3,
            idle_seconds=5,
            notice_seconds=40 if plan.short else 10,
        )
        state_of(where).mkdir()
        environment = {name: value, **(fake if plan.way == "service" and not plan.daemon else {})}
        operator: Operator = (Queue if plan.daemon else Command)(self.corpus, where, environment)
        return Scene(
            draw=random.Random(f"scene/{plan.name}"),
            cluster=self._cluster,
            operator=operator,
            state=state_of(where),
            data=self.corpus.data,
            mark=f"{name}={value}",
            clock=clock,
            way=plan.way,
            concurrency=plan.concurrency,
            servers=plan.servers,
            tasks=plan.tasks,
        )

    def _disturb(self, scene: Scene) -> None:
        """Let things happen until they all have, and the work is done for all that."""
        coming = list(self.plan.moments)
        deadline = time.monotonic() + SECONDS
        scene.operator.start()
        while True:
            self._undo(scene)
            share = len({key for key, _ in outcomes(scene.state)}) / self._prompts
            ended = scene.operator.ended()
            done = ended is True and not self._failed()
            if coming and (share >= coming[0][0] or done):
                cost = EVERY[coming[0][1]](scene)
                if cost is not None or done:
                    self.verdict.bound += cost or 0
                    _, kind = coming.pop(0)
                    self._note(f"{share:.2f} {kind}, which may cost {cost}")
            elif done and not scene.later:
                return
            if ended is not None and not done and not scene.disk_full:
                assert scene.operator.starts < STARTS, "started too often"
                self._note(f"{share:.2f} started again, after {scene.operator.output[-1:] or 'a good end'}")
                scene.operator.start()
            assert time.monotonic() < deadline, f"not done within {SECONDS:g} s"
            time.sleep(0.05)

    def _note(self, what: str) -> None:
        with (self.folder / "course.log").open("a", encoding="utf-8") as log:
            log.write(f"{time.monotonic() - self._began:6.1f} {what}\n")

    def _undo(self, scene: Scene, *, now: bool = False) -> None:
        due = [entry for entry in scene.later if now or entry[0] <= time.monotonic()]
        scene.later = [entry for entry in scene.later if entry not in due]
        for _, action in due:
            action()

    def _failed(self) -> bool:
        """Whether rows are to be asked again; the operator sees that in the check of the asset."""
        return bool(self.corpus.store.open("generations", "b000").manifest.flow.failed.get("failed"))

    def _judge(self, scene: Scene) -> None:
        verdict, wrong, prompts = self.verdict, self.verdict.wrong, self._prompts
        undisturbed = self._given.undisturbed
        found = contents(self.corpus)
        rows = self.corpus.rows()
        verdict.rows, verdict.starts = len(rows), scene.operator.starts
        asked = outcomes(scene.state)
        answered_calls = Counter(key for key, fault in asked if not fault)
        verdict.requests, verdict.faults = len(asked), sum(bool(fault) for _, fault in asked)
        verdict.repeated = sum(answered_calls.values()) - len(answered_calls)
        if len(rows) != prompts or len({row["prompt_id"] for row in rows.values()}) != prompts:
            wrong.append(f"{len(rows)} rows of {prompts} prompts")
        statuses = Counter(row["status"] for row in rows.values())
        if set(statuses) - {"ok", "refused"}:
            wrong.append(f"states of rows: {dict(statuses)}")
        if any(row["status"] == "refused" and "longer than the context" not in row["error"] for row in rows.values()):
            wrong.append("a refusal without its reason")
        if found != undisturbed:
            wrong.append(f"{sum(found.get(key) != row for key, row in undisturbed.items())} rows differ")
        if self.corpus.store.current_version("generations", "b000") != self._given.version:
            wrong.append("the version differs from that of the undisturbed run")
        if len(answered_calls) != prompts:
            wrong.append(f"{len(answered_calls)} different requests were answered")
        if verdict.repeated > verdict.bound:
            wrong.append(f"{verdict.repeated} requests repeated, {verdict.bound} could be in flight")
        scene.operator.leave()
        with suppress(TimeoutError):
            until(lambda: not scene.jobs() and not with_environment(scene.mark), LEFT_SECONDS, "the end of everything")
        if jobs := scene.jobs():
            wrong.append(f"jobs left: {', '.join(f'{job.id} {job.name} {job.state} {job.reason}' for job in jobs)}")
        if left := [line for pid in with_environment(scene.mark) if (line := command_line(pid))]:
            wrong.append(f"processes left: {left}")

    def _end(self, scene: Scene) -> None:
        """Leave nothing to the next round, whatever happened in this one."""
        with suppress(Exception):
            self._undo(scene, now=True)
        self.verdict.output = scene.operator.output
        with suppress(Exception):
            scene.operator.leave()
        with suppress(TimeoutError, AssertionError):
            self._cluster.reset()
        kill_all(with_environment(scene.mark))
        shutil.rmtree(self.corpus.state, ignore_errors=True)

    @contextmanager
    def _data(self) -> Iterator[None]:
        """The data root; on a file system of its own, where it is to be filled up."""
        data = self.corpus.data
        data.mkdir()
        if self.plan.small_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "cosmo-chaos", str(data)], check=True)
        try:
            shutil.copytree(self._given.made / "data", data, dirs_exist_ok=True)
            yield
        finally:
            if self.plan.small_disk:
                subprocess.run(["umount", "--lazy", str(data)], check=True)


@dataclass(frozen=True)
class Rounds:
    """A cluster, a corpus that waits, and what becomes of it undisturbed: what all rounds share."""

    cluster: Cluster
    made: Path
    undisturbed: Contents
    version: str

    def run(self, plan: Plan, folder: Path) -> Verdict:
        folder.mkdir(parents=True)
        return Course(plan, self, folder).run()


def prepare(cluster: Cluster, folder: Path, *, prompts: int = PROMPTS) -> Rounds:
    made = waiting_corpus(folder / "made", prompts)
    shutil.copytree(made.folder, folder / "undisturbed")
    quiet = Corpus(folder / "undisturbed", buckets=1)
    rows = answered(quiet, refuse=REFUSED)
    refused = sum(row["status"] == "refused" for row in quiet.rows().values())
    assert 0 < refused < len(rows) / 10, f"{refused} prompts are refused"
    return Rounds(cluster, made.folder, rows, quiet.store.current_version("generations", "b000") or "")


def repeat_command(plan: Plan) -> str:
    seed, _, number = plan.name.partition("/")
    return f"python -m tests.benchmarks.chaos --seed {seed} --round {number}"
