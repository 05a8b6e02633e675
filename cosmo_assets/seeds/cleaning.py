"""Cleaning of seed texts: repair, language, personal data, boilerplate. Pure functions over one text.

Belongs here: what is done to a text, and what is measured on it. Does not belong here: bounds and decisions (the
recipe's seed policy, applied by `rows`) or file formats (`readers`).
"""

import functools
import ipaddress
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import ftfy
from py3langid.langid import MODEL_FILE, LanguageIdentifier

EMAIL, IP_ADDRESS, PHONE = "email@example.com", "192.0.2.1", "555-0100"
"""What personal data is replaced by: names and numbers set aside for examples (RFC 2606, RFC 5737, and the block
555-0100 to 555-0199 of the North American plan), so that a masked text still reads like one."""

ENGLISH_ODDS = 100.0
"""How many times as probable as English another language must be to be believed; see `language_of`."""

_FTFY = ftfy.TextFixerConfig(uncurl_quotes=False, normalization="NFC", explain=False)
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_CONTROL = re.compile(r"<\|\w{1,40}\|>|\[/?INST\]")
_CONTROL_AT_END = re.compile(rf"(?:{_CONTROL.pattern})\Z")
_CONTROL_CHARS = 44
_SPACES = re.compile(r"(?<=\S)[^\S\n]+(?=\S)")
_INDENT = re.compile(r"^[^\S\n]+", re.MULTILINE)
_LINE_ENDS = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_MAX_INDENT = 16


def clean(text: str) -> str:
    """The text with its encoding repaired (ftfy: mojibake, HTML character references, ligatures, surrogates, control
    characters, odd line ends), in NFC, invisible characters removed, runs of spaces and of blank lines collapsed.
    Control tokens of chat models (`<|im_end|>`, `[INST]`) are removed: a server would read them as its own.

    Paragraphs stay, and so does the indentation of a line (up to 16 columns), which is meaning in code. Curly quotes
    stay: they are no damage. LaTeX is ASCII, of which only runs of spaces are touched. Applying it twice changes
    nothing more.
    """
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", ftfy.fix_text(text, _FTFY)))
    text = _without_control_tokens(text)
    text = _INDENT.sub(lambda match: " " * min(len(match[0].expandtabs(4)), _MAX_INDENT), text)
    text = _LINE_ENDS.sub("", _SPACES.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _without_control_tokens(text: str) -> str:
    """The text without control tokens, those included to which the rest closes up when others are taken out. Cost:
    linear, however they are nested."""
    text = _CONTROL.sub("", text)
    if not _CONTROL.search(text):
        return text
    kept: list[str] = []
    for char in text:
        kept.append(char)
        if char in ">]" and (token := _CONTROL_AT_END.search("".join(kept[-_CONTROL_CHARS:]))):
            del kept[-len(token[0]) :]
    return "".join(kept)


FORMULA = re.compile(
    r"\$\$.{1,4000}?\$\$|\\\[.{1,4000}?\\\]|\\\(.{1,1000}?\\\)|\\begin\{(\w{1,20}\*?)\}.{1,4000}?\\end\{\1\}"
    r"|(?<![\\$\w])\$(?![\s$])(?:[^$\n\\]|\\.){1,300}?(?<![\s\\])\$(?![\d$])",
    re.DOTALL,
)
"""A formula in LaTeX. As in pandoc, a single dollar opens one only before a character that is no space, and closes it
only after one and not before a digit, so that prices are no formulas."""
_NOT_PROSE = re.compile(r"https?://\S+|\\[A-Za-z]+|(?<![\w.+-])[\w.+-]+@[\w.-]+|(?<!\w)[^\W\d_]*[\d_][\w.]*")
_DETECTED_CHARS = 2000


def language_of(text: str) -> tuple[str, float]:
    """The language of a text (ISO 639-1 where there is one) and its probability, by py3langid's naive Bayes.

    Formulas, URLs and words with digits are taken out first, and the first 2,000 characters of the rest are judged. A
    text without letters is ("zxx", 1.0), ISO's code for no linguistic content.

    Short texts need a rule of their own, for half of the seeds of an outline are titles. Of 5,727 English titles under
    40 characters (OpenStax, Stack Overflow, UIUC) py3langid gives 30 % to another language, most often Latin or
    Nigerian Pidgin, but barely above English. So another language is believed only if it is at least `ENGLISH_ODDS`
    times as probable as English: that leaves 2 of those titles wrong, and still finds 85 % of 135 Polish titles of that
    length. The rule needs no bound on the length: in a paragraph, the odds of its own language are astronomical.
    """
    prose = " ".join(_NOT_PROSE.sub(" ", FORMULA.sub(" ", text[: 8 * _DETECTED_CHARS])).split())[:_DETECTED_CHARS]
    if not any(char.isalpha() for char in prose):
        return "zxx", 1.0
    ranked: list[tuple[str, float]] = _identifier().rank(prose)
    language, probability = ranked[0]
    english = dict(ranked).get("en", 0.0)
    if language != "en" and probability < ENGLISH_ODDS * english:
        return "en", english
    return language, probability


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


_EMAIL = re.compile(r"(?<![\w.+-])[\w.%+!-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![\w@-])")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![\w.-]){_OCTET}(?:\.{_OCTET}){{3}}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{6,39}(?![\w:])")
_VERSION_CUE = re.compile(
    r"(?:\bv|\bver|\bversions?|\brelease|\bsection|\bsec|§|\bchapter|\bfigure|\btable|\brev)[.\s]*$", re.I
)
_SMALL_OCTET = 31
_TEST_NETS = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "203.0.113.0/24")))

_NO_NUMBER_BEFORE = r"(?<![\w.,/$^={-])(?<!\d )(?<!\+ )"
_NO_NUMBER_AFTER = r"(?![\w-]|[.,]\d)"
_NORTH_AMERICAN = re.compile(
    rf"{_NO_NUMBER_BEFORE}(?:\+?1[-. ]?)?(?:\([2-9]\d\d\)[- ]?[2-9]\d\d[-. ]"
    rf"|[2-9]\d\d(?:-[2-9]\d\d-|\.[2-9]\d\d\.| [2-9]\d\d-))\d{{4}}{_NO_NUMBER_AFTER}"
)
_INTERNATIONAL = re.compile(
    rf"{_NO_NUMBER_BEFORE}\+{{1,2}}[1-9]"
    rf"(?:\d{{9,14}}|\d{{0,3}}(?:[-. ]?\(\d{{1,4}}\))?(?:[-. ]\d{{1,8}}){{1,6}}){_NO_NUMBER_AFTER}"
)
_CUED = re.compile(
    r"\b(?:(?:tele|mobile\s|cell\s)?phone|tel|(?:tele)?fax|facs|fone|mobile|whatsapp|hotline)\b\.?"
    r"(?:\s?(?:number|no\.|nr\.|\#))?(?:\s(?:is|at|on)\b)?[:\s]{0,8}"
    r"(?P<number>\+{0,2}\(?\d(?:[-. ()]{0,2}\d){6,14})(?![\w-]|[.,]\d)",
    re.IGNORECASE,
)
_LOCAL = re.compile(
    r"\b(?:call|text|ring|dial|voice|cell|phone)(?:\s(?:us|me|him|her|them))?(?:\s(?:at|on))?:?\s"
    r"(?P<number>[2-9]\d\d-\d{4})(?![\w-]|[.,]\d)",
    re.IGNORECASE,
)
_BOOK_CUE = re.compile(r"(?:ISBN|ISSN|DOI)\S*\s*$", re.IGNORECASE)
_CUE_CHARS = 24


class Span(NamedTuple):
    """A piece of a text, in characters: of which kind, where it begins, where it ends."""

    kind: str
    start: int
    end: int


MASKS = {"email": EMAIL, "ip_address": IP_ADDRESS, "phone": PHONE}
"""What personal data of each kind is replaced by."""


def mask_personal_data(text: str) -> tuple[str, int]:
    """The text with what `personal_data` finds in it replaced, and how many pieces were."""
    spans = personal_data(text)
    return _masked(text, spans), len(spans)


def _masked(text: str, spans: Sequence[Span]) -> str:
    pieces, position = list[str](), 0
    for kind, start, end in spans:
        pieces += [text[position:start], MASKS[kind]]
        position = end
    return "".join([*pieces, text[position:]])


def personal_data(text: str) -> list[Span]:
    """Where e-mail addresses, public IP addresses and telephone numbers stand, in order, without overlap.

    Nothing is looked for inside a formula. Not taken for an address: private networks, and four numbers of at most 31
    or after "version", "section" and the like, which are nearly always a version or a section (one address in 4,096 is
    made of such numbers). Taken for a telephone number: North American ones in their usual shapes, international
    ones with a plus and 8 to 15 digits, any other number of 7 to 15 digits after a word such as "phone" or "fax".
    Years, ISBNs, decimals and rows of numbers are not, nor is what such data is replaced by.

    datatrove's PIIFormatter was measured first and is not used: its e-mail pattern takes 8 s on 40 kB of "a.a.a." and
    50 s on 50 kB of "a-a-a-", swallows the path of a URL such as medium.com/@name and prices such as 5@2.50; its IP
    pattern has no bounds, so that section numbers are addresses; and its replacements rotate, so that the result
    depends on which texts came before.
    """
    return [
        Span(kind, at + start, at + end)
        for at, piece in outside_formulas(text)
        for kind, start, end in _personal_data(piece)
    ]


def outside_formulas(text: str) -> Iterator[tuple[int, str]]:
    """The pieces of a text between its formulas, each with where it begins."""
    position = 0
    for formula in FORMULA.finditer(text):
        yield position, text[position : formula.start()]
        position = formula.end()
    yield position, text[position:]


def _personal_data(text: str) -> list[Span]:
    """One kind after the other: what was found of one is masked for the next, so that it is no part of that."""
    spans: list[Span] = []
    masked = text

    def search(pattern: re.Pattern[str], kind: str, accept: Callable[[re.Match[str], str], bool]) -> None:
        nonlocal spans, masked
        group = "number" if "number" in pattern.groupindex else 0
        found = []
        for match in pattern.finditer(masked):
            before = masked[max(0, match.start() - _CUE_CHARS) : match.start()]
            if match[group] != MASKS[kind] and accept(match, before):
                found.append(match.span(group))
        if found:
            new = [Span(kind, *place) for place in _unmasked(found, spans)]
            spans = sorted([*new, *_outside(spans, new)], key=lambda span: span.start)
            masked = _masked(text, spans)

    if "@" in text:
        search(_EMAIL, "email", lambda match, before: not before.endswith("/") or "://" not in before)
    search(_IPV4, "ip_address", _is_public)
    if ":" in text:
        search(_IPV6, "ip_address", _is_public)
    for pattern in (_INTERNATIONAL, _NORTH_AMERICAN, _CUED, _LOCAL):
        search(pattern, "phone", _is_telephone)
    return spans


def _unmasked(found: Sequence[tuple[int, int]], spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Where pieces of a masked text stand in the text itself; a mask that one touches is taken in whole."""
    begins, shifts = list[int](), [0]
    for kind, start, end in spans:
        begins.append(start + shifts[-1])
        shifts.append(shifts[-1] + len(MASKS[kind]) - (end - start))

    def unmasked(place: int, *, ends: bool) -> int:
        masks = bisect_left(begins, place)
        before = spans[masks - 1] if masks else None
        if before and place < begins[masks - 1] + len(MASKS[before.kind]):
            return before.end if ends else before.start
        return place - shifts[masks]

    return ((unmasked(start, ends=False), unmasked(end, ends=True)) for start, end in found)


def _outside(spans: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """The spans that no other one takes in."""
    begins = [other.start for other in others]
    for span in spans:
        before = bisect_right(begins, span.start)
        if not before or others[before - 1].end <= span.start:
            yield span


def _is_public(match: re.Match[str], before: str) -> bool:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        if max(address.packed) <= _SMALL_OCTET or _VERSION_CUE.search(before):
            return False
        return (address.is_global and not address.is_multicast) or any(address in network for network in _TEST_NETS)
    groups = [group for group in match[0].split(":") if group]
    return address.is_global and len(groups) >= 4 and any(char.isdigit() for char in match[0])


def _is_telephone(match: re.Match[str], before: str) -> bool:
    number = match["number"] if "number" in match.re.groupindex else match[0]
    groups = re.findall(r"\d+", number)
    digits = sum(map(len, groups))
    if not 7 <= digits <= 15 or _BOOK_CUE.search(before) or 2 * digits < 3 * len(groups):
        return False
    if all(len(group) == 4 and group[0] in "12" for group in groups):  # a span of years
        return False
    if number.startswith("+"):
        thousands = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3 and digits <= 9
        return digits >= 8 and not thousands and max(map(len, groups[1:]), default=digits) >= 2
    return True


_NOTICE = re.compile(
    r"""
    ^(?:skip\sto\s(?:main\s)?(?:content|navigation)|back\sto\s(?:the\s)?top|return\sto\stop|jump\sto\s(?:content|navigation|search|main)\b)
  | ^(?:(?:please\s)?(?:log|sign)[\s-]?(?:in|out|up)|register|subscribe|join\sus|create\s(?:an\s)?account)\b.{0,60}$
  | \b(?:uses?|using|accept|about|our)\s(?:(?:all|of|our|the|website|site)\s){0,2}cookies\b
  | \bcookie\s(?:policy|settings|notice|preferences|consent)\b
  | ^(?:accept|reject|allow|manage)\s(?:all|cookies|preferences)\b
  | ^(?:share|tweet|pin|print|e-?mail|bookmark|save|like|follow)\s(?:this|us|on|via|to|it)\b.{0,60}
    \b(?:facebook|twitter|pinterest|linkedin|reddit|whatsapp|instagram|print|email|friend|page|article|post)\b
  | ^(?:share|tweet|print|pin\sit|like|follow\sus|facebook|twitter|linkedin|pinterest|instagram|whatsapp|rss)\s*:?$
  | \ball\srights\sreserved\b
  | ^(?:copyright\b|\(c\)|©).{0,20}\b(?:19|20)\d\d\b
  | ^(?:privacy(?:\spolicy)?|terms(?:\s(?:of\s(?:use|service)|(?:and|&)\sconditions))?|disclaimer|site\s?map
      |contact\sus|about\sus|advertise\swith\sus|advertisements?|sponsored|related\s(?:posts|articles)
      |recent\s(?:posts|comments)|categories|archives|tags|menu|search|home
      |(?:previous|next|older|newer)(?:\s(?:post|page|article|entries))?)\s*[:»›>|]*$
  | ^(?:read\smore|click\shere|learn\smore|continue\sreading|leave\sa\s(?:reply|comment)|post\sa\scomment
      |(?:view|see)\sall|load\smore)\b.{0,40}$
  | ^(?:\d+\scomments?|comments?\s\(\d+\)|no\scomments(?:\syet)?
      |(?:posted\s(?:by|on|in)|filed\sunder|tagged)\b.{0,60})$
  | ^(?:subscribe|sign\sup|join|get|receive)\b.{0,50}\b(?:newsletter|mailing\slist|updates)\b.{0,40}$
  | ^(?:powered|designed|hosted)\sby\b.{0,40}$
  | \benable\sjavascript\b | \bjavascript\s(?:is|to\sbe)\s(?:disabled|enabled)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MENU_SEPARATOR = re.compile(r"\s+[|»›•·>/]+\s+")
_MENU_ITEM = re.compile(
    r"""
    home(?:\s?page)? | about(?:\sus)? | contacts?(?:\sus)? | blog | news | forums? | help | support | faqs? | search
  | sitemap | shop | store | cart | checkout | my\saccount | account | profile | log\s?(?:in|out) | sign\s?(?:in|up|out)
  | register | subscribe | donate | careers | jobs | press | advertise(?:\swith\sus)? | privacy(?:\spolicy)? | legal
  | terms(?:\s(?:of\s(?:use|service)|(?:and|&)\sconditions))? | cookies? | cookie\s(?:settings|policy) | accessibility
  | (?:accept|reject|allow)\sall | manage\spreferences | feedback | menu | archives? | categories | gallery | rss
  | disclaimer | print
  | email | share | tweet | facebook | twitter | linkedin | pinterest | instagram | youtube | reddit | whatsapp
  | (?:previous|next|older|newer)(?:\s(?:post|page|article|entries))? | top
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NOTICE_CHARS = 300
_MENU_ITEM_CHARS = 30


def boilerplate_share(text: str) -> float:
    """Share of the text's non-blank lines that look like navigation, cookie and consent notices, share buttons, calls
    to subscribe, or copyright lines; 0.0 for an empty text. A line of more than 300 characters is prose."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return sum(map(_is_boilerplate, lines)) / len(lines) if lines else 0.0


def _is_boilerplate(line: str) -> bool:
    if len(line) > _NOTICE_CHARS:
        return False
    return bool(_NOTICE.search(line)) or _is_menu(line)


def _is_menu(line: str) -> bool:
    """Names between bars, dots or arrows, at least two of which are those that menus have, and at least a third of
    all: the head of a table of prices is built alike."""
    items = [item.strip() for item in _MENU_SEPARATOR.split(line)]
    known = sum(bool(_MENU_ITEM.fullmatch(item)) for item in items)
    return known >= 2 and 3 * known >= len(items) and max(map(len, items)) <= _MENU_ITEM_CHARS
