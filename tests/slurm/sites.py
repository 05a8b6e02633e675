"""A corpus whose prompts wait to be answered, and deployment files whose servers are replay servers."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cosmo_assets.build import STEPS
from tests.corpora import ONE_TEMPLATE, ROOT, Corpus, contents, seeds
from tests.doubles.replay_server import replaying

NOTHING: Mapping[str, Any] = {}
ROWS = 60
UP_TO_PROMPTS = tuple(asset for step, _ in STEPS[:1] for asset in step)


def waiting_corpus(folder: Path) -> Corpus:
    """A corpus of one bucket whose prompts are there."""
    corpus = Corpus(folder, templates=ONE_TEMPLATE, buckets=1, shard_rows=10).write(seeds(ROWS))
    with replaying() as server:
        corpus.build(server.url, UP_TO_PROMPTS)
    return corpus


def answered(corpus: Corpus) -> dict[str, tuple[object, ...]]:
    """What its rows are when nothing disturbs."""
    with replaying() as server:
        corpus.build(server.url, ["generations"])
    return contents(corpus)


def site(
    folder: Path,
    way: str,
    *,
    delay: float = 0.02,
    partition: str = "main",
    options: Mapping[str, Any] = NOTHING,
    server: Mapping[str, Any] = NOTHING,
    setup: str = "",
    **more: Any,
) -> Path:
    """Write a deployment file; the servers' state (calls, faults) is in `folder / "servers"`."""
    program = [sys.executable, "-m", "tests.doubles.replay_program"]
    program += ["--port", "{port}", "--host", "{host}", "--model", "{name}"]
    program += ["--state", str(folder / "servers"), "--delay", str(delay)]
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
            "setup": f"export PYTHONPATH={ROOT}\n{setup}",
        },
        **more,
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return path


def state_of(site: Path) -> Path:
    """Where the servers of a deployment file keep what they were asked."""
    return site.parent / "servers"
