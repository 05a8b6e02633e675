"""The examination of a cluster: Slurm's commands asked, then two small jobs that report back through the data root.

Belongs here: what is asked and started, in which order, and that it is ended whatever happens. Does not belong here:
what a node looks at (`probe`), or what follows from it (`verdicts`).
"""

import fcntl
import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cosmo_resources.deployment_file import DeploymentFile
from cosmo_resources.examination import probe, verdicts
from cosmo_resources.examination.findings import Finding
from cosmo_resources.pools.batch import SlurmOptions
from cosmo_resources.pools.sites import slurm_options
from cosmo_resources.slurm.commands import SlurmError
from cosmo_resources.slurm.slurm import Slurm
from cosmo_resources.storage.files import disk_errors

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct")
COMMAND_SECONDS = 20.0
START_SECONDS = 300.0
"""What a probe may wait in the queue."""

REPORT_SECONDS = 2 * probe.IMPORT_SECONDS + 30
RESTART_SECONDS = 180.0
"""A job that was put back waits two minutes by Slurm's default (`cred_expire`) before it may start again."""

NOTICE_SECONDS = 30.0
ACCOUNTING_SECONDS = 10.0
POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0
TIME_LIMIT, NOTICE_AT_END = "15", 60
"""Minutes that a probe may take, and how many seconds before it is told to go."""

DEVICES = ("gpus", "gres", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
BULK = ("exclusive", "cpus-per-task", "mem", "mem-per-cpu", "mem-per-gpu", "cpus-per-gpu", "ntasks", "nodes")

Told = Callable[[str], None]


def examine_cluster(
    site: DeploymentFile, slurm: Slurm, root: Path, modules: tuple[str, ...], *, gpus: bool = False, told: Told
) -> Iterator[Finding]:
    """Examine the cluster of a deployment file, the findings as they come. `root` is a folder of the data root, where
    the probes report; `modules` are what workers import; with `gpus` the probes ask for the devices of a server.

    Cost: two jobs of some seconds, or as long as a requeued job waits here.
    """
    told("asking Slurm")
    for look in (_commands(slurm), _submission(site, slurm, root), _preemption(site, slurm)):
        found = list(look)
        yield from found
        if any(finding.state == "bad" for finding in found):
            return
    with _examination(site, slurm, root, gpus, told) as examination:
        yield from examination.findings(modules)


def _commands(slurm: Slurm) -> Iterator[Finding]:
    versions = set()
    for command in COMMANDS:
        try:
            versions.add(slurm.commands.run([command, "--version"], timeout=COMMAND_SECONDS).strip())
        except SlurmError as error:
            yield Finding("Slurm's commands", "bad", error.message, error.remedy)
            return
    try:
        slurm.commands.run(["squeue", "--me", "--noheader"], timeout=COMMAND_SECONDS)
        yield Finding("Slurm's commands", "ok", ", ".join(sorted(versions)))
    except SlurmError as error:
        yield Finding("Slurm's commands", "bad", error.message, error.remedy)
        return
    try:
        slurm.commands.run(["sacct", "--noheader", "--starttime=now"], timeout=COMMAND_SECONDS)
        yield Finding("accounting", "ok", "answers")
    except SlurmError as error:
        yield Finding(
            "accounting",
            "warn",
            f"{error.message}; how a job ended is known only while the controller remembers it (MinJobAge)",
            "ask the site to run slurmdbd",
        )


def _submission(site: DeploymentFile, slurm: Slurm, root: Path) -> Iterator[Finding]:
    """Would Slurm take the jobs that this deployment file makes?"""
    sizes = {1, site.servers_per_task} if site.way == "batch" else {1}
    for servers in sorted(sizes):
        options = slurm_options(site, servers)
        array = {"array": f"0-{site.tasks - 1}"} if site.way == "batch" and servers == site.servers_per_task else {}
        spec = options.spec("cosmo-doctor", probe.__name__, root, root / "%j.log", comment="", **array)
        asked = {**options.options, **array}.items()
        words = " ".join(f"--{name}" if value is None else f"--{name}={value}" for name, value in asked)
        try:
            slurm.check(spec)
            yield Finding("sbatch", "ok", f"would be accepted: {words}")
        except SlurmError as error:
            yield Finding("sbatch", "bad", error.message, f"{error.remedy}; then change slurm.options")


def _preemption(site: DeploymentFile, slurm: Slurm) -> Iterator[Finding]:
    partition = site.slurm.options.get("partition")
    with suppress(SlurmError):
        config = slurm.commands.run(["scontrol", "show", "config"], timeout=COMMAND_SECONDS)
        which = ["scontrol", "--oneliner", "show", "partition", *([str(partition)] if partition else [])]
        lines = slurm.commands.run(which, timeout=COMMAND_SECONDS).splitlines()
        line = next((one for one in lines if partition or "Default=YES" in one), "")
        yield verdicts.preemption(config, line, site.grace_seconds)


@dataclass
class Beats:
    """What was seen of one probe's beat: how often it moved, the longest it stood still (seconds), how often it was
    seen half-written, its clock minus this one's at sight, and the last one."""

    moves: int = 0
    longest: float = 0.0
    torn: int = 0
    offset: float | None = None
    last: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0

    def look(self, path: Path) -> None:
        """Look again."""
        try:
            beat = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            return
        except ValueError:
            self.torn += 1
            return
        now = time.monotonic()
        same_life = beat["restart"] == self.last.get("restart")
        if same_life and not self.last["notice"]:  # one that has put itself back is no more
            self.longest = max(self.longest, now - self.since)
        if same_life and beat["beat"] == self.last["beat"]:
            return
        # A beat may have lain there for a while when it was seen: the newest look of all is the least wrong.
        offset = beat["time"] - time.time()
        self.offset = offset if self.offset is None else max(self.offset, offset)
        self.moves, self.last, self.since = self.moves + 1, beat, now


class _Stopped(Exception):  # noqa: N818 - no error, but a finding that ends the examination
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class Examination:
    """Two probes, on two nodes where there are two: the first holds a lock while the second looks at it, and the second
    is told to go and comes back."""

    def __init__(self, site: DeploymentFile, slurm: Slurm, folder: Path, gpus: bool, told: Told) -> None:
        self.site, self.slurm, self.folder, self.gpus, self.told = site, slurm, folder, gpus, told
        self.name = f"cosmo-{folder.name}"
        self.beats = {0: Beats(), 1: Beats()}
        self.token = secrets.token_hex(8)

    def findings(self, modules: tuple[str, ...]) -> Iterator[Finding]:
        """What is seen, in the order in which it is."""
        spec = {
            "modules": modules,
            "server": self.site.server.model_dump(mode="json"),
            "model": self.site.server.model,
            "host": self.site.host,
            "token": self.token,
        }
        probe.replace(self.folder / probe.SPEC_NAME, json.dumps(spec))
        try:
            first = self._start(0)
            second = self._start(1, avoid=first["node"])
            reports = [first, second]
            yield verdicts.data_root(reports, self.folder)
            yield from verdicts.nodes(reports, self.site, self.gpus)
            yield verdicts.locks(reports, probe.lock_state(self.folder / "lock-0"))
            yield verdicts.address(first, self._reached(first["url"]), self.site.way)
            yield from self._leave_and_return(second)
            yield verdicts.renames(self.beats.values(), self.site.way)
            yield verdicts.clocks(reports, [beats.offset or 0.0 for beats in self.beats.values()])
            yield from self._end()
        except _Stopped as stopped:
            yield stopped.finding

    def cancel(self) -> None:
        """End every job of this examination."""
        self.slurm.cancel(*{job.job for job in self.slurm.jobs(self.name)})

    def _start(self, task: int, avoid: str = "") -> dict[str, Any]:
        """Submit a probe and return its report."""
        job = self._submit(task, avoid if self._other_nodes(avoid) else "")
        report = self.folder / f"report-{task}.0.json"
        started = asked = time.monotonic()
        running = 0.0
        while not report.exists():
            if time.monotonic() - asked >= LOOK_SECONDS:
                asked = time.monotonic()
                outcome = self.slurm.outcome(job, name=self.name)
                if outcome.over and not report.exists():
                    raise _Stopped(verdicts.ended_early(outcome.ended, self._log(job, task), self.site.python))
                record = next(iter(outcome.live), None)
                if record is not None and record.state != "PENDING" and not running:
                    running = time.monotonic()
                self.told(f"probe {job}_{task}: {record.state.lower() if record else 'ending'}")
                if record is not None and (record.held or (not running and asked - started > START_SECONDS)):
                    raise _Stopped(verdicts.not_started(record, asked - started))
                if running and asked - running > REPORT_SECONDS:
                    raise _Stopped(verdicts.silent(record, self.folder))
            time.sleep(POLL_SECONDS)
        return dict(json.loads(report.read_text(encoding="utf-8")))

    def _submit(self, task: int, avoid: str) -> str:
        options = probe_options(self.site, self.gpus)
        others = [str(options.options["exclude"])] if options.options.get("exclude") else []
        more = {"exclude": ",".join([*others, avoid])} if avoid else {}
        spec = options.spec(
            self.name,
            probe.__name__,
            self.folder,
            self.folder / "%A_%a.log",
            comment="cosmo doctor",
            array=f"{task}-{task}",
            **more,
        )
        try:
            return self.slurm.submit(spec)
        except SlurmError as error:
            remedy = error.remedy if self.gpus else f"{error.remedy}; where jobs must ask for GPUs, add --gpus"
            raise _Stopped(Finding("probe", "bad", error.message, remedy)) from error

    def _other_nodes(self, node: str) -> bool:
        """Whether a probe that avoids a node finds another one that is not full."""
        options = self.site.slurm.options
        if not node or {"nodelist", "nodefile"} & options.keys():
            return False
        which = [f"--partition={options['partition']}"] if options.get("partition") else []
        with suppress(SlurmError):
            listing = ["sinfo", "--noheader", "--Node", "--states=idle,mixed", "--format=%N", *which]
            return bool(set(self.slurm.commands.run(listing, timeout=COMMAND_SECONDS).split()) - {node})
        return False

    def _leave_and_return(self, report: Mapping[str, Any]) -> Iterator[Finding]:
        """USR1 to the second probe, as at the end of its time; it puts itself back, and starts again."""
        job = next((record.id for record in self.slurm.jobs(self.name) if record.task == 1), "")
        self.told("telling a probe to go")
        self.slurm.signal(job, "USR1")
        beats = self.beats[1]
        noticed = self._until(lambda: beats.last.get("notice") or beats.last.get("restart"), NOTICE_SECONDS)
        yield verdicts.notice(noticed)
        if not noticed:
            return
        self.told("waiting for a probe to come back from the queue")
        again = self.folder / "report-1.1.json"
        self._until(lambda: again.exists() or beats.last.get("requeue"), RESTART_SECONDS)
        waiting = next((record for record in self.slurm.jobs(self.name) if record.id == job), None)
        yield verdicts.requeue(again.exists(), beats.last.get("requeue") or "", waiting, report["scontrol"])

    def _end(self) -> Iterator[Finding]:
        """Let the probes end, and see whether the accounting tells how."""
        self.told("waiting for the end of the probes")
        (self.folder / probe.END_NAME).touch()
        jobs = {record.job for record in self.slurm.jobs(self.name)}
        gone = self._until(lambda: not self.slurm.jobs(self.name), NOTICE_SECONDS, every=LOOK_SECONDS)

        def known() -> bool:
            return all(any(end.succeeded for end in self.slurm.ended(job) or ()) for job in jobs)

        told = gone and self._until(known, ACCOUNTING_SECONDS, every=LOOK_SECONDS)
        yield verdicts.ends(gone, told)

    def _reached(self, url: str) -> str:
        """What stands in the way of asking a node from here; empty where nothing does."""
        return verdicts.reach(url, self.token) if url else "no address"

    def watch(self) -> None:
        """Look at the beats."""
        for task, beats in self.beats.items():
            beats.look(self.folder / f"beat-{task}.json")

    def _until(self, condition: Callable[[], object], seconds: float, *, every: float = POLL_SECONDS) -> bool:
        deadline = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < deadline:
            time.sleep(every)
        return bool(found)

    def _log(self, job: str, task: int) -> Path:
        return self.folder / f"{job}_{task}.log"


def probe_options(site: DeploymentFile, gpus: bool) -> SlurmOptions:
    """How a probe is submitted: as the site's own jobs, but small, short and, unless asked for, without devices."""
    options = slurm_options(site, 1)
    left = {name: value for name, value in options.options.items() if gpus or name not in (*DEVICES, *BULK)}
    if not gpus:
        left |= {"cpus-per-task": "1", "mem": "2G" if site.server.engine == "vllm" else "1G"}
    return replace(options, options={**left, "time": TIME_LIMIT}, notice_seconds=NOTICE_AT_END)


@contextmanager
def _examination(site: DeploymentFile, slurm: Slurm, root: Path, gpus: bool, told: Told) -> Iterator[Examination]:
    """An examination with its folder, the lock that probes shall see held, and a beat that says that it lives; jobs and
    folder are removed at the end."""
    folder = root / f"doctor-{secrets.token_hex(4)}"
    with disk_errors(root):
        folder.mkdir(parents=True)
    examination = Examination(site, slurm, folder, gpus, told)
    ended = threading.Event()

    def keep() -> None:
        number = 0
        while not ended.wait(POLL_SECONDS):
            number += 1
            examination.watch()
            with suppress(OSError):
                probe.replace(folder / probe.EXAMINER, str(number))

    try:
        with (folder / f"lock-{probe.EXAMINER}").open("w", encoding="utf-8") as stream:
            with suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            threading.Thread(target=keep, daemon=True).start()
            yield examination
    finally:
        ended.set()
        examination.cancel()
        shutil.rmtree(folder, ignore_errors=True)
