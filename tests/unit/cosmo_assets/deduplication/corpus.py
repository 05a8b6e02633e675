"""A small corpus up to decontamination, for the stages of deduplication."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cosmo_assets.deduplication import clusters, signatures, verdicts
from cosmo_assets.deduplication.canary import survivors_of
from cosmo_assets.recipe.deduplication import ExactMethod, MinHashMethod, PassagesMethod
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.synthetic import put, recipe


@dataclass(frozen=True)
class Document:
    """A generated text, and what its corpus knows of it."""

    text: str
    bucket: int = 0
    repetition: float = 0.0
    finish_reason: str = "stop"
    keep: bool = True
    source: str = "pages"
    topic: str | None = "lamps"
    template: str = "blogpost"
    name: str = ""

    @property
    def doc_id(self) -> str:
        return self.name or digest("document", self.text, str(self.bucket), self.template)


@dataclass(frozen=True)
class Corpus:
    documents: Sequence[Document]
    buckets: int = 1
    name: str = "synthetic"
    deduplication: Mapping[str, Any] = field(default_factory=dict)

    def workspace(self, folder: Path) -> Workspace:
        made_of = recipe(buckets=self.buckets, deduplication=dict(self.deduplication), name=self.name)
        return Workspace(CorpusStore(folder / self.name), made_of)

    def put(self, folder: Path) -> Workspace:
        """Publish what comes before deduplication."""
        space = self.workspace(folder)
        prompts: dict[str | None, list[dict[str, Any]]] = {}
        for number in range(self.buckets):
            bucket = f"b{number:03d}"
            mine = [document for document in self.documents if document.bucket == number]
            rows = [
                {
                    "doc_id": one.doc_id,
                    "prompt_id": f"prompt of {one.doc_id}",
                    "text": one.text,
                    "finish_reason": one.finish_reason,
                    "completion_tokens": len(one.text.split()),
                    "words": len(one.text.split()),
                    "repetition": one.repetition,
                    "keep": one.keep,
                    "source": one.source,
                    "topic": one.topic,
                    "template": one.template,
                }
                for one in mine
            ]
            version = json_digest(rows)
            for asset in ("generations", "generation_quality", "decontaminated"):
                put(space, asset, {bucket: rows}, bucket=bucket, version=version)
            prompts[bucket] = rows
        put(space, "prompt_table", prompts, version=json_digest([*prompts.values()]))
        return space

    def build(self, folder: Path) -> tuple[Workspace, list[Manifest]]:
        """Publish it and deduplicate it."""
        space = self.put(folder)
        return space, deduplicate(space)


def deduplicate(space: Workspace) -> list[Manifest]:
    """All stages of deduplication, in order."""
    names = [f"b{number:03d}" for number in range(space.recipe.buckets)]
    made = [signatures.build(space, name) for name in names]
    made.append(clusters.build(space))
    return [*made, *(verdicts.build(space, name) for name in names)]


def verdicts_of(space: Workspace) -> dict[str, tuple[str | None, str | None]]:
    """By document: the method that drops it and what stands for it."""
    found = {}
    for bucket in space.store.buckets("deduplicated"):
        for row in space.store.open("deduplicated", bucket).table().to_pylist():
            assert row["keep"] == (row["method"] is None)
            found[row["doc_id"]] = (row["method"], row["duplicate_of"])
    return found


def groups(texts: Sequence[str], method: ExactMethod | MinHashMethod | PassagesMethod) -> list[list[int]]:
    """Groups of duplicates in a list of texts, as sorted positions."""
    return groups_of(survivors_of(list(texts), method))


def groups_of(survivor: npt.NDArray[np.int64]) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for position, stays in enumerate(survivor.tolist()):
        members.setdefault(stays, []).append(position)
    return sorted(found for found in members.values() if len(found) > 1)
