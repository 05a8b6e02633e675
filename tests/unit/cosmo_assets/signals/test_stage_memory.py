"""The memory of a stage of signals, in a process of its own: that of a shard and the figures, not that of the texts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosmo_assets.stage import Workspace
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.corpora import ROOT
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import filled, put, recipe

SHARD, SHARDS, WORDS = 250, 5, 2000
"""Documents of a shard, shards of a bucket, words of a document."""
TIMES = 4
GROWTH = 20_000_000
"""Bytes that so many times the rows may cost: less than a half of the texts that come with them."""

PROGRAM = """
import json, re, sys
from pathlib import Path
from cosmo_assets.signals.stage import build_texts
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import recipe

def build(folder):
    def embedder():
        raise AssertionError("statistics need no embeddings")

    return build_texts(Workspace(CorpusStore(Path(folder)), recipe()), "statistics", "b000", embedder).rows

def peak(folder):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here
    rows = build(folder)
    return rows, int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

build(sys.argv[1])  # what is compiled and loaded once
print(json.dumps([peak(folder) for folder in sys.argv[2:]]))
"""


def put_bucket(folder: Path, shards: int) -> int:
    """A bucket of answers, all of which decontamination kept; how many characters they have."""
    workspace = Workspace(CorpusStore(folder), recipe())
    rows = [{"doc_id": f"{number:032x}", "text": prose(f"{number}", WORDS)} for number in range(shards * SHARD)]

    def produce(writer: DatasetWriter) -> None:
        for start in range(0, len(rows), SHARD):
            writer.write(filled("generations", rows[start : start + SHARD]))
        writer.flow("documents", len(rows), len(rows))

    workspace.build("generations", produce, bucket="b000", stage_version="1", inputs=(), params={})
    verdicts = [{"doc_id": row["doc_id"], "keep": True} for row in rows]
    put(workspace, "decontaminated", {None: verdicts}, bucket="b000")
    return sum(len(row["text"]) for row in rows)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory cannot be reset here")
def test_four_times_the_rows_cost_less_than_half_of_their_texts(tmp_path: Path) -> None:
    folders = {tmp_path / "warm": SHARDS, tmp_path / "small": SHARDS, tmp_path / "large": TIMES * SHARDS}
    _, small, large = (put_bucket(folder, shards) for folder, shards in folders.items())
    assert large - small > 2 * GROWTH
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # mimalloc keeps some 50 MB for itself
    command = [sys.executable, "-c", PROGRAM, *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
    (few, before), (many, after) = json.loads(done.stdout)
    assert (few, many) == (SHARD * SHARDS, TIMES * SHARD * SHARDS)
    assert after - before < GROWTH, f"{after - before:,} bytes for {large - small:,} characters more"
