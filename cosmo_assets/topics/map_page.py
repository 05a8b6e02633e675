"""The page of the map: one self-contained HTML file that a person zooms, searches and reads seeds in.

Belongs here: what the page is given and how texts get into it safely. Does not belong here: which seeds are shown
(`mapping`), or how the page behaves (`page/map.js`, `page/map.css`).

Texts of seeds come from anywhere. They reach the page as JSON in a data block, in which no character can end the
block, and the script writes them as text alone, never as HTML; a content security policy lets no other script run and
nothing be fetched.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).parent / "page"
MAX_PAGE_BYTES = 3_000_000
CHARS = ((90, 240), (90, 160), (90, 80), (90, 0), (30, 0))
"""Lengths of titles and of the beginnings of texts, the first that keep the page below `MAX_PAGE_BYTES` are taken."""
GRID = 20_000
"""Coordinates are whole numbers from 0 to this: a twentieth of a pixel on a screen."""


@dataclass(frozen=True)
class Topic:
    """A cluster on the map: its label, how many of all seeds it has, why the policy excludes it or None."""

    cluster: int
    name: str
    score: float | None
    seeds: int
    excluded: str | None
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Document:
    """A seed on the map, between -1 and 1; `topic` is a position in the list of topics."""

    seed_id: str
    x: float
    y: float
    topic: int
    source: str
    title: str | None
    text: str


def page(name: str, topics: Sequence[Topic], documents: Sequence[Document], seeds: int) -> str:
    """The page as HTML text, a function of its arguments; `seeds` is how many there are in all. Titles and texts are
    cut, the more the larger the page would be: at most 3 MB for 10,000 seeds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER, encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script = (FOLDER / "map.js").read_text(encoding="utf-8")
    style = (FOLDER / "map.css").read_text(encoding="utf-8")
    template = environment.get_template("map.html.j2")
    html = ""
    for title, text in CHARS:
        data = _json(_data(name, topics, documents, seeds, title, text))
        html = template.render(
            name=name,
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            data=Markup(data),  # noqa: S704
            style_digest=_digest(style),
            script_digest=_digest(script),
        )
        if len(html.encode("utf-8")) <= MAX_PAGE_BYTES:
            break
    return html + "\n"


def _data(
    name: str, topics: Sequence[Topic], documents: Sequence[Document], seeds: int, title: int, text: int
) -> dict[str, Any]:
    sources = sorted({document.source for document in documents})
    return {
        "name": name,
        "seeds": seeds,
        "grid": GRID,
        "topics": [
            {
                "cluster": topic.cluster,
                "name": topic.name,
                "score": topic.score,
                "seeds": topic.seeds,
                "excluded": topic.excluded and topic.excluded.replace("_", " "),
                "x": _on_grid(topic.x),
                "y": _on_grid(topic.y),
                "colour": topic.colour,
            }
            for topic in topics
        ],
        "sources": sources,
        "x": [_on_grid(document.x) for document in documents],
        "y": [_on_grid(document.y) for document in documents],
        "topic": [document.topic for document in documents],
        "source": [sources.index(document.source) for document in documents],
        "id": [document.seed_id for document in documents],
        "title": [_title(document, title) for document in documents],
        "text": [_beginning(document, title, text) for document in documents],
    }


def _title(document: Document, chars: int) -> str:
    """The title, or the beginning of the text where there is none."""
    return cut(document.title or document.text, chars)


def _beginning(document: Document, shown: int, chars: int) -> str:
    """The beginning of the text, less what is shown as the title already."""
    text = " ".join(document.text[: 8 * (chars + shown) + 200].split())
    if not document.title:
        head = _title(document, shown).removesuffix("…").rstrip()
        rest = text[len(head) :].lstrip()
        return f"… {cut(rest, chars)}" if rest and chars else ""
    title = " ".join(document.title.split())
    return cut(text[len(title) :].lstrip(" .:-–—") if text.startswith(title) else text, chars)


def cut(text: str, chars: int) -> str:
    """The beginning of a text on one line, at most so many characters, cut at a word where there is one."""
    line = " ".join(text[: 8 * chars + 200].split())
    if len(line) <= chars:
        return line
    head = line[: max(chars - 2, 0)]
    return f"{head.rsplit(' ', 1)[0]} …" if chars > 1 else ""


def _on_grid(value: float) -> int:
    return round((value + 1) / 2 * GRID)


def _json(data: Any) -> str:
    """JSON in which no character means anything to HTML."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    """A digest as content security policies name it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"
