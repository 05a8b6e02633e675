"""OpenStax books: outlines, layouts, licences, and CNXML with MathML as text."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.cnxml import latex, module_text
from cosmo_assets.seeds.readers.openstax import read_collection
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.errors import CosmoError

NAMESPACES = (
    'xmlns="http://cnx.rice.edu/cnxml" xmlns:md="http://cnx.rice.edu/mdml" xmlns:m="http://www.w3.org/1998/Math/MathML"'
)


def module(title: str, content: str, abstract: str = "", glossary: str = "") -> str:
    return (
        f"<document {NAMESPACES}><title>{title}</title><metadata><md:title>{title}</md:title>"
        f"<md:abstract>{abstract}</md:abstract></metadata><content>{content}</content>{glossary}</document>"
    )


def collection(prefix: str, title: str, content: str, attributes: str = "") -> str:
    """A collection with its elements in the default namespace (`prefix` empty) or in that of a prefix ("col:")."""
    inner = content.replace("<", f"<{prefix}").replace(f"<{prefix}/", f"</{prefix}").replace(f"{prefix}md:", "md:")
    return (
        f'<?xml version="1.0"?><col:collection xmlns:col="http://cnx.rice.edu/collxml" {attributes}'
        ' xmlns:md="http://cnx.rice.edu/mdml" xmlns="http://cnx.rice.edu/collxml"><col:metadata>'
        f"<md:title>{title}</md:title><md:slug>{title.lower()}</md:slug>"
        '<md:license url="http://creativecommons.org/licenses/by-nc-sa/4.0/">CC</md:license></col:metadata>'
        f"<{prefix}content>{inner}</{prefix}content></col:collection>"
    )


NESTED = (
    '<module document="m1"/><subcollection><md:title>Unit</md:title><content>'
    "<subcollection><md:title>Chapter</md:title><content>"
    '<module document="m2"/><module document="m3"/></content></subcollection></content></subcollection>'
)


def book(root: Path, **collections: str) -> Path:
    """A book's folder; gives the path that a recipe names."""
    for folder in ("META-INF", "collections"):
        (root / folder).mkdir(parents=True)
    listed = "".join(f'<book slug="{name}" href="../collections/{name}.collection.xml"/>' for name in collections)
    container = f'<container xmlns="https://openstax.org/namespaces/book-container">{listed}</container>'
    (root / "META-INF" / "books.xml").write_text(container, encoding="utf-8")
    for name, text in collections.items():
        (root / "collections" / f"{name}.collection.xml").write_text(text, encoding="utf-8")
    for number in (1, 2, 3):
        folder = root / "modules" / f"m{number}"
        folder.mkdir(parents=True)
        text = module(f"Module {number}", f"<para>Text of {number}.</para>")
        (folder / "index.cnxml").write_text(text, encoding="utf-8")
    return root / "META-INF" / "books.xml"


def rows_of(path: Path) -> list[Row]:
    return list(read("books", "openstax", path, {}))


@pytest.mark.parametrize("prefix", ["", "col:"])
def test_modules_come_in_reading_order_with_the_titles_above_them(tmp_path: Path, prefix: str) -> None:
    authors = 'authors="Ada Lovelace ,Alan Turing"'
    path = book(tmp_path / "book", logic=collection(prefix, "Logic", NESTED, authors))
    common = {"licence": "CC-BY-NC-SA-4.0", "attribution": "Logic, by Ada Lovelace, Alan Turing"}
    chapter = ("Logic", "Unit", "Chapter")
    assert rows_of(path) == [
        RawSeed("logic/m1", "Text of 1.", title="Module 1", context=("Logic",), **common),
        RawSeed("logic/m2", "Text of 2.", title="Module 2", context=chapter, **common),
        RawSeed("logic/m3", "Text of 3.", title="Module 3", context=chapter, **common),
    ]


def test_a_module_of_two_books_is_given_once_and_one_of_none_is_skipped(tmp_path: Path) -> None:
    second = '<module document="m2"/><module document="m1"/>'
    first = '<module document="m1"/>'
    path = book(tmp_path, beta=collection("", "Beta", second), alpha=collection("col:", "Alpha", first))
    rows = rows_of(path)
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == ["beta/m2", "beta/m1"], "books.xml's order"
    assert [row for row in rows if isinstance(row, Skipped)] == [
        Skipped("modules/m1/index.cnxml", "repeated_module"),
        Skipped("modules/m3/index.cnxml", "in_no_collection"),
    ]


def test_what_is_missing_or_broken_is_a_bad_row_in_its_place(tmp_path: Path) -> None:
    content = NESTED + '<module document="m9"/><module document="../../etc"/><module/>'
    path = book(tmp_path / "book", logic=collection("col:", "Logic", content))
    (tmp_path / "book/modules/m1/index.cnxml").write_text("<document><content>", encoding="utf-8")
    (tmp_path / "book/modules/m2/index.cnxml").write_text(module("Picture", "<figure><caption>x</caption></figure>"))
    listed = path.read_text(encoding="utf-8").replace("</container>", '<book href="../collections/x.xml"/></container>')
    path.write_text(listed, encoding="utf-8")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/index.cnxml").write_text(module("Outside", "<para>Not of this book.</para>"), encoding="utf-8")
    rows = rows_of(path)
    assert [(row.place, row.reason) for row in rows if isinstance(row, BadRow)] == [
        ("META-INF/books.xml", "missing_collection"),
        ("modules/m1/index.cnxml", "truncated_file"),
        ("modules/m9/index.cnxml", "missing_module"),
        ("modules/../../etc/index.cnxml", "missing_module"),
        ("modules//index.cnxml", "missing_module"),
    ]
    assert Skipped("modules/m2/index.cnxml", "no_text") in rows
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == ["logic/m3"]


def test_without_a_list_of_books_the_collections_are_read_by_name(tmp_path: Path) -> None:
    path = book(tmp_path, logic=collection("", "Logic", NESTED))
    path.write_text("<container><book", encoding="utf-8")
    rows = rows_of(path)
    assert rows[0] == BadRow("META-INF/books.xml", "truncated_file", detail="unclosed token: line 1, column 11")
    assert len([row for row in rows if isinstance(row, RawSeed)]) == 3


def test_a_folder_without_collections_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"no collections") as error:
        rows_of(tmp_path / "META-INF" / "books.xml")
    assert "META-INF/books.xml" in error.value.remedy


def tar_archive(folder: Path, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        archive.add(folder, arcname="osbooks-logic")
    return stream.getvalue()


def zip_archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"osbooks-logic/{path.relative_to(folder)}")
    return stream.getvalue()


ARCHIVES: dict[str, Callable[[Path], bytes]] = {
    "logic.tar.xz": lambda folder: tar_archive(folder, "w:xz"),
    "logic.tar.gz": lambda folder: tar_archive(folder, "w:gz"),
    "logic.tgz": lambda folder: tar_archive(folder, "w:gz"),
    "logic.tar": lambda folder: tar_archive(folder, "w"),
    "logic.zip": zip_archive,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, name: str) -> None:
    expected = rows_of(book(tmp_path / "book", logic=collection("col:", "Logic", NESTED)))
    archive = tmp_path / name
    archive.write_bytes(ARCHIVES[name](tmp_path / "book"))
    assert rows_of(archive) == expected
    assert len(expected) == 3


def test_an_archive_that_is_cut_off_gives_the_modules_before_the_cut(tmp_path: Path) -> None:
    book(tmp_path / "book", logic=collection("col:", "Logic", NESTED))
    content = tar_archive(tmp_path / "book", "w")
    end = content.index(b"Text of 3.")
    archive = tmp_path / "logic.tar"
    archive.write_bytes(content[:end])
    rows = rows_of(archive)
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == ["logic/m1", "logic/m2"]
    assert [(row.place, row.reason) for row in rows if isinstance(row, BadRow)] == [
        ("logic.tar/osbooks-logic/modules/m3/index.cnxml", "missing_module"),
        ("logic.tar", "damaged_file"),
    ]
    compressed = tmp_path / "logic.tar.xz"
    whole = tar_archive(tmp_path / "book", "w:xz")
    compressed.write_bytes(whole[: len(whole) // 2])
    assert "truncated_file" in [row.reason for row in rows_of(compressed) if isinstance(row, BadRow)]


def test_members_cannot_leave_the_folder_and_others_are_not_unpacked(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("../../modules/m1/index.cnxml", "/collections/a.collection.xml", "x/modules/../../y/index.cnxml"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"<a/>\n"))
        link = tarfile.TarInfo("META-INF/books.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "evil.tar").write_bytes(stream.getvalue())
    assert rows_of(tmp_path / "evil.tar") == []
    assert [path.name for path in tmp_path.rglob("*")] == ["evil.tar"]


def test_what_is_no_archive_is_an_error(tmp_path: Path) -> None:
    for name in ("a.tar", "a.zip", "a.tar.xz"):
        (tmp_path / name).write_bytes(b"nonsense" * 100)
        with pytest.raises(CosmoError, match=name):
            rows_of(tmp_path / name)


def licensed(root: Path, licence: str, **books: str) -> list[Row]:
    """Books whose collections all say CC BY-NC-SA 4.0, in a repository with another LICENSE."""
    path = book(root, **books)
    if licence:
        (root / "LICENSE").write_text(licence, encoding="utf-8")
    return rows_of(path)


LEGAL_CODE = (
    "Attribution{} 4.0 International\n\n====\n\nCreative Commons Corporation is not a law firm. Attribution 3.0\n"
)


@pytest.mark.parametrize(
    ("licence", "says"),
    [
        (LEGAL_CODE.format(""), "CC-BY-4.0"),
        ("# Licence\n\nSee https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("All rights reserved.\n", "All rights reserved."),
    ],
)
def test_a_book_whose_licence_is_stated_in_two_ways_is_held_back_whole(tmp_path: Path, licence: str, says: str) -> None:
    rows = licensed(tmp_path / "book", licence, logic=collection("", "Logic", NESTED))
    detail = f"logic's collection says CC-BY-NC-SA-4.0; LICENSE says {says}"
    assert rows == [Skipped(f"modules/m{n}/index.cnxml", "licence_conflict", detail) for n in (1, 2, 3)]
    with tarfile.open(tmp_path / "book.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "book", "osbooks-logic")
    packed = rows_of(tmp_path / "book.tar.gz")
    assert [(row.reason, row.detail) for row in packed if isinstance(row, Skipped)] == [
        ("licence_conflict", detail)
    ] * 3


@pytest.mark.parametrize(
    "licence",
    [
        LEGAL_CODE.format("-NonCommercial-ShareAlike"),
        "",
        "\n \n",
        "# Licence\n\nThe licence of each book is stated in its collection.\n",
        "Copyright 2024 Rice University\n",
    ],
)
def test_a_book_whose_licence_is_stated_once_or_alike_is_read(tmp_path: Path, licence: str) -> None:
    rows = licensed(tmp_path, licence, logic=collection("", "Logic", NESTED))
    assert [row.licence for row in rows if isinstance(row, RawSeed)] == ["CC-BY-NC-SA-4.0"] * 3


def test_a_module_of_a_held_back_book_is_held_back_in_other_books_too(tmp_path: Path) -> None:
    free = collection("", "Free", '<module document="m1"/><module document="m2"/>').replace("by-nc-sa", "by")
    rows = licensed(
        tmp_path, LEGAL_CODE.format(""), free=free, logic=collection("", "Logic", '<module document="m2"/>')
    )
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == ["free/m1"]
    assert [row.reason for row in rows if isinstance(row, Skipped)] == [
        "licence_conflict",
        "repeated_module",
        "in_no_collection",
    ]


def test_books_xml_and_modules_may_state_another_licence_too(tmp_path: Path) -> None:
    path = book(tmp_path, logic=collection("", "Logic", NESTED))
    module_file = tmp_path / "modules/m2/index.cnxml"
    stated = '</md:title><md:license url="https://creativecommons.org/licenses/by/4.0/"/>'
    module_file.write_text(module_file.read_text(encoding="utf-8").replace("</md:title>", stated), encoding="utf-8")
    rows = rows_of(path)
    detail = "the module says CC-BY-4.0; logic's collection says CC-BY-NC-SA-4.0"
    assert rows[1] == Skipped("modules/m2/index.cnxml", "licence_conflict", detail)
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == ["logic/m1", "logic/m3"]
    listed = path.read_text(encoding="utf-8").replace("</container>", '<license url="CC BY 4.0"/></container>')
    path.write_text(listed, encoding="utf-8")
    assert {row.reason for row in rows_of(path) if isinstance(row, Skipped)} == {"licence_conflict"}
    assert not [row for row in rows_of(path) if isinstance(row, RawSeed)]


def text_of(content: str, **parts: str) -> str:
    return module_text(ElementTree.fromstring(module("T", content, **parts)))[1]


def test_paragraphs_lists_tables_and_headings() -> None:
    content = """
      <section><title>A <emphasis>fine</emphasis> heading</title>
        <para>First
           paragraph with a <term>term</term>, 2<sup>nd</sup> of 10<sup>-3</sup> and H<sub>2</sub>O:
          <list list-type="enumerated"><item>one</item>
            <item><para>two</para><list><item>deep</item></list></item></list>
          and after.</para>
        <table><title>Prices</title><tgroup><thead><row><entry>Good</entry><entry>Price</entry></row></thead>
          <tbody><row><entry>Tea</entry><entry><para>$2</para></entry></row><row><entry/><entry/></row></tbody></tgroup></table>
        <quote>Words.</quote>
      </section>"""
    assert text_of(content).split("\n\n") == [
        "A fine heading",
        "First paragraph with a term, 2nd of 10^-3 and H2O:",
        "1. one\n2. two\n  - deep",
        "and after.",
        "Prices\nGood | Price\nTea | $2",
        "Words.",
    ]


def test_figures_media_and_footnotes_are_left_out_and_references_read_well() -> None:
    content = """
      <para>As <link target-id="f1"/> and <link target-id="t1"/> show, see <link url="http://x.y">the page</link>.
        <footnote>Not this.</footnote></para>
      <figure id="f1"><media alt="no"><image src="x.jpg"/></media><caption>Nor this.</caption></figure>
      <note><title>Watch</title><media><iframe src="x"/></media></note>
      <table id="t1"><tgroup><tbody><row><entry>a</entry></row></tbody></tgroup></table>"""
    assert text_of(content) == "As the figure and the table show, see the page.\n\na"


def test_code_keeps_its_lines_and_inline_code_its_sentence() -> None:
    content = '<code lang="python">\nif x:\n    print(x)\n</code><para>Call <code>f(x)</code> now.</para>'
    assert text_of(content) == "if x:\n    print(x)\n\nCall f(x) now."


def test_objectives_go_first_and_the_glossary_last() -> None:
    items = "<list><item>Add</item><item>Subtract</item></list>"
    glossary = "<glossary><definition><term>sum</term> <meaning>what is added</meaning></definition></glossary>"
    text = text_of("<para>Body.</para>", abstract=items, glossary=glossary)
    assert text == "Learning objectives:\n- Add\n- Subtract\n\nBody.\n\nKey terms:\nsum: what is added"
    text = text_of("<para>Body.</para>", abstract=f"<para>You will:</para>{items}")
    assert text == "You will:\n\n- Add\n- Subtract\n\nBody."


EQUATIONS = (
    "<mtable><mtr><mtd><mi>a</mi></mtd><mtd><mo>=</mo></mtd><mtd><mn>1</mn></mtd></mtr>"
    "<mtr><mtd/><mtd><mo>=</mo></mtd><mtd><mn>2</mn></mtd></mtr></mtable>"
)


def formula(inner: str) -> str:
    return latex(ElementTree.fromstring(f'<math xmlns="http://www.w3.org/1998/Math/MathML">{inner}</math>'))


@pytest.mark.parametrize(
    ("mathml", "expected"),
    [
        ("<mfrac><mi>a</mi><mrow><mn>2</mn><mi>b</mi></mrow></mfrac>", r"\frac{a}{2 b}"),
        ("<msup><mi>x</mi><mn>2</mn></msup><mo>+</mo><msub><mi>y</mi><mn>1</mn></msub>", "x^{2} + y_{1}"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>", "x_{1}^{2}"),
        ("<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", r"\sqrt{x + 1}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        ("<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover>", "∑_{i}^{n}"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\overline{x}"),
        ("<munder><mo>lim</mo><mi>x</mi></munder>", "lim_{x}"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a,b)"),
        ('<mfenced open="[" close="]"><mi>a</mi></mfenced>', "[a]"),
        ("<mtext>Cost</mtext><mo>=</mo><mo>$9</mo>", r"\text{Cost} = \$9"),
        (EQUATIONS, r"\begin{aligned}a &= 1 \\  &= 2\end{aligned}"),
        ("<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr></mtable>", r"\begin{matrix}1 & 2\end{matrix}"),
        ("<semantics><mi>a</mi><annotation>junk</annotation></semantics>", "a"),
        ("<mfrac><mi>a</mi></mfrac>", r"\frac{a}{}"),
    ],
)
def test_mathml_becomes_latex(mathml: str, expected: str) -> None:
    assert formula(mathml) == expected


def test_formulas_in_the_text_are_between_dollars_unless_they_are_one_symbol() -> None:
    half = "<m:math><m:mfrac><m:mn>1</m:mn><m:mn>2</m:mn></m:mfrac></m:math>"
    content = f"<para>Speed <m:math><m:mi>v</m:mi></m:math> is {half}:</para><equation>{half}</equation>"
    assert text_of(content) == "Speed v is $\\frac{1}{2}$:\n\n$$\\frac{1}{2}$$"


def test_subcollections_without_titles_and_hostile_depth(tmp_path: Path) -> None:
    outline = read_collection(
        ElementTree.fromstring(collection("", "Logic", "<subcollection>" + NESTED + "</subcollection>"))
    )
    assert outline.modules[0] == ("m1", ("Logic",))
    path = book(tmp_path, logic=collection("", "Logic", '<module document="m1"/>'))
    deep = module("T", "<section>" * 20_000 + "x" + "</section>" * 20_000)
    (tmp_path / "modules/m1/index.cnxml").write_text(deep, encoding="utf-8")
    assert rows_of(path)[0] == BadRow("modules/m1/index.cnxml", "invalid_xml", detail="nested too deeply")
