"""What follows from what probes and Slurm said: findings, each with what mends it.

Belongs here: judging what was seen. Does not belong here: seeing it (`probe` on nodes, `cluster` here).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from cosmo_resources.deployment_file import DeploymentFile
from cosmo_resources.examination import probe
from cosmo_resources.examination.findings import Finding
from cosmo_resources.pools.agent import ServiceSpec
from cosmo_resources.slurm.records import EndRecord, JobRecord

NO_OUTPUT_SIGNAL = 53
"""Slurm's end of a job whose output file the node could not open (exit code 0:53)."""

REACH_SECONDS = 5.0
CLOCK_SECONDS = 5.0
QUOTED_LINES = 6
MISSING_PYTHON = (126, 127)
REBUILD = "build it again: make worker-env WORKER_ENV=folder, with `python` of the deployment file as folder/bin/python"
Report = Mapping[str, Any]


class SeenBeats(Protocol):
    """See `cluster.Beats`."""

    moves: int
    longest: float
    torn: int


def preemption(config: str, partition: str, grace_seconds: float) -> Finding:
    """What `scontrol show config` and the line of `scontrol --oneliner show partition` say about leaving in time."""

    def setting(name: str, text: str) -> str:
        found = re.search(rf"\b{name}\s*=\s*(\S+)", text)
        return found[1] if found else ""

    kind, mode = setting("PreemptType", config), setting("PreemptMode", partition).upper()
    if kind in ("", "preempt/none", "(null)") or mode == "OFF":
        return Finding("preemption", "ok", "jobs of this partition are not preempted")
    if kind == "preempt/qos":
        return Finding(
            "preemption", "ok", "by QOS: `sacctmgr show qos format=name,preemptmode,gracetime` tells how long jobs have"
        )
    grace = float(setting("GraceTime", partition) or 0)
    by = "USR1" if "preempt_send_user_signal" in config else "TERM"
    if "CANCEL" in mode:
        detail = "preempted jobs are cancelled, not put back; what they had not done falls to the others"
        return Finding("preemption", "warn", detail, "use a partition with PreemptMode=REQUEUE where there is one")
    detail = f"preempted jobs are told by {by}, have {grace:g} s, and are put back into the queue"
    if grace < grace_seconds:
        return Finding(
            "preemption",
            "warn",
            f"{detail}; the deployment file gives requests {grace_seconds:g} s to finish: the rest is asked again",
            f"set grace_seconds below {max(grace, 1):g}, or ask for a partition with a longer GraceTime",
        )
    return Finding("preemption", "ok", detail)


def not_started(record: JobRecord, seconds: float) -> Finding:
    """A probe that waits in the queue."""
    if record.held:
        return Finding(
            "probe",
            "bad",
            f"job {record.id} is held: {record.reason}",
            f"`scontrol show job {record.id}` and the node's slurmd.log say why; a node that cannot write the job's "
            "output holds it, too",
        )
    return Finding(
        "probe",
        "warn",
        f"job {record.id} still waits in the queue after {seconds:.0f} s ({record.reason}); nothing on nodes was seen",
        "run it again when nodes are free, or with a partition or QOS that starts small jobs",
    )


def silent(record: JobRecord | None, folder: Path) -> Finding:
    """A probe that runs, and of which nothing is seen."""
    where = f" on {record.node}" if record is not None else ""
    return Finding(
        "data root",
        "bad",
        f"a job runs{where}, but its report does not appear in {folder}",
        "point COSMO_DATA at a folder of a file system that this machine and all nodes share under one path",
    )


def ended_early(ends: Sequence[EndRecord], log: Path, python: str) -> Finding:
    """A probe that ended without a report."""
    end = ends[-1]
    text = log.read_text(encoding="utf-8", errors="replace").strip() if log.is_file() else ""
    said = " | ".join(text.splitlines()[-QUOTED_LINES:])
    shared = "point COSMO_DATA at a folder that this machine and all nodes share under one path, and may write to"
    where = f" on {end.nodes}" if end.nodes else ""
    if end.signal == NO_OUTPUT_SIGNAL or (not text and end.succeeded):
        return Finding("data root", "bad", f"{log.parent} cannot be written to{where}: {end}", shared)
    if end.exit_code == probe.NO_FOLDER:
        return Finding("data root", "bad", f"not the same folder{where}: {said}", shared)
    if end.exit_code == probe.NOT_WRITABLE:
        return Finding("data root", "bad", f"not writable{where}: {said}", shared)
    if end.exit_code in MISSING_PYTHON and python in text:
        return Finding(
            "worker environment",
            "bad",
            f"{python} cannot be run{where}: {said}",
            "build it where nodes see it, with an interpreter that they have: make worker-env WORKER_ENV=folder; "
            "then set `python` to folder/bin/python",
        )
    if "ModuleNotFoundError" in text or "ImportError" in text or "No module named" in text:
        return Finding("worker environment", "bad", f"{python}{where}: {said}", REBUILD)
    return Finding("probe", "bad", f"{end}: {said or 'its log is empty'}", "mend what it says; slurm.setup comes first")


def data_root(reports: Sequence[Report], folder: Path) -> Finding:
    """Reports are here, so nodes write where this machine reads."""
    nodes = sorted({report["node"] for report in reports})
    if len(nodes) == 1:
        return Finding(
            "data root",
            "warn",
            f"{folder.parent} is shared with {nodes[0]}; no second node was free, so what nodes see of each other was "
            "not tried",
            "run it again when two nodes are free",
        )
    return Finding("data root", "ok", f"{folder.parent} is shared with {' and '.join(nodes)}")


def nodes(reports: Sequence[Report], site: DeploymentFile, gpus: bool) -> Iterator[Finding]:
    """What each node has; where nodes agree, once."""
    found: dict[Finding, list[str]] = {}
    for report in reports:
        for finding in (_worker(report, site), *_server(report, site), *(_gpus(report, site) if gpus else ())):
            found.setdefault(finding, []).append(report["node"])
    for finding, names in found.items():
        where = "" if len(names) == len(reports) else f"{names[0]}: "
        yield Finding(finding.subject, finding.state, where + finding.detail, finding.remedy)


def _worker(report: Report, site: DeploymentFile) -> Finding:
    subject, worker = "worker environment", report["worker"]
    if worker["error"]:
        return Finding(subject, "bad", f"{site.python} cannot import the worker: {worker['error']}", REBUILD)
    here = probe.project_version()
    if report["project"] and here and report["project"] != here:
        return Finding(subject, "bad", f"has cosmo {report['project']}, this machine {here}", REBUILD)
    if report["code"] != probe.code_digest():
        return Finding(subject, "warn", "its cosmo has other code than this machine's", REBUILD)
    slow = worker["seconds"] > 30
    return Finding(
        subject,
        "warn" if slow else "ok",
        f"Python {report['python']}, cosmo as here, imported without Dagster"
        + (f", in {worker['seconds']:g} s" if slow else ""),
        "put the environment on a faster file system; every task waits for it" if slow else "",
    )


def _server(report: Report, site: DeploymentFile) -> Iterator[Finding]:
    found, spec = report["server"], site.server
    what = {"vllm": "vLLM", "embedded": "the embedded server", "command": spec.command[0] if spec.command else ""}
    if found["error"]:
        yield Finding(
            "server",
            "bad",
            f"{what[spec.engine]} cannot be started with {spec.python or site.python}: {found['error']}",
            "set server.python to the interpreter of an environment that has it, on every node; `module load` lines "
            "belong into slurm.setup",
        )
    else:
        yield Finding("server", "ok", f"{what[spec.engine]} {found['version']}".strip() + " can be started")
    if report["model_there"] is False:
        yield Finding(
            "server", "bad", f"{spec.model} is not there", "put the model where all nodes see it, and set server.model"
        )


def _gpus(report: Report, site: DeploymentFile) -> Iterator[Finding]:
    asked, devices, names = site.server.gpus, report["devices"], report["gpus"]
    if len(devices) != asked:
        yield Finding(
            "GPUs",
            "bad",
            f"a server asks for {asked}, its job sees {len(devices)} (CUDA_VISIBLE_DEVICES)",
            "say in slurm.options how this site gives GPUs to jobs: gres: gpu:N, or gpus-per-node: N",
        )
    elif names is not None and len(names) < asked:
        yield Finding("GPUs", "bad", f"nvidia-smi sees {len(names)} of {asked}", "`nvidia-smi` on that node says more")
    elif asked:
        known = ", ".join(sorted(set(names))) if names else "no nvidia-smi: energy will not be measured"
        yield Finding("GPUs", "ok" if names else "warn", f"{asked} visible ({known})")
    else:
        yield Finding("GPUs", "ok", "servers ask for none")


def locks(reports: Sequence[Report], here: str) -> Finding:
    """Locks (flock) of one machine as another sees them: without them two workers would do one shard."""
    first, second = reports
    looks = {
        f"the lock of this machine, on {first['node']}": first["locks"][probe.EXAMINER],
        f"the lock of this machine, on {second['node']}": second["locks"][probe.EXAMINER],
        f"the lock of {first['node']}, on {second['node']}": second["locks"]["0"],
        f"the lock of {first['node']}, here": here,
    }
    wrong = [f"{what}: {seen}" for what, seen in looks.items() if seen != "held"]
    wrong += [f"{report['node']} got no lock: {report['locked']}" for report in reports if report["locked"] != "held"]
    if wrong:
        return Finding(
            "locks",
            "bad",
            f"not seen by others: {'; '.join(wrong)}",
            "mount the file system with locks (NFS 4, Lustre with -o flock), or put COSMO_DATA on one that has them",
        )
    return Finding("locks", "ok", "held by one machine, seen by the others")


def renames(beats: Iterable[SeenBeats], way: str) -> Finding:
    """Files that nodes replace by renaming, as this machine sees them change."""
    seen = list(beats)
    longest, ttl = max(one.longest for one in seen), ServiceSpec.model_fields["ttl"].default
    if torn := sum(one.torn for one in seen):
        return Finding(
            "renames", "bad", f"{torn} times a file was seen half-written", "put COSMO_DATA on a POSIX file system"
        )
    if longest > ttl / 2:
        return Finding(
            "renames",
            "bad" if way == "service" and longest > ttl else "warn",
            f"changes of a file on a node were seen here only after {longest:.1f} s; a lease is void after {ttl:g} s",
            "mount the file system with shorter attribute caching (NFS: acregmax=3,acdirmax=3)",
        )
    moves = sum(one.moves for one in seen)
    return Finding("renames", "ok", f"{moves} changes of files seen, each whole and within {longest:.1f} s")


def clocks(reports: Sequence[Report], offsets: Sequence[float]) -> Finding:
    """Clocks of nodes minus this machine's: nothing depends on them but the times in logs."""
    worst = max(zip(offsets, reports, strict=True), key=lambda pair: abs(pair[0]))
    if abs(worst[0]) > CLOCK_SECONDS:
        return Finding(
            "clocks",
            "warn",
            f"that of {worst[1]['node']} differs by {worst[0]:+.0f} s: times in logs cannot be compared",
            "let the site run a time service on its nodes",
        )
    return Finding("clocks", "ok", "equal within a few seconds")


def notice(seen: bool) -> Finding:
    """Whether USR1 came through to the program."""
    if seen:
        return Finding("notice", "ok", "USR1 reaches the program of a job")
    return Finding(
        "notice",
        "bad",
        "USR1 to a job's batch process does not reach its program: jobs will be killed in the middle of their requests",
        "`python` and slurm.setup must not put another process (a container, a script) before the interpreter",
    )


def requeue(came_back: bool, refused: str, waiting: JobRecord | None, scontrol: str) -> Finding:
    """Whether a job put itself back into the queue and began again."""
    if came_back:
        return Finding("requeue", "ok", "a job put itself back and started again")
    if not scontrol:
        missing = "there is no scontrol on nodes: a job cannot put itself back"
        return Finding("requeue", "bad", missing, "add its folder to PATH in slurm.setup")
    if refused:
        return Finding(
            "requeue",
            "bad",
            f"a job may not put itself back: {refused}",
            "ask the site for JobRequeue=1, and leave no-requeue out of slurm.options; until then what a job leaves at "
            "its time limit is taken over by the others, or by a new array",
        )
    state = f"{waiting.state} ({waiting.reason})" if waiting is not None else "gone"
    return Finding(
        "requeue",
        "warn",
        f"a job put itself back, and is {state} after some minutes",
        "`scontrol show job` tells when it may start; a long cred_expire delays it",
    )


def address(report: Report, hindrance: str, way: str) -> Finding:
    """Whether servers on nodes can be asked from here."""
    subject = "server address"
    if not hindrance:
        return Finding(subject, "ok", f"{report['url']} on {report['node']} answers this machine")
    what = report["address_error"] or f"{report['url']} on {report['node']} does not answer this machine: {hindrance}"
    only = "" if way == "service" else "; buckets do not need it, topic labels and pilots do"
    return Finding(
        subject,
        "bad" if way == "service" else "warn",
        f"{what}{only}",
        "set `host` to a name or address by which other machines reach a node (0.0.0.0 is none), open ports "
        "10000-32000 between them, or run cosmo on a node of the cluster",
    )


def ends(gone: bool, told: bool) -> Finding:
    """Whether jobs end when they should, and the accounting knows it."""
    if not gone:
        return Finding(
            "ends of jobs", "warn", "the probes had not ended in time; they are cancelled", "`squeue --me` lists jobs"
        )
    if not told:
        return Finding(
            "ends of jobs",
            "warn",
            "the accounting does not tell that the probes ended well",
            "`sacct` should list them; without it, how a job ended is known only for a while (MinJobAge)",
        )
    return Finding("ends of jobs", "ok", "known to the accounting")


def reach(url: str, token: str) -> str:
    """Ask a node's address; what stands in the way, or nothing."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=REACH_SECONDS) as reply:
            said = reply.read(len(token) + 1).decode("utf-8", "replace")
    except URLError as error:
        return str(error.reason)
    except OSError as error:
        return error.strerror or str(error)
    return "" if said == token else "another program answers there"
