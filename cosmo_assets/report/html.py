"""Writing the report as HTML: the page's template, and how numbers, shares and untrusted texts look in it.

Belongs here: everything that knows HTML. Does not belong here: which figures the report holds (`report`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

TEMPLATE = "report.html.j2"

_CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")


class Share(float):
    """A number between 0 and 1 that is shown in percent."""


class Money(float):
    """A number that is shown with two decimals."""


@dataclass(frozen=True)
class Table:
    """A table of the report; None is a dash. Rows beyond the first `shown` are folded away."""

    headers: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    shown: int = 25

    @property
    def numeric(self) -> set[int]:
        """The columns of numbers, which stand on the right."""
        columns = [{type(row[column]) for row in self.rows} - {type(None)} for column in range(len(self.headers))]
        return {column for column, kinds in enumerate(columns) if kinds and kinds <= {int, float, Share, Money}}


def page(content: Mapping[str, Any], charts: Mapping[str, Iterable[str]]) -> str:
    """The report as one self-contained HTML text.

    Every text of `content` is escaped. `charts` holds SVG from `cosmo_assets.charts`, which escapes its own texts: it
    is the only thing that enters the page as it is.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "marked": marked, "excerpt": excerpt}
    drawn = {section: [Markup(svg) for svg in svgs] for section, svgs in charts.items()}  # noqa: S704
    return environment.get_template(TEMPLATE).render(**content, charts=drawn) + "\n"


def figure(value: object) -> str:
    """A cell of a table: numbers with thousands separators and at most three decimals, shares in percent, money with
    two."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, Share):
        return f"{100 * value:.1f}%"
    if isinstance(value, Money):
        return f"{value:,.2f}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def marked(pieces: Iterable[Sequence[Any]]) -> Markup:
    """A text that is cut into (piece, whether it is set off)."""
    shown = (Markup("<mark>{}</mark>").format(_clean(text)) if off else escape(_clean(text)) for text, off in pieces)
    return Markup("").join(shown)


def excerpt(text: str, length: int) -> str:
    """The beginning of a text on one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length].rsplit(' ', 1)[0]} …"


def _printable(value: object) -> object:
    """What an expression of the template may print: control characters, which HTML cannot hold, are replaced."""
    return _clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clean(text: str) -> str:
    return text.translate(_CONTROLS)
