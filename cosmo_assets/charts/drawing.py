"""What all charts are drawn with: numbers in human form, colours, labels, the card that they stand on.

Belongs here: parts of a drawing. Does not belong here: a chart (the modules beside).

Every chart is a function of its arguments alone, byte for byte. It stands on a white card, so that it reads the same in
a light and a dark page, and names its colours in a legend and its values in figures, so that no colour is needed to
read it. Colours: eight of Paul Tol's "muted" and "bright" schemes, at least 13 apart (CIE76) under simulated
protanopia, deuteranopia and tritanopia (Machado et al., 2009).
"""

import html
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

MAX_ROWS = 24
OTHER = "other"

PALETTE = ("#4477AA", "#DDCC77", "#117733", "#CC6677", "#88CCEE", "#882255", "#44AA99", "#999933")
GREY, INK, MUTED, GRID = "#BBBBBB", "#1F2933", "#66717F", "#E3E7EC"
DARK = frozenset({"#4477AA", "#117733", "#882255"})
"""Colours on which white text reads better than black (WCAG contrast)."""

WIDTH, PAD, _ROW, BAR = 640, 18, 24, 15
NAME, _SMALL, _TITLE = 11, 12, 15
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
Box = tuple[float, float, float, float]
_NOT_IN_XML = [*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF]
_REPLACED = dict.fromkeys(_NOT_IN_XML, "\N{REPLACEMENT CHARACTER}")


def human(value: float, unit: str = "") -> str:
    """A number in three digits: 950, 1.23k, 3.4M, 25B. The unit `%` takes a share: 0.123 is 12.3%."""
    if unit == "%":
        return f"{_digits(100 * value)}%"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * limit:
            return f"{_digits(value / limit)}{suffix} {unit}".rstrip()
    return f"{_digits(value)} {unit}".rstrip()


def card(title: str, bottom: float, body: Iterable[str]) -> str:
    """The white card with its title. `bottom`: where the last row ends. Without a body, it says that it is empty."""
    parts = [part for part in body if part]
    if not parts:
        bottom, parts = 72, [written("Nothing to show.", PAD, 62, MUTED)]
    height = px(bottom + 14)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="{_FONT}" font-size="{_SMALL}">'
        f"<title>{escaped(title)}</title>"
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#FFFFFF"/>'
        f"{written(fitted(title, WIDTH - 2 * PAD, _TITLE), PAD, 28, INK, size=_TITLE, bold=True)}"
        f"{''.join(parts)}</svg>"
    )


def colours_of(sizes: Mapping[str, float], order: Sequence[str]) -> dict[str, str]:
    """Colours of the largest eight names, in the given order, and grey for `other` where there are more."""
    largest = sorted(order, key=lambda name: -sizes[name])[: len(PALETTE)]
    colour = dict(zip([name for name in order if name in set(largest)], PALETTE, strict=False))
    return colour if len(order) == len(colour) else {**colour, OTHER: GREY}


def legend_of(colour: Mapping[str, str]) -> tuple[str, int]:
    """The legend under the title, in as many lines as it needs, and the height that it takes."""
    x, line, body = float(PAD), 0, []
    for name, fill in colour.items():
        text = fitted(name, 200)
        if x > PAD and x + 16 + pixels_of(text) > WIDTH - PAD:
            x, line = float(PAD), line + 1
        top = 42 + 20 * line
        body.append(f'<rect x="{px(x)}" y="{top}" width="11" height="11" rx="2" fill="{fill}"/>')
        body.append(written(text, x + 16, top + 10, MUTED))
        x += 16 + pixels_of(text) + 18
    return "".join(body), 20 * (line + 1) + 4


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def columns_of(labels: Sequence[str], values: Sequence[str], *, widest: int = 210) -> tuple[int, int]:
    """Where bars begin and where the longest may end: the labels and the values need the rest."""
    left = PAD + min(max(map(pixels_of, labels), default=0), widest) + 10
    return math.ceil(left), math.floor(WIDTH - PAD - 8 - max(map(pixels_of, values), default=0))


def row_top(row: int) -> int:
    return 48 + _ROW * row


def more_rows(total: int, shown: int, left: float, start: int = 0) -> list[str]:
    if total == shown:
        return []
    return [written(f"and {total - shown:,} more", left, row_top(shown) + start + 12, MUTED)]


def row_label(text: str, right: float, top: float, *, widest: int = 210) -> str:
    return written(fitted(text, widest), right - 10, top + 12, INK, anchor="end")


def rect(x: float, y: float, width: float, fill: str, note: str, *, height: float = BAR, radius: float = 2) -> str:
    size = f'width="{px(width)}" height="{px(height)}"' + (f' rx="{radius}"' if radius else "")
    return f'<rect x="{px(x)}" y="{px(y)}" {size} fill="{fill}"><title>{escaped(note)}</title></rect>'


def written(
    text: str, x: float, y: float, fill: str, *, anchor: str = "start", size: int = _SMALL, bold: bool = False
) -> str:
    style = "" if anchor == "start" else f' text-anchor="{anchor}"'
    style += "" if size == _SMALL else f' font-size="{size}"'
    style += ' font-weight="600"' if bold else ""
    return f'<text x="{px(x)}" y="{px(y)}" fill="{fill}"{style}>{escaped(text)}</text>' if text else ""


def pixels_of(text: str, size: int = _SMALL) -> float:
    """About how wide a text is drawn, erring on the wide side; East Asian letters are as wide as they are high."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return size * (wide + 0.58 * (len(text) - wide))


def fitted(text: str, pixels: float, size: int = _SMALL) -> str:
    """The text on one line, its end replaced with an ellipsis where it is too long."""
    text = " ".join(text.split())
    if pixels_of(text, size) <= pixels:
        return text
    text = text[: int(pixels)]  # no letter is narrower than a pixel: a long text is not shortened letter by letter
    while text and pixels_of(f"{text}…", size) > pixels:
        text = text[:-1]
    return f"{text.rstrip()}…"


def escaped(text: str) -> str:
    """Text for SVG; characters that XML cannot hold are replaced."""
    return html.escape(text.translate(_REPLACED))


def _digits(value: float) -> str:
    if 0 < abs(value) < 0.005:
        return "<0.01"
    text = f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def px(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
