"""The chart of a map: points, and names that stand at their places without covering one another."""

import random
import re

from lxml import etree

from cosmo_assets.charts.atlas import MAX_ATLAS_POINTS, MAX_NAMES, Region, atlas, colours_apart
from cosmo_assets.charts.bars import bars
from cosmo_assets.charts.metadata import fits_metadata

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("1")</script> & ]( \x00\x1b `x` *y*'
Points = list[tuple[float, float, int]]


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in etree.fromstring(svg.encode()).iter(f"{SVG}text")]


def country(count: int, regions: int) -> tuple[Points, list[Region]]:
    """Points about the places of regions with long names; the first region is excluded."""
    draw = random.Random(2)
    places = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(regions)]
    points = [
        (places[n % regions][0] + draw.gauss(0, 0.1), places[n % regions][1] + draw.gauss(0, 0.1), n % regions)
        for n in range(count)
    ]
    colours = [None, *colours_apart(places[1:])]
    names = [f"A topic of many words number {number}" for number in range(regions)]
    return points, [Region(name, x, y, colour) for name, (x, y), colour in zip(names, places, colours, strict=True)]


def test_hostile_names_and_nothing_at_all() -> None:
    svg = atlas(
        HOSTILE, [(0.5, 1.5, 0), (-2, 3, 1)], [Region(HOSTILE, 0, 0, "#4477AA"), Region("b", 1, 1, None)], HOSTILE
    )
    root = etree.fromstring(svg.encode())
    assert not list(root.iter(f"{SVG}script"))
    assert root[0].text.startswith('<script>alert("1")</script>')
    assert "b" in texts(svg)
    assert texts(atlas("t", [], [])) == ["t", "Nothing to show."]
    assert atlas("t", [(0, 0, 0)], [Region("one", 0, 0, None)]).count("h0") == 1


def test_names_on_a_map_cover_no_other_and_stay_inside() -> None:
    points, regions = country(6000, 90)
    svg = atlas("t", points, regions, "A note below.")
    assert svg.count("h0") == MAX_ATLAS_POINTS
    assert fits_metadata(atlas("t", points[:1600], regions, "A note below."))
    root = etree.fromstring(svg.encode())
    lines = [text for group in root.iter(f"{SVG}g") for text in group.iter(f"{SVG}text")]
    boxes = []
    for line in lines:
        across, down, half = float(line.get("x")), float(line.get("y")), 0.58 * 11 * len(line.text) / 2
        boxes.append((across - half, down - 9, across + half, down + 2))
    assert 20 < len(lines) <= 2 * MAX_NAMES
    assert all(box[0] >= 18 and box[2] <= 622 and box[1] >= 46 for box in boxes)
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert texts(svg)[-1] == "A note below."


def test_the_first_region_is_named_and_one_without_colour_is_grey_under_the_others() -> None:
    points, regions = country(300, 12)
    svg = atlas("t", points, regions)
    assert " ".join(texts(svg)[1:3]) == regions[0].name
    strokes = re.findall(r'<path d="[^"]*" stroke="(#\w+)"', svg)
    assert strokes[0] == "#BBBBBB"
    assert set(strokes[1:]) == {region.colour for region in regions[1:]}


def test_points_keep_their_places() -> None:
    svg = atlas("t", [(0.0, 0.0, 0), (1.0, 0.5, 0), (0.5, 0.25, 0)], [Region("one", 0.0, 0.0, "#4477AA")])
    (path,) = re.findall(r'<path d="(m[^"]*)"', svg)
    steps = [(int(x), int(y)) for x, y in re.findall(r"m(-?\d+) ?(-?\d+)h0", path)]
    assert len(steps) == 3
    assert steps[1][0] > 0 > steps[1][1], "to the right and up"
    assert abs(steps[1][0] - steps[2][0]) <= 1
    assert abs(steps[1][0] + 2 * steps[1][1]) <= 2, "one scale for both axes"


def test_neighbours_of_the_same_name_are_named_once() -> None:
    points = [(0.0, 0.0, 0), (1.0, 0.0, 1), (0.02, 0.0, 2)]
    regions = [Region("same", x, 0.0, "#4477AA") for x in (0.0, 1.0, 0.02)]
    assert texts(atlas("t", points, regions))[1:] == ["same", "same"]


def test_equal_colours_lie_apart() -> None:
    grid = [(x / 5, y / 5) for x in range(6) for y in range(6)]
    colours = colours_apart(grid)
    assert len(set(colours)) == 8
    assert len(set(colours_apart(grid[:8]))) == 8
    for place, colour in zip(grid, colours, strict=True):
        for other, found in zip(grid, colours, strict=True):
            beside = 0 < abs(place[0] - other[0]) + abs(place[1] - other[1]) < 0.21
            assert not (beside and found == colour), (place, other)


def test_a_chart_fits_metadata_or_does_not() -> None:
    assert fits_metadata(bars("t", [("a", 1)]))
    assert not fits_metadata(bars("t", [("x" * 40_000, 1)]) + "x" * 30_000)
