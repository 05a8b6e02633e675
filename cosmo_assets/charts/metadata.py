"""A chart in an asset's metadata: SVG as an image in Markdown.

Belongs here: how a chart gets into Dagster's UI, and how large it may be. Does not belong here: any chart.
"""

import base64
import re

MAX_MARKDOWN_BYTES = 30_000
"""Largest chart that goes into an asset's metadata: every materialization stores its own copy of it."""


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
