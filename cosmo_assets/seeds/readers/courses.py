"""Readers of course catalogues: Stanford's ExploreCourses export, and JSON Lines of courses.

Belongs here: which entries describe something to learn, and which are cross-listings or logistics. Does not belong
here: outlines of subjects (`outlines`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmo_assets.seeds.readers.base import (
    BadFieldError,
    BadRow,
    RawSeed,
    Row,
    Skipped,
    optional_text,
    required_text,
    unescaped,
)
from cosmo_assets.seeds.readers.streams import elements, json_rows
from cosmo_resources.storage.digest import digest

COURSE_OPTIONS: Mapping[str, Any] = {}

MIN_SUBSTANCE = 20
"""Characters that must remain of a description without its logistics, as in Cosmopedia."""

_CODE = r"[A-Z][A-Z&]{1,11}\s?\d{1,4}[A-Z]{0,2}"
_CROSS_LISTED = re.compile(rf"\s*\((?:Same as\s+)?{_CODE}(?:(?:\s*[,;]\s*|\s+and\s+|\s*,\s*and\s+){_CODE})*\)")
_SENTENCE_END = re.compile(r"(?<=[.;!?])\s+")
_LOGISTICS = re.compile(
    r"""(?:
    (?:the\s+|this\s+)?(?:course\s+)?(?:may|can)\s+(?:not\s+)?(?:also\s+)?be\s+(?:repeated|taken)
  | repeatable | repeat\s+for
  | same\s+as\b | see\s+[A-Z]{2,}[\s.] | see\s+(?:the\s+)?(?:class|course)\s+schedule | see\s+(?:the\s+)?department
  | cross-?listed | meets\s+with | formerly\b | continuation\s+of\s+[A-Z]{2,}\s?\d+\.?$ | credit:
  | for\s+students\s+(?:who\s+have|with)\s+no\s+credit
  | (?:co-?\s?(?:requisites?)?\s*(?:and|or|/)\s*)?(?:pre|co)-?\s?(?:/co-?)?requisites? | (?:strongly\s+)?recommended:
  | (?:(?:under)?graduate|ph\.?d\.?|doctoral|master'?s?|medical|law)\s+students?\s+only
  | (?:open\s+only|restricted|limited)\s+to | required\s+(?:of|for)\s
  | enrol(?:l?ment)?\s+(?:is\s+)?(?:requires?|limited|restricted|by) | limited\s+enrol
  | (?:consent|permission|approval)\s+of\s
  | (?:instructor'?s?|department(?:al)?|advis[eo]r)\s+(?:consent|permission|approval)
  | approved\s+for | s/u\b | credit/no\s | letter\s(?:grad|or\s) | grad(?:ed|ing)\b
  | no\s+(?:graduate|professional|undergraduate)?\s*credit | credit\s+is\s+not | additional\s+fees
  | topics\s+(?:(?:may|will)\s+)?vary
  | (?:\d+\s+(?:to|or)\s+)?\d+\s+(?:(?:under)?graduate|credit)?\s*(?:hours|units|credits)
  | students\s+(?:may|must|can)\s+(?:register|enroll) | tba\b | staff\b | contact\b | offered\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


_SAME_AS = re.compile(rf"same\s+as\s+(?P<codes>{_CODE}.*?)(?:\.\s+see\s+(?P<see>{_CODE}))?\.", re.IGNORECASE)
_WORD = re.compile(r"[a-z']+")
_FORMS = {
    "thesis", "theses", "dissertation", "research", "study", "studies", "seminar", "seminars", "topic",
    "topics", "problem", "problems", "project", "projects", "reading", "readings", "internship", "practicum",
    "tutorial", "colloquium", "proseminar", "honors",
}  # fmt: skip
_FORMS_OF = {
    "a", "adv", "advanced", "and", "campus", "capstone", "course", "directed", "experience", "field", "final",
    "for", "freshman", "grad", "graduate", "group", "guided", "in", "ind", "independent", "individual",
    "introductory", "junior", "juniors", "master's", "of", "off", "on", "open", "or", "professional",
    "resident", "reading", "senior", "seniors", "sophomores", "special", "spec", "students", "supervised",
    "teaching", "ug", "undergrad", "undergraduate", "work", "i", "ii", "iii", "iv",
}  # fmt: skip
"""Titles of these words alone name a way of working (Thesis Research, Independent Study), not a subject."""


def explorecourses(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """Stanford ExploreCourses XML (`view=xml-20200810`): one seed per course, native id "CS 14", context its subject.

    A course listed under several subjects has one entry for each, with the same description and the others' codes in
    parentheses in the title, or a mere reference ("Same as AFST 222. See AFST 222."): the first that describes it is
    kept, the others are skipped. Skipped are also descriptions of logistics alone, and courses that are a way of
    working without a subject (thesis research, independent study, internship).
    """
    seen: set[str] = set()
    for item in elements(path, "course"):
        if isinstance(item, BadRow):
            yield item
            continue
        values = {name: item.findtext(f"{{*}}{name}") for name in ("subject", "code", "title", "description")}
        place = f"{path.name}:{values['subject'] or '?'} {values['code'] or '?'}"
        yield _course(place, {**values, "number": values["code"]}, "code", seen)


def course_jsonl(path: Path, options: Mapping[str, Any]) -> Iterator[Row]:
    """JSON Lines with subject, number, title and description: one seed per course, as `explorecourses`."""
    seen: set[str] = set()
    for item in json_rows(path):
        yield item if isinstance(item, BadRow) else _course(*item, "number", seen)


def _course(place: str, row: Any, number_field: str, seen: set[str]) -> Row:
    try:
        subject = required_text(row, "subject").strip()
        number = optional_text(row, "number")
        if number is None:
            raise BadFieldError("missing_field", number_field)
        title = _CROSS_LISTED.sub("", unescaped(required_text(row, "title"))).strip()
        description = unescaped(optional_text(row, "description") or "")
    except BadFieldError as bad:
        return bad.row(place)
    if not description:
        return Skipped(place, "empty_description")
    content = substance(description)
    if len(content) < MIN_SUBSTANCE:
        same = _SAME_AS.match(description)
        return (
            Skipped(place, "cross_listed", same["see"] or same["codes"]) if same else Skipped(place, "logistics_only")
        )
    if _names_no_subject(title):
        return Skipped(place, "no_subject", title)
    key = digest(title.casefold(), content)
    if key in seen:
        return Skipped(place, "cross_listed")
    seen.add(key)
    return RawSeed(f"{subject} {number}", description, title=title or None, context=(subject,))


def substance(description: str) -> str:
    """A course description without its sentences about repetition, grading, prerequisites, enrolment and cross-listing:
    what two listings of one course have in common."""
    return " ".join(sentence for sentence in _SENTENCE_END.split(description) if not _LOGISTICS.match(sentence))


def _names_no_subject(title: str) -> bool:
    words = set(_WORD.findall(title.lower()))
    return bool(words & _FORMS) and words <= _FORMS | _FORMS_OF
