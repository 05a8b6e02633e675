"""The page of the lineage, served: a static page of thirty million documents would be too large for any browser.

Belongs here: the small HTTP server, its JSON answers, and when the index is opened anew. Does not belong here:
answering (`trace`), or how the page looks and behaves (`page/lineage.html.j2`, `page/lineage.css`, `page/lineage.js`).

It reads and never writes. It listens to this machine alone unless it is told another address, and then answers only
requests that were addressed to this machine, so that no foreign page can ask it through a browser. Texts of the corpus
come from anywhere: they leave as JSON, and the script writes them as text alone; a content security policy lets no
other script run.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jinja2
from markupsafe import Markup

from cosmo_assets.lineage.gather import FacetKey
from cosmo_assets.lineage.lookup import ID_KEYS
from cosmo_assets.lineage.show import found_values, selection_values, trace_values
from cosmo_assets.lineage.trace import Lineage
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore

FOLDER = Path(__file__).parent / "page"
LOCAL = ("127.0.0.1", "localhost", "::1")
BROWSED: tuple[FacetKey, ...] = ("source", "topic", "template", "audience", "format", "licence", "model")
"""What the page lists the values of."""

VALUES, PROMPTS = 300, 200
"""Values of a facet, and prompts of a seed, that are listed at most."""

INTERRUPTED_SECONDS = 0.5
SPANS = 50
MAX_BODY = 1 << 20
ASSETS = ("token_lineage", "tokenized_shards", "mixture")

Query = Mapping[str, str]


class LineageServer(ThreadingHTTPServer):
    """Serves one corpus. Every request is answered from the index that is current when it comes."""

    daemon_threads = True

    def __init__(self, store: CorpusStore, name: str, address: tuple[str, int]) -> None:
        self.name = name
        self.page = _page(name)
        self._store = store
        self._lock = threading.Lock()
        self._opened: tuple[tuple[str | None, ...], Lineage] | None = None
        super().__init__(address, _Handler)
        self.local = address[0] in LOCAL

    def wait(self) -> None:
        """Serve until the keyboard interrupts. It wakes in between: the system may give the signal to any thread, and a
        wait without an end sees only what the main thread is given."""
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(INTERRUPTED_SECONDS)

    @property
    def lineage(self) -> Lineage:
        """The lineage of the shards that are current now.

        Raises:
            CosmoError: there is none.
        """
        versions = tuple(self._store.current_version(asset) for asset in ASSETS)
        with self._lock:
            if self._opened is None or self._opened[0] != versions:
                self._opened = (versions, Lineage.open(self._store))
            return self._opened[1]


@contextmanager
def serve(store: CorpusStore, name: str, host: str, port: int) -> Iterator[LineageServer]:
    """A server of the page in a thread of its own, closed in the end.

    Raises:
        CosmoError: the index cannot be opened, or the address cannot be had.
    """
    Lineage.open(store)
    try:
        server = LineageServer(store, name, (host, port))
    except OSError as error:
        raise CosmoError(
            f"cannot listen at {host}:{port}: {error.strerror}", remedy="take another port with --port, or 0 for any"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def overview(lineage: Lineage, _: Query) -> dict[str, Any]:
    """The corpus, and what it is made of."""
    summary = lineage.lookup.dataset.manifest.summary
    figures = {name: summary[name] for name in ("tokens", "documents", "prompts", "seeds")}
    shards = lineage.lookup.shards.manifest.summary["shards"]
    return {"figures": figures, "shards": len(shards), "facets": {key: _values(lineage, key) for key in BROWSED}}


def traced(lineage: Lineage, query: Query) -> dict[str, Any]:
    """The chain behind a token or a document; `characters` is where the token stands in the document's text."""
    found = lineage.document(query["doc"]) if "doc" in query else lineage.token(query["shard"], int(query["token"]))
    return {**trace_values(found), "characters": lineage.characters(found)}


def asked(lineage: Lineage, query: Query) -> dict[str, Any]:
    """What a pasted text may mean: ids that begin so, or documents that hold it."""
    text = query["text"].strip()
    if 4 <= len(text) <= 32 and not set(text.lower()) - set("0123456789abcdef"):
        ids = {key: lineage.lookup.ids_beginning(key, text.lower(), 10) for key in ID_KEYS}
        if any(count for _, count in ids.values()):
            return {"ids": {key: {"names": names, "count": count} for key, (names, count) in ids.items()}}
    return {"found": found_values(lineage.text(text))}


def selected(lineage: Lineage, query: Query) -> dict[str, Any]:
    """Totals and spans of something, and, of facets, what it divides into."""
    start, keys = int(query.get("start", "0")), _keys(query)
    selection = lineage.tokens(keys)
    values = selection_values(keys, selection, start, SPANS)
    if not set(keys) & set(ID_KEYS):
        parts = {key: selection.tokens_by(key) for key in BROWSED if key not in keys}
        values["parts"] = {
            key: sorted(([value, tokens] for value, tokens in part.items()), key=lambda entry: -entry[1])[:VALUES]
            for key, part in parts.items()
        }
    return values


def seed(lineage: Lineage, query: Query) -> dict[str, Any]:
    """A seed with its prompts, and what each of them has made."""
    names, count = lineage.lookup.prompts_of_seed(query["id"], limit=PROMPTS)
    prompts = [
        {**lineage.lookup.of_prompt(name), **asdict(lineage.tokens({"prompt_id": name}).totals)} for name in names
    ]
    return {"row": _row(lineage, "seed_documents", query["id"]), "prompts": prompts, "count": count}


def prompt(lineage: Lineage, query: Query) -> dict[str, Any]:
    return {"row": _row(lineage, "prompt_table", query["id"])}


ANSWERS: dict[str, Callable[[Lineage, Query], dict[str, Any]]] = {
    "/api/overview": overview,
    "/api/trace": traced,
    "/api/ask": asked,
    "/api/tokens": selected,
    "/api/seed": seed,
    "/api/prompt": prompt,
}


class _Handler(BaseHTTPRequestHandler):
    server: LineageServer
    server_version, sys_version = "cosmo", ""

    def do_GET(self) -> None:
        if not self._for_us():
            return
        place = urlsplit(self.path)
        if place.path == "/":
            self._send(HTTPStatus.OK, self.server.page.encode("utf-8"), "text/html; charset=utf-8")
        else:
            self._answer(place.path, dict(parse_qsl(place.query, keep_blank_values=True)))

    def do_POST(self) -> None:
        """A question too long for an address; its parameters are a JSON object."""
        if not self._for_us():
            return
        size = int(self.headers.get("Content-Length") or 0)
        if self.headers.get_content_type() != "application/json" or size > MAX_BODY:
            self._json(HTTPStatus.BAD_REQUEST, {"error": "send at most 1 MiB of JSON", "remedy": ""})
            return
        try:
            query = {str(key): str(value) for key, value in json.loads(self.rfile.read(size)).items()}
        except (ValueError, AttributeError):
            self._json(HTTPStatus.BAD_REQUEST, {"error": "not a JSON object", "remedy": ""})
            return
        self._answer(urlsplit(self.path).path, query)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page asks often."""

    def _for_us(self) -> bool:
        """Whether the request was addressed to where this server listens."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if self.server.local and host not in LOCAL:
            self._json(HTTPStatus.FORBIDDEN, {"error": f"this is not {host}", "remedy": ""})
            return False
        return True

    def _answer(self, path: str, query: Query) -> None:
        answer = ANSWERS.get(path)
        if answer is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"there is no {path}", "remedy": ""})
            return
        try:
            self._json(HTTPStatus.OK, answer(self.server.lineage, query))
        except CosmoError as error:
            self._json(HTTPStatus.NOT_FOUND, {"error": error.message, "remedy": error.remedy})
        except (KeyError, ValueError) as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": f"a question without {error}", "remedy": ""})

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        with suppress(ConnectionError):  # who asked has gone on to something else
            self.end_headers()
            self.wfile.write(body)


def _values(lineage: Lineage, key: FacetKey) -> dict[str, Any]:
    found = lineage.lookup.facet(key)
    return {"count": len(found), "values": [{"value": value, **asdict(totals)} for value, totals in found[:VALUES]]}


def _keys(query: Query) -> dict[Any, str | None]:
    keys: dict[Any, str | None] = {key: value for key, value in query.items() if key not in ("start", "none")}
    return {**keys, **({query["none"]: None} if "none" in query else {})}


def _row(lineage: Lineage, asset: str, name: str) -> dict[str, Any]:
    row = lineage.row(asset, name)
    if row is None:
        raise CosmoError(f"{name} is not in the corpus", remedy="look for it by its first characters")
    return row


def _page(name: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER, encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script = (FOLDER / "lineage.js").read_text(encoding="utf-8")
    style = (FOLDER / "lineage.css").read_text(encoding="utf-8")
    return environment.get_template("lineage.html.j2").render(
        name=name,
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def _digest(text: str) -> str:
    """A digest as content security policies name it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"
