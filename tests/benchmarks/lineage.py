"""What the token index costs at the size of Cosmopedia, and how fast it answers, beside a scan of its table.

Belongs here: time, memory and disk of the build, latencies both ways. Does not belong here: whether answers are right
(`tests/unit/cosmo_assets/lineage`).

    python -m tests.benchmarks.lineage [--documents 30000000] [--buckets 256] [--folder DIR] [--text-documents 117000]

Documents are made up: ids, sizes of 833 tokens on average, 8 sources, 40 templates, 10,000 topics of unequal size; one
in twenty stands twice, one in ten of those generated is not in the corpus. Their texts are empty, so that the index
alone is measured; fingerprints are built of real texts (with COSMO_SAMPLES, else of made-up ones) for as many documents
as one of 256 buckets of Cosmopedia has, and looked up in as many made-up buckets of that size as there are. The inputs
are made in one process, the index is built in another, and asked in a third; for cold answers the files are dropped
from the page cache and each question is asked by a new process. Times are by the clock.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cosmo_assets.ids import Numbers, bucket_name, ids_of, mixed
from cosmo_assets.lineage import index, snippets
from cosmo_assets.lineage.arrays import IndexFiles, IndexWriter
from cosmo_assets.lineage.lookup import FacetKey, Lookup
from cosmo_assets.lineage.snippets import GUARANTEED, Fingerprints
from cosmo_assets.schemas.tables import TABLES
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.manifest import InputRef
from cosmo_resources.storage.store import ALL, BuildPlan, CorpusStore, Dataset
from cosmo_resources.storage.writer import DatasetWriter
from tests.benchmarks.deduplication import Corpus, frequencies_of
from tests.unit.cosmo_assets.synthetic import recipe

SOURCES, TEMPLATES, TOPICS = 8, 40, 10_000
TOKENS, SHARD_TOKENS = 833, 100_000_000
TWICE, LEFT_OUT = 20, 10
PART = 1 << 20
ASKED, TOPICS_ASKED, COLD, SCANS = 2000, 300, 8, 3
BROWSED: tuple[FacetKey, ...] = ("topic", "source", "template")
BUCKET_DOCUMENTS = 117_000
"""Documents of one bucket of 256 of Cosmopedia."""

Timed = list[tuple[float, float]]


def ids(kind: int, numbers: npt.NDArray[np.uint64]) -> Numbers:
    """Made-up ids: hashes of numbers."""
    salt = np.uint64(kind << 56)
    return np.stack([mixed(mixed(numbers ^ salt)), mixed(numbers + salt + np.uint64(1))], axis=1)


def table(asset: str, rows: int, columns: Mapping[str, Any]) -> pa.Table:
    """A table of an asset with these columns; the others are the same in every row."""
    made = {}
    for field in TABLES[asset]:
        if field.name in columns:
            made[field.name] = columns[field.name]
        elif field.nullable:
            made[field.name] = pa.nulls(rows, field.type)
        else:
            text = pa.types.is_string(field.type)
            value = field.name if text else [] if pa.types.is_list(field.type) else False
            made[field.name] = pa.repeat(pa.scalar(value).cast(field.type), rows)
    return pa.table(made).cast(TABLES[asset])


def publish(
    space: Workspace,
    asset: str,
    parts: Iterator[tuple[str | None, pa.Table]],
    *,
    bucket: str = ALL,
    inputs: tuple[InputRef, ...] = (),
    summary: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    def produce(writer: DatasetWriter) -> None:
        rows = 0
        for part, found in parts:
            writer.write(found, bucket=part)
            rows += found.num_rows
        writer.summary = dict(summary())
        writer.flow("rows", rows, rows)

    space.build(asset, produce, bucket=bucket, stage_version="1", inputs=inputs, params={})


class Made:
    """The made-up corpus: everything is a function of a document's number."""

    def __init__(self, documents: int, buckets: int) -> None:
        self.generated = documents + documents // LEFT_OUT
        self.documents, self.buckets = documents, buckets
        self.seeds = max(documents * 2 // 3, 1)

    def numbers(self, bucket: int) -> npt.NDArray[np.uint64]:
        return np.arange(bucket, self.generated, self.buckets, dtype=np.uint64)

    def seed(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return mixed(numbers + np.uint64(7)) % np.uint64(self.seeds)

    def kept(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return numbers[numbers < self.documents]

    def prompts(self, bucket: int) -> pa.Table:
        numbers = self.numbers(bucket)
        draw = mixed(numbers + np.uint64(3))
        source = draw % np.uint64(SOURCES)
        template = source * np.uint64(TEMPLATES // SOURCES) + (draw >> np.uint64(8)) % np.uint64(TEMPLATES // SOURCES)
        share = (draw >> np.uint64(16)).astype(np.float64) / 2**48
        topic = np.minimum((share**2 * TOPICS).astype(np.int64), TOPICS - 1)
        named = {
            "source": pa.array([f"source {number}" for number in range(SOURCES)]).take(pa.array(source)),
            "licence": pa.array([f"LicenseRef-{number % 3}" for number in range(SOURCES)]).take(pa.array(source)),
            "template": pa.array([f"template {number}" for number in range(TEMPLATES)]).take(pa.array(template)),
            "topic": pa.array([f"Topic {number}" for number in range(TOPICS)]).take(pa.array(topic)),
            "cluster_id": topic,
        }
        ours = {"prompt_id": ids_of(ids(1, numbers)), "seed_id": ids_of(ids(2, self.seed(numbers))), **named}
        return table("prompt_table", len(numbers), ours)

    def generations(self, bucket: int) -> pa.Table:
        numbers = self.numbers(bucket)
        ours = {
            "doc_id": ids_of(ids(3, numbers)),
            "prompt_id": ids_of(ids(1, numbers)),
            "text": pa.repeat("", len(numbers)),
        }
        return table("generations", len(numbers), ours)

    def mixture(self, bucket: int) -> pa.Table:
        numbers = self.kept(self.numbers(bucket))
        copies = np.where(numbers % TWICE == 0, 2, 1)
        return table("mixture", len(numbers), {"doc_id": ids_of(ids(3, numbers)), "copies": copies})

    def seed_rows(self) -> Iterator[tuple[None, pa.Table]]:
        for first in range(0, self.seeds, PART):
            numbers = np.arange(first, min(first + PART, self.seeds), dtype=np.uint64)
            yield None, table("seed_documents", len(numbers), {"seed_id": ids_of(ids(2, numbers))})

    def spans(self, sizes: dict[str, int]) -> Iterator[tuple[None, pa.Table]]:
        """The spans in a random order; `sizes` is filled with the tokens of the shards."""
        draw = np.random.default_rng(1)
        twice = np.arange(0, self.documents, TWICE, dtype=np.uint32)
        order = np.concatenate([np.arange(self.documents, dtype=np.uint32), twice])
        copy = np.zeros(len(order), np.uint8)
        copy[self.documents :] = 1
        shuffled = draw.permutation(len(order))
        shard, filled = 0, 0
        for first in range(0, len(order), PART):
            part = shuffled[first : first + PART]
            numbers = order[part].astype(np.uint64)
            tokens = (mixed(numbers + np.uint64(11)) % np.uint64(2 * TOKENS - 2)).astype(np.int64) + 2
            starts, ends, names = np.empty(len(part), np.int64), np.empty(len(part), np.int64), []
            at = 0
            while at < len(part):
                reach = np.cumsum(tokens[at:])
                stop = at + int(np.searchsorted(reach, SHARD_TOKENS - filled)) + 1
                found = filled + reach[: stop - at]
                stop = at + len(found)
                ends[at:stop], starts[at:stop] = found, np.append(filled, found[:-1])
                names += [f"shard-{shard:05d}.ds"] * len(found)
                filled, at = int(found[-1]), stop
                sizes[names[-1]] = filled
                if filled >= SHARD_TOKENS:
                    shard, filled = shard + 1, 0
            ours = {
                "shard": names,
                "start": starts,
                "end": ends,
                "doc_id": ids_of(ids(3, numbers)),
                "copy": copy[part].astype(np.int64),
            }
            yield None, table("tokenized_shards", len(part), ours)


def space_of(folder: Path, buckets: int) -> Workspace:
    return Workspace(CorpusStore(folder), recipe(buckets=buckets))


def make(folder: Path, made: Made) -> None:
    space = space_of(folder, made.buckets)
    names = [bucket_name(number) for number in range(made.buckets)]
    publish(space, "seed_documents", made.seed_rows())
    publish(space, "prompt_table", ((name, made.prompts(number)) for number, name in enumerate(names)))
    for number, name in enumerate(names):
        publish(space, "generations", iter([(None, made.generations(number))]), bucket=name)
    publish(space, "mixture", ((name, made.mixture(number)) for number, name in enumerate(names)))
    read = [space.store.open("mixture"), *(space.store.open("generations", name) for name in names)]
    sizes: dict[str, int] = {}
    publish(
        space,
        "tokenized_shards",
        made.spans(sizes),
        inputs=tuple(dataset.ref() for dataset in read),
        summary=lambda: {"tokens": sum(sizes.values()), "shards": [[name, size] for name, size in sizes.items()]},
    )


def build(folder: Path, buckets: int) -> dict[str, float]:
    started = time.perf_counter()
    manifest = index.build(space_of(folder, buckets))
    summary = manifest.summary
    counts = {name: summary[name] for name in ("tokens", "documents", "prompts", "seeds", "profiles")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, cpu = time.perf_counter() - started, time.process_time()
    return {**counts, "spans": manifest.rows, "seconds": seconds, "cpu": cpu, "peak": peak}


def timed(work: Callable[[Any], Any], asked: list[Any]) -> Timed:
    """Milliseconds of every question: by the clock, and of CPU, which other work on the machine does not lengthen."""
    found = []
    for one in asked:
        started, spent = time.perf_counter(), time.process_time()
        work(one)
        found.append(((time.perf_counter() - started) * 1e3, (time.process_time() - spent) * 1e3))
    return found


def ask(folder: Path, made: Made) -> dict[str, Timed]:
    """What every kind of question takes of files that are in the page cache: asked of an index that was just opened,
    which compares what it reads with its digests, and then other questions of the same kinds."""
    found: dict[str, Timed] = {}

    def opening(_: int) -> None:
        Lookup.open(CorpusStore(folder))

    found["opening"] = timed(opening, list(range(5)))
    lookup = Lookup.open(CorpusStore(folder))
    for number, name in enumerate(("first", "then")):
        found |= {f"{name}: {kind}": times for kind, times in questions(lookup, made, number).items()}
    value, totals = lookup.facet("source")[0]

    def stream(_: int) -> None:
        assert sum(spans.height for spans in lookup.select({"source": value}).frames()) == totals.spans

    return {**found, f"source -> all its {totals.spans:,} spans": timed(stream, [0, 1])}


def questions(lookup: Lookup, made: Made, turn: int) -> dict[str, Timed]:
    draw = np.random.default_rng(turn)
    shards = draw.choice(lookup.shard_names, ASKED).tolist()
    tokens = [(name, int(draw.integers(lookup.shard_size(name)))) for name in shards]
    numbers = draw.integers(0, made.documents, ASKED).astype(np.uint64)
    prompts, documents = (ids_of(ids(kind, numbers)).to_pylist() for kind in (1, 3))
    seeds = ids_of(ids(2, made.seed(numbers))).to_pylist()
    some = [value for value, totals in lookup.facet("topic") if 500 <= totals.spans <= 5000]
    random.Random(3).shuffle(some)
    facets = [(key, value) for key in BROWSED for value, _ in lookup.facet(key)[:40]]

    def forward(token: tuple[str, int]) -> None:
        span = lookup.span_at(*token)
        assert span is not None
        lookup.chain(span)

    def backward(key: Any) -> Callable[[Any], None]:
        def one(value: Any) -> None:
            found = lookup.select({key: value})
            assert found.totals.spans == found.frame().height > 0

        return one

    def totals(entry: tuple[FacetKey, str]) -> None:
        assert lookup.select({entry[0]: entry[1]}).totals.tokens > 0

    def page(value: str) -> None:
        assert lookup.select({"source": value}).frame(0, 1000).height

    return {
        "token -> chain": timed(forward, tokens),
        "document -> spans": timed(backward("doc_id"), documents),
        "prompt -> spans": timed(backward("prompt_id"), prompts),
        "seed -> spans": timed(backward("seed_id"), seeds),
        "topic -> its 500 to 5,000 spans": timed(backward("topic"), some[turn::2][:TOPICS_ASKED]),
        "topic, source, template -> totals": timed(totals, facets),
        "source -> its first 1,000 spans": timed(page, [value for value, _ in lookup.facet("source")] * 4),
    }


def drop(folder: Path) -> None:
    """Take the files of a folder out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def ask_once(folder: Path, made: Made, number: int) -> tuple[Timed, Timed, int]:
    """Opening the index and answering one question, then one the other way; the bytes that came from the disk."""
    before, opened = disk_bytes(), []

    def there(number: int) -> None:
        lookup = Lookup.open(CorpusStore(folder))
        span = lookup.span_at(lookup.shard_names[number % len(lookup.shard_names)], 12_345 * number)
        assert span is not None
        lookup.chain(span)
        opened.append(lookup)

    def back(prompt: str) -> None:
        assert opened[0].select({"prompt_id": prompt}).frame().height

    prompt = ids_of(ids(1, np.array([number * 997 % made.documents], np.uint64)))[0].as_py()
    return timed(there, [number]), timed(back, [prompt]), disk_bytes() - before


def disk_bytes() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def scan(folder: Path, made: Made) -> dict[str, Timed]:
    """The same questions, asked of the table with polars."""
    dataset = CorpusStore(folder).open("token_lineage")
    frame = pl.scan_parquet(dataset.paths(), hive_partitioning=False)
    shards = CorpusStore(folder).open("tokenized_shards").manifest.summary["shards"]
    prompts = ids_of(ids(1, np.arange(SCANS, dtype=np.uint64))).to_pylist()

    def forward(number: int) -> None:
        name, size = shards[number * 7 % len(shards)]
        token = size // (number + 2)
        place = (pl.col("shard") == name) & (pl.col("start") <= token) & (pl.col("end") > token)
        assert frame.filter(place).collect().height == 1

    def backward(prompt: str) -> None:
        assert frame.filter(pl.col("prompt_id") == prompt).collect().height

    return {"token -> chain": timed(forward, list(range(SCANS))), "prompt -> spans": timed(backward, prompts)}


def fingerprint(folder: Path, documents: int, samples: Path | None) -> dict[str, float]:
    """Fingerprints of real texts: seconds, sizes."""
    corpus = Corpus(frequencies_of(samples))
    store, size, words = CorpusStore(folder / "texts"), 0, 0

    def produce(writer: DatasetWriter) -> None:
        nonlocal size, words
        for first in range(0, documents, 1000):
            texts = (
                list(corpus.texts(min(documents, first + 1000)))
                if first == 0
                else [corpus.text(number) for number in range(first, min(documents, first + 1000))]
            )
            size += sum(len(text.encode()) for text in texts)
            words += sum(text.count(" ") + 1 for text in texts)
            writer.write(table("generations", len(texts), {"text": texts, "completion_tokens": [1] * len(texts)}))
        writer.flow("rows", documents, documents)

    store.build(BuildPlan("generations", "1", TABLES["generations"], {}, (), "b000"), produce, run={})
    dataset = store.open("generations", "b000")
    snippets.winnowed(pa.array(["to compile it"]))
    started = time.perf_counter()
    hashes, _ = snippets.fingerprints(dataset)
    return {"seconds": time.perf_counter() - started, "bytes": size, "words": words, "fingerprints": len(hashes)}


def search(folder: Path, buckets: int, each: int) -> dict[str, Timed]:
    """Looking a snippet up in made-up buckets of `each` fingerprints, none of which it is in."""
    store = CorpusStore(folder / "snippets")

    def produce(writer: DatasetWriter) -> None:
        files = IndexWriter(writer)
        for bucket in range(buckets):
            draw = np.random.default_rng(bucket)
            hashes = np.sort(draw.integers(0, 1 << 64, each, dtype=np.uint64))
            snippets.add(files, bucket_name(bucket), hashes, draw.integers(0, BUCKET_DOCUMENTS, each).astype(np.int32))
        files.finish({})
        writer.flow("rows", 0, 0)

    store.build(BuildPlan("token_lineage", "1", TABLES["token_lineage"], {}, (), ALL), produce, run={})
    files = IndexFiles(store.open("token_lineage"))
    opened = [Fingerprints(files, bucket_name(bucket)) for bucket in range(buckets)]
    false = 0

    def look(words: int) -> Callable[[int], None]:
        def one(number: int) -> None:
            nonlocal false
            wanted = snippets.wanted(" ".join(f"word{number}x{word}" for word in range(words)))
            false += sum(len(bucket.rows(wanted)) for bucket in opened)

        return one

    found = {
        f"{words} words": timed(look(words), list(range(40)))[5:] for words in (20, GUARANTEED, 2 * GUARANTEED, 400)
    }
    print(f"  texts that would be read in vain: {false} for 160 questions")
    return found


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run something in a process of its own, so that its memory is its own, too."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def told(name: str, times: Timed) -> None:
    clock, cpu = (np.percentile(part, [50, 99]) for part in zip(*times, strict=True))
    print(
        f"  {name:42} p50 {clock[0]:8.2f} ({cpu[0]:8.2f})  p99 {clock[1]:8.2f} ({cpu[1]:8.2f})  of {len(times):,}",
        flush=True,
    )


def gigabytes(dataset: Dataset, start: str) -> float:
    return sum(entry.bytes for entry in dataset.manifest.files if entry.name.startswith(start)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=30_000_000)
    parser.add_argument("--buckets", type=int, default=256)
    parser.add_argument("--text-documents", type=int, default=BUCKET_DOCUMENTS)
    parser.add_argument("--snippet-buckets", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="keep the corpus here, and use what is there")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="cosmo-lineage-"))
    made = Made(arguments.documents, arguments.buckets)
    samples = Path(os.environ["COSMO_SAMPLES"]) if os.environ.get("COSMO_SAMPLES") else None
    store = CorpusStore(folder)
    try:
        if arguments.documents:
            if store.current_version("tokenized_shards") is None:
                started = time.perf_counter()
                apart(make, folder, made)
                print(f"inputs made in {time.perf_counter() - started:,.0f} s", flush=True)
            fresh = store.current_version("token_lineage") is None
            built = apart(build, folder, arguments.buckets)
            dataset = store.open("token_lineage")
            taken = (
                "{seconds:,.0f} s, {cpu:,.0f} s of CPU, {peak:.2f} GiB at most".format_map(built) if fresh else "there"
            )
            counts = ", ".join(
                f"{built[name]:,} {name}" for name in ("documents", "spans", "prompts", "seeds", "profiles")
            )
            print(f"index of {built['tokens']:,} tokens: {taken}\n  {counts}")
            arrays, rows = gigabytes(dataset, "index/"), gigabytes(dataset, "part-")
            share = arrays * 1e9 / (2 * built["tokens"])
            print(f"  arrays {arrays:.2f} GB ({share:.1%} of tokens of two bytes), table {rows:.2f} GB", flush=True)
            print("warm, milliseconds by the clock (of CPU)")
            warm = apart(ask, folder, made)
            for name, times in warm.items():
                told(name, times)
            cold = []
            for number in range(1, COLD + 1):
                drop(dataset.folder)
                drop(store.open("tokenized_shards").folder)
                cold.append(apart(ask_once, folder, made, number))
            print("cold, a new process each, milliseconds")
            told("opening and token -> chain", [time for there, _, _ in cold for time in there])
            told("then prompt -> spans", [time for _, back, _ in cold for time in back])
            print(f"  read from the disk: {np.mean([size for *_, size in cold]) / 1e6:.1f} MB", flush=True)
            print("scan of the table with polars, milliseconds")
            for name, times in apart(scan, folder, made).items():
                told(name, times)
                ours = np.median([clock for clock, _ in warm[f"then: {name}"]])
                print(f"  {'':42} {np.median([clock for clock, _ in times]) / ours:,.0f} times as long", flush=True)
        if arguments.text_documents:
            found = apart(fingerprint, folder, arguments.text_documents, samples)
            each = found["fingerprints"] / found["words"]
            print(f"fingerprints: {found['bytes'] / found['seconds'] / 1e6:.0f} MB/s of text on one core,", end=" ")
            print(f"{6 * found['fingerprints'] / found['bytes']:.1%} of its bytes, one for {1 / each:.1f} words")
            per_bucket = round(found["fingerprints"] * BUCKET_DOCUMENTS / arguments.text_documents)
            print(f"a snippet in {arguments.snippet_buckets} buckets of {per_bucket:,} fingerprints, milliseconds")
            for name, times in apart(search, folder, arguments.snippet_buckets, per_bucket).items():
                told(name, times)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
