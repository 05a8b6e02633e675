"""Prompt templates: Markdown files with a YAML front matter, read, checked, and unfolded into skeletons.

Belongs here: what a template file may hold, the part of Jinja that a body may use. Does not belong here: filling
skeletons with the texts of seeds (`rendering`), which seed meets which template (`allocation`), advice on wording
(`lint`).

A body is unfolded rather than run: for seeds that have the same parts (a title or none, a context of two steps, ...) it
always gives the same text around the same places. So it may print a variable, test whether it is there, and join or
loop over a list; what it may not do is change or compare a text, for then nobody could say what is the template's and
what is the seed's."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import jinja2
import pydantic
import yaml
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field

from cosmo_assets.recipe.fields import Count
from cosmo_assets.recipe.sources import SourceKind
from cosmo_resources.errors import CosmoError

SHIPPED = Path(__file__).parent / "templates"

Words = Annotated[str, Field(min_length=1)]

TEXTS = ("title", "topic", "unit", "extract", "words")
"""Variables of a body that are texts: `extract` comes fenced, the others as single lines; any but `words` can be
missing. `topic` is there where the prompt shall name it, `unit` where it is about one unit of a course."""

LISTS = ("context", "outline")
"""Those that are lists of single lines, possibly empty: where the seed stands in its source, outermost first; all units
of the course."""

_FILE = re.compile(r"---\n(?P<fields>.*?\n)---\n(?P<body>.*)", re.DOTALL)
_SLOT = re.compile("\ue000([a-z]+)(?::([0-9]+))?\ue001")  # private use: no body may hold these characters
_PRIVATE = re.compile("[\ue000\ue001]")


def _patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return value


Patterns = Annotated[tuple[str, ...], pydantic.AfterValidator(_patterns)]


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class OutputChecks:
    """What an answer must be to pass. The patterns are regular expressions, searched in the whole answer without regard
    to case; ^ and $ stand for lines."""

    min_words: Annotated[int, Field(ge=0)] = 0
    max_words: Count | None = None
    matches: Patterns = ()
    lacks: Patterns = ()

    @pydantic.model_validator(mode="after")
    def _bounds_agree(self) -> "OutputChecks":
        if self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is more than max_words {self.max_words}")
        return self


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class Template:
    """A way to ask for a text: `body` is the Jinja source, `words` the length that it asks for, `max_tokens` the bound
    of the answer, in tokens of the generator."""

    id: Words
    version: Words
    kinds: Annotated[tuple[SourceKind, ...], Field(min_length=1)]
    """The kinds of source whose seeds it suits."""
    audience: Words
    format: Words
    words: Count
    max_tokens: Count
    body: Words
    extract_tokens: Annotated[int, Field(ge=0)] = 250
    """Longest part of the seed's text that it shows, in tokens of the recipe's tokenizer; 0 where it shows none."""
    min_extract_tokens: Annotated[int, Field(ge=0)] = 0
    """A shorter part is not worth a prompt."""
    segments: bool = False
    """Whether it is used on every segment of a long text, each of at most `extract_tokens`; else on its beginning."""
    checks: OutputChecks = OutputChecks()
    description: str = ""

    @pydantic.model_validator(mode="after")
    def _extract_is_used(self) -> "Template":
        if self.extract_tokens == 0 and self.segments:
            raise ValueError("segments: there are none without extract_tokens")
        if self.min_extract_tokens > self.extract_tokens:
            raise ValueError("min_extract_tokens: more than extract_tokens, so that no seed would be long enough")
        return self

    @property
    def uses(self) -> frozenset[str]:
        """The variables that the body reads."""
        return _names(self.body)


class Shape(NamedTuple):
    """Which parts a seed has, as far as a body can tell: whether each text is there, how long each list is."""

    title: bool = False
    topic: bool = False
    unit: bool = False
    extract: bool = False
    context: int = 0
    outline: int = 0


class Slot(NamedTuple):
    """A place for a text of the seed: a variable, and of a list which of its items."""

    name: str
    item: int = 0


def load_templates(folders: Sequence[Path]) -> dict[str, Template]:
    """The shipped templates, then those of each folder (`*.md`), by id; a later one replaces one of the same id.

    Raises:
        CosmoError: a folder without templates, or a file that is no template; the message names the file, the field
            and, in the body, the line.
    """
    templates: dict[str, Template] = {}
    for folder in (SHIPPED, *folders):
        paths = sorted(folder.glob("*.md"))
        if not paths:
            raise CosmoError(f"no templates (*.md) in {folder}", remedy="correct the folder, or add a template to it")
        templates |= {path.stem: read_template(path) for path in paths}
    return templates


def read_template(path: Path) -> Template:
    """One template file.

    Raises:
        CosmoError: as `load_templates`.
    """
    try:
        parts = _FILE.fullmatch(path.read_text(encoding="utf-8"))
        fields = yaml.safe_load("\n" + parts["fields"]) if parts else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CosmoError(f"{path}, front matter: {error}", remedy="mend the file (UTF-8, YAML)") from error
    if parts is None or not isinstance(fields, dict):
        raise CosmoError(f"{path}: no front matter", remedy="begin the file with YAML fields between two lines of ---")
    if "body" in fields:
        raise CosmoError(f"{path}, body: no field of the front matter", remedy="write the body after the second ---")
    try:
        template = Template(**{str(key): value for key, value in fields.items()}, body=parts["body"].strip())
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise CosmoError(f"{path}:\n  " + "\n  ".join(lines), remedy="correct these fields") from error
    if template.id != path.stem:
        raise CosmoError(f"{path}, id: {template.id!r} is not the file's name", remedy=f"write id: {path.stem}")
    _check_body(path, parts["body"], first_line=parts.string[: parts.start("body")].count("\n") + 1)
    if ("extract" in template.uses) != (template.extract_tokens > 0):
        remedy = "print {{ extract }} in the body, or write extract_tokens: 0"
        raise CosmoError(f"{path}, extract_tokens: {template.extract_tokens} does not go with the body", remedy=remedy)
    return template


@functools.cache
def skeleton(body: str, words: int, shape: Shape) -> tuple[str | Slot, ...]:
    """What a body comes out as for all seeds of a shape: fixed texts and slots by turns, without white space at its
    ends.

    Raises:
        CosmoError: the body cannot be used for this shape, for example prints the title of seeds that have none.
    """
    values: dict[str, object] = {
        name: f"\ue000{name}\ue001" if getattr(shape, name) else None for name in ("title", "topic", "unit", "extract")
    }
    values |= {name: tuple(f"\ue000{name}:{item}\ue001" for item in range(getattr(shape, name))) for name in LISTS}
    try:
        text = _ENVIRONMENT.from_string(body).render(values, words=words).strip()
    except jinja2.TemplateError as error:
        raise CosmoError(f"body: {error}", remedy="mend the body, or use the template for other seeds") from error
    parts: list[str | Slot] = []
    end = 0
    for found in _SLOT.finditer(text):
        parts += [text[end : found.start()], Slot(found[1], int(found[2] or 0))]
        end = found.end()
    return tuple(part for part in (*parts, text[end:]) if part != "")


def fixed_text(template: Template) -> str:
    """The template's own words, of a seed that has every part: all that is not a slot."""
    shape = Shape(True, True, True, True, context=2, outline=2)
    return " ".join(part for part in skeleton(template.body, template.words, shape) if isinstance(part, str))


def _no_none(value: object) -> object:
    """Jinja prints None as "None": in a prompt that is a silent defect."""
    if value is None:
        raise jinja2.UndefinedError("prints a variable that has no value here; test it first, as in {% if title %}")
    return value


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_no_none
    )
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


@functools.cache
def _names(body: str) -> frozenset[str]:
    tree = _ENVIRONMENT.parse(body)
    return frozenset(name.name for name in tree.find_all(nodes.Name) if name.name in (*TEXTS, *LISTS))


class _ForbiddenError(Exception):
    def __init__(self, node: nodes.Node, problem: str) -> None:
        super().__init__(problem)
        self.line = node.lineno


def _check_body(path: Path, body: str, *, first_line: int) -> None:
    """Every way through the body uses Jinja as it may, and the body can be unfolded for a seed that has every part."""
    try:
        tree = _ENVIRONMENT.parse(body)
        _Grammar().body(tree.body, frozenset())
    except jinja2.TemplateSyntaxError as error:
        line = first_line + error.lineno - 1
        raise CosmoError(f"{path}, body, line {line}: {error.message}", remedy="mend the Jinja syntax") from error
    except _ForbiddenError as error:
        line = first_line + error.line - 1
        known = ", ".join((*TEXTS, *LISTS))
        remedy = f"print or test the variables {known}; join or loop over {' and '.join(LISTS)}; nothing else"
        raise CosmoError(f"{path}, body, line {line}: {error}", remedy=remedy) from error
    if found := _PRIVATE.search(body):
        line = first_line + body[: found.start()].count("\n")
        raise CosmoError(f"{path}, body, line {line}: private-use character", remedy="remove U+E000 and U+E001")
    try:
        skeleton(body.strip(), 1, Shape(True, True, True, True, context=2, outline=2))
    except CosmoError as error:
        raise CosmoError(f"{path}: {error.message}", remedy="mend the body") from error


class _Grammar:
    """Refuses everything in a body that a skeleton could not stand for."""

    def body(self, statements: Sequence[nodes.Node], items: frozenset[str]) -> None:
        for node in statements:
            if isinstance(node, nodes.Output):
                for printed in node.nodes:
                    self.printed(printed, items)
            elif isinstance(node, nodes.If):
                self.test(node.test, items)
                for branch in (node.body, node.else_):
                    self.body(branch, items)
                self.body(node.elif_, items)
            elif isinstance(node, nodes.For) and not node.recursive and node.test is None:
                self.list_of(node.iter)
                if not isinstance(node.target, nodes.Name) or node.target.name in (*TEXTS, *LISTS, "loop"):
                    raise _ForbiddenError(node, "a loop needs one variable with a name of its own")
                self.body(node.body, items | {node.target.name})
                self.body(node.else_, items)
            else:
                raise _ForbiddenError(node, f"{type(node).__name__.lower()} cannot be used")

    def printed(self, node: nodes.Node, items: frozenset[str]) -> None:
        """A text: fixed, a variable, an item of a list, a joined list."""
        if isinstance(node, nodes.TemplateData | nodes.Const):
            if isinstance(node, nodes.Const) and not self.fixed(node):
                raise _ForbiddenError(node, "only a fixed text can be printed so")
            return
        if isinstance(node, nodes.CondExpr):
            self.test(node.test, items)
            for branch in (node.expr1, node.expr2):
                if branch is not None:
                    self.printed(branch, items)
        elif isinstance(node, nodes.Name):
            self.known(node, items, (*TEXTS, *items))
        elif isinstance(node, nodes.Filter) and node.name == "join" and node.node is not None:
            self.list_of(node.node)
            if not all(map(self.fixed, node.args)) or len(node.args) > 1 or node.kwargs or node.dyn_args:
                raise _ForbiddenError(node, "join takes a fixed text")
        elif not self.plain_filter(node, ("first", "last")) and not self.of_loop(node, items):
            raise _ForbiddenError(node, "only a variable, or a joined list, can be printed")

    def test(self, node: nodes.Node, items: frozenset[str]) -> None:
        """Whether something is there, or how long a list is."""
        if isinstance(node, nodes.And | nodes.Or):
            self.test(node.left, items)
            self.test(node.right, items)
        elif isinstance(node, nodes.Not):
            self.test(node.node, items)
        elif isinstance(node, nodes.Name):
            self.known(node, items, (*TEXTS, *LISTS))
        elif isinstance(node, nodes.Compare):
            if any(operand.op.endswith("in") for operand in node.ops):  # in, not in
                raise _ForbiddenError(node, "lengths are compared with ==, !=, <, <=, > and >=")
            for side in (node.expr, *(operand.expr for operand in node.ops)):
                number = isinstance(side, nodes.Const) and isinstance(side.value, int)
                if not (number or self.plain_filter(side, ("length", "count")) or self.of_loop(side, items)):
                    raise _ForbiddenError(side, "only the length of a list can be compared, with a whole number")
        elif not self.of_loop(node, items):
            raise _ForbiddenError(node, "only a variable can be tested")

    def fixed(self, node: nodes.Node) -> bool:
        return isinstance(node, nodes.Const) and isinstance(node.value, str) and not _PRIVATE.search(node.value)

    def plain_filter(self, node: nodes.Node, names: Sequence[str]) -> bool:
        """Whether it is a list with one of these filters, which take nothing else."""
        if not isinstance(node, nodes.Filter) or node.name not in names or node.node is None:
            return False
        self.list_of(node.node)
        return not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)

    def list_of(self, node: nodes.Node) -> None:
        if not isinstance(node, nodes.Name):
            raise _ForbiddenError(node, f"{' and '.join(LISTS)} are the lists there are")
        self.known(node, frozenset(), LISTS)

    def of_loop(self, node: nodes.Node, items: frozenset[str]) -> bool:
        own = ("index", "index0", "first", "last", "length")
        return (
            bool(items)
            and isinstance(node, nodes.Getattr)
            and isinstance(node.node, nodes.Name)
            and (node.node.name, node.attr) in {("loop", attribute) for attribute in own}
        )

    def known(self, node: nodes.Name, items: frozenset[str], allowed: Sequence[str]) -> None:
        if node.name not in (*TEXTS, *LISTS, *items):
            raise _ForbiddenError(node, f"unknown variable {node.name}")
        if node.name not in allowed:
            kind = "a list: join it, or loop over it" if node.name in LISTS else "a text: print it"
            raise _ForbiddenError(node, f"{node.name} is {kind}")
