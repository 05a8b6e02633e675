import base64
import hashlib
import json
from typing import Any

import lxml.html
import pytest

from cosmo_assets.topics.map_page import FOLDER, GRID, MAX_PAGE_BYTES, Document, Topic, cut, page

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "<!--<script>",
    "]]> & &lt; &#60; \u2028 \u2029 \\u003c \x00 \x1b",
    "{{ 7 * 7 }} {% raw %} ${alert(4)} `",
    "\u202e right to left \N{GRINNING FACE} \N{CJK UNIFIED IDEOGRAPH-4E2D}",
)


def topic(name: str, number: int = 0, **fields: Any) -> Topic:
    values: dict[str, Any] = {"score": 5.0, "seeds": 3, "excluded": None, "x": 0.0, "y": 0.0, "colour": "#4477AA"}
    return Topic(cluster=number, name=name, **{**values, **fields})


def document(text: str, title: str | None = None, **fields: Any) -> Document:
    values: dict[str, Any] = {"seed_id": "f" * 32, "x": 0.5, "y": -0.25, "topic": 0, "source": "pages"}
    return Document(title=title, text=text, **{**values, **fields})


def data_of(html: str) -> dict[str, Any]:
    (block,) = lxml.html.document_fromstring(html).xpath('//script[@type="application/json"]')
    found: dict[str, Any] = json.loads(block.text)
    return found


def test_hostile_texts_stay_texts() -> None:
    topics = [topic(text, number) for number, text in enumerate(HOSTILE)]
    documents = [document(f"body {text}", title=text, source=text) for text in HOSTILE]
    html = page(HOSTILE[1], topics, documents, 7)
    root = lxml.html.document_fromstring(html)
    own, plain = page("plain", [topic("a")], [document("b")], 1), lxml.html.document_fromstring
    tags = [element.tag for element in plain(own).iter() if isinstance(element.tag, str)]
    assert [element.tag for element in root.iter() if isinstance(element.tag, str)] == tags
    assert not root.xpath("//@*[starts-with(name(), 'on')]")
    data = data_of(html)
    assert [found["name"] for found in data["topics"]] == list(HOSTILE)
    assert data["title"] == [" ".join(text.split()) for text in HOSTILE]
    assert data["name"] == HOSTILE[1]
    assert root.findtext("head/title") == f"{HOSTILE[1]}: topic map"


def test_no_text_is_written_as_html_and_nothing_is_fetched() -> None:
    script = (FOLDER / "map.js").read_text(encoding="utf-8")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "import",
    ):
        assert word not in script, word
    html = page("a", [topic("t")], [document("x")], 1)
    for word in ("http:", "https:", "url(", "@import", "src="):
        assert word not in html, word


def test_only_the_scripts_and_styles_of_the_page_may_run() -> None:
    root = lxml.html.document_fromstring(page("a", [topic("t")], [document("x")], 1))
    (policy,) = root.xpath('//meta[@http-equiv="Content-Security-Policy"]/@content')
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name, element in (("script-src", root.xpath("//script")[-1]), ("style-src", root.xpath("//style")[0])):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'", name


def test_a_seed_is_shown_with_its_place_title_and_beginning() -> None:
    seeds = [
        document("The river.  It\nflows.", title="The river"),
        document("No title here, only text", x=-1.0, y=1.0, source="books"),
        document("Long " * 200, title="A   title\nin lines"),
        document("Only a title", title="Only a title"),
        document("Begin " * 15 + "and then it goes on."),
    ]
    data = data_of(page("a", [topic("t", score=None, excluded="topic_denied")], seeds, 40))
    assert data["title"][:2] == ["The river", "No title here, only text"]
    assert data["text"][:2] == ["It flows.", ""]
    assert data["title"][2] == "A title in lines"
    assert data["text"][2].startswith("Long Long")
    assert data["text"][2].endswith(" …")
    assert len(data["text"][2]) <= 240
    assert data["text"][3] == ""
    assert (data["x"][0], data["y"][0]) == (GRID * 3 // 4, GRID * 3 // 8)
    assert (data["x"][1], data["y"][1]) == (0, GRID)
    assert data["sources"] == ["books", "pages"]
    assert data["source"] == [1, 0, 1, 1, 1]
    assert data["title"][4] == "Begin " * 14 + "…"
    assert data["text"][4] == "… Begin and then it goes on."
    assert data["seeds"] == 40
    assert data["topics"][0]["excluded"] == "topic denied"
    assert data["topics"][0]["score"] is None


@pytest.mark.parametrize("titled", [True, False])
@pytest.mark.parametrize("letter", ["e", "\N{CJK UNIFIED IDEOGRAPH-4E2D}"])
def test_a_page_of_the_most_seeds_stays_small(letter: str, titled: bool) -> None:
    texts = [
        document(f"{letter * 7} " * 300, title=f"{number} {letter * 88}" if titled else None)
        for number in range(10_000)
    ]
    html = page("a", [topic("t")], texts, 10_000)
    assert len(html.encode()) <= MAX_PAGE_BYTES
    assert len(data_of(html)["id"]) == 10_000


def test_texts_are_cut_at_a_word() -> None:
    assert cut("one two three", 20) == "one two three"
    assert cut("one two three", 10) == "one two …"
    assert cut("onetwothree", 8) == "onetwo …"
    assert cut("anything", 0) == ""


def test_the_page_is_a_function_of_its_arguments() -> None:
    arguments = ("a", [topic("t")], [document("x")], 1)
    assert page(*arguments) == page(*arguments)
