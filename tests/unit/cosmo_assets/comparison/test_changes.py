from collections.abc import Mapping
from pathlib import Path

import pytest

from cosmo_assets.comparison.changes import changes
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.unit.cosmo_assets.synthetic import put, recipe

Docs = Mapping[str, tuple[str | None, int, int]]
"""By document: why it is not in the corpus, or None; its tokens; its copies."""

BEFORE: Docs = {
    "stays": (None, 10, 1),
    "longer": (None, 40, 1),
    "twin": ("duplicate", 30, 0),
    "was bad": ("old", 7, 0),
    "leaves": (None, 5, 1),
    "becomes a twin": (None, 6, 2),
    "more often": (None, 9, 1),
    "less often": (None, 8, 3),
}
AFTER: Docs = {
    "stays": (None, 10, 1),
    "longer": ("new", 40, 0),
    "twin": (None, 30, 1),
    "was bad": (None, 7, 1),
    "becomes a twin": ("duplicate", 6, 0),
    "more often": (None, 9, 2),
    "less often": (None, 8, 1),
    "written now": (None, 3, 1),
}


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(CorpusStore(tmp_path), recipe())


def report(space: Workspace, documents: Docs) -> Manifest:
    """Publish a corpus, and the report that reads it."""
    version, end = json_digest(documents), 0
    spans = []
    for key, (_, tokens, copies) in documents.items():
        for copy in range(copies):
            spans.append({"shard": "s", "start": end, "end": end + tokens, "doc_id": key, "copy": copy})
            end += tokens
    verdicts = [
        {"doc_id": key, "keep": reason in (None, "duplicate"), "benchmark": None if reason == "duplicate" else reason}
        for key, (reason, *_) in documents.items()
    ]
    unique = [
        {"doc_id": key, "keep": reason is None}
        for key, (reason, *_) in documents.items()
        if reason in (None, "duplicate")
    ]
    made = [
        put(space, "tokenized_shards", {None: spans}, version=version),
        put(space, "decontaminated", {None: verdicts}, bucket="b000", version=version),
        put(space, "deduplicated", {None: unique}, bucket="b000", version=version),
    ]
    inputs = tuple(manifest.ref() for manifest in made)

    def produce(writer: DatasetWriter) -> None:
        writer.flow("documents", 0, 0)

    return space.build("corpus_report", produce, stage_version="1", inputs=inputs, params={})


def test_everything_that_changed_has_its_reason_and_all_adds_up(space: Workspace) -> None:
    before, after = report(space, BEFORE), report(space, AFTER)
    found = [tuple(row.values()) for row in changes(space.store, before, after)]
    assert found == [
        ("gone", "anything else", -1, -5),
        ("gone", "duplicates", -1, -12),
        ("gone", "items of new", -1, -40),
        ("come", "anything else", 1, 3),
        ("come", "copies of documents that stay", 0, -7),
        ("come", "duplicates", 1, 30),
        ("come", "items of old", 1, 7),
        ("all", "", 0, -24),
    ]
    sizes = [sum(tokens * copies for _, tokens, copies in documents.values()) for documents in (BEFORE, AFTER)]
    assert sizes[1] - sizes[0] == -24
    back = {(row["what"], row["because"]): row["tokens"] for row in changes(space.store, after, before)}
    assert (back["come", "items of new"], back["gone", "items of old"], back["all", ""]) == (40, -7, 24)


def test_nothing_is_compared_with_nothing_or_itself_or_what_is_gone(space: Workspace) -> None:
    before, after = report(space, BEFORE), report(space, AFTER)
    assert changes(space.store, None, after) == changes(space.store, after, after) == []
    assert changes(space.store, before, after)
    (ref,) = [ref for ref in before.inputs if ref.asset == "deduplicated"]
    for path in (space.store.place("deduplicated", "b000") / ref.version).glob("part-*"):
        path.unlink()
    assert changes(space.store, before, after) == []
