"""Which embedded full-text engine finds seeds for topics: speed, memory, quality and determinism of five of them.

Belongs here: the comparison that the choice of `cosmo_assets.topics.index` rests on. Does not belong here: a test.

    python tests/benchmarks/search_engines.py [--copies 10] [engine ...]

Needs the sample data (COSMO_SAMPLES) and, beside the project's own packages:
    pip install bm25s PyStemmer numba orjson tqdm "duckdb==1.5.5" duckdb-extension-fts whoosh-reloaded cached-property
An engine that is not installed is left out with a word. Each runs in a process of its own; memory is the growth of its
resident set over that of a process that only imported it.
"""

import argparse
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cosmo_assets.ids import uniform

Documents = Callable[[], Iterator[tuple[int, str]]]
Words = list[tuple[str, int]]
"""A query: words, each with its weight."""
Hits = list[tuple[int, float]]
BOOST = 2

NEWSGROUPS = {
    "alt.atheism": ("religion belief", "atheism atheists"),
    "comp.graphics": ("computers", "graphics image rendering"),
    "comp.os.ms-windows.misc": ("computers operating system", "Microsoft Windows"),
    "comp.sys.ibm.pc.hardware": ("computers hardware", "IBM PC controller bus"),
    "comp.sys.mac.hardware": ("computers hardware", "Apple Macintosh"),
    "comp.windows.x": ("computers windows", "X server Motif widgets"),
    "misc.forsale": ("shopping classified", "for sale offer shipping"),
    "rec.autos": ("recreation vehicles", "cars automobiles"),
    "rec.motorcycles": ("recreation vehicles", "motorcycles bikes riding"),
    "rec.sport.baseball": ("recreation sport", "baseball"),
    "rec.sport.hockey": ("recreation sport", "hockey"),
    "sci.crypt": ("science computers", "cryptography encryption keys"),
    "sci.electronics": ("science engineering", "electronics circuits voltage"),
    "sci.med": ("science", "medicine disease treatment"),
    "sci.space": ("science", "space orbit spacecraft"),
    "soc.religion.christian": ("society religion", "Christian church faith"),
    "talk.politics.guns": ("politics law", "guns firearms weapons"),
    "talk.politics.mideast": ("politics history", "Middle East Israel Arabs"),
    "talk.politics.misc": ("politics", "government taxes president"),
    "talk.religion.misc": ("religion", "bible prophecy God"),
}
QUESTIONS = ("magento", "haskell", "drupal", "matlab", "svn", "excel", "scala", "oracle", "linq", "wordpress", "bash")
QUESTION_QUERIES = {label: ("software programming", label) for label in QUESTIONS}


class Engine:
    """A candidate: builds an index from a stream, then answers weighted queries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, documents: Documents) -> None:
        raise NotImplementedError

    def open(self) -> None:
        raise NotImplementedError

    def search(self, query: Words, limit: int) -> Hits:
        raise NotImplementedError


class Tantivy(Engine):
    """tantivy-py: English stemmer and stop words, boosts per term."""

    threads = 1

    def _index(self) -> Any:
        import tantivy

        english = (
            tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
            .filter(tantivy.Filter.remove_long(40))
            .filter(tantivy.Filter.lowercase())
            .filter(tantivy.Filter.stopword("english"))
            .filter(tantivy.Filter.stemmer("english"))
            .build()
        )
        schema = tantivy.SchemaBuilder().add_unsigned_field("number", fast=True)
        schema = schema.add_text_field("text", tokenizer_name="english", index_option="freq").build()
        self.folder.mkdir(exist_ok=True)
        index = tantivy.Index(schema, path=str(self.folder))
        index.register_tokenizer("english", english)
        self.english, self.schema = english, schema
        return index

    def build(self, documents: Documents) -> None:
        import tantivy

        index = self._index()
        writer = index.writer(128_000_000, self.threads)
        for number, text in documents():
            document = tantivy.Document()
            document.add_unsigned("number", number)
            document.add_text("text", text)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()

    def open(self) -> None:
        self.searcher = self._index().searcher()

    def search(self, query: Words, limit: int) -> Hits:
        from tantivy import Occur, Query

        terms = [
            (Occur.Should, Query.boost_query(Query.term_query(self.schema, "text", term, "freq"), float(weight)))
            for word, weight in query
            for term in self.english.analyze(word)
        ]
        found = self.searcher.search(Query.boolean_query(terms), limit, count=False).hits
        numbers = self.searcher.fast_field_values("number", [address for _, address in found])
        return [(int(number), score) for number, (score, _) in zip(numbers, found, strict=True)]


class TantivyThreads(Tantivy):
    """The same with two indexing threads: shows whether results depend on how the index came about."""

    threads = 2


class Sqlite(Engine):
    """SQLite FTS5 of the standard library: Porter stemmer, no stop words; a repeated term weighs as often."""

    def build(self, documents: Documents) -> None:
        self.open()
        self.base.execute("create virtual table pages using fts5(text, content='', tokenize='porter unicode61')")
        self.base.executemany("insert into pages(rowid, text) values (?, ?)", documents())
        self.base.commit()
        self.base.close()

    def open(self) -> None:
        self.base = sqlite3.connect(self.folder.with_suffix(".sqlite"))
        self.base.execute("pragma journal_mode = off")

    def search(self, query: Words, limit: int) -> Hits:
        match = " OR ".join(f'"{word}"' for word, weight in query for _ in range(weight))
        rows = self.base.execute(
            "select rowid, -rank from pages where pages match ? order by rank, rowid limit ?", (match, limit)
        )
        return [(int(number), float(score)) for number, score in rows]


class Bm25s(Engine):
    """bm25s: Snowball stemmer, its stop words; a repeated token weighs as often. The index is built in memory."""

    def build(self, documents: Documents) -> None:
        import bm25s
        import Stemmer

        numbers, texts = zip(*documents(), strict=True)
        tokens = bm25s.tokenize(texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False)
        index = bm25s.BM25()
        index.index(tokens, show_progress=False)
        index.save(str(self.folder))
        (self.folder / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")

    def open(self) -> None:
        import bm25s
        import Stemmer

        self.stem = Stemmer.Stemmer("english").stemWord
        self.index = bm25s.BM25.load(str(self.folder), mmap=True)
        self.numbers = json.loads((self.folder / "numbers.json").read_text(encoding="utf-8"))

    def search(self, query: Words, limit: int) -> Hits:
        tokens = [self.stem(word.lower()) for word, weight in query for _ in range(weight)]
        known = [token for token in tokens if token in self.index.vocab_dict]
        found, scores = self.index.retrieve([known], k=min(limit, len(self.numbers)), show_progress=False)
        pairs = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        return [(self.numbers[number], score) for number, score in pairs if score > 0]


class DuckDb(Engine):
    """DuckDB's full-text extension: Porter stemmer, English stop words; no weights, so two scores are added."""

    def build(self, documents: Documents) -> None:
        import pyarrow as pa

        self.open()
        self.base.execute("create table pages (number bigint, text varchar)")
        batch: list[tuple[int, str]] = []

        def flush() -> None:
            numbers, texts = zip(*batch, strict=True)
            rows = pa.table({"number": numbers, "text": texts})
            self.base.from_arrow(rows).insert_into("pages")
            batch.clear()

        for document in documents():
            batch.append(document)
            if len(batch) == 4096:
                flush()
        if batch:
            flush()
        self.base.execute("pragma create_fts_index('pages', 'number', 'text', stemmer='porter', stopwords='english')")
        self.base.close()

    def open(self) -> None:
        import duckdb
        import duckdb_extension_fts

        (extension,) = Path(duckdb_extension_fts.__file__).parent.rglob("fts.duckdb_extension")
        self.base = duckdb.connect(str(self.folder.with_suffix(".duckdb")), config={"allow_unsigned_extensions": True})
        self.base.execute(f"load '{extension}'")

    def search(self, query: Words, limit: int) -> Hits:
        words = [" ".join(word for word, weight in query if weight >= least) for least in range(1, BOOST + 1)]
        score = " + ".join("coalesce(fts_main_pages.match_bm25(number, ?), 0)" for _ in words)
        rows = self.base.execute(
            f"select number, {score} as score from pages where score > 0 order by score desc, number limit ?",
            [*words, limit],
        )
        return [(int(number), float(found)) for number, found in rows.fetchall()]


class Whoosh(Engine):
    """Whoosh (pure Python): stemming analyzer with stop words, boosts per term."""

    def build(self, documents: Documents) -> None:
        from whoosh import fields, index
        from whoosh.analysis import StemmingAnalyzer

        self.folder.mkdir()
        text = fields.TEXT(analyzer=StemmingAnalyzer(), phrase=False)
        writer = index.create_in(str(self.folder), fields.Schema(number=fields.STORED, text=text)).writer(limitmb=128)
        for number, content in documents():
            writer.add_document(number=number, text=content)
        writer.commit()

    def open(self) -> None:
        from whoosh import index

        self.index = index.open_dir(str(self.folder))
        self.searcher = self.index.searcher()

    def search(self, query: Words, limit: int) -> Hits:
        from whoosh.query import Or, Term

        analyzer = self.index.schema["text"].analyzer
        terms = [Term("text", token.text, boost=weight) for word, weight in query for token in analyzer(word)]
        found = self.searcher.search(Or(terms), limit=limit)
        return [(hit["number"], hit.score) for hit in found]


ENGINES: dict[str, type[Engine]] = {
    "tantivy": Tantivy,
    "tantivy-2-threads": TantivyThreads,
    "sqlite-fts5": Sqlite,
    "bm25s": Bm25s,
    "duckdb-fts": DuckDb,
    "whoosh": Whoosh,
}
MODULES = {"tantivy": "tantivy", "tantivy-2-threads": "tantivy", "bm25s": "bm25s", "whoosh": "whoosh"}
MODULES |= {"duckdb-fts": "duckdb_extension_fts", "sqlite-fts5": "sqlite3"}


def rows_of(name: str) -> list[dict[str, Any]]:
    folder = Path(os.environ.get("COSMO_SAMPLES") or Path(__file__).parents[3] / "shared" / "data")
    path = {
        "newsgroups": "topics_20newsgroups/20newsgroups.jsonl",
        "questions": "topics_stackoverflow/stackoverflow_titles.jsonl",
        "pile": "web_pile_toy/pile_1000.jsonl",
    }[name]
    with (folder / path).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def weighted(context: str, topic: str, boost: int) -> Words:
    return [(word, 1) for word in context.split()] + [(word, boost) for word in topic.split()]


def precision(engine: Engine, labels: Sequence[str], queries: dict[str, tuple[str, str]], k: int, boost: int) -> float:
    """Mean share of the k first hits that carry the label that the query describes."""
    shares = []
    for label, (context, topic) in queries.items():
        hits = engine.search(weighted(context, topic, boost), k)
        shares.append(sum(labels[number % len(labels)] == label for number, _ in hits) / k)
    return sum(shares) / len(shares)


def reciprocal_rank(engine: Engine, rows: Sequence[dict[str, Any]], wanted: int = 400) -> float:
    """Known-item search: the subject of a message as the query, the first hit of that subject as the answer; mean
    reciprocal rank over the first ten."""
    subjects = [" ".join(row["subject"].lower().split()) for row in rows]
    chosen = [number for number, subject in enumerate(subjects) if len(subject.split()) >= 3]
    chosen = sorted(chosen, key=lambda number: uniform("known item", rows[number]["id"]))[:wanted]
    total = 0.0
    for number in chosen:
        words = "".join(letter if letter.isalnum() else " " for letter in subjects[number]).split()
        hits = engine.search([(word, 1) for word in words], 10) if words else []
        ranks = [rank for rank, (hit, _) in enumerate(hits, 1) if subjects[hit % len(rows)] == subjects[number]]
        total += 1 / ranks[0] if ranks else 0.0
    return total / len(chosen)


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed_build(engine: Engine, rows: Sequence[dict[str, Any]], copies: int = 1) -> float:
    def documents() -> Iterable[tuple[int, str]]:
        for copy in range(copies):
            for number, row in enumerate(rows):
                yield copy * len(rows) + number, row["text"]

    started = time.process_time()
    engine.build(lambda: iter(documents()))
    return time.process_time() - started


def size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()) / 1e6


def topic_queries() -> list[Words]:
    found = [weighted(context, topic, BOOST) for context, topic in NEWSGROUPS.values()]
    return found + [weighted(context, topic, BOOST) for context, topic in QUESTION_QUERIES.values()]


def measure(name: str, copies: int) -> dict[str, Any]:
    """All figures of one engine, in this process; times are processor time, of all threads together."""
    __import__(MODULES[name])
    kind, root = ENGINES[name], Path(tempfile.mkdtemp(prefix="search-"))

    def engine(label: str) -> Engine:
        (root / label).mkdir()
        return kind(root / label / "index")

    try:
        news, questions = rows_of("newsgroups"), rows_of("questions")
        both = news + questions + rows_of("pile")
        megabytes = sum(len(row["text"].encode()) for row in both) * copies / 1e6
        before = resident()
        all_of = engine("all")
        seconds = timed_build(all_of, both, copies)
        built = resident()
        all_of.open()
        started = time.process_time()
        answers = [all_of.search(query, 1000) for query in topic_queries()]
        asked = (time.process_time() - started) / len(answers)
        again = engine("again")
        timed_build(again, both, copies)
        again.open()
        same = [again.search(query, 1000) for query in topic_queries()]
        by_label, by_title = engine("newsgroups"), engine("questions")
        timed_build(by_label, news)
        timed_build(by_title, questions)
        by_label.open()
        by_title.open()
        labels = [row["label"] for row in news]
        titles = [row["label"] for row in questions]
        return {
            "engine": name,
            "index_s_per_MB": seconds / megabytes,
            "query_ms": asked * 1000,
            "memory_MB": built - before,
            "disk_MB": size(root / "all" / "index"),
            "P@100": precision(by_label, labels, NEWSGROUPS, 100, BOOST),
            "P@100_flat": precision(by_label, labels, NEWSGROUPS, 100, 1),
            "P@200_titles": precision(by_title, titles, QUESTION_QUERIES, 200, BOOST),
            "P@200_titles_flat": precision(by_title, titles, QUESTION_QUERIES, 200, 1),
            "MRR@10": reciprocal_rank(by_label, news),
            "same_twice": sum(map(_sorted_equal, answers, same)) / len(same),
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _sorted_equal(first: Hits, second: Hits) -> bool:
    """Whether two answers hold the same scores, and the same documents above the last score (ties at the cut aside)."""
    if [score for _, score in first] != [score for _, score in second]:
        return False
    last = first[-1][1] if first else 0.0
    return {pair for pair in first if pair[1] > last} == {pair for pair in second if pair[1] > last}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("engines", nargs="*", help=f"of {', '.join(ENGINES)}; default: all")
    arguments.add_argument("--copies", type=int, default=1, help="how often the texts are indexed")
    arguments.add_argument("--here", action="store_true", help="in this process, as JSON")
    chosen = arguments.parse_args()
    if chosen.here:
        print(json.dumps(measure(chosen.engines[0], chosen.copies)))
        return
    found = []
    for name in chosen.engines or ENGINES:
        command = [sys.executable, __file__, "--here", "--copies", str(chosen.copies), name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name}: left out: {done.stderr.strip().splitlines()[-1]}")
            continue
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(" ".join(f"{key}={value:.3f}" if isinstance(value, float) else value for key, value in found[-1].items()))
    if found:
        least = {key: min(row[key] for row in found) for key in ("index_s_per_MB", "query_ms")}
        for row in found:
            ratios = ", ".join(f"{key} x{row[key] / value:.1f}" for key, value in least.items())
            print(f"{row['engine']}: {ratios} of the fastest")


if __name__ == "__main__":
    main()
