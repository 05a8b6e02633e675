"""The Dagster UI as a data engineer meets it: `dagster dev`, a headless Chromium, clicks, and what is on the page.

Dagster's web app ships without test ids and with hashed class names, so everything here is found by what a person sees
(texts, titles, roles) and by Dagster's own addresses (`?view=partitions`, `/runs/<id>`). A dagster release that renames
a button breaks this file; the message then names a screenshot and the text of the page.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from cosmo_assets.build import ASSETS, UP_TO_PROMPTS, build_defs
from cosmo_resources.deployments import deployment
from tests.corpora import ROOT, Corpus, seeds
from tests.doubles.replay_server import Fault, ReplayServer, replaying
from tests.ui.browser import MISSING, PAGE_SECONDS, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}"),
]

POLL_SECONDS = 0.2
START_SECONDS = 150
STOP_SECONDS = 15
RUN_SECONDS = 120

GENERATIONS = dg.AssetKey("generations")


class Page:
    """The browser's one window: waits, clicks, and, where a wait fails, says what was on the page instead."""

    def __init__(self, browser: webdriver.Chrome, url: str, screenshots: Path) -> None:
        self.browser = browser
        self.url = url
        self.screenshots = screenshots

    def open(self, path: str) -> None:
        self.browser.get(self.url + path)

    def until(self, what: str, condition: Callable[[], Any], *, seconds: float = PAGE_SECONDS) -> Any:
        """Wait until a condition is true and return its value. React may replace an element at any moment: a stale one
        is looked for again."""
        deadline = time.monotonic() + seconds
        stale: StaleElementReferenceException | None = None
        while True:
            try:
                if value := condition():
                    return value
            except StaleElementReferenceException as error:
                stale = error
            if time.monotonic() > deadline:
                raise AssertionError(self._report(what, seconds)) from stale
            time.sleep(POLL_SECONDS)

    def find(self, xpath: str, **options: float) -> WebElement:
        """The first element that is displayed."""

        def displayed() -> WebElement | None:
            found = self.browser.find_elements(By.XPATH, xpath)
            return next((element for element in found if element.is_displayed()), None)

        return self.until(f"an element {xpath}", displayed, **options)

    def click(self, xpath: str) -> None:
        """Click an element once it is there, enabled, and not behind another one."""

        def clicked() -> bool:
            for element in self.browser.find_elements(By.XPATH, xpath):
                if element.is_displayed() and element.is_enabled():
                    try:
                        element.click()
                    except (ElementClickInterceptedException, ElementNotInteractableException):
                        return False
                    return True
            return False

        self.until(f"an element to click, {xpath}", clicked)

    def shows(self, *texts: str, seconds: float = PAGE_SECONDS) -> None:
        for text in texts:
            self.until(f"the text {text!r}", lambda text=text: text in self.text, seconds=seconds)

    @property
    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "body").text

    def script(self, source: str, *arguments: Any) -> Any:
        return self.browser.execute_script(source, *arguments)

    def picture(self, name: str) -> None:
        self.browser.save_screenshot(str(self.screenshots / f"{name}.png"))

    def _report(self, what: str, seconds: float) -> str:
        name = f"failure-{len(list(self.screenshots.glob('failure-*.png')))}"
        self.picture(name)
        text = self.screenshots / f"{name}.txt"
        text.write_text(f"{self.browser.current_url}\n\n{self.text}\n", encoding="utf-8")
        return (
            f"no sign of {what} within {seconds:g} s at {self.browser.current_url}: "
            f"look at {self.screenshots / f'{name}.png'} and {text}"
        )


@dataclass(frozen=True)
class Ui:
    """The corpus under test, the server that serves its graph, and the page that looks at it."""

    corpus: Corpus
    replay: ReplayServer
    instance: dg.DagsterInstance
    page: Page

    @property
    def share_without_answer(self) -> float:
        flow = self.corpus.store.open("generations", "b000").manifest.flow
        return round(sum(flow.failed.values()) / flow.rows_in, 4)


def every_third_refused() -> Fault:
    """A fault: HTTP 400, which is final, for the first request for a text and every third one after it."""
    asked = count()

    def fault(body: dict[str, Any], seen: int) -> web.Response | None:
        if "response_format" in body or next(asked) % 3:
            return None
        return web.json_response({"error": {"message": "not this one"}}, status=400)

    return fault


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A corpus of twelve seeds built up to its prompts, `dagster dev` on it, and a browser."""
    folder = tmp_path_factory.mktemp("ui")
    screenshots = Path(os.environ.get("COSMO_SCREENSHOTS") or folder / "screenshots")
    screenshots.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder / "corpus", buckets=2).write(seeds(12))
    try:
        with (
            replaying(fault=every_third_refused()) as replay,
            on_disk(corpus.environment(replay.url)) as instance,
            # it starts while the corpus is built: the two take about as long
            dagster_dev(corpus.environment(replay.url), folder / "dagster-dev.log") as wait_for_url,
        ):
            corpus.build(replay.url, UP_TO_PROMPTS, instance=instance)
            assert replay.generation_calls == []
            with chromium(folder / "profile") as browser:
                yield Ui(corpus, replay, instance, Page(browser, wait_for_url(), screenshots))
    finally:
        assert_nothing_runs(folder)


@contextmanager
def on_disk(environment: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    """The instance of the project's own dagster.yaml, its state in the test's folder."""
    state = Path(environment["COSMO_STATE"])
    state.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSMO_STATE", str(state))
        patch.setenv("DAGSTER_HOME", environment["DAGSTER_HOME"])
        with dg.DagsterInstance.get() as instance:
            instance.get_runs(limit=1)  # makes its databases before a second process would
            yield instance


@contextmanager
def dagster_dev(environment: dict[str, str], log: Path) -> Iterator[Callable[[], str]]:
    """What `make ui` runs, on a free port: a function that waits until it answers and returns its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--workspace", str(ROOT / "workspace.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", *arguments],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )

    def wait_for_url() -> str:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            said = log.read_text(encoding="utf-8", errors="replace")
            assert process.poll() is None, f"dagster dev ended with {process.returncode}:\n{said[-3000:]}"
            assert time.monotonic() < deadline, f"dagster dev does not answer after {START_SECONDS} s:\n{said[-3000:]}"
            time.sleep(POLL_SECONDS)
        return f"http://127.0.0.1:{port}"

    try:
        yield wait_for_url
    finally:
        stop_group(process)


def stop_group(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C to a process and its children, 15 s for all of them to end, then SIGKILL."""
    deadline = time.monotonic() + STOP_SECONDS
    try:
        os.killpg(process.pid, signal.SIGINT)
        while time.monotonic() < deadline:
            process.poll()  # or it stays in its group as a zombie
            os.killpg(process.pid, 0)
            time.sleep(POLL_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # nobody is left
        pass
    process.wait()


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def assert_nothing_runs(folder: Path) -> None:
    """No process is left that has the test's folder in its command or its environment. What is left is killed."""

    def processes() -> dict[int, str]:
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
            except OSError:  # it ended just now, or is somebody else's
                continue
            if os.fsencode(folder) in command + environment and int(place.name) != os.getpid():
                found[int(place.name)] = os.fsdecode(command.replace(b"\0", b" "))[:120]
        return found

    deadline = time.monotonic() + STOP_SECONDS
    while (left := processes()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left, f"still running after the browser and dagster dev were stopped: {left}"


@pytest.fixture(scope="module")
def pilot(ui: Ui) -> dg.DagsterRun:
    """The run that materialized bucket b000 of `generations`, launched by clicking."""
    page = ui.page
    page.open("/assets/generations?view=partitions")
    page.shows("b000", "b001", "Materialized (0)", "Missing (2)")
    page.click("//button[.='Materialize…']")
    page.find("//*[@role='dialog'][contains(., 'Launch runs to materialize generations')]")
    page.click("//*[.='Select a partition or create one' and not(*)]")
    filter_box = page.find("//input[@placeholder='Filter partitions']")
    filter_box.send_keys("b000")
    page.until("one partition in the list", lambda: "b001" not in [item.text for item in menu(page)])
    page.click("//*[@role='menuitem'][.//*[@title='b000']]")
    filter_box.send_keys(Keys.ESCAPE)
    page.find("//*[@role='dialog'][contains(., '1 partition')]")
    page.click("//button[.='Launch 1 run']")
    ends = ("Materialized (1)", "Failed (1)")
    page.until("an end of the run", lambda: any(end in page.text for end in ends), seconds=RUN_SECONDS)
    page.shows("Materialized (1)", "Missing (1)")
    runs = ui.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": "b000"}))
    assert len(runs) == 1
    return runs[0]


def menu(page: Page) -> list[WebElement]:
    return page.browser.find_elements(By.XPATH, "//*[@role='menuitem']")


def test_a_click_materializes_one_bucket_and_the_page_shows_it(ui: Ui, pilot: dg.DagsterRun) -> None:
    page = ui.page
    page.open("/assets/generations?view=partitions")
    page.shows("Materialized (1)", "Materializing (0)", "Missing (1)", "Failed (0)")
    page.click("//*[@title='b000']")
    page.find("//*[@data-tooltip='Materialized' and .='Materialized']")
    page.find(f"//a[.='{pilot.run_id[:8]}']")
    page.until("b000 green and b001 not", lambda: (dots := dots_of(page))["b000"] and not dots["b001"])
    page.picture("1-bucket-materialized")
    assert ui.instance.get_materialized_partitions(GENERATIONS) == {"b000"}
    assert [run.tags.get("dagster/partition") for run in ui.instance.get_runs()] == ["b000", None]
    rows = ui.corpus.store.open("generations", "b000").table().to_pylist()
    asked = {call["messages"][-1]["content"] for call in ui.replay.generation_calls}
    prompts = {row["prompt_id"]: row["prompt"] for row in ui.corpus.store.open("prompt_table").table().to_pylist()}
    assert asked == {prompts[row["prompt_id"]] for row in rows}
    assert len(asked) < len(prompts)


def dots_of(page: Page) -> dict[str, bool]:
    """Whether the dot at the end of a bucket's row is green: more green than red and blue."""
    colours = page.script(
        """const rows = [...document.querySelectorAll('[title^=b0]')].map(name => {
             let row = name;
             const dot = () => [...row.querySelectorAll('div')].find(e => getComputedStyle(e).borderRadius === '100%');
             while (row.parentElement && !dot()) row = row.parentElement;
             return [name.title, dot() ? getComputedStyle(dot()).backgroundColor : ''];
           });
           return Object.fromEntries(rows);"""
    )
    numbers = {bucket: [int(part) for part in colour[4:-1].split(",")] for bucket, colour in colours.items()}
    return {bucket: green > red and green > blue for bucket, (red, green, blue) in numbers.items()}


def test_the_chart_of_a_bucket_is_drawn(ui: Ui, pilot: dg.DagsterRun) -> None:
    page = ui.page
    page.open("/assets/generations?view=partitions&partition=b000")
    row = "//tr[td[1][.='finish_reasons']]"
    page.find(row)
    # Dagster shows Markdown below 1,000 characters in place, and the rest behind this link
    if page.browser.find_elements(By.XPATH, f"{row}//*[.='[Show Markdown]']"):
        page.click(f"{row}//a[.='[Show Markdown]']")
        row = "//*[@role='dialog'][contains(., 'finish_reasons')]"
    image = page.find(f"{row}//img[starts-with(@src, 'data:')][contains(@alt, 'finish reason')]")
    page.until(
        "a chart with a width: its data is an image that the browser can draw",
        lambda: page.script("return arguments[0].complete && arguments[0].naturalWidth", image),
    )
    page.picture("2-chart")


def test_a_failed_check_is_shown_with_its_figures(ui: Ui, pilot: dg.DagsterRun) -> None:
    page = ui.page
    page.open("/assets/generations?view=partitions")
    page.click("//a[@role='tab'][@title='Checks']")
    page.shows("conservation", "complete", "truncated")
    page.click("//*[@title='answered']")
    page.shows("This is a non-blocking asset check.")
    page.find("//*[.='Evaluation result']/following::*[@data-tooltip][1][.='Failed']")
    for figure, value in (("share", ui.share_without_answer), ("limit", ui.corpus.recipe.limits.max_failed)):
        page.find(f"//tr[td[1][.='{figure}']]/td[2][.='{value}']")
    expected = {"complete": "Succeeded", "conservation": "Succeeded", "answered": "Failed", "truncated": "Succeeded"}
    for check, verdict in expected.items():
        page.find(f"//*[.='{verdict}'][preceding-sibling::*[@title='{check}']]")
    page.picture("3-failed-check")


def test_the_graph_shows_every_asset_and_edge(ui: Ui) -> None:
    page = ui.page
    recipe = ui.corpus.recipe
    graph = build_defs(recipe, deployment(ui.corpus.settings(ui.replay.url), recipe.name)).resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    groups = {node.group_name for node in nodes}
    wanted = Counter([*(node.key.path[-1] for node in nodes), *groups])
    assert len(ASSETS) == 25
    page.browser.set_window_size(3000, 3000)  # what lies outside the window is not drawn
    page.open("/asset-groups")
    page.shows(f"Materialize all ({len(ASSETS)})…")
    page.until("a node for every group", lambda: Counter(groups) <= names_in_graph(page))
    ActionChains(page.browser).key_down(Keys.ALT).send_keys("e").key_up(Keys.ALT).perform()
    page.until(f"a node for each of {sorted(wanted)}", lambda: wanted <= names_in_graph(page))
    edges = sum(len(node.parent_keys) for node in nodes)
    page.until(f"{edges} edges", lambda: edges_in_graph(page) >= edges)
    page.picture("4-graph")


def names_in_graph(page: Page) -> Counter[str]:
    """The words in the nodes of the graph, each counted once per node."""
    return Counter(
        word
        for words in page.script(
            """return [...document.querySelectorAll('svg foreignObject')].map(node =>
                 [...new Set([...node.querySelectorAll('*')].filter(e => !e.children.length).map(e => e.textContent))]
               );"""
        )
        for word in words
    )


def edges_in_graph(page: Page) -> int:
    """The lines of the graph, without the heads of arrows."""
    return page.script(
        """return [...document.querySelectorAll('svg path')].filter(path =>
             path.closest('svg').querySelector('foreignObject')
             && !path.closest('marker, defs, foreignObject') && path.getTotalLength() > 0
           ).length;"""
    )


def test_lineage_leads_from_the_shards_to_the_seeds(ui: Ui) -> None:
    page = ui.page
    page.browser.set_window_size(3000, 3000)
    page.open("/assets/tokenized_shards?view=lineage&lineageScope=upstream&lineageDepth=20")
    chain = Counter(["tokenized_shards", "mixture", "deduplicated", "generations", "prompt_table", "seed_documents"])
    page.until(f"a node for each of {sorted(chain)}", lambda: chain <= names_in_graph(page))
    page.picture("6-lineage")
    page.open("/assets/seed_documents?view=lineage&lineageScope=downstream&lineageDepth=20")
    page.until("the way back", lambda: Counter(["tokenized_shards"]) <= names_in_graph(page))
    page.browser.set_window_size(1600, 1100)


def test_the_page_of_the_run_shows_success(ui: Ui, pilot: dg.DagsterRun) -> None:
    page = ui.page
    page.open("/assets/generations?view=partitions&partition=b000")
    page.click(f"//a[.='{pilot.run_id[:8]}']")
    page.until("the page of the run", lambda: f"/runs/{pilot.run_id}" in page.browser.current_url)
    page.find("//*[.='Success' and not(*)]", seconds=RUN_SECONDS)
    page.shows("partition: b000", "8 checks", "Succeeded (1)", "Errored (0)")
    page.picture("5-run")
    record = ui.instance.get_run_by_id(pilot.run_id)
    assert record is not None
    assert record.status == dg.DagsterRunStatus.SUCCESS


def test_a_backfill_is_launched_from_the_page_of_an_asset_and_watched(ui: Ui, pilot: dg.DagsterRun) -> None:
    """Last: it builds what the other tests look at being missing. What the first bucket has is not asked again."""
    page, before = ui.page, len(ui.replay.generation_calls)
    ui.replay.delay = 600.0  # no answer comes until it is told otherwise below
    page.open("/assets/generations?view=partitions")
    page.click("//button[.='Materialize…']")
    page.find("//*[@role='dialog'][contains(., 'Launch runs to materialize generations')]")
    page.click("//*[.='Select a partition or create one' and not(*)]")
    page.click("//*[@role='menuitem'][contains(., 'Select all')]")
    page.find("//input[@placeholder='Filter partitions']").send_keys(Keys.ESCAPE)
    page.find("//*[@role='dialog'][contains(., '2 partitions')]")
    page.click("//*[@role='dialog']//button[starts-with(., 'Launch')]")
    page.until("a backfill", lambda: ui.instance.get_backfills(), seconds=RUN_SECONDS)
    second = dg.RunsFilter(tags={"dagster/partition": "b001"})
    page.until("a run of the second bucket", lambda: ui.instance.get_runs(second), seconds=RUN_SECONDS)
    (run,) = ui.instance.get_runs(second)
    page.open(f"/runs/{run.run_id}")  # and nothing is pressed there: what follows comes by itself
    seen = lambda: page.text.count("ASSET_OBSERVATION")  # noqa: E731
    first = page.until("an observation on the page of the run", seen, seconds=RUN_SECONDS)
    page.until("the next one", lambda: seen() > first, seconds=RUN_SECONDS)
    page.picture("6-run-observed")
    page.open("/assets/generations?view=events")
    page.shows("documents_done", "documents_total")
    page.picture("7-asset-observed")
    ui.replay.delay = 0.0
    done = lambda: ui.instance.get_materialized_partitions(GENERATIONS) == {"b000", "b001"}  # noqa: E731
    page.until("the end of the backfill", done, seconds=3 * RUN_SECONDS)
    page.open("/assets/generations?view=partitions")
    page.shows("Materialized (2)", "Missing (0)")
    asked = [call["messages"][-1]["content"] for call in ui.replay.generation_calls[before:]]
    prompts = ui.corpus.store.open("prompt_table").table(["prompt"], bucket="b001").num_rows
    assert len(set(asked)) == prompts, "every prompt of the second bucket, and none of the first"
