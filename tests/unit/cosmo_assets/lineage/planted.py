"""Small corpora of which everything is known: what each document says, and what it was made from."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosmo_assets.ids import bucket_name, bucket_of
from cosmo_assets.lineage import index
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import prompt, put, put_prompts, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

HOSTILE = "</script><img src=x onerror=\"document.title='broken into'\"> & <b>bold</b>"
TOPICS = ("Topic 0", f"Topic 1 / 100% {HOSTILE}", None)
SEEDS = [
    {"seed_id": digest(f"seed {number}"), "title": f"Title {number} {HOSTILE}", "text": prose(f"seed {number}", 30)}
    for number in range(5)
]
PROMPTS = [
    prompt(
        f"prompt {number}",
        seed_id=SEEDS[number // 2]["seed_id"],
        source="web" if number < 6 else "books",
        licence="CC0-1.0" if number < 4 else "MIT",
        cluster_id=number % 3,
        topic=TOPICS[number % 3],
        template=f"t{number % 2}",
    )
    for number in range(10)
]
COPIES = (1, 2, 1, 3, 1, 1, 1, 0, 1, 1)
"""How often each document stands in the corpus; the one with none was generated and did not get in."""

SAMPLES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9)
"""The prompt of each document: the last one was asked twice."""

SHARED = "These closing words stand in two documents."
TEXTS = {
    digest(f"doc {number}"): f"{number} 🧪 {HOSTILE if number == 5 else ''} {prose(f'doc {number}', 30 + 20 * number)}"
    f"{SHARED if number in (8, 9) else ''}"
    for number in range(11)
}
DOCS = list(TEXTS)


def copies_of(number: int) -> int:
    return (*COPIES, 1)[number]


def generation(number: int) -> dict[str, Any]:
    return {
        "doc_id": DOCS[number],
        "prompt_id": PROMPTS[SAMPLES[number]]["prompt_id"],
        "text": TEXTS[DOCS[number]],
        "model": "other" if number == 10 else "m",
    }


def planted(folder: Path, *, buckets: int = 2, shard_tokens: int = 120, order: int = 0) -> Workspace:
    """The corpus with its index. `order` shuffles the rows of its inputs."""
    space = Workspace(
        CorpusStore(folder), recipe(buckets=buckets, tokenization={"shard_tokens": shard_tokens}), run_id="run-1"
    )
    put_inputs(space, order=order)
    shards.build(space, tiny_tokenizer())
    index.build(space)
    return space


REAL_TEXT = prose("a real document", 40)
REAL_DOC = digest("real", REAL_TEXT)


def planted_with_real(folder: Path) -> Workspace:
    """The corpus with a real document in it, twice."""
    space = Workspace(CorpusStore(folder), recipe(buckets=2, tokenization={"shard_tokens": 120}), run_id="run-1")
    put_inputs(space)
    row = {"doc_id": REAL_DOC, "text": REAL_TEXT, "source": "letters", "licence": "CC-BY-4.0"}
    put(space, "real_documents", {None: [{**row, "place": "letters.jsonl:7"}]})
    mixture = space.store.open("mixture")
    names: list[str | None] = [bucket_name(number) for number in range(2)]
    parts = {name: mixture.table(bucket=name).to_pylist() for name in names}
    parts["real"] = [{"doc_id": REAL_DOC, "bucket": "real", "source": "letters", "tokens": 40, "copies": 2}]
    summary = {"copies": mixture.manifest.summary["copies"] + 2}
    put(space, "mixture", parts, summary=summary, version="with a real document")
    shards.build(space, tiny_tokenizer())
    index.build(space)
    return space


def put_inputs(space: Workspace, *, order: int = 0, documents: Sequence[int] = range(11), version: str = "1") -> None:
    shuffled = list(documents)
    random.Random(order).shuffle(shuffled)
    put(space, "seed_documents", {None: random.Random(order).sample(SEEDS, len(SEEDS))}, version=version)
    put_prompts(space, PROMPTS)
    names = [bucket_name(number) for number in range(space.recipe.buckets)]
    bucket = {number: bucket_of(generation(number)["prompt_id"], len(names)) for number in shuffled}
    for name in names:
        rows = [generation(number) for number in shuffled if bucket[number] == name]
        half = len(rows) // 2
        put(space, "generations", {None: rows[:half], f"{name} ": rows[half:]}, bucket=name, version=version)
    put_mixture(space, [(number, bucket[number], copies_of(number)) for number in shuffled], names, version=version)


def put_mixture(
    space: Workspace, rows: Sequence[tuple[int, str, int]], names: Sequence[str], *, version: str = "1"
) -> Manifest:
    parts: dict[str | None, list[dict[str, Any]]] = {name: [] for name in names}
    for number, bucket, copies in rows:
        if copies:
            parts[bucket].append({"doc_id": DOCS[number], "bucket": bucket, "tokens": 30, "copies": copies})
    summary = {"copies": sum(copies for _, _, copies in rows)}
    return put(space, "mixture", parts, summary=summary, version=version)


def number_of(doc_id: str) -> int:
    return DOCS.index(doc_id)
