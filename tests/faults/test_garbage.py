"""Collecting garbage while others build, read, collect and die: no wrong row is ever read, and nothing needed goes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cosmo_resources.storage.garbage import GONE, collect
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import Corpus, kill_group, seeds, wait_until
from tests.doubles.replay_server import ReplayServer, replaying

COMMON = """
import sys, time, uuid
from pathlib import Path
import pyarrow as pa
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.garbage import collect
from cosmo_resources.storage.store import BuildPlan, CorpusStore

store, rounds = CorpusStore(Path(sys.argv[1])), int(sys.argv[2])
schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("of", pa.string(), nullable=False)])

def build(asset, text, *inputs):
    def produce(writer):
        for part in range(3):
            writer.write(pa.table({"id": [f"{text}-{part}"], "of": [text]}))
        writer.flow("rows", 3, 3)
    return store.build(BuildPlan(asset, "1", schema, {"text": text}, inputs), produce, run={})
"""

BUILDER = (
    COMMON
    + """
with store.hold(uuid.uuid4().hex):
    for number in range(rounds):
        first = build("seeds", f"text {number % 5}")
        build("texts", f"text {number % 5}", store.open("seeds").ref())
"""
)

READER = (
    COMMON
    + """
read = 0
with store.hold(uuid.uuid4().hex):
    for _ in range(rounds):
        for asset in ("seeds", "texts"):
            dataset = store.open(asset)
            time.sleep(0.002)
            rows = dataset.table().to_pylist()
            assert len(rows) == 3 and len({row["of"] for row in rows}) == 1, rows
            assert [row["id"] for row in rows] == [f"{rows[0]['of']}-{part}" for part in range(3)], rows
            assert dataset.manifest.params["text"] == rows[0]["of"]
            read += 1
print(read)
"""
)

COLLECTOR = COMMON + "print(sum(len(collect(store, delete=True)) for _ in range(rounds)))"


def start(program: str, root: Path, rounds: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, str(root), str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_builders_readers_and_two_collectors_at_once(tmp_path: Path) -> None:
    end(start(BUILDER, tmp_path, 1))
    builders = [start(BUILDER, tmp_path, 60) for _ in range(2)]
    readers = [start(READER, tmp_path, 150) for _ in range(2)]
    collectors = [start(COLLECTOR, tmp_path, 40) for _ in range(2)]
    for process in (*builders, *collectors):
        end(process)
    assert [end(process).split()[-1] for process in readers] == ["300", "300"]
    store = CorpusStore(tmp_path)
    collect(store, delete=True)
    texts = store.open("texts")
    (ref,) = texts.manifest.inputs
    assert store.version(ref).manifest.asset == "seeds"
    assert len(store.versions("seeds")) <= 2
    assert len(store.versions("texts")) == 1


def test_a_collector_that_is_killed_leaves_nothing_half_removed(tmp_path: Path) -> None:
    for attempt in range(4):
        end(start(BUILDER, tmp_path, 5))
        process = start("print('up', flush=True)\n" + COLLECTOR, tmp_path, 200)
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: len(list(tmp_path.glob("seeds/all/*/_manifest.json"))) < 5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = CorpusStore(tmp_path)
        for asset in ("seeds", "texts"):
            assert len(store.open(asset).table()) == 3, attempt
            folders = [path.name for path in store.place(asset).iterdir() if path.is_dir() and path.name != ".work"]
            assert sorted(folders) == sorted(dataset.folder.name for dataset in store.versions(asset))
    collect(store, delete=True)
    assert not list(tmp_path.glob(f"*/*/.work/{GONE}*"))


@pytest.fixture
def changed(tmp_path: Path, replay: ReplayServer) -> Corpus:
    """A corpus that was built, and once more after a template had changed."""
    corpus = Corpus(tmp_path / "corpus").write(seeds(20))
    corpus.build(replay.url)
    corpus.templates = {**corpus.templates, "story": "Invent a story around this:\n{{ extract }}"}
    corpus.versions = {"story": "2"}
    corpus.write().build(replay.url)
    return corpus


def gc(corpus: Corpus, *arguments: str) -> str:
    process = corpus.command("http://127.0.0.1:9/v1", "gc", *arguments)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_the_whole_corpus_is_as_before_without_its_garbage(changed: Corpus, replay: ReplayServer) -> None:
    before = changed.versions_of_everything()
    versions = len(list(changed.data.glob("tiny/*/*/*/_manifest.json")))
    assert "to remove: cosmo gc --delete" in gc(changed)
    assert len(list(changed.data.glob("tiny/*/*/*/_manifest.json"))) == versions, "a listing removes nothing"
    assert "answers that are nowhere else" in "".join(one.kept for one in collect_all(changed))
    gc(changed, "--delete")
    assert len(list(changed.data.glob("tiny/*/*/*/_manifest.json"))) < versions
    assert len(changed.store.versions("generations", "b000")) == 2, "its answers were paid for"
    gc(changed, "--delete", "--answers")
    assert len(changed.store.versions("generations", "b000")) == 1
    assert changed.versions_of_everything() == before
    assert collect_all(changed, answers=True) == []
    replay.calls.clear()
    changed.build(replay.url)
    assert replay.calls == []
    assert changed.versions_of_everything() == before
    process = changed.command("", "trace", "-s", "0", "-t", "5")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


def collect_all(corpus: Corpus, **options: bool) -> list[object]:
    from cosmo_assets.operations.garbage import collect_corpus

    return list(collect_corpus(corpus.recipe, corpus.store, **options))


def test_a_recipe_that_is_changed_back_after_a_collection_asks_nothing(changed: Corpus, replay: ReplayServer) -> None:
    gc(changed, "--delete")
    replay.calls.clear()
    changed.templates = dict(Corpus(changed.folder).templates)
    changed.versions = {}
    changed.write().build(replay.url)
    assert replay.generation_calls == []


def test_a_run_that_is_at_work_loses_nothing_to_a_collection(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus").write(seeds(40))
    with replaying(delay=0.05) as server:
        corpus.build(server.url, ["seed_documents", "seed_embeddings"])
        process = corpus.command(server.url, "run", concurrency=2)
        wait_until(lambda: len(server.generation_calls) >= 3, process=process)
        while process.poll() is None:
            gc(corpus, "--delete", "--answers")
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert len(server.generation_calls) == 40
    assert len(corpus.rows()) == 40


def test_answers_of_a_killed_run_are_kept_and_taken_over(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus").write(seeds(40))
    with replaying(delay=0.05) as server:
        process = corpus.command(server.url, "run", concurrency=2)
        wait_until(lambda: len(server.generation_calls) >= 12, process=process)
        kill_group(process)
        gc(corpus, "--delete", "--answers")
        corpus.build(server.url)
        assert len(server.generation_calls) <= 42
    assert len(corpus.rows()) == 40


def test_a_manifest_that_was_edited_by_hand_stops_the_collection(changed: Corpus) -> None:
    dataset = changed.store.open("mixture")
    path = dataset.folder / "_manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"rows_out": ', '"rows_out": 1'), encoding="utf-8")
    versions = len(list(changed.data.glob("tiny/*/*/*/_manifest.json")))
    process = changed.command("", "gc", "--delete")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the manifest does not match its version" in " ".join(output.split())
    assert len(list(changed.data.glob("tiny/*/*/*/_manifest.json"))) == versions
    assert os.environ.get("COSMO_DATA") != str(changed.data)
