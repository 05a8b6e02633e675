"""A build that is killed goes on with what it had finished, and ends with the bytes of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import encoding, shards
from cosmo_resources.storage.store import CorpusStore, Dataset
from tests.corpora import ROOT
from tests.doubles.replay_server import prose
from tests.processes import below, exists
from tests.unit.cosmo_assets.synthetic import filled, put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

DOCUMENTS, PART, SHARDS = 240, 40, 40

BUILD = """
import sys
from pathlib import Path
from tests.unit.cosmo_assets.tokenization import test_resume

if __name__ == "__main__":
    test_resume.build(Path(sys.argv[1]))
"""


def workspace(folder: Path) -> Workspace:
    return Workspace(CorpusStore(folder), recipe(tokenization={"shards": SHARDS}))


def prepare(folder: Path) -> None:
    space = workspace(folder)
    rows = [{"doc_id": f"{number:032x}", "text": prose(f"{number}", 60)} for number in range(DOCUMENTS)]

    def produce(writer: object) -> None:
        for start in range(0, DOCUMENTS, PART):
            writer.write(filled("generations", rows[start : start + PART]))  # type: ignore[attr-defined]
        writer.flow("documents", DOCUMENTS, DOCUMENTS)  # type: ignore[attr-defined]

    space.build("generations", produce, bucket="b000", stage_version="1", inputs=(), params={})
    mixed = [{"doc_id": row["doc_id"], "bucket": "b000", "tokens": 60, "copies": 1} for row in rows]
    put(space, "mixture", {"b000": mixed}, summary={"copies": DOCUMENTS})


def build(folder: Path) -> Dataset:
    """Build in chunks of one part file, so that there are many of them."""
    shards.CHUNK_DOCUMENTS = PART
    space = workspace(folder)
    shards.build(space, tiny_tokenizer())
    return space.store.open("tokenized_shards")


def contents(dataset: Dataset) -> dict[str, bytes]:
    return {entry.name: (dataset.folder / entry.name).read_bytes() for entry in dataset.manifest.files}


def begin(folder: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = folder.parent / "build.py"
    script.write_text(BUILD, encoding="utf-8")
    return subprocess.Popen([sys.executable, str(script), str(folder)], env=environment, start_new_session=True)


def finished(folder: Path) -> tuple[int, int]:
    """Chunks and shards that unfinished work holds."""
    work = folder / "tokenized_shards" / "all" / ".work" / shards.WORK
    return len(list(work.glob("encoded/*.ends"))), len(list(work.glob("*/shard-*.done.json")))


def killed_when(folder: Path, chunks: int, sealed: int) -> tuple[int, int]:
    """Kill a build, by SIGKILL to its first process alone, once so much is finished; what it left."""
    process = begin(folder)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (finished(folder)[0] >= chunks and finished(folder)[1] >= sealed):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    family = below(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while alive := [pid for pid in family if exists(pid)]:  # those that encode end with it
        assert time.monotonic() < deadline, alive
        time.sleep(0.01)
    return finished(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("whole") / "corpus"
    prepare(folder)
    return build(folder)


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path, whole: Dataset, seed: int) -> None:
    folder, draw = tmp_path / "corpus", random.Random(seed)
    prepare(folder)
    chunks = DOCUMENTS // PART
    moments = sorted((draw.randrange(1, chunks), 0) for _ in range(1)) + [(chunks, draw.randrange(SHARDS))]
    for wanted in moments:
        left = killed_when(folder, *wanted)
        if (folder / "tokenized_shards" / "all" / "CURRENT").exists():
            break  # it was faster than the kill
        assert left[0] >= wanted[0]
        assert left[1] >= wanted[1]
    found = build(folder)
    assert contents(found) == contents(whole)
    assert found.manifest.version == whole.manifest.version
    assert finished(folder) == (0, 0), "nothing of the unfinished work is left"


def test_what_is_finished_is_not_done_again(tmp_path: Path, whole: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "corpus"
    prepare(folder)
    chunks, sealed = killed_when(folder, DOCUMENTS // PART, 1)
    assert chunks == DOCUMENTS // PART, "killed while it wrote the shards"
    assert 1 <= sealed < SHARDS
    encoded: list[str] = []
    gathered: list[Path] = []
    encode, gather = encoding.encode, shards._Build._gather

    def listening(chunk: encoding.Chunk, how: encoding.Encoding, at: Path, key: str) -> None:
        encoded.append(key)
        encode(chunk, how, at, key)

    def writing(self: shards._Build, path: Path, *rest: object) -> None:
        gathered.append(path)
        gather(self, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(encoding, "encode", listening)
    monkeypatch.setattr(shards._Build, "_gather", writing)
    assert contents(build(folder)) == contents(whole)
    assert encoded == []
    assert len(gathered) == SHARDS - sealed
