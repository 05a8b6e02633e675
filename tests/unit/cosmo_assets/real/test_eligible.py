"""Real documents on their way into the mixture: licences, benchmarks, duplicates among them and of generated ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cosmo_assets.cli.plan_tables import mixture_tables
from cosmo_assets.decontamination.stage import build_benchmarks
from cosmo_assets.deduplication.signatures import signed_as
from cosmo_assets.mixture import stage as mixture
from cosmo_assets.operations.doctor import _recipe
from cosmo_assets.real import eligible
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import Item
from cosmo_assets.withdrawal.record import Note, Size
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.deduplication.corpus import Corpus, Document, deduplicate, verdicts_of
from tests.unit.cosmo_assets.deduplication.texts import text
from tests.unit.cosmo_assets.mixture.test_plan import cells
from tests.unit.cosmo_assets.synthetic import recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

QUESTION = "Which lamp did the keeper of the far northern island light every evening before dusk?"
COMPONENTS: dict[str, Any] = {"pages": {}, "essays": {}, "notes": {}}
"""Without weights every document is drawn once."""
NOTE = Note("for a test", "tester", "2026-01-01T00:00:00+00:00")


def with_real(folder: Path, **changes: Any) -> Recipe:
    sources = [
        {"name": name, "reader": "jsonl", "path": f"{name}/*.jsonl", "licence": "CC0-1.0"}
        for name in ("essays", "notes")
    ]
    fields: dict[str, Any] = {
        "real": {"sources": sources, "filters": {"near_duplicate_threshold": None, "languages": ["en"]}},
        "mixture": {"components": COMPONENTS},
        "licences": {"deny": ["*-NC-*"]},
        "folder": folder,
    }
    return recipe(**{**fields, **changes})


@dataclass(frozen=True)
class Mixed(Corpus):
    """Generated documents, and real ones in files beside the recipe."""

    real: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)

    def workspace(self, folder: Path) -> Workspace:
        made_of = with_real(
            folder,
            buckets=self.buckets,
            decontamination={"benchmarks": [{"name": "bench", "path": "bench.jsonl", "licence": "MIT"}]},
        )
        return Workspace(CorpusStore(folder / self.name), made_of)

    def mixed(self, folder: Path) -> Workspace:
        """Everything up to the mixture."""
        bench = {"id": "q1", "question": QUESTION, "answer": "the green one"}
        (folder / "bench.jsonl").write_text(json.dumps(bench) + "\n", encoding="utf-8")
        for name in ("essays", "notes"):
            (folder / name).mkdir(exist_ok=True)
            lines = [json.dumps(row) for row in self.real.get(name, [{"id": name, "text": text(name, 80)}])]
            (folder / name / "part.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        space = self.put(folder)
        build_benchmarks(space)
        eligible.read(space)
        eligible.build(space, tiny_tokenizer())
        deduplicate(space)
        record.build(space)
        mixture.build(space)
        return space


def natives(space: Workspace) -> dict[str, str]:
    """The ids of real documents by their sources' own."""
    return {row["native_id"]: row["doc_id"] for row in space.store.open("real_documents").table().to_pylist()}


def left_out(space: Workspace) -> dict[str, str]:
    rejected = space.store.open("mixture").rejected()
    return {row["place"]: row["reason"] for row in rejected.to_pylist()} if rejected is not None else {}


def test_a_generated_document_goes_for_a_real_one_and_of_two_real_ones_one_stays(tmp_path: Path) -> None:
    one, other = text("one", 300), text("other", 300)
    documents = [
        Document(one.upper() + " AND ONE MORE", name=digest("near")),
        Document(one.title(), name=digest("same")),
        Document(text("own", 90), name=digest("own")),
    ]
    real = {
        "essays": [{"id": "one", "text": one}, {"id": "alone", "text": text("alone", 120)}],
        "notes": [{"id": "longer", "text": other + " with more"}, {"id": "shorter", "text": other}],
    }
    space = Mixed(documents, real=real).mixed(tmp_path)
    key = natives(space)
    assert verdicts_of(space) == {
        digest("near"): ("minhash", key["one"]),
        digest("same"): ("exact", key["one"]),
        digest("own"): (None, None),
    }
    assert left_out(space)[key["shorter"]] == "duplicate_minhash"
    rows = {row["doc_id"]: row for row in space.store.open("mixture").table().to_pylist()}
    assert key["shorter"] not in rows
    assert rows[key["longer"]]["bucket"] == "real"
    manifest = space.store.open("mixture").manifest
    assert manifest.flow.balanced
    assert manifest.flow.rows_in == 1 + 4, "what deduplication kept, and every eligible real document"
    shown = {row["source"]: row["available"] for row in manifest.summary["components"]}
    sizes = {row["doc_id"]: row["tokens"] for row in space.store.open("real_eligible").table().to_pylist()}
    assert shown["notes"] == sizes[key["longer"]], "a duplicate is nothing that a source has"


def test_a_purge_of_a_real_document_brings_no_generated_one_back(tmp_path: Path) -> None:
    one = text("one", 300)
    corpus = Mixed(
        [Document(one, name=digest("same")), Document(text("own", 90), name=digest("own"))],
        real={"essays": [{"id": "one", "text": one}]},
    )
    space = corpus.mixed(tmp_path)
    before = {row["doc_id"]: row for row in space.store.open("mixture").table().to_pylist()}
    key = natives(space)["one"]
    assert key in before
    for item in (Item("doc", key), Item("licence", "CC0-1.0")):
        record.withdraw(space, {item: Size()}, NOTE)
        mixture.build(space)
        after = {row["doc_id"]: row for row in space.store.open("mixture").table().to_pylist()}
        gone = set(natives(space).values()) if item.key == "licence" else {key}
        assert after == {name: row for name, row in before.items() if name not in gone}
        assert left_out(space)[key] == "withdrawn"
        assert verdicts_of(space)[digest("same")] == ("exact", key)


def test_licences_and_benchmarks_leave_documents_out_and_say_so(tmp_path: Path) -> None:
    held = f"{prose('a', 40)} {QUESTION} It was the green one. {prose('b', 40)}"
    rows = [
        {"id": "fine", "text": prose("fine", 80)},
        {"id": "held", "text": held},
        {"id": "refused", "text": prose("refused", 80), "license": "CC-BY-NC-4.0"},
    ]
    space = Mixed([Document(text("own", 90), name=digest("own"))], real={"essays": rows}).mixed(tmp_path)
    dataset = space.store.open("real_eligible")
    key = natives(space)
    assert {row["doc_id"] for row in dataset.table().to_pylist()} == {key["fine"], key["notes"]}
    rejected = dataset.rejected()
    assert rejected is not None
    said = {row["place"]: (row["field"], row["reason"], row["detail"]) for row in rejected.to_pylist()}
    assert said[key["held"]][:2] == ("text", "contaminated_bench")
    assert "q1" in said[key["held"]][2]
    assert said[key["refused"]] == ("licence", "licence_denied", "CC-BY-NC-4.0: denied by *-NC-*")
    flow = dataset.manifest.flow
    assert flow.balanced
    assert flow.tokens is not None
    assert flow.tokens.tokens_out == sum(row["tokens"] for row in dataset.table().to_pylist())
    (shown,) = [row for row in dataset.manifest.summary["sources"] if row["source"] == "essays"]
    assert (shown["kept"], shown["licence_denied"], shown["contaminated"]) == (1, 1, 1)


def test_tokens_are_those_of_the_tokenizer_and_positions_those_of_the_signatures(tmp_path: Path) -> None:
    real = {
        name: [{"id": f"{name} {n}", "text": text(f"{name} {n}", 60)} for n in range(9)] for name in ("essays", "notes")
    }
    space = Mixed([Document(text("own", 90), name=digest("own"))], real=real).mixed(tmp_path)
    dataset, texts = space.store.open("real_eligible"), space.store.open("real_documents").table().to_pylist()
    text_of = {row["doc_id"]: row["text"] for row in texts}
    rows = dataset.table().to_pylist()
    assert len(rows) == 18
    assert [row["position"] for row in rows] == list(range(18))
    assert all(row["tokens"] == tiny_tokenizer().count(text_of[row["doc_id"]]) for row in rows)
    assert dataset.manifest.params["signed_as"] == json.loads(json.dumps(signed_as(space.recipe.deduplication)))
    assert {row["place"] for row in texts} == {f"part.jsonl:{n}" for n in range(1, 10)}


def test_a_plan_counts_real_text_before_and_after_it_was_read(tmp_path: Path) -> None:
    space = Mixed([Document(text("own", 90), name=digest("own"))]).mixed(tmp_path)
    there = cells(mixture_tables(space.recipe, space.store)[0])
    components = {row["source"]: row for row in space.store.open("mixture").manifest.summary["components"]}
    assert there["essays"][0] == f"{components['essays']['available']:,}"
    nothing = CorpusStore(tmp_path / "nothing")
    sources = [
        {"name": "essays", "reader": "jsonl", "path": "x", "licence": "CC0-1.0", "expected_tokens": 7_000},
        {"name": "notes", "reader": "jsonl", "path": "x", "licence": "CC0-1.0"},
    ]
    pages = {"name": "pages", "kind": "web", "reader": "jsonl", "path": "x", "licence": "CC0-1.0", "expected_seeds": 50}
    planned = with_real(tmp_path, real={"sources": sources}, sources=[pages])
    (table,) = mixture_tables(planned, nothing)
    assert cells(table)["essays"][0] == "7,000"
    assert cells(table)["notes"][-1] == "gives nothing"
    assert "notes" in str(table.caption)


def test_the_doctor_names_what_is_not_there_and_what_nothing_comes_of(tmp_path: Path) -> None:
    recipe_without = with_real(tmp_path, mixture={"components": {"pages": {}, "essays": {}}})
    found = [(finding.state, finding.detail) for finding in _recipe(recipe_without)]
    assert any(state == "bad" and "real.sources.essays.path" in detail for state, detail in found)
    assert any(state == "warn" and "real.sources.notes is no component" in detail for state, detail in found)


@pytest.mark.parametrize(
    ("sources", "components", "message"),
    [
        (["pages"], {}, "names must differ"),
        (["essays", "essays"], {}, "names must differ"),
        (["essays"], {"notes": {}}, "no such source"),
    ],
    ids=["of a source of seeds", "twice", "no component"],
)
def test_names_of_real_sources_are_checked(sources: list[str], components: dict[str, Any], message: str) -> None:
    real = [{"name": name, "reader": "jsonl", "path": "x", "licence": "CC0-1.0"} for name in sources]
    with pytest.raises(ValidationError, match=message):
        recipe(real={"sources": real}, mixture={"components": {"pages": {}, **components}})


@pytest.mark.parametrize("what", ["nothing is readable", "nothing may be used"])
def test_sources_of_which_nothing_is_left_stop_nothing(tmp_path: Path, what: str) -> None:
    texts = {name: {"text": text(f"refused {name}", 80), "license": "X-NC-1"} for name in ("essays", "notes")}
    unreadable = {"words": "no text"}
    real = {name: [unreadable if what == "nothing is readable" else row] for name, row in texts.items()}
    space = Mixed([Document(text("own", 90), name=digest("own"))], real=real).mixed(tmp_path)
    assert space.store.open("real_eligible").manifest.rows == 0
    manifest = space.store.open("mixture").manifest
    assert (manifest.rows, manifest.flow.balanced) == (1, True)
    rows = {row["source"]: row["kept"] for row in space.store.open("real_eligible").manifest.summary["sources"]}
    assert rows == ({} if what == "nothing is readable" else {"essays": 0, "notes": 0})
