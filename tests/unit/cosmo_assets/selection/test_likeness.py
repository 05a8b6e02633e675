"""DSIR as a rule of a selection: made-up documents of planted domains, in any buckets and order."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.selection import KeepDsir
from cosmo_assets.selection import stage
from cosmo_assets.selection.checks import CHECKS
from cosmo_assets.selection.likeness import quotas
from cosmo_assets.stage import Workspace
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.unit.cosmo_assets.composition.test_dsir import words_of
from tests.unit.cosmo_assets.selection.test_keeping import ids
from tests.unit.cosmo_assets.synthetic import put, recipe

EACH, SHORT = 200, 10
TEXTS = [*words_of("a", EACH, 0), *words_of("b", EACH, 0), *words_of("c", EACH, 0), *["w1 w2 w3"] * SHORT]
"""Of three domains, 40 words each; and some too short to be chosen."""
COUNT = len(TEXTS)
IDS = ids(COUNT).to_pylist()
DOMAIN = dict(zip(IDS, "a" * EACH + "b" * EACH + "c" * EACH + "-" * SHORT, strict=True))
ORDER = list(range(COUNT))
SOURCE = {"name": "letters", "reader": "jsonl", "path": "letters.jsonl", "licence": "CC0-1.0"}


def target(folder: Path, domain: str, texts: list[str] | None = None) -> str:
    rows = words_of(domain, 100, 1) if texts is None else texts
    path = folder / f"{domain}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    return str(path)


def rule(folder: Path, quotas: dict[str, int | float], **fields: Any) -> dict[str, Any]:
    targets = {
        domain: {"path": target(folder, domain), "documents" if isinstance(quota, int) else "fraction": quota}
        for domain, quota in quotas.items()
    }
    return {"rule": "dsir", "targets": targets, "least_words": 10, **fields}


def workspace(
    folder: Path, keep: dict[str, Any], buckets: int = 2, order: list[int] = ORDER, real: int = 0, **selection: Any
) -> Workspace:
    """The documents in this order, one bucket after the other; so many of the last are real ones."""
    also = {"real": {"sources": [SOURCE]}} if real else {}
    space = Workspace(CorpusStore(folder), recipe(buckets=buckets, selection={"keep": keep, **selection}, **also))
    rows = [{"doc_id": IDS[at], "keep": True, "text": TEXTS[at], "words": at % 3} for at in order]
    generated = rows[: len(rows) - real]
    for index, part in enumerate(np.array_split(np.arange(len(generated)), buckets)):
        for asset in ("deduplicated", "generations", "generation_quality"):
            put(space, asset, {None: [generated[at] for at in part]}, bucket=bucket_name(index))
    if real:
        there = rows[len(generated) :]
        put(space, "real_documents", {None: [*there, {"doc_id": "0" * 32, "text": "not eligible"}]})
        put(space, "real_eligible", {None: there})
    return space


def built(space: Workspace) -> tuple[Manifest, dict[str, str | None]]:
    manifest = stage.build(space)
    rows = space.store.open("selection").table().to_pylist()
    return manifest, {row["doc_id"]: row["reason"] for row in rows}


def kept(reasons: dict[str, str | None]) -> list[str]:
    return [key for key, reason in reasons.items() if reason is None]


def test_each_target_gets_its_quota_from_its_own_domain(tmp_path: Path) -> None:
    manifest, reasons = built(workspace(tmp_path, rule(tmp_path, {"b": 100, "a": 0.1})))
    assert Counter(DOMAIN[key] for key in kept(reasons)) == {"b": 100, "a": 61}, "a tenth of 610"
    assert {reasons[key] for key in IDS[-SHORT:]} == {"dsir short"}
    dropped = COUNT - 161 - SHORT
    assert [(row["reason"], row["drops"]) for row in manifest.summary["limits"]] == [
        ("dsir short", SHORT),
        ("dsir", dropped),
    ]
    rows = manifest.summary["targets"]
    assert [(row["target"], row["texts"], row["asked"], row["documents"]) for row in rows] == [
        ("b", 100, 100, 100),
        ("a", 100, 61, 61),
    ]
    assert all(row["after"] < 0.8 * row["before"] for row in rows)
    assert all(1 <= row["effective"] <= COUNT for row in rows)
    assert all(check.test(manifest, recipe())[0] for check in CHECKS if check.name == "quotas")


def test_the_same_documents_in_other_buckets_and_another_order_are_chosen_alike(tmp_path: Path) -> None:
    by = rule(tmp_path, {"a": 50, "c": 50})
    manifest, reasons = built(workspace(tmp_path / "one", by, 1))
    for number in range(4):
        order = np.random.default_rng(number).permutation(COUNT).tolist()
        other, found = built(workspace(tmp_path / f"{number}", by, 2 + number, order))
        assert found == reasons
        assert other.summary == manifest.summary, "to the last bit"
    assert len(kept(reasons)) == 100


def test_real_documents_are_chosen_like_any_others(tmp_path: Path) -> None:
    by = rule(tmp_path, {"a": 20, "c": 150})
    _, reasons = built(workspace(tmp_path / "none", by))
    manifest, found = built(workspace(tmp_path / "some", by, real=150))
    assert found == reasons
    real = set(IDS[-150:])
    assert len(real.intersection(kept(found))) > 50
    assert {"real_documents", "real_eligible"} <= {ref.asset for ref in manifest.inputs}


def test_limits_come_first_and_only_what_is_within_them_is_chosen(tmp_path: Path) -> None:
    bounds = [{"signal": "quality.words", "low": 1}]
    manifest, reasons = built(workspace(tmp_path, rule(tmp_path, {"a": 0.1}), bounds=bounds))
    assert sum(reason == "quality.words" for reason in reasons.values()) == (COUNT + 2) // 3
    assert manifest.summary["targets"][0]["asked"] == len(kept(reasons)) == round(0.1 * (COUNT - (COUNT + 2) // 3))


def test_too_few_long_documents_are_said(tmp_path: Path) -> None:
    manifest, reasons = built(workspace(tmp_path, rule(tmp_path, {"a": 500, "b": 0.17})))
    assert [row["asked"] for row in manifest.summary["targets"]] == [500, 104]
    assert [row["documents"] for row in manifest.summary["targets"]] == [500, 100]
    assert len(kept(reasons)) == 600
    (check,) = [check for check in CHECKS if check.name == "quotas"]
    assert check.test(manifest, recipe()) == (False, {"b": "100 of 104"})
    assert not check.blocking
    _, all_of_them = built(workspace(tmp_path, rule(tmp_path, {"a": 500, "b": 0.17}, least_words=0)))
    assert len(kept(all_of_them)) == 604


def test_a_target_that_gets_nothing_has_no_divergence(tmp_path: Path) -> None:
    manifest, _ = built(workspace(tmp_path, rule(tmp_path, {"a": 600, "b": 5})))
    last = manifest.summary["targets"][1]
    assert (last["asked"], last["documents"], last["before"], last["after"]) == (5, 0, None, None)


def test_more_documents_than_there_are_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match=r"selection.keep.targets: 611 documents are asked for, 610 are within"):
        built(workspace(tmp_path, rule(tmp_path, {"a": 600, "b": 11})))


def test_targets_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    by = rule(tmp_path, {"a": 5})
    path = Path(target(tmp_path, "a"))
    path.unlink()
    with pytest.raises(CosmoError, match=r"selection.keep.targets.a.path: no file matches .*a.jsonl"):
        built(workspace(tmp_path / "1", by))
    for name, (lines, said) in {
        "none": ("", r"selection.keep.targets.a: .*a.jsonl: row: empty_file"),
        "blank lines": ("\n\n", r"selection.keep.targets.a: .*a.jsonl: row: empty_file"),
        "no json": ('{"text": "x"}\nx\n', r"a.jsonl:2: row: invalid_json"),
        "no text": ('{"txt": "x"}\n', r"a.jsonl:1: text: missing_field \(fields: txt\)"),
        "blank": ('{"text": " "}\n', r"a.jsonl:1: text: empty_field"),
    }.items():
        path.write_text(lines, encoding="utf-8")
        with pytest.raises(CosmoError, match=said):
            built(workspace(tmp_path / name, by))


def test_documents_without_a_text_are_of_other_generations(tmp_path: Path) -> None:
    space = workspace(tmp_path, rule(tmp_path, {"a": 5}), 1)
    put(
        space,
        "generations",
        {None: [{"doc_id": key, "text": "x"} for key in IDS[2:]]},
        bucket=bucket_name(0),
        version="2",
    )
    with pytest.raises(CosmoError, match="2 documents have no text in generations or real_documents"):
        built(space)


def test_the_version_depends_on_the_bytes_of_targets_and_their_order_and_not_on_where_they_lie(tmp_path: Path) -> None:
    by = rule(tmp_path, {"a": 50, "c": 50})
    version = built(workspace(tmp_path / "data", by))[0].version
    (tmp_path / "moved").mkdir()
    assert built(workspace(tmp_path / "data", rule(tmp_path / "moved", {"a": 50, "c": 50})))[0].version == version
    others = [
        rule(tmp_path, {"c": 50, "a": 50}),
        rule(tmp_path, {"a": 51, "c": 50}),
        *(rule(tmp_path, {"a": 50, "c": 50}, **{name: 1}) for name in ("seed", "smoothing", "least_words")),
    ]
    versions = [built(workspace(tmp_path / "data", other))[0].version for other in others]
    target(tmp_path, "c", words_of("c", 99, 1))
    versions.append(built(workspace(tmp_path / "data", by))[0].version)
    assert len({version, *versions}) == 1 + len(versions)


@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(1, 300), min_size=1, max_size=8),
    st.integers(0, 10_000),
)
def test_fractions_that_sum_to_all_ask_for_all(parts: dict[str, int], count: int) -> None:
    whole = sum(parts.values())
    targets = {name: {"path": "x", "fraction": part / whole} for name, part in parts.items()}
    by = TypeAdapter(KeepDsir).validate_python({"rule": "dsir", "targets": targets})
    found = quotas(by, count)
    assert list(found) == list(parts)
    assert sum(found.values()) == count
    assert all(abs(found[name] - count * part / whole) < 1 + 1e-6 for name, part in parts.items())


def test_seed_and_smoothing_reach_the_draw(tmp_path: Path) -> None:
    found = [
        built(workspace(tmp_path / f"{number}", rule(tmp_path, {"a": 50}, **fields)))
        for number, fields in enumerate(({}, {"seed": 1}, {"smoothing": 1}))
    ]
    (plain, kept_by), (_, seeded), (smoothed, _) = found
    assert seeded != kept_by
    assert smoothed.summary["targets"][0]["effective"] != plain.summary["targets"][0]["effective"]
