"""Course catalogues: cross-listings, logistics, and what is left."""

import gzip
import json
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.courses import MIN_SUBSTANCE, substance
from cosmo_assets.seeds.readers.registry import read
from cosmo_resources.errors import CosmoError

BRIDGES = "How structures carry load, taught through bridges that students visit on foot."


def course(subject: str, code: str, title: str, description: str) -> str:
    fields = {"subject": subject, "code": code, "title": title, "description": description}
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    section = "<sections><section><subject>XX</subject><code>9</code></section></sections>"
    return f"<course>{inner}{section}</course>"


def catalogue(tmp_path: Path, *courses: str) -> list[Row]:
    path = tmp_path / "courses.xml"
    path.write_text(f"<xml><deprecated>false</deprecated><courses>{''.join(courses)}</courses></xml>", encoding="utf-8")
    return list(read("stanford", "explorecourses", path, {}))


def test_a_course_is_a_seed_with_its_subject(tmp_path: Path) -> None:
    assert catalogue(tmp_path, course("ME", "34", "Reading a Bridge", BRIDGES)) == [
        RawSeed("ME 34", BRIDGES, title="Reading a Bridge", context=("ME",))
    ]


def test_cross_listings_are_merged_and_their_ids_leave_the_title(tmp_path: Path) -> None:
    rows = catalogue(
        tmp_path,
        course("ME", "34", "Reading a Bridge (CEE 34N, PHYS 34)", BRIDGES),
        course("PHYS", "34", "Reading a Bridge (CEE 34N, ME 34)", BRIDGES),
        course("CEE", "34N", "Reading a Bridge (Same as LAW 7844)", BRIDGES),
        course("ME", "35", "Reading a Bridge (Advanced)", BRIDGES),
    )
    assert [(row.title, row.native_id) for row in rows if isinstance(row, RawSeed)] == [
        ("Reading a Bridge", "ME 34"),
        ("Reading a Bridge (Advanced)", "ME 35"),
    ]
    assert [row for row in rows if isinstance(row, Skipped)] == [
        Skipped("courses.xml:PHYS 34", "cross_listed"),
        Skipped("courses.xml:CEE 34N", "cross_listed"),
    ]


@pytest.mark.parametrize(
    "description",
    [
        "May be repeated for credit. Prerequisite: consent of instructor.",
        "Graduate students only. Enrollment requires instructor approval. May be repeated for credit.",
        "Continuation of ITAL 101. Prerequisite: ITAL 101 or one year of high school Italian.",
        "Credit: 1 to 5 hours. May not be repeated.",
        "Approved for both letter and S/U grading. May be repeated.",
        "Additional fees may apply. See Class Schedule. May be repeated.",
        "3 undergraduate hours. 3 graduate hours. Prerequisite: ARAB 403.",
    ],
)
def test_descriptions_of_logistics_only_are_skipped(tmp_path: Path, description: str) -> None:
    assert len(substance(description)) < MIN_SUBSTANCE
    (row,) = catalogue(tmp_path, course("CS", "1", "Directed Reading", description))
    assert row == Skipped("courses.xml:CS 1", "logistics_only")


def test_a_reference_to_another_listing_is_one_too(tmp_path: Path) -> None:
    rows = catalogue(
        tmp_path,
        course("AAS", "201", "Politics", "Same as AFRO 201, LLS 201, and PS 201. See PS 201."),
        course("PS", "201", "Politics", f"{BRIDGES} Same as AAS 201, and LLS 201."),
        course("LLS", "201", "Politics", f"{BRIDGES} Same as AAS 201, and PS 201. Prerequisite: none."),
        course("WRIT", "303", "Media", "Same as INFO 303."),
    )
    assert [row.native_id for row in rows if isinstance(row, RawSeed)] == ["PS 201"]
    assert [row for row in rows if isinstance(row, Skipped)] == [
        Skipped("courses.xml:AAS 201", "cross_listed", "PS 201"),
        Skipped("courses.xml:LLS 201", "cross_listed"),
        Skipped("courses.xml:WRIT 303", "cross_listed", "INFO 303"),
    ]


@pytest.mark.parametrize(
    ("title", "subject"),
    [
        ("Thesis Research", False),
        ("Individual Study for Seniors", False),
        ("Undergrad Research or Thesis", False),
        ("Special Problems II", False),
        ("On Campus Internship", False),
        ("Master's Project", False),
        ("Special Problems in Design", True),
        ("Actuarial Research", True),
        ("Topics in Music", True),
        ("Group Work", True),
        ("Advanced Course", True),
        ("Bridges", True),
    ],
)
def test_a_way_of_working_is_no_subject(tmp_path: Path, title: str, subject: bool) -> None:
    (row,) = catalogue(tmp_path, course("CS", "1", title, BRIDGES))
    assert isinstance(row, RawSeed) if subject else row == Skipped("courses.xml:CS 1", "no_subject", title)


def test_a_description_with_substance_is_kept_whole(tmp_path: Path) -> None:
    description = "Introductory study of ancient Greek art. May be repeated. Prerequisite: none."
    (row,) = catalogue(tmp_path, course("CLAS", "1", "Greece", description))
    assert isinstance(row, RawSeed)
    assert row.text == description


def test_empty_descriptions_are_skipped_and_missing_fields_are_bad(tmp_path: Path) -> None:
    rows = catalogue(
        tmp_path,
        course("CS", "1", "Field Notebook", " "),
        course("", "2", "No subject", BRIDGES),
        course("CS", "", "No code", BRIDGES),
        course("CS", "4", "", BRIDGES),
    )
    assert rows[0] == Skipped("courses.xml:CS 1", "empty_description")
    assert [(row.place, row.reason, row.field) for row in rows[1:] if isinstance(row, BadRow)] == [
        ("courses.xml:? 2", "empty_field", "subject"),
        ("courses.xml:CS ?", "missing_field", "code"),
        ("courses.xml:CS 4", "empty_field", "title"),
    ]


def test_a_catalogue_that_is_cut_off_or_broken_gives_what_comes_before(tmp_path: Path) -> None:
    whole = f"<xml><courses>{course('CS', '1', 'A', BRIDGES)}{course('CS', '2', 'B', BRIDGES)}</courses></xml>"
    path = tmp_path / "courses.xml"
    for content, reason in ((whole[:-60], "truncated_file"), (whole.replace("<title>B", "<titel>B"), "invalid_xml")):
        path.write_text(content, encoding="utf-8")
        rows = list(read("stanford", "explorecourses", path, {}))
        assert [type(row) for row in rows] == [RawSeed, BadRow]
        assert isinstance(rows[1], BadRow)
        assert (rows[1].place, rows[1].reason) == ("courses.xml:2", reason)


def test_what_is_no_xml_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "courses.xml"
    path.write_text('{"json": true}', encoding="utf-8")
    with pytest.raises(CosmoError, match=r"courses\.xml: it is not XML") as error:
        list(read("stanford", "explorecourses", path, {}))
    assert "reader" in error.value.remedy


def test_an_empty_catalogue_is_one_bad_row(tmp_path: Path) -> None:
    for name, content in (("courses.xml", b""), ("courses.xml.gz", gzip.compress(b""))):
        (tmp_path / name).write_bytes(content)
        assert list(read("stanford", "explorecourses", tmp_path / name, {})) == [BadRow(name, "empty_file")]


def test_course_lines_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "courses.jsonl"
    courses = [
        {
            "subject": "AAS",
            "number": 201,
            "title": "Racial &amp; Ethnic Politics",
            "description": "A &quot;survey&quot; of it all.",
        },
        {
            "subject": "PS",
            "number": "201",
            "title": "Racial &amp; Ethnic Politics",
            "description": 'A "survey" of it all.',
        },
        {"subject": "PS", "title": "No number", "description": "x" * 40},
        {"subject": "PS", "number": "3", "title": "Text", "description": ["x"]},
    ]
    path.write_text("\n".join(map(json.dumps, courses)), encoding="utf-8")
    rows = list(read("uiuc", "course_jsonl", path, {}))
    assert rows[0] == RawSeed("AAS 201", 'A "survey" of it all.', title="Racial & Ethnic Politics", context=("AAS",))
    assert rows[1] == Skipped("courses.jsonl:2", "cross_listed")
    assert [(row.reason, row.field) for row in rows[2:] if isinstance(row, BadRow)] == [
        ("missing_field", "number"),
        ("wrong_type", "description"),
    ]
