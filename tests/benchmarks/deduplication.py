"""How fast texts are signed and clustered, in what memory, beside datatrove; and how many planted pairs are found.

Belongs here: cost of signatures and clusters over many documents, recall by similarity. Does not belong here: whether
signatures and clusters are right (`test_signer`, `test_minhash`).

    python -m tests.benchmarks.deduplication [--documents 20000] [--peer-documents 500] [--cores 2] [--work FOLDER]

Documents have about 600 words (800 tokens), drawn from the words of real texts as often as they stand there (with
COSMO_SAMPLES), else from made-up ones by Zipf's law. They are made as they are asked for, never held. One in twenty is
a copy of an earlier one with some words changed. The CPU time of making them is measured and taken off that of signing.
datatrove signs few documents, one core, in turns with this project's signer on one core; what it would take for all is
extrapolated, and says so.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.typeshelper import Languages

from cosmo_assets.deduplication.minhash import clusters, configuration
from cosmo_assets.deduplication.signer import shingle_hashes, write_signatures
from cosmo_assets.recipe import Deduplication
from cosmo_assets.seeds.duplicates import jaccard
from tests.doubles.datatrove_minhash import datatrove_clusters, datatrove_pairs, datatrove_sign

RECIPE = Deduplication()
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
        self.making = 0.0
        self._pool = [words[bisect(limits, draw.randrange(limits[-1]))] for _ in range(POOL)]

    def text(self, number: int) -> str:
        level = level_of(number)
        words = self._words(number if level is None else number - BACK)
        if level is not None:
            changes = round(WORDS * (1 - level) / (RECIPE.ngram * (1 + level)))
            for change in range(changes):
                words[(2 * change + 1) * WORDS // (2 * changes)] = new_word(number * WORDS + change)
        return " ".join(words)

    def texts(self, count: int) -> Iterator[str]:
        """Documents one after the other; what making them took goes to `making`, in seconds of CPU."""
        self.making = 0.0
        for number in range(count):
            before = time.thread_time()
            text = self.text(number)
            self.making += time.thread_time() - before
            yield text

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


def compare_signers(corpus: Corpus, config: MinhashConfig, count: int, work: Path) -> dict[str, float]:
    """CPU seconds of one document on one core by each signer, in turns over the same texts."""
    texts = list(corpus.texts(count))
    ways: dict[str, Callable[[Path], None]] = {
        "here": lambda folder: write_signatures(texts, config, folder, 0, threads=1),
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
    same = [
        (work / "here" / "0" / path.relative_to(work / "datatrove" / "0")).read_bytes() == path.read_bytes()
        for path in (work / "datatrove" / "0").rglob("*.sig")
    ]
    print(f"{count} documents, {np.mean([len(text.encode()) for text in texts]):.0f} bytes each, one core:")
    for way, seconds in spent.items():
        each = seconds / TURNS / count
        print(f"  {way}: {1e6 * each:.0f} us a document, {1 / each:.0f}/s, {spent[way] / spent['here']:.1f} x here")
    print(f"  files equal to datatrove's: {sum(same)} of {len(same)}", flush=True)
    return {way: seconds / TURNS / count for way, seconds in spent.items()}


def deduplicate(corpus: Corpus, count: int, cores: int, work: Path) -> tuple[Spent, list[list[tuple[int, int]]]]:
    """Sign and cluster all documents, told as it goes."""
    config = configuration(RECIPE)
    sample = min(count, 1000)
    size = sum(len(text.encode()) for text in corpus.texts(sample)) / sample
    print(f"{count} documents, {size:.0f} bytes each, {cores} cores; before: peak {peak():.0f} MB", flush=True)
    signing = timed(lambda: write_signatures(corpus.texts(count), config, work / "signatures", 0, cores))
    made = corpus.making
    print(
        f"  signing: {signing.clock:.1f} s by the clock with making the texts ({made:.1f} s),"
        f" {signing.cpu - made:.1f} s of CPU without: {count / (signing.cpu - made):.0f} documents/s a core,"
        f" {count * size / 1e6 / (signing.cpu - made):.0f} MB/s; peak {peak():.0f} MB",
        flush=True,
    )
    found: list[list[tuple[int, int]]] = []
    clustering = timed(lambda: found.extend(clusters(work / "signatures", RECIPE, work / "work")))
    print(
        f"  clusters: {len(found)} in {clustering.clock:.1f} s by the clock,"
        f" {1e6 * clustering.cpu / count:.1f} us of CPU a document; peak {peak():.0f} MB",
        flush=True,
    )
    return Spent(signing.clock + clustering.clock, signing.cpu - made + clustering.cpu), found


def cluster_by_datatrove(found: Sequence[list[tuple[int, int]]], count: int, work: Path) -> float:
    """CPU seconds that datatrove takes to cluster the same signatures."""
    config = configuration(RECIPE)
    groups: list[list[tuple[int, int]]] = []
    pairs = timed(lambda: datatrove_pairs(work / "signatures", config, work / "peer"))
    joined = timed(lambda: groups.extend(datatrove_clusters(config, work / "peer")))
    print(
        f"  datatrove's clusters: pairs {1e6 * pairs.cpu / count:.1f} us of CPU a document, groups of them"
        f" {1e6 * joined.cpu / count:.1f}; the same groups: {groups == list(found)}; peak {peak():.0f} MB",
        flush=True,
    )
    return pairs.cpu + joined.cpu


def tell_recall(corpus: Corpus, found: Sequence[list[tuple[int, int]]], count: int) -> None:
    """The planted pairs found, by similarity, beside what the method finds of such pairs on average."""
    group_of = {position: number for number, group in enumerate(found) for _, position in group}
    copies: dict[float, list[int]] = {level: [] for level in LEVELS}
    for number in range(count):
        if (level := level_of(number)) is not None:
            copies[level].append(number)
    for numbers in filter(None, copies.values()):
        pairs = (
            tuple(
                np.unique(shingle_hashes(corpus.text(place), configuration(RECIPE)))
                for place in (number, number - BACK)
            )
            for number in numbers[:MEASURED]
        )
        similar = np.array([jaccard(*pair) for pair in pairs])
        expected = np.mean(1 - (1 - similar**RECIPE.rows) ** RECIPE.bands)
        hits = sum(group_of.get(number, -1) == group_of.get(number - BACK, -2) for number in numbers)
        print(
            f"  similarity {similar.mean():.3f}: {hits} of {len(numbers)} pairs found, {hits / len(numbers):.3f};"
            f" by 1 - (1 - s^{RECIPE.rows})^{RECIPE.bands}: {expected:.3f}"
        )
    planted = {(number - BACK, number) for numbers in copies.values() for number in numbers}
    other = sum(tuple(position for _, position in group) not in planted for group in found)
    print(f"  groups that are no planted pair: {other}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=20_000)
    arguments.add_argument("--peer-documents", type=int, default=500, help="how many datatrove signs")
    arguments.add_argument("--cores", type=int, default=2)
    arguments.add_argument("--work", type=Path, help="a folder for signatures: 1 kB a document")
    chosen = arguments.parse_args()
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.cores])
    samples = Path(os.environ["COSMO_SAMPLES"]) if os.environ.get("COSMO_SAMPLES") else None
    corpus = Corpus(frequencies_of(samples))
    with tempfile.TemporaryDirectory(dir=chosen.work) as folder:
        work = Path(folder)
        each = compare_signers(corpus, configuration(RECIPE), chosen.peer_documents, work / "signers")
        spent, found = deduplicate(corpus, chosen.documents, chosen.cores, work)
        peer = cluster_by_datatrove(found, chosen.documents, work)
        tell_recall(corpus, found, chosen.documents)
    print(f"all: {spent.clock:.1f} s by the clock, {spent.cpu:.1f} s of CPU without making the texts")
    for way, seconds in each.items():
        if way != "here":
            whole = seconds * chosen.documents + peer
            print(f"{way}, extrapolated: {whole:.0f} s of CPU, ratio {whole / spent.cpu:.1f}")


if __name__ == "__main__":
    main()
