"""The page of the lineage as a person uses it: paste, read the chain, click through."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from cosmo_assets.lineage.server import LineageServer, serve
from tests.ui.browser import MISSING, chromium
from tests.unit.cosmo_assets.lineage.planted import (
    DOCS,
    PROMPTS,
    REAL_DOC,
    REAL_TEXT,
    SAMPLES,
    SEEDS,
    SHARED,
    TEXTS,
    TOPICS,
    planted,
    planted_with_real,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}"),
]


class Page:
    """The page, and what is on it."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        self.address = address

    def open(self, place: str = "#/") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.address}{place}")
        self.shows(place)

    def until(self, condition: Any) -> Any:
        return WebDriverWait(self.browser, 20, 0.05).until(lambda _: condition())

    def shows(self, place: str) -> None:
        """Wait until the answer to a place of the page is there."""
        main = self.browser.find_element(By.ID, "main")
        self.until(lambda: main.get_attribute("data-shown") == place and not main.get_attribute("aria-busy"))

    def ask(self, text: str) -> None:
        before = self.browser.execute_script("return location.hash")
        self.browser.execute_script("document.getElementById('question').value = arguments[0]", text)
        self.browser.find_element(By.ID, "question").send_keys(Keys.ENTER)
        self.until(lambda: self.browser.execute_script("return location.hash") != before)
        self.until(lambda: self.element("main").get_attribute("aria-busy") is None)

    def element(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [found.text for found in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def click(self, text: str) -> None:
        link = next(found for found in self.browser.find_elements(By.CSS_SELECTOR, "main a") if found.text == text)
        place = "#" + str(link.get_attribute("href")).split("#", 1)[1]
        link.click()
        self.until(lambda: self.element("main").get_attribute("data-shown") in (place, place.replace("%20", " ")))

    @property
    def cards(self) -> dict[str, str]:
        titles = self.texts(".chain .card h4")
        return dict(zip([title.title() for title in titles], self.texts(".chain .card"), strict=True))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineageServer]:
    space = planted(tmp_path_factory.mktemp("corpus"))
    with serve(space.store, "tiny <b>", "127.0.0.1", 0) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("lineage") / "profile") as found:
        yield found


@pytest.fixture
def page(browser: webdriver.Chrome, server: LineageServer) -> Iterator[Page]:
    found = Page(browser, f"http://127.0.0.1:{server.server_port}/")
    found.open()
    yield found
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [error for error in errors if "404" not in error] == [], "of the script, or of the security policy"
    assert browser.title == "tiny <b>: token lineage"
    assert not browser.find_elements(By.CSS_SELECTOR, "img, iframe, main b b")


def span_of(server: LineageServer, number: int) -> dict[str, Any]:
    lookup = server.lineage.lookup
    place = lookup.documents.find(DOCS[number])
    assert place is not None
    return lookup.place(lookup.spans_of_document(place)[0])


def test_it_begins_with_what_the_corpus_is_made_of(page: Page, server: LineageServer) -> None:
    tokens = server.lineage.lookup.dataset.manifest.summary["tokens"]
    assert page.texts(".tile")[:2] == [f"Tokens\n{tokens:,}", "Documents\n10"]
    topics = next(card for card in page.texts(".grids .card") if card.startswith("TOPIC"))
    assert all((topic or "no topic") in topics for topic in TOPICS)


@pytest.mark.parametrize("number", [3, 5, 10])
def test_a_token_shows_its_whole_chain(page: Page, server: LineageServer, number: int) -> None:
    span = span_of(server, number)
    page.ask(f"{int(span['shard'][6:11])}:{span['start'] + 4:,}")
    cards, prompt = page.cards, PROMPTS[SAMPLES[number]]
    assert list(cards) == ["Token", "Document", "Prompt", "Seed"]
    assert "equal to the document" in cards["Token"]
    assert "not equal" not in cards["Token"]
    assert DOCS[number] in cards["Document"]
    assert prompt["prompt_id"] in cards["Prompt"]
    assert prompt["prompt"] in cards["Prompt"]
    assert SEEDS[SAMPLES[number] // 2]["seed_id"] in cards["Seed"]
    assert str(prompt["topic"] or "no topic") in cards["Seed"]
    assert page.element(".chain .text").get_attribute("textContent") == TEXTS[DOCS[number]]
    start, end = server.lineage.characters(server.lineage.token(span["shard"], span["start"] + 4))
    assert page.element("mark").get_attribute("textContent") == TEXTS[DOCS[number]][start:end]
    assert f"cosmo trace --shard {span['shard']} --token {span['start'] + 4}" in page.texts("code")


def test_a_pasted_text_leads_to_its_document_and_is_marked(page: Page) -> None:
    piece = " ".join(TEXTS[DOCS[8]].split()[20:60])
    page.ask(piece.upper())
    page.until(lambda: page.texts(".says"))
    assert page.texts(".says")[0].startswith("One document of the corpus holds these 40 words.")
    assert DOCS[8] in page.cards["Document"]
    assert page.element("mark").get_attribute("textContent") == piece


def test_a_text_of_several_documents_lists_them(page: Page) -> None:
    page.ask(SHARED)
    page.until(lambda: page.texts(".says"))
    assert page.texts(".says")[0].startswith("2 documents of the corpus hold these 7 words.")
    assert page.texts("tbody tr") == [f"{doc} 1" for doc in sorted(DOCS[8:10])]
    page.click(DOCS[8])
    assert page.element("mark").get_attribute("textContent") == SHARED.removesuffix(".")


def test_a_text_that_is_nowhere_says_so(page: Page) -> None:
    page.ask("nobody ever wrote these seven words here")
    page.until(lambda: page.texts(".says"))
    assert page.texts(".says") == ["No document of the corpus holds these 7 words."]


def test_an_id_leads_to_what_it_is_of(page: Page) -> None:
    page.ask(SEEDS[1]["seed_id"][:12])
    page.until(lambda: page.texts("h2") == [SEEDS[1]["title"]])
    page.ask(DOCS[6][:14])
    page.until(lambda: page.cards)
    assert DOCS[6] in page.cards["Document"]


def test_one_clicks_from_a_token_to_its_seed_and_on_to_other_prompts(page: Page, server: LineageServer) -> None:
    span = span_of(server, 2)
    page.ask(f"{span['shard']}:{span['start']}")
    page.click(SEEDS[1]["seed_id"])
    assert page.texts("h2") == [SEEDS[1]["title"]]
    assert "Documents\n2" in page.texts(".tile")
    page.click(PROMPTS[3]["prompt_id"])
    assert page.texts("h2") == ["Prompt"]
    assert "Spans\n3" in page.texts(".tile")
    page.click(DOCS[3])
    assert "Copy\n1 of 3" in page.cards["Token"] or re.search(r"Copy\n[123] of 3", page.cards["Token"])
    page.browser.back()
    page.until(lambda: page.texts("h2") == ["Prompt"])


def test_a_topic_divides_into_sources_and_templates(page: Page, server: LineageServer) -> None:
    page.click(str(TOPICS[1]))
    assert page.texts("h2") == [TOPICS[1]]
    totals = server.lineage.tokens({"topic": TOPICS[1]}).totals
    assert page.texts(".tile") == [
        f"Tokens\n{totals.tokens:,}",
        f"Documents\n{totals.documents}",
        f"Spans\n{totals.spans}",
    ]
    titles = page.texts(".grids h4")
    assert {"LICENCE", "TEMPLATE"} <= set(titles)
    assert "SOURCE" not in titles, "all of it is of one"
    assert len(page.texts("tbody tr")) == totals.spans
    page.click("t1")
    assert page.texts("h2") == ["t1"]
    page.open("#/none/topic")
    assert page.texts("h2") == ["no topic"]


def test_a_mistake_is_told_with_its_remedy(page: Page) -> None:
    page.ask("0:99,999,999")
    page.until(lambda: page.texts("[role=alert]"))
    assert page.texts("[role=alert]")[0].startswith("no token 99999999 in shard-00000.ds\nthe shards are")


def test_it_is_readable_in_the_dark_and_on_a_narrow_screen(page: Page, server: LineageServer) -> None:
    span = span_of(server, 5)
    page.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    metrics = {"width": 420, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.ask(f"{span['shard']}:{span['start']}")
        background = page.element("body").value_of_css_property("background-color")
        assert sum(int(part) for part in re.findall(r"\d+", background)[:3]) < 120
        wide = page.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 420, "nothing stands out of the page"
        cards = page.browser.find_elements(By.CSS_SELECTOR, ".chain .card")
        assert [card.location["x"] for card in cards] == [16] * 4
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_real_document_shows_where_it_was_read_and_no_prompt(
    tmp_path_factory: pytest.TempPathFactory, browser: webdriver.Chrome
) -> None:
    space = planted_with_real(tmp_path_factory.mktemp("real"))
    with serve(space.store, "real", "127.0.0.1", 0) as server:
        page = Page(browser, f"http://127.0.0.1:{server.server_port}/")
        page.open(f"#/doc/{REAL_DOC}")
        assert list(page.cards) == ["Token", "Real Document"]
        shown = page.cards["Real Document"]
        assert "letters.jsonl:7" in shown
        assert "CC-BY-4.0" in shown
        assert REAL_TEXT in " ".join(shown.split())
        page.ask(" ".join(REAL_TEXT.split()[3:20]))
        assert "letters.jsonl:7" in page.element("main").text
        page.open("#/by/source/letters")
        assert REAL_DOC in page.element("main").text
        assert "–" in page.element("main").text, "where the prompt of others stands"
