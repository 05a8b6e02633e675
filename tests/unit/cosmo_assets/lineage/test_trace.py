"""Lineage: from any token to its document, prompt and seed, and from those to their tokens."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.lineage import index
from cosmo_assets.lineage.trace import Key, tokens, trace
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import CorpusStore, Dataset
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import prompt, put, put_prompts, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

SEEDS = [{"seed_id": digest(f"seed {number}"), "text": prose(f"seed {number}", 30)} for number in range(5)]
TEXTS = {digest(f"doc {number}"): f"{number} 🧪 {prose(f'doc {number}', 30)}" for number in range(10)}
DOCS = list(TEXTS)
PROMPTS = [
    prompt(
        f"prompt {number}",
        seed_id=SEEDS[number // 2]["seed_id"],
        source="web" if number < 6 else "books",
        licence="CC0-1.0" if number < 4 else "MIT",
        cluster_id=number % 3,
        topic=None if number % 3 == 2 else f"Topic {number % 3}",
        template=f"t{number % 2}",
    )
    for number in range(10)
]
COPIES = [1, 2, 1, 3, 1, 1, 1, 1, 1, 1]


def generations(number: int) -> dict[str, Any]:
    return {
        "doc_id": DOCS[number],
        "prompt_id": PROMPTS[number]["prompt_id"],
        "text": TEXTS[DOCS[number]],
        "model": "m",
    }


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Ten documents from ten prompts from five seeds, in two buckets and several shards."""
    folder = tmp_path_factory.mktemp("lineage")
    space = Workspace(CorpusStore(folder), recipe(buckets=2, tokenization={"shard_tokens": 90}), run_id="run-1")
    put(space, "seed_documents", {None: SEEDS})
    put_prompts(space, PROMPTS)
    parts: dict[str | None, list[dict[str, Any]]] = {"b000": [], "b001": []}
    for number, copies in enumerate(COPIES):
        bucket = f"b00{number % 2}"
        parts[bucket].append({"doc_id": DOCS[number], "bucket": bucket, "tokens": 30, "copies": copies})
    for start, bucket in enumerate(("b000", "b001")):
        put(space, "generations", {None: [generations(number) for number in range(start, 10, 2)]}, bucket=bucket)
    put(space, "mixture", parts, summary={"copies": sum(COPIES)})
    shards.build(space, tiny_tokenizer())
    index.build(space)
    return space


def lineage(space: Workspace) -> Dataset:
    return space.store.open("token_lineage")


def spans(space: Workspace) -> list[dict[str, Any]]:
    return lineage(space).table().to_pylist()


def number_of(doc_id: str) -> int:
    return DOCS.index(doc_id)


def test_every_span_of_the_shards_is_in_the_index_in_order(space: Workspace) -> None:
    columns = ["shard", "start", "end", "doc_id", "copy"]
    assert lineage(space).table(columns).to_pylist() == space.store.open("tokenized_shards").table(columns).to_pylist()


def test_a_span_names_everything_behind_it(space: Workspace) -> None:
    for span in spans(space):
        number = number_of(span["doc_id"])
        assert span["bucket"] == f"b00{number % 2}"
        for column in ("prompt_id", "seed_id", "source", "licence", "cluster_id", "topic", "template"):
            assert span[column] == PROMPTS[number][column], column


def test_tokens_add_up_in_every_column(space: Workspace) -> None:
    summary = lineage(space).manifest.summary
    assert summary["tokens"] == space.store.open("tokenized_shards").manifest.summary["tokens"]
    assert {name: sum(parts.values()) for name, parts in summary["by"].items()} == dict.fromkeys(
        summary["by"], summary["tokens"]
    )
    assert set(summary["by"]["source"]) == {"web", "books"}
    assert set(summary["by"]["topic"]) == {"Topic 0", "Topic 1", "(none)"}
    assert (summary["documents"], summary["seeds"]) == (10, 5)


def test_every_token_leads_to_its_document_prompt_and_seed(space: Workspace) -> None:
    for span in spans(space):
        number = number_of(span["doc_id"])
        for token in (span["start"], (span["start"] + span["end"]) // 2, span["end"] - 1):
            found = trace(space.store, span["shard"], token)
            assert found.span == span
            assert found.token_text == found.document["text"] == TEXTS[DOCS[number]]
            assert found.prompt["prompt"] == f"prompt {number}"
            assert found.seed["text"] == SEEDS[number // 2]["text"]


def test_a_token_is_told_with_its_id_and_the_versions_that_it_went_through(space: Workspace) -> None:
    found = trace(space.store, "0", 3)
    shard = shards.map_shard(space.store.open("tokenized_shards").folder / "shard-00000.ds")
    assert (found.token, found.token_id, found.run_id) == (3, int(shard[3]), "run-1")
    bucket = found.span["bucket"]
    for asset in ("seed_documents", "prompt_table", "tokenized_shards"):
        assert found.manifests[asset] == space.store.open(asset).manifest.version
    assert found.manifests["generations"] == space.store.open("generations", bucket).manifest.version


def test_a_shard_is_named_by_its_number_or_its_file(space: Workspace) -> None:
    assert trace(space.store, "1", 5) == trace(space.store, "shard-00001.ds", 5)


@pytest.mark.parametrize(("shard", "token"), [("0", 10**9), ("0", -1), ("77", 0), ("nothing.ds", 0)])
def test_a_token_that_is_not_there_is_answered_with_the_shards(space: Workspace, shard: str, token: int) -> None:
    with pytest.raises(CosmoError, match=f"no token {token} in ") as caught:
        trace(space.store, shard, token)
    for name, size in space.store.open("tokenized_shards").manifest.summary["shards"]:
        assert f"{name} ({size} tokens)" in caught.value.remedy


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("prompt_id", [row["prompt_id"] for row in PROMPTS]),
        ("seed_id", [row["seed_id"] for row in SEEDS]),
        ("doc_id", DOCS),
        ("source", ["web", "books"]),
        ("template", ["t0", "t1"]),
        ("licence", ["CC0-1.0", "MIT"]),
        ("topic", ["Topic 0", "Topic 1"]),
        ("model", ["m"]),
    ],
)
def test_what_a_thing_has_made_is_exactly_the_spans_that_trace_to_it(
    space: Workspace, key: Key, values: list[str]
) -> None:
    columns = ("shard", "start", "end", "doc_id", "prompt_id")
    for value in values:
        expected = [tuple(span[column] for column in columns) for span in spans(space) if span[key] == value]
        assert expected
        assert tokens(space.store, key, value).rows() == expected


def test_a_document_of_three_copies_has_three_spans(space: Workspace) -> None:
    assert len(tokens(space.store, "doc_id", DOCS[3])) == 3


def test_an_id_may_be_abbreviated(space: Workspace) -> None:
    assert tokens(space.store, "seed_id", SEEDS[1]["seed_id"][:10]).equals(
        tokens(space.store, "seed_id", SEEDS[1]["seed_id"])
    )


def test_a_name_may_not_be_abbreviated(space: Workspace) -> None:
    assert tokens(space.store, "source", "we").is_empty()


def test_what_made_nothing_has_no_tokens(space: Workspace) -> None:
    assert tokens(space.store, "prompt_id", "0" * 32).is_empty()


def other(tmp_path: Path, space: Workspace) -> Workspace:
    """A copy of the corpus that a test may change."""
    for source in space.store.root.rglob("*"):
        target = tmp_path / source.relative_to(space.store.root)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return Workspace(CorpusStore(tmp_path), space.recipe)


def test_shards_of_documents_that_are_gone_cannot_be_indexed(tmp_path: Path, space: Workspace) -> None:
    changed = other(tmp_path, space)
    put(changed, "generations", {None: [generations(1)]}, bucket="b001", version="2")
    with pytest.raises(CosmoError, match="token spans have no prompt") as caught:
        index.build(changed)
    assert "cosmo run" in caught.value.remedy


def test_a_seed_that_is_gone_is_an_error_that_names_it(tmp_path: Path, space: Workspace) -> None:
    changed = other(tmp_path, space)
    put(changed, "seed_documents", {None: []}, version="2")
    with pytest.raises(CosmoError, match="seed_documents has no row seed_id = ") as caught:
        trace(changed.store, "0", 0)
    assert "cosmo run" in caught.value.remedy
