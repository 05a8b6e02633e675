"""Real documents in the token index: they have a source and a licence, and neither prompt nor seed."""

from pathlib import Path

import pytest

from cosmo_assets.lineage import index
from cosmo_assets.lineage.trace import Lineage
from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.storage.digest import digest
from tests.unit.cosmo_assets.lineage.planted import DOCS, PROMPTS, REAL_DOC, REAL_TEXT, SEEDS, TEXTS, planted_with_real
from tests.unit.cosmo_assets.synthetic import put
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return planted_with_real(tmp_path_factory.mktemp("real"))


def test_the_chain_of_a_real_document_ends_at_its_row(space: Workspace) -> None:
    found = Lineage.open(space.store).document(REAL_DOC[:9])
    assert (found.prompt, found.seed) == (None, None)
    assert (found.document["place"], found.span["source"], found.span["licence"]) == (
        "letters.jsonl:7",
        "letters",
        "CC-BY-4.0",
    )
    assert {name for name, value in found.span.items() if value is None} == {
        "prompt_id", "seed_id", "topic", "cluster_id", "template", "template_version", "audience", "format", "model",
        "model_revision", "sampling",
    }  # fmt: skip
    assert found.token_text == REAL_TEXT
    assert len(found.copies) == 2
    assert set(found.manifests) == {"real_documents", "tokenized_shards", "token_lineage"}


def test_generated_documents_lead_where_they_led(space: Workspace) -> None:
    lineage = Lineage.open(space.store)
    for span in space.store.open("token_lineage").table().to_pylist():
        if span["doc_id"] == REAL_DOC:
            continue
        found = lineage.token(span["shard"], span["start"])
        assert found.document["text"] == TEXTS[span["doc_id"]]
        assert found.prompt is not None
        assert found.prompt["prompt_id"] == span["prompt_id"]
        assert found.seed is not None
        assert found.seed["seed_id"] == span["seed_id"]


def test_what_comes_from_a_prompt_or_a_seed_has_no_real_document(space: Workspace) -> None:
    lineage = Lineage.open(space.store)
    spans = space.store.open("token_lineage").table().to_pylist()
    for key, values in (("prompt_id", PROMPTS), ("seed_id", SEEDS)):
        for value in values:
            selected = lineage.tokens({key: value[key]})  # type: ignore[dict-item]
            expected = [(span["shard"], span["start"]) for span in spans if span[key] == value[key]]
            assert selected.frame().select("shard", "start").rows() == expected
    assert lineage.tokens({"topic": None}).totals.tokens >= lineage.tokens({"source": "letters"}).totals.tokens
    letters = lineage.tokens({"source": "letters"})
    assert (letters.totals.documents, letters.totals.spans) == (1, 2)
    assert letters.frame()["prompt_id"].to_list() == [None, None]


def test_a_piece_of_a_real_text_is_found(space: Workspace) -> None:
    lineage = Lineage.open(space.store)
    (match,) = lineage.text(" ".join(REAL_TEXT.split()[4:24])).matches
    assert (match.doc_id, match.bucket, len(match.spans)) == (REAL_DOC, "real", 2)
    assert lineage.match(match).document["place"] == "letters.jsonl:7"


def test_a_corpus_of_real_documents_alone_is_indexed(tmp_path: Path) -> None:
    space = planted_with_real(tmp_path)
    parts = {"b000": [], "b001": [], "real": space.store.open("mixture").table(bucket="real").to_pylist()}
    put(space, "mixture", parts, summary={"copies": 2}, version="real alone")
    shards.build(space, tiny_tokenizer())
    manifest = index.build(space)
    assert (manifest.summary["documents"], manifest.summary["prompts"], manifest.summary["seeds"]) == (1, 0, 0)
    lineage = Lineage.open(space.store)
    assert lineage.document(REAL_DOC).document["text"] == REAL_TEXT
    assert lineage.lookup.documents.find(DOCS[0]) is None
    assert lineage.lookup.prompts.find(digest("any")) is None
