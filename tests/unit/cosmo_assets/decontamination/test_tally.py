from typing import Any

import pytest

from cosmo_assets.decontamination.checks import CHECKS, ENOUGH_DOCUMENTS, ENOUGH_SEEDS, SEED_CHECKS
from cosmo_assets.decontamination.tally import Tally, removed_since, split_table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.report.checks import REPORT_CHECKS
from cosmo_assets.reporting import Check
from cosmo_resources.storage.manifest import Flow, Manifest, Tokens
from tests.unit.cosmo_assets.synthetic import recipe

BENCH = {"name": "arc", "path": "arc.jsonl", "licence": "CC0-1.0"}


def row(source: str, benchmark: str | None = None, *items: str, seed_item: str | None = None) -> dict[str, Any]:
    place = "text" if items else "seed" if benchmark else None
    kept = {"source": source, "keep": benchmark is None, "place": place, "benchmark": benchmark}
    return {**kept, "items": list(items), "seed_item": seed_item}


def manifest(version: str, flow: Flow, summary: dict[str, Any] | None = None) -> Manifest:
    return Manifest(
        asset="decontaminated",
        bucket="b000",
        stage_version="1",
        params={},
        inputs=(),
        schema_fingerprint="",
        files=(),
        flow=flow,
        summary=summary or {},
        plan="",
        version=version,
        run={},
    )


def test_the_table_is_cosmopedias() -> None:
    tally = Tally()
    for found in (
        row("stories", "arc", "arc:1"),
        row("stories", "arc", "arc:1", "boolq:7"),
        row("stories", "boolq", "boolq:8"),
        row("web", "arc", "arc:1", "arc:2"),
        row("web", "arc", seed_item="arc:3"),
        row("web", seed_item="arc:3"),
        row("web"),
        row("books"),
    ):
        tally.add(found, 10)
    summary = tally.summary({"arc": 100, "boolq": 50, "piqa": 5})
    assert split_table(summary["splits"], summary["sources"]) == [
        {"split": "books", "documents": 1, "arc": "0 (0)", "boolq": "0 (0)", "all": "0 (0)"},
        {"split": "stories", "documents": 3, "arc": "2 (1)", "boolq": "1 (2)", "all": "3 (3)"},
        {"split": "web", "documents": 4, "arc": "2 (3)", "boolq": "0 (0)", "all": "2 (3)"},
        {"split": "all", "documents": 8, "arc": "4 (3)", "boolq": "1 (2)", "all": "5 (5)"},
    ]
    assert summary["of_contaminated_seeds"] == {"kept": 1, "removed": 1}
    assert [(line["removed"], line["tokens"], line["unique_items"]) for line in summary["benchmarks"]] == [
        (4, 40, 3),
        (1, 10, 2),
        (0, 0, 0),
    ]
    assert tally.tokens == {"keep": 30, "contaminated_arc": 40, "contaminated_boolq": 10}


def flow(**dropped: tuple[int, int]) -> Flow:
    documents = {f"contaminated_{name}": count for name, (count, _) in dropped.items()}
    tokens = {f"contaminated_{name}": count for name, (_, count) in dropped.items()}
    left = Tokens(tokens_in=1000, tokens_out=1000 - sum(tokens.values()), dropped=tokens)
    return Flow(unit="documents", rows_in=100, rows_out=100 - sum(documents.values()), dropped=documents, tokens=left)


def test_what_was_removed_is_compared_with_the_version_before() -> None:
    before, after = manifest("1", flow(arc=(3, 30), old=(1, 8))), manifest("2", flow(arc=(4, 50), new=(2, 20)))
    names = ("benchmark", "documents", "more documents", "tokens", "more tokens")
    assert [tuple(line[name] for name in names) for line in removed_since(before, after)] == [
        ("arc", 4, 1, 50, 20),
        ("new", 2, 2, 20, 20),
        ("old", 0, -1, 0, -8),
    ]
    assert removed_since(None, after) == removed_since(after, after) == []


BY_NAME = {check.name: check for check in CHECKS}


def holds(check: Check, whole: int, part: int, chosen: Recipe) -> bool:
    counted = Flow(unit="documents", rows_in=whole, rows_out=whole - part, dropped={"contaminated_arc": part})
    passed, shown = check.test(manifest("1", counted, {"contaminated": part, "searched": whole}), chosen)
    assert shown
    return passed


@pytest.mark.parametrize(
    ("check", "field", "enough"),
    [
        (BY_NAME["removed_at_least"], "min_contaminated", ENOUGH_DOCUMENTS),
        (SEED_CHECKS[-1], "min_contaminated_seeds", ENOUGH_SEEDS),
        (REPORT_CHECKS[-1], "min_contaminated", ENOUGH_DOCUMENTS),
    ],
    ids=["documents", "seeds", "whole corpus"],
)
def test_none_at_all_of_very_many_is_suspicious(check: Check, field: str, enough: int) -> None:
    plain = recipe(decontamination={"benchmarks": [BENCH]})
    assert holds(check, enough - 1, 0, plain)
    assert not holds(check, enough, 0, plain)
    assert holds(check, enough, 1, plain)
    assert holds(check, enough, 0, recipe()), "no benchmark, nothing to be found"
    assert holds(check, enough, 0, recipe(decontamination={"benchmarks": [BENCH]}, limits={field: 0.0}))


@pytest.mark.parametrize(
    ("check", "field"),
    [(BY_NAME["removed_at_least"], "min_contaminated"), (SEED_CHECKS[-1], "min_contaminated_seeds")],
    ids=["documents", "seeds"],
)
def test_as_many_as_the_recipe_expects(check: Check, field: str) -> None:
    expecting = recipe(decontamination={"benchmarks": [BENCH]}, limits={field: 0.01})
    assert not holds(check, 100, 0, expecting)
    assert holds(check, 100, 1, expecting)


@pytest.mark.parametrize(
    ("check", "field"),
    [(BY_NAME["removed_at_most"], "max_contaminated"), (SEED_CHECKS[0], "max_contaminated_seeds")],
    ids=["documents", "seeds"],
)
def test_too_many_are_suspicious_too(check: Check, field: str) -> None:
    chosen = recipe(limits={field: 0.02})
    assert holds(check, 100, 2, chosen)
    assert not holds(check, 100, 3, chosen)
