"""Charts over an axis of numbers: histograms, curves, small multiples of curves; SVG text.

Belongs here: axes and what is drawn over them. Does not belong here: which figures are worth a chart.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cosmo_assets.charts.drawing import (
    GRID,
    INK,
    MUTED,
    NAME,
    PAD,
    PALETTE,
    WIDTH,
    Box,
    card,
    escaped,
    fitted,
    human,
    legend_of,
    overlap,
    pixels_of,
    px,
    rect,
    written,
)

MAX_PANELS = 48
_STROKES = (("solid", ""), ("dashed", "5 3"), ("dotted", "1.5 2.5"))


def histogram(title: str, bins: Sequence[tuple[float, int]], *, unit: str = "") -> str:
    """Counts over a numeric axis. A bin is its left edge and its count; bins are as wide as the smallest gap between
    two edges, and those left out are empty."""
    height, left, floor = 250, 64, 206
    edges = sorted(edge for edge, _ in bins)
    gap = min((after - before for before, after in pairwise(edges) if after > before), default=1.0)
    low, high = (edges[0], edges[-1] + gap) if edges else (0.0, 1.0)
    peak = max((count for _, count in bins), default=0) or 1
    across, up = (WIDTH - PAD - left) / (high - low), (floor - 52) / peak
    body = []
    for tick in _ticks(0, peak, min(peak, 3)):
        y = floor - tick * up
        body.append(f'<path d="M{left} {px(y)}H{WIDTH - PAD}" stroke="{GRID}"/>')
        body.append(written(human(tick), left - 8, y + 4, MUTED, anchor="end"))
    for edge, count in bins:
        x, width = left + (edge - low) * across, min(max(gap * across - 1, 0.6), 60)
        note = f"{human(edge)} to {human(edge + gap, unit)}: {human(count)}"
        body.append(rect(x, floor - count * up, width, PALETTE[0], note, height=count * up, radius=0))
    body.append(f'<path d="M{left} {floor}H{WIDTH - PAD}" stroke="{MUTED}"/>')
    ticks = _ticks(low, high, 6)
    body += [written(human(tick), left + (tick - low) * across, floor + 18, MUTED, anchor="middle") for tick in ticks]
    body.append(written(unit, (left + WIDTH - PAD) / 2, floor + 34, MUTED, anchor="middle"))
    return card(title, height, body if bins else [])


def histograms(title: str, items: Sequence[tuple[str, Sequence[tuple[float, int]]]]) -> str:
    """Small histograms side by side, each to its own scale: a name, and bins as in `histogram`, of equal width. Below
    each stand its two ends; one bin alone is a single value."""
    across, down, wide, high = 4, 74, 139, 34
    body = []
    for number, (name, bins) in enumerate(items):
        left, floor = PAD + number % across * (wide + 16), 98 + number // across * down
        edges, counts = [edge for edge, _ in bins], [count for _, count in bins]
        end = edges[-1] + (edges[1] - edges[0] if len(edges) > 1 else 0) if edges else 0
        step, up = wide / max(len(bins), 1), high / (max(counts, default=0) or 1)
        path = "".join(f"V{px(floor - count * up)}h{px(step)}" for count in counts)
        body.append(written(fitted(name, wide, NAME), left, floor - high - 6, INK, size=NAME))
        body.append(f'<path d="M{left} {floor}{path}V{floor}z" fill="{PALETTE[0]}"/>')
        body.append(written(human(edges[0]) if edges else "none", left, floor + 13, MUTED, size=NAME))
        if len(edges) > 1:
            body.append(written(human(end), left + wide, floor + 13, MUTED, anchor="end", size=NAME))
    return card(title, 98 + (len(items) - 1) // across * down + 16, body)


def curve(
    title: str, points: Sequence[tuple[float, float]], marks: Sequence[tuple[str, float, float]], *, unit: str = ""
) -> str:
    """A line through points in the order of x, over a logarithmic axis, with up to seven marked places that the legend
    names, with x and y.

    Points and marks have x above 0; `unit` is that of x. y begins a little below the lowest. Where a mark's y would be
    written over another one, it is in the legend alone.
    """
    height, left, right = 280, 64, WIDTH - PAD - 12
    xs = [x for x, _ in points] + [x for _, x, _ in marks] or [1.0]
    ys = [y for _, y in points] + [y for _, _, y in marks] or [0.0]
    said = [f"{name}: {human(x)}, {y:.4g}" for name, x, y in marks]
    legend, start = legend_of(dict(zip(said, PALETTE[1:], strict=False)))
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
        body.append(f'<path d="M{left} {px(y)}H{right}" stroke="{GRID}"/>')
        body.append(written(f"{tick:.4g}", left - 8, y + 4, MUTED, anchor="end"))
    body.append(f'<path d="M{left} {floor}H{right}" stroke="{MUTED}"/>')
    steps = [factor * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for factor in (1, 2, 5)]
    shown = [tick for tick in steps if min(xs) <= tick <= max(xs)]
    whole = [tick for tick in shown if round(math.log10(tick), 9) % 1 == 0]
    ticks = shown if len(shown) <= 9 else whole
    body += [written(human(tick), at(tick, base)[0], floor + 18, MUTED, anchor="middle") for tick in ticks]
    body.append(written(unit, (left + right) / 2, floor + 36, MUTED, anchor="middle"))
    line = "L".join(f"{px(x)} {px(y)}" for x, y in (at(*point) for point in points))
    body.append(f'<path d="M{line}" fill="none" stroke="{PALETTE[0]}" stroke-width="2"/>')
    taken: list[Box] = []
    for (_, x, y), name, fill in zip(marks, said, PALETTE[1:], strict=False):
        across, down = at(x, y)
        place = f'cx="{px(across)}" cy="{px(down)}" r="6" fill="{fill}" stroke="#FFFFFF" stroke-width="1.5"'
        body.append(f"<circle {place}><title>{escaped(name)}</title></circle>")
        half = pixels_of(f"{y:.4g}") / 2
        box = (across - half, down - 22, across + half, down - 10)
        if not any(overlap(box, other) for other in taken):
            taken.append(box)
            body.append(written(f"{y:.4g}", across, down - 11, INK, anchor="middle"))
    return card(title, height + start - 14, body if points else [])


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
    strokes = dict(zip(names, zip(PALETTE[::3], _STROKES, strict=False), strict=False))
    xs = [x for panel in panels for points in panel.values() for x, _ in points] or [0.0]
    tops = [
        max((y for _, found in shown for points in found[number].values() for _, y in points), default=0) or 1
        for number in range(len(columns))
    ]
    legend, start = legend_of({f"{name} ({stroke[0]})": colour for name, (colour, stroke) in strokes.items()})
    wide, high, gap, down = 130, 48, 25, 106
    body = [legend]
    for number, (name, found) in enumerate(shown):
        above = 62 + start + down * number
        floor = above + high + 12
        body.append(written(fitted(name, WIDTH - 2 * PAD), PAD, above - 8, INK, bold=True))
        for column, lines in enumerate(found):
            left, top = PAD + column * (wide + gap), tops[column]
            body.append(written(fitted(columns[column], wide - 40, NAME), left, above + 7, INK, size=NAME))
            body.append(written(human(top), left + wide, above + 7, MUTED, anchor="end", size=NAME))
            body.append(f'<path d="M{left} {floor - high}h{wide}M{left} {floor}h{wide}" stroke="{GRID}"/>')
            for end, x, anchor in ((min(xs), left, "start"), (max(xs), left + wide, "end")):
                body.append(written(human(end, unit), x, floor + 13, MUTED, anchor=anchor, size=NAME))
            for line, (colour, (_, dashes)) in strokes.items():
                points = [
                    (left + (x - min(xs)) / ((max(xs) - min(xs)) or 1) * wide, floor - y / top * high)
                    for x, y in lines.get(line, ())
                ]
                if points:
                    path = "L".join(f"{px(x)} {px(y)}" for x, y in points)
                    style = f' stroke-dasharray="{dashes}"' if dashes else ""
                    note = ", ".join(f"{human(x, unit)}: {human(y)}" for x, y in lines[line])
                    body.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8"{style}>')
                    body.append(f"<title>{escaped(f'{line}, {note}')}</title></path>")
    bottom = 62 + start + down * len(shown) - 32
    if len(shown) < len(rows):
        body.append(written(f"and {len(rows) - len(shown):,} more", PAD, bottom + 10, MUTED))
    return card(title, bottom + 6, body if shown else [])


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from `low` to `high`, about as many as wanted."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
