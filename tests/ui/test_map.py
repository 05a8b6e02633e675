"""The page of the topic map as a person uses it: a pointer, a wheel, a keyboard, and what is then on the page."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from cosmo_assets.topics.map_page import Document, Topic, page
from tests.ui.browser import MISSING, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}"),
]

HOSTILE = "</script><img src=x onerror=\"document.title='broken into'\"> & <b>bold</b>"
RED, GREEN, BLUE = "#CC6677", "#117733", "#4477AA"
CENTRES = ((-0.6, -0.5), (0.6, -0.5), (0.0, 0.6))


def topics() -> list[Topic]:
    named = (("Rivers", 9.0, None, RED), (HOSTILE, 2.0, None, GREEN), ("Adverts", None, "topic_denied", BLUE))
    return [
        Topic(number, name, score, 40 - number, excluded, *CENTRES[number], colour)
        for number, (name, score, excluded, colour) in enumerate(named)
    ]


def documents() -> list[Document]:
    """Spirals about three centres, which are free: the names stand there."""
    found = []
    for number in range(90):
        topic, turn = number % 3, number // 3
        x = CENTRES[topic][0] + (0.11 + 0.006 * turn) * math.cos(2.4 * turn)
        y = CENTRES[topic][1] + (0.11 + 0.006 * turn) * math.sin(2.4 * turn)
        title = HOSTILE if number == 1 else f"Title {number}" if number % 2 == 0 else None
        text = f"The {'crème' if number == 7 else 'plain'} text of seed {number}, which goes on for a while."
        source = "books" if number % 5 == 0 else "pages"
        found.append(Document(f"{number:032x}", x, y, topic, source, title, text))
    return found


class Map:
    """The page, and where its points are."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def element(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def until(self, condition: Any) -> Any:
        return WebDriverWait(self.browser, 20, 0.05).until(lambda _: condition())

    @property
    def view(self) -> tuple[float, float, float]:
        scale, left, top = map(float, self.element("#map").get_attribute("data-view").split())
        return scale, left, top

    def settled(self) -> tuple[float, float, float]:
        """The view once nothing flies any more."""

        def still() -> Any:
            before = self.view
            self.browser.execute_async_script("setTimeout(arguments[0], 120)")
            return before == self.view and before

        found: tuple[float, float, float] = self.until(still)
        return found

    def at(self, x: float, y: float) -> tuple[float, float]:
        scale, left, top = self.view
        return scale * x + left, top - scale * y

    def pointer(self, across: float, down: float) -> ActionChains:
        """The pointer over a place of the canvas, in its pixels."""
        box = self.element("#map").size
        return ActionChains(self.browser, duration=20).move_to_element_with_offset(
            self.element("#map"), round(across - box["width"] / 2), round(down - box["height"] / 2)
        )

    def colour(self, across: float, down: float) -> tuple[int, ...]:
        return tuple(
            self.browser.execute_script(
                "const r = devicePixelRatio, c = document.getElementById('map').getContext('2d');"
                "return [...c.getImageData(arguments[0] * r, arguments[1] * r, 1, 1).data].slice(0, 3);",
                across,
                down,
            )
        )

    def choose_colour(self, value: str) -> None:
        self.element(f"label:has(input[value={value}])").click()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("map") / "profile") as found:
        yield found


@pytest.fixture
def shown(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Map]:
    path = tmp_path / "map.html"
    path.write_text(page("tiny <b>", topics(), documents(), 120), encoding="utf-8")
    browser.get(path.as_uri())
    found = Map(browser)
    found.settled()
    yield found
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == [], "of the script, or of the content security policy"
    assert browser.title == "tiny <b>: topic map"
    assert not browser.find_elements(By.CSS_SELECTOR, "img, iframe, main b b")


def test_all_points_are_in_view_in_the_colours_of_their_topics(shown: Map) -> None:
    box = shown.element("#map").size
    for document in documents():
        across, down = shown.at(document.x, document.y)
        assert 0 < across < box["width"]
        assert 0 < down < box["height"]
    red = shown.colour(*shown.at(*spot(75)))
    assert red[0] > red[1] + 40
    assert red[0] > red[2] + 40
    grey = shown.colour(*shown.at(*spot(86)))
    assert max(grey) - min(grey) < 25, "its topic is excluded"
    assert shown.texts("#list button") == [
        "Rivers\n40",
        f"{HOSTILE}\n39",
        "Adverts\nexcluded: topic denied\n38",
    ]
    assert shown.element("#count").text == "3 topics, 120 seeds, 90 of them shown"
    assert int(shown.element("#map").get_attribute("data-labels")) == 3


def spot(number: int) -> tuple[float, float]:
    document = documents()[number]
    return document.x, document.y


def test_a_seed_under_the_pointer_shows_its_title_and_beginning(shown: Map) -> None:
    tip = shown.element("#tip")
    assert not tip.is_displayed()
    shown.pointer(*shown.at(*spot(6))).perform()
    shown.until(tip.is_displayed)
    assert tip.text == ("Title 6\nThe plain text of seed 6, which goes on for a while.\nRivers · score 9 · pages")
    shown.pointer(*shown.at(*spot(1))).perform()
    shown.until(lambda: tip.text.startswith(HOSTILE))
    shown.pointer(5, 5).perform()
    shown.until(lambda: not tip.is_displayed())


def test_a_click_keeps_a_seed_and_escape_lets_it_go(shown: Map) -> None:
    shown.pointer(*shown.at(*spot(5))).click().perform()
    card = shown.element("#card")
    shown.until(card.is_displayed)
    assert "Adverts · books · excluded: topic denied" in card.text
    assert card.text.endswith(f"cosmo tokens --seed {5:032x}")
    ActionChains(shown.browser).send_keys(Keys.ESCAPE).perform()
    shown.until(lambda: not card.is_displayed())


def test_wheel_and_drag_move_the_map_under_the_pointer(shown: Map) -> None:
    before = shown.view
    across, down = shown.at(*spot(0))
    origin = ScrollOrigin.from_element(
        shown.element("#map"),
        round(across - shown.element("#map").size["width"] / 2),
        round(down - shown.element("#map").size["height"] / 2),
    )
    ActionChains(shown.browser).scroll_from_origin(origin, 0, -400).perform()
    shown.until(lambda: shown.view[0] > 1.8 * before[0])
    assert shown.at(*spot(0)) == pytest.approx((across, down), abs=1.5)
    shown.pointer(across, down).click_and_hold().move_by_offset(120, 60).release().perform()
    shown.until(lambda: shown.at(*spot(0))[0] > across + 100)
    assert shown.at(*spot(0)) == pytest.approx((across + 120, down + 60), abs=2)
    assert not shown.element("#card").is_displayed(), "a drag is no click"
    shown.element("#all").click()
    assert shown.settled() == pytest.approx(before, abs=0.1)


def test_colours_follow_the_choice(shown: Map) -> None:
    by_topic = shown.colour(*shown.at(*spot(75)))
    shown.choose_colour("score")
    shown.until(lambda: shown.colour(*shown.at(*spot(75))) != by_topic)
    assert shown.element("#scale").is_displayed()
    assert shown.texts("#list button")[0] == "Rivers\n9"
    assert shown.texts("#list button")[-1].endswith("–")
    shown.choose_colour("source")
    shown.until(lambda: [text.split("\n")[0] for text in shown.texts("#list button")] == ["pages", "books"])
    assert shown.colour(*shown.at(*spot(84))) == shown.colour(*shown.at(*spot(86))), "two topics, one source"
    shown.choose_colour("topic")
    shown.until(lambda: shown.colour(*shown.at(*spot(75))) == by_topic)


def test_an_entry_of_the_list_focuses_its_topic_and_lets_it_go(shown: Map) -> None:
    home = shown.view
    other = spot(76)
    bright = shown.colour(*shown.at(*other))
    shown.element("#list button").click()
    shown.settled()
    assert shown.view[0] > 1.5 * home[0]
    assert shown.at(*CENTRES[0]) == pytest.approx((600, 500), abs=350), "its middle is about the middle of the view"
    assert shown.element("#list button").get_attribute("aria-pressed") == "true"
    assert int(shown.element("#map").get_attribute("data-labels")) == 1
    shown.element("#list button").click()
    assert shown.settled() == pytest.approx(home, abs=0.1)
    assert shown.element("#list button").get_attribute("aria-pressed") == "false"
    assert shown.colour(*shown.at(*other)) == bright


def test_a_click_on_a_name_focuses_its_topic(shown: Map) -> None:
    shown.pointer(*shown.at(*CENTRES[0])).click().perform()
    shown.until(lambda: shown.element("#list button").get_attribute("aria-pressed") == "true")
    assert not shown.element("#card").is_displayed()
    shown.settled()
    shown.pointer(8, 8).click().perform()
    shown.until(lambda: shown.element("#list button").get_attribute("aria-pressed") == "false")


def test_search_finds_words_of_texts_whatever_their_accents(shown: Map) -> None:
    bright = shown.colour(*shown.at(*spot(75)))
    box = shown.element("#search")
    box.send_keys("CREME text")
    shown.until(lambda: shown.element("#found").text == "1 of 90 seeds")
    assert shown.texts("#list button") == [
        f"The crème text of seed 7, which goes on for a while.\n{HOSTILE}",
    ]
    assert shown.colour(*shown.at(*spot(75))) != bright, "the others are dimmed"
    box.send_keys(Keys.ENTER)
    shown.until(shown.element("#card").is_displayed)
    assert f"{7:032x}" in shown.element("#card").text
    shown.settled()
    assert shown.at(*spot(7)) == pytest.approx(
        (shown.element("#map").size["width"] / 2, shown.element("#map").size["height"] / 2), abs=1
    )
    box.clear()
    box.send_keys("nothing has this")
    shown.until(lambda: shown.element("#found").text == "0 of 90 seeds")
    ActionChains(shown.browser).send_keys(Keys.ESCAPE).send_keys(Keys.ESCAPE).perform()
    shown.until(lambda: shown.element("#found").text == "")
    assert len(shown.texts("#list button")) == 3


def test_the_keyboard_does_what_the_pointer_does(shown: Map) -> None:
    home = shown.view
    shown.browser.execute_script("document.getElementById('map').focus()")
    keys = ActionChains(shown.browser)
    keys.send_keys("+").perform()
    shown.until(lambda: shown.view[0] == pytest.approx(1.4 * home[0], rel=0.01))
    before = shown.view
    keys = ActionChains(shown.browser)
    keys.send_keys(Keys.ARROW_RIGHT).send_keys(Keys.ARROW_UP).perform()
    shown.until(lambda: shown.view == pytest.approx((before[0], before[1] - 60, before[2] + 60), abs=0.1))
    ActionChains(shown.browser).send_keys(Keys.ENTER).perform()
    shown.until(shown.element("#card").is_displayed)
    chosen = int(re.findall(r"--seed (\w+)", shown.element("#card").text)[0], 16)
    middle = (shown.element("#map").size["width"] / 2, shown.element("#map").size["height"] / 2)
    apart = {number: math.dist(middle, shown.at(*spot(number))) for number in range(90)}
    assert apart[chosen] == pytest.approx(min(apart.values()), abs=0.5)
    ActionChains(shown.browser).send_keys("0").perform()
    assert shown.settled() == pytest.approx(home, abs=0.1)
    ActionChains(shown.browser).send_keys("/").perform()
    assert shown.browser.switch_to.active_element.get_attribute("id") == "search"
    shown.element("#list button").send_keys(Keys.ENTER)
    shown.until(lambda: shown.element("#list button").get_attribute("aria-pressed") == "true")


def test_it_is_readable_in_the_dark(shown: Map) -> None:
    shown.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    try:
        shown.until(lambda: sum(colour_of(shown, "body", "background-color")) < 120)
        assert sum(colour_of(shown, "h1", "color")) > 600
        assert sum(colour_of(shown, "aside", "background-color")) < 150
        shown.until(lambda: max(shown.colour(*shown.at(*spot(75)))) > 130)
    finally:
        shown.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def colour_of(shown: Map, selector: str, name: str) -> list[int]:
    value = shown.element(selector).value_of_css_property(name)
    return [int(part) for part in re.findall(r"\d+", value)[:3]]


def test_a_narrow_page_shows_map_and_list_one_above_the_other(shown: Map) -> None:
    metrics = {"width": 420, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    shown.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        shown.until(lambda: shown.element("#map").size["width"] == 420)
        shown.settled()
        for document in documents():
            across, down = shown.at(document.x, document.y)
            assert 0 < across < 420
            assert 0 < down < shown.element("#map").size["height"]
        assert shown.element("aside").location["y"] >= shown.element("#map").size["height"]
    finally:
        shown.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
