"""The readers on real files (`COSMO_SAMPLES`) and on the files of the demo recipe: counts, and rows looked at."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

from cosmo_assets.recipe.recipe import SHIPPED
from cosmo_assets.seeds.readers.base import BadRow, RawSeed, Row, Skipped
from cosmo_assets.seeds.readers.openstax import read_collection
from cosmo_assets.seeds.readers.registry import read

pytestmark = pytest.mark.samples
DEMO = SHIPPED / "demo"


def rows_of(reader: str, path: Path, **options: Any) -> list[Row]:
    return list(read("sample", reader, path, options))


def outcomes(rows: list[Row]) -> dict[str, int]:
    return dict(Counter("seed" if isinstance(row, RawSeed) else row.reason for row in rows))


def seeds(rows: list[Row]) -> list[RawSeed]:
    return [row for row in rows if isinstance(row, RawSeed)]


def by_id(rows: list[Row]) -> dict[str, RawSeed]:
    found = {row.native_id: row for row in seeds(rows)}
    assert len(found) == len(seeds(rows)), "native ids differ"
    return found


def test_twenty_newsgroups(samples: Path) -> None:
    rows = rows_of("jsonl", samples / "topics_20newsgroups" / "20newsgroups.jsonl", title="subject")
    assert outcomes(rows) == {"seed": 18308}
    assert by_id(rows)["20ng/test/alt.atheism/53068"].title == "about the bible quiz answers"


def test_the_toy_pile(samples: Path) -> None:
    assert outcomes(rows_of("jsonl", samples / "web_pile_toy" / "pile_1000.jsonl")) == {"seed": 1000}


def test_uiuc_courses(samples: Path) -> None:
    rows = rows_of("course_jsonl", samples / "curated" / "uiuc_courses.jsonl")
    assert outcomes(rows) == {
        "seed": 708,
        "no_subject": 322,
        "logistics_only": 108,
        "cross_listed": 73,
        "empty_description": 2,
    }
    assert all(row.title and "&amp;" not in row.title for row in seeds(rows))
    assert rows[0] == Skipped("uiuc_courses.jsonl:1", "cross_listed", "PS 201"), "See PS 201, which describes it"
    kept = by_id(rows)
    listed = [row.detail for row in rows if isinstance(row, Skipped) and row.reason == "cross_listed"]
    assert [code for code in listed if code not in kept] == ["IS 537", "CI 550"], "these stand nowhere else"
    titles = Counter(row.title for row in seeds(rows))
    assert max(titles.values()) <= 3, "no Thesis Research, no Independent Study"


def test_khan_academy_domains(samples: Path) -> None:
    rows = rows_of("topic_tree", samples / "curated" / "khan_domains_en.jsonl")
    assert outcomes(rows) == {"seed": 92}
    courses = by_id(rows)
    assert courses["math/early-math"] == RawSeed("math/early-math", "Early math", title="Early math", context=("Math",))
    assert len({row.context for row in courses.values()}) == 8


def test_wikipedia(samples: Path) -> None:
    (path,) = (samples / "wiki_dump_sample").glob("*.bz2")
    rows = rows_of("mediawiki", path)
    assert outcomes(rows) == {"seed": 106, "redirect": 99, "not_an_article": 1}
    pages = by_id(rows)
    assert pages["12"].title == "Anarchism"
    assert pages["12"].text.startswith("Anarchism is a political philosophy that advocates self-governed societies")
    assert "E = \\frac{" in pages["736"].text or "$" in pages["736"].text
    for row in pages.values():
        prose = "".join(row.text.split("$")[::2])
        for mark in ("[[", "]]", "{|", "|}", "''", "<ref", "</", "==", "thumb|", "&nbsp;", "{{cite"):
            assert mark not in prose, (row.title, mark)


BOOKS = {
    "college-success": {"seed": 125, "repeated_module": 43},
    "introduction-anthropology": {"seed": 121},
    "introduction-intellectual-property": {"seed": 49, "no_text": 5},
    "introduction-python-programming": {"seed": 115, "in_no_collection": 1},
    "principles-economics": {"seed": 190, "repeated_module": 413},
}


@pytest.mark.parametrize("name", BOOKS)
def test_openstax_books(samples: Path, name: str) -> None:
    rows = rows_of("openstax", samples / "openstax_ccby" / f"osbooks-{name}.cnxml.tar.xz")
    assert outcomes(rows) == BOOKS[name]
    modules = by_id(rows)
    assert {row.licence for row in modules.values()} == {"CC-BY-4.0"}
    assert all(row.title and row.context and len(row.text) > 100 for row in modules.values())
    crude = samples / "openstax_ccby" / f"osbooks-{name}.text.jsonl"
    for line in crude.read_text(encoding="utf-8").split("\n"):
        if not line:
            continue
        other = json.loads(line)
        found = next((row for key, row in modules.items() if key.endswith("/" + other["id"].rpartition("/")[2])), None)
        if found is not None:
            assert found.title == " ".join(other["title"].split())
            words = set(found.text.split())
            crude_words = other["text"].split()
            assert len(found.text) > 0.45 * len(other["text"]), "captions and footnotes are all that is left out"
            assert sum(word in words for word in crude_words) > 0.6 * len(crude_words), found.native_id


def test_openstax_attribution_and_formulas(samples: Path) -> None:
    folder = samples / "openstax_ccby"
    anthropology = seeds(rows_of("openstax", folder / "osbooks-introduction-anthropology.cnxml.tar.xz"))
    named = "Introduction to Anthropology, by Jennifer Hasty, David G. Lewis, Marjorie M. Snipes"
    assert {row.attribution for row in anthropology} == {named}
    economics = seeds(rows_of("openstax", folder / "osbooks-principles-economics.cnxml.tar.xz"))
    assert any(r"$$\text{Budget} = P_{1} × Q_{1} + P_{2} × Q_{2}$$" in row.text for row in economics)
    head = "By the end of this section, you will be able to:\n\n- "
    assert sum(row.text.startswith(head) for row in economics) > 100


def test_the_outlines_of_all_collections_agree_with_the_table_of_contents(samples: Path) -> None:
    folder = samples / "openstax_toc"
    expected: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    titles = {}
    for line in (folder / "toc.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            expected[row["collection"]].append((row["module_id"], (row["book"], *row["chapter_path"])))
            titles[row["collection"]] = row["book"]
    paths = sorted((folder / "collections").glob("*.xml"))
    assert len(paths) == 42
    licences = Counter()
    for path in paths:
        collection = read_collection(ElementTree.parse(path).getroot())
        assert collection.title == titles[path.name]
        assert list(collection.modules) == expected[path.name], path.name
        licences[collection.licence] += 1
    assert set(licences) == {"CC-BY-4.0", "CC-BY-NC-SA-4.0"}


def repositories(samples: Path, folder: Path) -> dict[str, Path]:
    """The real repositories as far as the samples have them: collections, the LICENSE file's title, and for each module
    of the table of contents one with its title and objectives."""
    found: dict[str, Path] = {}
    listed: dict[str, list[str]] = defaultdict(list)
    for line in (samples / "openstax_toc" / "toc.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        root = folder / row["repo"].rpartition("/")[2]
        if row["repo"] not in found:
            found[row["repo"]] = root / "META-INF" / "books.xml"
            for name in ("META-INF", "collections", "modules"):
                (root / name).mkdir(parents=True)
            if not row["repo_licence"].startswith("("):
                (root / "LICENSE").write_text(row["repo_licence"] + "\n\nLegal code.\n", encoding="utf-8")
        if row["collection"] not in listed[row["repo"]]:
            listed[row["repo"]].append(row["collection"])
            content = (samples / "openstax_toc" / "collections" / row["collection"]).read_bytes()
            (root / "collections" / row["collection"]).write_bytes(content)
        module = root / "modules" / row["module_id"]
        module.mkdir(exist_ok=True)
        text = escape(" ".join([row["title"], *row["objectives"]]))
        document = f"<document><title>{escape(row['title'])}</title><content><para>{text}</para></content></document>"
        (module / "index.cnxml").write_text(document, encoding="utf-8")
    for repo, path in found.items():
        books = "".join(f'<book href="../collections/{name}"/>' for name in listed[repo])
        path.write_text(f"<container>{books}</container>", encoding="utf-8")
    return found


def test_all_collections_are_read_and_the_three_books_of_two_licences_are_held_back(
    samples: Path, tmp_path: Path
) -> None:
    conflicts: Counter[str] = Counter()
    licences: Counter[str | None] = Counter()
    contents: set[tuple[str, str]] = set()
    for repo, path in repositories(samples, tmp_path).items():
        rows = rows_of("openstax", path)
        assert not [row for row in rows if isinstance(row, BadRow)]
        conflicts.update(row.detail for row in rows if isinstance(row, Skipped) and row.reason == "licence_conflict")
        licences.update(row.licence for row in seeds(rows))
        contents |= {(repo, row.native_id.rpartition("/")[2]) for row in seeds(rows)}
    repo_says = "LICENSE says CC-BY-NC-SA-4.0"  # three modules of the second volume stand in the first too
    assert conflicts == {
        f"microbiology's collection says CC-BY-4.0; {repo_says}": 159,
        f"world-history-volume-1's collection says CC-BY-4.0; {repo_says}": 85,
        f"world-history-volume-2's collection says CC-BY-4.0; {repo_says}": 77,
    }
    assert set(licences) == {"CC-BY-4.0", "CC-BY-NC-SA-4.0"}
    modules = set()
    for line in (samples / "openstax_toc" / "toc.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        modules.add((row["repo"], row["module_id"]))
    assert len(contents) + sum(conflicts.values()) == len(modules), "each module once, whatever books it stands in"


def test_fineweb_edu_without_separators(samples: Path) -> None:
    path = samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt"
    rows = rows_of("plain_text", path, separator="none", document_chars=3000)
    found = seeds(rows)
    assert outcomes(rows) == {"seed": len(found)}
    assert 330 < len(found) < 420
    assert all(len(row.text) <= 3000 for row in found)
    original = path.read_text(encoding="utf-8")
    assert "".join("".join(row.text.split()) for row in found) == "".join(original.split()), "nothing is lost"


def test_tinystories_paragraphs(samples: Path) -> None:
    rows = rows_of("plain_text", samples / "synthetic_tinystories" / "tinystories_sample.txt")
    assert len(seeds(rows)) > 1000


WARCS = {
    "aut_example.warc.gz": {
        "seed": 92,
        "no_page": 523,
        "not_html": 158,
        "http_status": 47,
        "no_text": 1,
        "too_large": 1,
    },
    "dolma_sample-0000.warc.gz": {"seed": 22, "no_page": 24, "not_html": 2},
    "dolma_sample-0001.warc.gz": {"seed": 15, "no_page": 17, "not_html": 2},
    "warcio_example.warc": {"seed": 1, "no_page": 5},
}


@pytest.mark.parametrize("name", WARCS)
def test_web_archives(samples: Path, name: str) -> None:
    rows = rows_of("warc", samples / "web_warc_samples" / name)
    assert outcomes(rows) == WARCS[name]
    assert all(row.url and row.url.startswith("http") for row in seeds(rows))
    assert sum(row.title is not None for row in seeds(rows)) > 0.9 * len(seeds(rows))
    for row in seeds(rows):
        for mark in ("<div", "<script", "</", "function(", "&nbsp;", "\x00"):
            assert mark not in row.text, (row.url, mark)


def test_licences_that_web_pages_state(samples: Path) -> None:
    folder = samples / "web_warc_samples"
    old = {row.url: row.licence for row in seeds(rows_of("warc", folder / "aut_example.warc.gz")) if row.licence}
    assert old["http://www.archive.org/details/JTRNET15"] == "CC-BY-NC-ND-3.0"
    assert set(old.values()) == {"CC-PDDC", "CC-BY-NC-ND-3.0", "CC-BY-SA-3.0", "CC-BY-NC-SA-2.0"}
    new = {row.url: row.licence for row in seeds(rows_of("warc", folder / "dolma_sample-0000.warc.gz")) if row.licence}
    assert new == {"https://soldaini.net/": "CC-BY-4.0"}


DEMO_SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "automathtext/*.jsonl": ("jsonl", {"id": "url"}),
    "ultrachat/*.jsonl": ("ultrachat", {}),
    "openhermes/*.json": ("openhermes", {"exclude_sources": ["camelai"], "exclude_categories": ["coding"]}),
    "openstax/META-INF/books.xml": ("openstax", {}),
    "stanford/explorecourses.xml": ("explorecourses", {}),
    "wikihow/titles.txt": ("title_list", {}),
    "khan/topic_tree.json": ("topic_tree", {}),
}


@pytest.mark.parametrize("pattern", DEMO_SOURCES)
def test_a_demo_source_has_seeds_with_ids_of_their_own_and_no_bad_row(pattern: str) -> None:
    reader, options = DEMO_SOURCES[pattern]
    paths = sorted(DEMO.glob(pattern))
    if not paths:
        pytest.skip(f"no {DEMO / pattern}")
    for path in paths:
        rows = rows_of(reader, path, **options)
        assert not [row for row in rows if isinstance(row, BadRow)]
        assert len(by_id(rows)) >= 10


def test_the_demo_has_planted_what_readers_must_see() -> None:
    if not (DEMO / "web").is_dir():
        pytest.skip(f"no {DEMO}")
    web = outcomes([row for path in sorted((DEMO / "web").glob("*.jsonl")) for row in rows_of("jsonl", path)])
    assert web["seed"] > 150
    assert {"invalid_json", "missing_field"} <= set(web)
    courses = outcomes(rows_of("explorecourses", DEMO / "stanford" / "explorecourses.xml"))
    assert {"cross_listed", "logistics_only", "empty_description"} < set(courses)
    assert outcomes(rows_of("title_list", DEMO / "wikihow" / "titles.txt"))["duplicate_title"] == 1
    book = seeds(rows_of("openstax", DEMO / "openstax" / "META-INF" / "books.xml"))
    assert {len(row.context) for row in book} == {1, 3}, "front matter outside chapters, and chapters in units"
    assert any(r"\frac{v^{2}}{2 a}" in row.text for row in book)
