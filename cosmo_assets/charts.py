"""Small charts as SVG text: what a stage shows in the UI and what the report is illustrated with.

Belongs here: geometry, colours, numbers in human form. Does not belong here: which figures are worth a chart.

Every chart is a function of its arguments alone, byte for byte. It stands on a white card, so that it reads the same in
a light and a dark page, and names its colours in a legend and its values in figures, so that no colour is needed to
read it. Colours: eight of Paul Tol's "muted" and "bright" schemes, at least 13 apart (CIE76) under simulated
protanopia, deuteranopia and tritanopia (Machado et al., 2009).
"""

import base64
import html
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_MARKDOWN_BYTES = 30_000
"""Largest chart that goes into an asset's metadata: every materialization stores its own copy of it."""
MAX_ROWS = 24
MAX_ATLAS_POINTS = 2_000
MAX_NAMES = 40
MAX_PANELS = 48
OTHER = "other"

_PALETTE = ("#4477AA", "#DDCC77", "#117733", "#CC6677", "#88CCEE", "#882255", "#44AA99", "#999933")
_GREY, _INK, _MUTED, _GRID = "#BBBBBB", "#1F2933", "#66717F", "#E3E7EC"
_STROKES = (("solid", ""), ("dashed", "5 3"), ("dotted", "1.5 2.5"))
_DARK = frozenset({"#4477AA", "#117733", "#882255"})
"""Colours on which white text reads better than black (WCAG contrast)."""

_WIDTH, _PAD, _ROW, _BAR = 640, 18, 24, 15
_NAME, _SMALL, _TITLE = 11, 12, 15
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
_Box = tuple[float, float, float, float]
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


def bars(title: str, items: Sequence[tuple[str, float]], *, unit: str = "") -> str:
    """Horizontal bars in the given order, labels on the left, values on the right; the first 24 items."""
    shown = items[:MAX_ROWS]
    values = [human(value, unit) for _, value in shown]
    left, right = _columns([label for label, _ in shown], values)
    scale = (right - left) / (max((value for _, value in shown), default=0) or 1)
    body = []
    for number, ((label, value), text) in enumerate(zip(shown, values, strict=True)):
        top, width = _top(number), max(0.0, value) * scale
        body += [
            _label(label, left, top),
            _rect(left, top, max(width, 1.0), _PALETTE[0], f"{label}: {text}"),
            _text(text, left + width + 6, top + 12, _INK),
        ]
    return _svg(title, _top(len(items[: MAX_ROWS + 1])), [*body, *_more(len(items), len(shown), left)])


def ranges(
    title: str, rows: Sequence[tuple[str, float, float, float, float]], names: tuple[str, str, str], *, unit: str = ""
) -> str:
    """Horizontal bars with an interval about each value and a mark beside it: (label, value, low, high, mark), none
    below 0; the first 24 rows. The legend has the names of value, interval and mark."""
    shown = rows[:MAX_ROWS]
    values = [f"{human(value, unit)} ({human(low, unit)} to {human(high, unit)})" for _, value, low, high, _ in shown]
    left, right = _columns([label for label, *_ in shown], values)
    scale = (right - left) / (max((max(row[1:]) for row in shown), default=0) or 1)
    legend, start = _legend(dict(zip(names, (_PALETTE[4], _INK, _PALETTE[3]), strict=True)))
    body = [legend]
    for number, ((label, value, low, high, mark), text) in enumerate(zip(shown, values, strict=True)):
        top, ends = _top(number) + start, (left + low * scale, left + high * scale)
        middle, caps = top + _BAR / 2, "".join(f"M{_n(x)} {_n(top + 4)}v7" for x in ends)
        body += [
            _label(label, left, top),
            _rect(left, top, max(value * scale, 1.0), _PALETTE[4], f"{label}: {text}"),
            f'<path d="M{_n(ends[0])} {_n(middle)}H{_n(ends[1])}{caps}" stroke="{_INK}" fill="none"/>',
            _rect(left + mark * scale - 1.5, top - 2, 3, _PALETTE[3], f"{names[2]}: {human(mark, unit)}", height=19),
            _text(text, right + 8, top + 12, _INK),
        ]
    bottom = _top(len(rows[: MAX_ROWS + 1])) + start
    return _svg(title, bottom, [*body, *_more(len(rows), len(shown), left, start)] if shown else [])


def forest(title: str, rows: Sequence[tuple[str, float, float, float]], sides: tuple[str, str]) -> str:
    """Differences with their intervals about a line at zero: (label, value, low, high); the first 24 rows. `sides` say
    what lies on the left of the line and on the right. An interval that holds 0 is grey."""
    shown = rows[:MAX_ROWS]
    values = [f"{value:+.3g} ({low:+.3g} to {high:+.3g})" for _, value, low, high in shown]
    left, right = _columns([label for label, *_ in shown], values, widest=250)
    least, most = min([0.0, *(low for _, _, low, _ in shown)]), max([0.0, *(high for *_, high in shown)])
    scale, start = (right - left) / ((most - least) or 1), 24

    def x(value: float) -> float:
        return left + (value - least) * scale

    zero, bottom = x(0), _top(len(shown)) + start
    names = (
        ("\N{LEFTWARDS ARROW} " + sides[0], _PAD, "start"),
        (sides[1] + " \N{RIGHTWARDS ARROW}", _WIDTH - _PAD, "end"),
    )
    body = [_text(_fit(name, 290), at, 52, _MUTED, anchor=anchor) for name, at, anchor in names]
    body.append(f'<path d="M{_n(zero)} {_top(0) + start - 4}V{bottom}" stroke="{_MUTED}" stroke-dasharray="3 3"/>')
    for number, ((label, value, low, high), text) in enumerate(zip(shown, values, strict=True)):
        top, colour = _top(number) + start, _GREY if low <= 0 <= high else _PALETTE[0]
        body += [
            _label(label, left, top, widest=250),
            _rect(x(low), top + 6, max(x(high) - x(low), 1.0), colour, f"{label}: {text}", height=3),
            _rect(x(value) - 4, top + 3.5, 8, colour, f"{label}: {text}", height=8, radius=4),
            _text(text, right + 8, top + 12, _INK),
        ]
    return _svg(title, bottom, [*body, *_more(len(rows), len(shown), left, start)] if shown else [])


def funnel(title: str, steps: Sequence[tuple[str, int]]) -> str:
    """What is left after each step, from top to bottom: centred bars, joined where they narrow, with the number that is
    left, its share of the first step's, and how many the step cost; the first 24 steps."""
    shown = steps[:MAX_ROWS]
    whole = max((value for _, value in shown), default=0) or 1
    before = [shown[0][1], *(value for _, value in shown[:-1])] if shown else []
    lost = [f"−{human(last - value)}" if value < last else "" for last, (_, value) in zip(before, shown, strict=True)]
    left_over = [f"{human(value)} · {human(value / whole, '%')}" for _, value in shown]
    left, right = _columns([label for label, _ in shown], [f"{a}  {b}" for a, b in zip(left_over, lost, strict=True)])
    column = right + 8 + max(map(_pixels, left_over), default=0) + 10
    middle, half = (left + right) / 2, (right - left) / 2 / whole
    body = []
    for number, (label, value) in enumerate(shown):
        top, reach = _top(number), max(value * half, 0.5)
        if number:
            upper, above = _top(number - 1) + _BAR, max(shown[number - 1][1] * half, 0.5)
            edges = f"H{_n(middle + above)}L{_n(middle + reach)} {top}H{_n(middle - reach)}Z"
            body.append(f'<path d="M{_n(middle - above)} {upper}{edges}" fill="{_GRID}"/>')
        note = f"{label}: {value:,} left"
        body += [_label(label, left, top), _rect(middle - reach, top, 2 * reach, _PALETTE[0], note, radius=0)]
        body += [_text(left_over[number], right + 8, top + 12, _INK), _text(lost[number], column, top + 12, _MUTED)]
    return _svg(title, _top(len(steps[: MAX_ROWS + 1])), [*body, *_more(len(steps), len(shown), left)])


def histogram(title: str, bins: Sequence[tuple[float, int]], *, unit: str = "") -> str:
    """Counts over a numeric axis. A bin is its left edge and its count; bins are as wide as the smallest gap between
    two edges, and those left out are empty."""
    height, left, floor = 250, 64, 206
    edges = sorted(edge for edge, _ in bins)
    gap = min((after - before for before, after in pairwise(edges) if after > before), default=1.0)
    low, high = (edges[0], edges[-1] + gap) if edges else (0.0, 1.0)
    peak = max((count for _, count in bins), default=0) or 1
    across, up = (_WIDTH - _PAD - left) / (high - low), (floor - 52) / peak
    body = []
    for tick in _ticks(0, peak, min(peak, 3)):
        y = floor - tick * up
        body.append(f'<path d="M{left} {_n(y)}H{_WIDTH - _PAD}" stroke="{_GRID}"/>')
        body.append(_text(human(tick), left - 8, y + 4, _MUTED, anchor="end"))
    for edge, count in bins:
        x, width = left + (edge - low) * across, min(max(gap * across - 1, 0.6), 60)
        note = f"{human(edge)} to {human(edge + gap, unit)}: {human(count)}"
        body.append(_rect(x, floor - count * up, width, _PALETTE[0], note, height=count * up, radius=0))
    body.append(f'<path d="M{left} {floor}H{_WIDTH - _PAD}" stroke="{_MUTED}"/>')
    ticks = _ticks(low, high, 6)
    body += [_text(human(tick), left + (tick - low) * across, floor + 18, _MUTED, anchor="middle") for tick in ticks]
    body.append(_text(unit, (left + _WIDTH - _PAD) / 2, floor + 34, _MUTED, anchor="middle"))
    return _svg(title, height, body if bins else [])


def histograms(title: str, items: Sequence[tuple[str, Sequence[tuple[float, int]]]]) -> str:
    """Small histograms side by side, each to its own scale: a name, and bins as in `histogram`, of equal width. Below
    each stand its two ends; one bin alone is a single value."""
    across, down, wide, high = 4, 74, 139, 34
    body = []
    for number, (name, bins) in enumerate(items):
        left, floor = _PAD + number % across * (wide + 16), 98 + number // across * down
        edges, counts = [edge for edge, _ in bins], [count for _, count in bins]
        end = edges[-1] + (edges[1] - edges[0] if len(edges) > 1 else 0) if edges else 0
        step, up = wide / max(len(bins), 1), high / (max(counts, default=0) or 1)
        path = "".join(f"V{_n(floor - count * up)}h{_n(step)}" for count in counts)
        body.append(_text(_fit(name, wide, _NAME), left, floor - high - 6, _INK, size=_NAME))
        body.append(f'<path d="M{left} {floor}{path}V{floor}z" fill="{_PALETTE[0]}"/>')
        body.append(_text(human(edges[0]) if edges else "none", left, floor + 13, _MUTED, size=_NAME))
        if len(edges) > 1:
            body.append(_text(human(end), left + wide, floor + 13, _MUTED, anchor="end", size=_NAME))
    return _svg(title, 98 + (len(items) - 1) // across * down + 16, body)


def stacked(title: str, rows: Sequence[tuple[str, Mapping[str, float]]], *, unit: str = "") -> str:
    """Horizontal bars made of parts, with a legend; the first 24 rows. Beyond eight parts, the smallest over all rows
    are drawn together as `other`."""
    shown = rows[:MAX_ROWS]
    totals: Counter[str] = Counter()
    for _, parts in shown:
        totals.update({name: value for name, value in parts.items() if value > 0})
    colour = _colours(totals, list(totals))
    sums = [sum(max(0.0, value) for value in parts.values()) for _, parts in shown]
    left, right = _columns([label for label, _ in shown], ["" if unit == "%" else human(total) for total in sums])
    scale = (right - left) / (max(sums, default=0) or 1)
    legend, start = _legend(colour)
    body = [legend]
    for number, ((label, parts), total) in enumerate(zip(shown, sums, strict=True)):
        top, x = _top(number) + start, float(left)
        merged: dict[str, float] = defaultdict(float)
        for name, value in parts.items():
            merged[name if name in colour else OTHER] += max(0.0, value)
        body.append(_label(label, left, top))
        for name in [name for name in colour if merged[name]]:
            width, text = merged[name] * scale, human(merged[name], unit)
            body.append(_rect(x, top, width, colour[name], f"{label}: {name} {text}", radius=0))
            if _pixels(text) + 8 <= width:
                ink = "#FFFFFF" if colour[name] in _DARK else _INK
                body.append(_text(text, x + width / 2, top + 11.5, ink, anchor="middle", size=11))
            x += width
        body.append("" if unit == "%" else _text(human(total), x + 6, top + 12, _INK))
    bottom = _top(len(rows[: MAX_ROWS + 1])) + start
    return _svg(title, bottom, [*body, *_more(len(rows), len(shown), left, start)] if shown else [])


def curve(
    title: str, points: Sequence[tuple[float, float]], marks: Sequence[tuple[str, float, float]], *, unit: str = ""
) -> str:
    """A line through points in the order of x, over a logarithmic axis, with up to seven marked places that the legend
    names, with x and y.

    Points and marks have x above 0; `unit` is that of x. y begins a little below the lowest. Where a mark's y would be
    written over another one, it is in the legend alone.
    """
    height, left, right = 280, 64, _WIDTH - _PAD - 12
    xs = [x for x, _ in points] + [x for _, x, _ in marks] or [1.0]
    ys = [y for _, y in points] + [y for _, _, y in marks] or [0.0]
    said = [f"{name}: {human(x)}, {y:.4g}" for name, x, y in marks]
    legend, start = _legend(dict(zip(said, _PALETTE[1:], strict=False)))
    top, floor = 56 + start, 226 + start
    low, high = math.log10(min(xs)), math.log10(max(xs))
    margin = 0.06 * (max(ys) - min(ys)) or 1.0
    base, peak = min(ys) - margin, max(ys) + margin

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / ((high - low) or 1)
        return left + across * (right - left), floor - (y - base) / (peak - base) * (floor - top)

    body = [legend]
    for tick in _ticks(base, peak, 4):
        y = at(min(xs), tick)[1]
        body.append(f'<path d="M{left} {_n(y)}H{right}" stroke="{_GRID}"/>')
        body.append(_text(f"{tick:.4g}", left - 8, y + 4, _MUTED, anchor="end"))
    body.append(f'<path d="M{left} {floor}H{right}" stroke="{_MUTED}"/>')
    steps = [factor * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for factor in (1, 2, 5)]
    shown = [tick for tick in steps if min(xs) <= tick <= max(xs)]
    whole = [tick for tick in shown if round(math.log10(tick), 9) % 1 == 0]
    ticks = shown if len(shown) <= 9 else whole
    body += [_text(human(tick), at(tick, base)[0], floor + 18, _MUTED, anchor="middle") for tick in ticks]
    body.append(_text(unit, (left + right) / 2, floor + 36, _MUTED, anchor="middle"))
    line = "L".join(f"{_n(x)} {_n(y)}" for x, y in (at(*point) for point in points))
    body.append(f'<path d="M{line}" fill="none" stroke="{_PALETTE[0]}" stroke-width="2"/>')
    taken: list[_Box] = []
    for (_, x, y), name, fill in zip(marks, said, _PALETTE[1:], strict=False):
        across, down = at(x, y)
        place = f'cx="{_n(across)}" cy="{_n(down)}" r="6" fill="{fill}" stroke="#FFFFFF" stroke-width="1.5"'
        body.append(f"<circle {place}><title>{_escape(name)}</title></circle>")
        half = _pixels(f"{y:.4g}") / 2
        box = (across - half, down - 22, across + half, down - 10)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            body.append(_text(f"{y:.4g}", across, down - 11, _INK, anchor="middle"))
    return _svg(title, height + start - 14, body if points else [])


def multiples(
    title: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Mapping[str, Sequence[tuple[float, float]]]]]],
    *,
    unit: str = "",
) -> str:
    """Small line charts in a grid: of each row its name, and for each of at most four columns up to three lines by
    name, through points in the order of x. Values are not below 0.

    A column has one scale from 0 to its largest value, and all have that of x, whose ends stand below in `unit`. The
    first 48 panels; lines differ in colour and stroke.
    """
    shown = rows[: MAX_PANELS // max(len(columns), 1)]
    panels = [panel for _, found in shown for panel in found]
    names = list(dict.fromkeys(name for panel in panels for name in panel))[: len(_STROKES)]
    strokes = dict(zip(names, zip(_PALETTE[::3], _STROKES, strict=False), strict=False))
    xs = [x for panel in panels for points in panel.values() for x, _ in points] or [0.0]
    tops = [
        max((y for _, found in shown for points in found[number].values() for _, y in points), default=0) or 1
        for number in range(len(columns))
    ]
    legend, start = _legend({f"{name} ({stroke[0]})": colour for name, (colour, stroke) in strokes.items()})
    wide, high, gap, down = 130, 48, 25, 106
    body = [legend]
    for number, (name, found) in enumerate(shown):
        above = 62 + start + down * number
        floor = above + high + 12
        body.append(_text(_fit(name, _WIDTH - 2 * _PAD), _PAD, above - 8, _INK, bold=True))
        for column, lines in enumerate(found):
            left, top = _PAD + column * (wide + gap), tops[column]
            body.append(_text(_fit(columns[column], wide - 40, _NAME), left, above + 7, _INK, size=_NAME))
            body.append(_text(human(top), left + wide, above + 7, _MUTED, anchor="end", size=_NAME))
            body.append(f'<path d="M{left} {floor - high}h{wide}M{left} {floor}h{wide}" stroke="{_GRID}"/>')
            for end, x, anchor in ((min(xs), left, "start"), (max(xs), left + wide, "end")):
                body.append(_text(human(end, unit), x, floor + 13, _MUTED, anchor=anchor, size=_NAME))
            for line, (colour, (_, dashes)) in strokes.items():
                points = [
                    (left + (x - min(xs)) / ((max(xs) - min(xs)) or 1) * wide, floor - y / top * high)
                    for x, y in lines.get(line, ())
                ]
                if points:
                    path = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
                    style = f' stroke-dasharray="{dashes}"' if dashes else ""
                    note = ", ".join(f"{human(x, unit)}: {human(y)}" for x, y in lines[line])
                    body.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"{style}>')
                    body.append(f"<title>{_escape(f'{line}, {note}')}</title></path>")
    bottom = 62 + start + down * len(shown) - 32
    if len(shown) < len(rows):
        body.append(_text(f"and {len(rows) - len(shown):,} more", _PAD, bottom + 10, _MUTED))
    return _svg(title, bottom + 6, body if shown else [])


@dataclass(frozen=True)
class Region:
    """A part of a map: its name, where that is best written, and its colour; grey without one."""

    name: str
    x: float
    y: float
    colour: str | None


def atlas(title: str, points: Sequence[tuple[float, float, int]], regions: Sequence[Region], note: str = "") -> str:
    """A map of points (x, y, number of the region) with the regions' names at their places.

    Of the points the first 2,000 are drawn. Names are written in the order of the regions, the most important first,
    at most 40: one that would cover another is moved a little or, where that does not help, left out. x and y share one
    scale.
    """
    points = points[:MAX_ATLAS_POINTS]
    top, height = 46, 500
    box = (float(_PAD), float(top), float(_WIDTH - _PAD), float(top + height))
    xs, ys = [x for x, _, _ in points] or [0.0], [y for _, y, _ in points] or [0.0]
    scale = min((_WIDTH - 2 * _PAD - 40) / ((max(xs) - min(xs)) or 1), (height - 36) / ((max(ys) - min(ys)) or 1))
    middle, centre = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2

    def at(x: float, y: float) -> tuple[float, float]:
        return _WIDTH / 2 + (x - middle) * scale, top + height / 2 - (y - centre) * scale

    dots: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for x, y, region in points:
        across, down = at(x, y)
        dots[regions[region].colour or _GREY].append((round(2 * across), round(2 * down)))
    frame = f'x="{_PAD}" y="{top}" width="{_WIDTH - 2 * _PAD}" height="{height}" rx="4"'
    # grey first, under the others; half pixels, and each dot relative to the one before: half the bytes
    marks = [
        f'<path d="{_steps(sorted(dots[colour]))}" stroke="{colour}"/>'
        for colour in sorted(dots, key=lambda colour: (colour != _GREY, colour))
    ]
    size = 6 if len(points) > 1000 else 8 if len(points) > 400 else 11
    group = f'<g fill="none" stroke-width="{size}" stroke-linecap="round" stroke-opacity=".7" transform="scale(.5)">'
    names = _names([(region, *at(region.x, region.y)) for region in regions], box)
    caption = [_text(_fit(note, _WIDTH - 2 * _PAD), _PAD, top + height + 18, _MUTED)] if note else []
    body = [f'<rect {frame} fill="none" stroke="{_GRID}"/>', f"{group}{''.join(marks)}</g>", names, *caption]
    return _svg(title, top + height + (14 if note else 0), body if points else [])


def colours_apart(places: Sequence[tuple[float, float]]) -> list[str]:
    """A colour for each place, such that equal colours are far from one another: a map of many regions needs no more
    than a few colours. Each place, in order, takes the colour whose nearest bearer is the farthest."""
    colours: list[str] = []
    for number, (x, y) in enumerate(places):
        gap = dict.fromkeys(_PALETTE, math.inf)
        for (other_x, other_y), colour in zip(places[:number], colours, strict=True):
            gap[colour] = min(gap[colour], round(math.hypot(x - other_x, y - other_y), 6))
        colours.append(max(_PALETTE, key=lambda colour: gap[colour]))
    return colours


def markdown(svg: str) -> str:
    """A chart as Markdown that Dagster's metadata shows, or, where that would be above 30 kB, a line that says so."""
    title, image = _image(svg)
    if len(image.encode("utf-8")) <= MAX_MARKDOWN_BYTES:
        return image
    return f"{title[:200]}: the chart is too large to be shown here, it is in the corpus report."


def fits_metadata(svg: str) -> bool:
    """Whether `markdown` shows the chart."""
    return len(_image(svg)[1].encode("utf-8")) <= MAX_MARKDOWN_BYTES


def _image(svg: str) -> tuple[str, str]:
    """The title of a chart, and the chart as an image in Markdown."""
    found = re.search(r"<title>(.*?)</title>", svg, re.DOTALL)
    title = re.sub(r"[\[\]\\`*_\s]+", " ", found.group(1)).strip() if found else "chart"
    return title, f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode('ascii')})"


def _svg(title: str, bottom: float, body: Iterable[str]) -> str:
    """The white card with its title. `bottom`: where the last row ends. Without a body, it says that it is empty."""
    parts = [part for part in body if part]
    if not parts:
        bottom, parts = 72, [_text("Nothing to show.", _PAD, 62, _MUTED)]
    height = _n(bottom + 14)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="{_FONT}" font-size="{_SMALL}">'
        f"<title>{_escape(title)}</title>"
        f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="#FFFFFF"/>'
        f"{_text(_fit(title, _WIDTH - 2 * _PAD, _TITLE), _PAD, 28, _INK, size=_TITLE, bold=True)}"
        f"{''.join(parts)}</svg>"
    )


def _colours(sizes: Mapping[str, float], order: Sequence[str]) -> dict[str, str]:
    """Colours of the largest eight names, in the given order, and grey for `other` where there are more."""
    largest = sorted(order, key=lambda name: -sizes[name])[: len(_PALETTE)]
    colour = dict(zip([name for name in order if name in set(largest)], _PALETTE, strict=False))
    return colour if len(order) == len(colour) else {**colour, OTHER: _GREY}


def _legend(colour: Mapping[str, str]) -> tuple[str, int]:
    """The legend under the title, in as many lines as it needs, and the height that it takes."""
    x, line, body = float(_PAD), 0, []
    for name, fill in colour.items():
        text = _fit(name, 200)
        if x > _PAD and x + 16 + _pixels(text) > _WIDTH - _PAD:
            x, line = float(_PAD), line + 1
        top = 42 + 20 * line
        body.append(f'<rect x="{_n(x)}" y="{top}" width="11" height="11" rx="2" fill="{fill}"/>')
        body.append(_text(text, x + 16, top + 10, _MUTED))
        x += 16 + _pixels(text) + 18
    return "".join(body), 20 * (line + 1) + 4


def _steps(dots: Sequence[tuple[int, int]]) -> str:
    """Dots as a path of lines without length."""
    parts, before = [], (0, 0)
    for x, y in dots:
        down = y - before[1]
        parts.append(f"m{x - before[0]}{'' if down < 0 else ' '}{down}h0")
        before = (x, y)
    return "".join(parts)


def _names(regions: Sequence[tuple[Region, float, float]], frame: _Box) -> str:
    """Names in one or two lines about their places (x, y), none over another."""
    taken: list[_Box] = []
    written: list[tuple[str, float, float]] = []
    body = []
    for region, x, y in regions:
        if len(written) == MAX_NAMES:
            break
        lines = _two_lines(region.name)
        if any(name == region.name and math.hypot(x - at_x, y - at_y) < 110 for name, at_x, at_y in written):
            continue  # a neighbour of the same name says it already
        width, height = 1.12 * max(_pixels(line, _NAME) for line in lines), 13.0 * len(lines)  # they are bold
        shifts = [(0.0, 0.0), *((0.0, step * side) for step in (9, 16, 24) for side in (-1, 1))]
        shifts += [(step * side, down) for step in (25, 45) for side in (-1, 1) for down in (0.0, -12.0, 12.0)]
        for across, down in shifts:
            left, above = x + across - width / 2, y + down - height / 2
            left = min(max(left, frame[0] + 4), frame[2] - 4 - width)
            above = min(max(above, frame[1] + 4), frame[3] - 4 - height)
            box = (left, above, left + width, above + height)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                written.append((region.name, x, y))
                fill = _INK if region.colour else _MUTED
                for number, line in enumerate(lines):
                    body.append(
                        _text(line, left + width / 2, above + 10.5 + 13 * number, fill, anchor="middle", size=11)
                    )
                break
    halo = '<g paint-order="stroke" stroke="#FFF" stroke-width="3" stroke-linejoin="round" font-weight="600">'
    return f"{halo}{''.join(body)}</g>"


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _two_lines(name: str) -> list[str]:
    """A name in one line or, where it is long, in two of about the same length."""
    words = name.split()
    if len(name) <= 16 or len(words) < 2:
        return [_fit(name, 140, _NAME)]
    cuts = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    first, second = min(cuts, key=lambda lines: max(map(len, lines)))
    return [_fit(first, 140, _NAME), _fit(second, 140, _NAME)]


def _columns(labels: Sequence[str], values: Sequence[str], *, widest: int = 210) -> tuple[int, int]:
    """Where bars begin and where the longest may end: the labels and the values need the rest."""
    left = _PAD + min(max(map(_pixels, labels), default=0), widest) + 10
    return math.ceil(left), math.floor(_WIDTH - _PAD - 8 - max(map(_pixels, values), default=0))


def _top(row: int) -> int:
    return 48 + _ROW * row


def _more(total: int, shown: int, left: float, start: int = 0) -> list[str]:
    if total == shown:
        return []
    return [_text(f"and {total - shown:,} more", left, _top(shown) + start + 12, _MUTED)]


def _label(text: str, right: float, top: float, *, widest: int = 210) -> str:
    return _text(_fit(text, widest), right - 10, top + 12, _INK, anchor="end")


def _rect(x: float, y: float, width: float, fill: str, note: str, *, height: float = _BAR, radius: float = 2) -> str:
    size = f'width="{_n(width)}" height="{_n(height)}"' + (f' rx="{radius}"' if radius else "")
    return f'<rect x="{_n(x)}" y="{_n(y)}" {size} fill="{fill}"><title>{_escape(note)}</title></rect>'


def _text(
    text: str, x: float, y: float, fill: str, *, anchor: str = "start", size: int = _SMALL, bold: bool = False
) -> str:
    style = "" if anchor == "start" else f' text-anchor="{anchor}"'
    style += "" if size == _SMALL else f' font-size="{size}"'
    style += ' font-weight="600"' if bold else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" fill="{fill}"{style}>{_escape(text)}</text>' if text else ""


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from `low` to `high`, about as many as wanted."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _pixels(text: str, size: int = _SMALL) -> float:
    """About how wide a text is drawn, erring on the wide side; East Asian letters are as wide as they are high."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return size * (wide + 0.58 * (len(text) - wide))


def _fit(text: str, pixels: float, size: int = _SMALL) -> str:
    """The text on one line, its end replaced with an ellipsis where it is too long."""
    text = " ".join(text.split())
    if _pixels(text, size) <= pixels:
        return text
    text = text[: int(pixels)]  # no letter is narrower than a pixel: a long text is not shortened letter by letter
    while text and _pixels(f"{text}…", size) > pixels:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _escape(text: str) -> str:
    """Text for SVG; characters that XML cannot hold are replaced."""
    return html.escape(text.translate(_REPLACED))


def _digits(value: float) -> str:
    if 0 < abs(value) < 0.005:
        return "<0.01"
    text = f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
