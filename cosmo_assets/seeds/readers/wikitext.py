"""Wikitext, the markup of MediaWiki, as plain text: prose, headings and lists, with formulas kept in LaTeX.

Belongs here: what becomes of each construct of the markup. Does not belong here: the XML dump around it (`mediawiki`).

No installed library does this, so it is done here, honestly small: one pass over brackets, in linear time, without
expanding templates. What a template would have said is lost, but for the few in `_template`.
"""

import html
import re
from dataclasses import dataclass, field

_APPENDICES = {
    "see also", "references", "notes", "footnotes", "citations", "sources", "bibliography", "further reading",
    "external links", "notes and references", "works cited", "references and notes", "general references",
}  # fmt: skip
"""Sections that hold lists of links and citations; they are left out, with what stands under them."""

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_PAIRED = re.compile(
    r"<(?P<end>/?)(?P<name>math|chem|ref|gallery|timeline|imagemap|score|graph|references|templatedata|hiero|mapframe)\b"
    r"(?P<rest>[^<>]*?)(?P<alone>/?)>",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BREAK = re.compile(r"<\s*(?:br|hr)\b[^<>]*>", re.IGNORECASE)
_TOKEN = re.compile(r"\{\{|\}\}|\{\||\|\}|\[\[|\]\]")
_CLOSES = {"}}": "{{", "|}": "{|", "]]": "[["}
_NAMESPACE = re.compile(r"\s*:?\s*[\w -]{1,30}:", re.UNICODE)
_MEDIA = re.compile(
    r"\s*(?:file|image|media|category|datei|bild|fichier|archivo|kategorie|catégorie|categoría)\s*:", re.IGNORECASE
)
_INTERLANGUAGE = re.compile(r"\s*[a-z]{2,3}(?:-[a-z-]+)?\s*:")
_EXTERNAL = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\[\]]*+[^\S\n]*+([^\[\]\n]*+)\]")
_HEADING = re.compile(r"(={1,6})\s*(.+?)\s*\1\s*")
_MAGIC = re.compile(r"__[A-Z]{3,30}__")
_QUOTES = re.compile(r"'{2,5}")
_EMPTY_BRACKETS = re.compile(r"\s?\((?:[\s,;:–-]|or|and)*\)")
_BRACKET_START = re.compile(r"\([ \t]*(?:[,;:][ \t]*)*")
_BRACKET_END = re.compile(r"(?<![ \t])[ \t]+\)")
_LIST_MARK = re.compile(r"([*#:;]+)\s*")
_HOLD = re.compile("\x02(\\d+)\x03")
_DASHES = {
    "ndash": "–",
    "mdash": "—",
    "snd": " – ",
    "spnd": " – ",
    "spaced ndash": " – ",
    "nbsp": " ",
    "'": "'",
    "=": "=",
    "!": "|",
    "pipe": "|",
}


def plain_text(wikitext: str) -> str:
    """The text of a page. Paragraphs are separated by a blank line; a heading is a line of its own; a list item starts
    with "- ". Unbalanced brackets are dropped and their content kept.

    Shape of cost: linear in the length of the text.
    """
    formulas: list[str] = []
    text = _without_pairs(_COMMENT.sub("", wikitext.replace("\x02", "").replace("\x03", "")), formulas)
    text = _brackets(text)
    text = _EXTERNAL.sub(r"\1", text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = html.unescape(_MAGIC.sub("", _QUOTES.sub("", text))).replace("\xa0", " ")
    text = _BRACKET_END.sub(")", _BRACKET_START.sub("(", _EMPTY_BRACKETS.sub("", text)))
    text = "\n".join(_lines(text.split("\n")))
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return _HOLD.sub(lambda match: f"${formulas[int(match[1])]}$" if formulas[int(match[1])] else "", text)


def _without_pairs(text: str, formulas: list[str]) -> str:
    """The text without footnotes, galleries and the like, each formula put aside and a mark left in its place. A tag
    that is never closed, or opened again before it is, is a stray one: what follows it stays."""
    kept: list[str] = []
    position = 0
    opened: re.Match[str] | None = None
    for tag in _PAIRED.finditer(text):
        name = tag["name"].lower()
        if tag["end"]:
            if opened is None or opened["name"].lower() != name or tag["rest"].strip():
                continue
            kept.append(text[position : opened.start()])
            if name in ("math", "chem"):
                kept.append(f"\x02{len(formulas)}\x03")
                formulas.append(" ".join(text[opened.end() : tag.start()].split()))
            position, opened = tag.end(), None
        elif tag["alone"]:
            if opened is None:
                kept.append(text[position : tag.start()])
                position = tag.end()
        elif opened is None or opened["name"].lower() == name:
            opened = tag
    return "".join([*kept, text[position:]])


@dataclass
class _Frame:
    """An open bracket and what was read since: for a template or link, split at its bars."""

    opener: str
    parts: list[list[str]] = field(default_factory=lambda: [[]])

    def pieces(self) -> list[str]:
        return ["".join(part) for part in self.parts]


def _brackets(text: str) -> str:
    """The text without templates and tables, links replaced by their labels."""
    stack = [_Frame("")]
    position = 0

    def put(piece: str) -> None:
        frame = stack[-1]
        if frame.opener in ("", "{|"):
            frame.parts[-1].append(piece)
            return
        first, *others = piece.split("|")
        frame.parts[-1].append(first)
        frame.parts.extend([other] for other in others)

    while found := _TOKEN.search(text, position):
        put(text[position : found.start()])
        bracket, position = found[0], found.end()
        if bracket not in _CLOSES:
            before = text[max(0, found.start() - 20) : found.start()].rpartition("\n")[2]
            if bracket != "{|" or not before.strip(" :*"):  # a table begins its line
                stack.append(_Frame(bracket))
            else:
                position = found.start() + 1
                put("{")
            continue
        if bracket == "|}" and stack[-1].opener != "{|":
            position = found.start() + 1
            put("|")
            continue
        if not any(frame.opener == _CLOSES[bracket] for frame in stack[-_MAX_LOOKBACK:]):
            continue
        while stack[-1].opener != _CLOSES[bracket]:
            _give_up(stack)
        frame = stack.pop()
        stack[-1].parts[-1].append(_closed(frame))
    put(text[position:])
    return "".join("|".join(frame.pieces()) for frame in stack)  # those still open are stray: their content stays


_MAX_LOOKBACK = 40
"""How many open brackets are searched for the one that a closing bracket ends; keeps hostile nesting linear."""


def _give_up(stack: list[_Frame]) -> None:
    """Treat the innermost open bracket as a stray one: its content belongs to the text around it."""
    frame = stack.pop()
    stack[-1].parts[-1].append("|".join(frame.pieces()))


def _closed(frame: _Frame) -> str:
    parts = frame.pieces()
    if frame.opener == "[[":
        return _link(parts)
    return _template(parts) if frame.opener == "{{" else ""


def _link(parts: list[str]) -> str:
    target, label = parts[0], parts[-1].strip()
    if _MEDIA.match(target):
        return ""
    if len(parts) == 1:
        if _INTERLANGUAGE.match(target):
            return ""
        return target.strip().removeprefix(":")
    return label or re.sub(r"\s*\(.*\)$", "", _NAMESPACE.sub("", target)).strip()


def _template(parts: list[str]) -> str:
    """The words of the few templates that stand for words: dashes, languages, measures, quotations."""
    name = parts[0].strip().lower()
    values = [part.strip() for part in parts[1:] if "=" not in part]
    if name in _DASHES:
        return _DASHES[name]
    if name in ("convert", "cvt") and len(values) >= 2:
        if values[1] in ("to", "-", "–", "and", "by", "x") and len(values) >= 4:
            return f"{values[0]} {values[1]} {values[2]} {values[3]}"
        return f"{values[0]} {values[1]}"
    if name in ("lang", "transl", "transliteration") or name.startswith("lang-"):
        return values[-1] if values else ""
    if name in (
        "nowrap",
        "nobr",
        "val",
        "formatnum",
        "smallcaps",
        "abbr",
        "sic",
        "angle bracket",
        "em",
        "strong",
    ) or name.startswith("formatnum:"):
        return values[0] if values else name.partition(":")[2]
    if name in ("quote", "blockquote", "cquote", "quotation"):
        named = [part.partition("=")[2].strip() for part in parts[1:] if re.match(r"\s*(?:text|quote|1)\s*=", part)]
        return (named or values or [""])[0]
    return ""


def _lines(lines: list[str]) -> list[str]:
    """The lines with list marks made plain, headings set apart, and appendices and empty sections left out."""
    found: list[str] = []
    left_out = 0
    for raw in lines:
        line = " ".join(raw.split())
        if heading := _HEADING.fullmatch(line):
            level, title = len(heading[1]), heading[2]
            if left_out and level > left_out:
                continue
            left_out = level if title.casefold() in _APPENDICES else 0
            if not left_out:
                found += ["", _MARK + str(level) + title, ""]
            continue
        if left_out:
            continue
        if mark := _LIST_MARK.match(line):
            rest = line[mark.end() :]
            line = f"- {rest}" if rest and mark[1][-1] in "*#" else rest
            found.append(line)
        elif line or not found or found[-1]:
            found += [line, ""] if line else [""]
    return _with_content(found)


_MARK = "\x02heading"


def _with_content(lines: list[str]) -> list[str]:
    """Headings without the sections' empty ones: a heading is kept if text follows before the next of its level."""
    kept: list[str] = []
    waiting: list[tuple[int, str]] = []
    for line in lines:
        if line.startswith(_MARK):
            level = int(line[len(_MARK)])
            waiting = [(above, title) for above, title in waiting if above < level]
            waiting.append((level, line[len(_MARK) + 1 :]))
        elif line:
            for _, title in waiting:
                kept += ["", title, ""]
            waiting = []
            kept.append(line)
        else:
            kept.append(line)
    return kept
