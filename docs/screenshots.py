"""The pictures of README and docs, taken from the state that `make demo` left: `make screenshots`.

Belongs here: which pages are pictured, and how they are brought to show something. Does not belong here: testing the UI
(`tests/ui`).

Needs chromium and chromedriver on PATH. Reads COSMO_DATA and COSMO_STATE (default: .cosmo/data and .cosmo/state), and
writes docs/images/*.png.
"""

import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from cosmo_assets.build import assets_of, name_of
from cosmo_assets.lineage.server import serve
from cosmo_assets.recipe.recipe import load_recipe
from cosmo_resources.deployments import settings
from cosmo_resources.storage.store import CorpusStore

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
GRAPH, PAGE, REPORT, MAP, LINEAGE = (3000, 2600), (1600, 1000), (1300, 1000), (1400, 880), (1300, 960)
"""Sizes of the page, in pixels. The graph needs the largest: its names are to be read."""
MAX_BYTES = 390_000
MARGIN = 24
START_SECONDS = 180
PAGE_SECONDS = 60
SETTLE_SECONDS = 3.0
"""A page that has looked the same for so long is finished: before, it fades, slides, and asks for more."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


def main() -> int:
    """Take every picture.

    Returns: 1 where the demo is not there or the browser is not.
    """
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(ROOT),
        "COSMO_RECIPE": "demo",
        "COSMO_DATA": str(Path(os.environ.get("COSMO_DATA") or ROOT / ".cosmo" / "data").absolute()),
        "COSMO_STATE": str(Path(os.environ.get("COSMO_STATE") or ROOT / ".cosmo" / "state").absolute()),
    }
    recipe = load_recipe("demo")
    report = CorpusStore(settings(environment).data / recipe.name).current("corpus_report")
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if report is None or missing:
        print("first: make demo" if report is None else f"not on PATH: {', '.join(missing)}", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cosmo-screenshots-") as work, browser(Path(work) / "profile") as chrome:
        picture_report(chrome, report.folder / "report.html")
        picture_map(chrome, report.folder / "map.html")
        picture_lineage(chrome, CorpusStore(settings(environment).data / recipe.name), recipe.name)
        with webserver(environment, Path(work) / "webserver.log") as url:
            picture_graph(chrome, url)
            picture_asset(chrome, url)
            picture_checks(chrome, url)
    return 0


def picture_lineage(chrome: webdriver.Chrome, store: CorpusStore, name: str) -> None:
    """The chain behind a token."""
    resize(chrome, LINEAGE)
    with serve(store, name, "127.0.0.1", 0) as server:
        chrome.get(f"http://127.0.0.1:{server.server_port}/#/token/0/1000")
        until("the chain", lambda: len(chrome.find_elements(By.CSS_SELECTOR, ".chain .card")) == 4)
        settle(chrome)
        save(chrome, "lineage")


def picture_graph(chrome: webdriver.Chrome, url: str) -> None:
    """The asset graph with every group open."""
    resize(chrome, GRAPH)
    chrome.get(f"{url}/asset-groups")
    until("the graph's groups", lambda: "report" in words_in_graph(chrome))
    click(chrome, "//*[.='Hide navigation' and not(*)]")
    settle(chrome)
    for wish in ("Change graph to vertical orientation", "Expand all groups"):
        item = f"//*[@role='menuitem'][contains(., '{wish}')]"
        if not chrome.find_elements(By.XPATH, item):  # the menu may still be open
            click(chrome, "(//button[contains(@class, 'SVGViewport')])[last()]/preceding::button[2]")
        click(chrome, item)
        settle(chrome)
    chrome.refresh()  # what is open is remembered, and the whole of it is brought into view
    assets = {name_of(asset) for asset in assets_of(load_recipe("demo"))}
    until("every asset in the graph", lambda: assets <= words_in_graph(chrome))
    settle(chrome)
    left, top, right, bottom = chrome.execute_script(
        """let controls = document.querySelector('button[class*=SVGViewport]');
           const graph = element => element.querySelector('svg foreignObject');
           while (!graph(controls.parentElement)) controls = controls.parentElement;
           controls.style.display = 'none';
           const boxes = [...document.querySelectorAll('svg foreignObject')].map(node => node.getBoundingClientRect());
           const least = side => Math.min(...boxes.map(box => box[side]));
           const most = side => Math.max(...boxes.map(box => box[side]));
           return [least('left'), least('top'), most('right'), most('bottom')];"""
    )
    save(chrome, "graph", (int(left) - MARGIN, int(top) - MARGIN, int(right) + MARGIN, int(bottom) + MARGIN))


def picture_asset(chrome: webdriver.Chrome, url: str) -> None:
    """The page of an asset, with the chart that it opens from its metadata."""
    resize(chrome, PAGE)
    chrome.get(f"{url}/assets/seed_documents?view=overview")
    row = "//tr[td[1][.='funnel']]"
    until("the chart's row", lambda: chrome.find_elements(By.XPATH, row))
    click(chrome, f"{row}//a[.='[Show Markdown]']")
    chart = "//*[@role='dialog']//img[starts-with(@src, 'data:')]"
    until("the chart", lambda: chrome.find_elements(By.XPATH, chart))
    settle(chrome)
    save(chrome, "asset")


def picture_checks(chrome: webdriver.Chrome, url: str) -> None:
    """The checks of an asset, with one that compares it with what it was."""
    resize(chrome, PAGE)
    chrome.get(f"{url}/assets/generation_quality?view=checks")
    click(chrome, "//*[.='opener_drift' and not(*)]")
    until("the check", lambda: "compared with" in body(chrome))
    settle(chrome)
    save(chrome, "checks")


def picture_report(chrome: webdriver.Chrome, page: Path) -> None:
    """The beginning of the report."""
    resize(chrome, REPORT)
    chrome.get(page.as_uri())
    settle(chrome)
    save(chrome, "report")


def picture_map(chrome: webdriver.Chrome, page: Path) -> None:
    """The map of the seeds, with one of the largest topic under the pointer."""
    resize(chrome, MAP)
    chrome.get(page.as_uri())
    settle(chrome)
    across, down = chrome.execute_script(
        """const far = i => Math.hypot(X[i] - places[0][0], Y[i] - places[0][1]);
           const i = inTopic[0].reduce((best, i) => (far(i) < far(best) ? i : best));
           return [acrossOf(i) - width / 2, downOf(i) - height / 2];"""
    )
    canvas = chrome.find_element(By.ID, "map")
    ActionChains(chrome).move_to_element_with_offset(canvas, round(across), round(down)).perform()
    settle(chrome)
    save(chrome, "map")


def resize(chrome: webdriver.Chrome, size: tuple[int, int]) -> None:
    """Give the page exactly this size: a window's size has the browser's own bars in it."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def body(chrome: webdriver.Chrome) -> str:
    return chrome.find_element(By.TAG_NAME, "body").text


def words_in_graph(chrome: webdriver.Chrome) -> set[str]:
    """The texts of the graph's nodes and groups."""
    words: list[str] = chrome.execute_script(
        """return [...document.querySelectorAll('svg foreignObject *')]
             .filter(element => !element.children.length).map(element => element.textContent);"""
    )
    return set(words)


def click(chrome: webdriver.Chrome, xpath: str) -> None:
    def clicked() -> bool:
        for element in chrome.find_elements(By.XPATH, xpath):
            if element.is_displayed():
                element.click()
                return True
        return False

    until(f"an element to click, {xpath}", clicked)


def until(what: str, condition: Callable[[], Any], *, seconds: float = PAGE_SECONDS) -> Any:
    """Wait until a condition is true. Elements may be replaced or lie under others for a moment: it is tried again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except (StaleElementReferenceException, WebDriverException) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no sign of {what} within {seconds:g} s") from error
        if time.monotonic() > deadline:
            raise TimeoutError(f"no sign of {what} within {seconds:g} s")
        time.sleep(0.2)


def settle(chrome: webdriver.Chrome) -> None:
    deadline = time.monotonic() + PAGE_SECONDS
    before, now = b"", chrome.get_screenshot_as_png()
    while before != now and time.monotonic() < deadline:
        time.sleep(SETTLE_SECONDS)
        before, now = now, chrome.get_screenshot_as_png()


def save(chrome: webdriver.Chrome, name: str, box: tuple[int, int, int, int] | None = None) -> None:
    """Write the page, or a part of it (left, top, right, bottom), as a PNG of at most `MAX_BYTES`: scaled down where it
    would be larger."""
    image = Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB").crop(box)
    image = image.quantize(256, dither=Image.Dither.NONE)  # few colours: a third of the bytes
    path = IMAGES / f"{name}.png"
    image.save(path, optimize=True)
    while path.stat().st_size > MAX_BYTES:
        smaller = (image.width * 9 // 10, image.height * 9 // 10)
        image = image.convert("RGB").resize(smaller, Image.Resampling.LANCZOS).quantize(256, dither=Image.Dither.NONE)
        image.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {image.width}x{image.height}, {path.stat().st_size // 1000} kB")


@contextmanager
def webserver(environment: dict[str, str], log: Path) -> Iterator[str]:
    """Dagster's web server on a free port: its address. It gets a process group of its own, which is stopped whole."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster_webserver", "--workspace", str(ROOT / "workspace.yaml")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    try:

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"it ended: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
            return answers(port)

        until("Dagster's web server", ready, seconds=START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
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


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        chrome.set_page_load_timeout(PAGE_SECONDS)
        yield chrome
    finally:
        chrome.quit()


if __name__ == "__main__":
    sys.exit(main())
