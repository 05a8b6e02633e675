"""Templates: what a file may hold, what a body may do, skeletons against plain Jinja, and the shipped set.

Belongs here: reading and unfolding templates. Does not belong here: the texts of seeds in them (`test_rendering`),
advice on wording (`test_lint`).
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jinja2
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from cosmo_assets.prompts import table
from cosmo_assets.prompts.templates import (
    LISTS,
    OutputChecks,
    Shape,
    Slot,
    Template,
    fixed_text,
    load_templates,
    read_template,
    skeleton,
)
from cosmo_assets.quality.rules import broken_checks
from cosmo_assets.recipe.sources import SourceKind
from cosmo_resources.errors import CosmoError

TEMPLATES = load_templates(())
IDS = sorted(TEMPLATES)
FULL = Shape(title=True, topic=True, unit=True, extract=True, context=2, outline=2)

SET = {
    "web": """textbook_academic textbook_narrative blogpost wikihow_web web2_textbook_academic web2_textbook_narrative
        web2_blogpost web2_wikihow textbook_middle_school textbook_college explainer_general lesson_young_children
        briefing_professionals finephrase_table finephrase_math finephrase_faq finephrase_tutorial wrap_easy wrap_medium
        wrap_hard wrap_qa nemotron_wikipedia nemotron_diverse_qa nemotron_distill nemotron_extract_knowledge
        nemotron_knowledge_list""",
    "maths": "maths_college maths_grade_school maths_word_problems",
    "code": "code_textbook_college code_textbook_high_school code_exercises",
    "book": """openstax_young_children openstax_middle_school openstax_college openstax_researchers
        openstax_young_children_title openstax_middle_school_title openstax_college_title openstax_researchers_title""",
    "course": "course_unit course_unit_young_children course_unit_middle_school course_unit_researchers",
    "topic_tree": "khan_lesson",
    "title_list": "wikihow_article",
    "conversation": """story_young_children story_morality story_problem_solving story_forum story_reddit
        exchange_young_children exchange_problem_solving exchange_reddit""",
}
REPHRASERS = [name for name in IDS if name.startswith(("finephrase_", "wrap_", "nemotron_"))]


def template(body: str = "Go.", **changes: Any) -> Template:
    fields: dict[str, Any] = {
        "id": "mine",
        "version": "1",
        "kinds": ("web",),
        "audience": "general",
        "format": "text",
        "words": 50,
        "max_tokens": 100,
    }
    return Template(**{**fields, **changes}, body=body)


# The shipped set


def test_the_set_is_complete() -> None:
    expected = {name: (kind,) for kind, names in SET.items() for name in names.split()}
    assert {name: template.kinds for name, template in TEMPLATES.items()} == expected
    assert set(SET) == set(get_args(SourceKind))


@pytest.mark.parametrize("id", IDS)
def test_a_shipped_template_is_well_formed(id: str) -> None:
    template = TEMPLATES[id]
    ending = template.body.split("\n\n")[-1]
    assert ending.startswith("Write only "), "the output instruction comes last"
    assert re.search(r"(about|at most) \{\{ words \}\} words", ending)
    assert len(fixed_text(template).split()) < 130, "small models lose the subject behind long instructions"
    assert all(line == line.rstrip() for line in template.body.splitlines())
    assert template.audience in (
        "young children",
        "grade school students",
        "middle school students",
        "high school students",
        "college students",
        "researchers",
        "professionals",
        "general",
    )
    assert 1.3 * template.words < template.max_tokens, "the answer shall end before it is cut off"
    assert 10 <= template.checks.min_words <= 40 and template.description.endswith(".")


@pytest.mark.parametrize("id", IDS)
def test_how_much_of_a_seed_a_shipped_template_shows(id: str) -> None:
    template = TEMPLATES[id]
    expected = {"book": 0 if id.endswith("_title") else 150, "title_list": 60}.get(template.kinds[0], 250)
    rephrasers = {
        **{name: (6000, 2048, 0) for name in REPHRASERS if name.startswith("finephrase_")},
        **{name: (300, 600, 0) for name in REPHRASERS if name.startswith("wrap_")},
        "nemotron_wikipedia": (512, 512, 0),
        "nemotron_diverse_qa": (1000, 600, 30),
        "nemotron_distill": (2000, 1600, 0),
        "nemotron_extract_knowledge": (1400, 1400, 0),
        "nemotron_knowledge_list": (1000, 600, 30),
    }
    shown = (template.extract_tokens, template.max_tokens, template.min_extract_tokens)
    assert shown == rephrasers.get(id, (expected, 2500, 0))
    assert template.segments == id.startswith(("wrap_", "nemotron_"))
    assert ("topic" in template.uses) == (id not in REPHRASERS)


@pytest.mark.parametrize("id", IDS)
def test_a_part_that_a_seed_lacks_leaves_no_gap(id: str) -> None:
    template = TEMPLATES[id]
    bare = Shape(title=template.extract_tokens == 0, extract=template.extract_tokens > 0)
    for shape in (FULL, bare):
        text = "".join(part if isinstance(part, str) else "..." for part in skeleton(template.body, 9, shape))
        assert "None" not in text and "\n\n\n" not in text and text == text.strip()


@pytest.mark.parametrize("id", IDS)
def test_a_shipped_template_says_the_same_thing_as_no_other(id: str) -> None:
    def grams(template: Template) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", template.body.split("\n\n")[0].lower())
        return set(zip(*(words[start:] for start in range(4)), strict=False))

    mine = grams(TEMPLATES[id])
    for other in (TEMPLATES[key] for key in IDS if key != id):
        theirs = grams(other)
        assert len(mine & theirs) < 0.3 * min(len(mine), len(theirs)), other.id


FILLER = " The water rises in the narrow tube because it clings to the glass." * 4
GOOD: dict[str, str] = {
    "textbook": "Capillary action begins at the wall of the tube." + FILLER,
    "textbook_narrative": "The tube slipped out of her hand." + FILLER,
    "blogpost": "Put a paper towel into a glass of water." + FILLER,
    "wikihow": "# How to Water Plants\n\n**Step 1.** Fill a pot." + FILLER,
    "explainer": "Have you ever wondered how trees drink?" + FILLER,
    "lesson": "The sun is very warm today." + FILLER,
    "briefing": "The pipes leak." + FILLER,
    "math_problem": "Problem: A tube holds 3 cups. How many do 4 tubes hold?\nSolution: 12." + FILLER,
    "code_textbook": "We count letters.\n\n```python\nprint(len('abc'))\n```\n" + FILLER,
    "code_exercises": "Exercise: Count letters.\n\n    print(len('abc'))\n" + FILLER,
    "journal_article": "The contact angle decides the height." + FILLER,
    "unit": "Liquids climb." + FILLER,
    "story_children": '"It climbs!" said Mia.' + FILLER,
    "story_morality": '"You knew," he said.' + FILLER,
    "story_life": "The bucket was empty." + FILLER,
    "story_forum": "My cellar was wet again." + FILLER,
    "story_reddit": "It was about one drop of ink." + FILLER,
    "table": "| tube | height |\n| --- | --- |\n| narrow | 9 cm |\n\nWhich tube is higher?" + FILLER,
    "faq": "Q: Why does it rise?\nA: It clings." + FILLER,
    "tutorial": "## Fill the glass" + FILLER,
    "rephrase_easy": "Water goes up in a thin tube. It sticks to the wall.",
    "rephrase_wikipedia": "Capillary action is the ascent of a liquid in a narrow tube, caused by adhesion to its wall "
    "and by the cohesion of the liquid.",
    "rephrase_hard": "Capillarity: adhesive ascension of liquids within tubular interstices, gravity notwithstanding.",
    "rephrase_qa": "Question: Why does water rise in a tube?\nAnswer: It clings to the glass.",
    "qa": "Question: Does water rise in a narrow tube?\nAnswer: Yes." + FILLER,
    "distillation": FILLER,
    "knowledge": FILLER,
    "knowledge_list": "- Water rises in a narrow tube because it clings to the glass.\n- The narrower the tube, the "
    "higher it rises.",
}
BAD: dict[str, str] = {
    "textbook": "**In this chapter** we look at tubes." + FILLER,
    "blogpost": "Have you ever wondered how trees drink?" + FILLER,
    "wikihow": "Fill a pot, then water the plants." + FILLER,
    "math_problem": "How much do some tubes hold?" + FILLER,
    "code_textbook": "Use a loop." + FILLER,
    "code_exercises": "Use a loop." + FILLER,
    "lesson": "Once upon a time there was a tube." + FILLER,
    "story_children": '"Once upon a time there was a tube." ' + FILLER,
    "story_morality": "The sun hung low over the tube." + FILLER,
    "story_life": "A few years ago I had a tube." + FILLER,
    "story_forum": "Many years ago I had a tube." + FILLER,
    "table": "Narrow tubes are better | they say." + FILLER,
    "faq": "Water rises." + FILLER,
    "rephrase_qa": "Water rises in a tube since it clings to the glass.",
    "qa": "Water rises." + FILLER,
    "knowledge_list": "Water rises in a narrow tube because it clings to the glass, and the narrower the higher.",
}
EMPTY = "Sorry, no."


@pytest.mark.parametrize("id", IDS)
def test_the_checks_of_a_template_pass_good_answers_alone(id: str) -> None:
    checks, asked = TEMPLATES[id].checks, TEMPLATES[id].format

    def broken(text: str) -> list[str]:
        return broken_checks(text, len(re.findall(r"\w+", text)), checks)

    assert broken(GOOD[asked]) == []
    assert "template_too_short" in broken(EMPTY)
    if asked in BAD and id != "khan_lesson":
        assert broken(BAD[asked])[0] in {"template_form", "template_forbidden"}


# Files

HEADER = """id: mine
version: "1"
kinds: [web, book]
audience: general
format: text
words: 50
max_tokens: 100
"""
BODY = "{{ extract }}\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "mine.md") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_a_file_is_read(write: Callable[..., Path]) -> None:
    fields = "min_extract_tokens: 30\nsegments: true\ndescription: Mine.\n"
    checks = "checks: {min_words: 5, max_words: 9, matches: ['^a'], lacks: [b]}\n"
    folder = write(f"---\n{HEADER}{fields}{checks}---\nWrite on this.\n\n---\n\n{{{{ extract }}}}\n\n")
    loaded = load_templates([folder])
    assert set(loaded) == {*TEMPLATES, "mine"}
    assert loaded["mine"] == template(
        "Write on this.\n\n---\n\n{{ extract }}",
        kinds=("web", "book"),
        min_extract_tokens=30,
        segments=True,
        checks=OutputChecks(min_words=5, max_words=9, matches=("^a",), lacks=("b",)),
        description="Mine.",
    )


def test_what_a_file_does_not_say_is_cosmopedias(write: Callable[..., Path]) -> None:
    mine = load_templates([write(f"---\n{HEADER}---\n{BODY}")])["mine"]
    assert (mine.extract_tokens, mine.min_extract_tokens, mine.segments) == (250, 0, False)
    assert mine.checks == OutputChecks() and mine.description == ""


def test_a_later_folder_replaces_a_template_of_the_same_id(write: Callable[..., Path]) -> None:
    folder = write(f"---\n{HEADER.replace('mine', 'blogpost')}---\nShort: {BODY}", name="blogpost.md")
    loaded = load_templates([folder])
    assert loaded["blogpost"].body == "Short: {{ extract }}"
    assert loaded == {**TEMPLATES, "blogpost": loaded["blogpost"]}


def with_field(line: str) -> str:
    """The file with one field more, or another value for it."""
    name = line.split(":")[0]
    kept = [field for field in HEADER.splitlines() if not field.startswith(f"{name}:")]
    return "---\n" + "\n".join([*kept, line]) + f"\n---\n{BODY}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Just text.", "mine.md: no front matter"),
        ("", "mine.md: no front matter"),
        ("---\n- a list\n---\nBody", "mine.md: no front matter"),
        (f"---\n{HEADER}", "mine.md: no front matter"),
        (f"\n---\n{HEADER}---\n{BODY}", "mine.md: no front matter"),
        ("---\na: b: c\n---\nBody", r"mine.md, front matter: .*\n.*line 2"),
        (with_field("tone: dry"), r"mine.md:\n  tone: Unexpected keyword"),
        (with_field("1: dry"), r"mine.md:\n  1: Unexpected keyword"),
        (with_field("body: dry"), "mine.md, body: no field of the front matter"),
        (with_field("id: other"), "mine.md, id: 'other' is not the file's name"),
        (with_field("id: ''"), r"mine.md:\n  id: "),
        (with_field("version: 1"), r"mine.md:\n  version: Input should be a valid string"),
        (with_field("kinds: [web, blog]"), r"mine.md:\n  kinds\.1: Input should be 'web', 'course'"),
        (with_field("kinds: []"), r"mine.md:\n  kinds: "),
        (with_field("kinds: web"), r"mine.md:\n  kinds: "),
        (with_field("audience: ''"), r"mine.md:\n  audience: "),
        (with_field("format:"), r"mine.md:\n  format: "),
        (with_field("words: 0"), r"mine.md:\n  words: .*greater than or equal to 1"),
        (with_field("words: many"), r"mine.md:\n  words: "),
        (with_field("max_tokens: 0"), r"mine.md:\n  max_tokens: .*greater than or equal to 1"),
        (f"---\n{HEADER.replace('max_tokens: 100', '')}---\n{BODY}", r"mine.md:\n  max_tokens: "),
        (with_field("extract_tokens: -1"), r"mine.md:\n  extract_tokens: "),
        (with_field("extract_tokens: 0"), "mine.md, extract_tokens: 0 does not go with the body"),
        (f"---\n{HEADER}---\nNo extract.", "mine.md, extract_tokens: 250 does not go with the body"),
        (with_field("extract_tokens: 0\nsegments: true"), "segments: there are none without extract_tokens"),
        (with_field("min_extract_tokens: -1"), r"mine.md:\n  min_extract_tokens: "),
        (with_field("min_extract_tokens: 251"), "min_extract_tokens: more than extract_tokens"),
        (with_field("segments: perhaps"), r"mine.md:\n  segments: "),
        (with_field("checks: {min_word: 3}"), r"mine.md:\n  checks\.min_word: Unexpected keyword"),
        (with_field("checks: {max_words: 0}"), r"mine.md:\n  checks\.max_words: "),
        (with_field("checks: {min_words: 9, max_words: 8}"), r"checks: .*min_words 9 is more than max_words 8"),
        (with_field("checks: {matches: ['(']}"), r"mine.md:\n  checks\.matches: .*'\(' is no regular expression"),
        (with_field("checks: {lacks: [a, '*']}"), r"mine.md:\n  checks\.lacks: .*'\*' is no regular expression"),
        (with_field("description: [a]"), r"mine.md:\n  description: "),
        (f"---\n{HEADER}---\n \n", r"mine.md:\n  body: "),
        (
            f"---\n{HEADER}---\nBody\n{{{{ author }}}} {{{{ title }}}}",
            "mine.md, body, line 11: unknown variable author",
        ),
        (f"---\n{HEADER}---\n\nA\n\n{{% if title %}}", "mine.md, body, line 13: Unexpected end of template"),
        (f"---\n{HEADER}---\nA\n\nB \ue000", "mine.md, body, line 12: private-use character"),
    ],
)
def test_a_bad_file_is_named_with_its_field(write: Callable[..., Path], text: str, complaint: str) -> None:
    with pytest.raises(CosmoError, match=complaint) as raised:
        load_templates([write(text)])
    assert raised.value.remedy


def test_every_bad_field_is_named_at_once(write: Callable[..., Path]) -> None:
    text = f"---\n{HEADER.replace('100', '0').replace('general', '[]')}tone: dry\n---\n{BODY}"
    with pytest.raises(CosmoError, match=r"(?s)audience: .*max_tokens: .*tone: |tone: .*audience: .*max_tokens: "):
        load_templates([write(text)])


def test_a_file_of_another_encoding_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="no templates"):
        load_templates([tmp_path / "absent"])
    (tmp_path / "mine.md").write_bytes(b"---\nid: \xe9\n---\nBody")
    with pytest.raises(CosmoError, match=r"mine\.md, front matter: .*utf-8"):
        load_templates([tmp_path])
    with pytest.raises(CosmoError, match=r"absent\.md, front matter: .*No such file"):
        read_template(tmp_path / "absent.md")


def test_a_template_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        dataclasses.replace(TEMPLATES["blogpost"], max_tokens=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TEMPLATES["blogpost"].body = ""  # type: ignore[misc]


# What a body may do

MAY = [
    "{{ extract }}{{ title }}{{ topic }}{{ unit }}{{ words }}",
    "{{ extract }} {{- title -}} x",
    "{{ extract }}{{ 'fixed' }}",
    "{{ extract }}{{ title if title else 'none' }}",
    "{{ extract }}{{ context | join(', ') if context else unit }}",
    "{{ extract }}{% if title and not (topic or unit) %}a{% elif context %}b{% else %}c{% endif %}",
    "{{ extract }}{% if context | length > 1 and 2 >= outline | count %}a{% endif %}",
    "{{ extract }}{% if context | length == outline | length %}a{% endif %}",
    "{{ extract }}{% if context | length != 2 %}a{% endif %}",
    "{{ extract }}{{ context | join }}{{ outline | join('; ') }}",
    "{{ extract }}{% if context %}{{ context | first }}{{ context | last }}{% endif %}",
    "{{ extract }}{% for a in outline %}{{ loop.index }}/{{ loop.length }}. {{ a }}\n{% else %}none{% endfor %}",
    "{{ extract }}{% for a in context %}{% if loop.first %}x{% elif not loop.last %}, {% endif %}{{ a }}{% endfor %}",
    "{{ extract }}{% for a in context %}{% for b in outline %}{{ loop.index0 }}{{ a }}{{ b }}{% endfor %}{% endfor %}",
    "{{ extract }}{% for a in context %}{% if loop.index > 1 %}-{% endif %}{{ a }}{% endfor %}",
    "{{ extract }}{# a note #}{% raw %}{{ title }}{% endraw %}",
    "  {% if title %}\n  T: {{ title }}\n  {% endif %}\n\n{{ extract }}\n\n{{ words }}\n ",
]


@pytest.mark.parametrize("body", MAY)
def test_a_body_may(write: Callable[..., Path], body: str) -> None:
    assert load_templates([write(f"---\n{HEADER}---\n{body}")])["mine"].body == body.strip()


ONLY_PRINTED = "only a variable, or a joined list, can be printed"
NOT_COMPARED = "only the length of a list can be compared"
MAY_NOT = {
    "{{ author }}": "unknown variable author",
    "{{ name_topic }}": "unknown variable name_topic",
    "{{ range(3) }}": ONLY_PRINTED,
    "{{ context }}": "context is a list: join it, or loop over it",
    "{{ title | upper }}": ONLY_PRINTED,
    "{{ title | replace('a', 'b') }}": ONLY_PRINTED,
    "{{ title | default('x') }}": ONLY_PRINTED,
    "{{ title ~ topic }}": ONLY_PRINTED,
    "{{ title + topic }}": ONLY_PRINTED,
    "{{ title[0] }}": ONLY_PRINTED,
    "{{ title[:9] }}": ONLY_PRINTED,
    "{{ title.__class__ }}": ONLY_PRINTED,
    "{{ title.author }}": ONLY_PRINTED,
    "{{ title.upper() }}": ONLY_PRINTED,
    "{{ context[0] }}": ONLY_PRINTED,
    "{{ context | length }}": ONLY_PRINTED,
    "{{ context | reverse | join }}": "context and outline are the lists there are",
    "{{ context | random }}": ONLY_PRINTED,
    "{{ context | first(1) }}": ONLY_PRINTED,
    "{{ context | last | upper }}": ONLY_PRINTED,
    "{{ title | first }}": "title is a text: print it",
    "{{ title | join(', ') }}": "title is a text: print it",
    "{{ context | join(title) }}": "join takes a fixed text",
    "{{ context | join(', ', 'upper') }}": "join takes a fixed text",
    "{{ context | join(none) }}": "join takes a fixed text",
    "{{ context | join(*title) }}": "join takes a fixed text",
    "{{ context | join(d=', ') }}": "join takes a fixed text",
    "{{ context | join('\\ue000') }}": "join takes a fixed text",
    "{{ '\\ue000title\\ue001' }}": "only a fixed text can be printed so",
    "{{ none }}": "only a fixed text can be printed so",
    "{{ 7 * 7 }}": ONLY_PRINTED,
    "{{ 49 }}": "only a fixed text can be printed so",
    "{{ words + 1 }}": ONLY_PRINTED,
    "{{ title if title == 'a' else topic }}": NOT_COMPARED,
    "{{ topic if title else author }}": "unknown variable author",
    "{{ item }}": "unknown variable item",
    "{{ loop.index }}": ONLY_PRINTED,
    "{% if not title %}{{ loop.index }}{% endif %}": ONLY_PRINTED,
    "{% if author %}a{% endif %}": "unknown variable author",
    "{% if not title %}{{ author }}{% endif %}": "unknown variable author",
    "{% if title %}{% elif author %}a{% endif %}": "unknown variable author",
    "{% if title == 'a' %}a{% endif %}": NOT_COMPARED,
    "{% if 'a' in title %}a{% endif %}": "lengths are compared with",
    "{% if 2 in context | length %}a{% endif %}": "lengths are compared with",
    "{% if title | length > 2 %}a{% endif %}": "title is a text: print it",
    "{% if context | length > 'a' %}a{% endif %}": NOT_COMPARED,
    "{% if context | length > 1.5 %}a{% endif %}": NOT_COMPARED,
    "{% if context | length(1) > 2 %}a{% endif %}": NOT_COMPARED,
    "{% if words > 100 %}a{% endif %}": NOT_COMPARED,
    "{% if context[0] %}a{% endif %}": "only a variable can be tested",
    "{% if title is defined %}a{% endif %}": "only a variable can be tested",
    "{% if true %}a{% endif %}": "only a variable can be tested",
    "{% for c in title %}{{ c }}{% endfor %}": "title is a text: print it",
    "{% for c in context | sort %}{{ c }}{% endfor %}": "context and outline are the lists there are",
    "{% for title in context %}{{ title }}{% endfor %}": "a loop needs one variable with a name of its own",
    "{% for loop in context %}{{ loop }}{% endfor %}": "a loop needs one variable with a name of its own",
    "{% for a, b in context %}{{ a }}{% endfor %}": "a loop needs one variable with a name of its own",
    "{% for a in context if a %}{{ a }}{% endfor %}": "for cannot be used",
    "{% for a in context recursive %}{{ a }}{% endfor %}": "for cannot be used",
    "{% for a in context %}{% if a %}b{% endif %}{% endfor %}": "a is a text: print it",
    "{% for a in context %}{{ a | upper }}{% endfor %}": ONLY_PRINTED,
    "{% for a in context %}{{ b }}{% endfor %}": "unknown variable b",
    "{% for a in context %}{% else %}{{ author }}{% endfor %}": "unknown variable author",
    "{% for a in context %}{{ loop.cycle('a', 'b') }}{% endfor %}": ONLY_PRINTED,
    "{% for a in context %}{{ loop.previtem }}{% endfor %}": ONLY_PRINTED,
    "{% for a in context %}{% endfor %}{{ a }}": "unknown variable a",
    "{% set title = 'a' %}": "assign cannot be used",
    "{% set title %}a{% endset %}": "assignblock cannot be used",
    "{% with a = title %}{{ a }}{% endwith %}": "with cannot be used",
    "{% macro m() %}{% endmacro %}": "macro cannot be used",
    "{% filter upper %}{{ title }}{% endfilter %}": "filterblock cannot be used",
    "{% include 'x.md' %}": "include cannot be used",
    "{% import 'x.md' as x %}": "import cannot be used",
    "{% extends 'x.md' %}": "extends cannot be used",
    "{% block a %}{% endblock %}": "block cannot be used",
    "{% call title() %}{% endcall %}": "callblock cannot be used",
    "{% do title %}": "Encountered unknown tag 'do'",
    "{{ title": "unexpected 'end of template'|unexpected end of template",
}


@pytest.mark.parametrize("body", MAY_NOT)
def test_a_body_may_not(write: Callable[..., Path], body: str) -> None:
    with pytest.raises(CosmoError, match=rf"mine\.md, body, line 11: .*({MAY_NOT[body]})"):
        load_templates([write(f"---\n{HEADER}---\n{{{{ extract }}}}\n{body}")])


def test_a_body_that_prints_what_a_seed_lacks_is_no_prompt() -> None:
    body = "A {{ title }}"
    assert skeleton(body, 1, Shape(title=True)) == ("A ", Slot("title"))
    with pytest.raises(CosmoError, match="body: prints a variable that has no value here; test it first"):
        skeleton(body, 1, Shape())
    with pytest.raises(CosmoError, match="body: No first item"):
        skeleton("{{ context | first }}", 1, Shape())


def test_a_skeleton_names_every_place() -> None:
    body = "{{ words }}: {% for step in context %}{{ step }} > {% endfor %}{{ title }}{{ title }}\n\n"
    body += "{{ outline | join(',') }}"
    assert skeleton(body, 70, Shape(title=True, context=2, outline=1)) == (
        "70: ",
        Slot("context", 0),
        " > ",
        Slot("context", 1),
        " > ",
        Slot("title"),
        Slot("title"),
        "\n\n",
        Slot("outline", 0),
    )
    assert skeleton("{% if title %}a{% endif %}", 1, Shape()) == ()


def test_what_a_template_uses() -> None:
    body = (
        "{% if title %}{{ topic }}{% endif %}{% for a in outline %}{{ a }}{% endfor %}{% raw %}{{ unit }}{% endraw %}"
    )
    assert template(body).uses == {"title", "topic", "outline"}
    body = "Read {{ title }} in {{ words }} words{% if not title %} never{% endif %}."
    assert fixed_text(template(body)) == "Read   in 50 words."


# Skeletons against plain Jinja

PLAIN = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
LINES = st.text(
    st.one_of(st.sampled_from("=<>|{}%#$\\`.a"), st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])),
    min_size=1,
    max_size=12,
)
VALUES = st.fixed_dictionaries(
    {
        **{name: st.none() | LINES for name in ("title", "topic", "unit")},
        "extract": st.none() | LINES.map(lambda text: f"=====\n{text}\n\n {{% {text}\n====="),
        **{name: st.lists(LINES, max_size=3) for name in LISTS},
    }
)


def filled(body: str, words: int, values: dict[str, Any]) -> str:
    texts = {name: values[name] is not None for name in ("title", "topic", "unit", "extract")}
    parts = skeleton(body, words, Shape(**texts, **{name: len(values[name]) for name in LISTS}))
    of = {name: values[name] if name in LISTS else [values[name]] for name in values}
    return "".join(part if isinstance(part, str) else of[part.name][part.item] for part in parts)


@pytest.mark.parametrize(
    "body", [*(TEMPLATES[name].body for name in IDS), *MAY], ids=[*IDS, *map(str, range(len(MAY)))]
)
@settings(deadline=None, max_examples=30)
@given(values=VALUES, words=st.integers(1, 2000))
def test_a_filled_skeleton_is_what_plain_jinja_renders(body: str, values: dict[str, Any], words: int) -> None:
    plain = PLAIN.from_string(body).render(values, words=words).strip()
    try:
        result = filled(body, words, values)
    except CosmoError:
        assert "None" in plain and None in values.values()
    else:
        assert result == plain


# Digests


def digests(templates: dict[str, Template]) -> dict[str, str]:
    return {name: table._template_digest(template) for name, template in templates.items()}


def test_changing_one_template_changes_its_own_digest_only(write: Callable[..., Path]) -> None:
    before = digests(TEMPLATES)
    assert len(set(before.values())) == len(before)
    file = (Path(table.__file__).parent / "templates" / "blogpost.md").read_text(encoding="utf-8")
    folder = write(file.replace("concrete", "vivid"), name="blogpost.md")
    after = digests(load_templates([folder]))
    assert {name for name in before if before[name] != after[name]} == {"blogpost"}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"body": "Other words."}, True),
        ({"version": "2"}, True),
        ({"audience": "experts"}, True),
        ({"format": "poem"}, True),
        ({"words": 51}, True),
        ({"max_tokens": 101}, True),
        ({"extract_tokens": 251}, True),
        ({"min_extract_tokens": 1}, True),
        ({"segments": True}, True),
        ({"description": "Other."}, False),
        ({"checks": OutputChecks(min_words=3)}, False),
    ],
)
def test_what_counts_for_the_digest_of_a_template(change: dict[str, Any], counts: bool) -> None:
    before, after = digests({"a": template()}), digests({"a": dataclasses.replace(template(), **change)})
    assert (before != after) == counts
