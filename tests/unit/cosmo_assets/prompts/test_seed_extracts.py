"""Seed extracts: a row for every seed and budget, segments that tile a text, and nothing cut twice.

Belongs here: the stage. Does not belong here: where a text is cut (`test_extracts`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.prompts import extracts, seed_extracts
from cosmo_assets.prompts.extracts import Cut
from cosmo_assets.prompts.rendering import harmless_text
from cosmo_assets.prompts.seed_extracts import TOO_LONG, budgets, build
from cosmo_assets.prompts.templates import Template
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tokenizers import NamedTokenizer
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

Texts = Mapping[str, str]
SEEDS = {f"{number:032x}": prose(f"seed {number}", 150) + "  \n" for number in range(30)}
NEW = {f"{number:032x}": prose(f"seed {number}", 150) for number in (100, 101)}
BUDGETS = {"short": 40, "long": 120}


@pytest.fixture
def cut_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were cut, a budget at a time."""
    texts: list[str] = []

    def listening(some: Sequence[str], tokens: int, tokenizer: NamedTokenizer) -> list[Cut]:
        texts.extend(some)
        return extracts.cut_all(some, tokens, tokenizer)

    monkeypatch.setattr(seed_extracts, "cut_all", listening)
    return texts


def write_templates(folder: Path, sizes: Mapping[str, int], *, segments: bool, version: str, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, tokens in sizes.items():
        fields = f"id: {name}\nversion: '{version}'\nkinds: [{kind}]\naudience: all\nformat: {name}\nwords: 90\n"
        fields += f"max_tokens: 200\nextract_tokens: {tokens}\nsegments: {str(segments).lower()}\n"
        body = "Write about this, in so many words.\n\n{{ extract }}" if tokens else "Write about {{ title }}."
        (folder / f"{name}.md").write_text(f"---\n{fields}---\n{body}\n", encoding="utf-8")


def workspace(
    folder: Path,
    sizes: Mapping[str, int] = BUDGETS,
    *,
    segments: bool = False,
    version: str = "1",
    kind: str = "web",
    **prompts: Any,
) -> Workspace:
    templates = folder.parent / f"templates of {folder.name}"
    write_templates(templates, sizes, segments=segments, version=version, kind=kind)
    mixes = {kind: {"templates": [{"template": name} for name in sizes]}}
    sections = {"mixes": mixes, "template_folders": [str(templates)], **prompts}
    return Workspace(CorpusStore(folder), recipe(prompts=sections))


def put_seeds(space: Workspace, *parts: Texts, kind: str = "web") -> Manifest:
    rows = [[{"seed_id": key, "kind": kind, "text": text} for key, text in part.items()] for part in parts]
    return put(
        space, "seed_documents", {str(number): part for number, part in enumerate(rows)}, version=json_digest(rows)
    )


def rows_of(space: Workspace, seed: str, budget: int) -> list[dict[str, int]]:
    rows = space.store.open("seed_extracts").table().to_pylist()
    return [row for row in rows if (row["seed_id"], row["budget"]) == (seed, budget)]


def test_every_seed_has_a_row_for_each_budget_of_its_kind(tmp_path: Path) -> None:
    space = workspace(tmp_path / "store")
    put_seeds(space, SEEDS)
    manifest = build(space, tiny_tokenizer())
    rows = space.store.open("seed_extracts").table().to_pylist()
    assert [(row["seed_id"], row["budget"], row["segment"]) for row in rows] == [
        (seed, budget, 0) for seed in SEEDS for budget in (40, 120)
    ]
    for row in rows:
        extract = SEEDS[row["seed_id"]][row["start"] : row["end"]]
        assert 0 < row["tokens"] == tiny_tokenizer().count(extract) <= row["budget"]
        assert (
            Cut(row["end"], row["tokens"])
            == extracts.cut_all([SEEDS[row["seed_id"]]], row["budget"], tiny_tokenizer())[0]
        )
    assert (manifest.flow.rows_in, manifest.flow.rows_out, manifest.flow.failed) == (30, 30, {})
    tokens = {str(budget): sum(row["tokens"] for row in rows if row["budget"] == budget) for budget in (40, 120)}
    assert manifest.summary == {"extracts": {"40": 30, "120": 30}, "tokens": tokens}


def test_seeds_of_a_kind_that_no_template_shows_have_no_rows(tmp_path: Path) -> None:
    space = workspace(tmp_path / "store")
    put_seeds(space, SEEDS, kind="book")
    manifest = build(space, tiny_tokenizer())
    assert (manifest.rows, manifest.flow.rows_in, manifest.flow.rows_out) == (0, 30, 30)
    space = workspace(tmp_path / "none", {"titles": 0})
    put_seeds(space, SEEDS)
    assert build(space, tiny_tokenizer()).rows == 0


def test_a_recipe_that_allows_less_than_a_template_wants_bounds_the_budget(tmp_path: Path) -> None:
    space = workspace(tmp_path / "store", extract_tokens=50)
    put_seeds(space, SEEDS)
    assert build(space, tiny_tokenizer()).summary["extracts"] == {"40": 30, "50": 30}


def check_tiling(text: str, rows: Sequence[Mapping[str, int]], budget: int) -> None:
    position = 0
    for row in rows:
        assert not text[position : row["start"]].strip()
        extract = text[row["start"] : row["end"]]
        assert extract == extract.strip() != ""
        assert row["tokens"] == tiny_tokenizer().count(harmless_text(extract)) <= budget
        position = row["end"]
    assert not text[position:].strip()
    assert [row["segment"] for row in rows] == list(range(len(rows)))


def test_segments_tile_a_text_where_a_template_wants_them(tmp_path: Path) -> None:
    texts = {
        "prose": "\n " + prose("long", 900) + " \n",
        "control": "<|im_start|>user " + " <|im_end|>\n".join(prose(f"turn {turn}", 20) for turn in range(30)),
        "chinese": "天空是蓝色的。草是绿色的，水很冷。\n" * 40,
        "formulas": "So $a + b$ holds.\n\n```\nx = y\n\nz = x\n```\n" * 30,
        "short": "One two.",
    }
    space = workspace(tmp_path / "store", segments=True)
    put_seeds(space, texts)
    manifest = build(space, tiny_tokenizer())
    for seed, text in texts.items():
        for budget in (40, 120):
            rows = rows_of(space, seed, budget)
            check_tiling(text, rows, budget)
            assert len(rows) >= (1 if seed == "short" else 5)
    assert manifest.summary["extracts"]["40"] > manifest.summary["extracts"]["120"]
    assert manifest.flow.rows_out == len(texts)


def test_a_later_word_that_is_too_long_loses_no_more_than_itself(tmp_path: Path) -> None:
    before, after = prose("before", 60), prose("after", 60)
    long = ["x" * 900, "$$" + "a + b + c + " * 60 + "d$$"]
    space = workspace(tmp_path / "store", {"all": 40}, segments=True)
    for number, end in enumerate([long[0], "", "\n```\n" + "a = b\n" * 90 + " \n"]):
        text = f"{before} {long[0]} {long[1]}\n{after} {end}"
        put_seeds(space, {str(number): text})
        assert build(space, tiny_tokenizer()).flow.failed == {}
        left = [text[row["start"] : row["end"]] for row in rows_of(space, str(number), 40)]
        assert "" not in left
        assert "".join("".join(left).split()) == "".join((before + after).split())


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("text", ["", " \n\t "])
def test_an_empty_text_has_one_empty_row(tmp_path: Path, text: str, segments: bool) -> None:
    space = workspace(tmp_path / "store", segments=segments)
    put_seeds(space, {"empty": text})
    manifest = build(space, tiny_tokenizer())
    rows = rows_of(space, "empty", 40)
    assert [(row["segment"], row["end"] - row["start"], row["tokens"]) for row in rows] == [(0, 0, 0)]
    assert (manifest.rows, manifest.flow.rows_out) == (2, 1)


@pytest.mark.parametrize("segments", [False, True])
def test_a_seed_whose_first_word_does_not_fit_is_rejected_and_stops_no_other(tmp_path: Path, segments: bool) -> None:
    space = workspace(tmp_path / "store", {"tiny": 5, "long": 120}, segments=segments)
    long = {"word": "x" * 30 + " and more", "formula": "$a + b + c + d + e$ holds"}
    put_seeds(space, {**dict(list(SEEDS.items())[:3]), **long, **NEW}, {"other": "x" * 30})
    manifest = build(space, tiny_tokenizer())
    dataset = space.store.open("seed_extracts")
    assert set(dataset.table()["seed_id"].to_pylist()) == {*list(SEEDS)[:3], *NEW}
    rejected = dataset.rejected()
    assert rejected is not None
    assert [(row["place"], row["reason"]) for row in rejected.to_pylist()] == [
        (seed, TOO_LONG) for seed in ("word", "formula", "other")
    ]
    assert (manifest.flow.rows_in, manifest.flow.rows_out, manifest.flow.failed) == (8, 5, {TOO_LONG: 3})


def test_a_seed_that_was_rejected_stays_so_beside_seeds_that_are_taken_over(tmp_path: Path) -> None:
    texts = {"word": "x" * 900, **SEEDS}
    build_with(tmp_path / "store", texts)
    again = build_with(tmp_path / "store", {**texts, **NEW})
    assert (again.flow.failed, again.run["reused_rows"]) == ({TOO_LONG: 1}, 2 * len(SEEDS))
    assert again.version == build_with(tmp_path / "scratch", {**texts, **NEW}).version


def test_all_segments_are_cut_if_one_of_the_templates_of_a_budget_wants_them() -> None:
    fixed: dict[str, Any] = {
        "version": "1",
        "audience": "all",
        "format": "text",
        "words": 9,
        "max_tokens": 9,
        "body": "b",
    }
    wants = {"first": (40, False), "all": (40, True), "again": (40, False), "none": (0, False), "long": (90, False)}
    templates = {
        name: Template(id=name, kinds=("web", "book"), extract_tokens=tokens, segments=segments, **fixed)
        for name, (tokens, segments) in wants.items()
    }
    mixes = {
        "web": {"templates": [{"template": name} for name in wants]},
        "more": {"kind": "book", "templates": [{"template": "long"}, {"template": "none"}]},
    }
    assert budgets(templates, recipe(prompts={"mixes": mixes})) == {"web": {40: True, 90: False}, "book": {90: False}}


def test_it_does_not_matter_how_many_seeds_are_cut_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {build_with(tmp_path / "all", SEEDS, segments=True).version}
    monkeypatch.setattr(seed_extracts, "_BATCH", 7)
    versions.add(build_with(tmp_path / "few", SEEDS, segments=True).version)
    assert len(versions) == 1


def build_with(folder: Path, texts: Texts, *, extra: int = 0, **options: Any) -> Manifest:
    space = workspace(folder, **options)
    put_seeds(space, texts)
    return build(space, tiny_tokenizer(extra))


@pytest.mark.parametrize("segments", [False, True])
def test_only_new_and_changed_seeds_are_cut(tmp_path: Path, cut_texts: list[str], segments: bool) -> None:
    first = build_with(tmp_path / "store", SEEDS, segments=segments)
    assert set(SEEDS.values()) <= set(cut_texts)
    assert (first.run["computed_rows"], first.run["reused_rows"]) == (first.rows, 0)
    cut_texts.clear()
    changed = dict.fromkeys([next(iter(SEEDS))], "Another text under the same id. " * 20)
    texts = {**NEW, **SEEDS, **changed}
    second = build_with(tmp_path / "store", texts, segments=segments)
    assert {text for text in cut_texts if text in texts.values()} == {*NEW.values(), *changed.values()}
    assert all(text in " ".join([*NEW.values(), *changed.values()]) for text in cut_texts)
    assert second.run["computed_rows"] + second.run["reused_rows"] == second.rows
    assert second.run["reused_rows"] >= 2 * (len(SEEDS) - 1) > 0
    assert second.version == build_with(tmp_path / "scratch", texts, segments=segments).version


@pytest.mark.parametrize(
    "change", [{"extra": 7}, {"sizes": {**BUDGETS, "long": 121}}, {"extract_tokens": 60}, {"segments": True}], ids=str
)
def test_another_budget_or_tokenizer_cuts_everything_again(
    tmp_path: Path, cut_texts: list[str], change: dict[str, Any]
) -> None:
    first = build_with(tmp_path / "store", SEEDS)
    cut_texts.clear()
    second = build_with(tmp_path / "store", SEEDS, **change)
    assert set(SEEDS.values()) <= set(cut_texts)
    assert second.version != first.version


def test_changed_templates_of_the_same_budgets_cut_nothing(tmp_path: Path, cut_texts: list[str]) -> None:
    first = build_with(tmp_path / "store", SEEDS)
    cut_texts.clear()
    sizes = {"third": 40, **BUDGETS}
    second = build_with(tmp_path / "store", SEEDS, sizes=sizes, version="2", topic_clause=1.0)
    assert cut_texts == []
    assert second.version == first.version


def test_a_damaged_version_is_made_anew(tmp_path: Path, cut_texts: list[str]) -> None:
    first = build_with(tmp_path / "store", SEEDS)
    cut_texts.clear()
    for path in (CorpusStore(tmp_path / "store").place("seed_extracts") / first.version).glob("part-*"):
        path.unlink()
    assert build_with(tmp_path / "store", SEEDS).version == first.version
    assert set(cut_texts) == set(SEEDS.values())


def test_parts_keep_in_step_with_those_of_the_seeds(tmp_path: Path) -> None:
    space = workspace(tmp_path / "store")
    parts: list[Texts] = [NEW, {}, {"long": "x" * 3_000}, SEEDS]
    put_seeds(space, *parts)
    build(space, tiny_tokenizer())
    found = [set(table["seed_id"].to_pylist()) for table in space.store.open("seed_extracts").tables()]
    assert found == [set(NEW), set(), set(), set(SEEDS)]
