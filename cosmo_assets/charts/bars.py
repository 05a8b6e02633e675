"""Charts of rows: bars, bars with intervals, differences, a funnel, parts of a whole; SVG text.

Belongs here: one bar or mark for each row. Does not belong here: which figures are worth a chart; axes of numbers
(`curves`).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from cosmo_assets.charts.drawing import (
    BAR,
    DARK,
    GREY,
    GRID,
    INK,
    MAX_ROWS,
    MUTED,
    OTHER,
    PAD,
    PALETTE,
    WIDTH,
    card,
    colours_of,
    columns_of,
    fitted,
    human,
    legend_of,
    more_rows,
    pixels_of,
    px,
    rect,
    row_label,
    row_top,
    written,
)


def bars(title: str, items: Sequence[tuple[str, float]], *, unit: str = "") -> str:
    """Horizontal bars in the given order, labels on the left, values on the right; the first 24 items."""
    shown = items[:MAX_ROWS]
    values = [human(value, unit) for _, value in shown]
    left, right = columns_of([label for label, _ in shown], values)
    scale = (right - left) / (max((value for _, value in shown), default=0) or 1)
    body = []
    for number, ((label, value), text) in enumerate(zip(shown, values, strict=True)):
        top, width = row_top(number), max(0.0, value) * scale
        body += [
            row_label(label, left, top),
            rect(left, top, max(width, 1.0), PALETTE[0], f"{label}: {text}"),
            written(text, left + width + 6, top + 12, INK),
        ]
    return card(title, row_top(len(items[: MAX_ROWS + 1])), [*body, *more_rows(len(items), len(shown), left)])


def ranges(
    title: str, rows: Sequence[tuple[str, float, float, float, float]], names: tuple[str, str, str], *, unit: str = ""
) -> str:
    """Horizontal bars with an interval about each value and a mark beside it: (label, value, low, high, mark), none
    below 0; the first 24 rows. The legend has the names of value, interval and mark."""
    shown = rows[:MAX_ROWS]
    values = [f"{human(value, unit)} ({human(low, unit)} to {human(high, unit)})" for _, value, low, high, _ in shown]
    left, right = columns_of([label for label, *_ in shown], values)
    scale = (right - left) / (max((max(row[1:]) for row in shown), default=0) or 1)
    legend, start = legend_of(dict(zip(names, (PALETTE[4], INK, PALETTE[3]), strict=True)))
    body = [legend]
    for number, ((label, value, low, high, mark), text) in enumerate(zip(shown, values, strict=True)):
        top, ends = row_top(number) + start, (left + low * scale, left + high * scale)
        middle, caps = top + BAR / 2, "".join(f"M{px(x)} {px(top + 4)}v7" for x in ends)
        body += [
            row_label(label, left, top),
            rect(left, top, max(value * scale, 1.0), PALETTE[4], f"{label}: {text}"),
            f'<path d="M{px(ends[0])} {px(middle)}H{px(ends[1])}{caps}" stroke="{INK}" fill="none"/>',
            rect(left + mark * scale - 1.5, top - 2, 3, PALETTE[3], f"{names[2]}: {human(mark, unit)}", height=19),
            written(text, right + 8, top + 12, INK),
        ]
    bottom = row_top(len(rows[: MAX_ROWS + 1])) + start
    return card(title, bottom, [*body, *more_rows(len(rows), len(shown), left, start)] if shown else [])


def forest(title: str, rows: Sequence[tuple[str, float, float, float]], sides: tuple[str, str]) -> str:
    """Differences with their intervals about a line at zero: (label, value, low, high); the first 24 rows. `sides` say
    what lies on the left of the line and on the right. An interval that holds 0 is grey."""
    shown = rows[:MAX_ROWS]
    values = [f"{value:+.3g} ({low:+.3g} to {high:+.3g})" for _, value, low, high in shown]
    left, right = columns_of([label for label, *_ in shown], values, widest=250)
    least, most = min([0.0, *(low for _, _, low, _ in shown)]), max([0.0, *(high for *_, high in shown)])
    scale, start = (right - left) / ((most - least) or 1), 24

    def x(value: float) -> float:
        return left + (value - least) * scale

    zero, bottom = x(0), row_top(len(shown)) + start
    names = (
        ("\N{LEFTWARDS ARROW} " + sides[0], PAD, "start"),
        (sides[1] + " \N{RIGHTWARDS ARROW}", WIDTH - PAD, "end"),
    )
    body = [written(fitted(name, 290), at, 52, MUTED, anchor=anchor) for name, at, anchor in names]
    body.append(f'<path d="M{px(zero)} {row_top(0) + start - 4}V{bottom}" stroke="{MUTED}" stroke-dasharray="3 3"/>')
    for number, ((label, value, low, high), text) in enumerate(zip(shown, values, strict=True)):
        top, colour = row_top(number) + start, GREY if low <= 0 <= high else PALETTE[0]
        body += [
            row_label(label, left, top, widest=250),
            rect(x(low), top + 6, max(x(high) - x(low), 1.0), colour, f"{label}: {text}", height=3),
            rect(x(value) - 4, top + 3.5, 8, colour, f"{label}: {text}", height=8, radius=4),
            written(text, right + 8, top + 12, INK),
        ]
    return card(title, bottom, [*body, *more_rows(len(rows), len(shown), left, start)] if shown else [])


def funnel(title: str, steps: Sequence[tuple[str, int]]) -> str:
    """What is left after each step, from top to bottom: centred bars, joined where they narrow, with the number that is
    left, its share of the first step's, and how many the step cost; the first 24 steps."""
    shown = steps[:MAX_ROWS]
    whole = max((value for _, value in shown), default=0) or 1
    before = [shown[0][1], *(value for _, value in shown[:-1])] if shown else []
    lost = [f"−{human(last - value)}" if value < last else "" for last, (_, value) in zip(before, shown, strict=True)]
    left_over = [f"{human(value)} · {human(value / whole, '%')}" for _, value in shown]
    left, right = columns_of([label for label, _ in shown], [f"{a}  {b}" for a, b in zip(left_over, lost, strict=True)])
    column = right + 8 + max(map(pixels_of, left_over), default=0) + 10
    middle, half = (left + right) / 2, (right - left) / 2 / whole
    body = []
    for number, (label, value) in enumerate(shown):
        top, reach = row_top(number), max(value * half, 0.5)
        if number:
            upper, above = row_top(number - 1) + BAR, max(shown[number - 1][1] * half, 0.5)
            edges = f"H{px(middle + above)}L{px(middle + reach)} {top}H{px(middle - reach)}Z"
            body.append(f'<path d="M{px(middle - above)} {upper}{edges}" fill="{GRID}"/>')
        note = f"{label}: {value:,} left"
        body += [row_label(label, left, top), rect(middle - reach, top, 2 * reach, PALETTE[0], note, radius=0)]
        body += [written(left_over[number], right + 8, top + 12, INK), written(lost[number], column, top + 12, MUTED)]
    return card(title, row_top(len(steps[: MAX_ROWS + 1])), [*body, *more_rows(len(steps), len(shown), left)])


def stacked(title: str, rows: Sequence[tuple[str, Mapping[str, float]]], *, unit: str = "") -> str:
    """Horizontal bars made of parts, with a legend; the first 24 rows. Beyond eight parts, the smallest over all rows
    are drawn together as `other`."""
    shown = rows[:MAX_ROWS]
    totals: Counter[str] = Counter()
    for _, parts in shown:
        totals.update({name: value for name, value in parts.items() if value > 0})
    colour = colours_of(totals, list(totals))
    sums = [sum(max(0.0, value) for value in parts.values()) for _, parts in shown]
    left, right = columns_of([label for label, _ in shown], ["" if unit == "%" else human(total) for total in sums])
    scale = (right - left) / (max(sums, default=0) or 1)
    legend, start = legend_of(colour)
    body = [legend]
    for number, ((label, parts), total) in enumerate(zip(shown, sums, strict=True)):
        top, x = row_top(number) + start, float(left)
        merged: dict[str, float] = defaultdict(float)
        for name, value in parts.items():
            merged[name if name in colour else OTHER] += max(0.0, value)
        body.append(row_label(label, left, top))
        for name in [name for name in colour if merged[name]]:
            width, text = merged[name] * scale, human(merged[name], unit)
            body.append(rect(x, top, width, colour[name], f"{label}: {name} {text}", radius=0))
            if pixels_of(text) + 8 <= width:
                ink = "#FFFFFF" if colour[name] in DARK else INK
                body.append(written(text, x + width / 2, top + 11.5, ink, anchor="middle", size=11))
            x += width
        body.append("" if unit == "%" else written(human(total), x + 6, top + 12, INK))
    bottom = row_top(len(rows[: MAX_ROWS + 1])) + start
    return card(title, bottom, [*body, *more_rows(len(rows), len(shown), left, start)] if shown else [])
