"""Units of a source: names, digests, and what a path of the hub must say."""

from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import Source
from cosmo_assets.seeds.readers.base import BadRow, RawSeed
from cosmo_assets.seeds.readers.sources import rows, units
from cosmo_resources.errors import CosmoError
from cosmo_resources.hub import HubPath

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def source(path: str, reader: str = "jsonl", **fields: Any) -> Source:
    return Source(name="pages", kind="web", reader=reader, path=path, licence="CC0-1.0", **fields)


def recipe(folder: Path) -> Recipe:
    """A recipe of which only name and folder matter here."""
    return Recipe.model_construct(name="small", folder=folder)


def lines(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts), encoding="utf-8")


def test_each_file_is_a_unit_whose_name_and_digest_do_not_hang_on_the_others(tmp_path: Path) -> None:
    lines(tmp_path / "here/data/sub/b.jsonl", "two", "three")
    pages = source("data/**/*.jsonl")
    (before,) = units(recipe(tmp_path / "here"), pages)
    lines(tmp_path / "here/data/a.jsonl", "one")
    first, second = units(recipe(tmp_path / "here"), pages)
    assert (first.name, second.name) == ("a.jsonl", "sub/b.jsonl")
    assert second == before
    assert [row.text for row in rows(pages, second) if isinstance(row, RawSeed)] == ["two", "three"]
    lines(tmp_path / "elsewhere/data/sub/b.jsonl", "two", "three")
    (moved,) = units(recipe(tmp_path / "elsewhere"), pages)
    assert (moved.name, moved.digest()) == (before.name, before.digest())
    lines(tmp_path / "elsewhere/data/sub/b.jsonl", "two", "changed")
    assert moved.digest() != before.digest()


def test_a_book_is_one_unit_with_all_its_files_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("META-INF/books.xml", "collections/a.collection.xml", "modules/m1/index.cnxml", ".git/index"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    (unit,) = units(recipe(tmp_path), source("META-INF/books.xml", "openstax"))
    assert unit.place == tmp_path / "META-INF/books.xml"
    before = unit.digest()
    (tmp_path / ".git/index").write_text("touched", encoding="utf-8")
    assert unit.digest() == before
    (tmp_path / "modules/m1/index.cnxml").write_text("changed", encoding="utf-8")
    assert unit.digest() != before


def page(title: str) -> str:
    tale = f"<p>{title} has its own tale, told at length.</p>" * 9
    return f"<html><head><title>{title}</title></head><body>{tale}</body></html>"


def test_pages_of_a_mirrored_site_are_known_by_their_names_in_it(tmp_path: Path) -> None:
    for name, content in (("a/index.html", page("Ants")), ("b/index.html", page("Bees")), ("b/none.html", "")):
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(content, encoding="utf-8")
    mirror = source("site/**/*.html", "html")
    found = [row for unit in units(recipe(tmp_path), mirror) for row in rows(mirror, unit)]
    assert [row.native_id for row in found if isinstance(row, RawSeed)] == ["a/index.html", "b/index.html"]
    assert found[2] == BadRow("b/none.html", "empty_file")
    alone = source("site/a/index.html", "html")
    (unit,) = units(recipe(tmp_path), alone)
    assert [row.native_id for row in rows(alone, unit) if isinstance(row, RawSeed)] == ["index.html"]


def test_places_in_one_of_several_books_begin_with_its_folder(tmp_path: Path) -> None:
    for name in ("physics", "logic"):
        for part in ("META-INF/books.xml", "collections/a.collection.xml"):
            (tmp_path / name / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / part).write_text("<no", encoding="utf-8")
    books = source("*/META-INF/books.xml", "openstax")
    places = [
        row.place for unit in units(recipe(tmp_path), books) for row in rows(books, unit) if isinstance(row, BadRow)
    ]
    assert places == [
        f"{name}/{part}"
        for name in ("logic", "physics")
        for part in ("META-INF/books.xml", "collections/a.collection.xml")
    ]


def test_a_file_that_is_gone_is_told_by_its_path(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", "one")
    (unit,) = units(recipe(tmp_path), source("*.jsonl"))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(CosmoError, match=r"a\.jsonl: cannot be read"):
        unit.digest()


def test_a_book_that_gets_another_file_while_it_is_read_has_changed(tmp_path: Path) -> None:
    for name in ("META-INF/books.xml", "collections/a.collection.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    (unit,) = units(recipe(tmp_path), source("META-INF/books.xml", "openstax"))
    content = unit.digest()
    with unit.unchanged(content):
        pass
    with pytest.raises(CosmoError, match="it changed while it was read"), unit.unchanged(content):
        (tmp_path / "collections/b.collection.xml").write_text("new", encoding="utf-8")


def test_a_dataset_of_the_hub_is_one_unit_known_by_its_commit(tmp_path: Path) -> None:
    (unit,) = units(recipe(tmp_path), source(f"hub:HuggingFaceTB/cosmo@{COMMIT}", "hf_dataset"))
    assert unit.place == HubPath("HuggingFaceTB/cosmo", COMMIT)
    assert unit.files == ()
    (other,) = units(recipe(tmp_path), source(f"hub:HuggingFaceTB/cosmo@{COMMIT[::-1]}", "hf_dataset"))
    assert unit.digest() != other.digest()


@pytest.mark.parametrize(
    ("path", "reader", "said", "remedy"),
    [
        ("hub:a/b", "hf_dataset", "names no commit", "hub:a/b@ and the 40 digits"),
        ("hub:a/b@", "hf_dataset", "names no commit", "pin it"),
        ("hub:a/b@main", "hf_dataset", "names no commit", "pin it"),
        (f"hub:a/b@{COMMIT[:12]}", "hf_dataset", "names no commit", "pin it"),
        ("hub:a/b/c@x", "hf_dataset", "names no dataset", "hub:owner/name@commit"),
        (f"hub:a/b@{COMMIT}", "parquet", "reader parquet reads files", "hf_dataset"),
    ],
)
def test_a_path_of_the_hub_must_be_pinned_and_go_with_its_reader(
    tmp_path: Path, path: str, reader: str, said: str, remedy: str
) -> None:
    with pytest.raises(CosmoError, match=said) as error:
        units(recipe(tmp_path), source(path, reader))
    assert remedy in error.value.remedy
    assert "sources.pages" in error.value.message
