"""How fast texts are searched for benchmark items, beside the published algorithm in plain Python, and in what memory.

Belongs here: cost of the index, of finding candidates, of measuring them, and memory over many documents. Does not
belong here: whether what is found is right (`test_planted_items`, `test_published_rule`).

    python -m tests.benchmarks.decontamination [--documents 200000] [--plain-documents 400] [--turns 4]

Needs the sample data (COSMO_SAMPLES). Everything runs on one core, in turns with what it is compared with, and is
measured by the CPU time of this process: others on the machine lengthen the clock's time, not much of this. Compiled
code comes from the disk where it has run before; the first call is told apart.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmo_assets.decontamination.benchmarks import Item
from cosmo_assets.decontamination.index import BenchmarkIndex, build_index
from cosmo_assets.decontamination.overlap import Spelling, block_overlaps
from cosmo_assets.decontamination.rules import CosmopediaRule, Rule, ShortRule, rules_of
from cosmo_assets.decontamination.tables import gram_table, texts_with_grams
from cosmo_assets.recipe.decontamination import Decontamination
from cosmo_assets.words.hashing import hashed
from tests.doubles.plain_decontamination import PlainIndex, matched_share, words_of
from tests.sample_benchmarks import plain_items, sample_items

NGRAM = 10
PAPER = CosmopediaRule(NGRAM, 0.5)
CHUNK = 1000
CHECKPOINTS = 10
REPEATS = 20
ITEMS = "items.parquet"
PIECE = 1500
"""Characters of a generated document."""


def resident() -> float:
    """Memory of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def in_turns(turns: int, **ways: Callable[[], object]) -> dict[str, float]:
    """CPU seconds of one run of each, the mean of several in turns."""
    spent = dict.fromkeys(ways, 0.0)
    for turn in range(turns):
        for name in sorted(ways, reverse=turn % 2 == 1):
            spent[name] += seconds(ways[name]) / turns
    return spent


def documents_of(samples: Path) -> list[str]:
    web = (samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt").read_text(encoding="utf-8").split("\n\n")
    lines = [line for path in samples.glob("openstax_ccby/*.text.jsonl") for line in path.open(encoding="utf-8")]
    documents = [text for text in [*web, *(json.loads(line)["text"] for line in lines)] if len(text) > 100]
    return random.Random(1).sample(documents, len(documents))


def megabytes(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def opened(items: list[Item], rules: dict[str, Rule], folder: Path) -> BenchmarkIndex:
    folder.mkdir()
    return BenchmarkIndex.open(rules, build_index(items, rules, folder), folder.iterdir())


def searched(index: BenchmarkIndex, texts: list[str]) -> list[object]:
    parts = (pa.array(texts[start : start + CHUNK], pa.large_string()) for start in range(0, len(texts), CHUNK))
    return [match for part in parts for match in index.matches(part)]


def compare_retrieval(items: list[Item], documents: list[str], plain_documents: int, turns: int, folder: Path) -> None:
    """The same rule and items; with short items both look for these too, the engine in the larger alphabet."""
    few = documents[:plain_documents]
    for name, rules, short in (
        ("items of ten words or more", {"cosmopedia": PAPER}, False),
        ("short items too", {"cosmopedia": PAPER, "short": ShortRule(NGRAM)}, True),
    ):
        index = opened(items, dict(rules), folder / name)
        plain = PlainIndex([item.text for item in items], NGRAM, short=short)
        spent = in_turns(
            turns,
            compiled=lambda index=index: searched(index, documents),
            plain=lambda plain=plain: [plain.candidates(words_of(text)) for text in few],
        )
        rates = {"compiled": megabytes(documents) / spent["compiled"], "plain": megabytes(few) / spent["plain"]}
        print(
            f"retrieval, {name}: {rates['compiled']:.1f} MB/s, plain {rates['plain']:.2f} MB/s (candidates alone),"
            f" ratio {rates['compiled'] / rates['plain']:.1f}",
            flush=True,
        )


def compare_measure(items: list[Item], documents: list[str], turns: int) -> None:
    """Texts that share an n-gram with many items: a document around a piece of such an item."""
    texts = pa.array([item.text for item in items], pa.large_string())
    words, spelled = hashed(texts, PAPER.alphabet), Spelling.of(texts, PAPER.alphabet)
    table = gram_table(words, NGRAM, degenerate=True)
    lists = np.diff(table["lists"])
    common = items[int(table["items"][table["lists"][int(np.argmax(lists))]])].text
    few = 20
    for length in (1000, 4000, 16000):
        text = f"{common} {' '.join(documents)[:length]}"
        array = pa.array([text])
        pairs = np.concatenate(list(texts_with_grams(hashed(array, PAPER.alphabet), table, NGRAM, len(items))))
        letters, chosen = Spelling.of(array, PAPER.alphabet)[0], np.ascontiguousarray(pairs[:, 1])
        shown, held = words_of(text), [words_of(items[number].text) for number in chosen[:few]]
        spent = in_turns(
            turns,
            compiled=lambda letters=letters, chosen=chosen: [
                block_overlaps(letters, spelled, chosen) for _ in range(REPEATS)
            ],
            plain=lambda shown=shown, held=held: [matched_share(shown, item) for item in held],
        )
        ours, theirs = spent["compiled"] / REPEATS / len(chosen), spent["plain"] / len(held)
        print(
            f"measure, {len(letters)} characters against {len(chosen)} items: {1e6 * ours:.0f} us a pair, difflib"
            f" {1e3 * theirs:.1f} ms, ratio {theirs / ours:.0f}",
            flush=True,
        )


def generated(documents: list[str], count: int) -> Iterator[pa.Array]:
    """Documents cut out of real ones, in chunks."""
    pool, draw = "\n".join(documents), random.Random(9)
    for start in range(0, count, CHUNK):
        places = (draw.randrange(len(pool) - PIECE) for _ in range(min(CHUNK, count - start)))
        yield pa.array([pool[place : place + PIECE] for place in places], pa.large_string())


def build(samples: Path, folder: Path) -> None:
    """Build the index as its stage does, in a process of its own."""
    items = sample_items(samples)
    count = len({(item.benchmark, item.id) for item in items})
    opened(items[:50], default_rules(), folder / "first")  # compiled code
    folder = folder / "default"
    folder.mkdir()

    def whole() -> None:
        table = build_index(sample_items(samples), default_rules(), folder)
        pq.write_table(table, folder / ITEMS)

    del items
    spent = seconds(whole)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    texts = pq.read_metadata(folder / ITEMS).num_rows
    print(
        f"index: {texts} texts of {count} items in {spent:.2f} s, {size:.0f} MB on disk, peak {peak():.0f} MB",
        flush=True,
    )


def default_rules() -> dict[str, Rule]:
    return rules_of(Decontamination(benchmarks=()))


def built(folder: Path) -> BenchmarkIndex:
    """The index that `build` left, mapped from its files as every process that searches does."""
    return BenchmarkIndex.open(default_rules(), pq.read_table(folder / "default" / ITEMS), folder.glob("default/*.npy"))


def stream(samples: Path, folder: Path, count: int) -> None:
    """Search many documents, in a process of its own."""
    index, documents = built(folder), documents_of(samples)
    memory, done, matches, spent = [], 0, 0, 0.0
    for number, chunk in enumerate(generated(documents, count), 1):
        before = time.process_time()
        matches += sum(1 for _ in index.matches(chunk))
        spent += time.process_time() - before
        done += len(chunk)
        if number % max(count // CHUNK // CHECKPOINTS, 1) == 0:
            memory.append(resident())
            print(f"  {done:9} documents, {done / spent:6.0f}/s, {memory[-1]:.0f} MB", flush=True)
    print(f"  {matches} matches; memory since the first tenth: {memory[-1] - memory[0]:+.1f} MB; peak {peak():.0f} MB")


def alone(work: Callable[..., None], *arguments: object) -> None:
    """Run something in a new process, so that its peak of memory is its own."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=200_000, help="how many to stream for their memory")
    arguments.add_argument("--plain-documents", type=int, default=400, help="how many the plain reference searches")
    arguments.add_argument("--turns", type=int, default=4)
    chosen = arguments.parse_args()
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    samples = Path(os.environ["COSMO_SAMPLES"])
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        documents = documents_of(samples)
        rules = default_rules()
        first = seconds(lambda: searched(opened(sample_items(samples)[:50], rules, folder / "few"), documents[:50]))
        print(f"first call: {first:.1f} s, {resident():.0f} MB")
        alone(build, samples, folder)
        index = built(folder)
        spent = in_turns(chosen.turns, default=lambda: searched(index, documents))["default"]
        print(f"default rules ({', '.join(rules)}): {megabytes(documents) / spent:.1f} MB/s", flush=True)
        print(f"{chosen.documents} documents of {PIECE} characters, in chunks of {CHUNK}:", flush=True)
        alone(stream, samples, folder, chosen.documents)
        plain = plain_items(samples)
        compare_measure(plain, documents, chosen.turns)
        compare_retrieval(plain, documents, chosen.plain_documents, chosen.turns, folder)


if __name__ == "__main__":
    main()
