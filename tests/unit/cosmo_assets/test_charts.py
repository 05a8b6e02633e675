import base64
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from lxml import etree

from cosmo_assets.charts.atlas import Region, atlas
from cosmo_assets.charts.bars import bars, forest, funnel, ranges, stacked
from cosmo_assets.charts.curves import curve, histogram, histograms, multiples
from cosmo_assets.charts.drawing import human
from cosmo_assets.charts.metadata import fits_metadata, markdown
from cosmo_assets.signals.catalogue import STATISTICS

HOSTILE = '<script>alert("1")</script> & ]( \x00\x1b `x` *y*'
SVG = "{http://www.w3.org/2000/svg}"
Draw = Callable[[str, str], str]

CHARTS: dict[str, Draw] = {
    "bars": lambda title, label: bars(title, [(label, 12.5), ("b", 0.0)], unit="documents"),
    "funnel": lambda title, label: funnel(title, [(label, 120), ("next", 7), ("last", 0)]),
    "histogram": lambda title, label: histogram(title, [(0, 3), (25, 0), (100, 7)], unit=label),
    "histograms": lambda title, label: histograms(title, [(label, [(0, 3), (0.25, 0), (0.5, 7)]), ("b", [])]),
    "ranges": lambda title, label: ranges(title, [(label, 0.5, 0.3, 0.9, 0.4)], (label, "interval", "mark"), unit="%"),
    "forest": lambda title, label: forest(title, [(label, 0.5, -0.3, 0.9), ("b", -1, -2, -0.5)], (label, "more")),
    "stacked": lambda title, label: stacked(title, [(label, {"kept": 10, label: 3}), ("next", {})]),
    "curve": lambda title, label: curve(title, [(1e3, 3.5), (2e6, 2.25)], [(label, 1e4, 3)], unit=label),
    "multiples": lambda title, label: multiples(title, [label], [(label, [{label: [(0.1, 2), (1, 5)], "b": []}])]),
    "atlas": lambda title, label: atlas(
        title, [(0.5, 1.5, 0), (-2, 3, 1)], [Region(label, 0.5, 1.5, "#1F77B4"), Region("b", -2, 3, None)], label
    ),
}


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in etree.fromstring(svg.encode()).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_well_formed_accessible_and_the_same_again(name: str) -> None:
    svg = CHARTS[name](HOSTILE, HOSTILE)
    root = etree.fromstring(svg.encode())
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text.startswith('<script>alert("1")</script> & ](')
    assert not list(root.iter(f"{SVG}script"))
    assert root[1].get("fill") == "#FFFFFF", "a white card, so that it reads in a dark page"
    assert svg == CHARTS[name](HOSTILE, HOSTILE)
    assert not re.search(r"(?:href|src|url\()", svg)
    assert not re.search(r"\d\.\d{2,}[\" ]", svg.split("</title>", 1)[1].split("<text")[0]), "coordinates to a tenth"


@pytest.mark.parametrize(
    "svg",
    [
        multiples("t", ["left"], []),
        bars("t", []),
        funnel("t", []),
        histogram("t", []),
        histograms("t", []),
        ranges("t", [], ("a", "b", "c")),
        forest("t", [], ("a", "b")),
        stacked("t", []),
        curve("t", [], []),
        atlas("t", [], []),
    ],
)
def test_a_chart_of_nothing_says_so(svg: str) -> None:
    assert texts(svg) == ["t", "Nothing to show."]


def test_an_interval_and_a_mark_stand_where_their_values_are() -> None:
    svg = ranges("t", [("a", 0.5, 0.25, 1.0, 0.75), ("b", 0.1, 0.0, 0.2, 0.1)], ("value", "interval", "mark"), unit="%")
    assert "50% (25% to 100%)" in texts(svg)
    rects = list(etree.fromstring(svg.encode()).iter(f"{SVG}rect"))
    notes = {rect[0].text: rect for rect in rects if len(rect)}
    bar, mark = notes["a: 50% (25% to 100%)"], notes["mark: 75%"]
    left, half = float(bar.get("x")), float(bar.get("width"))
    assert float(mark.get("x")) + 1.5 == pytest.approx(left + 1.5 * half, abs=0.2)
    (line, *_) = etree.fromstring(svg.encode()).iter(f"{SVG}path")
    start, end = map(float, re.findall(r"^M([\d.]+) [\d.]+H([\d.]+)", line.get("d"))[0])
    assert (start, end) == pytest.approx((left + half / 2, left + 2 * half), abs=0.2)


def test_a_difference_stands_beside_the_line_at_zero() -> None:
    svg = forest("t", [("a", -0.5, -1.0, 0.25), ("b", 0.75, 0.5, 1.0)], ("less", "more"))
    assert {"-0.5 (-1 to +0.25)", "+0.75 (+0.5 to +1)", "← less", "more →"} <= set(texts(svg))
    root = etree.fromstring(svg.encode())
    line = float(re.findall(r"^M([\d.]+)", next(root.iter(f"{SVG}path")).get("d"))[0])
    marks = [rect for rect in root.iter(f"{SVG}rect") if len(rect)]
    spans = [(float(rect.get("x")), float(rect.get("x")) + float(rect.get("width"))) for rect in marks]
    one = (spans[2][1] - line) / 1.0
    assert spans[0] == pytest.approx((line - one, line + 0.25 * one), abs=0.2)
    assert sum(spans[1]) / 2 == pytest.approx(line - 0.5 * one, abs=0.2)
    assert spans[2] == pytest.approx((line + 0.5 * one, line + one), abs=0.2)
    assert sum(spans[3]) / 2 == pytest.approx(line + 0.75 * one, abs=0.2)
    assert [mark.get("fill") == "#BBBBBB" for mark in marks] == [True, True, False, False], "the first holds 0"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (7, "", "7"),
        (999, "", "999"),
        (999.6, "", "1k"),
        (1234, "", "1.23k"),
        (85_028, "tokens", "85k tokens"),
        (999_999, "", "1M"),
        (3_400_000, "", "3.4M"),
        (25e9, "", "25B"),
        (1.5e12, "", "1.5T"),
        (0.123456, "%", "12.3%"),
        (1, "%", "100%"),
        (0.00001, "%", "<0.01%"),
        (0.8890, "", "0.89"),
    ],
)
def test_numbers_in_human_form(value: float, unit: str, text: str) -> None:
    assert human(value, unit) == text


def test_bars_are_in_proportion_and_stay_on_the_card() -> None:
    root = etree.fromstring(bars("t", [("a", 200), ("b", 50), ("c" * 90, 0)]).encode())
    marks = [element for element in root.iter(f"{SVG}rect") if len(element)]
    widths = [float(mark.get("width")) for mark in marks]
    assert widths[0] == pytest.approx(4 * widths[1], abs=0.2)
    assert widths[2] == 1
    assert all(float(mark.get("x")) + float(mark.get("width")) <= 640 for mark in marks)
    assert [mark[0].text for mark in marks][:2] == ["a: 200", "b: 50"]


def test_long_labels_end_in_an_ellipsis_and_many_rows_in_a_count() -> None:
    svg = bars("t", [(f"a very long label that cannot stand in full, number {number}", number) for number in range(40)])
    assert sum(text.endswith("…") for text in texts(svg)) == 24
    assert texts(svg)[-1] == "and 16 more"


def test_a_funnel_narrows_in_proportion_and_says_what_each_step_costs() -> None:
    svg = funnel("t", [("read", 400), ("long enough", 400), ("kept", 100)])
    root = etree.fromstring(svg.encode())
    marks = [element for element in root.iter(f"{SVG}rect") if len(element)]
    widths = [float(mark.get("width")) for mark in marks]
    middles = [float(mark.get("x")) + width / 2 for mark, width in zip(marks, widths, strict=True)]
    assert widths[0] == widths[1] == pytest.approx(4 * widths[2], abs=0.4)
    assert max(middles) - min(middles) < 0.2
    assert [text for text in texts(svg) if text[0].isdigit() or text[0] == "−"] == [
        "400 · 100%", "400 · 100%", "100 · 25%", "−300"
    ]  # fmt: skip
    assert len(list(root.iter(f"{SVG}path"))) == 2


def test_histogram_leaves_room_for_empty_bins() -> None:
    root = etree.fromstring(histogram("t", [(0, 5), (25, 5), (100, 10)], unit="words").encode())
    marks = [element for element in root.iter(f"{SVG}rect") if len(element)]
    first, second, last = (float(mark.get("x")) for mark in marks)
    assert last - second == pytest.approx(3 * (second - first), abs=0.3)
    assert marks[2][0].text == "100 to 125 words: 10"
    assert float(marks[2].get("height")) == pytest.approx(2 * float(marks[0].get("height")), abs=0.2)


def test_small_histograms_have_their_own_scale_and_ends() -> None:
    bins = [(10.0, 1), (20.0, 4), (30.0, 2)]
    svg = histograms("t", [("size", bins), ("share", [(0.5, 7)]), ("none", [])])
    assert texts(svg) == ["t", "size", "10", "40", "share", "0.5", "none", "none"]
    heights = [[float(y) for y in re.findall(r"V([\d.]+)h", path)] for path in re.findall(r'd="(M[^"]*z)"', svg)]
    size, share, nothing = heights
    floor = float(re.findall(r"V([\d.]+)z", svg)[0])
    assert [floor - y for y in size] == pytest.approx([34 / 4, 34, 34 / 2], abs=0.1)
    assert [floor - y for y in share] == [34]
    assert nothing == []


def test_all_statistics_of_a_text_fit_into_the_metadata() -> None:
    bins = [(0.12345 + number / 7, 123456 + 7919 * number) for number in range(24)]
    assert fits_metadata(histograms("t", [(name, bins) for name, *_ in STATISTICS]))


def test_a_curve_has_a_logarithmic_axis_and_marks_on_the_line_that_the_legend_names() -> None:
    points = [(10.0**power, 5.0 - power) for power in range(5)]
    svg = curve("t", points, [("here", 10, 4), ("there", 1000, 2), ("beside it", 1001, 2)], unit="tokens")
    root = etree.fromstring(svg.encode())
    (line,) = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("fill") == "none"]
    places = [tuple(map(float, pair.split())) for pair in line.removeprefix("M").split("L")]
    steps = [after[0] - before[0] for before, after in pairwise(places)]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.2), "a power of ten is as wide as any other"
    assert [down for _, down in places] == sorted(down for _, down in places), "less is lower"
    circles = [(float(one.get("cx")), float(one.get("cy"))) for one in root.iter(f"{SVG}circle")]
    assert circles[:2] == [places[1], places[3]]
    assert texts(svg)[1:4] == ["here: 10, 4", "there: 1k, 2", "beside it: 1k, 2"]
    assert texts(svg)[-2:] == ["4", "2"], "what would lie over another is in the legend alone"
    assert all(18 <= across <= 640 - 18 for across, _ in [*places, *circles])


def test_small_line_charts_share_the_scale_of_their_column() -> None:
    panels = [
        [{"a": [(0.1, 5), (0.5, 10), (1, 20)], "b": [(0.1, 0), (1, 20)]}, {"a": [(0.1, 0.25), (1, 0.5)]}],
        [{"a": [(0.1, 10), (1, 10)]}, {}],
    ]
    svg = multiples("lines", ["left", "right"], [("first", panels[0]), ("second", panels[1])], unit="%")
    lines = {
        path[0].text: [tuple(map(float, point.split())) for point in path.get("d")[1:].split("L")]
        for path in etree.fromstring(svg.encode()).iter(f"{SVG}path")
        if len(path)
    }
    first, other, right, second = lines.values()
    assert next(iter(lines)) == "a, 10%: 5, 50%: 10, 100%: 20"
    assert {"left", "20", "right", "0.5", "first", "second", "10%", "100%", "a (solid)", "b (dashed)"} <= set(
        texts(svg)
    )
    assert first[0][0] == other[0][0] == second[0][0] == 18
    assert first[2][0] == 148, "the ends of x are those of the panel"
    assert (first[1][0] - first[0][0]) / (first[2][0] - first[0][0]) == pytest.approx(4 / 9, abs=2e-3)
    floor, top = other[0][1], other[1][1]
    assert first[2][1] == top == right[1][1], "the largest of each column"
    assert [(floor - y) / (floor - top) for _, y in first] == pytest.approx([0.25, 0.5, 1])
    assert second[0][1] - second[1][1] == 0
    assert second[0][1] - first[1][1] == pytest.approx(106), "half of the largest, a row below"
    many = multiples("lines", ["left", "right"], [(f"row {number}", panels[0]) for number in range(30)])
    assert "and 6 more" in texts(many)


def test_stacked_parts_add_up_and_small_ones_are_drawn_together() -> None:
    parts = {f"reason {number}": 100 - number for number in range(12)}
    svg = stacked("t", [("row", parts)])
    root = etree.fromstring(svg.encode())
    marks = [element for element in root.iter(f"{SVG}rect") if len(element)]
    assert len(marks) == 9
    assert marks[-1][0].text == f"row: other {sum(range(89, 93))}"
    assert len({mark.get("fill") for mark in marks}) == 9
    ends = [float(mark.get("x")) + float(mark.get("width")) for mark in marks]
    assert [float(mark.get("x")) for mark in marks[1:]] == pytest.approx(ends[:-1], abs=0.2)


def test_markdown_holds_the_chart_itself() -> None:
    svg = bars("A *chart* ](x", [("a", 1)])
    found = re.fullmatch(r"!\[([^\[\]*]+)\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown(svg))
    assert found is not None
    assert base64.b64decode(found.group(2)).decode() == svg


def test_a_chart_that_is_too_large_becomes_a_line() -> None:
    rows = [(f"row {number}", {f"part {part} {'x' * 200}": 1.0 for part in range(8)}) for number in range(24)]
    text = markdown(stacked("Everything", rows))
    assert text == "Everything: the chart is too large to be shown here, it is in the corpus report."
