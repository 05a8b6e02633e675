"""Two versions of the shards compared: every document that came or went has its reason, and the sums hold."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.comparison.changes import Difference, difference
from cosmo_assets.comparison.versions import find, pair, versions
from cosmo_assets.schemas.corpus import MIXTURE
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.unit.cosmo_assets.synthetic import filled, put, recipe


@dataclass(frozen=True)
class Doc:
    """A document on its way: where it stopped, if it did."""

    tokens: int
    stopped: str = ""
    """The stage that dropped it, and why: `mixture/withdrawn/source web`."""
    prompt: str = ""
    seed: str = ""
    source: str = "web"
    copies: int = 1


@dataclass(frozen=True)
class Corpus:
    documents: Mapping[str, Doc]
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Prompts without documents of their own, with their seeds."""
    seeds: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


STOPS = ("deduplicated", "decontaminated", "generation_quality")


def publish(space: Workspace, corpus: Corpus) -> Manifest:
    """The shards of a corpus, and what they were made from."""
    version = json_digest([repr(corpus)])
    of = {
        key: (doc.prompt or f"prompt of {key}", doc.seed or f"seed of {key}") for key, doc in corpus.documents.items()
    }
    prompts = dict(corpus.prompts) | dict(of.values())
    sources = {of[key][0]: doc.source for key, doc in corpus.documents.items()}
    rows = [
        {"prompt_id": key, "seed_id": seed, "source": sources.get(key, "web"), "topic": "Rivers", "format": "lesson"}
        for key, seed in prompts.items()
    ]
    seeds = {*prompts.values(), *corpus.seeds}
    made = [
        put(space, "seed_documents", {None: [{"seed_id": seed} for seed in sorted(seeds)]}, version=version),
        put(space, "prompt_table", {"b000": rows}, version=version),
        put(
            space,
            "generations",
            {None: [{"doc_id": key, "prompt_id": of[key][0], "status": "ok"} for key in corpus.documents]},
            bucket="b000",
            version=version,
        ),
    ]
    for stage in STOPS:
        verdicts = []
        for key, doc in corpus.documents.items():
            place, _, why = doc.stopped.partition("/")
            verdicts.append({"doc_id": key, "keep": place != stage, "benchmark": why, "reasons": [why]})
        made.append(put(space, stage, {None: verdicts}, bucket="b000", version=version))

    def mixture(writer: DatasetWriter) -> None:
        kept = [{"doc_id": key, "copies": doc.copies} for key, doc in corpus.documents.items() if not doc.stopped]
        writer.write(filled("mixture", kept).cast(MIXTURE), bucket="b000")
        for key, doc in corpus.documents.items():
            if doc.stopped.startswith("mixture/"):
                _, reason, detail = doc.stopped.split("/")
                writer.reject(key, reason, detail=detail)
        writer.flow("documents", len(kept), len(kept))

    inputs = tuple(manifest.ref() for manifest in made)
    mixed = space.build("mixture", mixture, stage_version=version, inputs=inputs, params=corpus.params)

    def shards(writer: DatasetWriter) -> None:
        spans, end = [], 0
        for key, doc in corpus.documents.items():
            for copy in range(0 if doc.stopped else doc.copies):
                spans.append({"shard": "s", "start": end, "end": end + doc.tokens, "doc_id": key, "copy": copy})
                end += doc.tokens
        writer.write(filled("tokenized_shards", spans))
        writer.flow("spans", len(spans), len(spans))
        writer.summary = {"documents": len({span["doc_id"] for span in spans}), "tokens": end}

    return space.build("tokenized_shards", shards, stage_version=version, inputs=(mixed.ref(),), params={})


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(CorpusStore(tmp_path), recipe())


def compared(space: Workspace, before: Corpus, after: Corpus) -> Difference:
    was, now = publish(space, before), publish(space, after)
    return difference(space.store, was, now)


STAYS = {"stays": Doc(100)}


@pytest.mark.parametrize(
    ("stopped", "because"),
    [
        ("mixture/withdrawn/source web", "withdrawn: source web"),
        ("mixture/not_drawn/web", "weights and bounds of the mixture"),
        ("mixture/source_not_in_mixture/web", "sources of the mixture"),
        ("deduplicated/", "duplicates"),
        ("decontaminated/gsm8k", "items of gsm8k"),
        ("generation_quality/repetitive", "quality: repetitive"),
    ],
    ids=["purge", "weights", "source", "duplicate", "benchmark", "quality"],
)
def test_the_stage_that_drops_a_document_says_why(space: Workspace, stopped: str, because: str) -> None:
    there = Corpus(STAYS | {"moves": Doc(7)})
    not_there = Corpus(STAYS | {"moves": Doc(7, stopped)})
    gone = compared(space, there, not_there)
    assert gone.why == [
        {"what": "gone", "because": because, "documents": -1, "tokens": -7},
        {"what": "all", "because": "", "documents": -1, "tokens": -7},
    ]
    come = compared(space, not_there, there)
    assert come.why[0] == {"what": "come", "because": because, "documents": 1, "tokens": 7}


@pytest.mark.parametrize(
    ("other", "because"),
    [
        (Corpus(STAYS | {"other": Doc(9, prompt="p", seed="s")}), "generated again"),
        (Corpus(STAYS, prompts={"q": "s"}), "prompts"),
        (Corpus(STAYS, seeds=("s",)), "prompts"),
        (Corpus(STAYS), "seeds"),
    ],
    ids=["another answer", "another prompt", "no prompt", "no seed"],
)
def test_what_was_never_made_has_the_reason_that_comes_first_on_its_way(
    space: Workspace, other: Corpus, because: str
) -> None:
    there = Corpus(STAYS | {"moves": Doc(7, prompt="p", seed="s")})
    gone = {row["because"]: row["tokens"] for row in compared(space, there, other).why if row["what"] == "gone"}
    come = {row["because"]: row["tokens"] for row in compared(space, other, there).why if row["what"] == "come"}
    assert (gone, come) == ({because: -7}, {because: 7})


def test_sums_hold_by_reason_and_by_facet(space: Workspace) -> None:
    before = {
        "stays": Doc(100),
        "goes": Doc(30, source="books"),
        "twice": Doc(20, copies=2),
        "comes": Doc(11, "deduplicated/"),
    }
    after = {
        "stays": Doc(100),
        "goes": Doc(30, "mixture/withdrawn/source books", source="books"),
        "twice": Doc(20, copies=1),
        "comes": Doc(11),
        "new": Doc(5, source="books"),
    }
    found = compared(space, Corpus(before, params={"a": {"b": 1}}), Corpus(after, params={"a": {"b": 2}}))
    assert [tuple(row.values()) for row in found.why] == [
        ("gone", "withdrawn: source books", -1, -30),
        ("come", "copies of documents that stay", 0, -20),
        ("come", "duplicates", 1, 11),
        ("come", "seeds", 1, 5),
        ("all", "", 1, -34),
    ]
    assert found.after["tokens"] - found.before["tokens"] == -34
    assert found.by["source"] == [
        {
            "value": "books",
            "documents_added": 1,
            "documents_removed": 1,
            "tokens_added": 5,
            "tokens_removed": 30,
        },
        {"value": "web", "documents_added": 1, "documents_removed": 0, "tokens_added": 11, "tokens_removed": 20},
    ]
    for rows in found.by.values():
        assert sum(row["tokens_added"] - row["tokens_removed"] for row in rows) == -34
    assert found.settings == [{"field": "mixture.a.b", "before": 1, "after": 2}]
    assert {row["asset"] for row in found.inputs} >= {"mixture", "tokenized_shards", "seed_documents"}


def test_equal_versions_differ_in_nothing(space: Workspace) -> None:
    found = compared(space, Corpus(STAYS), Corpus(STAYS))
    assert (found.inputs, found.settings, [row["tokens"] for row in found.why]) == ([], [], [0])


def test_a_version_that_a_comparison_reads_and_that_is_gone_is_an_error(space: Workspace) -> None:
    was, now = publish(space, Corpus(STAYS)), publish(space, Corpus(STAYS | {"x": Doc(1)}))
    mixture = find(space.store, was.version).manifest.inputs[0]
    (ref,) = [ref for ref in space.store.version(mixture).manifest.inputs if ref.asset == "deduplicated"]
    for path in (space.store.place("deduplicated", "b000") / ref.version).glob("part-*"):
        path.unlink()
    with pytest.raises(CosmoError, match="missing"):
        difference(space.store, was, now)


def test_versions_are_named_by_their_beginning_or_their_mixture(space: Workspace) -> None:
    first = publish(space, Corpus(STAYS))
    with pytest.raises(CosmoError, match="there is one version of the shards alone"):
        pair(space.store, None, None)
    time.sleep(0.01)
    second = publish(space, Corpus(STAYS | {"x": Doc(1)}))
    assert [dataset.manifest.version for dataset in versions(space.store)] == [second.version, first.version]
    assert find(space.store, first.version[:10]).manifest == first
    assert find(space.store, second.inputs[0].version).manifest == second
    was, now = pair(space.store, None, None)
    assert (was.manifest.version, now.manifest.version) == (first.version, second.version)
    was, now = pair(space.store, None, first.version)
    assert (was.manifest.version, now.manifest.version) == (second.version, first.version)
    with pytest.raises(CosmoError, match="no version of the shards or their mixture begins so"):
        find(space.store, "nothing")
    with pytest.raises(CosmoError, match="more than one version begins so"):
        find(space.store, "")
