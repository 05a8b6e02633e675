"""HTML: main content, charset, address, licence, and bounds."""

import gzip
import time
from pathlib import Path

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.registry import read
from cosmo_assets.seeds.readers.webpages import MAX_ELEMENTS, MAX_PAGE_BYTES, PageError, page_of

PROSE = "<p>Bees find their way home by the sun, and on cloudy days by the light that the clouds let through.</p>" * 5
MENU = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About us</a></li></ul></nav>"
BY = "https://creativecommons.org/licenses/by/4.0/"


def document(head: str = "", body: str = PROSE) -> bytes:
    return f"<!DOCTYPE html><html><head><title>Bees</title>{head}</head><body>{MENU}{body}</body></html>".encode()


def html(tmp_path: Path, content: bytes, name: str = "bees.html") -> list[Row]:
    (tmp_path / name).write_bytes(content)
    return list(read("site", "html", tmp_path / name, {}))


@pytest.mark.parametrize("bad", ["http://[bees", "//[::1", "http://]/"])
@pytest.mark.parametrize("url", [None, "https://bees.example/a", "http://[bad"])
def test_a_malformed_address_costs_itself_not_the_page(bad: str, url: str | None) -> None:
    links = f"<link rel=canonical href='{bad}'><link rel=license href='{bad}/x'><meta name=license content='CC BY 4.0'>"
    page = page_of(document(links, f"<a href='{bad}'>bees</a>{PROSE}"), url=url)
    assert page.text.startswith("Bees find their way home by the sun") or page.text.startswith("bees")
    assert page.url is None
    assert page.licence is not None
    assert page.licence.endswith("CC-BY-4.0")


def test_of_several_addresses_the_first_sound_one_is_the_page_s_own() -> None:
    links = "<link rel=canonical href='http://[bees'><meta property='og:url' content='https://bees.example/b'>"
    assert page_of(document(links)).url == "https://bees.example/b"


def test_a_page_is_its_main_content_with_title_and_own_address(tmp_path: Path) -> None:
    (row,) = html(
        tmp_path, document(f"<link rel='canonical' href='https://bees.example/home'><link rel=license href={BY}>")
    )
    assert isinstance(row, RawSeed)
    assert row.text.startswith("Bees find their way home by the sun")
    assert "About us" not in row.text
    assert (row.native_id, row.title, row.url) == ("https://bees.example/home", "Bees", "https://bees.example/home")
    assert row.licence == "CC-BY-4.0"
    (bare,) = html(tmp_path, gzip.compress(document()), "bare.html.gz")
    assert isinstance(bare, RawSeed)
    assert (bare.native_id, bare.url, bare.licence) == ("bare.html.gz", None, None)


def test_a_page_does_not_hang_on_those_before_it() -> None:
    first = page_of(document())
    assert [page_of(document()) for _ in range(5)] == [first] * 5, "a memory of repeated paragraphs would empty it"


@pytest.mark.parametrize(
    ("statement", "licence"),
    [
        (f"<a rel='license noopener' href='{BY}'>CC BY</a>", "CC-BY-4.0"),
        ("<a rel='license' href='//creativecommons.org/licenses/by-nc-sa/3.0/us/'>x</a>", "CC-BY-NC-SA-3.0"),
        ("<a rel='License' href='http://creativecommons.org/publicdomain/zero/1.0/'>x</a>", "CC0-1.0"),
        ("<a itemprop='license' href='https://opensource.org/licenses/MIT'>x</a>", "MIT"),
        ("<meta name='DCTERMS.license' content='CC BY-SA 4.0'>", "CC-BY-SA-4.0"),
        (
            f"<a rel=license href='{BY}'>x</a><a rel=license href='/terms'>y</a>",
            "CC-BY-4.0 AND https://bees.example/terms",
        ),
        (f"<p>This page is not under <a href='{BY}'>CC BY</a>.</p>", None),
        ("<a rel='license' href=''>x</a>", None),
    ],
)
def test_a_licence_is_what_the_page_states_of_itself(statement: str, licence: str | None) -> None:
    assert page_of(document(body=PROSE + statement), url="https://bees.example/page").licence == licence


@pytest.mark.parametrize(
    ("charset", "written", "meta"),
    [
        (None, "utf-8", ""),
        ("iso-8859-1", "utf-8", ""),
        ("iso-8859-1", "windows-1252", ""),
        (None, "windows-1251", "<meta http-equiv='Content-Type' content='text/html; charset=windows-1251'>"),
        (None, "shift_jis", "<meta charset='shift_jis'>"),
        (None, "utf-16", ""),
        (None, "windows-1252", ""),
        ("no-such-charset", "windows-1252", ""),
        ("punycode", "windows-1252", ""),
    ],
)
def test_the_text_is_decoded_by_what_the_bytes_the_server_and_the_page_say(
    charset: str | None, written: str, meta: str
) -> None:
    word = {"windows-1251": "Пчёлы летят", "shift_jis": "蜜蜂は飛ぶ"}.get(written, "naïve “café”")
    content = document(meta, f"<p>{word}</p>{PROSE}").decode().encode(written)
    assert word in page_of(content, charset=charset).text


def test_a_page_that_is_cut_off_within_a_character_is_read() -> None:
    content = document(body=PROSE + "<p>Their honey is golden, and one says: café").removesuffix(b"</body></html>")
    assert "honey is golden" in page_of(content[:-1]).text


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"", BadRow("bees.html", "empty_file")),
        (b" \n ", BadRow("bees.html", "empty_file")),
        (b"%PDF-1.4 binary", BadRow("bees.html", "not_html", detail="no element of HTML in it")),
        (b"<html><body></body></html>", Skipped("bees.html", "no_text")),
        (b"<p>" + b"x" * MAX_PAGE_BYTES, Skipped("bees.html", "too_large", f"more than {MAX_PAGE_BYTES} bytes")),
        (b"<p>" + b"a<br>" * MAX_ELEMENTS, Skipped("bees.html", "too_large", f"{MAX_ELEMENTS + 3} elements")),
    ],
)
def test_what_gives_no_text_says_why(tmp_path: Path, content: bytes, row: Row) -> None:
    assert html(tmp_path, content) == [row]


HOSTILE = {
    "deep": "<div>" * 100_000,
    "comments": "<!-- x -->" * 100_000,
    "misnested": "<b><i>x</b></i>" * 7_000,
    "formatted": "<b>x<p>" * 8_000,
    "table": "<table>" + "<tr><td>one<td>two" * 9_000,
    "nested tables": "<table><tr><td>" * 10_000,
    "attribute": "<div class='" + "a " * 500_000 + "'>" + PROSE,
    "one word": "<p>" + "w" * 1_000_000,
    "line ends": "<p>" + "\n" * 1_000_000,
    "entities": "<p>" + "&amp;" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(120)
def test_a_page_made_to_be_slow_ends_in_seconds(name: str) -> None:
    begun = time.process_time()
    try:
        assert page_of(document(body=HOSTILE[name])).text
    except PageError as error:
        assert error.reason in ("no_text", "too_large")
    assert time.process_time() - begun < 60
