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
_MATH = re.compile(r"<(math|chem)\b[^>]*?(?:/>|>(.*?)</\1\s*>)", re.DOTALL | re.IGNORECASE)
_DROPPED_TAG = re.compile(
    r"<(ref|gallery|timeline|imagemap|score|graph|references|templatedata|hiero|mapframe)\b(?:[^>/]|/(?!>))*(?:/>|>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
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
_EXTERNAL = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\]]*\s*([^\]\n]*)\]")
_HEADING = re.compile(r"(={1,6})\s*(.+?)\s*\1\s*")
_MAGIC = re.compile(r"__[A-Z]{3,30}__")
_QUOTES = re.compile(r"'{2,5}")
_EMPTY_BRACKETS = re.compile(r"\s?\((?:[\s,;:–-]|or|and)*\)")
_BRACKET_START = re.compile(r"\([ \t]*(?:[,;:][ \t]*)*")
_BRACKET_END = re.compile(r"[ \t]+\)")
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
    text = wikitext.replace("\x02", "").replace("\x03", "")
    text = _COMMENT.sub("", text)
    formulas: list[str] = []

    def hold(match: re.Match[str]) -> str:
        formulas.append(" ".join((match[2] or "").split()))
        return f"\x02{len(formulas) - 1}\x03"

    text = _MATH.sub(hold, text)
    text = _DROPPED_TAG.sub("", text)
    text = _brackets(text)
    text = _EXTERNAL.sub(r"\1", text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = html.unescape(_MAGIC.sub("", _QUOTES.sub("", text))).replace("\xa0", " ")
    text = _BRACKET_END.sub(")", _BRACKET_START.sub("(", _EMPTY_BRACKETS.sub("", text)))
    text = "\n".join(_lines(text.split("\n")))
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return _HOLD.sub(lambda match: f"${formulas[int(match[1])]}$" if formulas[int(match[1])] else "", text)


@dataclass
class _Frame:
    """An open bracket and what was read since: for a template or link, split at its bars."""

    opener: str
    parts: list[list[str]] = field(default_factory=lambda: [[]])


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
        token, position = found[0], found.end()
        if token not in _CLOSES:
            at_line_start = not text[: found.start()].rpartition("\n")[2].strip(" :*") if token == "{|" else True
            if at_line_start:
                stack.append(_Frame(token))
            else:
                position = found.start() + 1
                put("{")
            continue
        if token == "|}" and stack[-1].opener != "{|":
            position = found.start() + 1
            put("|")
            continue
        if not any(frame.opener == _CLOSES[token] for frame in stack[-_MAX_LOOKBACK:]):
            continue
        while stack[-1].opener != _CLOSES[token]:
            _give_up(stack)
        frame = stack.pop()
        stack[-1].parts[-1].append(_closed(frame))
    put(text[position:])
    while len(stack) > 1:
        _give_up(stack)
    return "".join(stack[0].parts[0])


_MAX_LOOKBACK = 40
"""How many open brackets are searched for the one that a closing bracket ends; keeps hostile nesting linear."""


def _give_up(stack: list[_Frame]) -> None:
    """Treat the innermost open bracket as a stray one: its content belongs to the text around it."""
    frame = stack.pop()
    pieces = ["".join(part) for part in frame.parts]
    stack[-1].parts[-1].append("|".join(pieces))


def _closed(frame: _Frame) -> str:
    parts = ["".join(part) for part in frame.parts]
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
