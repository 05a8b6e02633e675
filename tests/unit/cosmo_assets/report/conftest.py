"""A small corpus from the real stages: hostile texts, planted duplicates and benchmark items; no model, no network."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import tokenizers

from cosmo_assets.decontamination import seeds as contaminated_seeds
from cosmo_assets.decontamination import stage as decontamination
from cosmo_assets.deduplication import clusters, signatures, verdicts
from cosmo_assets.generation.generate import generate
from cosmo_assets.generation.worker import Worker
from cosmo_assets.ids import bucket_name, uniform
from cosmo_assets.lineage import index
from cosmo_assets.mixture import stage as mixture
from cosmo_assets.prompts import seed_extracts, table
from cosmo_assets.quality import stage as quality
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.seeds import documents
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_assets.topics import clustering, decisions, embedding, labelling, mapping
from cosmo_assets.withdrawal import record
from cosmo_resources.inference.client import Answer, CompletionClient, Request
from cosmo_resources.pools.jobs import Job
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tokenizers import NamedTokenizer

HOSTILE = "<script>alert('cosmo')</script>"
QUESTION = "Which lamp did the keeper of the far northern island light every evening before dusk?"
VOCABULARY = """
the water of a river carries small stones and sand from mountain to sea while people build houses near its banks because
they need fish trade fields that give bread every year when rain has come in spring although some winters are cold
children learn at school how numbers words maps describe what their parents know about soil trees iron
"""
WORDS = VOCABULARY.split()


def prose(key: str, words: int) -> str:
    chosen = [WORDS[int(uniform("prose", key, str(number)) * len(WORDS))] for number in range(words)]
    sentences = [" ".join(chosen[start : start + 11]).capitalize() for start in range(0, words, 11)]
    return ". ".join(sentences) + "."


class FakeEmbedder:
    name, revision = "fake", "1"

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        rows = [[uniform("vector", text, str(number)) - 0.5 for number in range(384)] for text in texts]
        vectors = np.array(rows, np.float32).reshape(-1, 384)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class FakeClient:
    """Answers as a function of the request: mostly prose, in a fixed share of cases something worth reporting."""

    def rollouts(self, rows: Iterable[Any], rollout: Any) -> Iterator[tuple[str, Any]]:
        for row in rows:

            async def generate(body: Any, key: str = row.key) -> Answer:
                return next(self.answers([Request(key, body)]))

            yield row.key, asyncio.run(rollout(row, generate))

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            if "response_format" in request.body:
                cluster = int(request.key.partition("/")[0])
                label = {
                    "topic": "Celebrity News" if cluster in (0, 3) else f"Rivers & {HOSTILE}",
                    "reason": f"It is taught {HOSTILE}",
                    "educational_score": 4 + cluster,
                }
                yield _answer(request.key, json.dumps(label))
                continue
            draw = uniform("answer", request.key)
            if draw < 0.04:
                yield Answer(request.key, "refused", "", None, "400: too long", 0, 0, 1, 0.1)
            elif draw < 0.10:
                yield _answer(request.key, "As an AI, I cannot. " + prose(request.key, 60))
            elif draw < 0.16:
                question = f" {QUESTION} It was the green one. "
                yield _answer(request.key, prose(request.key, 30) + question + prose(request.key, 40))
            elif draw < 0.22:
                yield _answer(request.key, prose("copied", 120) + prose(request.key, 3))
            elif draw < 0.28:
                yield _answer(request.key, "Too short.")
            elif draw < 0.40:
                yield _answer(request.key, f"{HOSTILE} & \x00 " + prose(request.key, 90), "length")
            else:
                yield _answer(request.key, prose(request.key, 60 + int(200 * draw)))


class FakePool:
    """One worker in this process."""

    def run(self, job: Job) -> Iterator[int]:
        Worker(job.folder, cast("CompletionClient", FakeClient()), "fake").run()
        yield job.rows


def _answer(key: str, text: str, finish: str = "stop") -> Answer:
    return Answer(key, "ok", text, finish, None, 50, len(text.split()), 1, time.monotonic())


def byte_tokenizer() -> NamedTokenizer:
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: number for number, char in enumerate(alphabet)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return NamedTokenizer("bytes", "1", tokenizer)


def recipe_in(folder: Path) -> Recipe:
    """Writes two sources and a benchmark; the recipe that reads them."""
    pages = [{"id": f"{number:03d}", "text": prose(f"page/{number}", 60)} for number in range(60)]
    pages += [{"id": "hostile", "text": f"{HOSTILE} {prose('hostile', 60)}"}, {"id": "short", "text": "Too short."}]
    maths = [{"id": f"{number:03d}", "text": prose(f"maths/{number}", 60)} for number in range(30)]
    items = [{"id": "q1", "question": QUESTION, "answer": "the green one"}]
    for name, rows in {"pages": pages, "maths": maths, "bench": items}.items():
        text = "\n".join(json.dumps(row) for row in rows) + ("\nnot json\n" if name == "maths" else "\n")
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    licences = {"pages": ("web", "CC0-1.0"), "maths": ("maths", "CC-BY-4.0")}
    fields = {
        "name": "tiny",
        "description": f"A corpus for tests {HOSTILE}",
        "buckets": 2,
        "sources": [
            {"name": name, "kind": kind, "reader": "jsonl", "path": f"{name}.jsonl", "licence": licence}
            for name, (kind, licence) in licences.items()
        ],
        "topics": {"clustering": {"clusters": 6}, "policy": {"deny": ["celebrit"]}},
        "prompts": {
            "mixes": {
                "web": {"templates": [{"template": "textbook_academic"}, {"template": "blogpost"}]},
                "maths": {"templates": [{"template": "maths_college"}, {"template": "maths_grade_school"}]},
            }
        },
        "generation": {"model": {"name": "fake", "revision": "1", "licence": "Apache-2.0"}, "shard_rows": 16},
        "decontamination": {"benchmarks": [{"name": "bench", "path": "bench.jsonl", "licence": "MIT"}]},
        "mixture": {"components": {"pages": {"weight": 3, "max_epochs": 2}, "maths": {"weight": 2, "max_epochs": 2}}},
        "tokenization": {"shard_tokens": 4000},
        "folder": folder,
    }
    return Recipe.model_validate(fields)


def build_corpus(folder: Path) -> Workspace:
    """Every stage up to the token index, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_in(folder)
    workspace = Workspace(CorpusStore(folder / "data"), recipe, run_id=folder.name)
    tokenizer, client = byte_tokenizer(), cast("CompletionClient", FakeClient())
    buckets = [bucket_name(number) for number in range(recipe.buckets)]
    documents.build(workspace)
    embedding.build(workspace, FakeEmbedder())
    clustering.fit(workspace)
    clustering.assign(workspace)
    labelling.build(workspace, lambda: client, FakeEmbedder, byte_tokenizer())
    decisions.build(workspace)
    mapping.build(workspace)
    seed_extracts.build(workspace, tokenizer)
    table.build(workspace)
    decontamination.build_benchmarks(workspace)
    contaminated_seeds.build(workspace)
    for bucket in buckets:
        generate(workspace, FakePool(), bucket)
        quality.build(workspace, bucket)
        decontamination.build(workspace, bucket)
        signatures.build(workspace, bucket)
    clusters.build(workspace)
    for bucket in buckets:
        verdicts.build(workspace, bucket)
    record.build(workspace)
    mixture.build(workspace)
    shards.build(workspace, tokenizer)
    index.build(workspace)
    return workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return build_corpus(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def other_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same corpus, built somewhere else."""
    return build_corpus(tmp_path_factory.mktemp("elsewhere") / "deeper")
