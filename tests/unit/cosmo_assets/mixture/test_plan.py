"""The plan of a mixture: what the sources can give, before anything is built, and what is refused."""

from pathlib import Path

import pytest
from rich.table import Table

from cosmo_assets.cli.plan_tables import mixture_tables
from cosmo_assets.mixture import stage
from cosmo_assets.recipe.selection import Selection, SignalBound
from cosmo_assets.selection import stage as selection
from cosmo_assets.stage import Workspace
from cosmo_assets.withdrawal.keys import Item
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.mixture.corpus import KEPT, WEB_AND_BOOKS, Corpus
from tests.unit.cosmo_assets.synthetic import recipe


def cells(table: Table) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    columns = [list(column.cells) for column in table.columns]
    return {str(first): [str(cell) for cell in rest] for first, *rest in zip(*columns, strict=True)}


def test_the_plan_says_what_the_mixture_then_holds(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, {"components": {**WEB_AND_BOOKS, "books": {"weight": 1, "max_tokens": 900}}}).fill()
    (table,) = mixture_tables(corpus.space.recipe, corpus.space.store)
    manifest, _ = corpus.build()
    rows = cells(table)
    for part in manifest.summary["components"]:
        available, most, gives, share, epochs, bound = rows[part["source"]]
        assert (gives, epochs) == (f"{part['wanted']:,}", f"{part['epochs']:.2f}")
        assert available == f"{part['available']:,}"
        assert share == f"{part['wanted'] / sum(one['wanted'] for one in manifest.summary['components']):.2%}"
        assert int(most.replace(",", "")) >= part["wanted"]
        assert bound == {"web": "max_epochs: it sets the size", "books": "max_tokens"}[part["source"]]
    assert "of the documents that are there" in str(table.title)
    web = sum(found["completion_tokens"] for found in KEPT.values() if found["source"] == "web")
    assert rows["web"][:3] == [f"{web:,}"] * 3


def test_withdrawals_take_nothing_from_the_plan_unless_the_recipe_reallocates(tmp_path: Path) -> None:
    gives = []
    for reallocate in (False, True):
        mixture = {"components": WEB_AND_BOOKS, "reallocate_withdrawn": reallocate}
        corpus = Corpus(tmp_path / str(reallocate), mixture).fill()
        corpus.withdraw(Item("source", "books"))
        (table,) = mixture_tables(corpus.space.recipe, corpus.space.store)
        gives.append(cells(table)["books"][2])
    assert gives[1] == "0"
    assert int(gives[0].replace(",", "")) > 0


def test_before_there_is_a_selection_the_plan_is_of_what_is_expected(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path).fill()
    bound = SignalBound(signal="quality.words", low=200)
    selecting = corpus.space.recipe.model_copy(update={"selection": Selection(bounds=(bound,))})
    space = Workspace(corpus.space.store, selecting)
    (table,) = mixture_tables(selecting, space.store)
    assert "of the answers that are expected" in str(table.title)
    selection.build(space)
    (table,) = mixture_tables(selecting, space.store)
    assert "of the documents that are there" in str(table.title)
    long = [found for found in KEPT.values() if found["source"] == "web" and found["words"] >= 200]
    assert 0 < len(long) < len(KEPT)
    assert cells(table)["web"][0] == f"{sum(found['completion_tokens'] for found in long):,}"


def test_stages_are_shown(tmp_path: Path) -> None:
    stages = [{"name": "broad", "share": 2, "weights": {"web": 1}}, {"name": "fine", "share": 1}]
    corpus = Corpus(tmp_path, {"components": WEB_AND_BOOKS, "stages": stages}).fill()
    _, table = mixture_tables(corpus.space.recipe, corpus.space.store)
    said = {part["stage"]: part["wanted"] for part in stage.build(corpus.space).summary["stages"]}
    assert {name: row[-1] for name, row in cells(table).items()} == {name: f"{size:,}" for name, size in said.items()}


def test_what_cannot_be_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, {"components": WEB_AND_BOOKS, "tokens": 10**6}).fill()
    with pytest.raises(CosmoError, match=r"asks for 1,000,000 tokens; the sources give [\d,]+ at most: web runs out"):
        mixture_tables(corpus.space.recipe, corpus.space.store)


@pytest.mark.parametrize("factor", [1.0, 0.25], ids=["as they are", "a factor of the format"])
def test_before_there_are_documents_the_answers_that_are_expected_count(tmp_path: Path, factor: float) -> None:
    source = {
        "name": "pages",
        "kind": "web",
        "reader": "jsonl",
        "path": "x.jsonl",
        "licence": "CC0-1.0",
        "expected_seeds": 1000,
    }
    mixture = {"components": {"pages": {"weight": 1}}, "factors": {"format": {"blogpost": factor}}}
    made_of = recipe(sources=[source], mixture=mixture)
    (table,) = mixture_tables(made_of, Workspace(CorpusStore(tmp_path), made_of).store)
    available, _, gives, *_ = cells(table)["pages"]
    assert int(available.replace(",", "")) > 100_000
    assert int(gives.replace(",", "")) == pytest.approx(factor * int(available.replace(",", "")), abs=1)
    assert "of the answers that are expected" in str(table.title)
