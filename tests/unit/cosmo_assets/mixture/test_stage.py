"""The mixture as a stage: factors, stages, what is left out and why, and what a withdrawal changes."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.ids import bucket_name
from cosmo_assets.mixture import stage
from cosmo_assets.mixture.checks import CHECKS
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Verdict
from cosmo_assets.withdrawal import record
from cosmo_assets.withdrawal.keys import COLUMNS, Item
from cosmo_assets.withdrawal.record import Note, Size
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from tests.unit.cosmo_assets.mixture.corpus import BUCKETS, COUNT, DOCUMENTS, KEPT, NOTE, WEB_AND_BOOKS, Corpus
from tests.unit.cosmo_assets.synthetic import put


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path).fill()


def tokens_by(rows: Mapping[str, Mapping[str, Any]], column: str) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for key, row in rows.items():
        found[DOCUMENTS[key][column]] += row["tokens"] * row["copies"]
    return found


def test_weights_hold_to_half_a_document_and_every_document_is_accounted_for(corpus: Corpus) -> None:
    manifest, rows = corpus.build()
    longest = max(found["completion_tokens"] for found in KEPT.values())
    for part in manifest.summary["components"]:
        assert abs(part["drawn"] - part["wanted"]) <= longest / 2
        assert part["tokens"] == part["drawn"] == tokens_by(rows, "source")[part["source"]]
    wanted = {part["source"]: part["wanted"] for part in manifest.summary["components"]}
    assert abs(wanted["web"] - 3 * wanted["books"]) <= 4
    assert rows.keys() | corpus.left_out().keys() == KEPT.keys()
    assert not rows.keys() & corpus.left_out().keys()
    assert {row["doc_id"]: row["bucket"] for row in rows.values()} == {key: DOCUMENTS[key]["bucket"] for key in rows}


def test_a_source_that_is_no_component_is_left_out_with_a_reason(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, {"components": {"web": {"weight": 1}}}).fill()
    manifest, rows = corpus.build()
    books = {key for key, found in KEPT.items() if found["source"] == "books"}
    assert corpus.left_out() == dict.fromkeys(books, ("source_not_in_mixture", "books"))
    assert rows.keys() == KEPT.keys() - books
    assert manifest.flow.dropped == {"source_not_in_mixture": len(books)}


def multiplicity_of(manifest: Manifest, recipe: Recipe) -> Verdict:
    (check,) = [check for check in CHECKS if check.name == "multiplicity"]
    assert check.blocking
    return check.test(manifest, recipe)


def test_a_document_that_stands_there_too_often_stops_the_corpus(tmp_path: Path) -> None:
    """The sources' epochs say how often on average: one document with a factor hides there."""
    weights = {"web": {"weight": 1}, "books": {"weight": 1, "max_epochs": 5}}
    often = {"components": weights, "factors": {"topic": {"topic 3": 100.0}}, "tokens": 30_000}
    corpus = Corpus(tmp_path, often).fill()
    manifest, rows = corpus.build()
    counted: Counter[int] = Counter()
    for row in rows.values():
        counted[row["copies"]] += row["tokens"]
    assert manifest.summary["by_copies"] == [[copies, counted[copies]] for copies in sorted(counted)]
    most = max(counted)
    assert most > 8
    recipe = corpus.space.recipe
    limits = recipe.limits.model_copy(update={"max_copies": most - 1})
    passed, figures = multiplicity_of(manifest, recipe.model_copy(update={"limits": limits}))
    assert (passed, figures["most copies"]) == (False, most)
    share = sum(copies * tokens for copies, tokens in counted.items() if copies > 4)
    assert figures["share of tokens seen more than 4 times"] == round(share / manifest.summary["tokens"], 4) > 0
    limits = recipe.limits.model_copy(update={"max_copies": most})
    assert multiplicity_of(manifest, recipe.model_copy(update={"limits": limits}))[0]


def test_a_mixture_that_did_not_count_copies_passes(corpus: Corpus) -> None:
    manifest, _ = corpus.build()
    summary = {key: value for key, value in manifest.summary.items() if key != "by_copies"}
    old = manifest.model_copy(update={"summary": summary})
    assert multiplicity_of(old, corpus.space.recipe) == (True, {"counted": "no: build it again"})


@pytest.mark.parametrize(("most", "passes"), [(4.0, True), (4.01, False)])
def test_a_source_that_is_repeated_more_than_four_times_warns(corpus: Corpus, most: float, passes: bool) -> None:
    (check,) = [check for check in CHECKS if check.name == "epochs"]
    assert not check.blocking
    manifest, _ = corpus.build()
    first, *others = manifest.summary["components"]
    summary = {**manifest.summary, "components": [{**first, "most_epochs": most}, *others]}
    found = check.test(manifest.model_copy(update={"summary": summary}), corpus.space.recipe)
    assert found == (passes, {"most epochs": most, "limit": 4.0})


FACTORS = {
    "topic": {"topic 1": 0.0},
    "audience": {"children": 2.0},
    "format": {"story": 1.5},
    "quality": [{"column": "repetition", "high": 0.2, "factor": 2.0}, {"column": "words", "low": 300, "factor": 0.5}],
}


def expected_factor(found: Mapping[str, Any]) -> float:
    factor = 0.0 if found["topic"] == "topic 1" else 1.0
    factor *= 2.0 if found["audience"] == "children" else 1.0
    factor *= 1.5 if found["format"] == "story" else 1.0
    factor *= 2.0 if found["repetition"] < 0.2 else 1.0
    return factor * (0.5 if found["words"] >= 300 else 1.0)


def test_factors_multiply_the_copies_of_a_document(tmp_path: Path) -> None:
    components = {"web": {"weight": 1, "max_epochs": 2}, "books": {"weight": 1, "max_epochs": 2}}
    corpus = Corpus(tmp_path, {"components": components, "factors": FACTORS}).fill()
    manifest, rows = corpus.build()
    epochs = {part["source"]: part["epochs"] for part in manifest.summary["components"]}
    for key, found in KEPT.items():
        expected = epochs[found["source"]] * expected_factor(found)
        copies = rows[key]["copies"] if key in rows else 0
        assert abs(copies - expected) <= 1
        if expected_factor(found) == 0:
            assert corpus.left_out()[key] == ("not_drawn", found["source"])
    web = [found for found in KEPT.values() if found["source"] == "web"]
    for high in (1.0, 2.0, 3.0):
        mine = [key for found in web if expected_factor(found) == high for key in (found["doc_id"],)]
        mean = sum(rows[key]["copies"] if key in rows else 0 for key in mine) / len(mine)
        assert mean == pytest.approx(epochs["web"] * high, rel=0.25)
    assert manifest.summary["components"][1]["most_epochs"] == pytest.approx(epochs["web"] * 6, rel=1e-3)


def test_factors_of_quality_make_quality_an_input_and_nothing_else_does(tmp_path: Path, corpus: Corpus) -> None:
    plain, _ = corpus.build()
    assert "generation_quality" not in {ref.asset for ref in plain.inputs}
    banded, _ = Corpus(tmp_path / "b", {"components": WEB_AND_BOOKS, "factors": FACTORS}).fill().build()
    assert "generation_quality" in {ref.asset for ref in banded.inputs}


def test_each_copy_is_of_a_stage(tmp_path: Path) -> None:
    stages = [
        {"name": "broad", "share": 2, "weights": {"web": 1}},
        {"name": "fine", "share": 1, "weights": {"web": 1, "books": 1}},
    ]
    manifest, rows = Corpus(tmp_path, {"components": WEB_AND_BOOKS, "stages": stages}).fill().build()
    assert all(sum(row["stage_copies"]) == row["copies"] and len(row["stage_copies"]) == 2 for row in rows.values())
    assert all(row["stage_copies"][0] == 0 for row in rows.values() if row["source"] == "books")
    for number, said in enumerate(manifest.summary["stages"]):
        tokens = sum(row["tokens"] * row["stage_copies"][number] for row in rows.values())
        assert tokens == said["tokens"]
        assert abs(tokens - said["wanted"]) <= 2 * max(row["tokens"] for row in rows.values())
    assert manifest.summary["stages"][0]["wanted"] == pytest.approx(2 * manifest.summary["stages"][1]["wanted"], abs=3)


def test_a_corpus_that_the_documents_cannot_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"mixture\.tokens asks for 900,000 tokens; the sources give"):
        Corpus(tmp_path, {"components": WEB_AND_BOOKS, "tokens": 900_000}).fill().build()


def test_a_document_without_a_prompt_is_an_error(corpus: Corpus) -> None:
    put(corpus.space, "prompt_table", {bucket_name(index): [] for index in range(BUCKETS)}, version="empty")
    with pytest.raises(CosmoError, match=r"\d+ documents of bucket b000 have no prompt"):
        stage.build(corpus.space)


@pytest.mark.parametrize("key", COLUMNS)
def test_what_is_withdrawn_is_left_out_and_nothing_else_changes(corpus: Corpus, key: str) -> None:
    before, rows = corpus.build()
    some = next(found for number, found in enumerate(KEPT.values()) if number >= 3 and found["doc_id"] in rows)
    value = {"model": "new", "licence": "CC-BY-4.0"}.get(key, some[COLUMNS[key]])
    column = COLUMNS[key]
    gone = {name for name, found in KEPT.items() if found[column] == value}
    corpus.withdraw(Item(key, value))
    after, left = corpus.build()
    assert gone & rows.keys()
    assert left == {name: row for name, row in rows.items() if name not in gone}
    assert {name for name, (reason, _) in corpus.left_out().items() if reason == "withdrawn"} == gone
    assert {detail for reason, detail in corpus.left_out().values() if reason == "withdrawn"} == {f"{key} {value}"}
    lost = sum(row["tokens"] * row["copies"] for name, row in rows.items() if name in gone)
    assert after.summary["withdrawn"] == {"documents": len(gone), "tokens": lost}
    assert before.summary["tokens"] - after.summary["tokens"] == lost
    assert after.flow.dropped["withdrawn"] == len(gone)
    record.restore(corpus.space, [Item(key, value)], NOTE)
    restored, back = corpus.build()
    assert (restored.version, back) == (before.version, rows)


def test_a_document_of_a_withdrawn_source_that_comes_later_stays_out(tmp_path: Path) -> None:
    everything = list(DOCUMENTS.values())
    corpus = Corpus(tmp_path, documents=everything[: COUNT // 2]).fill()
    corpus.withdraw(Item("source", "books"), Item("topic", "topic 2"))
    corpus.build()
    later = Corpus(tmp_path, documents=everything).fill()
    manifest, rows = later.build()
    assert all(DOCUMENTS[key]["source"] == "web" and DOCUMENTS[key]["topic"] != "topic 2" for key in rows)
    assert manifest.summary["withdrawn"]["documents"] > COUNT / 4


def test_who_withdrew_when_and_why_is_no_part_of_the_mixture(tmp_path: Path) -> None:
    manifests = []
    for folder, note in (("a", NOTE), ("b", Note("for another reason", "somebody else", "2027-01-01T00:00:00+00:00"))):
        corpus = Corpus(tmp_path / folder).fill()
        record.withdraw(corpus.space, {Item("source", "books"): Size(1, len(folder))}, note)
        manifests.append(corpus.build()[0])
    assert manifests[0].version == manifests[1].version


def test_the_place_of_what_is_withdrawn_can_go_to_others(tmp_path: Path) -> None:
    components = {"web": {"weight": 1}, "books": {"weight": 1}}
    kept = Corpus(tmp_path / "a", {"components": components}).fill()
    moved = Corpus(tmp_path / "b", {"components": components, "reallocate_withdrawn": True}).fill()
    for corpus in (kept, moved):
        corpus.withdraw(Item("source", "books"))
    (_, rows), (manifest, more) = kept.build(), moved.build()
    assert rows.keys() < more.keys()
    assert more.keys() == {key for key, found in KEPT.items() if found["source"] == "web"}
    assert [part["source"] for part in manifest.summary["components"]] == ["web"]


def test_a_mixture_of_nothing_is_refused(corpus: Corpus) -> None:
    corpus.withdraw(Item("source", "books"), Item("source", "web"))
    with pytest.raises(CosmoError, match="no document is left for the mixture"):
        corpus.build()
