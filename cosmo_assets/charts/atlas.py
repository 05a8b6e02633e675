"""A map of points in named regions, as SVG text.

Belongs here: where names go, and colours of neighbours. Does not belong here: where points lie
(`cosmo_assets.topics.mapping`).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cosmo_assets.charts.drawing import (
    GREY,
    GRID,
    INK,
    MUTED,
    NAME,
    PAD,
    PALETTE,
    WIDTH,
    Box,
    card,
    fitted,
    overlap,
    pixels_of,
    written,
)

MAX_ATLAS_POINTS = 2_000
MAX_NAMES = 40


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
    box = (float(PAD), float(top), float(WIDTH - PAD), float(top + height))
    xs, ys = [x for x, _, _ in points] or [0.0], [y for _, y, _ in points] or [0.0]
    scale = min((WIDTH - 2 * PAD - 40) / ((max(xs) - min(xs)) or 1), (height - 36) / ((max(ys) - min(ys)) or 1))
    middle, centre = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2

    def at(x: float, y: float) -> tuple[float, float]:
        return WIDTH / 2 + (x - middle) * scale, top + height / 2 - (y - centre) * scale

    dots: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for x, y, region in points:
        across, down = at(x, y)
        dots[regions[region].colour or GREY].append((round(2 * across), round(2 * down)))
    frame = f'x="{PAD}" y="{top}" width="{WIDTH - 2 * PAD}" height="{height}" rx="4"'
    # grey first, under the others; half pixels, and each dot relative to the one before: half the bytes
    marks = [
        f'<path d="{_steps(sorted(dots[colour]))}" stroke="{colour}"/>'
        for colour in sorted(dots, key=lambda colour: (colour != GREY, colour))
    ]
    size = 6 if len(points) > 1000 else 8 if len(points) > 400 else 11
    group = f'<g fill="none" stroke-width="{size}" stroke-linecap="round" stroke-opacity=".7" transform="scale(.5)">'
    names = _names([(region, *at(region.x, region.y)) for region in regions], box)
    caption = [written(fitted(note, WIDTH - 2 * PAD), PAD, top + height + 18, MUTED)] if note else []
    body = [f'<rect {frame} fill="none" stroke="{GRID}"/>', f"{group}{''.join(marks)}</g>", names, *caption]
    return card(title, top + height + (14 if note else 0), body if points else [])


def colours_apart(places: Sequence[tuple[float, float]]) -> list[str]:
    """A colour for each place, such that equal colours are far from one another: a map of many regions needs no more
    than a few colours. Each place, in order, takes the colour whose nearest bearer is the farthest."""
    colours: list[str] = []
    for number, (x, y) in enumerate(places):
        gap = dict.fromkeys(PALETTE, math.inf)
        for (other_x, other_y), colour in zip(places[:number], colours, strict=True):
            gap[colour] = min(gap[colour], round(math.hypot(x - other_x, y - other_y), 6))
        colours.append(max(PALETTE, key=lambda colour: gap[colour]))
    return colours


def _steps(dots: Sequence[tuple[int, int]]) -> str:
    """Dots as a path of lines without length."""
    parts, before = [], (0, 0)
    for x, y in dots:
        down = y - before[1]
        parts.append(f"m{x - before[0]}{'' if down < 0 else ' '}{down}h0")
        before = (x, y)
    return "".join(parts)


def _names(regions: Sequence[tuple[Region, float, float]], frame: Box) -> str:
    """Names in one or two lines about their places (x, y), none over another."""
    taken: list[Box] = []
    named: list[tuple[str, float, float]] = []
    body = []
    for region, x, y in regions:
        if len(named) == MAX_NAMES:
            break
        lines = _two_lines(region.name)
        if any(name == region.name and math.hypot(x - at_x, y - at_y) < 110 for name, at_x, at_y in named):
            continue  # a neighbour of the same name says it already
        width, height = 1.12 * max(pixels_of(line, NAME) for line in lines), 13.0 * len(lines)  # they are bold
        shifts = [(0.0, 0.0), *((0.0, step * side) for step in (9, 16, 24) for side in (-1, 1))]
        shifts += [(step * side, down) for step in (25, 45) for side in (-1, 1) for down in (0.0, -12.0, 12.0)]
        for across, down in shifts:
            left, above = x + across - width / 2, y + down - height / 2
            left = min(max(left, frame[0] + 4), frame[2] - 4 - width)
            above = min(max(above, frame[1] + 4), frame[3] - 4 - height)
            box = (left, above, left + width, above + height)
            if not any(overlap(box, other) for other in taken):
                taken.append(box)
                named.append((region.name, x, y))
                fill = INK if region.colour else MUTED
                for number, line in enumerate(lines):
                    body.append(
                        written(line, left + width / 2, above + 10.5 + 13 * number, fill, anchor="middle", size=11)
                    )
                break
    halo = '<g paint-order="stroke" stroke="#FFF" stroke-width="3" stroke-linejoin="round" font-weight="600">'
    return f"{halo}{''.join(body)}</g>"


def _two_lines(name: str) -> list[str]:
    """A name in one line or, where it is long, in two of about the same length."""
    words = name.split()
    if len(name) <= 16 or len(words) < 2:
        return [fitted(name, 140, NAME)]
    cuts = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    first, second = min(cuts, key=lambda lines: max(map(len, lines)))
    return [fitted(first, 140, NAME), fitted(second, 140, NAME)]
