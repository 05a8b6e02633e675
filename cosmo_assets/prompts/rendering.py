"""Rendering: the skeletons of a template filled with the texts of many seeds at a time.

Belongs here: what a seed's text becomes on its way into a prompt (single lines, the fence, control tokens). Does not
belong here: reading templates (`templates`), cutting extracts (`extracts`).

What stands in a seed is material and gives no orders: its extract stays inside a fence that it cannot close, its other
parts on one line; what a chat template would read as a control token is broken up; nothing is taken for Jinja.
"""

import re
from collections.abc import Sequence

import polars as pl

from cosmo_assets.prompts.templates import LISTS, Shape, Slot, Template, skeleton
from cosmo_resources.errors import CosmoError

VIEW: dict[str, pl.DataType] = {
    "title": pl.String(),
    "topic": pl.String(),
    "unit": pl.String(),
    "extract": pl.String(),
    "context": pl.List(pl.String()),
    "outline": pl.List(pl.String()),
}
"""What a template sees of a seed, as columns: raw texts, null where the seed has none."""

LINE_CHARS = 200
"""Longest single line, in characters: a title is no place for an essay, and the budget is the extract's."""

FENCE = "====="

# Control tokens of chat templates: <|im_start|>, <start_of_turn>, [INST], <s>, and their kin in either kind of bar.
_CONTROL_ANGLE = (
    r"<(\|[^|<>\s]{1,64}\||｜[^｜<>\s]{1,64}｜|/?s|/?(?:bos|eos|pad|unk|mask|think|tool_call|tool_response"
    r"|start_of_turn|end_of_turn|start_of_image)|/?<?/?SYS>?)>"
)
_CONTROL_SQUARE = r"\[(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|THINK))\]"
_ANGLE, _SQUARE = re.compile(_CONTROL_ANGLE), re.compile(_CONTROL_SQUARE)


def harmless(text: pl.Expr) -> pl.Expr:
    """The text with a space in every control token, so that no tokenizer takes it for one; else unchanged."""
    return text.str.replace_all(_CONTROL_ANGLE, "< ${1}>").str.replace_all(_CONTROL_SQUARE, "[ ${1}]")


def harmless_text(text: str) -> str:
    """`harmless` of one text."""
    return _SQUARE.sub(r"[ \1]", _ANGLE.sub(r"< \1>", text))


def one_line(text: pl.Expr) -> pl.Expr:
    """A text as a single line of at most `LINE_CHARS`, cut at a word end where it has one; null where nothing is
    left."""
    line = harmless(text.str.replace_all(r"[\s\p{Cc}\u2028\u2029]+", " ").str.strip_chars(" "))
    begun = line.str.slice(0, LINE_CHARS - 1)
    cut = pl.concat_str(begun.str.replace(r"\s+\S*$", ""), pl.lit("…"))
    return pl.when(line.str.len_chars() > LINE_CHARS).then(cut).when(line.str.len_bytes() > 0).then(line)


def fenced(extract: pl.Expr) -> pl.Expr:
    """The extract, unchanged, between two lines that cannot occur inside it: their runs of "=" are longer than any of
    its own. Null where there is no extract."""
    runs = extract.str.extract_all(f"{FENCE}=*").list.eval(pl.element().str.len_bytes()).list.max().fill_null(0)
    rule = pl.when(runs >= len(FENCE)).then(pl.lit("=").repeat_by(runs + 1).list.join("")).otherwise(pl.lit(FENCE))
    block = pl.concat_str(rule, pl.lit("\n"), extract, pl.lit("\n"), rule)
    return pl.when(extract.str.contains(r"\S")).then(block)


def prepared(views: pl.DataFrame) -> pl.DataFrame:
    """The columns of `VIEW` as they stand in prompts; lists lose the items of which nothing is left."""
    lines = [one_line(pl.col(name)).alias(name) for name in ("title", "topic", "unit") if name in views.columns]
    lists = [
        pl.col(name).list.eval(one_line(pl.element())).list.drop_nulls().alias(name)
        for name in LISTS
        if name in views.columns
    ]
    extract = [fenced(harmless(pl.col("extract"))).alias("extract")] if "extract" in views.columns else []
    return views.with_columns(*lines, *lists, *extract)


def rendered(template: Template, words: int, views: pl.DataFrame) -> pl.Series:
    """The prompt of every row of prepared views. `words` bounds the length that the template asks for; a column that is
    not there counts as missing in every row.

    Cost: linear in the prompts; one unfolding of the body for each shape among the rows.

    Raises:
        CosmoError: the body fails on seeds of some shape, for example prints the title of seeds that have none.
    """
    words = min(template.words, words)
    if views.is_empty():
        return pl.Series("prompt", [], pl.String)
    present = [name for name in Shape._fields if name in template.uses and name in views.columns]
    if not present:
        return views.with_columns(_filled(template, words, Shape()).alias("prompt"))["prompt"]
    shapes = views.select(_part(name) for name in present)
    codes = shapes.with_row_index("row").group_by(present, maintain_order=True).agg("row")
    texts, rows = [], []
    for group in codes.iter_rows(named=True):
        chosen = pl.Series(group["row"], dtype=pl.get_index_type())
        expression = _filled(template, words, Shape(**{name: group[name] for name in present}))
        texts.append(views[chosen].with_columns(expression.alias("prompt"))["prompt"])
        rows.append(chosen)
    if len(texts) == 1:
        return texts[0]
    return pl.concat(texts).gather(pl.concat(rows).arg_sort())


def _part(name: str) -> pl.Expr:
    column = pl.col(name)
    return column.list.len().fill_null(0) if name in LISTS else column.is_not_null()


def _filled(template: Template, words: int, shape: Shape) -> pl.Expr:
    try:
        parts = skeleton(template.body, words, shape)
    except CosmoError as error:
        raise CosmoError(f"template {template.id}, {error.message}", remedy=error.remedy) from error
    return pl.concat_str([pl.lit(""), *(pl.lit(part) if isinstance(part, str) else _value(part) for part in parts)])


def _value(slot: Slot) -> pl.Expr:
    return pl.col(slot.name).list.get(slot.item) if slot.name in LISTS else pl.col(slot.name)


def render(template: Template, words: int, views: Sequence[dict[str, object]]) -> list[str]:
    """The prompts of a few seeds, given as raw rows of `VIEW`."""
    frame = pl.DataFrame(views, schema=VIEW)
    return rendered(template, words, prepared(frame)).to_list()
