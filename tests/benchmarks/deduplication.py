"""What deduplication costs over many documents, beside datatrove's, and how many planted pairs are found.

Belongs here: time and memory of the stages on a stored corpus, recall by similarity. Does not belong here: whether
signatures and clusters are right (`test_signer`, `test_minhash`).

    python -m tests.benchmarks.deduplication [--documents 20000] [--buckets 4] [--peer-documents 500] [--cores 2]

Documents have about 600 words (800 tokens), drawn from the words of real texts as often as they stand there (with
COSMO_SAMPLES), else from made-up ones by Zipf's law; one in twenty is a copy of an earlier one with some words changed.
They are written to a store first, as generation leaves them (2 kB a document), and then deduplicated by the stages with
the methods of a recipe that names none. Times are CPU seconds of the process, all threads, and by the clock. datatrove
signs few documents, one core, in turns with this project's signer on one core; what it would take for all is
extrapolated, and says so. Its clusters are made of the same signatures, all of them.
"""

import argparse
import importlib.util
import itertools
import os
import random
import resource
import tempfile
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.typeshelper import Languages

from cosmo_assets.deduplication import clusters, signatures, verdicts
from cosmo_assets.deduplication.minhash import MinHashSigner, band_name, configuration
from cosmo_assets.deduplication.signer import shingle_hashes
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.deduplication import MinHashMethod
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.seeds.duplicates import jaccard
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import ALL, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.doubles.datatrove_minhash import datatrove_clusters, datatrove_pairs, datatrove_sign, gathered
from tests.unit.cosmo_assets.synthetic import filled, recipe

METHOD = MinHashMethod()
WORDS, PIECE = 600, 15
"""Words of a document, and of the pieces of one long text that it is put together from: two documents that have a piece
in common are hardly similar, and cutting is faster than signing."""

POOL = 2_000_000
EVERY, BACK = 20, 10
"""One document in `EVERY` is a changed copy of the one `BACK` before it."""

LEVELS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
"""About how similar the copies are, in turn."""

MEASURED = 200
"""Pairs of each level whose similarity is measured."""

TURNS = 3


class Corpus:
    """Documents by their numbers, the same in every run."""

    def __init__(self, frequencies: Counter[str]) -> None:
        words, limits = list(frequencies), list(itertools.accumulate(frequencies.values()))
        draw = random.Random(1)
        self._pool = [words[bisect(limits, draw.randrange(limits[-1]))] for _ in range(POOL)]

    def text(self, number: int) -> str:
        level = level_of(number)
        words = self._words(number if level is None else number - BACK)
        if level is not None:
            changes = round(WORDS * (1 - level) / (METHOD.ngram * (1 + level)))
            for change in range(changes):
                words[(2 * change + 1) * WORDS // (2 * changes)] = new_word(number * WORDS + change)
        return " ".join(words)

    def texts(self, count: int) -> Iterator[str]:
        return map(self.text, range(count))

    def _words(self, number: int) -> list[str]:
        starts = random.Random(number).choices(range(POOL - PIECE), k=WORDS // PIECE)
        return [word for start in starts for word in self._pool[start : start + PIECE]]


def level_of(number: int) -> float | None:
    """How similar a document is to the one that it copies; None if it is no copy."""
    return LEVELS[number // EVERY % len(LEVELS)] if number % EVERY == EVERY - 1 else None


def new_word(number: int) -> str:
    """A word that stands nowhere else: numbers would all become zeros."""
    return "changed" + "".join("abcdefghij"[int(digit)] for digit in str(number))


def frequencies_of(samples: Path | None) -> Counter[str]:
    if samples:
        text = (samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt").read_text(encoding="utf-8")
        return Counter(text.split())
    syllables = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "ny")
    words = ("".join(parts) for length in range(1, 5) for parts in itertools.product(syllables, repeat=length))
    return Counter({word: 1_000_000 // rank for rank, word in enumerate(itertools.islice(words, 50_000), 1)})


def peak() -> float:
    """The most memory that this process or a child of it ever had, in MB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e3


@dataclass
class Spent:
    clock: float
    cpu: float


def timed(work: Callable[[], object]) -> Spent:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - clock, time.process_time() - cpu)


def sign_here(texts: list[str], folder: Path) -> None:
    """The files of some texts."""
    folder.mkdir(parents=True)
    signer = MinHashSigner(METHOD)
    signer.add(pa.array(texts, pa.large_string()))
    signer.write(folder)


def compare_signers(corpus: Corpus, config: MinhashConfig, count: int, work: Path) -> dict[str, float]:
    """CPU seconds of one document on one core by each signer, in turns over the same texts."""
    texts = list(corpus.texts(count))
    ways: dict[str, Callable[[Path], None]] = {
        "here": lambda folder: sign_here(texts, folder),
        "datatrove": lambda folder: datatrove_sign(texts, config, folder, 0),
    }
    if importlib.util.find_spec("spacy"):
        few = texts[: max(count // 20, 1)]
        repeated = -(-count // len(few))
        ways["datatrove, its own English words"] = lambda folder: datatrove_sign(
            few, config, folder, 0, Languages.english
        )
    else:
        few, repeated = texts, 1
        print("datatrove's own English words need spaCy, which is not installed: not measured")
    spent = dict.fromkeys(ways, 0.0)
    for way, sign in ways.items():
        sign(work / way / "first")  # compiled code and tables
    for turn in range(TURNS):
        for way in sorted(ways, reverse=turn % 2 == 1):
            times = repeated if way.endswith("words") else 1
            spent[way] += timed(lambda way=way, turn=turn: ways[way](work / way / str(turn))).cpu * times
    theirs = sorted((work / "datatrove" / "0").rglob("*.sig"))
    here = [work / "here" / "0" / band_name(band) for band in range(METHOD.bands)]
    same = [path.read_bytes() == other.read_bytes() for path, other in zip(here, theirs, strict=True)]
    print(f"{count} documents, {np.mean([len(text.encode()) for text in texts]):.0f} bytes each, one core:")
    for way, seconds in spent.items():
        each = seconds / TURNS / count
        print(f"  {way}: {1e6 * each:.0f} us a document, {1 / each:.0f}/s, {spent[way] / spent['here']:.1f} x here")
    print(f"  files equal to datatrove's: {sum(same)} of {len(same)}", flush=True)
    return {way: seconds / TURNS / count for way, seconds in spent.items()}


def store_of(corpus: Corpus, count: int, buckets: int, folder: Path) -> Workspace:
    """A store with what comes before deduplication, documents dealt out to buckets in turn."""
    space = Workspace(CorpusStore(folder / "store"), recipe(buckets=buckets))
    names = [bucket_name(number) for number in range(buckets)]

    def put(asset: str, tables: Callable[[int], Iterator[pa.Table]], bucket: str | None = None) -> None:
        def produce(writer: DatasetWriter) -> None:
            rows = 0
            for number in [names.index(bucket)] if bucket else range(buckets):
                for table in tables(number):
                    writer.write(table, bucket=None if bucket else names[number])
                    rows += table.num_rows
            writer.flow("documents", rows, rows)

        space.build(asset, produce, bucket=bucket or ALL, stage_version="1", inputs=(), params={})

    def rows(asset: str, number: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        own = range(number, count, buckets)
        for start in range(0, len(own), SHARD):
            made = own[start : start + SHARD]
            (row,) = filled(asset, [{}]).to_pylist()
            values: dict[str, Any] = {name: [value] * len(made) for name, value in row.items()}
            values |= {name: [VALUES[name](corpus, document) for document in made] for name in columns}
            yield pa.table(values, schema=TABLES[asset])

    put("prompt_table", lambda number: rows("prompt_table", number, ["prompt_id", "template"]))
    for name in names:
        put("generations", lambda number: rows("generations", number, ["doc_id", "prompt_id", "text"]), name)
        put("generation_quality", lambda number: rows("generation_quality", number, ["doc_id", "words"]), name)
        put("decontaminated", lambda number: rows("decontaminated", number, ["doc_id", "keep"]), name)
    return space


VALUES: dict[str, Callable[[Corpus, int], Any]] = {
    "doc_id": lambda _, number: digest("document", str(number)),
    "prompt_id": lambda _, number: digest("prompt", str(number)),
    "template": lambda _, number: f"template {number % 7}",
    "text": lambda corpus, number: corpus.text(number),
    "words": lambda _, __: WORDS,
    "keep": lambda _, __: True,
}
SHARD = 1000


def deduplicate(space: Workspace) -> Spent:
    """All stages over all buckets, told as it goes."""
    names = [bucket_name(number) for number in range(space.recipe.buckets)]
    stages: dict[str, Callable[[], object]] = {
        "text_signatures": lambda: [signatures.build(space, name) for name in names],
        "duplicate_clusters": lambda: clusters.build(space),
        "deduplicated": lambda: [verdicts.build(space, name) for name in names],
    }
    total = Spent(0.0, 0.0)
    for asset, work in stages.items():
        spent = timed(work)
        print(
            f"  {asset}: {spent.clock:.1f} s by the clock, {spent.cpu:.1f} s of CPU; peak {peak():.0f} MB", flush=True
        )
        total = Spent(total.clock + spent.clock, total.cpu + spent.cpu)
    return total


def survivors_in(space: Workspace) -> dict[str, str]:
    """Of each document that is in a cluster, what stands for it."""
    rows = space.store.open("duplicate_clusters").table(["doc_id", "duplicate_of"]).to_pylist()
    return {row["doc_id"]: row["duplicate_of"] or row["doc_id"] for row in rows}


def cluster_by_datatrove(space: Workspace, documents: int, work: Path) -> float:
    """CPU seconds that datatrove takes to cluster the same signatures."""
    datasets = [space.store.open("text_signatures", name) for name in space.store.buckets("text_signatures")]
    folder = gathered([dataset.folder for dataset in datasets], METHOD.bands, work / "signatures")
    config = configuration(METHOD)
    groups: list[list[tuple[int, int]]] = []
    pairs = timed(lambda: datatrove_pairs(folder, config, work))
    joined = timed(lambda: groups.extend(datatrove_clusters(config, work)))
    ids = [dataset.table(["doc_id"])["doc_id"].to_pylist() for dataset in datasets]
    theirs = sorted(sorted(ids[rank][position] for rank, position in group) for group in groups)
    ours: dict[str, list[str]] = {}
    for document, stays in survivors_in(space).items():
        ours.setdefault(stays, []).append(document)
    print(
        f"  datatrove's clusters: pairs {pairs.cpu:.1f} s of CPU, groups of them {joined.cpu:.1f} s;"
        f" the same groups: {theirs == sorted(map(sorted, ours.values()))} ({len(groups)}); peak {peak():.0f} MB",
        flush=True,
    )
    print(f"    a document: {1e6 * (pairs.cpu + joined.cpu) / documents:.1f} us")
    return pairs.cpu + joined.cpu


def tell_recall(corpus: Corpus, stands_for: Mapping[str, str], count: int) -> None:
    """The planted pairs found, by similarity, beside what the method finds of such pairs on average."""
    copies: dict[float, list[int]] = {level: [] for level in LEVELS}
    for number in range(count):
        if (level := level_of(number)) is not None:
            copies[level].append(number)

    def stays(number: int) -> str:
        name = VALUES["doc_id"](corpus, number)
        return stands_for.get(name, name)

    for numbers in filter(None, copies.values()):
        pairs = (
            tuple(
                np.unique(shingle_hashes(corpus.text(place), configuration(METHOD)))
                for place in (number, number - BACK)
            )
            for number in numbers[:MEASURED]
        )
        similar = np.array([jaccard(*pair) for pair in pairs])
        expected = np.mean(1 - (1 - similar**METHOD.rows) ** METHOD.bands)
        hits = sum(stays(number) == stays(number - BACK) for number in numbers)
        print(
            f"  similarity {similar.mean():.3f}: {hits} of {len(numbers)} pairs found, {hits / len(numbers):.3f};"
            f" by 1 - (1 - s^{METHOD.rows})^{METHOD.bands}: {expected:.3f}"
        )
    planted = sum(stays(number) == stays(number - BACK) for numbers in copies.values() for number in numbers)
    dropped = sum(name != stands for name, stands in stands_for.items())
    print(f"  documents dropped that are no planted copy: {dropped - planted}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=20_000)
    arguments.add_argument("--buckets", type=int, default=4)
    arguments.add_argument("--peer-documents", type=int, default=500, help="how many datatrove signs")
    arguments.add_argument("--cores", type=int, default=2)
    arguments.add_argument("--work", type=Path, help="a folder for the corpus: 4 kB a document")
    chosen = arguments.parse_args()
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.cores])
    samples = Path(os.environ["COSMO_SAMPLES"]) if os.environ.get("COSMO_SAMPLES") else None
    corpus = Corpus(frequencies_of(samples))
    with tempfile.TemporaryDirectory(dir=chosen.work) as folder:
        work = Path(folder)
        each = compare_signers(corpus, configuration(METHOD), chosen.peer_documents, work / "signers")
        writing = timed(lambda: store_of(corpus, chosen.documents, chosen.buckets, work))
        space = Workspace(CorpusStore(work / "store"), recipe(buckets=chosen.buckets))
        print(
            f"{chosen.documents} documents, {chosen.buckets} buckets, {chosen.cores} cores; written in"
            f" {writing.clock:.0f} s; peak before {peak():.0f} MB",
            flush=True,
        )
        spent = deduplicate(space)
        peer = cluster_by_datatrove(space, chosen.documents, work / "peer")
        tell_recall(corpus, survivors_in(space), chosen.documents)
    print(f"all: {spent.clock:.1f} s by the clock, {spent.cpu:.1f} s of CPU")
    for way, seconds in each.items():
        if way != "here":
            whole = seconds * chosen.documents + peer
            print(f"{way}, extrapolated, reading no corpus: {whole:.0f} s of CPU, ratio {whole / spent.cpu:.1f}")


if __name__ == "__main__":
    main()
