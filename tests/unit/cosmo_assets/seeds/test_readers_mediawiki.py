"""MediaWiki dumps: pages, and their markup as plain text."""

import bz2
import time
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_assets.seeds.readers.wikitext import plain_text


def page(number: int, title: str, *revisions: str, namespace: int = 0, extra: str = "") -> str:
    texts = "".join(f"<revision><id>9</id><text>{escape(text)}</text></revision>" for text in revisions)
    return f"<page><title>{title}</title><ns>{namespace}</ns><id>{number}</id>{extra}{texts}</page>"


def dump(*pages: str) -> bytes:
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo><sitename>W</sitename></siteinfo>'
    return f"{head}{''.join(pages)}</mediawiki>".encode()


def rows_of(tmp_path: Path, content: bytes, name: str = "dump.xml") -> list[Row]:
    path = tmp_path / name
    path.write_bytes(content)
    return list(read("wiki", "mediawiki", path, {}))


def test_articles_are_seeds_and_other_pages_are_skipped(tmp_path: Path) -> None:
    content = dump(
        page(1, "Old name", "#REDIRECT [[Rain]]", extra='<redirect title="Rain"/>'),
        page(2, "Rain", "'''Rain''' is water."),
        page(3, "Talk:Rain", "Hello.", namespace=1),
        page(4, "Also old", "#redirect [[Rain]]"),
        page(5, "Only a box", "{{Box}}"),
        page(6, "Alt", "#WEITERLEITUNG [[Rain]]", extra='<redirect title="Rain"/>'),
    )
    for name, data in (("dump.xml", content), ("dump.xml.bz2", bz2.compress(content))):
        assert rows_of(tmp_path, data, name) == [
            Skipped(f"{name}:page 1", "redirect"),
            RawSeed("2", "Rain is water.", title="Rain"),
            Skipped(f"{name}:page 3", "not_an_article"),
            Skipped(f"{name}:page 4", "redirect"),
            Skipped(f"{name}:page 5", "no_text"),
            Skipped(f"{name}:page 6", "redirect"),
        ]


def test_of_a_history_the_last_revision_counts(tmp_path: Path) -> None:
    assert rows_of(tmp_path, dump(page(1, "A", "Old text.", "New text."))) == [RawSeed("1", "New text.", title="A")]


def test_bad_pages_and_damage_are_recorded(tmp_path: Path) -> None:
    content = dump(page(1, "A", "Text."), page(2, "B"), "<page><title>C</title></page>", page(4, "D", "More."))
    rows = rows_of(tmp_path, content)
    assert [(row.place, row.reason, row.field) for row in rows if isinstance(row, BadRow)] == [
        ("dump.xml:page 2", "missing_field", "revision"),
        ("dump.xml:page ?", "missing_field", "id"),
    ]
    cut = bz2.compress(content)[:-20]
    assert [row.reason for row in rows_of(tmp_path, cut, "a.bz2") if isinstance(row, BadRow)] == ["truncated_file"]
    rows = rows_of(tmp_path, content[:-25])
    assert isinstance(rows[-1], BadRow)
    assert (rows[-1].place, rows[-1].reason) == ("dump.xml:4", "truncated_file")


def test_entities_neither_explode_nor_fetch_anything(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 10))
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    body = "<mediawiki><page><id>1</id><revision><text>&{};</text></revision></page></mediawiki>"
    bomb = f'<!DOCTYPE m [<!ENTITY e0 "lol">{levels}]>{body.format("e9")}'
    fetch = f'<!DOCTYPE m [<!ENTITY x SYSTEM "{secret.as_uri()}">]>{body.format("x")}'
    for content in (bomb, fetch):
        (row,) = rows_of(tmp_path, content.encode())
        assert isinstance(row, BadRow)
        assert row.reason == "invalid_xml"


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("'''Bold''' and ''italic'' [[rain]]s of [[Paris, Texas|Paris]].", "Bold and italic rains of Paris."),
        ("A[[File:x.jpg|thumb|A [[nested]] caption]]B [[Category:Rain]][[de:Regen]]C", "AB C"),
        ("See [[:Category:Rain]] and [[Mercury (planet)|]].", "See Category:Rain and Mercury."),
        ('Cited.<ref name=a>{{cite|title=x}}</ref><ref name="b" /> Yes.<!-- no -->', "Cited. Yes."),
        (
            "{{Infobox|name={{nested|[[x]]}}|y=z}}Text {{convert|5|km|mi}} {{lang|fr|mot}}{{ndash}}{{unknown|x}}.",
            "Text 5 km mot–.",
        ),
        ("Before\n{| class=x\n|-\n| a || b\n{| inner\n| c\n|}\n|}\nafter", "Before\n\nafter"),
        (
            "The law <math>E = mc^2</math> and <math display=block>\\frac{a}{b}\n+ {{x}}</math>.",
            "The law $E = mc^2$ and $\\frac{a}{b} + {{x}}$.",
        ),
        ("== History ==\nText.\n=== Empty ===\n== Next ==\nMore.", "History\n\nText.\n\nNext\n\nMore."),
        ("Text.\n== See also ==\n* [[x]]\n=== Sub ===\ny\n== After ==\nz", "Text.\n\nAfter\n\nz"),
        ("* one\n* two\n# three\n: indented\n; Term", "- one\n- two\n- three\nindented\nTerm"),
        ("[http://a.b label] and [https://a.b] and http://c.d", "label and and http://c.d"),
        ("Algeria ({{lang-ar|}}; {{IPA|x}}) is. ( ; so)", "Algeria is. (so)"),
        ("a &amp; b &lt;c&gt; d<br/>e<span style='x'>f</span> __NOTOC__", "a & b <c> d\n\nef"),
        ("Stray }} and {{ open [[ text", "Stray and open text"),
        ("<ref>never closed. Text stays", "never closed. Text stays"),
        ("<ref>stray, then<ref>real</ref> more", "stray, then more"),
        ("A<ref>{{cite|a</ref name=x> b}}</ref>.", "A."),
        ("One\n\n\n\nTwo\nlines", "One\n\nTwo\n\nlines"),
    ],
)
def test_markup_becomes_plain_text(wikitext: str, expected: str) -> None:
    assert plain_text(wikitext) == expected


@pytest.mark.parametrize(
    "unit",
    [
        "{{",
        "[[",
        "\n{|",
        "{{[[",
        "[[{{]]",
        "}}",
        "<ref>",
        "<ref><math>",
        "<!--",
        "[http:",
        "[http://a ",
        "( ",
        "(, ",
        "= ",
        "''",
        "{{a|",
    ],
)
def test_hostile_markup_takes_linear_time(unit: str) -> None:
    start = time.process_time()
    plain_text(unit * (60_000 // len(unit)))
    assert time.process_time() - start < 2.0
