"""A corpus whose prompts wait to be answered, and deployment files whose servers are replay servers."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cosmo_assets.build import STEPS
from cosmo_resources.deployments import POOLS
from tests.corpora import ONE_TEMPLATE, ROOT, Corpus, contents, seeds
from tests.doubles.replay_program import refusal
from tests.doubles.replay_server import replaying

Contents = dict[str, tuple[object, ...]]
NOTHING: Mapping[str, Any] = {}
ROWS = 60
UP_TO_PROMPTS = tuple(asset for step, _ in STEPS[:1] for asset in step)


def waiting_corpus(folder: Path, rows: int = ROWS) -> Corpus:
    """A corpus of one bucket whose prompts are there."""
    corpus = Corpus(folder, templates=ONE_TEMPLATE, buckets=1, shard_rows=10).write(seeds(rows))
    with replaying() as server:
        corpus.build(server.url, UP_TO_PROMPTS)
    return corpus


def answered(corpus: Corpus, *, refuse: float = 0.0) -> Contents:
    """What its rows are when nothing disturbs, and a share of the prompts is refused."""
    with replaying(fault=lambda body, _: refusal(body, refuse) if "seed" in body else None) as server:
        corpus.build(server.url, ["generations"])
    return contents(corpus)


def generate(corpus: Corpus, deployment: Path) -> "subprocess.Popen[str]":
    """Start `cosmo run` on the bucket, in a process group of its own."""
    return corpus.command("", "run", "--asset", "generations", deployment=str(deployment))


def end(process: "subprocess.Popen[str]") -> str:
    """What a command printed; it must end well."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return str(output)


def pools_of(corpus: Corpus) -> Path:
    """Where service pools of a corpus keep their records."""
    return corpus.data / POOLS


def site(
    folder: Path,
    way: str,
    *,
    delay: float = 0.02,
    refuse: float = 0.0,
    notice_seconds: int = 120,
    partition: str = "main",
    options: Mapping[str, Any] = NOTHING,
    server: Mapping[str, Any] = NOTHING,
    setup: str = "",
    ssh: Mapping[str, str | int] | None = None,
    **more: Any,
) -> Path:
    """Write a deployment file; the servers' state (calls, faults) is in `folder / "servers"`."""
    program = [sys.executable, "-m", "tests.doubles.replay_program"]
    program += ["--port", "{port}", "--host", "{host}", "--model", "{name}"]
    program += ["--state", str(folder / "servers"), "--delay", str(delay), "--refuse", str(refuse)]
    fields = {
        "way": way,
        "server": {
            "engine": "command",
            "model": "replay",
            "command": program,
            "environment": {"PYTHONPATH": str(ROOT)},
            "ready_within": 60,
            **server,
        },
        "host": "127.0.0.1",
        "concurrency": 4,
        "idle_seconds": 20,
        "grace_seconds": 10,
        "slurm": {
            "options": {"partition": partition, "time": "00:10:00", "mem": "200M", "cpus-per-task": 1, **options},
            "notice_seconds": notice_seconds,
            "setup": f"export PYTHONPATH={ROOT}\n{setup}",
            **({"ssh": dict(ssh)} if ssh else {}),
        },
        **more,
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return path


def state_of(site: Path) -> Path:
    """Where the servers of a deployment file keep what they were asked."""
    return site.parent / "servers"
