"""Small corpora for tests: a recipe and its sources in a folder, and ways to build them."""

import atexit
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from cosmo_assets.automation import materialize, plan_runs
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_resources.deployments import Settings, settings
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose, replaying

ROOT = Path(__file__).parent.parent

MEMORY = Path(tempfile.mkdtemp(prefix="cosmo-tests-", dir="/dev/shm")) if os.access("/dev/shm", os.W_OK) else None
if MEMORY:
    atexit.register(shutil.rmtree, MEMORY, ignore_errors=True)

QUESTION = "Which lamp did the keeper of the far island light every evening before dusk?"

TEMPLATES = {
    "lesson": "Write a short lesson for beginners about what stands below. Begin at once.\n\n{{ extract }}",
    "story": "Tell a story in which this matters:\n{{ extract }}\n{% if topic %}Name {{ topic }}.{% endif %}",
}

ONE_TEMPLATE = {"lesson": TEMPLATES["lesson"]}
"""A prompt of every seed: with several templates a share of a seed is rounded."""


def seeds(count: int, *, start: int = 0, tag: str = "seed") -> list[dict[str, str]]:
    """Web documents that have nothing in common but the vocabulary."""
    return [
        {"id": f"{tag}-{number:04d}", "text": prose(f"{tag}/{number}", 70)} for number in range(start, start + count)
    ]


@dataclass
class Corpus:
    """A corpus under test: sources and recipe in `folder`, data and state beside them."""

    folder: Path
    buckets: int = 2
    shard_rows: int = 8
    clusters: int = 4
    per_seed: float = 1
    templates: dict[str, str] = field(default_factory=lambda: dict(TEMPLATES))
    versions: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    data: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"

    @property
    def state(self) -> Path:
        """Dagster's state, in memory where there is such a file system: its event log waits for the disk a lot."""
        return MEMORY / hashlib.blake2b(str(self.folder).encode()).hexdigest()[:12] if MEMORY else self.folder / "state"

    @property
    def recipe_path(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def recipe(self) -> Recipe:
        return load_recipe(str(self.recipe_path))

    @property
    def store(self) -> CorpusStore:
        return CorpusStore(self.data / "tiny")

    def write(self, documents: Sequence[Mapping[str, str]] | None = None) -> "Corpus":
        """Write the recipe and templates, and the seeds where some are given."""
        if documents is not None:
            lines = [json.dumps(document) for document in documents]
            (self.folder / "pages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.folder / "bench.jsonl").write_text(
            json.dumps({"id": "q1", "question": QUESTION, "answer": "the green one"}) + "\n",
            encoding="utf-8",
        )
        templates = self.folder / "templates"
        templates.mkdir(exist_ok=True)
        for name, body in self.templates.items():
            version = self.versions.get(name, "1")
            front = f'---\nid: {name}\nversion: "{version}"\nkinds: [web]\naudience: general\n'
            front += f"format: {name}\nwords: 100\nmax_tokens: 200\n---\n"
            (templates / f"{name}.md").write_text(front + body + "\n", encoding="utf-8")
        share = self.per_seed / len(self.templates)
        fields: dict[str, Any] = {
            "name": "tiny",
            "description": "a corpus for tests",
            "buckets": self.buckets,
            "sources": [
                {"name": "pages", "kind": "web", "reader": "jsonl", "path": "pages.jsonl", "licence": "CC0-1.0"}
            ],
            "topics": {"clustering": {"clusters": self.clusters}},
            "prompts": {
                "template_folders": ["templates"],
                "mixes": {"web": {"templates": [{"template": name, "per_seed": share} for name in self.templates]}},
            },
            "generation": {
                "model": {"name": "replay", "revision": "1", "licence": "CC0-1.0"},
                "max_tokens": 200,
                "shard_rows": self.shard_rows,
            },
            "quality": {"min_words": 10},
            "decontamination": {"benchmarks": [{"name": "bench", "path": "bench.jsonl", "licence": "CC0-1.0"}]},
            "mixture": {"components": {"pages": {"weight": 1}}},
            "tokenization": {"shard_tokens": 2000},
        }
        self.recipe_path.write_text(yaml.safe_dump({**fields, **self.changes}), encoding="utf-8")
        return self

    def environment(
        self, url: str, *, workers: int = 1, concurrency: int = 4, deployment: str = "test"
    ) -> dict[str, str]:
        return {
            "COSMO_DEPLOYMENT": deployment,
            "COSMO_RECIPE": str(self.recipe_path),
            "COSMO_DATA": str(self.data),
            "COSMO_STATE": str(self.state),
            "COSMO_ENDPOINTS": url,
            "COSMO_WORKERS": str(workers),
            "COSMO_CONCURRENCY": str(concurrency),
            "COSMO_MLFLOW": "off",
            "DAGSTER_HOME": str(ROOT),
        }

    def settings(self, url: str, **options: Any) -> Settings:
        return settings(self.environment(url, **options))

    def build(
        self, url: str, assets: Sequence[str] = (), *, instance: dg.DagsterInstance | None = None, **options: Any
    ) -> list[str]:
        """Materialize in this process; the names of the checks that warn."""
        recipe = self.recipe
        chosen = self.settings(url, **options)
        runs = plan_runs(recipe, assets)
        if instance is not None:
            return materialize(recipe, chosen, instance, runs)
        with dg.DagsterInstance.ephemeral() as ephemeral:
            return materialize(recipe, chosen, ephemeral, runs)

    def command(self, url: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a `cosmo` command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "cosmo_assets.cli.main", *arguments],
            env={**os.environ, **self.environment(url, **options)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def rows(self, asset: str = "generations") -> dict[str, dict[str, Any]]:
        """All current rows of a bucketed asset by doc_id."""
        found: dict[str, dict[str, Any]] = {}
        for index in range(self.recipe.buckets):
            for row in self.store.open(asset, f"b{index:03d}").table().to_pylist():
                assert row["doc_id"] not in found, "a row stands in two buckets"
                found[row["doc_id"]] = row
        return found

    def versions_of_everything(self) -> dict[str, str]:
        return {
            f"{asset}/{bucket}": dataset.manifest.version
            for asset in self.store.assets()
            for bucket in ("all", *(bucket_name(index) for index in range(self.recipe.buckets)))
            if (dataset := self.store.current(asset, bucket)) is not None
        }


def contents(corpus: Corpus) -> dict[str, tuple[object, ...]]:
    """What must equal a build from scratch: every row but its timings."""
    return {
        key: (
            row["prompt_id"],
            row["sample_index"],
            row["status"],
            row["text"],
            row["finish_reason"],
            row["request_seed"],
        )
        for key, row in corpus.rows().items()
    }


def from_scratch(corpus: Corpus, folder: Path, url: str) -> Corpus:
    """The same corpus in an empty place, given the pinned artifacts alone: the cluster model, its labels, the map's
    layout."""
    fresh = Corpus(folder)
    for name in ("recipe.yaml", "pages.jsonl", "bench.jsonl"):
        shutil.copy(corpus.folder / name, folder / name)
    shutil.copytree(corpus.folder / "templates", folder / "templates")
    for asset in ("cluster_model", "topic_labels", "topic_map"):
        shutil.copytree(corpus.store.place(asset), fresh.store.place(asset))
    fresh.build(url)
    return fresh


def check_against_scratch(corpus: Corpus, folder: Path) -> None:
    with replaying() as other:
        scratch = from_scratch(corpus, folder, other.url)
        assert other.label_calls == [], "the pinned labels were not used"
    assert contents(corpus) == contents(scratch)
    assert corpus.versions_of_everything() == scratch.versions_of_everything()


def kill_group(process: "subprocess.Popen[str]") -> None:
    """SIGKILL a command and everything that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(condition: Any, *, seconds: float = 60.0, process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until a condition holds, or fail with what a process printed if it ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.stdout.read() if process.stdout else ''}")
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
