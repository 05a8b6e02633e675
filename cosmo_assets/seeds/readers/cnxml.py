"""CNXML, OpenStax' markup of a module, as plain text with its formulas in LaTeX.

Belongs here: what becomes of each element of CNXML and MathML. Does not belong here: where modules lie and in which
order (`openstax`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from xml.etree.ElementTree import Element

from cosmo_assets.seeds.readers.streams import local_name

_DROPPED = {"figure", "media", "image", "iframe", "object", "footnote", "metadata", "colspec", "spanspec", "label"}
_BLOCKS = {
    "para", "section", "note", "example", "exercise", "problem", "solution", "commentary", "list", "item", "table",
    "equation", "title", "quote", "definition", "meaning", "glossary", "rule", "statement", "proof", "preformat", "div",
    "content", "injected-exercise", "seealso",
}  # fmt: skip
_NAMED = {"figure", "table", "equation", "example", "exercise", "note", "section", "list", "problem", "definition"}
_SUPERSCRIPT = re.compile(r"[−–+-]?[\d.,/]+|[a-z]|[−–+-]")


def module_text(document: Element) -> tuple[str, str]:
    """Title and text of a module. Its objectives go first, then the content, paragraphs separated by a blank line, then
    the glossary as "term: meaning". Figures, media and footnotes are left out; a reference to a figure, which has no
    words of its own in CNXML, reads "the figure"."""
    return _Module(document).text()


class _Module:
    def __init__(self, document: Element) -> None:
        self.document = document
        self.tags = {element.get("id"): local_name(element) for element in document.iter() if element.get("id")}

    def text(self) -> tuple[str, str]:
        heading = next((element for element in self.document if local_name(element) == "title"), None)
        if heading is None:
            heading = _find(self.document, "metadata", "title")
        title = " ".join(self.inline(heading).split()) if heading is not None else ""
        parts = self.objectives()
        content = _find(self.document, "content")
        if content is not None:
            parts += self.blocks(content)
        glossary = _find(self.document, "glossary")
        if glossary is not None and (terms := self.blocks(glossary)):
            parts.append("\n".join(["Key terms:", *terms]))
        return title, "\n\n".join(parts)

    def objectives(self) -> list[str]:
        abstract = _find(self.document, "metadata", "abstract")
        if abstract is None:
            return []
        found = self.blocks(abstract)
        if found and all(local_name(child) == "list" for child in abstract) and not (abstract.text or "").strip():
            return ["Learning objectives:\n" + "\n".join(found)]
        return found

    def blocks(self, element: Element) -> list[str]:
        """The paragraphs of an element, white space collapsed; runs of inline content between blocks are paragraphs."""
        found: list[str] = []
        run: list[str] = [element.text or ""]

        def end_run() -> None:
            if text := " ".join("".join(run).split()):
                found.append(text)
            run.clear()

        for child in element:
            if self.is_block(child):
                end_run()
                found.extend(self.block(child))
            else:
                run.append(self.inline(child))
            run.append(child.tail or "")
        end_run()
        return found

    def is_block(self, element: Element) -> bool:
        name = local_name(element)
        if name == "code":
            return element.get("display") == "block" or "\n" in "".join(element.itertext()).strip()
        return name in _BLOCKS and element.get("display") != "inline"

    def block(self, element: Element) -> list[str]:
        match local_name(element):
            case "list":
                lines = [self.item(child, mark) for child, mark in _items(element)]
                title = _find(element, "title")
                head = [" ".join(self.inline(title).split())] if title is not None else []
                return ["\n".join(line for line in [*head, *lines] if line)] if any(lines) else []
            case "table":
                return self.table(element)
            case "code" | "preformat":
                verbatim = "".join(element.itertext()).strip("\n").rstrip()
                return [verbatim] if verbatim.strip() else []
            case "equation":
                return [f"$${latex(child)}$$" for child in element if local_name(child) == "math" and latex(child)]
            case "definition":
                term, meanings = _find(element, "term"), [child for child in element if local_name(child) == "meaning"]
                words = [" ".join(self.blocks(meaning)) for meaning in meanings]
                name = " ".join(self.inline(term).split()) if term is not None else ""
                return [f"{name}: {' '.join(words)}"] if name and any(words) else []
            case _:
                found = self.blocks(element)
                title = _find(element, "title")
                heading_only = title is not None and found == [" ".join(self.inline(title).split())]
                return [] if heading_only else found

    def item(self, element: Element, mark: str) -> str:
        paragraphs = self.blocks(element)
        lines = "\n".join(paragraphs).split("\n")
        return "\n".join([f"{mark} {lines[0]}", *(f"  {line}" for line in lines[1:])]) if paragraphs else ""

    def table(self, element: Element) -> list[str]:
        title = _find(element, "title")
        lines = [" ".join(self.inline(title).split())] if title is not None else []
        for row in element.iter():
            if local_name(row) == "row":
                cells = [" ".join(" ".join(self.blocks(cell)).split()) for cell in row if local_name(cell) == "entry"]
                lines.append(" | ".join(cells) if any(cells) else "")
        return ["\n".join(line for line in lines if line)] if any(lines) else []

    def inline(self, element: Element) -> str:
        name = local_name(element)
        if name in _DROPPED or not name:
            return ""
        if name == "math":
            return _delimited(element)
        if name in ("newline", "space"):
            return " "
        if name == "list":
            return "; ".join(" ".join(self.blocks(child)) for child, _ in _items(element))
        inner = (element.text or "") + "".join(
            (f" {' '.join(self.block(child))} " if self.is_block(child) else self.inline(child)) + (child.tail or "")
            for child in element
        )
        if name == "link" and not inner.strip():
            target = self.tags.get(element.get("target-id"), "")
            guess = "table" if "table" in (element.get("target-id") or "").lower() else "figure"
            return f"the {target if target in _NAMED else guess}" if element.get("target-id") else ""
        if name == "sup" and _SUPERSCRIPT.fullmatch(inner.strip()):
            return f"^{inner.strip()}"
        if name == "quote":
            return f"“{inner.strip()}”"
        return inner


def _find(element: Element, *path: str) -> Element | None:
    """The first child, grandchild ... of these names, whatever their namespaces."""
    found: Element | None = element
    for name in path:
        if found is None:
            return None
        found = next((child for child in found if local_name(child) == name), None)
    return found


def _items(element: Element) -> Iterator[tuple[Element, str]]:
    numbered = element.get("list-type") == "enumerated"
    number = 0
    for child in element:
        if local_name(child) == "item":
            number += 1
            yield child, f"{number}." if numbered else "-"


_ACCENTS = {
    "¯": "overline",
    "‾": "overline",
    "_": "overline",
    "→": "vec",
    "⃗": "vec",
    "^": "hat",
    "ˆ": "hat",
    "~": "tilde",
    "˜": "tilde",
    "˙": "dot",
}
_LIMITS = {"∑", "∏", "∫", "lim", "max", "min", "⋃", "⋂", r"\text{lim}"}
_UNSEEN = {"annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "none", "mprescripts"}


def latex(element: Element) -> str:
    """A MathML element as LaTeX. Unicode symbols stay as they are; what has no counterpart gives its content."""
    name = local_name(element)
    if name in _UNSEEN or not name:
        return ""
    if name in ("mi", "mn", "mo"):
        return _escaped(" ".join("".join(element.itertext()).split()))
    if name in ("mtext", "ms"):
        return _words(" ".join("".join(element.itertext()).split()))
    if name == "mspace":
        return " "
    children = [child for child in element if local_name(child)]
    build = _BUILDERS.get(name)
    if build is not None:
        return build(element, [latex(child) for child in children])
    return " ".join(part for part in map(latex, children) if part).strip() or _escaped((element.text or "").strip())


def _delimited(math: Element) -> str:
    """A formula in a sentence: between dollars, or bare where it is a single number, name or word."""
    formula = latex(math)
    if formula.startswith(r"\text{") and formula.count("{") == 1:
        return formula[6:-1].replace(r"\$", "$")
    return f"${formula}$" if re.search(r"[\\^_{ ]", formula) else formula


def _words(text: str) -> str:
    if not text:
        return ""
    return rf"\text{{{_escaped(text)}}}" if re.search(r"[^\W\d_]{2}", text) else _escaped(text)


def _escaped(text: str) -> str:
    return re.sub(r"([$%#&{}_])", r"\\\1", text)


def _fenced(element: Element, parts: list[str]) -> str:
    separator = (element.get("separators", ",") or " ").strip()[:1] or " "
    return f"{element.get('open', '(')}{separator.join(parts)}{element.get('close', ')')}"


def _table(element: Element, parts: list[str]) -> str:
    rows = r" \\ ".join(part for part in parts if part)
    kind = "aligned" if "& = &" in rows else "matrix"
    return rf"\begin{{{kind}}}{rows.replace('& = &', '&=')}\end{{{kind}}}"


def _over(element: Element, parts: list[str]) -> str:
    base, mark = _two(parts)
    accent = _ACCENTS.get(mark)
    return rf"\{accent}{{{base}}}" if accent else rf"\overset{{{mark}}}{{{base}}}"


def _under(element: Element, parts: list[str]) -> str:
    base, mark = _two(parts)
    return f"{base}_{{{mark}}}" if base in _LIMITS else rf"\underset{{{mark}}}{{{base}}}"


def _two(parts: list[str]) -> tuple[str, str]:
    first, second = [*parts, "", ""][:2]
    return first, second


def _three(parts: list[str]) -> tuple[str, str, str]:
    first, second, third = [*parts, "", "", ""][:3]
    return first, second, third


_BUILDERS: Mapping[str, Callable[[Element, list[str]], str]] = {
    "mfrac": lambda _, parts: r"\frac{{{}}}{{{}}}".format(*_two(parts)),
    "msup": lambda _, parts: "{}^{{{}}}".format(*_two(parts)),
    "msub": lambda _, parts: "{}_{{{}}}".format(*_two(parts)),
    "msubsup": lambda _, parts: "{}_{{{}}}^{{{}}}".format(*_three(parts)),
    "munderover": lambda _, parts: "{}_{{{}}}^{{{}}}".format(*_three(parts)),
    "msqrt": lambda _, parts: rf"\sqrt{{{' '.join(parts)}}}",
    "mroot": lambda _, parts: r"\sqrt[{1}]{{{0}}}".format(*_two(parts)),
    "mfenced": _fenced,
    "mover": _over,
    "munder": _under,
    "mtable": _table,
    "mtr": lambda _, parts: " & ".join(parts) if any(parts) else "",
}
