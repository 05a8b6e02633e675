"""Recipes: the shipped ones load, and a wrong field is named.

Belongs here: reading and checking a recipe. Does not belong here: what a field does (the stages).
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cosmo_assets.decontamination.benchmarks import sources
from cosmo_assets.prompts.mixes import used_templates
from cosmo_assets.recipe.recipe import SHIPPED, Recipe, load_recipe
from cosmo_resources.errors import CosmoError

NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))

MINIMAL: dict[str, Any] = {
    "name": "small",
    "description": "a corpus",
    "buckets": 4,
    "sources": [{"name": "pages", "kind": "web", "reader": "jsonl", "path": "pages.jsonl", "licence": "CC0-1.0"}],
    "topics": {"clustering": {"clusters": 8}},
    "prompts": {"mixes": {"web": {"templates": [{"template": "blogpost"}]}}},
    "generation": {"model": {"name": "m", "revision": "1", "licence": "MIT"}},
    "decontamination": {"benchmarks": []},
    "mixture": {"components": {"pages": {"weight": 1}}},
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """The minimal recipe with one field replaced, added or (by `...`) removed."""
    fields = yaml.safe_load(yaml.safe_dump(MINIMAL))
    *path, last = place.split(".")
    target: Any = fields
    for step in path:
        target = target[int(step)] if isinstance(target, list) else target.setdefault(step, {})
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return fields


def written(folder: Path, fields: Any) -> str:
    path = folder / "recipe.yaml"
    path.write_text(fields if isinstance(fields, str) else yaml.safe_dump(fields), encoding="utf-8")
    return str(path)


def small(folder: Path) -> Recipe:
    return load_recipe(written(folder, MINIMAL))


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_loads_wherever_the_samples_are(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COSMO_SAMPLES", str(tmp_path / "any where"))
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_names_templates_that_exist_and_suit(name: str) -> None:
    recipe = load_recipe(name)
    named = {use.template for mix in recipe.prompts.mixes.values() for use in mix.templates}
    assert used_templates(recipe).keys() == named


def test_the_demo_has_all_its_files() -> None:
    recipe = load_recipe("demo")
    for source in recipe.sources:
        assert recipe.paths(source.path, field=source.name)
    assert [source.files for source in sources(recipe)] == [1] * len(recipe.decontamination.benchmarks)


def test_the_real_sample_has_all_its_files(monkeypatch: pytest.MonkeyPatch, samples: Path) -> None:
    monkeypatch.setenv("COSMO_SAMPLES", str(samples))
    recipe = load_recipe("real-sample")
    for source in recipe.sources:
        assert recipe.paths(source.path, field=source.name)
    assert [source.files for source in sources(recipe)] == [1] * len(recipe.decontamination.benchmarks)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("colour", "red", "colour: Extra inputs"),
        ("sources.0.license", "MIT", r"sources\.0\.license: Extra inputs"),
        ("generation.sampling.top_q", 0.5, r"generation\.sampling\.top_q: Extra inputs"),
        ("buckets", 0, "buckets: .*greater than or equal to 1"),
        ("buckets", 1025, "buckets: .*less than or equal to 1024"),
        ("buckets", "many", "buckets: .*valid integer"),
        ("quality.max_repetition", 1.5, r"quality\.max_repetition: .*less than or equal to 1"),
        ("quality.max_repetition", float("nan"), r"quality\.max_repetition: .*finite"),
        ("mixture.components.pages.weight", 0, r"mixture\.components\.pages\.weight: .*greater than 0"),
        ("mixture.components.pages.max_epochs", float("inf"), r"components\.pages\.max_epochs: .*finite"),
        ("topics.clustering.clusters", 0, r"topics\.clustering\.clusters: .*greater than or equal to 1"),
        ("topics.policy.deny", ["sale", "(open"], r"topics\.policy\.deny: .*'\(open' is no regular expression"),
        ("generation.samples", 0, r"generation\.samples: .*greater than or equal to 1"),
        ("prompts.mixes.web.templates", [], r"prompts\.mixes\.web\.templates: .*at least 1"),
        ("prompts.mixes.poems", {"templates": [{"template": "t"}]}, r"prompts\.mixes: .*poems: name its kind"),
        ("decontamination.benchmarks", [{"name": "mine", "path": "x"}], r"benchmarks\.0: .*'mine' is none of arc_chal"),
        ("decontamination.benchmarks", [{"name": "mmlu"}], r"decontamination\.benchmarks\.0\.path: Field required"),
        ("decontamination.benchmarks", [{"name": "mmlu", "path": "x"}] * 2, "benchmarks: mmlu is there twice"),
        (
            "decontamination.benchmarks",
            [{"name": "mmlu", "path": "x", "parts": ["choices", "choices"]}],
            r"benchmarks\.0\.parts: .*choices stands there twice",
        ),
        (
            "decontamination.benchmarks",
            [{"name": "mmlu", "path": "x", "fields": {"questions": "ask"}}],
            r"benchmarks\.0\.fields\.0\.questions: Extra inputs",
        ),
        (
            "prompts.mixes.again",
            {"kind": "web", "templates": [{"template": "blogpost"}]},
            r"mixes\.web: blogpost meets the seeds of pages in again already",
        ),
        (
            "prompts.mixes.web.templates",
            [{"template": "t"}] * 2,
            r"prompts\.mixes: .*web\.templates: t stands there twice",
        ),
        ("prompts.mixes.web.templates.0.sources", ["books"], r"mixes\.web: books is no source of kind web"),
        ("prompts.mixes.web.templates.0.per_seed", 1.5, r"per_seed: .*less than or equal to 1"),
        ("prompts.shares", {"audience": {"a": 0.7, "b": 0.4}}, r"prompts\.shares: .*by audience sum to 1\.1"),
        ("prompts.caps", {"source": {"books": 0.5}}, r"prompts\.caps\.source: no such source: .*books"),
        ("prompts.scale", 1.5, r"prompts\.scale: .*less than or equal to 1"),
        ("budget", {"cost": 0}, r"budget\.cost: .*greater than 0"),
        ("name", "My Corpus", "name: String should match"),
        ("name", ..., "name: Field required"),
        ("generation.model.revision", ..., r"generation\.model\.revision: Field required"),
        ("sources", [], "sources: .*at least 1"),
        ("sources.0.kind", "poem", r"sources\.0\.kind: Input should be"),
        ("mixture.components", {"pages": {"weight": 1}, "books": {"weight": 1}}, "no such source: .*books"),
        ("sources.0.kind", "book", "no templates for source kind: .*book"),
        ("sources", MINIMAL["sources"] * 2, "sources: names must differ"),
        ("sweep", {"signals": [{"signal": "statistics.words"}]}, r"sweep reads those of statistics; name it here"),
        (
            "sweep",
            {"signals": [{"signal": "quality.words"}] * 2},
            r"quality\.words, high preferred, stands there twice",
        ),
        ("sweep", {"signals": [{"signal": "quality.words"}], "sample": 9}, "sample 9 does not fill a block of 200"),
        ("selection", {"bounds": [{"signal": "age.years", "high": 9}]}, r"selection reads those of age; name it here"),
        (
            "selection",
            {"keep": {"rule": "d2", "signal": "age.years", "fraction": 0.5}},
            r"selection reads those of age; name it here",
        ),
        ("selection", {"keep": {"rule": "dsir", "targets": {}}}, r"keep\.dsir\.targets: .*at least 1"),
        (
            "selection",
            {"keep": {"rule": "dsir", "targets": {"a": {"path": "a.jsonl"}}}},
            r"targets\.a: .*name documents or fraction, one of them",
        ),
        (
            "selection",
            {"keep": {"rule": "dsir", "targets": {"a": {"path": "a.jsonl", "documents": 1, "fraction": 0.5}}}},
            r"targets\.a: .*name documents or fraction, one of them",
        ),
        (
            "selection",
            {"keep": {"rule": "dsir", "targets": {name: {"path": "a.jsonl", "fraction": 0.6} for name in "ab"}}},
            r"keep\.dsir: .*targets: their fractions sum to 1\.2, more than all",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(tmp_path: Path, place: str, value: Any, named: str) -> None:
    path = written(tmp_path, changed(place, value))
    with pytest.raises(CosmoError, match=named) as caught:
        load_recipe(path)
    assert path in caught.value.message


def test_all_wrong_fields_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CosmoError) as caught:
        load_recipe(written(tmp_path, {**changed("buckets", 0), "colour": "red", "description": 7}))
    assert all(f"\n  {field}: " in caught.value.message for field in ("buckets", "colour", "description"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [1, 2\n", "{{ template }}: 1"])
def test_a_file_that_is_no_yaml_mapping_is_named(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CosmoError, match="not a YAML mapping") as caught:
        load_recipe(path)
    assert path in caught.value.message


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(CosmoError, match="not a YAML mapping"):
        load_recipe(str(tmp_path / "recipe.yaml"))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(CosmoError, match="no recipe 'nothing'") as caught:
        load_recipe("nothing")
    assert all(name in caught.value.remedy for name in NAMES)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"none\.yaml"):
        load_recipe(str(tmp_path / "none.yaml"))


def test_the_place_of_a_recipe_is_no_part_of_its_digest(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert small(tmp_path / "elsewhere").digest == small(tmp_path).digest


def test_any_other_change_is_a_change_of_the_digest(tmp_path: Path) -> None:
    other = load_recipe(written(tmp_path, changed("description", "another corpus")))
    assert other.digest != small(tmp_path).digest


@pytest.mark.parametrize("pattern", ["${COSMO_TEST_DATA}/a/*.jsonl", "$COSMO_TEST_DATA/a/b.jsonl"])
def test_a_variable_that_is_not_set_is_named_with_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.delenv("COSMO_TEST_DATA", raising=False)
    with pytest.raises(CosmoError, match=r"recipe small, sources\.pages\.path: .*not set") as caught:
        small(tmp_path).paths(pattern, field="sources.pages.path")
    assert "export COSMO_TEST_DATA=" in caught.value.remedy


def test_a_benchmark_whose_variable_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSMO_SAMPLES", raising=False)
    with pytest.raises(CosmoError, match=r"recipe real-sample, decontamination\.benchmarks\.mmlu\.path") as caught:
        sources(load_recipe("real-sample"))
    assert "COSMO_SAMPLES" in caught.value.remedy


def test_a_path_that_matches_nothing_is_named_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"sources\.pages\.path: no file matches .*nothing-\*\.jsonl"):
        small(tmp_path).paths("nothing-*.jsonl", field="sources.pages.path")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    with pytest.raises(CosmoError, match="no file matches"):
        small(tmp_path).paths("pages", field="f")


@pytest.mark.parametrize("name", ["plain", "with space", "a[1]", "star*", "c$t", "ö"])
def test_paths_start_at_the_recipe_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    (folder / "sub").mkdir(parents=True)
    (folder / "folder.jsonl").mkdir()
    for file in ("b.jsonl", "a.jsonl", "c.txt", "sub/d.jsonl"):
        (folder / file).write_text("", encoding="utf-8")
    recipe = small(folder)
    assert recipe.paths("*.jsonl", field="f") == [folder / "a.jsonl", folder / "b.jsonl"]
    assert recipe.paths("**/*.jsonl", field="f") == [folder / "a.jsonl", folder / "b.jsonl", folder / "sub" / "d.jsonl"]
    assert recipe.paths("c.txt", field="f") == [folder / "c.txt"]


@pytest.mark.parametrize("name", ["plain", "with space", "a[1]", "star*", "c$t"])
def test_a_variable_may_hold_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.jsonl").write_text("", encoding="utf-8")
    monkeypatch.setenv("COSMO_TEST_DATA", str(tmp_path / name))
    assert small(tmp_path).paths("${COSMO_TEST_DATA}/*.jsonl", field="f") == [tmp_path / name / "a.jsonl"]
